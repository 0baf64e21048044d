//! Workers on real loopback sockets: what comes in, what goes out, lanes, timers, failures.

mod probe;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use probe::{Client, PATIENCE, Probe, ask, loopback, start, start_with, wait_for_counters};
use schalter_model::{DropReason, ShardId, TrackId};
use schalter_net::{NetError, NotRunning, Workers, WorkersConfig};
use schalter_shard::control::{Command, Event};

const FIRST: ShardId = ShardId(0);

#[test]
fn datagrams_come_in_go_out_and_are_counted() {
    let workers = start(1, Default::default());
    let port = workers.local_ports()[0];
    let client = Client::new();
    let sizes = [0, 1, 1_200, 1_500];
    for size in sizes {
        client.send(port, &vec![ask::ECHO; size]);
        let (answer, from) = client.receive();
        assert_eq!((answer.len(), from.port()), (size, port));
    }
    let counters = wait_for_counters(&workers, FIRST, |c| c.datagrams_out == 4);
    assert_eq!(counters.datagrams_in, 4);
    let bytes = sizes.iter().sum::<usize>() as u64;
    assert_eq!((counters.bytes_in, counters.bytes_out), (bytes, bytes));
    assert_eq!((counters.receive_batches, counters.send_batches), (4, 4));
    assert!(counters.busy_nanos > 0);
    assert_eq!(counters.producers, 7, "the worker's own counts are kept");
    workers.shutdown().unwrap();
}

#[test]
fn replies_leave_from_the_address_the_datagram_came_to() {
    let config = WorkersConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
        ..loopback()
    };
    let workers = start_with(&config, Default::default());
    let port = workers.local_ports()[0];
    let client = Client::new();
    for local in ["127.0.0.1", "127.0.0.77"] {
        client.socket.send_to(&[ask::PATH], (local, port)).unwrap();
        let (text, from) = client.receive();
        let expected = format!("127.0.0.1:{} Some({local})", client.port());
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(from.ip().to_string(), local);
    }
}

#[test]
fn ipv4_through_an_ipv6_socket_looks_like_ipv4() {
    let config = WorkersConfig {
        bind: vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        ..loopback()
    };
    let workers = start_with(&config, Default::default());
    let port = workers.local_ports()[0];
    let four = Client::new();
    four.send(port, &[ask::PATH]);
    let text = String::from_utf8(four.receive().0).unwrap();
    assert_eq!(text, format!("127.0.0.1:{} Some(127.0.0.1)", four.port()));
    let six = Client::at("[::1]:0");
    six.socket
        .send_to(&[ask::PATH], (Ipv6Addr::LOCALHOST, port))
        .unwrap();
    let text = String::from_utf8(six.receive().0).unwrap();
    assert_eq!(text, format!("[::1]:{} Some(::1)", six.port()));
}

#[test]
fn one_shard_serves_several_addresses_on_one_port() {
    let config = WorkersConfig {
        bind: vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            "127.0.0.2".parse().unwrap(),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ],
        ..loopback()
    };
    let workers = start_with(&config, Default::default());
    let port = workers.local_ports()[0];
    for (own, remote) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("127.0.0.1:0", "127.0.0.2"),
        ("[::1]:0", "::1"),
    ] {
        let client = Client::at(own);
        client.socket.send_to(b"echo", (remote, port)).unwrap();
        let (answer, from) = client.receive();
        assert_eq!(
            (answer.as_slice(), from.ip()),
            (&b"echo"[..], remote.parse().unwrap())
        );
    }
}

#[test]
fn the_port_for_turn_is_another_one_of_the_same_shard_and_answers_leave_from_it() {
    let config = WorkersConfig {
        shards: 2,
        turn_port: Some(0),
        ..loopback()
    };
    let workers = start_with(&config, Default::default());
    let ports = [workers.local_ports(), workers.local_turn_ports()].concat();
    assert_eq!(ports.len(), 4);
    let client = Client::new();
    for (index, port) in ports.iter().enumerate() {
        assert!(!ports[..index].contains(port), "{ports:?}");
        client.send(*port, b"echo");
        let (answer, from) = client.receive();
        assert_eq!((answer.as_slice(), from.port()), (&b"echo"[..], *port));
    }
    assert!(
        start(1, Default::default()).local_turn_ports().is_empty(),
        "none without being asked for"
    );
}

