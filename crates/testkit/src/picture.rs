//! What a camera sends: one encoding or several at once, with or without temporal layers.

use schalter_model::Bitrate;

use crate::SourceConfig;

/// Stream ids of simulcast encodings, lowest first.
const RIDS: [&str; 4] = ["q", "h", "f", "u"];
/// SSRCs of the encodings, counted from the camera's first. Its microphone's two are between.
const SSRCS: [u32; 4] = [0, 8, 10, 12];

/// One encoding of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Bits of payload per second.
    pub rate: Bitrate,
    /// Frames per second, all temporal layers together.
    pub frames_per_second: u32,
    /// Width and height in pixels.
    pub size: (u16, u16),
}

/// A camera's picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Lowest first, at most four.
    pub encodings: Vec<Encoding>,
    /// Temporal layers of each encoding, 1 to 3.
    pub temporal_layers: u8,
}

impl Picture {
    /// These rates at these frames per second.
    ///
    /// # Panics
    /// With more than four encodings, or none.
    pub fn new(encodings: &[(u64, u32)], temporal_layers: u8) -> Self {
        assert!((1..=RIDS.len()).contains(&encodings.len()));
        let sizes = [(320, 180), (640, 360), (1_280, 720), (1_920, 1_080)];
        let encodings = encodings.iter().zip(sizes);
        Self {
            encodings: encodings
                .map(|((kbps, frames_per_second), size)| Encoding {
                    rate: Bitrate::from_kbps(*kbps),
                    frames_per_second: *frames_per_second,
                    size,
                })
                .collect(),
            temporal_layers,
        }
    }

    /// What browsers send of a 720p camera: 150, 500 and 1,700 kbit/s.
    pub fn simulcast() -> Self {
        Self::new(&[(150, 15), (500, 30), (1_700, 30)], 1)
    }

    /// The same with three temporal layers each.
    pub fn layered() -> Self {
        Self::new(&[(150, 15), (500, 30), (1_700, 30)], 3)
    }

    /// Layers so close to each other that three such cameras fill nearly every rate from 120 kbit/s to 3.3 Mbit/s.
    pub fn elastic() -> Self {
        Self::new(&[(100, 15), (300, 30), (600, 30), (1_100, 30)], 3)
    }

    /// The rate of each layer together with those it needs, by encoding and temporal layer; lowest first.
    pub fn rates(&self) -> Vec<(u8, u8, Bitrate)> {
        let shares: &[u64] = match self.temporal_layers {
            0 | 1 => &[100],
            2 => &[60, 100],
            _ => &[40, 60, 100],
        };
        let all = (0..).zip(&self.encodings).flat_map(|(index, encoding)| {
            (0..).zip(shares).map(move |(temporal, share)| {
                let rate = Bitrate::from_bps(encoding.rate.as_bps() * share / 100);
                (index, temporal, rate)
            })
        });
        all.collect()
    }

    /// Its streams; `ssrc` is the first of sixteen that are the camera's and its microphone's.
    pub fn streams(&self, ssrc: u32) -> Vec<SourceConfig> {
        let simulcast = self.encodings.len() > 1;
        let streams = (0_u8..).zip(&self.encodings).map(|(index, encoding)| {
            let place = usize::from(index);
            SourceConfig {
                rid: simulcast.then_some(RIDS[place]),
                encoding: index,
                temporal_layers: self.temporal_layers,
                size: encoding.size,
                ..SourceConfig::video_at(
                    ssrc + SSRCS[place],
                    encoding.rate,
                    encoding.frames_per_second,
                )
            }
        });
        streams.collect()
    }
}
