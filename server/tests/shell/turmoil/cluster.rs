//! Three production nodes and their clients on turmoil's network, and what befalls them.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidelog_core::prng::{Prng, mix};
use tidelog_server::serve::serve_on;
use tidelog_sim::{
    disk::{Latency, SimDisk},
    tally::Tally,
};
use tokio::sync::watch;
use turmoil::Sim;

use super::{
    env::{ClientRuntime, NodeEnv},
    trace::{Trace, note},
};
use crate::{
    ledger::{Contents, Ledger},
    nodes::{NODES, name, settings},
    workload::Task,
};

/// The host on which all clients are.
pub(crate) const CLIENT: &str = "client";

/// What can befall them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is gone; what it had written stays.
    Kill(usize),
    /// The machine is without power: of what was not synced anything may be gone.
    PowerLoss(usize),
    /// It is asked to stop, which may take it a while.
    Stop(usize),
    /// It is started again.
    Start(usize),
    /// Nothing passes between two, and nobody is told.
    Part(usize, usize),
    /// Nothing passes from the first to the second.
    PartOneWay(usize, usize),
    /// The node's link to clients is cut.
    PartFromClients(usize),
    /// Everything passes again. What was under way is lost, and so the connections that it belonged to.
    Mend,
    /// What two send each other stands still.
    Hold(usize, usize),
    /// It comes, late.
    Release(usize, usize),
    /// Every message between two takes this many milliseconds.
    Slow(usize, usize, u64),
}

/// One run's conditions.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) seed: u64,
    /// What happens, at which millisecond.
    pub(crate) faults: Vec<(u64, Fault)>,
    /// From when on everything works again: all nodes run, all links are fast.
    pub(crate) healed_at: u64,
    /// How long all of it may take.
    pub(crate) ends_by: u64,
    /// How long after the beginning each node starts.
    pub(crate) starts: [u64; NODES],
    pub(crate) latency_max: u64,
    pub(crate) speaks_kafka: bool,
    pub(crate) burst: u64,
    pub(crate) value_bytes: usize,
}

impl Conditions {
    /// Without faults.
    pub(crate) fn fair(seed: u64) -> Self {
        Self {
            seed,
            faults: Vec::new(),
            healed_at: 1_000,
            ends_by: 60_000,
            starts: [0; NODES],
            latency_max: 5,
            speaks_kafka: seed % 2 == 1,
            burst: 4,
            value_bytes: 50,
        }
    }

    /// With these faults, healed some time after the last.
    pub(crate) fn with(seed: u64, faults: Vec<(u64, Fault)>) -> Self {
        let healed_at = faults.iter().map(|&(at, _)| at).max().unwrap_or(0) + 100;
        Self { faults, healed_at, ends_by: healed_at + 90_000, ..Self::fair(seed) }
    }
}

/// What a run leaves behind.
pub(crate) struct Outcome {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) contents: Contents,
    /// Simulated time.
    pub(crate) took: Duration,
}

/// The nodes and their network.
pub(crate) struct Cluster {
    pub(crate) sim: Sim<'static>,
    disks: Vec<SimDisk>,
    stops: Vec<watch::Sender<()>>,
    is_up: [bool; NODES],
    healed: Arc<AtomicBool>,
    is_slowed: bool,
}

