//! Data channels with a client of the webrtc family, over a network in memory.

mod peer;

use std::time::Duration;

use bytes::Bytes;
use peer::*;
use rtc_sctp::PayloadProtocolIdentifier as Ppi;
use schalter_model::DropReason;
use schalter_transport::{
    ChannelId, DataChannelConfig, DataError, Reliability, TransportEvent, TransportLimits,
};

fn channel(label: &str, ordered: bool, reliability: Reliability) -> DataChannelConfig {
    DataChannelConfig {
        label: label.into(),
        protocol: "".into(),
        ordered,
        reliability,
    }
}

fn reliable(label: &str) -> DataChannelConfig {
    channel(label, true, Reliability::Reliable)
}

fn connected(config: PairConfig) -> Pair {
    let mut pair = Pair::introduced(config);
    pair.connect();
    pair.run_until_sctp();
    pair
}

fn received(pair: &Pair) -> Vec<Bytes> {
    pair.events
        .iter()
        .filter_map(|event| {
            if let TransportEvent::Data { data, .. } = event {
                Some(data.clone())
            } else {
                None
            }
        })
        .collect()
}

fn client_received(pair: &Pair) -> Vec<Bytes> {
    pair.client
        .events
        .iter()
        .filter_map(|event| {
            if let ClientEvent::Message { data, .. } = event {
                Some(data.clone())
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn a_channel_of_the_client_is_acknowledged_reported_and_found_by_label() {
    let mut pair = connected(PairConfig::default());
    for (stream, config) in [
        (0, reliable("_reliable")),
        (2, channel("_lossy", false, Reliability::MaxRetransmits(0))),
        (4, channel("timed", false, Reliability::MaxLifetimeMs(100))),
    ] {
        pair.client_opens(stream, &config);
        assert!(pair.client.events.contains(&ClientEvent::Ack { stream }));
        let id = ChannelId(stream);
        assert_eq!(pair.server.channel_by_label(&config.label), Some(id));
        assert!(pair.saw(&TransportEvent::ChannelOpened {
            channel: id,
            config
        }));
    }
    assert_eq!(pair.server.channel_by_label("unknown"), None);
}

#[test]
fn our_channels_open_on_odd_streams_as_configured() {
    let configs = vec![
        reliable("_reliable"),
        channel("_lossy", false, Reliability::MaxRetransmits(0)),
    ];
    let mut pair = connected(PairConfig {
        channels: configs.clone(),
        ..PairConfig::default()
    });
    assert!(pair.run(Duration::from_secs(5), |pair| {
        pair.client
            .events
            .iter()
            .filter(|e| matches!(e, ClientEvent::Open { .. }))
            .count()
            == 2
    }));
    pair.exchange();
    for (stream, config) in [1, 3].into_iter().zip(configs) {
        let open = ClientEvent::Open {
            stream,
            config: config.clone(),
        };
        assert!(
            pair.client.events.contains(&open),
            "{:?}",
            pair.client.events
        );
        let channel = ChannelId(stream);
        assert!(pair.saw(&TransportEvent::ChannelOpened { channel, config }));
    }
}

#[test]
fn an_association_comes_about_when_the_client_only_waits() {
    let mut pair = connected(PairConfig {
        client: ClientConfigOf {
            initiates_sctp: false,
            ..ClientConfigOf::default()
        },
        channels: vec![reliable("ours")],
        ..PairConfig::default()
    });
    assert!(pair.run(Duration::from_secs(5), |pair| {
        pair.client
            .events
            .iter()
            .any(|e| matches!(e, ClientEvent::Open { .. }))
    }));
}

#[test]
fn nobody_who_negotiated_no_channels_hears_of_an_association() {
    let mut pair = Pair::introduced(PairConfig {
        client: ClientConfigOf {
            initiates_sctp: false,
            ..ClientConfigOf::default()
        },
        ..PairConfig::default()
    });
    pair.connect();
    assert!(pair.run_until_connected());
    let begun = |pair: &mut Pair| pair.client.association.is_some();
    assert!(!pair.run(Duration::from_secs(10), begun));
    // One that comes late is made as late as that.
    let now = pair.now;
    pair.server.open_channel(now, reliable("late")).unwrap();
    assert!(pair.run(Duration::from_secs(5), begun));
}

#[test]
fn an_association_comes_about_whichever_packet_is_lost() {
    // 1..=8 are the handshake's; from there on it is INIT and what follows.
    for direction in [Direction::ToServer, Direction::ToClient] {
        for lost in 4..=9 {
            let mut pair = Pair::introduced(PairConfig {
                channels: vec![reliable("ours")],
                ..PairConfig::default()
            });
            pair.loss = Box::new(move |to, number| to == direction && number == lost);
            pair.connect();
            let opened = pair.run(Duration::from_secs(40), |pair| {
                pair.events
                    .iter()
                    .any(|e| matches!(e, TransportEvent::ChannelOpened { .. }))
            });
            assert!(opened, "{direction:?} {lost}");
        }
    }
}

#[test]
fn messages_keep_their_kind_even_when_empty() {
    let mut pair = connected(PairConfig::default());
    pair.client_opens(0, &reliable("c"));
    for (ppi, sent) in [
        (Ppi::String, &b"text"[..]),
        (Ppi::StringEmpty, b"\0"),
        (Ppi::Binary, b"\x01\xff"),
        (Ppi::BinaryEmpty, b"\0"),
    ] {
        pair.client_sends(0, ppi, sent);
    }
    let got: Vec<_> = pair
        .events
        .iter()
        .filter_map(|event| {
            if let TransportEvent::Data {
                binary,
                data,
                label,
                ..
            } = event
            {
                Some((&**label, *binary, &data[..]))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        got,
        [
            ("c", false, &b"text"[..]),
            ("c", false, b""),
            ("c", true, b"\x01\xff"),
            ("c", true, b"")
        ]
    );
    for (binary, data) in [(false, "text"), (false, ""), (true, "bin"), (true, "")] {
        pair.server
            .send_data(pair.now, ChannelId(0), binary, data.into())
            .unwrap();
    }
    pair.exchange();
    let kinds: Vec<_> = pair
        .client
        .events
        .iter()
        .filter_map(|event| {
            if let ClientEvent::Message { ppi, .. } = event {
                Some(*ppi)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        kinds,
        [Ppi::String, Ppi::StringEmpty, Ppi::Binary, Ppi::BinaryEmpty]
    );
}

#[test]
fn text_that_is_not_utf8_goes_neither_way() {
    let mut pair = connected(PairConfig::default());
    pair.client_opens(0, &reliable("c"));
    pair.client_sends(0, Ppi::String, b"\xff\xfe");
    assert_eq!(received(&pair), Vec::<Bytes>::new());
    assert_eq!(pair.drops.last(), Some(&DropReason::SctpMalformed));
    let sent = pair
        .server
        .send_data(pair.now, ChannelId(0), false, Bytes::from_static(b"\xff"));
    assert_eq!(sent, Err(DataError::NotText));
}

#[test]
fn messages_up_to_the_limit_pass_and_no_byte_more() {
    let mut pair = connected(PairConfig::default());
    pair.client_opens(0, &reliable("c"));
    let largest = vec![7; 65_535];
    pair.client_sends(0, Ppi::Binary, &largest);
    assert!(pair.run(Duration::from_secs(10), |pair| received(pair)
        == [&largest[..]]));
    pair.client_sends(0, Ppi::Binary, &vec![7; 65_536]);
    pair.run(Duration::from_secs(5), |_| false);
    assert_eq!(received(&pair).len(), 1);
    assert!(pair.drops.contains(&DropReason::DataTooLarge));

    let id = ChannelId(0);
    assert_eq!(
        pair.server
            .send_data(pair.now, id, true, vec![7; 65_536].into()),
        Err(DataError::TooLarge)
    );
    pair.server
        .send_data(pair.now, id, true, largest.clone().into())
        .unwrap();
    assert!(
        pair.run(Duration::from_secs(10), |pair| client_received(pair)
            == [&largest[..]])
    );
}

#[test]
fn a_full_send_buffer_refuses_and_empties_again() {
    let mut pair = connected(PairConfig {
        limits: TransportLimits {
            channel_send_buffer: 100_000,
            ..TransportLimits::default()
        },
        ..PairConfig::default()
    });
    pair.client_opens(0, &reliable("c"));
    let id = ChannelId(0);
    let message = Bytes::from(vec![1; 40_000]);
    pair.server
        .send_data(pair.now, id, true, message.clone())
        .unwrap();
    pair.server
        .send_data(pair.now, id, true, message.clone())
        .unwrap();
    assert_eq!(
        pair.server.send_data(pair.now, id, true, message.clone()),
        Err(DataError::BufferFull)
    );
    assert!(
        pair.run(Duration::from_secs(10), |pair| client_received(pair).len()
            == 2)
    );
    pair.server.send_data(pair.now, id, true, message).unwrap();
}

#[test]
fn reliable_messages_wait_for_their_channel_and_lossy_ones_do_not() {
    let mut pair = Pair::introduced(PairConfig {
        channels: vec![
            reliable("_reliable"),
            channel("_lossy", false, Reliability::MaxRetransmits(0)),
        ],
        limits: TransportLimits {
            channel_send_buffer: 1000,
            ..TransportLimits::default()
        },
        ..PairConfig::default()
    });
    let id = pair.server.channel_by_label("_reliable").unwrap();
    let lossy = pair.server.channel_by_label("_lossy").unwrap();
    pair.server
        .send_data(pair.now, id, false, "first".into())
        .unwrap();
    pair.server
        .send_data(pair.now, id, false, "second".into())
        .unwrap();
    assert_eq!(
        pair.server
            .send_data(pair.now, id, true, vec![0; 1000].into()),
        Err(DataError::BufferFull)
    );
    assert_eq!(
        pair.server.send_data(pair.now, lossy, false, "x".into()),
        Err(DataError::NotOpen)
    );
    assert_eq!(
        pair.server
            .send_data(pair.now, ChannelId(99), false, "x".into()),
        Err(DataError::UnknownChannel)
    );
    pair.connect();
    assert!(
        pair.run(Duration::from_secs(10), |pair| client_received(pair).len()
            == 2)
    );
    assert_eq!(client_received(&pair), ["first", "second"]);
}

#[test]
fn a_lost_message_is_sent_again_on_a_reliable_channel_only() {
    for (reliability, arrives) in [
        (Reliability::Reliable, true),
        (Reliability::MaxRetransmits(0), false),
        (Reliability::MaxLifetimeMs(10), false),
    ] {
        let mut pair = connected(PairConfig::default());
        pair.client_opens(0, &channel("c", false, reliability));
        let mut lose = true;
        pair.loss = Box::new(move |to, _| to == Direction::ToClient && std::mem::take(&mut lose));
        pair.server
            .send_data(pair.now, ChannelId(0), false, "lost".into())
            .unwrap();
        pair.exchange();
        pair.server
            .send_data(pair.now, ChannelId(0), false, "next".into())
            .unwrap();
        pair.run(Duration::from_secs(15), |_| false);
        let got = client_received(&pair);
        assert!(
            got.contains(&Bytes::from("next")),
            "{reliability:?}: {got:?}"
        );
        assert_eq!(
            got.contains(&Bytes::from("lost")),
            arrives,
            "{reliability:?}"
        );
    }
}

#[test]
fn an_unordered_channel_does_not_wait_for_a_lost_message() {
    for (ordered, at_once) in [(false, true), (true, false)] {
        let mut pair = connected(PairConfig::default());
        pair.client_opens(0, &channel("c", ordered, Reliability::Reliable));
        let mut lose = true;
        pair.loss = Box::new(move |to, _| to == Direction::ToClient && std::mem::take(&mut lose));
        for text in ["lost", "next"] {
            pair.server
                .send_data(pair.now, ChannelId(0), false, text.into())
                .unwrap();
            pair.exchange();
        }
        assert_eq!(
            client_received(&pair) == ["next"],
            at_once,
            "ordered {ordered}"
        );
        assert!(
            pair.run(Duration::from_secs(15), |pair| client_received(pair).len()
                == 2)
        );
    }
}

#[test]
fn either_side_closes_a_channel_and_its_label_is_free_again() {
    let mut pair = connected(PairConfig::default());
    for stream in [0, 2] {
        pair.client_opens(stream, &reliable("c"));
        let id = ChannelId(stream);
        if stream == 0 {
            pair.server.close_channel(pair.now, id).unwrap();
            assert_eq!(
                pair.server.send_data(pair.now, id, false, "x".into()),
                Err(DataError::NotOpen)
            );
        } else {
            let now = pair.instant();
            let (_, association) = pair.client.association.as_mut().unwrap();
            association.stream(stream).unwrap().close(now).unwrap();
        }
        let closed = TransportEvent::ChannelClosed { channel: id };
        assert!(
            pair.run(Duration::from_secs(10), |pair| pair.saw(&closed)),
            "{stream}"
        );
        assert_eq!(pair.server.channel_by_label("c"), None, "{stream}");
        assert!(
            pair.client.events.contains(&ClientEvent::Reset { stream }) || stream != 0,
            "the client's side is reset, too"
        );
    }
}

#[test]
fn channels_beyond_the_limit_are_refused_on_both_sides() {
    let mut pair = connected(PairConfig {
        limits: TransportLimits {
            max_channels: 2,
            ..TransportLimits::default()
        },
        ..PairConfig::default()
    });
    pair.client_opens(0, &reliable("a"));
    pair.client_opens(2, &reliable("b"));
    pair.client_opens(4, &reliable("c"));
    assert_eq!(pair.server.channel_by_label("c"), None);
    assert!(pair.drops.contains(&DropReason::DataOverload));
    assert_eq!(
        pair.server.open_channel(pair.now, reliable("d")),
        Err(DataError::TooManyChannels)
    );
    assert!(pair.server.media_ready(), "media is not concerned");
}

#[test]
fn a_client_that_opens_streams_without_end_loses_its_association_and_no_more() {
    let mut pair = connected(PairConfig {
        limits: TransportLimits {
            max_channels: 4,
            ..TransportLimits::default()
        },
        ..PairConfig::default()
    });
    pair.client_opens(0, &reliable("a"));
    let now = pair.instant();
    for stream in (2..60).step_by(2) {
        let (_, association) = pair.client.association.as_mut().unwrap();
        let mut handle = association.open_stream(stream, Ppi::Binary).unwrap();
        handle
            .write_with_ppi(now, b"no open before", Ppi::Binary)
            .unwrap();
    }
    pair.exchange();
    assert!(pair.saw(&TransportEvent::ChannelClosed {
        channel: ChannelId(0)
    }));
    assert!(pair.server.media_ready());
    assert_eq!(
        pair.server.open_channel(pair.now, reliable("d")),
        Err(DataError::NotOpen)
    );
}

#[test]
fn a_message_without_an_end_cannot_fill_the_memory() {
    // The family's sender does not check against our limit, so its one message can be larger than our receive buffer.
    let mut pair = connected(PairConfig {
        limits: TransportLimits {
            receive_buffer: 32 * 1024,
            ..TransportLimits::default()
        },
        ..PairConfig::default()
    });
    pair.client_opens(0, &reliable("a"));
    pair.client_sends(0, Ppi::Binary, &vec![0; 200_000]);
    let closed = TransportEvent::ChannelClosed {
        channel: ChannelId(0),
    };
    assert!(pair.run(Duration::from_secs(60), |pair| pair.saw(&closed)));
    assert_eq!(received(&pair), Vec::<Bytes>::new());
    assert!(pair.server.media_ready());
}
