//! Agreement with an independent implementation, the webrtc family's `rtc-rtp` and `rtc-rtcp`.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use bytes::Bytes;
use proptest::prelude::*;
use rtc_rtcp::goodbye::Goodbye;
use rtc_rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::SourceDescription;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc_shared::marshal::{Marshal, Unmarshal};
use schalter_rtp::rtcp::{ReportBlock, Rtcp, RtcpWriter, SenderInfo, compound};
use schalter_rtp::{RtpHeader, RtpPacket};

/// Writes one packet, lets the other implementation read it, and answers what it read.
fn read_by_other<P: Clone + 'static>(write: impl FnOnce(&mut RtcpWriter<'_>)) -> P {
    let mut bytes = vec![0; 4096];
    let mut writer = RtcpWriter::new(&mut bytes);
    write(&mut writer);
    let len = writer.finish();
    bytes.truncate(len);
    let packets = rtc_rtcp::packet::unmarshal(&mut Bytes::from(bytes)).unwrap();
    assert_eq!(packets.len(), 1);
    packets[0].as_any().downcast_ref::<P>().unwrap().clone()
}

proptest! {
    #[test]
    fn reports(ntp: u64, ssrc: u32, counters: [u32; 6], fraction_lost: u8, cumulative_lost in 0_i32..1 << 23) {
        let [rtp_timestamp, packet_count, octet_count, highest_sequence, jitter, last_sr] = counters;
        let info = SenderInfo { ssrc, ntp, rtp_timestamp, packet_count, octet_count };
        let block = ReportBlock {
            ssrc, fraction_lost, cumulative_lost, highest_sequence, jitter, last_sr, delay_since_last_sr: jitter,
        };
        let read: SenderReport = read_by_other(|writer| writer.sender_report(&info, &[block, block]).unwrap());
        prop_assert_eq!((read.ssrc, read.ntp_time, read.rtp_time), (ssrc, ntp, rtp_timestamp));
        prop_assert_eq!((read.packet_count, read.octet_count), (packet_count, octet_count));
        prop_assert_eq!(read.reports.len(), 2);
        let report = &read.reports[1];
        prop_assert_eq!((report.ssrc, report.fraction_lost), (ssrc, fraction_lost));
        prop_assert_eq!(i32::try_from(report.total_lost).unwrap(), cumulative_lost);
        prop_assert_eq!((report.last_sequence_number, report.jitter), (highest_sequence, jitter));
        prop_assert_eq!((report.last_sender_report, report.delay), (last_sr, jitter));
    }

    #[test]
    fn descriptions_and_goodbyes(ssrc: u32, name in "[a-zA-Z0-9{}-]{1,64}", sources in prop::collection::vec(any::<u32>(), 1..31)) {
        let read: SourceDescription = read_by_other(|writer| writer.sdes_cname(ssrc, &name).unwrap());
        prop_assert_eq!(read.chunks.len(), 1);
        prop_assert_eq!(read.chunks[0].source, ssrc);
        prop_assert_eq!(&read.chunks[0].items[0].text[..], name.as_bytes());
        let read: Goodbye = read_by_other(|writer| writer.bye(&sources).unwrap());
        prop_assert_eq!(read.sources, sources);
    }

    #[test]
    fn feedback(sender: u32, media: u32, start: u16, steps in prop::collection::vec(1_u16..30, 0..80), bitrate in 0_u64..1 << 40) {
        let mut lost = vec![start];
        for step in steps {
            lost.push(lost.last().unwrap().wrapping_add(step));
        }
        let read: TransportLayerNack = read_by_other(|writer| writer.nack(sender, media, &lost).unwrap());
        let read_lost: Vec<u16> = read.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
        prop_assert_eq!((read.sender_ssrc, read.media_ssrc, read_lost), (sender, media, lost));
        let read: PictureLossIndication = read_by_other(|writer| writer.pli(sender, media).unwrap());
        prop_assert_eq!((read.sender_ssrc, read.media_ssrc), (sender, media));
        let read: FullIntraRequest = read_by_other(|writer| writer.fir(sender, &[(media, 9)]).unwrap());
        prop_assert_eq!((read.fir[0].ssrc, read.fir[0].sequence_number), (media, 9));
        let read: ReceiverEstimatedMaximumBitrate =
            read_by_other(|writer| writer.remb(sender, bitrate, &[media]).unwrap());
        prop_assert!((f64::from(read.bitrate) - bitrate as f64).abs() <= bitrate as f64 / 131_072.0);
        prop_assert_eq!(read.ssrcs, [media]);
    }

    #[test]
    fn transport_feedback(base: u16, start in 0_i64..1 << 20, steps in prop::collection::vec(prop::option::weighted(0.8, -300_i64..1000), 1..200)) {
        let (mut time, mut sequence) = (start, base);
        let mut packets = Vec::new();
        for step in steps {
            time += step.unwrap_or(0);
            packets.push((sequence, step.map(|_| time)));
            sequence = sequence.wrapping_add(1);
        }
        let read: TransportLayerCc = read_by_other(|writer| {
            assert_eq!(writer.transport_cc(1, 2, 3, &packets), Ok(packets.len()));
        });
        prop_assert_eq!(usize::from(read.packet_status_count), packets.len());
        prop_assert_eq!(read.base_sequence_number, base);
        let mut other_time = i64::from(read.reference_time) * 256;
        let other_times: Vec<i64> = read.recv_deltas.iter().map(|delta| {
            other_time += delta.delta / 250;
            other_time
        }).collect();
        prop_assert_eq!(other_times, packets.iter().filter_map(|(_, time)| *time).collect::<Vec<_>>());
        // And back: what the other one writes of the same content is read alike here.
        let bytes = read.marshal().unwrap();
        let Some(Ok(Rtcp::TransportCc(again))) = compound(&bytes).next() else { panic!("not feedback") };
        let received: Vec<bool> = again.deltas().map(|delta| delta.is_some()).collect();
        prop_assert_eq!(received, packets.iter().map(|(_, time)| time.is_some()).collect::<Vec<_>>());
    }

    #[test]
    fn rtp_headers(
        marker: bool, payload_type in 0_u8..128, sequence: u16, timestamp: u32, ssrc: u32,
        elements in prop::collection::btree_map(1_u8..=14, prop::collection::vec(any::<u8>(), 1..=16), 0..5),
        large in prop::collection::vec(any::<u8>(), 0..40),
        payload in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let header = RtpHeader { marker, payload_type, sequence, timestamp, ssrc };
        let mut elements: Vec<(u8, Vec<u8>)> = elements.into_iter().collect();
        if large.len() > 16 {
            elements.push((200, large));
        }
        let borrowed: Vec<(u8, &[u8])> = elements.iter().map(|(id, value)| (*id, &value[..])).collect();
        let mut bytes = vec![0; 1024];
        let len = header.write(&borrowed, &mut bytes).unwrap();
        bytes.truncate(len);
        bytes.extend(&payload);
        let other = rtc_rtp::Packet::unmarshal(&mut Bytes::from(bytes.clone())).unwrap();
        prop_assert_eq!((other.header.marker, other.header.payload_type), (marker, payload_type));
        prop_assert_eq!((other.header.sequence_number, other.header.timestamp), (sequence, timestamp));
        prop_assert_eq!(other.header.ssrc, ssrc);
        prop_assert_eq!(&other.payload[..], &payload[..]);
        let read: Vec<_> = other.header.extensions.iter().map(|element| (element.id, &element.payload[..])).collect();
        prop_assert_eq!(read, borrowed.clone());
        let theirs = other.marshal().unwrap();
        let ours = RtpPacket::parse(&theirs).unwrap();
        prop_assert_eq!((ours.header(), ours.payload()), (header, &payload[..]));
        prop_assert_eq!(ours.extensions().collect::<Vec<_>>(), borrowed);
    }
}
