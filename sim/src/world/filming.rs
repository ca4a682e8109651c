//! What the film sees of the world after every event, and of every message.

use std::collections::BTreeSet;

use tidelog_core::{
    message::{Request, Response},
    quorum::RoleName,
};

use super::World;
use crate::{
    film::{Message, State, Step, kind_of_request, kind_of_response, request_text, response_text},
    host::{Host, metadata_partition},
    net::{ConnId, Party, Way},
};

impl World {
    /// A film is taken of this run.
    pub fn take_film(&mut self) {
        self.trace.take_film();
        let config = &self.config;
        let kinds = [
            ("producer", config.producers),
            ("machine", config.machines),
            ("consumer", config.consumers),
            ("asker", config.askers),
        ];
        let numbered = |(name, count): (&str, u64)| (1..=count).map(move |n| format!("{name} {n}")).collect::<Vec<_>>();
        let between = kinds.into_iter().flat_map(numbered);
        let clients = std::iter::once("admin".to_owned()).chain(between).chain(["reader".to_owned()]).collect();
        self.trace.show(|film| film.clients = clients);
    }

    /// How the world stands.
    pub(super) fn film(&mut self) {
        let now = self.queue.now();
        let (hosts, net) = (&self.hosts, &self.net);
        self.trace.show(|film| {
            film.blocked(now, &net.blocked().collect::<BTreeSet<_>>());
            for host in hosts {
                film.state(now, host.index, state_of(host));
                let partitions = host.node().into_iter().flat_map(|node| node.partitions());
                for partition in partitions {
                    let name = || format!("{}-{}", partition.topic, partition.id.partition);
                    film.names.entry(partition.id).or_insert_with(name);
                    let image = host.node().and_then(|node| node.image().partition(partition.id));
                    let step = Step {
                        end: partition.log_end().0,
                        mark: partition.high_watermark().0,
                        epoch: partition.leader_epoch().0,
                        leads: partition.is_leader(),
                        in_sync: image.is_some_and(|image| image.isr.contains(&host.id())),
                    };
                    film.replica(now, partition.id, host.index, Some(step));
                }
                if let Some(quorum) = host.quorum() {
                    let step = Step {
                        end: quorum.log_end().0,
                        mark: quorum.high_watermark().0,
                        epoch: quorum.epoch().0,
                        leads: quorum.is_leader(),
                        in_sync: quorum.voters().contains(&host.id()),
                    };
                    film.names.entry(metadata_partition()).or_insert_with(|| "metadata log".to_owned());
                    film.replica(now, metadata_partition(), host.index, Some(step));
                }
                if !host.is_up() {
                    film.gone(now, host.index);
                }
            }
        });
    }

    pub(super) fn film_request(&mut self, conn: ConnId, call: u64, from: Party, node: usize, request: &Request) {
        let sent = self.queue.now();
        self.trace.show(|film| {
            let (to, kind, text) = (Party::Node(node), kind_of_request(request), request_text(request));
            film.sent(conn, call, Way::Up, Message { from, to, sent, arrived: None, kind, is_answer: false, text });
        });
    }

    pub(super) fn film_response(&mut self, conn: ConnId, call: u64, node: usize, to: Party, response: &Response) {
        let sent = self.queue.now();
        self.trace.show(|film| {
            let (from, kind, text) = (Party::Node(node), kind_of_response(response), response_text(response));
            film.sent(conn, call, Way::Down, Message { from, to, sent, arrived: None, kind, is_answer: true, text });
        });
    }
}

fn state_of(host: &Host) -> State {
    let quorum = host.quorum();
    let role = match quorum.map(|quorum| quorum.role()) {
        _ if !host.is_up() => "down",
        _ if host.paused_until.is_some() => "paused",
        _ if host.is_offline => "disk lost",
        _ if !host.is_ready() => "starting",
        Some(RoleName::Leader) => "controller",
        Some(RoleName::Prospective | RoleName::Candidate) => "candidate",
        Some(RoleName::Follower) => "follower",
        Some(RoleName::Unattached | RoleName::Resigned) | None => "no leader",
    };
    let why = host.start_failure.clone().unwrap_or_default();
    State { role, epoch: quorum.map_or(0, |quorum| quorum.epoch().0), why }
}
