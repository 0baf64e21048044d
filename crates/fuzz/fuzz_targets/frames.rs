//! Frames of ICE-TCP and TURN: any bytes, cut anywhere, give the same datagrams as in one piece, and none that is too long.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schalter_net::{Framing, MAX_FRAME_LEN};

/// All datagrams of a stream that comes in pieces; `Err` if it ends as garbage.
fn datagrams(framing: Framing, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, Vec<Vec<u8>>> {
    let mut waiting = Vec::new();
    let mut found = Vec::new();
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            match framing.next_frame(&waiting) {
                Ok(Some(frame)) => {
                    assert!(frame.datagram.end <= frame.end && frame.end <= waiting.len());
                    assert!(frame.end > 0, "a frame that is nothing would be found for ever");
                    assert!(frame.datagram.len() <= MAX_FRAME_LEN);
                    found.push(waiting[frame.datagram].to_vec());
                    waiting.drain(..frame.end);
                }
                Ok(None) => break,
                Err(_) => return Err(found),
            }
        }
        // What waits is the beginning of one frame: its length, and padding, more than the longest datagram.
        assert!(waiting.len() < MAX_FRAME_LEN + 4);
    }
    Ok(found)
}

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (is_turn, cut, bytes) = input;
    let framing = if is_turn { Framing::Turn } else { Framing::Rfc4571 };
    let whole = datagrams(framing, &[bytes]);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(datagrams(framing, &[first, second]), whole);
});