#[test]
fn a_run_arrives_as_separate_datagrams() {
    let workers = start(1, Default::default());
    let client = Client::new();
    for count in [2, 5, 64] {
        client.send(workers.local_ports()[0], &[ask::RUN, count]);
        for index in 0..count {
            let (segment, _) = client.receive();
            let expected = if index + 1 < count { 1_000 } else { 100 };
            assert_eq!(segment, vec![index; expected], "{index} of {count}");
        }
        assert!(client.is_idle());
    }
    let counters = wait_for_counters(&workers, FIRST, |c| c.datagrams_out == 71);
    assert!(
        counters.send_batches < 71,
        "segmentation offload joins them"
    );
}

#[test]
fn joined_datagrams_are_taken_apart_again() {
    // Sent by GSO over loopback, a run arrives as one message with GRO.
    let workers = start(1, Default::default());
    let client = Client::new();
    let state = quinn_udp::UdpSocketState::new((&client.socket).into()).unwrap();
    client.socket.set_nonblocking(false).unwrap();
    let contents: Vec<u8> = (0..10u8).flat_map(|i| vec![i; 500]).collect();
    let transmit = quinn_udp::Transmit {
        destination: (Ipv4Addr::LOCALHOST, workers.local_ports()[0]).into(),
        ecn: None,
        contents: &contents,
        segment_size: Some(500),
        src_ip: None,
    };
    state.try_send((&client.socket).into(), &transmit).unwrap();
    for index in 0..10 {
        // The client's own socket joins, too.
        let mut buffer = [0; 65_536];
        let (len, _) = client.socket.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], [index; 500]);
    }
    let counters = wait_for_counters(&workers, FIRST, |c| c.datagrams_out == 10);
    assert_eq!((counters.datagrams_in, counters.bytes_in), (10, 5_000));
}

#[test]
fn shards_exchange_envelopes_and_messages() {
    let workers = start(3, Default::default());
    let ports = workers.local_ports().to_vec();
    let client = Client::new();
    client.send(ports[0], &[ask::ENVELOPES, 2, 5]);
    for number in 0..5 {
        let (packet, from) = client.receive();
        assert_eq!((packet, from.port()), (vec![number], ports[2]), "in order");
    }
    client.send(ports[2], &[ask::TELL, 1]);
    let (packet, from) = client.receive();
    assert_eq!((packet, from.port()), (vec![b'm', 2, 1], ports[1]));
}

#[test]
fn a_full_mailbox_drops_and_counts_and_keeps_the_rest() {
    let gate = std::sync::Arc::new(std::sync::Mutex::new(()));
    let workers = start(2, std::sync::Arc::clone(&gate));
    let ports = workers.local_ports().to_vec();
    let client = Client::new();
    let held = gate.lock().unwrap();
    client.send(ports[1], &[ask::HOLD]);
    client.send(ports[0], &[ask::ENVELOPES, 1, 100]);
    let full = |c: &schalter_model::Counters| c.drops.of(DropReason::MailboxFull) > 0;
    let counters = wait_for_counters(&workers, FIRST, full);
    // Had the other worker not been held yet, it would have taken some of them.
    let dropped = counters.drops.of(DropReason::MailboxFull);
    assert!((1..=92).contains(&dropped), "{dropped}");
    client.send(ports[0], &[ask::TELL, 1]);
    drop(held);
    let mut kept = 0;
    while client.receive().0 != [b'm', 0, 1] {
        kept += 1;
    }
    assert!(kept + dropped <= 100);
    while kept + dropped < 100 {
        // The two lanes are not ordered between each other.
        client.receive();
        kept += 1;
    }
    assert!(client.is_idle());
}

#[test]
fn commands_arrive_in_a_sleeping_worker_and_events_come_back() {
    let (sender, events) = mpsc::channel();
    let workers = Workers::start(
        &loopback(),
        |shard, _, _| Probe::new(shard, Default::default(), |_| {}),
        Box::new(move |shard, event| sender.send((shard, event)).unwrap()),
    )
    .unwrap();
    let client = Client::new();
    let track = TrackId(client.port().into());
    for _ in 0..200 {
        let command = Command::RemoveProducer { track };
        workers.commands().send(FIRST, command).unwrap();
        assert_eq!(client.receive().0, b"command");
    }
    client.send(workers.local_ports()[0], &[ask::EVENT]);
    let (shard, event) = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(shard, FIRST);
    assert!(matches!(event, Event::AudioLevel { track: t, .. } if t == track));
    let nowhere = workers.send(ShardId(1), Command::RemoveProducer { track });
    assert_eq!(nowhere, Err(NotRunning(ShardId(1))));
}

