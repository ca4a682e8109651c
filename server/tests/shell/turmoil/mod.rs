//! The scenarios on turmoil's network.

mod cluster;
mod env;
mod panics;
mod trace;

use std::{cell::Cell, rc::Rc, time::Duration};

use tidelog_client::{Client, ClientConfig};
use tidelog_core::{client::AdminConfig, time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;

use self::{
    cluster::{CLIENT, Cluster, Conditions, Fault, mixture, run, run_twice, run_with},
    env::ClientRuntime,
    trace::{note, twice},
};
use crate::nodes::{NODES, name};

#[test]
fn a_cluster_forms_in_any_order_of_start() {
    panics::watch();
    for (seed, starts) in [[0, 0, 0], [3_000, 0, 700], [0, 2_500, 5_000], [900, 4_000, 0]].into_iter().enumerate() {
        let (outcome, _) = run_twice(&Conditions { starts, ..Conditions::fair(seed as u64) });
        assert!(outcome.ledger.count() > 30 && outcome.took < Duration::from_secs(20), "{:?}", outcome.took);
        assert_eq!(outcome.contents.len(), 2, "both partitions hold records");
    }
}

#[test]
fn the_rest_goes_on_without_a_node_that_is_cut_off() {
    panics::watch();
    for seed in 0..4 {
        let alone = seed as usize % NODES;
        let cut = (0..NODES).filter(|&other| other != alone).map(|other| (5_000, Fault::Part(alone, other)));
        let faults = cut.chain([(5_000, Fault::PartFromClients(alone)), (25_000, Fault::Mend)]).collect();
        run_twice(&Conditions::with(seed, faults));
    }
}

#[test]
fn a_dead_connection_is_probed_and_replaced() {
    panics::watch();
    let mut probed = 0;
    for seed in 0..6 {
        // Whatever was under way when the links were cut is lost, and nobody is told: after the repair the connections are
        // there, and nothing will ever come over them.
        let (one, other) = [(0, 1), (0, 2), (1, 2)][seed as usize % 3];
        let faults = vec![(5_000, Fault::Part(one, other)), (5_000 + 200 * seed, Fault::Mend)];
        let conditions = Conditions { ends_by: 45_000, ..Conditions::with(seed, faults) };
        let (_, trace) = run_twice(&conditions);
        probed += trace.warned("nothing came, though the peer was asked");
    }
    assert!(probed > 0, "some connection was found dead");
}

#[test]
fn what_was_held_up_comes_late_and_changes_nothing() {
    panics::watch();
    for seed in 0..4 {
        let (one, other) = [(0, 1), (0, 2), (1, 2)][seed as usize % 3];
        let release = 6_000 + 3_000 * seed;
        let faults = vec![(5_000, Fault::Hold(one, other)), (release, Fault::Release(one, other))];
        run_twice(&Conditions::with(seed, faults));
    }
}

#[test]
fn nodes_are_restarted_one_after_another_under_load() {
    panics::watch();
    for seed in 0..3 {
        let restarts = (0..NODES).flat_map(|node| {
            let at = 5_000 + 4_000 * node as u64;
            [(at, Fault::Stop(node)), (at + 500 + 1_000 * seed, Fault::Start(node))]
        });
        let conditions = Conditions::with(seed, restarts.collect());
        let (outcome, _) = run_twice(&conditions);
        assert!(outcome.ledger.count() > 300, "{}", outcome.ledger.count());
    }
}

#[test]
fn what_was_acknowledged_survives_power_loss() {
    panics::watch();
    for seed in 0..6 {
        let node = seed as usize % NODES;
        let other = (node + 1) % NODES;
        let faults = vec![
            (5_000, Fault::PowerLoss(node)),
            (5_000 + 400 * seed, Fault::Start(node)),
            (11_000, Fault::PowerLoss(other)),
            (11_300, Fault::PowerLoss(node)),
            (12_500, Fault::Start(node)),
            (14_000, Fault::Start(other)),
        ];
        run_twice(&Conditions::with(seed, faults));
    }
}

#[test]
fn full_windows_and_slow_links_lose_nothing() {
    panics::watch();
    for seed in 0..4 {
        // turmoil's windows are 64 segments: records of this size fill them, and writers have to wait.
        let slow = [(0, 1), (0, 2), (1, 2)].map(|(one, other)| (4_000, Fault::Slow(one, other, 60 + 40 * seed)));
        let conditions =
            Conditions { healed_at: 9_000, burst: 60, value_bytes: 2_000, ..Conditions::with(seed, slow.to_vec()) };
        let outcome = run(&conditions);
        assert!(outcome.ledger.count() > 500, "{}", outcome.ledger.count());
    }
}

#[test]
fn any_mixture_of_faults_loses_nothing() {
    panics::watch();
    for seed in 100..114 {
        run_twice(&mixture(seed));
    }
}

#[test]
fn a_request_ends_in_its_time_though_nobody_answers() {
    panics::watch();
    twice("deadline", |_| {
        let mut cluster = Cluster::start(&Conditions::fair(1));
        let ended = Rc::new(Cell::new(false));
        let has_ended = Rc::clone(&ended);
        cluster.sim.client(CLIENT, async move {
            let client = loop {
                let runtime = std::sync::Arc::new(ClientRuntime);
                let config = ClientConfig { seed: Some(1), ..ClientConfig::default() };
                match Client::connect_on(runtime, None, "n1:9192", config).await {
                    Ok(client) => break client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            };
            let config = AdminConfig {
                request_timeout: time::Duration::from_secs(1),
                operation_timeout: time::Duration::from_secs(3),
                ..AdminConfig::default()
            };
            let admin = client.admin_with(config);
            admin.describe_cluster().await?;
            turmoil::hold(CLIENT, name(0));
            let begun = turmoil::sim_elapsed().expect("inside");
            let error = admin.describe_cluster().await.expect_err("nothing comes back");
            let took = turmoil::sim_elapsed().expect("inside") - begun;
            note(format!("{error} after {took:?}"));
            assert!((2_900..3_300).contains(&took.as_millis()), "{took:?}");
            turmoil::release(CLIENT, name(0));
            admin.describe_cluster().await?;
            has_ended.set(true);
            Ok(())
        });
        cluster.sim.run().expect("it ends");
        assert!(ended.get());
    });
}

#[test]
fn strangers_and_the_mute_harm_nobody_and_health_is_told() {
    panics::watch();
    twice("strangers", |_| {
        let outcome = run_with(&Conditions::fair(4), |cluster| {
            cluster.sim.client("stranger", async {
                let mut kept = Vec::new();
                for port in [9092, 9192, 9292] {
                    // Says nothing; says nonsense; begins a frame and stops.
                    for bytes in [&b""[..], &[0xff; 64], &[0, 0, 1, 0, 7]] {
                        let mut stream = TcpStream::connect(("n1", port)).await?;
                        stream.write_all(bytes).await?;
                        kept.push(stream);
                    }
                }
                loop {
                    let mut stream = TcpStream::connect(("n1", 9292)).await?;
                    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: n1\r\nconnection: close\r\n\r\n").await?;
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).await?;
                    if answer.starts_with(b"HTTP/1.1 200") {
                        break;
                    }
                    assert!(answer.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&answer));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                note("n1 says that it is ready".to_owned());
                Ok(())
            });
        });
        assert!(outcome.ledger.count() > 30);
    });
}
