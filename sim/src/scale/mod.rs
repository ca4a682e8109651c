//! `scale`: many brokers and partitions, no faults but one, to see what grows with what.
//!
//! A cluster of real cores over disks in memory starts, makes its topics, idles, loses a broker and settles; the verb prints
//! virtual time, messages between nodes, inputs, wall time an input and memory, by phase. Nothing is checked but that each phase
//! comes to its end: the checkers have the world for that.
//!
//! Links take 0.25 to 0.5 ms and keep their order; a process that is killed breaks its connections at once. A disk takes 20 µs
//! for a job and 200 µs for a sync, and syncs overlap, as those of a group commit do. No call times out: nothing is silent here.

mod cluster;
mod disk;

use std::fmt::{self, Write};

use tidelog_core::{ids::NodeId, message::Endpoints, offset::Offset, quorum::Quorum};

use self::cluster::Cluster;

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Brokers; the first three are the voters, too.
    pub brokers: i32,
    /// Partitions of all topics together.
    pub partitions: i32,
    /// For ids and delays.
    pub seed: u64,
}

/// What a phase took.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// Virtual time, in nanoseconds.
    pub virtual_ns: u64,
    /// Requests and answers between nodes.
    pub messages: u64,
    /// Those of them that ask for records, and their answers.
    pub fetches: u64,
    /// Inputs that cores handled.
    pub inputs: u64,
    /// Partitions that were led by another node afterwards, or for the first time.
    pub moved: u64,
    /// Wall time of the cluster's events, in nanoseconds; looking whether a phase is over is not counted.
    pub wall_ns: u64,
    /// Resident memory of the process at its end, in bytes; 0 where the system does not say.
    pub resident: u64,
}

/// Why it did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    phase: &'static str,
    minutes: u64,
    left: String,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not over after {} simulated minutes: {}", self.phase, self.minutes, self.left)
    }
}

impl std::error::Error for Stuck {}

const REPLICAS: i16 = 3;
const VOTERS: i32 = 3;
/// Partitions of one topic.
const TOPIC_PARTITIONS: i32 = 1_000;
const SECOND: u64 = 1_000_000_000;
/// How often a phase looks whether it is over. Times are exact to this.
const LOOK_EVERY: u64 = 1_000_000;

/// Runs all phases; `progress` hears of each as it ends.
pub fn run(scale: Scale, progress: &dyn Fn(&Phase)) -> Result<Vec<Phase>, Stuck> {
    let mut phases = Vec::new();
    let mut cluster = Cluster::new(scale);
    let mut phase = |name, cluster: &mut Cluster, act: &mut dyn FnMut(&mut Cluster) -> Result<u64, Stuck>| {
        let (before, at) = (cluster.counts, cluster.now());
        let moved = act(cluster)?;
        let phase = Phase {
            name,
            virtual_ns: cluster.now() - at,
            messages: cluster.counts.messages - before.messages,
            fetches: cluster.counts.fetches - before.fetches,
            inputs: cluster.counts.inputs - before.inputs,
            moved,
            wall_ns: cluster.counts.wall_ns - before.wall_ns,
            resident: resident(),
        };
        progress(&phase);
        phases.push(phase);
        Ok(())
    };
    let brokers = scale.brokers as usize;
    phase("form", &mut cluster, &mut |cluster| {
        until("form", cluster, |cluster| {
            let active =
                cluster.controller().map_or(0, |node| node.image().brokers().filter(|(_, b)| b.is_active()).count());
            (active < brokers).then(|| format!("{active} of {brokers} brokers in service"))
        })?;
        Ok(0)
    })?;
    phase("create", &mut cluster, &mut |cluster| {
        let mut left = scale.partitions;
        while left > 0 {
            let partitions = left.min(TOPIC_PARTITIONS);
            cluster.create_topic(partitions, REPLICAS);
            left -= partitions;
            until("create", cluster, |cluster| cluster.asked().then(|| format!("{left} partitions not asked for")))?;
        }
        until("create", cluster, |cluster| led(cluster, scale.partitions))?;
        Ok(scale.partitions as u64)
    })?;
    phase("idle 10 s", &mut cluster, &mut |cluster| {
        cluster.run_until(cluster.now() + 10 * SECOND);
        Ok(0)
    })?;
    let controller = cluster.controller_id().unwrap_or(NodeId(1));
    for (victim, names) in [
        (NodeId(scale.brokers), ["kill a broker: led", "settled", "start it again"]),
        (controller, ["kill the controller: led", "settled", "start it again"]),
    ] {
        phase(names[0], &mut cluster, &mut |cluster| {
            let moved = cluster.led_by(victim);
            cluster.kill(victim);
            until(names[0], cluster, |cluster| led(cluster, scale.partitions))?;
            Ok(moved)
        })?;
        phase(names[1], &mut cluster, &mut |cluster| {
            until(names[1], cluster, |cluster| settled(cluster, victim))?;
            Ok(0)
        })?;
        phase(names[2], &mut cluster, &mut |cluster| {
            cluster.start(victim);
            until(names[2], cluster, |cluster| in_every_isr(cluster, victim))?;
            Ok(0)
        })?;
    }
    Ok(phases)
}

