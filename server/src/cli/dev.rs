//! `tidelog dev`: a cluster on this machine, to try things with. Real processes, each with its own folder.
//!
//! Each node is this binary's own `serve`. They end when their standard input does, so none is left behind, however
//! this process ends.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tidelog_core::log::Identity;
use tokio::sync::mpsc;

use super::{
    error::{CliError, Ended, Exit},
    json::Json,
    output::Stdout,
};
use crate::env::{Env, StopSignal, run_local};

/// Flags of `tidelog dev`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog dev
  tidelog dev --nodes 3 --data ./dev
  tidelog dev --nodes 5 --port 0 --json

With --port P node 1 serves Kafka at P, its own protocol at P + 100 and HTTP at P + 200; node 2 one above each,
and so on. What the nodes log is in DIR/node-N.log.")]
pub(super) struct DevArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=25))]
    nodes: u16,
    /// Folder for the nodes' folders; a cluster that is there is started again
    #[arg(long, value_name = "DIR", default_value = "./tidelog-dev")]
    data: PathBuf,
    /// Port of the first node's Kafka listener; 0 picks free ports
    #[arg(long, value_name = "PORT", default_value_t = 9092)]
    port: u16,
    /// Print JSON for machines
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// One node.
struct Node {
    id: u16,
    kafka: String,
    native: String,
    http: String,
    log: PathBuf,
    child: Child,
    ended: Option<ExitStatus>,
}

/// Runs the verb.
pub(super) fn run(args: &DevArgs) -> Result<(), Ended> {
    let mut stdout = Stdout::open()?;
    let failed = |what: &str, error: std::io::Error| CliError::new(Exit::Failed, format!("{what}: {error}"));
    run_local(async |env| {
        let mut signals = StopSignal::new().map_err(|error| failed("cannot watch for signals", error))?;
        fs::create_dir_all(&args.data)
            .map_err(|error| failed(&format!("cannot use {} as a folder", args.data.display()), error))?;
        let (ready, mut told) = mpsc::unbounded_channel();
        let mut nodes = start(args, &ready)?;
        let mut waiting: Vec<usize> = (0..nodes.len()).collect();
        // Whoever ends, and however: the nodes' standard inputs close with this.
        let mut is_stopping = false;
        loop {
            tokio::select! {
                biased;
                _ = signals.next() => {
                    if is_stopping {
                        nodes.iter_mut().for_each(Node::kill);
                    }
                    is_stopping = true;
                    nodes.iter_mut().for_each(Node::stop);
                }
                Some(index) = told.recv() => {
                    waiting.retain(|&other| other != index);
                    if waiting.is_empty() {
                        show(args, &nodes, &mut stdout)?;
                    }
                }
                () = env.sleep(LOOK_INTERVAL) => {}
            }
            for index in 0..nodes.len() {
                let Some(status) = nodes[index].has_ended() else { continue };
                let node = &nodes[index];
                if waiting.contains(&index) && !is_stopping {
                    let error = not_started(node, status);
                    nodes.iter_mut().for_each(Node::stop);
                    return Err(error.into());
                }
                if !is_stopping {
                    eprintln!("node {} has ended ({status}); {} has its last words", node.id, node.log.display());
                }
            }
            if nodes.iter().all(|node| node.ended.is_some()) {
                return Ok(());
            }
        }
    })
    .map_err(|error| failed("cannot start the runtime", error))?
}

/// Starts all nodes. The index of each is told to `ready` once it serves clients.
fn start(args: &DevArgs, ready: &mpsc::UnboundedSender<usize>) -> Result<Vec<Node>, CliError> {
    let places: Vec<[String; 3]> =
        (0..args.nodes).map(|index| addresses(args.port, index)).collect::<Result<_, _>>()?;
    let peers: Vec<String> =
        places.iter().zip(1..).map(|([_, native, _], id): (_, u16)| format!("{id}@{native}")).collect();
    let peers = peers.join(",");
    let cluster_id = (1..=args.nodes).find_map(|id| cluster_id(&args.data.join(format!("node-{id}"))));
    let program = std::env::current_exe()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot find this program: {error}")))?;
    let mut nodes = Vec::new();
    for (index, [kafka, native, http]) in places.into_iter().enumerate() {
        let id = u16::try_from(index + 1).expect("a few");
        let log = args.data.join(format!("node-{id}.log"));
        let failed = |error| CliError::new(Exit::Failed, format!("cannot start node {id}: {error}"));
        let log_file = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let mut command = Command::new(&program);
        command.arg("serve").args(["--node-id", &id.to_string(), "--peers", &peers]);
        command.args(["--kafka", &kafka, "--native", &native, "--http", &http, "--stop-with-stdin"]);
        command.arg("--data").arg(args.data.join(format!("node-{id}")));
        if let Some(cluster_id) = &cluster_id {
            command.args(["--cluster-id", cluster_id]);
        }
        // A group of its own: Ctrl-C is for this process, which stops the others in good order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file);
        let mut child = command.spawn().map_err(failed)?;
        let output = child.stdout.take().expect("it was asked for");
        let ready = ready.clone();
        let follow = move || {
            let mut lines = BufReader::new(output).lines();
            if lines.any(|line| line.is_ok_and(|line| line.starts_with("listening "))) {
                // Nobody may be waiting any more.
                let _ = ready.send(index);
            }
            lines.for_each(drop);
        };
        std::thread::Builder::new().name(format!("node-{id}")).spawn(follow).map_err(failed)?;
        nodes.push(Node { id, kafka, native, http, log, child, ended: None });
    }
    Ok(nodes)
}

