//! `tidelog serve`: one node, from its settings to its exit code.
//!
//! ```text
//! settings ─ sockets ─ data directory ─ recovery ─ "listening …" ─ serving ─ signal ─ drain, sync, close ─ exit 0
//! ```
//!
//! What can be refused is refused before anything is written: a wrong setting, a port in use, a folder that is not ours.
//! Sockets are bound first, so that clients of a node that restarts wait in its backlog instead of being turned away; they
//! are accepted once the node is ready, other nodes at once. A second signal ends the process at once, as a crash would.

mod directory;

use std::{
    future::Future,
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    thread,
    time::Duration,
};

use tidelog_core::{
    ids::NodeId,
    log::{Disk, LogConfig, LogDir, LogError},
    message::Endpoints,
    node::{MetadataLogConfig, Node, NodeConfig, ReplicaSelector},
    time,
};
use tokio::sync::oneshot;

use self::directory::DataDirectory;
use crate::{
    config::{Selector, ServeFlags, Settings},
    disk::raise_descriptor_limit,
    driver::{DiskWork, Driver, DriverError, NodeHandle, Stopped, TimedDisk},
    env::{Env, StopSignal, TokioEnv, run_local, within},
    http, kafka,
    listener::{Context, HostPort, Stop, accept_all},
    logging,
    metrics::Metrics,
    native,
    peers::Membership,
    switch::Switch,
};

/// Why a node did not start, or did not stop well: one line, a hint, and the process's exit code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServeError {
    /// One line, lowercase, without a period.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// The process's exit code: one of [`exit`].
    pub exit_code: u8,
}

/// Exit codes of `tidelog serve`; those between are the other verbs'.
pub mod exit {
    /// Something went wrong that no other code names.
    pub const FAILED: u8 = 1;
    /// A flag or a setting is wrong.
    pub const CONFIG: u8 = 2;
    /// The data directory cannot be used: not ours, another format, in use, unreadable, damaged.
    pub const DATA: u8 = 6;
    /// An address cannot be listened on.
    pub const LISTEN: u8 = 7;
}

impl ServeError {
    fn new(exit_code: u8, message: String, hint: &str) -> Self {
        Self { message, hint: hint.to_owned(), exit_code }
    }
}

/// Runs a node until it is told to stop by SIGTERM or SIGINT.
pub fn serve(flags: &ServeFlags) -> Result<(), ServeError> {
    let settings = Settings::load(flags).map_err(|error| ServeError::new(exit::CONFIG, error.message, &error.hint))?;
    logging::init(settings.log_format, settings.log.clone())
        .map_err(|error| ServeError::new(exit::FAILED, format!("cannot log: {error}"), ""))?;
    let failed = |what: &str, error: io::Error| ServeError::new(exit::FAILED, format!("{what}: {error}"), "");
    let descriptors =
        raise_descriptor_limit().map_err(|error| failed("cannot raise the limit of open files", error))?;
    run_local(async |env: TokioEnv| {
        let sockets = Sockets::bind(&env, &settings).await?;
        let mut signals = StopSignal::new().map_err(|error| failed("cannot watch for signals", error))?;
        // Connections and files share what the system allows.
        let directory = DataDirectory::open(&env, &settings, descriptors / 2)?;
        let spawner = env.clone();
        let mut stdin = StdinEnd::watch(flags.stop_with_stdin);
        let signal = async move {
            let name = tokio::select! {
                biased;
                name = signals.next() => name,
                () = stdin.ended() => "end of input",
            };
            tracing::info!(signal = name, "stopping; a second signal ends the process at once");
            spawner.spawn_local(async move {
                let name = signals.next().await;
                tracing::warn!(signal = name, "ended without closing the logs");
                std::process::exit(i32::from(exit::FAILED));
            });
        };
        let working = |logs, disk, metrics| {
            DiskWork::by_threads(logs, disk, metrics)
                .map_err(|error| ServeError::new(exit::FAILED, format!("cannot start a thread: {error}"), ""))
        };
        // For whoever started the process and chose port 0. That nobody reads it is no error.
        let announce = |line: &str| drop(writeln!(io::stdout(), "{line}"));
        let stopped = run(&env, &settings, sockets, directory, working, announce, signal).await;
        stopped.map(|()| tracing::info!("stopped"))
    })
    .map_err(|error| failed("cannot start the runtime", error))?
}

/// Runs a node on a simulated runtime and disk until `signal` returns: all of [`serve`] but the process around it. `announce`
/// gets the line that a process prints once its node serves clients.
pub async fn serve_on<E: Env, D: TimedDisk>(
    env: &E,
    settings: &Settings,
    disk: D,
    announce: impl FnOnce(&str),
    signal: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let sockets = Sockets::bind(env, settings).await?;
    let directory = DataDirectory::on(env, settings, disk)?;
    let working = |logs, disk, metrics| Ok(DiskWork::by_task(env, logs, disk, metrics));
    run(env, settings, sockets, directory, working, announce, signal).await
}

