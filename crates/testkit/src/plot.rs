//! Figures of replays: rate, queue and layer over time, as SVG that is the same byte for byte for the same replay.

use std::fmt::Write;
use std::time::Duration;

use schalter_model::{Bitrate, Time};

use crate::{BIN, Replay};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 58.0;
/// Between two panels: the lower one's title.
const GAP: f64 = 34.0;
const RATE_HEIGHT: f64 = 210.0;
const QUEUE_HEIGHT: f64 = 110.0;
const LAYER_HEIGHT: f64 = 110.0;
const BOTTOM: f64 = 42.0;

/// Colours that people who see colours differently tell apart (Okabe and Ito); dashes tell them apart in print.
const CAPACITY: Style = Style::new("capacity", "#999999", "");
const ESTIMATE: Style = Style::new("estimate", "#D55E00", "5 3");
const RECEIVED: [Style; 2] = [
    Style::new("received", "#0072B2", ""),
    Style::new("received, second", "#009E73", "8 2"),
];
const QUEUE: Style = Style::new("queue", "#CC79A7", "");
const LOST: &str = "#D55E00";

struct Style {
    name: &'static str,
    colour: &'static str,
    dashes: &'static str,
}

impl Style {
    const fn new(name: &'static str, colour: &'static str, dashes: &'static str) -> Self {
        Self {
            name,
            colour,
            dashes,
        }
    }
}

/// A panel's place and scale.
struct Panel {
    top: f64,
    height: f64,
    most: f64,
    seconds: f64,
}

impl Panel {
    fn x(&self, at: Time) -> f64 {
        let seconds = at.as_micros() as f64 / 1_000_000.0;
        LEFT + seconds / self.seconds * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }
}

/// A figure of a replay.
pub fn svg(replay: &Replay, title: &str, description: &str) -> String {
    let mut figure = Figure::new(replay);
    figure.head(title, description);
    figure.rates();
    figure.queue();
    figure.layers();
    figure.out.push_str("</svg>\n");
    figure.out
}

struct Figure<'a> {
    replay: &'a Replay,
    seconds: f64,
    out: String,
}

/// A number without needless digits.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The least of 1, 2 or 5 times a power of ten that divides `most` into at most `parts` parts.
fn tick(most: f64, parts: f64) -> f64 {
    let least = most / parts;
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let fits = steps.into_iter().find(|step| *step >= least * 0.999);
    fits.unwrap_or(10.0 * power)
}

fn mbps(rate: Bitrate) -> f64 {
    rate.as_bps() as f64 / 1_000_000.0
}

impl<'a> Figure<'a> {
    fn new(replay: &'a Replay) -> Self {
        Self {
            replay,
            seconds: replay.scenario.length.as_secs_f64(),
            out: String::new(),
        }
    }

    fn push(&mut self, line: std::fmt::Arguments<'_>) {
        self.out.write_fmt(line).expect("a string takes everything");
        self.out.push('\n');
    }

    fn panel(&self, top: f64, height: f64, most: f64) -> Panel {
        Panel {
            top,
            height,
            most,
            seconds: self.seconds,
        }
    }

