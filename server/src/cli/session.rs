//! What every verb but `serve` begins with: a cluster that answers.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use tidelog_client::{Admin, AdminConfig, Client, ClientConfig, Error, ErrorKind, Repeatable};
use tidelog_core::message::*;
use tokio::runtime::Runtime;

use super::{
    error::{CliError, Exit},
    value::Span,
};

/// Flags of every verb that speaks to a cluster.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConnectArgs {
    /// Native listeners of one or more nodes
    #[arg(long, value_name = "ADDR[,ADDR]", default_value = "127.0.0.1:9192", value_delimiter = ',')]
    #[arg(help_heading = "Connection")]
    bootstrap: Vec<Address>,
    /// How long the cluster may take to do what is asked
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Connection")]
    timeout: Span,
    /// Print JSON for machines
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl ConnectArgs {
    /// How long the cluster may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.0
    }

    /// JSON instead of text?
    pub(super) fn json(&self) -> bool {
        self.json
    }
}

/// `host:port`; an IPv6 address stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(String);

/// How long one connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not an address such as 127.0.0.1:9192 or [::1]:9192");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        if is_bracketed && format!("{host}:{port}").parse::<SocketAddr>().is_err() {
            return Err(wrong());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if port == 0 || host.is_empty() || !is_bracketed && !host.chars().all(is_name) {
            return Err(wrong());
        }
        Ok(Self(format!("{host}:{port}")))
    }
}

/// A cluster that has answered, and a thread that serves the connections to it.
pub(super) struct Session {
    runtime: Runtime,
    client: Client,
    admin: Admin,
}

impl Session {
    /// Connects.
    pub(super) fn open(args: &ConnectArgs) -> Result<Self, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime =
            runtime.map_err(|error| CliError::new(Exit::Failed, format!("cannot start a thread: {error}")))?;
        let addresses = args.bootstrap.iter().map(|address| address.0.as_str()).collect::<Vec<_>>().join(",");
        let config = ClientConfig {
            connect_timeout: args.timeout().min(CONNECT_MAX),
            software: concat!("tidelog-cli/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..ClientConfig::default()
        };
        let client = runtime.block_on(Client::connect_with(&addresses, config)).map_err(|error| failed("", &error))?;
        let timeout =
            tidelog_core::time::Duration::from_nanos(u64::try_from(args.timeout().as_nanos()).unwrap_or(u64::MAX));
        let admin_config =
            AdminConfig { operation_timeout: timeout, request_timeout: timeout, ..AdminConfig::default() };
        let admin = runtime.block_on(async { client.admin_with(admin_config) });
        Ok(Self { runtime, client, admin })
    }

    /// The client, for producers and consumers.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a future to its end, on this thread.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Asks the cluster.
    pub(super) fn call(&self, request: Request) -> Result<Response, CliError> {
        let answered = self.runtime.block_on(self.admin.request(request, None));
        answered.map(|Repeatable { answer, .. }| answer).map_err(|error| failed("", &error))
    }

    /// Topics as they are known to the cluster: these, or all.
    pub(super) fn topics(&self, topics: Option<Vec<TopicRef>>) -> Result<Vec<TopicMetadata>, CliError> {
        let request = Request::Metadata(MetadataRequest { topics, allow_auto_topic_creation: false });
        match self.call(request)? {
            Response::Metadata(metadata) => Ok(metadata.topics),
            _ => Err(self.nonsense()),
        }
    }

    /// The error for an answer that is not one to the question.
    pub(super) fn nonsense(&self) -> CliError {
        CliError::new(Exit::Failed, "the node's answer does not fit the question")
    }
}

/// The client's error as the process's end; `what` is what it concerns, such as `topic "orders"`, or nothing.
pub(super) fn failed(what: &str, error: &Error) -> CliError {
    let text = error.to_string();
    // The number behind the words is for programmers.
    let text = text.split(" (os error ").next().unwrap_or_default().to_owned();
    let mut lower = text.clone();
    if let Some(first) = lower.get(..1) {
        lower = format!("{}{}", first.to_ascii_lowercase(), &text[1..]);
    }
    let message = if what.is_empty() { lower } else { format!("{what}: {lower}") };
    match error.kind() {
        ErrorKind::Unreachable => CliError::new(Exit::Connect, message)
            .hint("--bootstrap names the native listener of a running node; `tidelog serve` starts one"),
        ErrorKind::TimedOut if error.code() == Some(ErrorCode::KafkaStorageError) => {
            CliError::new(Exit::TimedOut, message).hint("the node's disk is full or failing: its log says which")
        }
        ErrorKind::TimedOut => CliError::new(Exit::TimedOut, message).hint("--timeout allows more time"),
        ErrorKind::Refused(code) => CliError::refused(if what.is_empty() { "the request" } else { what }, code, None),
        ErrorKind::OutOfRange => CliError::refused(what, ErrorCode::OffsetOutOfRange, None),
        ErrorKind::Corrupt => CliError::new(Exit::Failed, message).hint("the node's log tells more"),
        ErrorKind::Invalid => CliError::new(Exit::Failed, message).hint("a record and its headers are at most 1 MiB"),
        _ => CliError::new(Exit::Failed, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let address = |text: &str| text.parse::<Address>().map(|Address(address)| address);
        assert_eq!(address("10.0.0.1:1"), Ok("10.0.0.1:1".to_owned()));
        assert_eq!(address("[::1]:7"), Ok("[::1]:7".to_owned()));
        for wrong in [
            "",
            "localhost",
            "[::1]",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "a:x",
            "::1",
            "::1:9192",
            "[x]:1",
            "http://a:1",
            "a b:1",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
