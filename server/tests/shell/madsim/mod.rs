//! The shell on madsim: whichever task is ready may run next, time passes with every step, and nodes are paused, killed and
//! started again at any of them.
//!
//! What is looked for besides what the ledger finds: a wake-up that is lost or two tasks that wait for each other, by
//! which a run does not come to its end; a task that stays behind when its connection or its node has ended; and anything
//! that is not a function of the seed.
//!
//! `SEEDS=A..B` says which seeds; every tenth runs twice, and must draw the same random numbers at the same times.

mod env;

use std::{
    cell::RefCell,
    net::Ipv4Addr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use madsim::{
    Config,
    net::NetSim,
    runtime::{Handle, NodeHandle, Runtime},
    time::{TimeHandle, sleep},
};
use tidelog_core::prng::{Prng, mix};
use tidelog_server::serve::serve_on;
use tidelog_sim::{
    disk::{Latency, SimDisk},
    tally::Tally,
};

use self::env::{ClientRuntime, NodeEnv};
use crate::{
    ledger::Ledger,
    nodes::{NODES, name, settings},
    workload::Task,
};

thread_local! {
    /// Nodes are begun by functions that may hold nothing of their thread's own.
    static DISKS: RefCell<Vec<SimDisk>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn nothing_is_lost_and_nobody_waits_for_ever_in_whatever_order_tasks_run() {
    let seeds = std::env::var("SEEDS").map_or(0..50, |text| range(&text).expect("SEEDS=A..B"));
    let (begun, total) = (Instant::now(), seeds.end - seeds.start);
    let (mut acknowledged, mut simulated) = (0, Duration::ZERO);
    for seed in seeds {
        let ended = if seed % 10 == 0 {
            Runtime::check_determinism(seed, Config::default(), run)
        } else {
            // On a thread of its own, so that nothing of the run before is there.
            let run = move || {
                let mut runtime = Runtime::with_seed_and_config(seed, Config::default());
                runtime.set_time_limit(TIME_MAX);
                runtime.block_on(run())
            };
            match std::thread::spawn(run).join() {
                Ok(ended) => ended,
                Err(_) => panic!("seed {seed} failed: SEEDS={seed}..{} runs it alone", seed + 1),
            }
        };
        acknowledged += ended.acknowledged;
        simulated += ended.took;
    }
    let real = begun.elapsed();
    println!("{total} seeds: {acknowledged} records acknowledged, {simulated:.1?} simulated in {real:.1?}");
}

/// What a run leaves behind.
#[derive(Debug)]
struct Ended {
    acknowledged: usize,
    took: Duration,
}

/// One run: the seed is the runtime's.
async fn run() -> Ended {
    let handle = Handle::current();
    let seed = handle.seed();
    let net = NetSim::current();
    let latency = Latency { read: 20_000, write: 5_000, sync: 800_000 };
    DISKS.set((0..NODES as u64).map(|node| SimDisk::new(seed, node, latency.clone(), Tally::default())).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicUsize::new(0));
    let nodes: Vec<NodeHandle> = (0..NODES)
        .map(|node| {
            let ip = Ipv4Addr::new(10, 0, 0, node as u8 + 1);
            net.add_dns_record(name(node), ip.into());
            let (stop, ended) = (Arc::clone(&stop), Arc::clone(&ended));
            let begin = move || serve_node(node, Arc::clone(&stop), Arc::clone(&ended));
            handle.create_node().name(name(node)).ip(ip.into()).init(begin).build()
        })
        .collect();
    let clients = handle.create_node().name("client").ip(Ipv4Addr::new(10, 0, 1, 1).into()).build();
    let ledger = Arc::new(Ledger::default());
    let healed = Arc::new(AtomicBool::new(false));
    let task = Task {
        runtime: Arc::new(ClientRuntime),
        speaks_kafka: seed % 2 == 1,
        partitions: 2,
        writers: 3,
        burst: 4,
        value_bytes: 50,
        seed,
        ledger: Arc::clone(&ledger),
        healed: Arc::clone(&healed),
        note: |_| {},
    };
    let working = clients.spawn(task.run());
    befall(&handle, &net, &nodes, seed).await;
    healed.store(true, Ordering::Relaxed);
    let contents = working.await.expect("clients come to their end");
    let breaches = ledger.check(&contents);
    assert!(breaches.is_empty(), "seed {seed}:\n{}", breaches.join("\n"));

    // With the clients gone, what runs on a node is bounded, and stays so.
    handle.kill(clients.id());
    sleep(Duration::from_secs(12)).await;
    let tasks = handle.metrics().num_tasks_by_node();
    let most = (0..NODES).map(|node| tasks[name(node)]).max().expect("nodes");
    assert!(most <= IDLE_TASKS_MAX, "seed {seed}: tasks stay behind: {tasks:?}");

    // And when they stop, nothing of them goes on but the task that began them.
    stop.store(true, Ordering::Relaxed);
    while ended.load(Ordering::Relaxed) < NODES {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(12)).await;
    let tasks = handle.metrics().num_tasks_by_node();
    let left: usize = (0..NODES).map(|node| tasks[name(node)]).sum();
    assert_eq!(left, NODES, "seed {seed}: tasks outlive what began them: {tasks:?}");
    Ended { acknowledged: ledger.count(), took: TimeHandle::current().elapsed() }
}

async fn serve_node(node: usize, stop: Arc<AtomicBool>, ended: Arc<AtomicUsize>) {
    let disk = DISKS.with_borrow(|disks| disks[node].clone());
    let stop = async move {
        while !stop.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    serve_on(&NodeEnv, &settings(node), disk, |_| {}, stop).await.expect("it stops when it is told to");
    ended.fetch_add(1, Ordering::Relaxed);
    // The runtime ends all tasks of a node whose first one returns: what stays behind would not be seen.
    std::future::pending().await
}

/// Lets things happen to the nodes for a while, and undoes all of them at the end.
async fn befall(handle: &Handle, net: &NetSim, nodes: &[NodeHandle], seed: u64) {
    let mut prng = Prng::new(mix(seed ^ 0xbad));
    sleep(Duration::from_millis(3_000 + prng.below(2_000))).await;
    for _ in 0..3 + prng.below(3) {
        let one = prng.below(NODES as u64) as usize;
        let other = (one + 1 + prng.below(NODES as u64 - 1) as usize) % NODES;
        let lasts = Duration::from_millis(100 + prng.below(6_000));
        let (one_id, other_id) = (nodes[one].id(), nodes[other].id());
        match prng.below(6) {
            0 => {
                handle.pause(one_id);
                sleep(lasts).await;
                handle.resume(one_id);
            }
            1 => {
                kill(handle, nodes, one, SimDisk::process_died).await;
                sleep(lasts).await;
                handle.restart(one_id);
            }
            2 => {
                kill(handle, nodes, one, SimDisk::power_lost).await;
                kill(handle, nodes, other, SimDisk::process_died).await;
                sleep(lasts).await;
                handle.restart(one_id);
                handle.restart(other_id);
            }
            3 => {
                net.clog_node(one_id);
                sleep(lasts).await;
                net.unclog_node(one_id);
            }
            4 => {
                net.clog_link(one_id, other_id);
                sleep(lasts).await;
                net.unclog_link(one_id, other_id);
            }
            _ => {
                // The controller of a moment ago comes back and believes that no time has passed.
                handle.pause(one_id);
                handle.pause(other_id);
                sleep(lasts).await;
                handle.resume(other_id);
                sleep(Duration::from_millis(prng.below(500))).await;
                handle.resume(one_id);
            }
        }
        sleep(Duration::from_millis(prng.below(4_000))).await;
    }
}

async fn kill(handle: &Handle, nodes: &[NodeHandle], node: usize, becomes_of: fn(&SimDisk)) {
    handle.kill(nodes[node].id());
    // Killed tasks are dropped when their turn comes.
    sleep(Duration::from_millis(1)).await;
    DISKS.with_borrow(|disks| becomes_of(&disks[node]));
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// No run lasts longer.
const TIME_MAX: Duration = Duration::from_secs(300);
/// What runs on a node that nobody uses: its life, listeners, driver, disk, a link to each other node and a connection from
/// each, with one more of each that is about to end.
const IDLE_TASKS_MAX: usize = 5 + 4 * (NODES - 1);
