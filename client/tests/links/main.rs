//! The client against a peer that breaks connections on purpose: what a real node does only by accident.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod peer;

use peer::{Peer, T};
use tidelog_client::{Acks, Client, ConsumerConfig, Duration, ErrorKind, NewRecord, Offset, ProducerConfig, StartAt};

fn quick() -> ProducerConfig {
    ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() }
}

#[tokio::test]
async fn what_is_sent_comes_back_in_order() {
    let peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(ProducerConfig { batch_bytes: 1 << 10, ..ProducerConfig::default() });
    let topic = producer.topic(T).await.unwrap();
    let values: Vec<String> = (0..5000).map(|n| format!("record {n}")).collect();
    let sent = producer.send_all(topic, values.iter().map(|v| NewRecord::new(v.as_bytes()))).await.unwrap();
    assert_eq!(sent.records(), 5000);
    sent.await.unwrap();
    let last = producer.send(T, NewRecord::new(b"last").with_key(b"k")).await.unwrap().await.unwrap();
    assert_eq!(last.offset, Some(Offset(5000)));
    producer.close().await.unwrap();

    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign_topic(T, StartAt::Earliest).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 5001 {
        for record in consumer.next_batch().await.unwrap().records().unwrap() {
            let record = record.unwrap();
            assert_eq!(record.offset, Offset(got.len() as i64));
            assert!(record.timestamp.0 > 1_600_000_000_000, "a record without a time gets the current one");
            got.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }
    assert_eq!(got[..5000], values[..]);
    assert_eq!(consumer.position(T, 0), Some(Offset(5001)));
}

#[tokio::test]
async fn an_answer_that_is_lost_does_not_double_the_records() {
    let peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(quick());
    producer.send(T, NewRecord::new(b"first")).await.unwrap().await.unwrap();
    for n in 0..5 {
        peer.script().break_after_produce = 1;
        let placed = producer.send(T, NewRecord::new(b"again")).await.unwrap().await.unwrap();
        assert_eq!(placed.offset, Some(Offset(n + 1)));
    }
    assert_eq!(peer.script().records(), 6);
}

#[tokio::test]
async fn a_peer_that_talks_nonsense_is_left_and_tried_again() {
    let peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(quick());
    peer.script().nonsense_for_produce = 2;
    producer.send(T, NewRecord::new(b"a")).await.unwrap().await.unwrap();
    assert_eq!(peer.script().records(), 1);
}

#[tokio::test]
async fn a_peer_that_was_away_gets_everything_when_it_is_back() {
    let mut peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(quick());
    producer.send(T, NewRecord::new(b"before")).await.unwrap().await.unwrap();
    peer.go_away();
    let mut sent = Vec::new();
    for _ in 0..100 {
        sent.push(producer.send(T, NewRecord::new(b"meanwhile")).await.unwrap());
    }
    peer.come_back().await;
    for (n, delivery) in sent.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset, Some(Offset(n as i64 + 1)));
    }
}

#[tokio::test]
async fn a_full_buffer_makes_sending_wait_for_room() {
    let peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(ProducerConfig { buffer_bytes: 4 << 10, ..quick() });
    let topic = producer.topic(T).await.unwrap();
    peer.script().hold_produce = true;
    let value = [7; 1000];
    let mut sending = std::pin::pin!(producer.send_all(topic, (0..100).map(|_| NewRecord::new(&value))));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(50), &mut sending).await;
    assert!(waited.is_err(), "a hundred records do not fit");
    peer.release();
    sending.await.unwrap().await.unwrap();
    assert_eq!(peer.script().records(), 100);
}

