//! What of a configuration is shown, and what of it is another's.

use std::net::IpAddr;

use super::{AdminListen, Config, Webhook};
use crate::addresses::AddressRule;

impl Config {
    /// The parts that are not the same in both, without keys, which of them signs webhooks, and the secrets of the desk's receivers.
    pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
        // Taken apart, so that a new part is not forgotten.
        let Self {
            port,
            bind_addresses,
            tls,
            proxy_protocol,
            keys: _,
            rtc,
            signaling,
            room,
            audio,
            limits,
            admin,
            turn,
            webhook,
            allowed_origins,
            crypto_profile,
            region,
            state_dir,
            desk,
        } = self;
        let webhook = Webhook {
            api_key: other.webhook.api_key.clone(),
            ..webhook.clone()
        };
        let same_tls = match (tls, &other.tls) {
            (Some(own), Some(other)) => own.runs_as(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        let same_desk = match (desk, &other.desk) {
            (Some(own), Some(other)) => own.runs_as(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        let parts = [
            ("tls", same_tls),
            ("proxy_protocol", *proxy_protocol == other.proxy_protocol),
            ("port", *port == other.port),
            ("bind_addresses", *bind_addresses == other.bind_addresses),
            ("rtc", *rtc == other.rtc),
            ("signaling", *signaling == other.signaling),
            ("room", *room == other.room),
            ("audio", *audio == other.audio),
            ("limits", *limits == other.limits),
            ("admin", *admin == other.admin),
            ("turn", *turn == other.turn),
            ("webhook", webhook == other.webhook),
            ("allowed_origins", *allowed_origins == other.allowed_origins),
            ("crypto_profile", *crypto_profile == other.crypto_profile),
            ("region", *region == other.region),
            ("state_dir", *state_dir == other.state_dir),
            ("desk", same_desk),
        ];
        let other = parts.iter().filter(|(_, same)| !same);
        other.map(|(name, _)| *name).collect()
    }

    /// What an operator wants to see at a glance; no secrets.
    pub(crate) fn summary(&self) -> String {
        let list = |addresses: &[IpAddr]| {
            addresses
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let first = self.rtc.udp_port;
        let last = first.saturating_add(u16::from(self.rtc.workers) - 1);
        let ports = if first == last {
            first.to_string()
        } else {
            format!("{first}–{last}")
        };
        let tcp = self
            .rtc
            .tcp_port()
            .map_or(String::new(), |port| format!(", TCP {port}"));
        let rules = self.rtc.addresses.iter().map(AddressRule::to_string);
        let told: Vec<String> = self
            .rtc
            .node_ip
            .iter()
            .map(IpAddr::to_string)
            .chain(rules)
            .collect();
        let told = if told.is_empty() {
            "every address of this machine".to_owned()
        } else {
            told.join(", ")
        };
        let keys = if self.keys.is_empty() {
            "none; a development key is generated".to_owned()
        } else {
            self.keys
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let admin = match &self.admin.listen {
            AdminListen::Tcp(address) => address.to_string(),
            AdminListen::Unix(path) => format!("unix:{}", path.display()),
        };
        let webhooks = match self.webhook.targets.len() {
            0 => String::new(),
            count => format!(
                "\n  webhooks             {count} receiver(s), signed by {}",
                self.webhook.api_key
            ),
        };
        let desk = match &self.desk {
            None => String::new(),
            Some(desk) => {
                let ids = desk.authorities.iter().map(|office| office.id.as_str());
                let told = match desk.webhooks.len() {
                    0 => String::new(),
                    count => format!("; {count} receiver(s) are told of it"),
                };
                format!(
                    "\n  consultation         {}{told}",
                    ids.collect::<Vec<_>>().join(", ")
                )
            }
        };
        let tls = match &self.tls {
            None => String::new(),
            Some(tls) => {
                let port = tls.port.unwrap_or(self.port);
                format!(
                    "\n  TLS                  TCP {port}, {}",
                    tls.source.summary()
                )
            }
        };
        format!(
            "  pages and signaling  TCP {} on {}{tls}\n  media                UDP {ports}{tcp} at {told}\n  \
             admin                {admin}\n  API keys             {keys}{webhooks}{desk}",
            self.port,
            list(&self.bind_addresses),
        )
    }
}
