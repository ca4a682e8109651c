//! The swarm configuration: what one seed is about.
//!
//! Every knob is drawn from the seed on its own stream, so that overriding one leaves the others as they were. Most
//! seeds leave most faults out: a run in which everything fails at once tests little but failing.

use tidelog_core::{
    log::LogConfig,
    node::{ClusterWaits, MetadataLogConfig},
    record::TimestampType,
    time::Duration,
};

use crate::rng::{Purpose, Stream};

macro_rules! knobs {
    ($($(#[doc = $doc:literal])* $name:ident = $default:literal, |$random:ident| $draw:expr;)*) => {
        /// All knobs of a run. Flags are 0 or 1; times are milliseconds unless the name says otherwise.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Config {
            /// The configuration that belongs to this seed.
            pub fn draw(seed: u64) -> Self {
                let mut entity = 0;
                $(
                    entity += 1;
                    let $name = {
                        let $random = &mut Stream::new(seed, Purpose::Config, entity);
                        $draw
                    };
                )*
                Self { $($name,)* }
            }

            /// How many nodes the profiles of a sweep give this seed: a node alone in three of ten, three in five, else five.
            pub fn draw_nodes(seed: u64) -> u64 {
                match Stream::new(seed, Purpose::Config, 1_000).below(10) {
                    0..=2 => 1,
                    3..=7 => 3,
                    _ => 5,
                }
            }

            /// All knobs by name.
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// Turns one knob.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), UnknownKnob> {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return Err(UnknownKnob(name.to_owned())),
                }
                Ok(())
            }

            /// Every knob with what it is.
            pub fn describe() -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), concat!($($doc),*).trim_ascii()),)*]
            }
        }
    };
}

/// There is no knob of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKnob(pub String);

fn flag(random: &mut Stream, ppm: u64) -> u64 {
    u64::from(random.chance(ppm))
}

/// Zero in most seeds, else something from this range.
fn rarely(random: &mut Stream, ppm: u64, low: u64, high: u64) -> u64 {
    if random.chance(ppm) { random.log_between(low, high) } else { 0 }
}

const HALF: u64 = 500_000;

