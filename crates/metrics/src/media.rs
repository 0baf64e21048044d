//! Names for what shards count.

use schalter_model::{
    Counters, DropReason, LinkCounters, QualityCounters, ShardId, SrtpProfile, TransportStateGauges,
};

use crate::families::Families;

/// Adds everything that shards count. Workers are told apart only where load is about one of them.
pub(crate) fn add(families: &mut Families, shards: &[(ShardId, Counters)]) {
    let sum = |field: fn(&Counters) -> u64| shards.iter().map(|(_, c)| field(c)).sum::<u64>();
    // Taken apart, so that a new counter without a metric does not compile.
    let Counters {
        datagrams_in: _,
        bytes_in: _,
        datagrams_out: _,
        bytes_out: _,
        rtp_in: _,
        rtp_out: _,
        sound_withheld: _,
        nack_sent: _,
        nack_received: _,
        rtx_in: _,
        rtx_out: _,
        rtx_missed: _,
        pli_sent: _,
        pli_received: _,
        congestion_feedback_in: _,
        envelopes_out: _,
        envelopes_in: _,
        data_in: _,
        data_out: _,
        send_batches: _,
        receive_batches: _,
        busy_nanos: _,
        drops: _,
        srtp_profiles: _,
        transports: _,
        dtls_failures: _,
        consent_losses: _,
        address_changes: _,
        streams: _,
        streams_adopted: _,
        producers: _,
        consumers: _,
        links: _,
        quality: _,
        turn: _,
    } = Counters::default();

    let mut counter = |name, help, field| families.counter(name, help, sum(field));
    counter(
        "schalter_udp_datagrams_received_total",
        "UDP datagrams received on the media ports.",
        |c| c.datagrams_in,
    );
    counter(
        "schalter_udp_received_bytes_total",
        "Bytes of UDP payload received on the media ports.",
        |c| c.bytes_in,
    );
    counter(
        "schalter_udp_datagrams_sent_total",
        "UDP datagrams sent from the media ports.",
        |c| c.datagrams_out,
    );
    counter(
        "schalter_udp_sent_bytes_total",
        "Bytes of UDP payload sent from the media ports.",
        |c| c.bytes_out,
    );
    counter(
        "schalter_rtp_packets_received_total",
        "RTP packets accepted from publishers.",
        |c| c.rtp_in,
    );
    counter(
        "schalter_rtp_packets_sent_total",
        "RTP packets sent to subscribers, retransmissions included.",
        |c| c.rtp_out,
    );
    counter(
        "schalter_audio_packets_withheld_total",
        "Audio packets that nobody on a worker got because their speaker is not among the loudest of a big room.",
        |c| c.sound_withheld,
    );
    counter(
        "schalter_nack_packets_sent_total",
        "Packets requested again from publishers.",
        |c| c.nack_sent,
    );
    counter(
        "schalter_nack_packets_received_total",
        "Packets requested again by subscribers.",
        |c| c.nack_received,
    );
    counter(
        "schalter_rtx_packets_received_total",
        "Retransmissions received from publishers.",
        |c| c.rtx_in,
    );
    counter(
        "schalter_rtx_packets_sent_total",
        "Retransmissions sent to subscribers.",
        |c| c.rtx_out,
    );
    counter(
        "schalter_rtx_packets_missed_total",
        "Packets requested by subscribers that were too old, no longer cached, or of no use after a switch.",
        |c| c.rtx_missed,
    );
    counter(
        "schalter_keyframe_requests_sent_total",
        "Picture loss indications sent to publishers.",
        |c| c.pli_sent,
    );
    counter(
        "schalter_keyframe_requests_received_total",
        "Keyframe requests (PLI and FIR) received from subscribers.",
        |c| c.pli_received,
    );
    counter(
        "schalter_congestion_feedback_received_total",
        "Congestion control feedback by stream (RFC 8888) that subscribers sent and that was negotiated.",
        |c| c.congestion_feedback_in,
    );
    counter(
        "schalter_envelopes_sent_total",
        "Media packets handed to other shards.",
        |c| c.envelopes_out,
    );
    counter(
        "schalter_envelopes_received_total",
        "Media packets taken from other shards.",
        |c| c.envelopes_in,
    );
    counter(
        "schalter_streams_adopted_total",
        "TCP and TLS connections that carry media (ICE-TCP, TURN) and were handed to a shard.",
        |c| c.streams_adopted,
    );
    counter(
        "schalter_data_messages_received_total",
        "Data channel messages received.",
        |c| c.data_in,
    );
    counter(
        "schalter_data_messages_sent_total",
        "Data channel messages sent.",
        |c| c.data_out,
    );
    counter(
        "schalter_dtls_failures_total",
        "DTLS handshakes that failed.",
        |c| c.dtls_failures,
    );
    counter(
        "schalter_consent_losses_total",
        "Transports closed because connectivity checks stopped coming.",
        |c| c.consent_losses,
    );
    counter(
        "schalter_address_changes_total",
        "Times that a peer's address changed while its session went on.",
        |c| c.address_changes,
    );
    let mut gauge = |name, help, field| families.gauge(name, help, sum(field) as f64);
    gauge(
        "schalter_producers",
        "Tracks that publishers send now.",
        |c| c.producers,
    );
    gauge(
        "schalter_streams",
        "TCP and TLS connections that carry media (ICE-TCP, TURN) now.",
        |c| c.streams,
    );
    gauge("schalter_consumers", "Subscriptions to tracks now.", |c| {
        c.consumers
    });
    let mut links = LinkCounters::default();
    for (_, counters) in shards {
        links.add(&counters.links);
    }
    crate::links::add(families, &links);
    let mut quality = QualityCounters::default();
    for (_, counters) in shards {
        quality.add(&counters.quality);
    }
    crate::links::add_quality(families, &quality);
    crate::turn::add(families, shards);
    add_sorted(families, shards);
    add_per_worker(families, shards);
}

