//! An office's texts, colours, logo, retention and officials change while the server runs, and what is wrong changes nothing.

use std::path::Path;

use serde_json::{Value, json};

use crate::desk::Browser;
use crate::server::{Scratch, Server, folder, write_config};

const LOGO: &str = "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>";

/// A desk with one office, and a line more of it.
fn desk(officials: &[(&str, &str)], more: &str) -> String {
    let officials = officials
        .iter()
        .map(|(id, name)| format!("{{id: {id}, name: {name}}}"));
    let officials = officials.collect::<Vec<_>>().join(", ");
    format!(
        "desk:\n  authorities:\n    - id: ulm\n      name: Stadt Ulm\n      officials: {{demo: [{officials}]}}\n      {more}\n"
    )
}

async fn reload(server: &Server, config: &str) -> (u16, Value) {
    write_config(&server.folder, config);
    let (status, _, body) = server.admin("POST /v1/reload").await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn log_in<'s>(server: &'s Server, id: &str) -> (Browser<'s>, u16) {
    let mut browser = Browser::new(server);
    let body = json!({"authority": "ulm", "official": id});
    let (status, _) = browser.post("/desk/v1/login/demo", body).await;
    (browser, status)
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn an_office_is_as_the_file_says_after_a_reload() {
    let files = Scratch::new("office-files");
    let both = [("kim", "Kim Amt"), ("uli", "Uli Amt")];
    let server = Server::start("office", &desk(&both, "retention_days: 30"));
    let (mut kim, _) = log_in(&server, "kim").await;
    let (mut uli, _) = log_in(&server, "uli").await;
    assert_eq!(log_in(&server, "robin").await.1, 404);

    let texts = write(&files, "de.json", r#"{"termin.title": "Grüß Gott"}"#);
    let logo = write(&files, "logo.svg", LOGO);
    let notice = write(&files, "notice.txt", "Neu\nGanz neu.");
    let more = format!(
        "retention_days: 7\n      help: {{phone: '115'}}\n      texts: {{de: {texts}}}\n      logo: {logo}\n      \
         notice: {{kind: consent, file: {notice}}}\n      colours: {{primary: '#003064', on_primary: '#ffffff'}}"
    );
    let changed = [("kim", "Kim Amt"), ("robin", "Robin Amt")];
    let (status, told) = reload(&server, &desk(&changed, &more)).await;
    assert_eq!(
        (status, &told["desk"], &told["needs_restart"]),
        (200, &json!(true), &json!([])),
        "{told}"
    );
    let (_, office) = kim.get("/desk/v1/office").await;
    assert_eq!(office["help"]["phone"], "115");
    assert_eq!(office["theme"]["colours"]["primary"], "#003064");
    assert_eq!(office["theme"]["logo_url"], "/desk/v1/logo/ulm");
    let (_, texts) = kim.get("/desk/v1/texts/de").await;
    assert_eq!(texts, json!({"termin.title": "Grüß Gott"}));
    assert_eq!(kim.get("/desk/v1/logo/ulm").await.0, 200);
    // Who stays named stays, who does not is out, and who is new comes in.
    assert_eq!(kim.get("/desk/v1/official").await.0, 200);
    assert_eq!(uli.get("/desk/v1/official").await.0, 401);
    assert_eq!(log_in(&server, "uli").await.1, 404);
    assert_eq!(log_in(&server, "robin").await.1, 200);
    // The same once more changes nothing, and what takes a restart is said.
    let (_, told) = reload(&server, &desk(&changed, &more)).await;
    assert_eq!(told["desk"], false);
    let elsewhere = desk(&changed, &more) + "  public_url: http://localhost:9\n";
    let (_, told) = reload(&server, &elsewhere).await;
    assert_eq!(
        (&told["desk"], &told["needs_restart"]),
        (&json!(false), &json!(["desk"]))
    );

    // What is wrong is told with its key and line, and everything is as before.
    let wrong = desk(&both, "retention_dayz: 30");
    let line = wrong.lines().count();
    let (status, problem) = reload(&server, &wrong).await;
    assert_eq!(status, 422);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("retention_dayz"), "{detail}");
    assert!(detail.contains(&line.to_string()), "line {line}: {detail}");
    let (status, problem) = reload(&server, &desk(&both, "logo: /nowhere/logo.svg")).await;
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().contains("logo"));
    let (_, office) = kim.get("/desk/v1/office").await;
    assert_eq!(office["help"]["phone"], "115");
    assert_eq!(log_in(&server, "uli").await.1, 404);
    let log = server.log();
    for name in ["Kim", "Robin", "Uli"] {
        assert!(!log.contains(name), "{name} in {log}");
    }
}

#[tokio::test]
async fn a_reload_lets_no_local_officials_onto_a_network() {
    let files = Scratch::new("lan-reload");
    let secret = write(&files, "link.key", &"k".repeat(32));
    let by_link = format!(
        "desk:\n  authorities:\n    - id: ulm\n      name: Stadt Ulm\n      officials: {{link_keys: [{{id: case, secret_file: {secret}}}]}}\n"
    );
    let local = desk(&[("kim", "Kim Amt")], "retention_days: 30");
    for (name, arguments, more, words) in [
        // Only the running server knows that `--lan` opened it.
        ("reload-lan", &["--lan"][..], "", "--lan"),
        (
            "reload-public",
            &[],
            "bind_addresses: ['0.0.0.0']\n",
            "loopback",
        ),
    ] {
        let server = Server::start_in(&folder(name), arguments, &format!("{by_link}{more}"));
        let (status, problem) = reload(&server, &format!("{local}{more}")).await;
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!(status, 422, "{problem}");
        assert!(
            detail.contains("demo") && detail.contains(words),
            "{detail}"
        );
        // The same without them is taken.
        let renamed = by_link.replace("Stadt Ulm", "Neu-Ulm");
        let (status, told) = reload(&server, &format!("{renamed}{more}")).await;
        assert_eq!((status, &told["desk"]), (200, &json!(true)), "{told}");
    }
}