knobs! {
    /// How long faults strike.
    chaos_ms = 10_000, |r| r.between(20_000, 90_000);
    /// What clients do in that time, all together, roughly.
    operations = 400, |r| r.log_between(150, 900);
    /// Do events of one instant come in random order?
    tie_shuffle = 0, |r| flag(r, HALF);
    /// Nodes.
    nodes = 1, |_r| 1;

    /// Raw producers.
    producers = 2, |r| r.between(1, 3);
    /// Raw consumers.
    consumers = 1, |r| r.between(1, 2);
    /// Producers and consumers that are core's own client machines.
    machines = 1, |r| r.between(0, 2);
    /// Clients that create, delete, alter and ask.
    admins = 1, |r| flag(r, 800_000);
    /// Topics that live as long as the run.
    stable_topics = 1, |r| r.between(1, 2);
    /// Topics whose old values of a key go.
    compacted_topics = 0, |r| flag(r, 400_000);
    /// Topics that are deleted and created again.
    churned_topics = 0, |r| flag(r, 400_000);
    /// Partitions of each at first.
    partitions = 1, |r| r.between(1, 3);
    /// Keys that records have.
    keys = 8, |r| r.log_between(2, 32);
    /// Records per batch, at most.
    batch_records = 5, |r| r.log_between(1, 24);
    /// Bytes of a record's value, at most.
    value_bytes = 100, |r| r.log_between(16, 2_000);
    /// Batches of one partition in flight.
    in_flight = 5, |r| r.between(1, 5);
    /// Are batches compressed, with a codec drawn for each?
    compression = 0, |r| flag(r, 300_000);
    /// A batch is sent again although nothing asks for it, per million.
    ghosts_ppm = 0, |r| rarely(r, HALF, 5_000, 200_000);
    /// Is Kafka's page-cache rule in force (durability=replicated)?
    replicated_durability = 0, |r| flag(r, 120_000);
    /// Do clients idle for long stretches?
    idle_phases = 0, |r| flag(r, 250_000);
    /// Do all messages go through the wire codec?
    wire = 0, |r| flag(r, 100_000);

    /// Bytes of a segment.
    segment_bytes = 65_536, |r| r.log_between(512, 1 << 20);
    /// Age at which a segment rolls.
    segment_ms = 604_800_000, |r| match r.below(3) { 0 => r.log_between(200, 20_000), _ => 604_800_000 };
    /// Bytes of an index.
    index_bytes = 4_096, |r| r.log_between(64, 65_536);
    /// Bytes between two index entries.
    index_interval_bytes = 4_096, |r| r.log_between(16, 8_192);
    /// Age at which records go; 0 is never.
    retention_ms = 0, |r| rarely(r, 250_000, 2_000, 60_000);
    /// Size at which records go; 0 is never.
    retention_bytes = 0, |r| rarely(r, 250_000, 1_000, 200_000);
    /// How often retention looks.
    retention_check_ms = 2_000, |r| r.log_between(200, 10_000);
    /// How often the cleaner looks.
    cleaner_backoff_ms = 1_000, |r| r.log_between(100, 5_000);
    /// What must be dirty for a cleaning, in thousandths.
    dirty_permille = 500, |r| *r.pick(&[0, 10, 100, 500]);
    /// How long tombstones stay.
    delete_retention_ms = 2_000, |r| r.log_between(1, 20_000);
    /// How long removed files stay.
    file_delete_delay_ms = 1_000, |r| r.log_between(1, 10_000);
    /// After how long an idle producer is forgotten.
    producer_expiration_ms = 86_400_000, |r| if r.chance(80_000) { r.log_between(500, 20_000) } else { 86_400_000 };
    /// Bytes of the largest batch taken.
    max_message_bytes = 1_048_588, |r| if r.chance(150_000) { r.log_between(600, 8_000) } else { 1_048_588 };
    /// Do leaders set timestamps (LogAppendTime)?
    log_append_time = 0, |r| flag(r, 150_000);
    /// How often the recovery point is written.
    checkpoint_ms = 2_000, |r| r.log_between(100, 10_000);

    /// Mean time between two strikes.
    strike_ms = 3_000, |r| r.log_between(800, 12_000);
    /// Are processes killed?
    kill = 0, |r| flag(r, HALF);
    /// Does the power go?
    power_loss = 0, |r| flag(r, HALF);
    /// Are jobs cut off between two disk calls?
    cut_jobs = 0, |r| flag(r, HALF);
    /// Are nodes stopped and started in an orderly way?
    stop = 0, |r| flag(r, HALF);
    /// Do processes pause?
    pause = 0, |r| flag(r, 400_000);
    /// Do settings change over a restart?
    reconfigure = 0, |r| flag(r, 300_000);
    /// Reads that fail, per million, during an episode.
    read_errors_ppm = 0, |r| rarely(r, 200_000, 100, 20_000);
    /// Writes that fail.
    write_errors_ppm = 0, |r| rarely(r, 250_000, 100, 20_000);
    /// Syncs that fail.
    sync_errors_ppm = 0, |r| rarely(r, 300_000, 1_000, 100_000);
    /// Does the cache forget at once what a failed sync dropped?
    evict_on_sync_error = 0, |r| flag(r, HALF);
    /// Opens without a handle left.
    no_handles_ppm = 0, |r| rarely(r, 200_000, 100, 50_000);
    /// Does the disk fill up?
    disk_full = 0, |r| flag(r, 350_000);
    /// Does the disk go read-only?
    read_only = 0, |r| flag(r, 150_000);
    /// By how much are slow episodes slower?
    slow_disk = 0, |r| rarely(r, 400_000, 10, 1_000);
    /// Mean of a sync in microseconds.
    sync_us = 400, |r| r.log_between(100, 20_000);
    /// May acknowledged data rot? It is then to be detected and reported, never silently lost.
    catastrophe = 0, |r| flag(r, 60_000);

    /// Base delay of a message in microseconds.
    delay_us = 200, |r| r.log_between(50, 5_000);
    /// Mean of the delay added to it, in microseconds.
    jitter_us = 100, |r| r.log_between(10, 20_000);
    /// Messages that take fifty times as long, per million.
    long_delays_ppm = 0, |r| rarely(r, HALF, 1_000, 10_000);
    /// Do connections stall?
    stall = 0, |r| flag(r, 400_000);
    /// Are connections reset?
    reset = 0, |r| flag(r, HALF);
    /// Do connections die without a sign?
    half_open = 0, |r| flag(r, 300_000);
    /// Connections refused, per million.
    refused_ppm = 0, |r| rarely(r, 300_000, 10_000, 300_000);

    /// Rate error of the node's clock in parts per million.
    drift_ppm = 0, |r| rarely(r, HALF, 1, 50_000);
    /// Does the wall clock step?
    clock_steps = 0, |r| flag(r, 250_000);

    /// Does the run end with a power loss before the final reads?
    final_crash = 0, |r| flag(r, HALF);

    /// Nodes that vote in the metadata quorum; 0 is all of them.
    voters = 0, |r| if r.chance(300_000) { r.between(1, 3) } else { 0 };
    /// Replicas of each partition, as far as there are nodes.
    replication = 1, |r| *r.pick(&[1, 2, 3, 3, 3, 3]);
    /// Replicas that must have what is acknowledged (`min.insync.replicas`), at most as many as there are.
    min_isr = 1, |r| *r.pick(&[1, 1, 2, 2, 2, 3]);

    /// Are nodes split from each other, both ways?
    split = 0, |r| flag(r, HALF);
    /// Are they split one way?
    split_one_way = 0, |r| flag(r, HALF);
    /// Are leaders and controllers cut off?
    split_leader = 0, |r| flag(r, HALF);
    /// Does every node reach only its neighbours in a ring?
    split_ring = 0, |r| flag(r, 300_000);
    /// Do splits come and go?
    split_flapping = 0, |r| flag(r, 300_000);
    /// Are nodes cut off from clients?
    split_clients = 0, |r| flag(r, 300_000);
    /// Do all nodes go at once?
    all_at_once = 0, |r| flag(r, 250_000);
    /// Are machines replaced by empty ones?
    wipe = 0, |r| flag(r, 250_000);
    /// Is everything healed at the end, or just as much as progress takes?
    whole_core = 1, |r| flag(r, 250_000);
    /// Do processes get little of their processors?
    starve = 0, |r| flag(r, 300_000);

    /// `controller.quorum.election.timeout.ms`
    election_ms = 1_000, |r| r.log_between(100, 2_000);
    /// `controller.quorum.fetch.timeout.ms`
    quorum_fetch_ms = 2_000, |r| r.log_between(300, 4_000);
    /// `broker.heartbeat.interval.ms`
    heartbeat_ms = 2_000, |r| r.log_between(50, 2_000);
    /// `broker.session.timeout.ms`, at least three heartbeats.
    session_ms = 9_000, |r| r.log_between(500, 9_000);
    /// `replica.lag.time.max.ms`
    lag_ms = 30_000, |r| r.log_between(500, 30_000);
    /// `request.timeout.ms` between nodes.
    peer_timeout_ms = 30_000, |r| r.log_between(500, 30_000);

    /// Clients that ask leaders all the time where partitions end.
    askers = 0, |_r| 0;
    /// May a voter's disk be taken away, too?
    wipe_voters = 0, |_r| 0;
    /// Are rare but legal things done on purpose? The profiles of a sweep say so for half of their seeds.
    buggify = 0, |_r| 0;

    /// Clients that move partitions and their leads. The profiles of a sweep say how many.
    movers = 0, |_r| 0;
    /// May who lacks records lead (`unclean.leader.election.enable`)? The profiles say so for some of their seeds.
    unclean = 0, |_r| 0;

    /// `metadata.log.max.record.bytes.between.snapshots`
    snapshot_bytes = 20_971_520, |r| r.log_between(200, 200_000);
    /// `metadata.log.max.snapshot.interval.ms`
    snapshot_interval_ms = 3_600_000, |r| if r.chance(300_000) { r.log_between(500, 20_000) } else { 3_600_000 };
    /// How much of a snapshot is fetched at a time.
    snapshot_piece_bytes = 1_048_576, |r| r.log_between(64, 1 << 20);
    /// Bytes of a segment of the metadata log.
    metadata_segment_bytes = 33_554_432, |r| r.log_between(256, 1 << 20);

    /// Racks that several nodes and some consumers stand in, who are sent to followers then (KIP-392); 0 is none.
    racks = 0, |r| if r.chance(400_000) { r.between(2, 3) } else { 0 };
    /// Do voters of the metadata quorum come and go?
    voter_changes = 0, |r| flag(r, HALF);
    /// Are those that vote at first controllers and nothing else, where there are others?
    split_roles = 0, |r| flag(r, HALF);
}

