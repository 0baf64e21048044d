//! The consultation in the built server: its links work, seats open rooms by admission only, and metrics count.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Server, folder, write_config};

/// A browser on this machine.
pub(crate) struct Browser<'s> {
    server: &'s Server,
    cookies: BTreeMap<String, String>,
}

impl<'s> Browser<'s> {
    pub(crate) fn new(server: &'s Server) -> Self {
        Self {
            server,
            cookies: BTreeMap::new(),
        }
    }

    pub(crate) async fn post(&mut self, path: &str, body: Value) -> (u16, Value) {
        let origin = format!("http://localhost:{}", self.server.port);
        self.send("POST", path, Some(&origin), &body.to_string())
            .await
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, Value) {
        self.send("GET", path, None, "").await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        origin: Option<&str>,
        body: &str,
    ) -> (u16, Value) {
        let origin = origin.map_or_else(String::new, |origin| format!("Origin: {origin}\r\n"));
        let pairs = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let cookies = pairs.collect::<Vec<_>>().join("; ");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{origin}Cookie: {cookies}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.server.port))
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        for line in head.lines() {
            let Some(cookie) = line.strip_prefix("set-cookie: ") else {
                continue;
            };
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

/// Everything up to the waiting room.
pub(crate) async fn wait(browser: &mut Browser<'_>, link: &str) {
    let (status, view) = browser
        .post("/desk/v1/links/open", json!({"token": link}))
        .await;
    assert_eq!(status, 200, "{view}");
    let hash = &view["notice"]["hash"];
    browser
        .post("/desk/v1/me/notice", json!({"hash": hash, "agreed": true}))
        .await;
    let (status, view) = browser.post("/desk/v1/me/wait", json!({})).await;
    assert_eq!((status, &view["me"]["stage"]), (200, &json!("waiting")));
}

async fn official<'s>(server: &'s Server) -> Browser<'s> {
    let mut official = Browser::new(server);
    let body = json!({"authority": "demo", "official": "dilek"});
    let (status, _) = official.post("/desk/v1/login/demo", body).await;
    assert_eq!(status, 200);
    official
}