/// What is sorted by something else than the worker.
fn add_sorted(families: &mut Families, shards: &[(ShardId, Counters)]) {
    families.counters(
        "schalter_drops_total",
        "Datagrams, packets and messages dropped, by reason.",
        DropReason::ALL.iter().map(|reason| {
            let count: u64 = shards.iter().map(|(_, c)| c.drops.of(*reason)).sum();
            ([("reason", reason.label())], count as f64)
        }),
    );
    families.counters(
        "schalter_srtp_handshakes_total",
        "DTLS handshakes completed, by the SRTP profile they agreed on.",
        SrtpProfile::ALL.iter().map(|profile| {
            let count: u64 = shards
                .iter()
                .map(|(_, c)| c.srtp_profiles.of(*profile))
                .sum();
            ([("profile", profile.name())], count as f64)
        }),
    );
    let mut states = [
        ("new", 0),
        ("connecting", 0),
        ("connected", 0),
        ("disconnected", 0),
    ];
    for (_, counters) in shards {
        let TransportStateGauges {
            new,
            connecting,
            connected,
            disconnected,
        } = counters.transports;
        for (state, count) in states
            .iter_mut()
            .zip([new, connecting, connected, disconnected])
        {
            state.1 += count;
        }
    }
    families.gauges(
        "schalter_transports",
        "Peer connections now, by state.",
        states.map(|(state, count)| ([("state", state)], count as f64)),
    );
}

fn add_per_worker(families: &mut Families, shards: &[(ShardId, Counters)]) {
    let names: Vec<_> = shards.iter().map(|(id, _)| id.to_string()).collect();
    let mut per_worker = |name, help, field: fn(&Counters) -> f64| {
        let values = names
            .iter()
            .zip(shards)
            .map(|(id, (_, counters))| ([("shard", id.as_str())], field(counters)));
        families.counters(name, help, values);
    };
    per_worker(
        "schalter_worker_busy_seconds_total",
        "Time that a media worker spent working, not waiting.",
        |c| c.busy_nanos as f64 / 1e9,
    );
    per_worker(
        "schalter_worker_send_batches_total",
        "System calls by which a media worker sent datagrams.",
        |c| c.send_batches as f64,
    );
    per_worker(
        "schalter_worker_receive_batches_total",
        "System calls by which a media worker received datagrams.",
        |c| c.receive_batches as f64,
    );
}