impl Cluster {
    /// Starts the nodes.
    pub(crate) fn start(conditions: &Conditions) -> Self {
        let &Conditions { seed, ends_by, starts, latency_max, .. } = conditions;
        let mut sim = turmoil::Builder::new()
            .rng_seed(mix(seed))
            .epoch(std::time::UNIX_EPOCH + EPOCH)
            .simulation_duration(Duration::from_millis(ends_by))
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(latency_max))
            .enable_random_order()
            .build();
        let latency = Latency { read: 20_000, write: 5_000, sync: 800_000 };
        let disks: Vec<SimDisk> =
            (0..NODES).map(|node| SimDisk::new(seed, node as u64, latency.clone(), Tally::default())).collect();
        let stops: Vec<watch::Sender<()>> = disks.iter().map(|_| watch::Sender::new(())).collect();
        for (node, disk) in disks.iter().enumerate() {
            let stop = stops[node].clone();
            let settings = Rc::new(settings(node));
            let (disk, draws, starts_made) = (disk.clone(), Rc::new(Cell::new(0)), Cell::new(0));
            sim.host(name(node), move || {
                let is_first = starts_made.replace(starts_made.get() + 1) == 0;
                let delay = if is_first { starts[node] } else { 0 };
                let env = NodeEnv::new(seed, node as u64, Rc::clone(&draws));
                let (settings, disk) = (Rc::clone(&settings), disk.clone());
                let mut stop = stop.subscribe();
                let signal = async move { drop(stop.changed().await) };
                async move {
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    let announce = |line: &str| note(format!("{}: {line}", name(node)));
                    Ok(serve_on(&env, &settings, disk, announce, signal).await?)
                }
            });
        }
        Self { sim, disks, stops, is_up: [true; NODES], healed: Arc::default(), is_slowed: false }
    }

    /// Makes something happen.
    pub(crate) fn strike(&mut self, fault: Fault) {
        note(format!("{fault:?}"));
        match fault {
            Fault::Kill(node) => self.kill(node, SimDisk::process_died),
            Fault::PowerLoss(node) => self.kill(node, SimDisk::power_lost),
            Fault::Stop(node) => {
                if std::mem::replace(&mut self.is_up[node], false) {
                    self.stops[node].send_replace(());
                }
            }
            Fault::Start(node) => {
                if !std::mem::replace(&mut self.is_up[node], true) {
                    // Who was asked to stop and has not is killed for it.
                    self.sim.crash(name(node));
                    self.disks[node].process_died();
                    self.sim.bounce(name(node));
                }
            }
            Fault::Part(one, other) => self.sim.partition(name(one), name(other)),
            Fault::PartOneWay(from, to) => self.sim.partition_oneway(name(from), name(to)),
            Fault::PartFromClients(node) => self.sim.partition(name(node), CLIENT),
            Fault::Mend => self.mend(),
            Fault::Hold(one, other) => self.sim.hold(name(one), name(other)),
            Fault::Release(one, other) => self.sim.release(name(one), name(other)),
            Fault::Slow(one, other, millis) => {
                self.is_slowed = true;
                self.sim.set_link_latency(name(one), name(other), Duration::from_millis(millis));
            }
        }
    }

    fn kill(&mut self, node: usize, becomes_of: fn(&SimDisk)) {
        if std::mem::replace(&mut self.is_up[node], false) {
            self.sim.crash(name(node));
            becomes_of(&self.disks[node]);
        }
    }

    fn mend(&mut self) {
        for one in 0..NODES {
            self.sim.repair(name(one), CLIENT);
            for other in 0..one {
                self.sim.repair(name(one), name(other));
            }
        }
    }

    /// Everything works from here on.
    pub(crate) fn heal(&mut self) {
        note("healed".to_owned());
        self.mend();
        for one in 0..NODES {
            self.strike(Fault::Start(one));
            for other in 0..one {
                self.sim.release(name(one), name(other));
                if self.is_slowed {
                    self.sim.set_link_latency(name(one), name(other), Duration::from_millis(2));
                }
            }
        }
        self.healed.store(true, Ordering::Relaxed);
    }
}

/// Runs a cluster and its clients under these conditions to the end, and holds what clients were told against what is
/// there.
pub(crate) fn run(conditions: &Conditions) -> Outcome {
    run_with(conditions, |_| {})
}

