//! Descriptions in short: as clients write them, and what the server's say.

/// A Chromium-like description: one string a section, `aud 0 recvonly [cid] [q;h;f]`, or `app 6`.
pub(crate) fn sdp(sections: &[String], ufrag: &str, answer: bool) -> String {
    let mids: Vec<_> = sections
        .iter()
        .map(|s| s.split(' ').nth(1).unwrap().to_owned())
        .collect();
    let setup = if answer { "active" } else { "actpass" };
    let mut text = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\n",
        mids.join(" ")
    );
    for section in sections {
        let words: Vec<_> = section.split(' ').collect();
        let transport = format!(
            "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:{setup}\r\na=mid:{}\r\n",
            "p".repeat(24),
            ["AB"; 32].join(":"),
            words[1]
        );
        let media = match words[0] {
            "aud" => {
                "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtcp-fb:111 transport-cc\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=rtcp-mux\r\n"
            }
            "vid" => {
                "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\na=rtcp-mux\r\n"
            }
            // A client that knows AV1, too, and prefers it.
            "av1" => {
                "m=video 9 UDP/TLS/RTP/SAVPF 45 46 96 97\r\na=rtpmap:45 AV1/90000\r\na=fmtp:45 level-idx=5;profile=0;tier=0\r\na=rtcp-fb:45 transport-cc\r\na=rtcp-fb:45 nack\r\na=rtcp-fb:45 nack pli\r\na=rtpmap:46 rtx/90000\r\na=fmtp:46 apt=45\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\na=rtcp-mux\r\n"
            }
            "app" => {
                text += "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
                text += &transport;
                text += "a=sctp-port:5000\r\na=max-message-size:262144\r\n";
                continue;
            }
            other => panic!("no such section: {other}"),
        };
        text += media;
        text += &transport;
        text += &format!("a={}\r\n", words[2]);
        let rest = &words[3..];
        for word in rest {
            if word.contains(';') {
                for rid in word.split(';') {
                    text += &format!("a=rid:{rid} send\r\n");
                }
                text += &format!("a=simulcast:send {word}\r\n");
            } else {
                text += &format!("a=msid:stream {word}\r\n");
            }
        }
    }
    text
}

/// The sections a JavaScript client joins with.
pub(crate) fn join_sections() -> Vec<String> {
    sections(&[
        "aud 0 recvonly",
        "aud 1 recvonly",
        "aud 2 recvonly",
        "vid 3 recvonly",
        "vid 4 recvonly",
        "vid 5 recvonly",
        "app 6",
    ])
}

pub(crate) fn sections(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

/// A server's description in short: `aud 0 sendonly track`, `app 6`; a rejected section is `rejected`.
pub(crate) fn shape(sdp: &str) -> Vec<String> {
    let mut out: Vec<(String, String, String, bool)> = Vec::new();
    for line in sdp.split("\r\n") {
        if let Some(media) = line.strip_prefix("m=") {
            let rejected = media.split(' ').nth(1) == Some("0");
            let kind = if rejected { "rej" } else { &media[..3] };
            out.push((kind.to_owned(), String::new(), String::new(), false));
        }
        let Some(last) = out.last_mut() else { continue };
        if let Some(mid) = line.strip_prefix("a=mid:") {
            last.1 = mid.to_owned();
        } else if line.starts_with("a=msid:") {
            last.3 = true;
        } else if let Some(direction) = line.strip_prefix("a=")
            && ["sendonly", "recvonly", "inactive", "sendrecv"].contains(&direction)
        {
            last.2 = direction.to_owned();
        }
    }
    out.into_iter()
        .map(|(kind, mid, direction, track)| {
            if kind == "app" {
                format!("app {mid}")
            } else {
                let track = if track { " track" } else { "" };
                format!("{kind} {mid} {direction}{track}")
            }
        })
        .collect()
}