/// The addresses of a node's three listeners: Kafka, native, HTTP.
fn addresses(port: u16, index: u16) -> Result<[String; 3], CliError> {
    let address = |above: u16| -> Result<String, CliError> {
        let port = match port {
            0 => free_port()?,
            port => port.checked_add(above + index).ok_or_else(|| {
                CliError::new(Exit::Usage, format!("there are no ports above {port} for all listeners"))
                    .hint("choose a lower one with --port, or 0 for free ones")
            })?,
        };
        Ok(format!("127.0.0.1:{port}"))
    };
    Ok([address(0)?, address(NATIVE_ABOVE)?, address(HTTP_ABOVE)?])
}

fn free_port() -> Result<u16, CliError> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map(|at| at.port());
    port.map_err(|error| CliError::new(Exit::Failed, format!("there is no free port: {error}")))
}

/// The cluster that a node's folder belongs to, if there is one.
fn cluster_id(node: &Path) -> Option<String> {
    let text = fs::read(node.join("meta.properties")).ok()?;
    Some(Identity::parse(&text).ok()?.cluster_id)
}

fn not_started(node: &Node, status: ExitStatus) -> CliError {
    let mut text = Vec::new();
    // What cannot be read is not shown.
    let _ = File::open(&node.log).and_then(|mut file| file.read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let last = |prefix: &str| text.lines().rev().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
    let reason = last("error: ").unwrap_or_else(|| status.to_string());
    let hint = last("hint: ").unwrap_or_else(|| format!("see {}", node.log.display()));
    CliError::new(Exit::Failed, format!("node {} did not start: {reason}", node.id)).hint(hint)
}

fn show(args: &DevArgs, nodes: &[Node], stdout: &mut Stdout) -> Result<(), Ended> {
    let list = |of: fn(&Node) -> &str| nodes.iter().map(of).collect::<Vec<_>>().join(",");
    let (kafka, native) = (list(|node| &node.kafka), list(|node| &node.native));
    if args.json {
        let mut json = Json::new();
        json.object(|json| {
            json.key("kafka").text(&kafka).key("native").text(&native);
            json.key("nodes").array(|json| {
                for node in nodes {
                    json.object(|json| {
                        json.key("id").number(node.id).key("pid").number(node.child.id());
                        json.key("kafka").text(&node.kafka).key("native").text(&node.native);
                        json.key("http").text(&node.http).key("log").text(&node.log.display().to_string());
                    });
                }
            });
        });
        return Ok(stdout.line(json.as_str())?);
    }
    stdout.line(&format!("{} nodes, their folders in {}:", nodes.len(), args.data.display()))?;
    for Node { id, kafka, native, http, child, .. } in nodes {
        stdout.line(&format!("  node {id}  kafka {kafka}  native {native}  http {http}  pid {}", child.id()))?;
    }
    stdout.line("")?;
    stdout.line(&format!("  tidelog topic create demo --replicas {} --bootstrap {native}", nodes.len().min(3)))?;
    stdout.line(&format!("  echo hello | tidelog produce demo --bootstrap {native}"))?;
    stdout.line(&format!("  tidelog consume demo --from earliest --bootstrap {native}"))?;
    stdout.line(&format!("  kcat -b {kafka} -L"))?;
    stdout.line("")?;
    stdout.line("Kill one and see the others go on. Ctrl-C ends all.")?;
    Ok(())
}

impl Node {
    /// Its standard input ends, and so does it, in good order.
    fn stop(&mut self) {
        drop(self.child.stdin.take());
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
    }

    /// How it has ended, once.
    fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_some() {
            return None;
        }
        // An error says that there is no such child any more.
        self.ended = self.child.try_wait().unwrap_or_default();
        self.ended
    }
}

/// How often is looked whether a node has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How far the ports of the other listeners are above Kafka's.
const NATIVE_ABOVE: u16 = 100;
const HTTP_ABOVE: u16 = 200;