#[tokio::test]
async fn the_demos_links_work_and_seats_follow_admission() {
    let mut server = Server::start("desk-demo", "desk: demo\n");
    let printed = server.until_printed("made up");
    let link = printed.split("/termin#").nth(1).unwrap();
    let link = link.split_whitespace().next().unwrap().to_owned();
    let mut citizen = Browser::new(&server);
    wait(&mut citizen, &link).await;
    server
        .until_metric("schalter_desk_people_waiting", 1.0)
        .await;
    assert_eq!(citizen.post("/desk/v1/me/seat", json!({})).await.0, 409);

    let mut official = official(&server).await;
    let (_, day) = official.get("/desk/v1/appointments").await;
    let card = &day["appointments"][0];
    let id = card["id"].as_str().unwrap().to_owned();
    let person = card["people"][0]["id"].as_str().unwrap().to_owned();
    let decide = |what: &str| format!("/desk/v1/appointments/{id}/people/{person}/{what}");
    assert_eq!(official.post(&decide("admit"), json!({})).await.0, 200);
    let (status, seat) = citizen.post("/desk/v1/me/seat", json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(seat["url"], format!("ws://localhost:{}", server.port));
    let token = seat["token"].as_str().unwrap().to_owned();
    let (mut socket, join) = server.join_with(&token).await.unwrap();
    assert_eq!(join.participant.unwrap().identity, person);
    assert_eq!(join.room.unwrap().name, id);

    assert_eq!(official.post(&decide("hold"), json!({})).await.0, 200);
    let leave = |message| {
        matches!(
            message,
            livekit_protocol::signal_response::Message::Leave(_)
        )
        .then_some(())
    };
    socket.until(leave).await;
    assert_eq!(server.join_with(&token).await.err().unwrap().0, 401);
    assert_eq!(citizen.post("/desk/v1/me/seat", json!({})).await.0, 409);
    server
        .until_metric("schalter_desk_people_waiting", 1.0)
        .await;

    // Admitted again, with the same identity, at once.
    assert_eq!(official.post(&decide("admit"), json!({})).await.0, 200);
    let (_, seat) = citizen.post("/desk/v1/me/seat", json!({})).await;
    let again = seat["token"].as_str().unwrap().to_owned();
    let (mut socket, _) = server.join_with(&again).await.unwrap();
    server
        .until_metric("schalter_desk_appointments_running", 1.0)
        .await;
    server
        .until_metric("schalter_desk_admissions_total", 2.0)
        .await;

    let end = format!("/desk/v1/appointments/{id}/end");
    assert_eq!(official.post(&end, json!({"outcome": "done"})).await.0, 200);
    socket.until(leave).await;
    // The room would be made anew by whoever still could.
    assert_eq!(server.join_with(&again).await.err().unwrap().0, 401);
    server
        .until_metric("schalter_desk_people_waiting", 0.0)
        .await;
    let log = server.log();
    for secret in [&link, &token, "Erika", "Dilek", "127.0.0.1"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn who_is_held_leaves_also_while_no_more_tokens_can_be_withdrawn() {
    let mut server = Server::start("desk-owed", "desk: demo\nlimits: {revocations: 1}\n");
    let printed = server.until_printed("made up");
    let link = printed.split("/termin#").nth(1).unwrap();
    let link = link.split_whitespace().next().unwrap().to_owned();
    let mut citizen = Browser::new(&server);
    wait(&mut citizen, &link).await;
    let mut official = official(&server).await;
    let (_, day) = official.get("/desk/v1/appointments").await;
    let card = &day["appointments"][0];
    let (id, person) = (&card["id"], &card["people"][0]["id"]);
    let people = format!("/desk/v1/appointments/{}/people", id.as_str().unwrap());
    let decide = |what: &str| format!("{people}/{}/{what}", person.as_str().unwrap());
    let leave = |message| {
        matches!(
            message,
            livekit_protocol::signal_response::Message::Leave(_)
        )
        .then_some(())
    };
    let mut tokens = Vec::new();
    // The first fills what may be remembered.
    for status in [200, 503] {
        assert_eq!(official.post(&decide("admit"), json!({})).await.0, 200);
        let (_, seat) = citizen.post("/desk/v1/me/seat", json!({})).await;
        let token = seat["token"].as_str().unwrap().to_owned();
        let (mut socket, _) = server.join_with(&token).await.unwrap();
        assert_eq!(official.post(&decide("hold"), json!({})).await.0, status);
        socket.until(leave).await;
        tokens.push(token);
    }
    server
        .until_metric("schalter_desk_dismissals_owed", 1.0)
        .await;
    assert_eq!(server.join_with(&tokens[0]).await.err().unwrap().0, 401);
    // It could not be withdrawn; whoever comes by it is sent away again.
    let (mut socket, _) = server.join_with(&tokens[1]).await.unwrap();
    socket.until(leave).await;
    assert_eq!(citizen.post("/desk/v1/me/seat", json!({})).await.0, 409);
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn pages_of_other_sites_and_names_are_refused() {
    let server = Server::start("desk-origin", "desk: demo\n");
    let mut browser = Browser::new(&server);
    let body = r#"{"authority": "demo", "official": "dilek"}"#;
    let port = server.port;
    for origin in [
        None,
        Some("null".to_owned()),
        Some("https://evil.example".to_owned()),
        Some(format!("http://evil.example:{port}")),
        Some(format!("https://localhost:{port}")),
    ] {
        let path = "/desk/v1/login/demo";
        let (status, _) = browser.send("POST", path, origin.as_deref(), body).await;
        assert_eq!(status, 403, "{origin:?}");
        assert!(browser.cookies.is_empty());
    }
    assert_eq!(browser.get("/desk/v1/official").await.0, 401);
}

/// Without API keys, too: links of the development key would lead past the waiting room.
#[test]
fn a_server_with_offices_prints_where_officials_log_in_and_no_token() {
    let office = "{id: ulm, name: Amt, officials: {demo: [{id: kim, name: Kim}]}}";
    let more = format!("keys: {{}}\ndesk: {{authorities: [{office}]}}\n");
    let mut server = Server::start("desk-greets", &more);
    let address = format!("http://localhost:{}/amt", server.port);
    assert_eq!(
        server.until_printed("/amt"),
        format!("Officials log in at {address}\n")
    );
    assert_eq!(server.stop_and_read(), "");
}

#[tokio::test]
async fn a_server_without_a_desk_has_none() {
    let server = Server::start("desk-none", "");
    assert_eq!(server.get("/desk/v1/office").await.0, 404);
    let (_, _, metrics) = server.admin("GET /metrics").await;
    assert!(!metrics.contains("schalter_desk_"));
}

#[test]
fn local_officials_are_refused_on_a_public_address_and_with_lan() {
    for (name, arguments, more, words) in [
        (
            "desk-public",
            &[][..],
            "bind_addresses: ['0.0.0.0']\ndesk: demo\n",
            "loopback",
        ),
        ("desk-lan", &["--lan"][..], "desk: demo\n", "--lan"),
    ] {
        let folder = folder(name);
        let config = write_config(&folder, more);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_schalter"))
            .arg("serve")
            .arg("--config")
            .arg(config)
            .args(arguments)
            .output()
            .unwrap();
        let _ = std::fs::remove_dir_all(&folder);
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_case_system_makes_an_appointment_with_its_key_and_its_official_comes_by_a_signed_link() {
    let folder = folder("desk-v1");
    let secret = "0123456789abcdef0123456789abcdef0123456789";
    let file = folder.join("key");
    std::fs::write(&file, secret).unwrap();
    let file = file.display();
    let office = |id: &str| {
        format!(
            "{{id: {id}, name: Amt, keys: [{{id: case, secret_file: {file}, scopes: [\"appointments:write\"]}}], \
             officials: {{link_keys: [{{id: {id}, secret_file: {file}}}]}}}}"
        )
    };
    let database = folder.join("desk.db");
    let more = format!(
        "desk: {{database: {}, authorities: [{}]}}\n",
        database.display(),
        office("ulm")
    );
    let mut server = Server::start_in(&folder, &[], &more);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let link = json!({"sub": "u1", "name": "Kim", "aud": "ulm", "jti": "0123456789abcdef", "iat": now, "exp": now + 60});
    let token = sign(secret, "ulm", &link);
    let mut official = Browser::new(&server);
    let (status, who) = official
        .post("/desk/v1/login/link", json!({"token": token}))
        .await;
    assert_eq!(status, 200, "{who}");
    // The same time of day an hour further west is an hour later.
    let starts_at = who["server_time"].as_str().unwrap();
    let ends_at = starts_at.replace('Z', "-01:00");
    let body = json!({
        "subject": "Wohngeld", "starts_at": starts_at, "ends_at": ends_at,
        "people": [{"role": "citizen", "name": "Erika Beispiel"}]
    });
    let create = async |server: &Server, key: &str| {
        let body = body.to_string();
        let request = format!(
            "POST /v1/appointments HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, body) = server.exchange(&request).await;
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    assert_eq!(create(&server, "x").await.0, 401);
    let (status, made) = create(&server, secret).await;
    assert_eq!(status, 201, "{made}");
    let url = made["people"][0]["join_url"].as_str().unwrap();
    assert!(url.starts_with(&format!("http://localhost:{}/termin#", server.port)));

    let (_, day) = official.get("/desk/v1/appointments").await;
    assert_eq!(day["appointments"][0]["id"], made["id"]);
    assert!(database.exists());
    assert_eq!(server.stop(), Some(0));
}

/// A JSON Web Token, HS256.
fn sign(secret: &str, kid: &str, claims: &Value) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": kid});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}
