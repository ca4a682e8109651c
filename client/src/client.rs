//! The way to a cluster: its addresses, as they are given and as they are learned.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidelog_core::{
    client::{AdminConfig, ConsumerConfig, ProducerConfig},
    ids::NodeId,
    prng::mix,
};

use crate::{
    admin::Admin,
    consumer::Consumer,
    error::Error,
    link::{self, Greeted},
    producer::Producer,
    protocol::{Native, Protocol},
    runtime::{Runtime, TokioRuntime},
    wire::Endpoint,
};

/// How to connect. The defaults are right for a network that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// How long a connection may take to be made and greeted.
    pub connect_timeout: Duration,
    /// What this client is called in a node's logs.
    pub software: String,
    /// Decides the spread of retries and the choice of partitions; `None` takes one from the clock.
    pub seed: Option<u64>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            software: concat!("tidelog-rust/", env!("CARGO_PKG_VERSION")).to_string(),
            seed: None,
        }
    }
}

/// A cluster that answered once. Producers, consumers and administrators come from it, each with connections of its
/// own, so that a slow one holds up no other. Cloning shares what is known of addresses.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What all machines of one client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) protocol: Arc<dyn Protocol>,
    bootstrap: Vec<String>,
    /// Where nodes have said that they can be reached.
    learned: Mutex<BTreeMap<NodeId, Endpoint>>,
    seed: u64,
    machines: AtomicU64,
}

impl Client {
    /// Connects to a cluster through one or more of its nodes: `host:port[,host:port...]`, native listeners.
    ///
    /// Returns when one of them has answered.
    pub async fn connect(bootstrap: &str) -> Result<Self, Error> {
        Self::connect_with(bootstrap, ClientConfig::default()).await
    }

    /// As [`Client::connect`], with settings.
    pub async fn connect_with(bootstrap: &str, config: ClientConfig) -> Result<Self, Error> {
        Self::connect_speaking(Arc::new(Native), bootstrap, config).await
    }

    /// As [`Client::connect_with`], over another protocol: the addresses are those of its listeners.
    pub async fn connect_speaking(
        protocol: Arc<dyn Protocol>,
        bootstrap: &str,
        config: ClientConfig,
    ) -> Result<Self, Error> {
        Self::begin(Arc::new(TokioRuntime::new()), protocol, bootstrap, config).await
    }

    /// As [`Client::connect_speaking`], on another runtime than tokio's. Without a protocol it is the native one.
    pub async fn connect_on(
        runtime: Arc<dyn Runtime>,
        protocol: Option<Arc<dyn Protocol>>,
        bootstrap: &str,
        config: ClientConfig,
    ) -> Result<Self, Error> {
        Self::begin(runtime, protocol.unwrap_or_else(|| Arc::new(Native)), bootstrap, config).await
    }

    async fn begin(
        runtime: Arc<dyn Runtime>,
        protocol: Arc<dyn Protocol>,
        bootstrap: &str,
        config: ClientConfig,
    ) -> Result<Self, Error> {
        let bootstrap: Vec<String> =
            bootstrap.split(',').map(|a| a.trim().to_string()).filter(|a| !a.is_empty()).collect();
        if bootstrap.is_empty() {
            return Err(Error::invalid("no address is given"));
        }
        for address in &bootstrap {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                return Err(Error::invalid(format!("{address} is not an address: it has no port")));
            }
        }
        let seed = config.seed.unwrap_or_else(|| {
            let nth = CLIENTS.fetch_add(1, Ordering::Relaxed);
            mix(mix(runtime.wall().0.cast_unsigned() ^ u64::from(std::process::id()) << 32) ^ nth)
        });
        let client = Self {
            shared: Arc::new(Shared {
                config,
                runtime,
                protocol,
                bootstrap,
                learned: Mutex::default(),
                seed,
                machines: AtomicU64::new(0),
            }),
        };
        client.greet_any().await?;
        Ok(client)
    }

    /// A producer. Records are sent by background tasks of the runtime that this is called in.
    pub fn producer(&self, config: ProducerConfig) -> Producer {
        Producer::start(self.shared.clone(), config)
    }

    /// A consumer of nothing yet.
    pub fn consumer(&self, config: ConsumerConfig) -> Consumer {
        Consumer::start(self.shared.clone(), config)
    }

    /// An administrator.
    pub fn admin(&self) -> Admin {
        self.admin_with(AdminConfig::default())
    }

    /// An administrator with other timeouts.
    pub fn admin_with(&self, config: AdminConfig) -> Admin {
        Admin::start(self.shared.clone(), config)
    }

    async fn greet_any(&self) -> Result<(), Error> {
        let mut first = None;
        for address in &self.shared.bootstrap {
            match link::greet(&self.shared, address).await {
                Ok(Greeted { .. }) => return Ok(()),
                Err(error) => first = first.or(Some(Error::unreachable(address, &error))),
            }
        }
        Err(first.expect("there is an address"))
    }
}

/// Tells clients of one process apart that begin in the same millisecond.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

impl Shared {
    /// A seed of its own for each machine.
    pub(crate) fn next_seed(&self) -> u64 {
        mix(self.seed ^ self.machines.fetch_add(1, Ordering::Relaxed))
    }

    /// The address to try as the `n`th: those that were given, then those that were learned, and so round. The nodes that
    /// were given may be gone while the cluster is not.
    pub(crate) fn bootstrap(&self, n: usize) -> String {
        let learned = self.learned.lock().expect("no panic while held");
        let n = n % (self.bootstrap.len() + learned.len());
        match self.bootstrap.get(n) {
            Some(given) => given.clone(),
            None => learned.values().nth(n - self.bootstrap.len()).expect("within the sum").to_string(),
        }
    }

    /// How many addresses [`Shared::bootstrap`] goes round.
    pub(crate) fn addresses(&self) -> u32 {
        let learned = self.learned.lock().expect("no panic while held");
        u32::try_from(self.bootstrap.len() + learned.len()).expect("a cluster's nodes")
    }

    pub(crate) fn learn(&self, endpoints: BTreeMap<NodeId, Endpoint>) {
        if !endpoints.is_empty() {
            self.learned.lock().expect("no panic while held").extend(endpoints);
        }
    }

    pub(crate) fn address_of(&self, node: NodeId) -> io::Result<String> {
        let learned = self.learned.lock().expect("no panic while held");
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("the address of node {node} is not known"));
        learned.get(&node).map(Endpoint::to_string).ok_or_else(unknown)
    }
}
