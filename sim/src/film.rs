//! What a run looked like: who was what when, what was said to whom, how far each replica had come.
//!
//! A film is taken only of a run that is to be shown (`report.html`); the same seed without one is the same run. Bands and
//! strips are kept from the beginning, messages only the last [`MESSAGES_MAX`] of.

pub mod page;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidelog_core::ids::TopicPartition;

use crate::net::{ConnId, Party, Way};

pub use words::{kind_of_request, kind_of_response, request_text, response_text};

/// Messages that a film holds.
const MESSAGES_MAX: usize = 4_000;
/// Changes of one replica that a film holds.
const STEPS_MAX: usize = 20_000;

/// What a message is about; each kind has a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Clients write.
    Produce,
    /// Clients read.
    Consume,
    /// Followers copy.
    Replicate,
    /// The metadata log is copied.
    Metadata,
    /// Votes and epochs.
    Election,
    /// Brokers and the controller.
    Controller,
    /// Everything else.
    Other,
}

impl Kind {
    /// All of them with what a reader is told.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Produce, "produce"),
        (Self::Consume, "consume"),
        (Self::Replicate, "replicate"),
        (Self::Metadata, "metadata log"),
        (Self::Election, "election"),
        (Self::Controller, "controller"),
        (Self::Other, "other"),
    ];
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who sent it.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// When.
    pub sent: u64,
    /// When it got there, if it did.
    pub arrived: Option<u64>,
    /// What it is about.
    pub kind: Kind,
    /// Is it an answer?
    pub is_answer: bool,
    /// What it says.
    pub text: String,
}

/// What a node was for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `down`, `paused`, `starting`, `leader`, `follower`, `candidate`, `alone`.
    pub role: &'static str,
    /// The epoch of the metadata quorum.
    pub epoch: i32,
    /// Why, where it is known.
    pub why: String,
}

/// How far a replica has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where its log ends.
    pub end: i64,
    /// What it takes for committed.
    pub mark: i64,
    /// The leader epoch that it knows.
    pub epoch: i32,
    /// Does it lead?
    pub leads: bool,
    /// Is it in sync, as far as its node knows?
    pub in_sync: bool,
}

/// How far a replica had come, from when on; `None` is that there was none.
pub type Steps = VecDeque<(u64, Option<Step>)>;

/// Something worth a mark on the time line.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When.
    pub at: u64,
    /// At which node, if at one.
    pub node: Option<usize>,
    /// `strike`, `crash`, `phase`.
    pub kind: &'static str,
    /// What.
    pub text: String,
}

/// Links that carry nothing for a while.
#[derive(Clone, Debug)]
pub struct Cut {
    /// From when.
    pub from: u64,
    /// Until when; the end if it is none.
    pub until: Option<u64>,
    /// From whom to whom.
    pub link: (Party, Party),
}

/// A film of one run.
#[derive(Clone, Debug, Default)]
pub struct Film {
    /// Who the clients are, in order.
    pub clients: Vec<String>,
    /// What each node was, from when.
    pub states: Vec<Vec<(u64, State)>>,
    /// How far the replica of each partition on each node had come.
    pub replicas: BTreeMap<(TopicPartition, usize), Steps>,
    /// What partitions are called.
    pub names: BTreeMap<TopicPartition, String>,
    /// What was said.
    pub messages: VecDeque<Message>,
    /// What stands out.
    pub moments: Vec<Moment>,
    /// Links that were cut.
    pub cuts: Vec<Cut>,
    /// Messages that came too early to be kept.
    pub missing: u64,
    open: BTreeMap<(ConnId, u64, bool), u64>,
}

impl Film {
    /// A message goes out.
    pub fn sent(&mut self, conn: ConnId, call: u64, way: Way, message: Message) {
        if self.messages.len() == MESSAGES_MAX {
            self.messages.pop_front();
            self.missing += 1;
        }
        self.open.insert((conn, call, way == Way::Up), self.missing + self.messages.len() as u64);
        self.messages.push_back(message);
    }

    /// A message got there.
    pub fn arrived(&mut self, conn: ConnId, call: u64, way: Way, at: u64) {
        let number = self.open.remove(&(conn, call, way == Way::Up));
        let place = number.and_then(|number| number.checked_sub(self.missing));
        if let Some(message) = place.and_then(|place| self.messages.get_mut(place as usize)) {
            message.arrived = Some(at);
        }
    }

    /// What stands out.
    pub fn moment(&mut self, at: u64, node: Option<usize>, kind: &'static str, text: String) {
        self.moments.push(Moment { at, node, kind, text });
    }

    /// What a node is now.
    pub fn state(&mut self, at: u64, node: usize, state: State) {
        if self.states.len() <= node {
            self.states.resize(node + 1, Vec::new());
        }
        let known = &mut self.states[node];
        if known.last().is_none_or(|(_, last)| (last.role, last.epoch) != (state.role, state.epoch)) {
            known.push((at, state));
        }
    }

    /// How far a replica has come.
    pub fn replica(&mut self, at: u64, partition: TopicPartition, node: usize, step: Option<Step>) {
        let steps = self.replicas.entry((partition, node)).or_default();
        if steps.back().map(|(_, last)| *last) != Some(step) {
            if steps.len() == STEPS_MAX {
                steps.pop_front();
            }
            steps.push_back((at, step));
        }
    }

    /// A node has no replicas, for it is not running.
    pub fn gone(&mut self, at: u64, node: usize) {
        for ((_, of), steps) in &mut self.replicas {
            if *of == node && steps.back().is_some_and(|(_, last)| last.is_some()) {
                steps.push_back((at, None));
            }
        }
    }

    /// The links that carry nothing now.
    pub fn blocked(&mut self, at: u64, links: &BTreeSet<(Party, Party)>) {
        for cut in self.cuts.iter_mut().filter(|cut| cut.until.is_none() && !links.contains(&cut.link)) {
            cut.until = Some(at);
        }
        for &link in links {
            if !self.cuts.iter().any(|cut| cut.until.is_none() && cut.link == link) {
                self.cuts.push(Cut { from: at, until: None, link });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sent: u64) -> Message {
        let (from, to) = (Party::Client(0), Party::Node(0));
        Message { from, to, sent, arrived: None, kind: Kind::Other, is_answer: false, text: String::new() }
    }

    #[test]
    fn an_old_message_makes_room_and_may_still_arrive() {
        let mut film = Film::default();
        for at in 0..MESSAGES_MAX as u64 + 3 {
            film.sent(ConnId(1), at, Way::Up, message(at));
        }
        film.arrived(ConnId(1), 2, Way::Up, 9_000);
        film.arrived(ConnId(1), 4, Way::Up, 9_001);
        assert_eq!((film.messages.len(), film.missing), (MESSAGES_MAX, 3));
        assert_eq!((film.messages[1].sent, film.messages[1].arrived), (4, Some(9_001)));
        assert!(film.messages.iter().filter(|message| message.arrived.is_some()).count() == 1);
    }

    #[test]
    fn a_cut_lasts_until_its_link_is_open() {
        let (mut film, link) = (Film::default(), (Party::Node(0), Party::Node(1)));
        film.blocked(5, &BTreeSet::from([link]));
        film.blocked(6, &BTreeSet::from([link]));
        film.blocked(8, &BTreeSet::new());
        let spans: Vec<_> = film.cuts.iter().map(|cut| (cut.from, cut.until)).collect();
        assert_eq!(spans, [(5, Some(8))]);
    }
}