/// The same; `add` can add to the cluster before it runs.
pub(crate) fn run_with(conditions: &Conditions, add: impl FnOnce(&mut Cluster)) -> Outcome {
    let mut cluster = Cluster::start(conditions);
    let ledger = Arc::new(Ledger::default());
    let task = Task {
        runtime: Arc::new(ClientRuntime),
        speaks_kafka: conditions.speaks_kafka,
        partitions: 2,
        writers: 3,
        burst: conditions.burst,
        value_bytes: conditions.value_bytes,
        seed: conditions.seed,
        ledger: Arc::clone(&ledger),
        healed: Arc::clone(&cluster.healed),
        note,
    };
    let contents = Rc::new(Cell::new(Contents::new()));
    let found = Rc::clone(&contents);
    cluster.sim.client(CLIENT, async move {
        found.set(task.run().await);
        Ok(())
    });
    add(&mut cluster);
    let mut faults = conditions.faults.clone();
    faults.sort_by_key(|&(at, _)| std::cmp::Reverse(at));
    let is_due = |elapsed: Duration, at: u64| elapsed >= Duration::from_millis(at);
    let took = loop {
        let elapsed = cluster.sim.elapsed();
        while let Some((_, fault)) = faults.pop_if(|&mut (at, _)| is_due(elapsed, at)) {
            cluster.strike(fault);
        }
        if is_due(elapsed, conditions.healed_at) && !cluster.healed.load(Ordering::Relaxed) {
            cluster.heal();
        }
        match cluster.sim.step() {
            Ok(true) => break elapsed,
            Ok(false) => {}
            Err(error) => panic!("{conditions:?}: {error}; {} acknowledged", ledger.count()),
        }
        assert!(!super::panics::happened(), "{conditions:?}: a task has panicked");
    };
    let contents = contents.take();
    let breaches = ledger.check(&contents);
    assert!(breaches.is_empty(), "{conditions:?}:\n{}", breaches.join("\n"));
    Outcome { ledger, contents, took }
}

/// Runs a seed twice and demands equal traces; what the first run left behind, and its trace.
pub(crate) fn run_twice(conditions: &Conditions) -> (Outcome, Trace) {
    super::trace::twice(&format!("seed {}", conditions.seed), |trace| (run(conditions), trace.clone()))
}

/// Any mixture of faults, from the seed.
pub(crate) fn mixture(seed: u64) -> Conditions {
    let mut prng = Prng::new(mix(seed ^ 0xfau64));
    let mut faults = Vec::new();
    let mut at = 4_000;
    for _ in 0..2 + prng.below(3) {
        at += 200 + prng.below(5_000);
        let one = prng.below(NODES as u64) as usize;
        let other = (one + 1 + prng.below(NODES as u64 - 1) as usize) % NODES;
        let lasts = 500 + prng.below(7_000);
        let (begins, ends) = match prng.below(9) {
            0 => (vec![Fault::Kill(one)], Fault::Start(one)),
            1 => (vec![Fault::PowerLoss(one)], Fault::Start(one)),
            2 => (vec![Fault::Part(one, other)], Fault::Mend),
            3 => (vec![Fault::Part(one, other), Fault::Part(one, 3 - one - other)], Fault::Mend),
            4 => (vec![Fault::PartFromClients(one)], Fault::Mend),
            5 => (vec![Fault::Slow(one, other, 50 + prng.below(400))], Fault::Slow(one, other, 3)),
            6 => (vec![Fault::PartOneWay(one, other)], Fault::Mend),
            7 => (vec![Fault::Stop(one)], Fault::Start(one)),
            _ => (vec![Fault::PowerLoss(one), Fault::Kill(other)], Fault::Start(one)),
        };
        faults.extend(begins.into_iter().map(|fault| (at, fault)));
        faults.push((at + lasts, ends));
    }
    Conditions::with(seed, faults)
}

/// How far a simulated clock goes before the next host's turn: twice as far is half the work.
const TICK: Duration = Duration::from_millis(2);
/// When simulated clocks begin.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