/// The end of standard input, where it means something.
struct StdinEnd(Option<oneshot::Receiver<()>>);

impl StdinEnd {
    /// Reads what comes until nothing more can, on a thread of its own: standard input may be anything.
    fn watch(is_wanted: bool) -> Self {
        let (ended, end) = oneshot::channel();
        let read = move || {
            // An error is an end as well, and so is a receiver that has gone.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = ended.send(());
        };
        let is_watched = is_wanted && thread::Builder::new().name("tidelog-stdin".to_owned()).spawn(read).is_ok();
        Self(is_watched.then_some(end))
    }

    async fn ended(&mut self) {
        match &mut self.0 {
            // The thread ends by saying so, or with an error that ends it.
            Some(end) => drop(end.await),
            None => std::future::pending().await,
        }
    }
}

/// The three listeners, bound.
struct Sockets<E: Env> {
    kafka: (E::Listener, SocketAddr),
    native: (E::Listener, SocketAddr),
    http: (E::Listener, SocketAddr),
}

impl<E: Env> Sockets<E> {
    async fn bind(env: &E, settings: &Settings) -> Result<Self, ServeError> {
        Ok(Self {
            kafka: bind(env, "kafka", &settings.kafka).await?,
            native: bind(env, "native", &settings.native).await?,
            http: bind(env, "http", &settings.http).await?,
        })
    }
}

async fn bind<E: Env>(env: &E, name: &str, address: &str) -> Result<(E::Listener, SocketAddr), ServeError> {
    let bound = match env.listen(address).await {
        Ok(listener) => env.local_address(&listener).map(|address| (listener, address)),
        Err(error) => Err(error),
    };
    bound.map_err(|error| {
        let message = format!("cannot listen on {address} ({name}): {error}");
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("another process has the port; choose one with --{name} HOST:PORT, or 0")
            }
            io::ErrorKind::PermissionDenied => format!("choose a port above 1023 with --{name} HOST:PORT"),
            _ => format!("choose an address of this machine with --{name} HOST:PORT"),
        };
        ServeError { message, hint, exit_code: exit::LISTEN }
    })
}

/// Runs a node over bound sockets and an open directory, on which `working` starts the work, until `signal` returns.
async fn run<E: Env, D: Disk>(
    env: &E,
    settings: &Settings,
    sockets: Sockets<E>,
    directory: DataDirectory<D>,
    working: impl FnOnce(LogDir<D>, D, Arc<Metrics>) -> Result<DiskWork<D>, ServeError>,
    announce: impl FnOnce(&str),
    signal: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let DataDirectory { disk, logs, state, seed } = directory;
    let id = state.identity.node;
    let cluster_id = state.identity.cluster_id.clone();
    tracing::info!(node = %id, data = %settings.data.display(), clean = state.clean, "opening the logs");
    let endpoints = Endpoints {
        native: told(sockets.native.1, &settings.advertise_native).to_string(),
        kafka: told(sockets.kafka.1, &settings.advertise_kafka).to_string(),
    };
    let incarnation = directory::random(env)?;
    let node = Node::new(node_config(settings, &state, endpoints, incarnation), state, seed);
    let peers = settings.peers.0.iter().filter(|(node, _)| **node != id);
    let peers = peers.map(|(node, address)| (*node, address.to_string())).collect();
    let membership = Membership { cluster_id: cluster_id.clone(), peers };
    let metrics = Arc::new(Metrics::default());
    let work = working(logs, disk, Arc::clone(&metrics))?;
    let (driver, handle) = Driver::new(env.clone(), id, membership, node, work, metrics);
    let (switch, stop) = Stop::new();
    let driving = driver.run(stop.clone());
    let serving = serve_clients(env, settings, cluster_id, sockets, handle, stop, switch, announce, signal);
    let (driven, ()) = tokio::join!(driving, serving);
    driven.map_err(|error| match error {
        DriverError::Halted(reason) => ServeError::new(
            exit::DATA,
            format!("cannot go on: {reason}"),
            "restore the metadata log from a backup, or start the version that wrote it",
        ),
        DriverError::NotClosed(LogError::Offline(_)) => ServeError::new(
            exit::DATA,
            format!("stopped with a failed disk: {error}"),
            "what was acknowledged is on the disk; look after the disk before the next start",
        ),
        error @ DriverError::NotClosed(_) => ServeError::new(
            exit::FAILED,
            format!("stopped, but the logs were not closed: {error}"),
            "the next start recovers them",
        ),
    })
}

