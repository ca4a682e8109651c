//! Runs one machine: carries its calls over links, its events to the application, and time to it.
//!
//! Everything happens under one lock that is held for as long as the machine thinks and never across an await: an
//! application thread that appends, a link's reader with an answer, the timer. Orders are carried out before the lock
//! is let go, so calls to one node leave in the order in which they were given.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use tidelog_core::{
    client::{Call, CallId, Machine, Order, Reply, Target},
    ids::NodeId,
    message::{Acks, Request},
    time::{Instant, Timestamp},
};
use tokio::sync::Notify;

use crate::{
    client::Shared,
    link::{self, Greeted, LinkReader, Outbox, Queued},
    runtime::{EndTask, Work, within},
    wire::Correlation,
};

/// What hears of a machine's events.
pub(crate) trait Application<E>: Send + 'static {
    fn on_event(&mut self, event: E);
}

/// A machine with everything it needs to run.
pub(crate) struct Driver<M: Machine, A> {
    shared: Arc<Shared>,
    state: Mutex<State<M, A>>,
    /// An earlier deadline than the timer waits for.
    hurry: Notify,
}

struct State<M: Machine, A> {
    machine: M,
    application: A,
    links: BTreeMap<LinkKey, Link>,
    links_made: u64,
    /// Which bootstrap address to try next.
    bootstrap: usize,
    /// Until when the timer sleeps.
    alarm: Option<Instant>,
    timer: Option<EndTask>,
    stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LinkKey {
    Node(NodeId),
    /// To whoever answers at one of the addresses that the client was given.
    Bootstrap,
}

/// A connection, made or being made.
struct Link {
    /// Tells it from an earlier one under the same key.
    id: u64,
    outbox: Arc<Outbox>,
    /// Calls whose reply comes over it.
    open: BTreeSet<CallId>,
    tasks: Vec<EndTask>,
    /// Failures to connect in a row, over links of the same key.
    failures: u32,
    /// The other end has answered.
    is_up: bool,
}

impl<M, A> Driver<M, A>
where
    M: Machine + Send + 'static,
    M::Event: Send,
    A: Application<M::Event>,
{
    /// Starts the timer. Must be called in a runtime.
    pub(crate) fn start(shared: Arc<Shared>, machine: M, application: A) -> Arc<Self> {
        let driver = Arc::new(Self {
            shared,
            state: Mutex::new(State {
                machine,
                application,
                links: BTreeMap::new(),
                links_made: 0,
                bootstrap: 0,
                alarm: None,
                timer: None,
                stopped: false,
            }),
            hurry: Notify::new(),
        });
        let timer = driver.spawn(driver.clone().keep_time());
        driver.lock().timer = Some(timer);
        driver
    }

    /// Has the machine do something, then carries out what it orders.
    pub(crate) fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut M, &mut A, Instant) -> R) -> R {
        self.with_if(|machine, application, now| (act(machine, application, now), true))
    }

    /// The same; the second value says whether there may be orders or an earlier deadline at all.
    pub(crate) fn with_if<R>(self: &Arc<Self>, act: impl FnOnce(&mut M, &mut A, Instant) -> (R, bool)) -> R {
        let mut state = self.lock();
        let State { machine, application, .. } = &mut *state;
        let (result, stirred) = act(machine, application, self.now());
        if stirred {
            self.pump(&mut state);
        }
        result
    }

    /// Ends all tasks. Calls under way are forgotten.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        for link in std::mem::take(&mut state.links).into_values() {
            link.end();
        }
        if let Some(timer) = state.timer.take() {
            timer();
        }
    }

    /// The machine's time.
    pub(crate) fn now(&self) -> Instant {
        self.shared.runtime.now()
    }

    /// Wall time, for records that bring none.
    pub(crate) fn wall(&self) -> Timestamp {
        self.shared.runtime.wall()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> EndTask {
        let task: Work<'static, ()> = Box::pin(task);
        self.shared.runtime.spawn(task)
    }

    fn lock(&self) -> MutexGuard<'_, State<M, A>> {
        self.state.lock().expect("a machine does not panic")
    }

    fn pump(self: &Arc<Self>, state: &mut State<M, A>) {
        while let Some(order) = state.machine.poll_order() {
            match order {
                Order::Event(event) => state.application.on_event(event),
                Order::Call(call) => self.carry(state, call),
                Order::Abandon(call) => self.abandon(state, call),
            }
        }
        let deadline = state.machine.next_deadline();
        if let Some(deadline) = deadline
            && state.alarm.is_none_or(|alarm| deadline < alarm)
        {
            state.alarm = Some(deadline);
            self.hurry.notify_one();
        }
    }

    fn reply(self: &Arc<Self>, state: &mut State<M, A>, call: CallId, reply: Reply) {
        state.machine.on_reply(self.now(), call, reply);
        self.pump(state);
    }

    async fn keep_time(self: Arc<Self>) {
        loop {
            let alarm = {
                let mut state = self.lock();
                if state.stopped {
                    return;
                }
                state.machine.on_time(self.now());
                self.pump(&mut state);
                state.alarm = state.machine.next_deadline();
                state.alarm
            };
            match alarm {
                // Over early means that the alarm was set earlier: look again either way.
                Some(at) => {
                    let span = std::time::Duration::from_nanos(at.since(self.now()).0);
                    within(&*self.shared.runtime, span, self.hurry.notified()).await.unwrap_or_default();
                }
                None => self.hurry.notified().await,
            }
        }
    }

    // -------------------------------------------------------------------------------------------------- calls

    fn carry(self: &Arc<Self>, state: &mut State<M, A>, call: Call) {
        if state.stopped {
            return;
        }
        let frame = match self.shared.protocol.encode(Correlation(call.id.0), &call.request) {
            Ok(frame) => frame,
            Err(error) => return state.machine.on_reply(self.now(), call.id, Reply::Refused(error)),
        };
        let key = match call.to {
            Target::Node(node) => LinkKey::Node(node),
            // Any node will do: one that is connected already, if there is one.
            Target::Any => state.links.iter().find(|(_, l)| l.is_up).map_or(LinkKey::Bootstrap, |(&key, _)| key),
        };
        if !state.links.contains_key(&key) {
            self.connect(state, key, 0);
        }
        let link = state.links.get_mut(&key).expect("made above");
        link.open.insert(call.id);
        let answered = !matches!(&call.request, Request::Produce(p) if p.acks == Acks::None);
        link.outbox.push(Queued { call: call.id, frame, answered });
    }

    /// Nobody waits for the reply any more. A frame that has not left is taken back. A node that lets a request time
    /// out is not trusted to answer the others: the connection is given up.
    fn abandon(self: &Arc<Self>, state: &mut State<M, A>, call: CallId) {
        let Some((&key, link)) = state.links.iter_mut().find(|(_, l)| l.open.contains(&call)) else { return };
        link.open.remove(&call);
        if !link.outbox.remove(call) {
            let id = link.id;
            self.on_link_down(state, key, id, false);
        }
    }

    // -------------------------------------------------------------------------------------------------- links

    fn connect(self: &Arc<Self>, state: &mut State<M, A>, key: LinkKey, failures: u32) {
        state.links_made += 1;
        let id = state.links_made;
        let bootstrap = state.bootstrap;
        let outbox = Arc::new(Outbox::default());
        let task = self.spawn(self.clone().run_link(key, id, bootstrap, outbox.clone(), failures));
        let tasks = vec![task];
        state.links.insert(key, Link { id, outbox, open: BTreeSet::new(), tasks, failures, is_up: false });
    }

    async fn run_link(
        self: Arc<Self>,
        mut key: LinkKey,
        id: u64,
        bootstrap: usize,
        outbox: Arc<Outbox>,
        failures: u32,
    ) {
        // At other addresses others answer: each is tried before any has to wait.
        let failures_here = match key {
            LinkKey::Bootstrap => failures / self.shared.addresses(),
            LinkKey::Node(_) => failures,
        };
        if failures_here > 0 {
            let span = RECONNECT_FIRST.saturating_mul(1 << failures_here.min(6)).min(RECONNECT_MAX);
            self.shared.runtime.sleep(span).await;
        }
        let address = match key {
            LinkKey::Bootstrap => Ok(self.shared.bootstrap(bootstrap)),
            LinkKey::Node(node) => self.shared.address_of(node),
        };
        let greeted = match address {
            Ok(address) => link::greet(&self.shared, &address).await,
            Err(error) => Err(error),
        };
        let Ok(Greeted { reader, writer, node }) = greeted else {
            return self.on_link_failed(key, id, failures);
        };
        if let (LinkKey::Node(expected), Some(node)) = (key, node)
            && expected != node
        {
            // Somebody else lives there now; the metadata will say where the node has gone.
            return self.on_link_failed(key, id, failures);
        }
        {
            let mut state = self.lock();
            // One connection to a node is enough: a bootstrap link becomes the node's own.
            if let (LinkKey::Bootstrap, Some(own)) = (key, node.map(LinkKey::Node))
                && !state.links.contains_key(&own)
            {
                let Some(link) = state.links.remove(&key) else { return };
                if link.id == id {
                    state.links.insert(own, link);
                    key = own;
                } else {
                    state.links.insert(key, link);
                }
            }
            let Some(link) = state.links.get_mut(&key).filter(|l| l.id == id) else { return };
            (link.failures, link.is_up) = (0, true);
            let driver = self.clone();
            let sent = move |call| driver.on_sent(key, id, call);
            link.tasks.push(self.spawn(writer.run(outbox, sent)));
        }
        self.read(reader, key, id).await;
        let mut state = self.lock();
        self.on_link_down(&mut state, key, id, false);
    }

    /// Reads replies until the connection ends.
    async fn read(self: &Arc<Self>, mut reader: LinkReader, key: LinkKey, id: u64) {
        while let Ok(answered) = reader.next().await {
            self.shared.learn(answered.surroundings.endpoints);
            let Ok(reply) = link::reply_of(answered.message) else { return };
            let call = CallId(answered.correlation.0);
            let mut state = self.lock();
            let Some(link) = state.links.get_mut(&key).filter(|l| l.id == id) else { return };
            if link.open.remove(&call) {
                self.reply(&mut state, call, reply);
            }
        }
    }

    fn on_sent(self: &Arc<Self>, key: LinkKey, id: u64, call: CallId) {
        let mut state = self.lock();
        if let Some(link) = state.links.get_mut(&key).filter(|l| l.id == id)
            && link.open.remove(&call)
        {
            self.reply(&mut state, call, Reply::Sent);
        }
    }

    fn on_link_failed(self: &Arc<Self>, key: LinkKey, id: u64, failures: u32) {
        let mut state = self.lock();
        if key == LinkKey::Bootstrap {
            state.bootstrap += 1;
        }
        if let Some(link) = state.links.get_mut(&key).filter(|l| l.id == id) {
            link.failures = failures + 1;
        }
        self.on_link_down(&mut state, key, id, true);
    }

    /// The connection is gone: everything that it carried has its reply. One that never came about leaves an empty
    /// place behind, which remembers to wait before the next attempt.
    fn on_link_down(self: &Arc<Self>, state: &mut State<M, A>, key: LinkKey, id: u64, failed: bool) {
        let Some(link) = state.links.get(&key).filter(|l| l.id == id) else { return };
        let failures = link.failures;
        let link = state.links.remove(&key).expect("found above");
        let unsent: BTreeSet<CallId> = link.outbox.take_all().into_iter().map(|q| q.call).collect();
        let open = link.open.clone();
        link.end();
        let now = self.now();
        for call in open {
            let reply = if unsent.contains(&call) { Reply::NotSent } else { Reply::Lost };
            state.machine.on_reply(now, call, reply);
        }
        if failed && !state.stopped && !state.links.contains_key(&key) {
            // Carries what is asked for meanwhile, after its wait.
            self.connect_later(state, key, failures);
        }
        self.pump(state);
    }

    fn connect_later(self: &Arc<Self>, state: &mut State<M, A>, key: LinkKey, failures: u32) {
        if failures <= RECONNECTS_UNASKED_MAX {
            self.connect(state, key, failures);
        }
    }
}

impl Link {
    fn end(self) {
        for task in self.tasks {
            task();
        }
    }
}

/// The wait before a second attempt to connect; it doubles with every further one.
const RECONNECT_FIRST: std::time::Duration = std::time::Duration::from_millis(50);
/// The longest wait between attempts to connect.
const RECONNECT_MAX: std::time::Duration = std::time::Duration::from_secs(1);
/// Attempts in a row that are made although nobody asks for the node; the next call begins them anew.
const RECONNECTS_UNASKED_MAX: u32 = 5;
