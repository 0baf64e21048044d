//! What `desk` takes and refuses, each with its key and line.

use std::path::PathBuf;

use super::*;
use crate::config::Config;
use schalter_desk::domain::EndToEnd;

/// A folder of this test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("schalter-desk-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn complains(yaml: &str, words: &[&str]) {
    let text = Config::parse("x", yaml).unwrap_err().to_string();
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// With one authority that has these keys beside id and name.
fn office(more: &str) -> String {
    format!("desk:\n  authorities:\n    - id: ulm\n      name: Stadt Ulm\n{more}")
}

fn desk(yaml: &str) -> Desk {
    Config::parse("x", yaml).unwrap().desk.unwrap()
}

#[test]
fn an_office_needs_id_and_name_only() {
    let desk = desk(&office(""));
    let office = &desk.authorities[0];
    assert_eq!(
        (office.id.as_str(), office.name.as_str()),
        ("ulm", "Stadt Ulm")
    );
    assert_eq!(office.time_zone.name(), "Europe/Berlin");
    assert_eq!(office.outcomes.len(), 4);
    assert!(!office.notice.text.is_empty());
    assert_eq!(office.authority().opens_before_s, 1_800);
    assert_eq!(desk.sessions, SessionTimes::default());
}

#[test]
fn unknown_and_missing_keys_are_named_with_their_line() {
    complains("desk: {}\n", &["desk", "desk.authorities"]);
    complains("desk:\n  authority: []\n  authorities: []\n", &["(line 1)"]);
    complains(
        &office("      logos: x\n"),
        &["desk.authorities[0].logos", "(line 5)"],
    );
    complains(
        "desk:\n  authorities:\n    - id: ulm\n",
        &["name is missing", "(line 3)"],
    );
    complains(
        "desk:\n  authorities:\n    - {id: Ulm, name: x}\n",
        &["desk.authorities[0].id"],
    );
    complains(
        "desk:\n  authorities:\n    - {id: ulm, name: x}\n    - {id: ulm, name: y}\n",
        &["twice", "(line 4)"],
    );
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (more, words) in [
        ("time_zone: Mars/Base", "an IANA time zone"),
        ("retention_days: 3661", "0 to 3660"),
        ("opens_before_s: 86401", "0 to 86400"),
        ("closes_after_s: -1", "0 to 86400"),
        ("outcomes: []", "no appointment could end"),
        ("outcomes: [done, done]", "twice"),
        ("outcomes: [No Show]", "a–z"),
        ("languages: [fr]", "de, en or de-leicht"),
        ("languages: []", "need a language"),
        ("end_to_end: always", "off, possible or required"),
        ("end_to_end: true", "off, possible or required"),
        (
            "links: {imprint: 'javascript:alert(1)'}",
            "https:// or mailto:",
        ),
        ("links: {imprint: 'https://x\"y'}", "https:// or mailto:"),
        ("links: {terms: 'https://x'}", "no such key"),
        ("colours: {primary: red, on_primary: '#ffffff'}", "a colour"),
        ("colours: {primary: '#ffffff'}", "on_primary is missing"),
        (
            "colours: {primary: '#999999', on_primary: '#ffffff'}",
            "contrast is 2.8",
        ),
        ("notice: {kind: advice, file: x}", "notice or consent"),
        ("notice: {kind: consent}", "file is missing"),
        ("notice: {file: /nowhere}", "/nowhere"),
        ("texts: {fr: x}", "no such key"),
        ("logo: /nowhere", "/nowhere"),
        ("frame_ancestors: ['*']", "an origin"),
        (
            "frame_ancestors: [\"https://x; script-src 'unsafe-inline'\"]",
            "an origin",
        ),
        ("permissions: [geolocation]", "camera, microphone"),
        ("help: {phone: \"1\\n2\"}", "one line"),
        (
            "keys: [{id: a, secret_file: /nowhere, scopes: []}]",
            "/nowhere",
        ),
        (
            "keys: [{id: 'a b', secret_file: x, scopes: []}]",
            "a key's id",
        ),
        ("officials: {demo: [{id: a}]}", "name is missing"),
        (
            "officials: {demo: [{id: a, name: x}, {id: a, name: y}]}",
            "twice",
        ),
        (
            "officials: {oidc: {issuer: 'http://login.example', client_id: x, allow: everyone}}",
            "issuer",
        ),
        (
            "officials: {oidc: {issuer: 'https://login.example', client_id: x}}",
            "allow is missing",
        ),
        (
            "officials: {oidc: {issuer: 'https://login.example', client_id: x, allow: all}}",
            "everyone",
        ),
        (
            "officials: {oidc: {issuer: 'https://login.example', client_id: x, allow: {claim: groups, values: []}}}",
            "nobody could log in",
        ),
        (
            "officials: {oidc: {issuer: 'https://login.example', client_id: x, allow: everyone, scopes: ['a b']}}",
            "a word",
        ),
        (
            "officials: {link_keys: [{id: case}]}",
            "secret_file (HS256) or public_key_file (EdDSA)",
        ),
    ] {
        complains(&office(&format!("      {more}\n")), &[words, "(line 5)"]);
    }
    for (more, words) in [
        ("public_url: http://video.example.org", "without TLS"),
        ("public_url: video.example.org", "an address"),
        ("sessions: {idle_s: 59}", "60 to 86400"),
        ("sessions: {idle_s: 7200, longest_s: 3600}", "longer than"),
        (
            "webhooks: [{url: 'https://x.example', secret_files: [], authority: bonn}]",
            "a secret",
        ),
    ] {
        complains(
            &format!("desk:\n  {more}\n  authorities: [{{id: ulm, name: x}}]\n"),
            &[words, "(line 2)"],
        );
    }
}