    fn head(&mut self, title: &str, description: &str) {
        let height = TOP + RATE_HEIGHT + QUEUE_HEIGHT + LAYER_HEIGHT + 2.0 * GAP + BOTTOM;
        let (title, description) = (escaped(title), escaped(description));
        self.push(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">"
        ));
        self.push(format_args!("<title id=\"title\">{title}</title>"));
        self.push(format_args!("<desc id=\"desc\">{description}</desc>"));
        self.push(format_args!(
            "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"
        ));
        self.push(format_args!(
            "<text x=\"{LEFT}\" y=\"20\" font-size=\"15\" font-weight=\"bold\">{title}</text>"
        ));
    }

    /// Frame, grid and labels of a panel; `ticks` are values with their labels.
    fn axes(&mut self, panel: &Panel, name: &str, ticks: &[(f64, String)], is_last: bool) {
        let right = WIDTH - RIGHT;
        let (top, bottom) = (panel.top, panel.top + panel.height);
        let name_at = top - 8.0;
        self.push(format_args!(
            "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>",
            short(name_at),
            escaped(name)
        ));
        for (value, label) in ticks {
            let y = short(panel.y(*value));
            self.push(format_args!(
                "<path d=\"M{LEFT} {y}H{right}\" stroke=\"#e4e4e4\"/><text x=\"{}\" y=\"{y}\" dy=\"4\" text-anchor=\"end\">{label}</text>",
                LEFT - 6.0
            ));
        }
        let step = tick(self.seconds, 12.0);
        let count = (self.seconds / step).floor() as u32;
        for n in 0..=count {
            let seconds = f64::from(n) * step;
            let x = short(panel.x(Time::from_micros((seconds * 1_000_000.0) as u64)));
            self.push(format_args!(
                "<path d=\"M{x} {}V{}\" stroke=\"#e4e4e4\"/>",
                short(top),
                short(bottom)
            ));
            if is_last {
                self.push(format_args!(
                    "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    short(bottom + 16.0),
                    short(seconds)
                ));
            }
        }
        self.push(format_args!(
            "<rect x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#888888\"/>",
            short(top),
            short(right - LEFT),
            short(panel.height)
        ));
        if is_last {
            self.push(format_args!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">time (s)</text>",
                short((LEFT + right) / 2.0),
                short(bottom + 34.0)
            ));
        }
    }

    /// A line through values over bins; where there is none, the line is broken. Each value holds for its whole bin if
    /// `steps`.
    fn line(
        &mut self,
        panel: &Panel,
        style: &Style,
        values: impl Iterator<Item = (Time, Option<f64>)>,
        steps: bool,
    ) {
        let mut path = String::new();
        let mut previous: Option<String> = None;
        for (at, value) in values {
            let Some(value) = value else {
                if previous.take().is_some() && steps {
                    let _ = write!(path, "H{}", short(panel.x(at)));
                }
                continue;
            };
            let (x, y) = (short(panel.x(at)), short(panel.y(value)));
            let written = match &previous {
                None => write!(path, "M{x} {y}"),
                // A level goes on: its end will be drawn.
                Some(before) if steps && *before == y => Ok(()),
                Some(_) if steps => write!(path, "H{x}V{y}"),
                Some(_) => write!(path, "L{x} {y}"),
            };
            written.expect("a string takes everything");
            previous = Some(y);
        }
        if steps && previous.is_some() {
            let _ = write!(path, "H{}", short(WIDTH - RIGHT));
        }
        let dashes = if style.dashes.is_empty() {
            String::new()
        } else {
            format!(" stroke-dasharray=\"{}\"", style.dashes)
        };
        self.push(format_args!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"{dashes}/>",
            style.colour
        ));
    }

    fn legend(&mut self, entries: &[&Style]) {
        let mut x = LEFT;
        for style in entries {
            let dashes = if style.dashes.is_empty() {
                "none"
            } else {
                style.dashes
            };
            self.push(format_args!(
                "<path d=\"M{x} 34h26\" stroke=\"{}\" stroke-width=\"2.5\" stroke-dasharray=\"{dashes}\"/><text x=\"{}\" y=\"38\">{}</text>",
                style.colour,
                x + 32.0,
                style.name
            ));
            x += 48.0 + 7.0 * style.name.len() as f64;
        }
    }

    fn rates(&mut self) {
        let replay = self.replay;
        let bins: Vec<_> = replay.bins().collect();
        let capacity = |at: Time| replay.capacity(at, at + BIN).map(mbps);
        // Frames come in lumps: a third of a second shows the rate and not the frames.
        let received = |index: usize, at: Time| {
            let from = Time::from_millis(at.as_millis().saturating_sub(200));
            let seen = replay.subscribers.get(index)?;
            Some(mbps(seen.arrived.rate(from, at + BIN)))
        };
        let most = bins.iter().filter_map(|at| capacity(*at));
        let shown = bins.iter().filter_map(|at| received(0, *at));
        let most = most.chain(shown).fold(0.5, f64::max) * 1.08;
        let panel = self.panel(TOP + 14.0, RATE_HEIGHT - 14.0, most);
        let step = tick(most, 6.0);
        let ticks: Vec<_> = (0..=(most / step) as u32)
            .map(|n| (f64::from(n) * step, short_tick(f64::from(n) * step)))
            .collect();
        self.axes(&panel, "Rate (Mbit/s)", &ticks, false);
        let mut legend = Vec::new();
        if bins.iter().any(|at| capacity(*at).is_some()) {
            let values = bins.iter().map(|at| (*at, capacity(*at)));
            self.line(&panel, &CAPACITY, values, true);
            legend.push(&CAPACITY);
        }
        for (index, style) in RECEIVED.iter().enumerate().take(replay.subscribers.len()) {
            let values = bins.iter().map(|at| (*at, received(index, *at)));
            self.line(&panel, style, values, false);
            legend.push(style);
        }
        for seen in &replay.subscribers {
            if seen.estimate.is_some() {
                let values = bins.iter().map(|at| (*at, seen.estimate_at(*at).map(mbps)));
                self.line(&panel, &ESTIMATE, values, false);
            }
        }
        if replay
            .subscribers
            .iter()
            .any(|seen| seen.estimate.is_some())
        {
            legend.push(&ESTIMATE);
        }
        self.legend(&legend);
    }

    fn queue(&mut self) {
        let replay = self.replay;
        let wait = |at: Time| replay.longest_queue(at, at + BIN).as_secs_f64() * 1_000.0;
        let most = replay.bins().map(wait).fold(100.0, f64::max) * 1.05;
        let panel = self.panel(TOP + RATE_HEIGHT + GAP, QUEUE_HEIGHT, most);
        let step = tick(most, 4.0);
        let ticks: Vec<_> = (0..=(most / step) as u32)
            .map(|n| (f64::from(n) * step, short_tick(f64::from(n) * step)))
            .collect();
        let name = "Longest wait in the link's queue (ms)";
        self.axes(&panel, name, &ticks, false);
        let values = replay.bins().map(|at| (at, Some(wait(at))));
        self.line(&panel, &QUEUE, values, false);
    }

    fn layers(&mut self) {
        let replay = self.replay;
        let encodings = replay.scenario.picture.encodings.len();
        let temporal = f64::from(replay.scenario.picture.temporal_layers.max(1));
        // An encoding is a band; temporal layers fill it from below, and the lowest band stays for what is lost.
        let panel = self.panel(
            TOP + RATE_HEIGHT + QUEUE_HEIGHT + 2.0 * GAP,
            LAYER_HEIGHT,
            encodings as f64 + 0.5,
        );
        let ticks: Vec<_> = (0..encodings)
            .map(|index| (index as f64 + 1.0, replay.encoding_name(index)))
            .collect();
        let name = "Picture shown; marks below: sound lost";
        self.axes(&panel, name, &ticks, true);
        for (seen, style) in replay.subscribers.iter().zip(&RECEIVED) {
            let Some(picture) = seen.pictures.first() else {
                continue;
            };
            let level = |at: Time| {
                let layer = picture.layer(at + BIN)?;
                let part = (f64::from(layer.temporal) + 1.0) / temporal;
                Some(f64::from(layer.encoding) + part)
            };
            let values = replay.bins().map(|at| (at, level(at)));
            self.line(&panel, style, values, true);
            let mut marks = String::new();
            for at in replay.bins() {
                if seen.sounds_lost(at, at + BIN) > 0 && at + Duration::from_secs(1) < replay.end()
                {
                    let (x, y) = (short(panel.x(at)), short(panel.y(0.0)));
                    let _ = write!(marks, "M{x} {y}v-8");
                }
            }
            if !marks.is_empty() {
                self.push(format_args!(
                    "<path d=\"{marks}\" stroke=\"{LOST}\" stroke-width=\"1.5\"/>"
                ));
            }
        }
    }
}

/// A label of an axis: as many digits as its step needs.
fn short_tick(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let ticks = [
            (3.2, 6.0),
            (0.5, 6.0),
            (60.0, 12.0),
            (2_000.0, 4.0),
            (105.0, 4.0),
        ];
        let steps = ticks.map(|(most, parts)| tick(most, parts));
        assert_eq!(steps, [1.0, 0.1, 5.0, 500.0, 50.0]);
        assert_eq!(
            [short_tick(0.1), short_tick(100.0), short_tick(0.0)],
            ["0.1", "100", "0"]
        );
    }
}
