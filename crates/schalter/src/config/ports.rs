//! Ports that must not be each other's, which only several keys together tell.

use std::ops::RangeInclusive;

use super::Config;
use super::document::{Complaint, Place};

/// The ports of all workers from the first one's on; `None` where the system chooses.
///
/// # Errors
/// If there are not so many.
fn of_workers(first: u16, workers: u8) -> Result<Option<RangeInclusive<u16>>, ()> {
    if first == 0 {
        return Ok(None);
    }
    let last = first.checked_add(u16::from(workers) - 1).ok_or(())?;
    Ok(Some(first..=last))
}

impl Config {
    /// Checks the ports of UDP among each other, and those of TCP.
    pub(super) fn check_ports(&self) -> Result<(), Complaint> {
        let complain = |path: &str, what: String| Err(Complaint::new(Place::of(path), what));
        let workers = self.rtc.workers;
        let range = |path: &str, first: u16| {
            of_workers(first, workers).map_err(|()| {
                let what = format!("{first} with {workers} workers would pass port 65535");
                Complaint::new(Place::of(path), what)
            })
        };
        let media = range("rtc.udp_port", self.rtc.udp_port)?;
        let turn = self.turn.udp_port();
        let turn = turn
            .map(|first| range("turn.udp_port", first))
            .transpose()?;
        if let (Some(turn), Some(media)) = (turn.flatten(), media)
            && media.start() <= turn.end()
            && turn.start() <= media.end()
        {
            return complain(
                "turn.udp_port",
                format!(
                    "TURN has ports of its own, and {} to {} are those of media (rtc.udp_port)",
                    media.start(),
                    media.end()
                ),
            );
        }
        if self.port != 0 && self.rtc.tcp_port() == Some(self.port) {
            return complain(
                "rtc.tcp_port",
                format!("{} is the port of the pages (port)", self.port),
            );
        }
        let ice = self.rtc.tcp_port().filter(|port| *port > 0);
        if let Some(turn) = self.turn.tcp_port.filter(|_| self.turn.enabled)
            && ice == Some(turn)
        {
            return complain(
                "turn.tcp_port",
                format!(
                    "{turn} is that of ICE-TCP (rtc.tcp_port), which takes TURN as well: leave the key out"
                ),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(yaml: &str) -> Option<String> {
        let parsed = Config::parse("x", yaml);
        parsed.err().map(|error| error.to_string())
    }

    #[test]
    fn turn_over_udp_has_a_port_of_its_own_or_none() {
        let port = |yaml| Config::parse("x", yaml).unwrap().turn.udp_port();
        assert_eq!(port(""), None);
        assert_eq!(port("turn: {udp_port: 443}\n"), Some(443));
        assert_eq!(port("turn: {udp_port: 0}\n"), Some(0));
        assert_eq!(port("turn: {enabled: false, udp_port: 443}\n"), None);
    }

    #[test]
    fn ports_for_turn_are_none_of_media_and_end_at_65535() {
        let config = |media, workers, turn| {
            let rtc = format!("rtc: {{udp_port: {media}, workers: {workers}}}\n");
            complaint(&format!("{rtc}turn:\n  udp_port: {turn}\n"))
        };
        for (media, workers, turn) in [
            (7882, 1, 443),
            (7882, 4, 7878),
            (7882, 4, 7886),
            (7882, 4, 65_532),
            (7882, 4, 0),
            (0, 4, 7882),
        ] {
            assert_eq!(
                config(media, workers, turn),
                None,
                "{media} {workers} {turn}"
            );
        }
        for (media, workers, turn) in [(7882, 1, 7882), (7882, 4, 7879), (7882, 4, 7885)] {
            let text = config(media, workers, turn).unwrap();
            assert!(
                text.contains("turn.udp_port") && text.contains("line 3"),
                "{text}"
            );
            assert!(text.contains("7882 to"), "{text}");
        }
        let text = config(7882, 4, 65_533).unwrap();
        assert!(
            text.contains("turn.udp_port") && text.contains("65535"),
            "{text}"
        );
        let text = complaint("rtc: {tcp_port: 3478}\nturn: {tcp_port: 3478}\n").unwrap();
        assert!(
            text.contains("turn.tcp_port") && text.contains("leave the key out"),
            "{text}"
        );
        // Nothing of it counts where TURN is off.
        assert_eq!(complaint("turn: {enabled: false, udp_port: 7882}\n"), None);
    }
}