#[test]
fn local_officials_are_for_this_machine_only() {
    let demo = office("      officials: {demo: [{id: a, name: Kim}]}\n");
    assert_eq!(desk(&demo).authorities[0].logins.demo.len(), 1);
    for public in [
        "bind_addresses: ['0.0.0.0']\n",
        "bind_addresses: ['127.0.0.1', '192.0.2.1']\n",
        "bind_addresses: ['::']\n",
    ] {
        complains(
            &format!("{public}{demo}"),
            &["desk.authorities[0].officials.demo", "loopback", "(line 6)"],
        );
    }
}

#[test]
fn no_other_key_opens_an_offices_rooms() {
    let keys = "keys: {video: {secret: 'a secret of at least 32 characters', authority: ulm}}\n";
    complains(
        &format!("{keys}{}", office("")),
        &["desk.authorities[0].id", "waiting room", "(line 4)"],
    );
    // The development key is of the authority called default.
    complains(
        "desk:\n  authorities: [{id: default, name: x}]\n",
        &["desk.authorities[0].id", "waiting room"],
    );
    complains(
        "desk:\n  authorities: [{id: schalter-check, name: x}]\n",
        &["desk.authorities[0].id"],
    );
}

#[test]
fn an_office_says_whether_its_calls_are_encrypted_between_browsers() {
    let read = |more: &str| desk(&office(more)).authorities[0].authority().end_to_end;
    assert_eq!(read(""), EndToEnd::Possible);
    for (word, wanted) in [
        ("'off'", EndToEnd::Off),
        ("off", EndToEnd::Off),
        ("possible", EndToEnd::Possible),
        ("required", EndToEnd::Required),
    ] {
        assert_eq!(read(&format!("      end_to_end: {word}\n")), wanted);
    }
}

#[test]
fn each_language_may_have_a_notice_of_its_own() {
    let folder = Folder::new("notices");
    let german = folder.file("de.txt", b"Hinweis\nText\n");
    let english = folder.file("en.txt", b"Notice\nText\n");
    let read = |notice: &str| {
        let desk = desk(&office(&format!(
            "      languages: [en, de, de-leicht]\n      notice: {notice}\n"
        )));
        desk.authorities[0].clone()
    };
    let both = read(&format!("{{kind: consent, de: {german}, en: {english}}}"));
    assert_eq!(both.notice, both.notices["en"]);
    assert_eq!(both.notices["de"].title, "Hinweis");
    assert_ne!(both.notices["de"].hash(), both.notices["en"].hash());
    assert_eq!(both.notices.len(), 2);
    assert_eq!(both.authority().notices, both.notices);
    // Who reads English is shown the German one, where there is no other.
    assert_eq!(read(&format!("{{de: {german}}}")).notice.title, "Hinweis");
    assert!(read(&format!("{{file: {german}}}")).notices.is_empty());
    complains(
        &office(&format!(
            "      notice: {{file: {german}, en: {english}}}\n"
        )),
        &["either one file is for everybody"],
    );
    complains(
        &office(&format!("      notice: {{de: {german}, fr: {english}}}\n")),
        &["fr"],
    );
}