impl Config {
    /// The defaults of logs that a node is started with.
    pub fn log_defaults(&self) -> LogConfig {
        let some = |value: u64| (value > 0).then_some(value);
        LogConfig {
            segment_bytes: self.segment_bytes,
            segment_age: self.millis(self.segment_ms),
            index_bytes_max: self.index_bytes,
            index_interval_bytes: self.index_interval_bytes,
            retention: some(self.retention_ms).map(|ms| self.millis(ms)),
            retention_bytes: some(self.retention_bytes),
            file_delete_delay: self.millis(self.file_delete_delay_ms),
            min_cleanable_dirty_permille: self.dirty_permille as u32,
            delete_retention: self.millis(self.delete_retention_ms),
            max_message_bytes: self.max_message_bytes as usize,
            producer_expiration: self.millis(self.producer_expiration_ms),
            timestamp_type: if self.log_append_time == 1 {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            ..LogConfig::default()
        }
    }

    /// How the metadata log is kept.
    pub fn metadata_log(&self) -> MetadataLogConfig {
        MetadataLogConfig {
            segment_bytes: self.metadata_segment_bytes,
            snapshot_bytes: self.snapshot_bytes,
            snapshot_interval: self.millis(self.snapshot_interval_ms),
            snapshot_piece_bytes: self.snapshot_piece_bytes as usize,
        }
    }

    /// Nodes that are controllers alone: the first ones.
    pub fn controllers(&self) -> u64 {
        if self.split_roles == 1 && self.voters > 0 && self.voters < self.nodes { self.voters } else { 0 }
    }

    /// Nodes that keep partitions.
    pub fn brokers(&self) -> u64 {
        self.nodes - self.controllers()
    }

    /// Do voters come and go?
    pub fn changes_voters(&self) -> bool {
        self.voter_changes == 1 && self.nodes > 1
    }

    /// Does an operator take a node's disk away only once the cluster has let go of the node? Where voters come and go and partitions
    /// are moved, what is decided on the word of a disk that is gone would be for good: a set of voters that cannot commit without it,
    /// a partition of which all other replicas are removed.
    pub fn waits_with_disks(&self) -> bool {
        self.changes_voters() || self.movers > 0
    }

    /// The waits between nodes.
    pub fn waits(&self) -> ClusterWaits {
        let fetch = self.millis(self.quorum_fetch_ms);
        ClusterWaits {
            election_timeout: self.millis(self.election_ms),
            quorum_fetch_timeout: fetch,
            quorum_request_timeout: fetch,
            heartbeat_interval: self.millis(self.heartbeat_ms),
            broker_session_timeout: self.millis(self.session_ms.max(3 * self.heartbeat_ms)),
            replica_lag_max: self.millis(self.lag_ms),
            call_timeout: self.millis(self.peer_timeout_ms),
            // A follower whose fetch waits must be heard of before its leader takes it for one that lags.
            replica_fetch_wait: self.millis((self.lag_ms / 4).min(500)),
            ..ClusterWaits::default()
        }
    }

    /// The rack of this number, where there are racks.
    pub fn rack(&self, number: u64) -> Option<String> {
        (self.racks > 0 && self.nodes > 1).then(|| format!("rack-{}", number % self.racks))
    }

    /// Can a log lose what it knows of producers? It may expire, and under Kafka's page-cache rule power loss takes it:
    /// an unknown producer's batch is then accepted whatever its sequence.
    pub fn forgets_producers(&self) -> bool {
        self.producer_expiration_ms < 86_400_000 || self.replicated_durability == 1 && self.power_loss == 1
    }

    /// A span of so many milliseconds.
    pub fn millis(&self, ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The knobs that differ from the quiet default.
    pub fn difference(&self) -> Vec<(&'static str, u64)> {
        let quiet = Self::default().entries();
        self.entries().into_iter().zip(quiet).filter(|(mine, quiet)| mine != quiet).map(|(mine, _)| mine).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_configuration() {
        assert_eq!(Config::draw(7), Config::draw(7));
        assert_ne!(Config::draw(7), Config::draw(8));
    }

    #[test]
    fn knobs_turn_by_name() {
        let mut config = Config::default();
        assert_eq!(config.set("kill", 1), Ok(()));
        assert_eq!(config.difference(), [("kill", 1)]);
        assert_eq!(config.set("skill", 1), Err(UnknownKnob("skill".to_owned())));
    }
}
