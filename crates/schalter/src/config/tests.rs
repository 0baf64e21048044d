//! What a file may say, and what is said of one that can't be right.

use schalter_model::AuthorityId;
use schalter_signaling::authority::KeyScopes;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn error(text: &str) -> String {
    Config::parse("schalter.yaml", text)
        .map(|config| format!("{text:?} was taken: {config:?}"))
        .unwrap_err()
        .to_string()
}

#[track_caller]
pub(super) fn complains(yaml: &str, parts: &[&str]) {
    let text = error(yaml);
    for part in parts {
        assert!(text.contains(part), "{yaml:?}: {part:?} is missing: {text}");
    }
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn an_empty_file_means_the_defaults() {
    for text in ["", "# nothing\n", "{}\n", "rtc:\nroom:\n"] {
        let config = Config::parse("x", text).unwrap();
        assert_eq!(config.port, 7880);
        assert_eq!(config.rtc.udp_port, 7882);
        assert_eq!(config.limits, Limits::default());
        assert!(config.bind_addresses.iter().all(IpAddr::is_loopback));
    }
}

#[test]
fn tcp_is_there_unless_it_is_turned_off_or_the_system_chooses_ports() {
    for (yaml, port) in [
        ("", Some(7881)),
        ("rtc:\n  udp_port: 9000\n", Some(7881)),
        ("rtc:\n  tcp_port: 443\n", Some(443)),
        ("rtc:\n  tcp_port: 0\n", None),
        ("rtc:\n  udp_port: 0\n", None),
        ("rtc:\n  udp_port: 0\n  tcp_port: 9001\n", Some(9001)),
    ] {
        assert_eq!(
            Config::parse("x", yaml).unwrap().rtc.tcp_port(),
            port,
            "{yaml}"
        );
    }
    complains("rtc:\n  tcp_port: 65536\n", &["rtc.tcp_port", "(line 2)"]);
    complains(
        "port: 9000\nrtc:\n  tcp_port: 9000\n",
        &["rtc.tcp_port", "9000 is the port of the pages", "(line 3)"],
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    complains(
        "port: 7880\nrtc:\n  udp_prot: 1\n",
        &["rtc.udp_prot", "(line 3)"],
    );
    complains("prot: 7880\n", &["prot", "(line 1)"]);
    complains(
        "{\"port\": 1,\n\n\"rtc\": {\"x\": 2}}",
        &["rtc.x", "(line 3)"],
    );
}

#[test]
fn a_bad_value_is_named_with_its_key_and_line() {
    for (yaml, key, line) in [
        ("port: 70000\n", "port", "line 1"),
        ("port: no\n", "port", "line 1"),
        ("\nport: 1.5\n", "port", "line 2"),
        ("rtc:\n  workers: 0\n", "rtc.workers", "line 2"),
        ("rtc:\n  workers: [1]\n", "rtc.workers", "line 2"),
        ("rtc: 1\n", "rtc", "line 1"),
        ("rtc:\n  node_ip: here\n", "rtc.node_ip", "line 2"),
        (
            "room:\n  max_participants: -1\n",
            "room.max_participants",
            "line 2",
        ),
        ("crypto_profile: none\n", "crypto_profile", "line 1"),
        (
            "limits:\n  message_bytes: 1\n",
            "limits.message_bytes",
            "line 2",
        ),
        (
            "limits:\n  rooms: 99999999999999999999999\n",
            "limits.rooms",
            "line 2",
        ),
        ("audio:\n  loudest: 51\n", "audio.loudest", "line 2"),
        (
            "signaling:\n  ping_interval: 0\n",
            "signaling.ping_interval",
            "line 2",
        ),
        (
            "signaling:\n  ping_timeout: 301\n",
            "signaling.ping_timeout",
            "line 2",
        ),
        (
            "signaling:\n  ping_interval: 5\n  ping_timeout: 5\n",
            "signaling.ping_timeout",
            "line 3",
        ),
        (
            "signaling:\n  ping_interval: 5\n",
            "signaling.ping_interval",
            "line 2",
        ),
        ("signaling:\n  ping: 5\n", "signaling.ping", "line 2"),
        (
            "audio:\n  loudest_from: 1\n",
            "audio.loudest_from",
            "line 2",
        ),
        (
            "audio:\n  active_level: 35\n",
            "audio.active_level",
            "line 2",
        ),
        ("keys:\n  a: short\n", "keys.a", "line 2"),
        ("admin:\n  listen: somewhere\n", "admin.listen", "line 2"),
        (
            "admin:\n  listen: unix:relative\n",
            "admin.listen",
            "line 2",
        ),
        (
            "bind_addresses:\n  - 127.0.0.1\n  - x\n",
            "bind_addresses[1]",
            "line 3",
        ),
    ] {
        complains(yaml, &[key, line]);
    }
    complains(
        &format!("keys:\n  a:\n    secret: {SECRET}\n    authority: Ulm\n"),
        &["keys.a.authority", "line 4"],
    );
}

#[test]
fn what_is_no_group_of_keys_is_told_without_our_own_words() {
    for yaml in ["just text\n", "- a\n- b\n", "42\n"] {
        let text = error(yaml);
        assert!(
            text.contains("group of keys") && text.contains("line 1"),
            "{text}"
        );
        assert!(
            !text.contains("struct") && !text.contains("Config"),
            "{text}"
        );
    }
    complains("port: 1\n---\nport: 2\n", &["more than one document"]);
    complains("a: [1\n", &["line"]);
}

#[test]
fn a_key_that_stands_twice_is_named_at_its_second_place() {
    complains(
        "port: 1\nrtc:\n  workers: 1\nport: 2\n",
        &["port", "twice", "(line 4)"],
    );
    complains(
        "rtc:\n  workers: 1\n  udp_port: 1\n  workers: 2\n",
        &["rtc.workers", "(line 4)"],
    );
    complains(
        &format!("keys:\n  a: {SECRET}\n  b: {SECRET}\n  a: {SECRET}\n"),
        &["keys.a", "(line 4)"],
    );
}

#[test]
fn no_error_repeats_a_secret() {
    // A canary in every place where somebody may have put it.
    let canary = "KANARIENVOGEL-0123456789abcdef0123456789";
    for yaml in [
        format!("keys: \"devkey: {canary}\"\n"),
        format!("keys: {canary}\n"),
        format!("keys:\n  devkey: {{{canary}}}\n"),
        format!("keys:\n  devkey: [{canary}]\n"),
        format!("keys:\n  - devkey: {canary}\n"),
        format!("keys:\n  devkey:{canary}\n"),
        format!("keys:\n  devkey:\n    {canary}: 1\n"),
        format!("keys:\n  devkey:\n    secret: [{canary}]\n"),
        format!("keys:\n  devkey:\n    secret: {canary}\n    scopes: [{canary}]\n"),
        format!("keys:\n  devkey:\n    secret: {canary}\n    authority: {canary}\n"),
        format!("keys:\n  devkey:\n    secret: {canary}\n    secret_file: /x\n"),
        format!("keys:\n  {canary}: short\n"),
        format!("keys:\n  {canary}: {{scopes: []}}\n"),
        format!("keys:\n  {canary}: {canary}\n  {canary}: {canary}\n"),
        format!("keys:\n  devkey: !!int {canary}\n"),
        format!("keys:\n  devkey: !{canary} x\n"),
        format!("keys:\n  devkey: *{canary}\n"),
        format!("keys: devkey: {canary}\n"),
        format!("{canary}\n"),
        format!("devkey:{canary}\nport: 1\n"),
        format!("rtc:\n  ice_servers:\n    - urls: turn:a\n      credential: [{canary}]\n"),
        format!(
            "rtc:\n  ice_servers:\n    - urls: x\n      username: a\n      credential: {canary}\n"
        ),
    ] {
        let text = error(&yaml);
        assert!(!text.contains("KANARIENVOGEL"), "{yaml:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    for number in [
        "12345678901234567890123456789012",
        "0x1234567890",
        "123456.789",
    ] {
        for yaml in [
            format!("keys:\n  devkey: {number}\n"),
            format!("keys:\n  devkey:\n    secret: {number}\n"),
            format!("keys: {number}\n"),
        ] {
            let text = error(&yaml);
            assert!(!text.contains(number), "{yaml:?}: {text}");
        }
    }
    complains(
        "keys:\n  devkey: 12345678901234567890123456789012\n",
        &["keys.devkey", "quotes", "line 2"],
    );
}

#[test]
fn ports_past_the_last_one_are_refused() {
    complains(
        "rtc:\n  udp_port: 65535\n  workers: 2\n",
        &["rtc.udp_port", "65535", "(line 2)"],
    );
    assert!(Config::parse("x", "rtc:\n  udp_port: 65534\n  workers: 2\n").is_ok());
}

#[test]
fn what_serve_would_refuse_is_refused_here() {
    for (yaml, key, line) in [
        ("bind_addresses: []\n", "bind_addresses", "line 1"),
        (
            "bind_addresses: [127.0.0.1, 127.0.0.1]\n",
            "bind_addresses",
            "line 1",
        ),
        (
            "bind_addresses: [127.0.0.1, 0.0.0.0]\n",
            "bind_addresses",
            "line 1",
        ),
        ("rtc:\n  node_ip: 0.0.0.0\n", "rtc.node_ip", "line 2"),
        ("rtc:\n  node_ip: \"::\"\n", "rtc.node_ip", "line 2"),
        ("rtc:\n  node_ip: 224.0.0.1\n", "rtc.node_ip", "line 2"),
        (
            "admin:\n  token_file: /nonexistent/token\n",
            "admin.token_file",
            "line 2",
        ),
        ("port: 7889\n", "port", "line 1"),
        (
            "admin:\n  listen: 127.0.0.1:7880\n",
            "admin.listen",
            "line 2",
        ),
        ("bind_addresses: [0.0.0.0]\nport: 7889\n", "port", "line 2"),
    ] {
        complains(yaml, &[key, line]);
    }
    assert!(Config::parse("x", "bind_addresses: [0.0.0.0, \"::\"]\n").is_ok());
    assert!(Config::parse("x", "port: 7889\nbind_addresses: [192.0.2.1]\n").is_ok());
    complains(
        &format!("keys:\n  \"\": {SECRET}\n"),
        &["keys.", "name", "line 2"],
    );
    complains(
        &format!("keys:\n  a: {{secret: {SECRET}, scopes: []}}\n"),
        &["keys.a.scopes", "line 2"],
    );
    complains(
        "keys:\n  a:\n    secret_file: /nonexistent/secret\n",
        &["keys.a.secret_file", "/nonexistent/secret", "line 3"],
    );
}

#[test]
fn an_origin_is_what_browsers_send() {
    for good in [
        "https://a.example",
        "http://localhost:7880",
        "https://[2001:db8::1]:8443",
    ] {
        let yaml = format!("allowed_origins: [\"{good}\"]\n");
        assert_eq!(Config::parse("x", &yaml).unwrap().allowed_origins, [good]);
    }
    for bad in [
        "*",
        "a.example",
        "https://*.example",
        "https://a.example/",
        "https://a.example/path",
        "https://a.example:443",
        "http://a.example:80",
        "https://a.example:0",
        "https://a.example:x",
        "https://",
        "ftp://a.example",
        "https://user@a.example",
        "https://a b",
    ] {
        complains(
            &format!("allowed_origins:\n  - \"{bad}\"\n"),
            &["allowed_origins[0]", "line 2"],
        );
    }
}

#[test]
fn keys_are_a_secret_or_an_object() {
    let yaml = format!(
        "keys:\n  a: {SECRET}\n  b:\n    secret: {SECRET}\n    authority: ulm\n    scopes: [join]\n  123: {SECRET}\n"
    );
    let config = Config::parse("x", &yaml).unwrap();
    assert_eq!(config.keys["a"].authority, AuthorityId::default());
    assert_eq!(config.keys["b"].authority.as_str(), "ulm");
    assert!(config.keys["b"].scopes.join && !config.keys["b"].scopes.admin);
    assert_eq!(&*config.keys["123"].name, "123");
    assert!(
        !format!("{config:?}").contains(SECRET),
        "Debug must not show secrets"
    );
    let scoped = |scopes| {
        let yaml = format!("keys:\n  b:\n    secret: {SECRET}\n    scopes: {scopes}\n");
        Config::parse("x", &yaml).map(|config| config.keys["b"].scopes)
    };
    assert_eq!(scoped("[join, admin]").unwrap(), KeyScopes::ALL);
    assert!(!scoped("[admin]").unwrap().join);
    complains(
        &format!("keys:\n  b:\n    secret: {SECRET}\n    scopes: [join, king]\n"),
        &["keys.b.scopes[1]", "join or admin", "line 4"],
    );
}

#[test]
fn keys_of_livekit_that_have_no_effect_are_refused_with_advice() {
    complains(
        "rtc:\n  allow_tcp_fallback: true\n",
        &["rtc.allow_tcp_fallback: clients fall back", "(line 2)"],
    );
    complains(
        "turn:\n  enabled: true\n  relay_range_start: 30000\n",
        &["turn.relay_range_start", "take no ports", "(line 3)"],
    );
    for path in livekit::paths() {
        let yaml = match path.split_once('.') {
            Some((group, key)) => format!("{group}:\n  {key}: 1\n"),
            None => format!("{path}: 1\n"),
        };
        let text = error(&yaml);
        assert!(
            text.contains(path) && !text.contains("no such key"),
            "{text}"
        );
    }
}

#[test]
fn rooms_are_made_by_whoever_joins_unless_only_the_room_service_may() {
    let makes = |yaml| Config::parse("x", yaml).unwrap().room.auto_create;
    assert!(makes("") && makes("room:\n  auto_create: true\n"));
    assert!(!makes("room:\n  auto_create: false\n"));
}

#[test]
fn simulations_are_refused_unless_the_operator_wants_them() {
    let allows = |yaml| Config::parse("x", yaml).unwrap().room.simulate;
    assert!(!allows("") && !allows("room:\n  simulate: false\n"));
    assert!(allows("room:\n  simulate: true\n"));
}

#[test]
fn codecs_are_named_as_in_livekits_file_and_keep_their_order() {
    let yaml = "room:\n  enabled_codecs:\n    - mime: video/h264\n    - mime: audio/opus\n    - mime: video/rtx\n";
    let config = Config::parse("x", yaml).unwrap();
    assert_eq!(
        config.room.enabled_codecs,
        [CodecKind::H264, CodecKind::Opus]
    );
    complains(
        "room:\n  enabled_codecs:\n    - mime: video/vp7\n",
        &["room.enabled_codecs[0].mime", "video/VP8", "(line 3)"],
    );
    complains(
        "room:\n  enabled_codecs: []\n",
        &["room.enabled_codecs", "(line 2)"],
    );
    complains(
        "room:\n  enabled_codecs:\n    - {mime: video/vp8}\n    - {mime: video/vp8}\n",
        &["room.enabled_codecs[1]", "(line 4)"],
    );
}

#[test]
fn ice_servers_are_checked_and_kept() {
    let yaml = "rtc:\n  ice_servers:\n    - urls: [\"stun:stun.example:3478\"]\n    - urls: turns:turn.example\n      username: u\n      credential: c\n";
    let servers = Config::parse("x", yaml).unwrap().rtc.ice_servers;
    assert_eq!(servers.len(), 2);
    assert_eq!(servers[1].urls, ["turns:turn.example"]);
    assert_eq!(
        (servers[1].username.as_str(), servers[1].credential.as_str()),
        ("u", "c")
    );
    let top = "ice_servers:\n  - urls: stun:a\n";
    assert_eq!(Config::parse("x", top).unwrap().rtc.ice_servers.len(), 1);
    complains(
        &format!("{top}rtc:\n  ice_servers:\n    - urls: stun:b\n"),
        &["ice_servers", "(line"],
    );
    complains(
        "ice_servers:\n  - urls: https://a\n",
        &["ice_servers[0].urls", "(line 2)"],
    );
    complains(
        "ice_servers:\n  - urls: turn:a\n",
        &["ice_servers[0]", "username", "(line 2)"],
    );
    complains(
        "ice_servers:\n  - username: a\n",
        &["ice_servers[0]", "urls", "(line 2)"],
    );
}

#[test]
fn a_room_holds_no_more_than_the_limit_and_0_means_the_limit() {
    let config = Config::parse("x", "room:\n  max_participants: 0\n").unwrap();
    assert_eq!(config.room.max_participants, 0);
    assert!(Config::parse("x", "room:\n  max_participants: 3000\n").is_ok());
    complains(
        "room:\n  max_participants: 3001\n",
        &[
            "room.max_participants",
            "limits.participants_per_room",
            "3000",
            "(line 2)",
        ],
    );
    let raised = "room:\n  max_participants: 5000\nlimits:\n  participants_per_room: 5000\n";
    assert!(Config::parse("x", raised).is_ok());
    complains(
        "limits:\n  participants_per_room: 99\n",
        &["limits.participants_per_room"],
    );
}

#[test]
fn the_loudest_of_big_rooms_are_configured_and_must_be_fewer_than_a_big_room_has() {
    let audio = |yaml: &str| Config::parse("x", yaml).unwrap().audio;
    let default = Audio {
        loudest: 6,
        loudest_from: 20,
    };
    assert_eq!(audio("port: 7880\n"), default);
    let set = Audio {
        loudest: 3,
        loudest_from: 10,
    };
    assert_eq!(audio("audio:\n  loudest: 3\n  loudest_from: 10\n"), set);
    // Off: then how many there are matters no more.
    assert_eq!(
        audio("audio:\n  loudest: 0\n  loudest_from: 2\n").loudest,
        0
    );
    complains(
        "audio:\n  loudest: 20\n",
        &["audio.loudest_from", "audio.loudest, 20"],
    );
}

#[test]
fn webhooks_name_receivers_and_a_key_that_signs() {
    let keys = format!("keys:\n  office: {SECRET}\n");
    let webhook = |yaml: &str| format!("{keys}webhook:\n{yaml}");
    let parsed = Config::parse(
        "x",
        &webhook(
            "  urls: [\"https://a.example/x?y=z\", \"http://127.0.0.1:8080/\"]\n  api_key: office\n  \
             allow_private: [127.0.0.0/8]\n  max_events: 100\n  max_age_seconds: 60\n",
        ),
    );
    let parsed = parsed.unwrap().webhook;
    assert_eq!(
        (parsed.targets.len(), parsed.api_key.as_str()),
        (2, "office")
    );
    assert_eq!(
        (parsed.limits.events, parsed.limits.age.as_secs()),
        (100, 60)
    );
    for (yaml, key, line, what) in [
        (
            "  urls: [\"https://a.example\"]\n  api_key: other\n",
            "webhook.api_key",
            "line 5",
            "no such key",
        ),
        (
            "  urls: [\"https://a.example\"]\n",
            "webhook",
            "line 3",
            "webhook.api_key",
        ),
        ("  api_key: office\n", "webhook", "line 3", "webhook.urls"),
        (
            "  api_key: office\n  urls: [\"https://a.example\", \"ftp://a\"]\n",
            "webhook.urls[1]",
            "line 5",
            "URL",
        ),
        (
            "  api_key: office\n  urls:\n    - https://a.example\n    - https://a.example\n",
            "webhook.urls[1]",
            "line 7",
            "twice",
        ),
        (
            "  api_key: office\n  urls: [\"https://127.0.0.1\"]\n",
            "webhook.urls[0]",
            "line 5",
            "allow_private",
        ),
        (
            "  api_key: office\n  urls: [\"http://1.1.1.1\"]\n",
            "webhook.urls[0]",
            "line 5",
            "allow_private",
        ),
        (
            "  allow_private: [10.0.0.1/8]\n",
            "webhook.allow_private[0]",
            "line 4",
            "range",
        ),
        ("  max_events: 99\n", "webhook.max_events", "line 4", "100"),
        (
            "  max_bytes: 1000\n",
            "webhook.max_bytes",
            "line 4",
            "1048576",
        ),
        (
            "  filter_params: {}\n",
            "webhook.filter_params",
            "line 4",
            "every event",
        ),
    ] {
        complains(&webhook(yaml), &[key, line, what]);
    }
    // Without keys there is the development key.
    let development =
        |key: &str| format!("webhook:\n  urls: [\"https://a.example\"]\n  api_key: {key}\n");
    assert!(Config::parse("x", &development("development")).is_ok());
    complains(&development("office"), &["webhook.api_key", "line 3"]);
    assert!(Config::parse("x", "webhook:\n  urls: []\n").is_ok());
}

#[test]
fn no_error_repeats_a_receivers_url() {
    for url in [
        "https://KANARIENVOGEL:x@a.example",
        "https://a.example/#KANARIENVOGEL",
        "KANARIENVOGEL",
        "https://127.0.0.1/KANARIENVOGEL",
    ] {
        let text = error(&format!(
            "webhook:\n  api_key: development\n  urls: [\"{url}\"]\n"
        ));
        assert!(text.contains("webhook.urls[0]"), "{text}");
        assert!(!text.contains("KANARIENVOGEL"), "{text}");
    }
}