#[tokio::test]
async fn closing_delivers_what_was_sent_and_takes_no_more() {
    let peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(ProducerConfig { linger: Duration::from_secs(600), ..ProducerConfig::default() });
    let other = producer.clone();
    let topic = producer.topic(T).await.unwrap();
    producer.enqueue(topic, NewRecord::new(b"a")).await.unwrap();
    producer.close().await.unwrap();
    assert_eq!(peer.script().records(), 1);
    let error = other.send(T, NewRecord::new(b"late")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(!error.is_retriable() && !error.may_have_applied());
}

#[tokio::test]
async fn a_flush_tells_of_failures_that_nobody_waited_for() {
    let peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(quick());
    let topic = producer.topic(T).await.unwrap();
    peer.script().refuse_produce = Some(tidelog_core::message::ErrorCode::MessageTooLarge);
    producer.enqueue(topic, NewRecord::new(b"a")).await.unwrap();
    let error = producer.flush().await.unwrap_err();
    assert_eq!(error.code(), Some(tidelog_core::message::ErrorCode::MessageTooLarge));
    assert_eq!(producer.flush().await, Ok(()));
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_parts_and_every_record_has_its_offset() {
    let peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(ProducerConfig { linger: Duration::from_millis(50), ..ProducerConfig::default() });
    let topic = producer.topic(T).await.unwrap();
    peer.script().batch_bytes_max = Some(400);
    let mut deliveries = Vec::new();
    for n in 0..20u8 {
        deliveries.push(producer.send_to(topic, NewRecord::new(&[n; 100])).await.unwrap());
    }
    for (n, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset, Some(Offset(n as i64)));
    }
    let values: Vec<[u8; 100]> = (20..40u8).map(|n| [n; 100]).collect();
    producer.send_all(topic, values.iter().map(|value| NewRecord::new(value))).await.unwrap().await.unwrap();
    assert_eq!(peer.script().records(), 40);

    // One record alone is too large: it fails, and nothing with it.
    let small = producer.send_to(topic, NewRecord::new(b"small")).await.unwrap();
    let large = producer.send_to(topic, NewRecord::new(&[0; 500])).await.unwrap();
    let after = producer.send_to(topic, NewRecord::new(b"after")).await.unwrap();
    assert_eq!(large.await.unwrap_err().code(), Some(tidelog_core::message::ErrorCode::MessageTooLarge));
    assert_eq!(small.await.unwrap().offset, Some(Offset(40)));
    assert_eq!(after.await.unwrap().offset, Some(Offset(41)));
    producer.close().await.unwrap();

    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign(T, 0, StartAt::Earliest);
    let mut read = 0u8;
    while read < 40 {
        for record in consumer.next_batch().await.unwrap().records().unwrap() {
            let value = record.unwrap().value.unwrap();
            if read < 40 {
                assert_eq!(value, [read; 100][..]);
            }
            read += 1;
        }
    }
}

#[tokio::test]
async fn a_reader_hears_that_what_it_read_is_no_longer_in_the_log() {
    let peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(quick());
    for value in [b"a", b"b"] {
        producer.send(T, NewRecord::new(value)).await.unwrap().await.unwrap();
    }
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign(T, 0, StartAt::Earliest);
    while consumer.position(T, 0) != Some(Offset(2)) {
        consumer.next_batch().await.unwrap();
    }
    peer.script().cut(Offset(1));
    let error = consumer.next_batch().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::Truncated, true));
    assert_eq!(error.to_string(), "orders-0: the log was truncated to offset 1; reading goes on there");
    producer.send(T, NewRecord::new(b"c")).await.unwrap().await.unwrap();
    assert_eq!(consumer.next_batch().await.unwrap().from, Offset(1));
}

#[tokio::test]
async fn without_acks_a_send_is_over_when_it_has_left() {
    let peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(ProducerConfig { acks: Acks::None, ..quick() });
    let placed = producer.send(T, NewRecord::new(b"a")).await.unwrap().await.unwrap();
    assert_eq!(placed.offset, None);
    producer.close().await.unwrap();
}

#[tokio::test]
async fn a_consumer_survives_a_broken_connection() {
    let mut peer = Peer::start().await;
    let client = Client::connect(&peer.address()).await.unwrap();
    let producer = client.producer(quick());
    producer.send(T, NewRecord::new(b"a")).await.unwrap().await.unwrap();
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign(T, 0, StartAt::Offset(Offset(0)));
    assert_eq!(consumer.next_batch().await.unwrap().from, Offset(0));
    peer.go_away();
    peer.come_back().await;
    producer.send(T, NewRecord::new(b"b")).await.unwrap().await.unwrap();
    assert_eq!(consumer.next_batch().await.unwrap().from, Offset(1));
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let mut peer = Peer::start().await;
    let address = peer.address();
    peer.go_away();
    let error = Client::connect(&address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.is_retriable() && error.to_string().contains(&address), "{error}");
    assert_eq!(Client::connect("nonsense").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(Client::connect("").await.unwrap_err().kind(), ErrorKind::Invalid);
}
