//! Layers of a track, and what each of them costs.
//!
//! Owns the address of a layer and the meter of one encoding. Refuses to choose: that is [`crate::select`]'s.

use std::time::Duration;

use schalter_model::{Bitrate, Time};

use crate::frame::{Frame, FrameTracker, LAYER_SETS, MAX_SPATIAL, MAX_TEMPORAL, Scheme, layer_bit};

/// What a subscriber should get of a track: ordered by encoding, spatial layer, temporal layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Layer {
    /// Index into the producer's encodings.
    pub(crate) encoding: u8,
    /// Highest spatial layer within the encoding.
    pub(crate) spatial: u8,
    /// Highest temporal layer within the encoding.
    pub(crate) temporal: u8,
}

/// How far up the layers within one encoding, whichever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
}

impl Reach {
    pub(crate) const ALL: Self = Self {
        spatial: u8::MAX,
        temporal: u8::MAX,
    };
    /// The base layer.
    pub(crate) const BASE: Self = Self {
        spatial: 0,
        temporal: 0,
    };
}

/// Slices of the measured window: with a tick every 100 ms it is a second long, enough for the frames of any
/// temporal pattern and short enough to follow an encoder.
const SLICES: usize = 10;

#[derive(Clone, Copy, Debug)]
struct Slice {
    bytes: [u32; LAYER_SETS],
    frames: [u16; LAYER_SETS],
    span: Duration,
}

impl Slice {
    const EMPTY: Self = Self {
        bytes: [0; LAYER_SETS],
        frames: [0; LAYER_SETS],
        span: Duration::ZERO,
    };
}

#[derive(Debug)]
struct Window {
    /// Still counting.
    open: Slice,
    since: Time,
    closed: [Slice; SLICES],
    next: usize,
    bytes: [u64; LAYER_SETS],
    frames: [u32; LAYER_SETS],
    span: Duration,
    /// Strands that had packets in the window, or have some now.
    seen: u32,
}

/// Bytes and frames by strand (see [`crate::frame`]) over the last second or so.
#[derive(Debug, Default)]
struct Meter {
    /// None until the first packet.
    window: Option<Box<Window>>,
}

impl Meter {
    /// Takes note of a packet of strands, and that it ends a frame of some of them.
    ///
    /// Answers whether one of them is new in the window.
    #[inline]
    fn on_packet(&mut self, now: Time, strands: u32, bytes: u32, ends: u32) -> bool {
        let window = self.window.get_or_insert_with(|| {
            Box::new(Window {
                open: Slice::EMPTY,
                since: now,
                closed: [Slice::EMPTY; SLICES],
                next: 0,
                bytes: [0; LAYER_SETS],
                frames: [0; LAYER_SETS],
                span: Duration::ZERO,
                seen: 0,
            })
        });
        let is_new = strands & !window.seen != 0;
        window.seen |= strands;
        let mut left = strands;
        while left != 0 {
            let strand = left.trailing_zeros() as usize;
            left &= left - 1;
            window.open.bytes[strand] = window.open.bytes[strand].saturating_add(bytes);
            if ends & 1 << strand != 0 {
                window.open.frames[strand] = window.open.frames[strand].saturating_add(1);
            }
        }
        is_new
    }

    /// Moves the window on.
    fn on_tick(&mut self, now: Time) {
        let Some(window) = &mut self.window else {
            return;
        };
        window.open.span = now - window.since;
        window.since = now;
        let opened = std::mem::replace(&mut window.open, Slice::EMPTY);
        let oldest = std::mem::replace(&mut window.closed[window.next], opened);
        window.next = (window.next + 1) % SLICES;
        window.span = window.span + opened.span - oldest.span;
        for strand in 0..LAYER_SETS {
            window.bytes[strand] = window.bytes[strand] + u64::from(opened.bytes[strand])
                - u64::from(oldest.bytes[strand]);
            window.frames[strand] = window.frames[strand] + u32::from(opened.frames[strand])
                - u32::from(oldest.frames[strand]);
        }
        window.seen = (0..LAYER_SETS)
            .filter(|strand| window.bytes[*strand] > 0)
            .fold(0, |seen, strand| seen | 1 << strand);
    }

    fn sum(&self, strands: u32, of: impl Fn(&Window, usize) -> u64) -> (u64, Duration) {
        let Some(window) = &self.window else {
            return (0, Duration::ZERO);
        };
        let all = (0..LAYER_SETS).filter(|strand| strands & 1 << strand != 0);
        (all.map(|strand| of(window, strand)).sum(), window.span)
    }

    fn rate_of(&self, strands: u32) -> Bitrate {
        let (bytes, span) = self.sum(strands, |window, strand| window.bytes[strand]);
        Bitrate::of(bytes, span)
    }

