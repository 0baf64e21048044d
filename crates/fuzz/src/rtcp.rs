//! RTCP compounds: every iterator ends, and feedback that is read can be written with the same content.
use schalter_rtp::rtcp::{
    CongestionFeedback, Rtcp, RtcpWriter, StreamArrivals, TransportCc, compound,
};

/// Does it with one input.
pub fn run(datagram: &[u8]) {
    for packet in compound(datagram) {
        let Ok(packet) = packet else { continue };
        match packet {
            Rtcp::SenderReport(report) => assert!(report.reports.count() <= datagram.len() * 5),
            Rtcp::ReceiverReport(report) => rewrite_report(report),
            Rtcp::SourceDescription(description) => {
                assert!(description.chunks().count() <= datagram.len() * 5)
            }
            Rtcp::Bye(bye) => assert!(bye.sources().count() <= datagram.len() * 5),
            Rtcp::Nack(nack) => assert!(nack.lost().count() <= datagram.len() * 5),
            Rtcp::Fir(fir) => assert!(fir.entries().count() <= datagram.len() * 5),
            Rtcp::Remb(remb) => assert!(remb.ssrcs().count() <= datagram.len() * 5),
            Rtcp::TransportCc(feedback) => rewrite_feedback(feedback),
            Rtcp::CongestionControl(feedback) => rewrite_congestion(feedback),
            Rtcp::Pli { .. } | Rtcp::Unknown { .. } => {}
        }
    }
}

fn rewrite_report(report: schalter_rtp::rtcp::ReceiverReport<'_>) {
    let blocks: Vec<_> = report.reports.collect();
    let mut out = [0; 1024];
    let mut writer = RtcpWriter::new(&mut out);
    writer
        .receiver_report(report.ssrc, &blocks)
        .expect("at most 31 blocks");
    let len = writer.finish();
    let Some(Ok(Rtcp::ReceiverReport(again))) = compound(&out[..len]).next() else {
        panic!("lost")
    };
    assert!(again.reports.eq(blocks));
}

fn rewrite_feedback(feedback: TransportCc<'_>) {
    let mut time = i64::from(feedback.reference_time) * 256;
    let mut sequence = feedback.base_sequence;
    let packets: Vec<_> = feedback
        .deltas()
        .map(|delta| {
            time += i64::from(delta.unwrap_or(0));
            let packet = (sequence, delta.map(|_| time));
            sequence = sequence.wrapping_add(1);
            packet
        })
        .collect();
    assert_eq!(packets.len(), usize::from(feedback.status_count));
    if packets.is_empty() {
        return;
    }
    let mut out = vec![0; 200_000];
    let mut writer = RtcpWriter::new(&mut out);
    let consumed = writer
        .transport_cc(1, 2, 3, &packets)
        .expect("room for all");
    let len = writer.finish();
    let Some(Ok(Rtcp::TransportCc(again))) = compound(&out[..len]).next() else {
        panic!("lost")
    };
    assert_eq!(consumed, packets.len());
    assert!(
        again
            .deltas()
            .map(|delta| delta.is_some())
            .eq(feedback.deltas().map(|delta| delta.is_some()))
    );
}

fn rewrite_congestion(feedback: CongestionFeedback<'_>) {
    let read: Vec<_> = feedback
        .streams()
        .map(|stream| {
            let packets: Vec<_> = stream.packets().collect();
            (stream.ssrc, stream.begin_sequence, packets)
        })
        .collect();
    let streams: Vec<_> = read
        .iter()
        .map(|(ssrc, begin_sequence, packets)| StreamArrivals {
            ssrc: *ssrc,
            begin_sequence: *begin_sequence,
            packets,
        })
        .collect();
    let mut out = vec![0; 300_000];
    let mut writer = RtcpWriter::new(&mut out);
    writer
        .congestion_control(feedback.sender_ssrc, feedback.report_timestamp, &streams)
        .expect("what was read can be written");
    let len = writer.finish();
    let Some(Ok(Rtcp::CongestionControl(again))) = compound(&out[..len]).next() else {
        panic!("lost")
    };
    assert_eq!(again.report_timestamp, feedback.report_timestamp);
    let again = again.streams().map(|stream| {
        (
            stream.ssrc,
            stream.begin_sequence,
            stream.packets().collect(),
        )
    });
    assert!(again.eq(read));
}
