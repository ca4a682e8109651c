//! `tidelog cluster add-voter` and `remove-voter`: who votes in the metadata quorum (KIP-853).

use tidelog_core::{
    ids::{DirectoryId, NodeId},
    message::*,
};

use crate::{
    cli::{
        error::{CliError, Ended},
        json::Json,
        output::Stdout,
        session::{ConnectArgs, Session},
    },
    listener::HostPort,
};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog cluster add-voter 4
  tidelog cluster add-voter 4@10.0.0.4:9192

The node runs already (tidelog serve --join ...) and has caught up with the metadata: `tidelog cluster status` shows it as an
observer without lag. Voters come one at a time; an odd number of them is best.")]
pub(super) struct AddArgs {
    /// Which node, and where its native listener is, if that is not what it says itself
    #[arg(value_name = "NODE[@HOST:PORT]", value_parser = parse_voter)]
    voter: (i32, Option<String>),
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog cluster remove-voter 2

The node goes on as an observer, and keeps its partitions: `tidelog cluster drain` moves those.")]
pub(super) struct RemoveArgs {
    /// Which node
    #[arg(value_name = "NODE")]
    node: i32,
    #[command(flatten)]
    connect: ConnectArgs,
}

fn parse_voter(text: &str) -> Result<(i32, Option<String>), String> {
    let (node, endpoint) = match text.split_once('@') {
        Some((node, endpoint)) => (node, Some(endpoint)),
        None => (text, None),
    };
    let node = node.parse().ok().filter(|node| *node >= 0).ok_or("a node's id is a number from 0 on")?;
    if endpoint.is_some_and(|endpoint| HostPort::parse(endpoint).is_none()) {
        return Err("behind the @ comes HOST:PORT".to_owned());
    }
    Ok((node, endpoint.map(str::to_owned)))
}

pub(super) fn add(args: &AddArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    let (node, endpoint) = args.voter.clone();
    let (id, directory) = (NodeId(node), DirectoryId::ANY);
    let request = AddVoterRequest { cluster_id: None, node: id, directory, endpoint };
    let Response::AddVoter(response) = session.call(Request::AddVoter(request))? else {
        return Err(session.nonsense().into());
    };
    tell(&args.connect, node, &response, true)
}

pub(super) fn remove(args: &RemoveArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    let request = RemoveVoterRequest { cluster_id: None, node: NodeId(args.node), directory: DirectoryId::ANY };
    let Response::RemoveVoter(response) = session.call(Request::RemoveVoter(request))? else {
        return Err(session.nonsense().into());
    };
    tell(&args.connect, args.node, &response, false)
}

fn tell(connect: &ConnectArgs, node: i32, response: &VotersChanged, votes: bool) -> Result<(), Ended> {
    if !response.error.is_none() {
        let what = format!("node {node}");
        return Err(CliError::refused(&what, response.error, response.message.as_deref()).into());
    }
    let mut stdout = Stdout::open()?;
    if connect.json() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("node").number(node).key("votes").flag(votes);
        });
        return Ok(stdout.line(json.as_str())?);
    }
    let what = if votes { "votes from now on" } else { "votes no longer" };
    Ok(stdout.line(&format!("node {node} {what}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_is_a_node_and_perhaps_where_it_is() {
        assert_eq!(parse_voter("4"), Ok((4, None)));
        assert_eq!(parse_voter("4@a:1"), Ok((4, Some("a:1".to_owned()))));
        for bad in ["", "x", "-1", "4@", "4@a", "4@a:b"] {
            assert!(parse_voter(bad).is_err(), "{bad:?}");
        }
    }
}