/// Accepts connections from the moment the node is ready, and lets them end once `signal` has returned.
#[expect(
    clippy::too_many_arguments,
    reason = "each is the other end of something that `run` owns; there is one caller"
)]
async fn serve_clients<E: Env>(
    env: &E,
    settings: &Settings,
    cluster_id: String,
    sockets: Sockets<E>,
    handle: NodeHandle,
    stop: Stop,
    switch: Switch,
    announce: impl FnOnce(&str),
    signal: impl Future<Output = ()>,
) {
    let context = |address: SocketAddr, advertised: &Option<HostPort>, open_max| {
        Context::new(env.clone(), handle.clone(), stop.clone(), told(address, advertised), open_max)
    };
    let kafka = context(sockets.kafka.1, &settings.advertise_kafka, CONNECTIONS_MAX);
    let native = context(sockets.native.1, &settings.advertise_native, CONNECTIONS_MAX);
    let http = context(sockets.http.1, &None, HTTP_CONNECTIONS_MAX);
    let counts = [kafka.clone(), native.clone()];
    // Health can be asked for while the logs are still being recovered, and other nodes may be waiting for this one.
    env.spawn_local(accept_all(http, sockets.http.0, http::connection::<E>));
    let log_dir = settings.data.display().to_string();
    let shared = Arc::new(native::Shared::new(handle.id(), cluster_id, log_dir.clone()));
    let native_connection = move |context, stream, peer| native::connection(Arc::clone(&shared), context, stream, peer);
    env.spawn_local(accept_all(native, sockets.native.0, native_connection));
    let begin = async {
        handle.ready().await?;
        let line = format!("listening kafka={} native={} http={}", sockets.kafka.1, sockets.native.1, sockets.http.1);
        tracing::info!("{line}");
        announce(&line);
        let shared = Arc::new(kafka::Shared::new(handle.id(), log_dir));
        let kafka_connection =
            move |context, stream, peer| kafka::connection(Arc::clone(&shared), context, stream, peer);
        env.spawn_local(accept_all(kafka, sockets.kafka.0, kafka_connection));
        Ok::<_, Stopped>(())
    };
    let mut signal = std::pin::pin!(signal);
    tokio::select! {
        biased;
        () = &mut signal => {}
        // Where it could not begin, the driver has ended by itself and says why.
        begun = begin => if begun.is_ok() { signal.await }
    }
    switch.turn_on();
    let drained = within(env, DRAIN_TIME_MAX, async {
        while counts.iter().any(|context| context.open() > 0) {
            env.sleep(DRAIN_CHECK_INTERVAL).await;
        }
    });
    if drained.await.is_none() {
        let open: usize = counts.iter().map(Context::open).sum();
        tracing::warn!(open, "connections were cut off");
    }
}

fn node_config(
    settings: &Settings,
    state: &tidelog_core::log::DirState,
    endpoints: Endpoints,
    incarnation: u128,
) -> NodeConfig {
    let span = |span: Duration| time::Duration::from_nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
    NodeConfig {
        node: state.identity.node,
        rack: settings.rack.clone(),
        replica_selector: match settings.replica_selector {
            Selector::Leader => ReplicaSelector::Leader,
            Selector::Rack => ReplicaSelector::Rack,
        },
        cluster_id: state.identity.cluster_id.clone(),
        directory: state.identity.directory,
        incarnation,
        endpoints,
        is_broker: settings.roles.broker,
        voters: settings.peers.0.keys().copied().collect(),
        auto_create_topics: settings.auto_create_topics,
        partitions_default: settings.partitions,
        replication_default: settings.replicas,
        metadata_log: MetadataLogConfig {
            snapshot_bytes: settings.metadata_snapshot_bytes,
            ..MetadataLogConfig::default()
        },
        log_defaults: LogConfig {
            retention: settings.retention.map(span),
            retention_bytes: settings.retention_bytes,
            segment_bytes: settings.segment_bytes,
            ..LogConfig::default()
        },
        ..NodeConfig::default()
    }
}

/// What others are told of a listener.
fn told(address: SocketAddr, advertised: &Option<HostPort>) -> HostPort {
    advertised.clone().unwrap_or_else(|| reachable(address))
}

/// What clients are told when nothing else is set: the bound address, or this host's name when that is any address.
fn reachable(address: SocketAddr) -> HostPort {
    let host = if address.ip().is_unspecified() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        address.ip().to_string()
    };
    HostPort { host, port: address.port() }
}

/// The id of a node that is given none.
const NODE_ID_DEFAULT: NodeId = NodeId(1);
/// Connections that the Kafka and the native listener each keep open.
const CONNECTIONS_MAX: usize = 10_000;
/// Connections that the HTTP listener keeps open.
const HTTP_CONNECTIONS_MAX: usize = 64;
/// How long connections get to finish what they are at.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// How often is looked whether they have.
const DRAIN_CHECK_INTERVAL: Duration = Duration::from_millis(5);
