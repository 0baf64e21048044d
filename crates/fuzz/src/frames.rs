//! Frames of ICE-TCP and TURN: any bytes, cut anywhere, give the same datagrams as in one piece, and none that is too long.

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
                    assert!(
                        frame.end > 0,
                        "a frame that is nothing would be found for ever"
                    );
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

/// Does it with one input.
pub fn run(bytes: &[u8]) {
    let Some((&[first, high, low], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let (is_turn, cut, bytes) = (first & 1 == 1, u16::from_be_bytes([high, low]), rest);
    let framing = if is_turn {
        Framing::Turn
    } else {
        Framing::Rfc4571
    };
    let whole = datagrams(framing, &[bytes]);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(datagrams(framing, &[first, second]), whole);
}