#[test]
fn files_are_read_and_held_to_their_bounds() {
    let folder = Folder::new("files");
    let texts = folder.file(
        "de.json",
        br#"{"termin.title": "<b>Willkommen</b>", "outcome.moved": "verlegt"}"#,
    );
    let notice = folder.file("notice.txt", "Titel\nText\n---\nMehr\n".as_bytes());
    let logo = folder.file("logo.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>");
    let secret = folder.file("key", b"0123456789012345678901234567890123456789\n");
    let office = office(&format!(
        "      outcomes: [done, moved]\n      texts: {{de: {texts}}}\n      notice: {{kind: consent, file: {notice}}}\n      logo: {logo}\n      \
         keys: [{{id: case, secret_file: {secret}, scopes: ['appointments:read', 'events:read']}}]\n      \
         officials: {{link_keys: [{{id: case, secret_file: {secret}}}], \
         oidc: {{issuer: 'https://login.example', client_id: x, client_secret_file: {secret}, allow: {{claim: groups, values: [video]}}}}}}\n"
    ));
    let desk = desk(&office);
    let office = &desk.authorities[0];
    assert_eq!(
        office.pages.texts["de"]["termin.title"],
        "<b>Willkommen</b>"
    );
    assert_eq!(office.notice.title, "Titel");
    assert_eq!(
        (office.notice.text.as_str(), office.notice.details.as_str()),
        ("Text", "Mehr")
    );
    assert_eq!(
        office.pages.logo.as_ref().unwrap().content_type,
        "image/svg+xml"
    );
    assert_eq!(office.keys[0].scopes.len(), 2);
    assert!(!format!("{desk:?}").contains("0123456789"));

    let big = folder.file("big.json", &vec![b' '; 256 * 1024 + 1]);
    complains(
        &super::tests::office(&format!("      texts: {{de: {big}}}\n")),
        &["larger than"],
    );
    let list = folder.file("list.json", b"[]");
    complains(
        &super::tests::office(&format!("      texts: {{de: {list}}}\n")),
        &["no JSON object"],
    );
    for name in ["termin.titel", "outcome.moved"] {
        let unknown = folder.file("unknown.json", format!(r#"{{"{name}": "x"}}"#).as_bytes());
        complains(
            &super::tests::office(&format!("      texts: {{de: {unknown}}}\n")),
            &["texts.de", name, "/assets/texts/de.json"],
        );
    }
    let html = folder.file("logo.svg", b"<html></html>");
    complains(
        &super::tests::office(&format!("      logo: {html}\n")),
        &["no SVG"],
    );
    let short = folder.file("short", b"x");
    complains(
        &super::tests::office(&format!(
            "      keys: [{{id: a, secret_file: {short}, scopes: ['events:read']}}]\n"
        )),
        &["32 to 512"],
    );
}

#[test]
fn receivers_have_one_or_two_secrets_and_a_known_authority() {
    let folder = Folder::new("receivers");
    let secret = folder.file("one", b"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n");
    let bad = folder.file("bad", b"whsec_c2hvcnQ=");
    let receivers = |list: &str| {
        format!("desk:\n  authorities: [{{id: ulm, name: x}}]\n  webhooks:\n    - {list}\n")
    };
    let good = format!("{{url: 'https://a.example/x', secret_files: [{secret}], authority: ulm}}");
    let config = Config::parse("x", &receivers(&good)).unwrap();
    let summary = config.summary();
    assert!(summary.contains("ulm; 1 receiver(s)"), "{summary}");
    let desk = config.desk.unwrap();
    assert_eq!(desk.webhooks[0].secrets.len(), 1);
    assert!(!format!("{desk:?}").contains("MDEy"));
    for (list, words) in [
        (format!("{good}\n    - {good}"), "twice"),
        (
            format!("{{url: 'https://a.example/x', secret_files: [{secret}], authority: bonn}}"),
            "no such authority",
        ),
        (
            format!("{{url: 'https://a.example/x', secret_files: [{bad}], authority: ulm}}"),
            "whsec_",
        ),
        (
            format!(
                "{{url: 'https://a.example/x', secret_files: [{secret}, {secret}, {secret}], authority: ulm}}"
            ),
            "at most 2",
        ),
        (
            format!("{{url: 'http://10.0.0.1/x', secret_files: [{secret}], authority: ulm}}"),
            "allow_private",
        ),
    ] {
        complains(&receivers(&list), &[words]);
    }
}
