//! What an operator can turn on a node: one TOML file, and a flag for each of its settings.

use std::path::PathBuf;

/// Flags of `tidelog serve`. A flag beats the file, the file beats the default.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeFlags {
    /// TOML file with the node's settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; formatted on first start [default: ./tidelog-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of the Kafka listener; port 0 picks a free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR")]
    pub kafka: Option<String>,
    /// Address of the native listener [default: 127.0.0.1:9192]
    #[arg(long, value_name = "ADDR")]
    pub native: Option<String>,
    /// Address of the HTTP listener [default: 127.0.0.1:9292]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
}