#[test]
fn timers_fire_no_earlier_than_asked_and_without_other_traffic() {
    let workers = start(1, Default::default());
    let client = Client::new();
    for millis in [1, 20, 200] {
        let before = Instant::now();
        client.send(workers.local_ports()[0], &[ask::LATER, millis]);
        assert_eq!(client.receive().0, b"later");
        let took = before.elapsed();
        assert!(took >= Duration::from_millis(millis.into()), "{took:?}");
        // The loop wakes once a second to publish: a timer that only fired then would show here.
        assert!(took < Duration::from_millis(900), "{took:?}");
    }
}

/// Several passes' worth, but no more than the client's receive buffer holds while nobody reads it.
const COMMANDS: usize = 150;

#[test]
fn shutdown_carries_out_what_was_asked_before_and_frees_the_ports() {
    let workers = start(2, Default::default());
    let ports = workers.local_ports().to_vec();
    let client = Client::new();
    let track = TrackId(client.port().into());
    for _ in 0..COMMANDS {
        let command = Command::RemoveProducer { track };
        workers.send(ShardId(1), command).unwrap();
    }
    let commands = workers.commands();
    workers.shutdown().unwrap();
    for _ in 0..COMMANDS {
        assert_eq!(client.receive().0, b"command");
    }
    let late = commands.send(ShardId(1), Command::RemoveProducer { track });
    assert_eq!(late, Err(NotRunning(ShardId(1))));
    for port in ports {
        std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = Client::new();
    let config = WorkersConfig {
        base_port: taken.port() - 1,
        shards: 2,
        ..loopback()
    };
    let result = Workers::start(
        &config,
        |shard, _, _| Probe::new(shard, Default::default(), |_| {}),
        Box::new(|_, _| {}),
    );
    let error = result.unwrap_err();
    assert!(
        matches!(error, NetError::PortInUse { port } if port == taken.port()),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        format!("port {} is in use", taken.port())
    );
}

#[test]
fn impossible_configurations_are_refused() {
    let start = |config: &WorkersConfig| {
        let make = |shard, _, _| Probe::new(shard, Default::default(), |_| {});
        Workers::start(config, make, Box::new(|_, _| {})).unwrap_err()
    };
    let config = loopback();
    let none = WorkersConfig {
        bind: Vec::new(),
        ..config.clone()
    };
    assert!(matches!(start(&none), NetError::NoAddress));
    let none = WorkersConfig {
        shards: 0,
        ..config.clone()
    };
    assert!(matches!(start(&none), NetError::NoShard));
    let high = WorkersConfig {
        base_port: 65_535,
        shards: 2,
        ..config.clone()
    };
    assert!(matches!(
        start(&high),
        NetError::PortRange { .. } | NetError::PortInUse { .. }
    ));
    let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
    let away = WorkersConfig {
        bind: vec![elsewhere],
        ..config
    };
    assert!(matches!(start(&away), NetError::AddressNotHere { address } if address == elsewhere));
}

#[test]
fn a_panicking_worker_is_reported_as_failed() {
    let workers = start(2, Default::default());
    assert_eq!(workers.failed(), None);
    assert_eq!(workers.wait_failed(Duration::from_millis(1)), None);
    Client::new().send(workers.local_ports()[1], &[ask::PANIC]);
    let failure = workers.wait_failed(PATIENCE).expect("noticed");
    assert_eq!(
        (failure.shard, failure.reason.as_str()),
        (ShardId(1), "asked to")
    );
    assert_eq!(workers.failed(), Some(failure.clone()));
    assert_eq!(workers.shutdown(), Err(failure));
}

#[test]
fn pinned_workers_stay_on_one_core() {
    fn report(_: &[u8]) {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        assert_eq!(allowed.count(), 1);
    }
    let config = WorkersConfig {
        pin: true,
        first_core: 1_000,
        ..loopback()
    };
    let workers = Workers::start(
        &config,
        |shard, _, _| Probe::new(shard, Default::default(), report),
        Box::new(|_, _| {}),
    )
    .unwrap();
    let client = Client::new();
    client.send(workers.local_ports()[0], b"echo");
    assert_eq!(client.receive().0, b"echo");
}

#[test]
fn buffers_are_reported_as_given() {
    let config = WorkersConfig {
        receive_buffer: 100_000,
        send_buffer: 50_000,
        ..loopback()
    };
    let buffers = start_with(&config, Default::default()).socket_buffers();
    assert_eq!((buffers.receive, buffers.send), (100_000, 50_000));
}