    fn frame_rate_of(&self, strands: u32) -> f32 {
        let (frames, span) = self.sum(strands, |window, strand| u64::from(window.frames[strand]));
        if span.is_zero() {
            0.0
        } else {
            frames as f32 / span.as_secs_f32()
        }
    }
}

/// What one encoding consists of, and what each layer of it costs.
#[derive(Debug)]
pub(crate) struct LayerRates {
    pub(crate) frames: FrameTracker,
    meter: Meter,
    /// Spatial and temporal layers that had packets in the window; 0 if none had.
    seen: (u8, u8),
}

impl LayerRates {
    pub(crate) fn new() -> Self {
        Self {
            frames: FrameTracker::new(),
            meter: Meter::default(),
            seen: (0, 0),
        }
    }

    /// Takes note of a packet of `bytes`, header extensions not counted.
    #[inline]
    pub(crate) fn on_packet(&mut self, now: Time, frame: u64, ends_frame: bool, bytes: u32) {
        let (strands, ends) = match self.frames.of(frame) {
            Some(frame) => (frame.present, self.own(frame)),
            // Nothing to tell apart: one layer. Under the other scheme it is every target's.
            None => match self.frames.scheme {
                Scheme::Layers => (layer_bit(0, 0), layer_bit(0, 0)),
                Scheme::Targets => (self.frames.targets.all, self.frames.targets.all),
            },
        };
        let ends = if ends_frame { ends } else { 0 };
        if self.meter.on_packet(now, strands, bytes, ends) {
            self.count_layers();
        }
    }

    /// Strands that show a new picture with this frame.
    fn own(&self, frame: &Frame) -> u32 {
        match frame.scheme {
            Scheme::Layers => frame.present,
            Scheme::Targets => (0..LAYER_SETS as u8)
                .filter(|target| self.frames.targets.layers_of(*target).0 == frame.spatial)
                .fold(0, |own, target| own | frame.present & 1 << target),
        }
    }

    /// Moves the measured window on; to be called about ten times a second.
    pub(crate) fn on_tick(&mut self, now: Time) {
        self.meter.on_tick(now);
        self.count_layers();
    }

    fn count_layers(&mut self) {
        let strands = self.meter.window.as_ref().map_or(0, |window| window.seen);
        self.seen = (0..LAYER_SETS as u8)
            .filter(|strand| strands & 1 << strand != 0)
            .map(|strand| match self.frames.scheme {
                Scheme::Layers => (strand / MAX_TEMPORAL, strand % MAX_TEMPORAL),
                Scheme::Targets => self.frames.targets.layers_of(strand),
            })
            .fold((0, 0), |seen, layer| {
                (seen.0.max(layer.0 + 1), seen.1.max(layer.1 + 1))
            });
    }

    fn target(&self, spatial: u8, temporal: u8) -> u32 {
        let targets = &self.frames.targets;
        targets
            .best(targets.all, spatial, temporal)
            .map_or(0, |target| 1 << target)
    }

    /// What it takes to decode up to a layer: payload bits a second of it and of everything that it needs.
    pub(crate) fn rate(&self, spatial: u8, temporal: u8) -> Bitrate {
        let strands = match self.frames.scheme {
            Scheme::Layers => (0..=spatial.min(MAX_SPATIAL - 1))
                .flat_map(|s| (0..=temporal.min(MAX_TEMPORAL - 1)).map(move |t| layer_bit(s, t)))
                .fold(0, |all, strand| all | strand),
            Scheme::Targets => self.target(spatial, temporal),
        };
        self.meter.rate_of(strands)
    }

    /// Pictures a second (Hz) that a layer shows.
    pub(crate) fn frame_rate(&self, spatial: u8, temporal: u8) -> f32 {
        let strands = match self.frames.scheme {
            Scheme::Layers => {
                let spatial = spatial.min(self.spatial_count().saturating_sub(1));
                (0..=temporal.min(MAX_TEMPORAL - 1))
                    .fold(0, |all, temporal| all | layer_bit(spatial, temporal))
            }
            Scheme::Targets => self.target(spatial, temporal),
        };
        self.meter.frame_rate_of(strands)
    }

    /// Spatial layers that the encoding has now, at least 1.
    pub(crate) fn spatial_count(&self) -> u8 {
        // The announcement may be of layers that are off; what the publisher switched off may still be in the window.
        match (self.seen.0, self.frames.announced_spatial()) {
            (0, announced) => announced.max(1),
            (seen, 0) => seen,
            (seen, announced) => seen.min(announced),
        }
    }

    /// Temporal layers that the encoding has now, at least 1.
    pub(crate) fn temporal_count(&self) -> u8 {
        self.seen.1.max(1)
    }

    /// Width and height of a spatial layer in pixels, where the codec tells.
    #[cfg(test)]
    pub(crate) fn resolution(&self, spatial: u8) -> Option<(u16, u16)> {
        self.frames.size(spatial)
    }
}