/// Lets time pass until `left` has nothing to say.
fn until(phase: &'static str, cluster: &mut Cluster, left: impl Fn(&Cluster) -> Option<String>) -> Result<(), Stuck> {
    let (minutes, begun) = (10, cluster.now());
    loop {
        let Some(left) = left(cluster) else { return Ok(()) };
        if cluster.now() - begun > minutes * 60 * SECOND {
            return Err(Stuck { phase, minutes, left });
        }
        cluster.run_until(cluster.now() + LOOK_EVERY);
    }
}

/// Is every partition led by a node that runs and knows it?
fn led(cluster: &Cluster, partitions: i32) -> Option<String> {
    let led = cluster
        .running()
        .map(|(_, node)| node.partitions().filter(|partition| partition.is_leader()).count())
        .sum::<usize>();
    // A node cut off could lead what another leads already; here nobody is cut off.
    (led < partitions as usize).then(|| format!("{led} of {partitions} partitions led"))
}

/// Has everybody heard that the node is gone, and is it out of every ISR?
fn settled(cluster: &Cluster, gone: NodeId) -> Option<String> {
    let Some(controller) = cluster.controller() else { return Some("no controller".to_owned()) };
    let isrs = controller.image().topics().flat_map(|topic| &topic.partitions);
    let left = isrs.filter(|partition| partition.isr.contains(&gone)).count();
    if left > 0 {
        return Some(format!("it is in {left} ISRs"));
    }
    let end = controller.quorum().map_or(Offset(0), Quorum::high_watermark);
    let behind =
        cluster.running().filter(|(_, node)| node.quorum().is_none_or(|quorum| quorum.high_watermark() < end)).count();
    (behind > 0).then(|| format!("{behind} nodes have not heard of it all"))
}

fn in_every_isr(cluster: &Cluster, node: NodeId) -> Option<String> {
    let Some(controller) = cluster.controller() else { return Some("no controller".to_owned()) };
    let its = controller
        .image()
        .topics()
        .flat_map(|topic| &topic.partitions)
        .filter(|partition| partition.replicas.contains(&node));
    let left = its.filter(|partition| !partition.isr.contains(&node)).count();
    (left > 0).then(|| format!("it is missing in {left} ISRs"))
}

/// Where a node is reached; nobody dials it.
fn endpoints(node: NodeId) -> Endpoints {
    Endpoints { native: format!("n{node}:9192"), kafka: format!("n{node}:9092") }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The phases as a table.
pub fn table(scale: Scale, phases: &[Phase]) -> String {
    let mut text =
        format!("{} brokers, {} partitions of {REPLICAS} replicas, {VOTERS} voters\n", scale.brokers, scale.partitions);
    let _ = writeln!(
        text,
        "{:<24} {:>13} {:>11} {:>11} {:>11} {:>9} {:>9} {:>9} {:>9}",
        "phase", "simulated ms", "messages", "fetches", "inputs", "moved", "wall s", "µs/input", "memory MB"
    );
    for phase in phases {
        let _ = writeln!(
            text,
            "{:<24} {:>13.1} {:>11} {:>11} {:>11} {:>9} {:>9.2} {:>9.2} {:>9.0}",
            phase.name,
            phase.virtual_ns as f64 / 1e6,
            phase.messages,
            phase.fetches,
            phase.inputs,
            phase.moved,
            phase.wall_ns as f64 / 1e9,
            phase.wall_ns as f64 / 1e3 / phase.inputs.max(1) as f64,
            phase.resident as f64 / 1e6,
        );
    }
    if let [form, create, ..] = phases {
        let bytes = create.resident.saturating_sub(form.resident) as f64;
        let replicas = f64::from(scale.partitions) * f64::from(REPLICAS);
        let images = f64::from(scale.partitions) * f64::from(scale.brokers);
        let _ = writeln!(
            text,
            "memory: {:.0} bytes a replica with its share of the images, {:.0} bytes a partition and broker",
            bytes / replicas,
            bytes / images
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_cluster_fails_over_and_takes_the_broker_back() {
        let scale = Scale { brokers: 5, partitions: 40, seed: 1 };
        let phases = run(scale, &|_| ()).expect("every phase ends");
        assert_eq!(phases.len(), 9);
        let again = run(scale, &|_| ()).expect("every phase ends");
        let counts = |phases: &[Phase]| phases.iter().map(|p| (p.virtual_ns, p.messages, p.inputs)).collect::<Vec<_>>();
        assert_eq!(counts(&phases), counts(&again), "the same run");
        assert!(phases[3].moved > 0 && phases[6].moved > 0, "both led something");
        assert!(phases[3].virtual_ns < SECOND, "{:?}", phases[3]);
        assert!(phases[6].virtual_ns < SECOND, "an election comes first: {:?}", phases[6]);
    }
}
