//! Offices come and go by a reload, with everything that makes an office: pages, keys, officials, rooms, receivers.

use std::net::TcpListener;
use std::path::Path;

use livekit_protocol::signal_response::Message;
use serde_json::{Value, json};

use crate::desk::{Browser, wait};
use crate::desk_webhooks::{create, receiver, v1};
use crate::reload::until_logged;
use crate::server::{PATIENCE, Scratch, Server, write_config};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

fn key(office: &str) -> String {
    format!("{office}-0123456789abcdef0123456789abcdef")
}

/// A desk with these offices. Each has an official, a case system, and a receiver on this port.
fn desk(files: &Path, port: u16, offices: &[&str]) -> String {
    let file = |name: &str, text: &str| {
        let path = files.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let secret = file("secret", SECRET);
    let database = files.join("desk.db");
    let mut text = format!(
        "desk:\n  database: {}\n  authorities:\n",
        database.display()
    );
    for office in offices {
        let key = file(office, &key(office));
        text += &format!(
            "    - {{id: {office}, name: Amt {office}, officials: {{demo: [{{id: kim, name: Kim Amt}}]}}, \
             keys: [{{id: case, secret_file: {key}, scopes: ['appointments:write', 'events:read']}}]}}\n"
        );
    }
    text += "  webhooks:\n";
    for office in offices {
        text += &format!(
            "    - {{url: 'http://127.0.0.1:{port}/{office}', allow_private: ['127.0.0.1'], secret_files: [{secret}], authority: {office}}}\n"
        );
    }
    text
}

async fn reload(server: &Server, config: &str) {
    write_config(&server.folder, config);
    let (status, _, body) = server.admin("POST /v1/reload").await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &told["desk"], &told["needs_restart"]),
        (200, &json!(true), &json!([])),
        "{told}"
    );
}

async fn official<'s>(server: &'s Server, office: &str) -> Browser<'s> {
    let mut browser = Browser::new(server);
    let body = json!({"authority": office, "official": "kim"});
    let (status, problem) = browser.post("/desk/v1/login/demo", body).await;
    assert_eq!(status, 200, "{problem}");
    browser
}

/// Of whose appointments somebody is told.
async fn told(server: &Server) -> Vec<String> {
    let (_, _, body) = server.admin("GET /v1/desk/webhooks").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let receivers = body["receivers"].as_array().unwrap().iter();
    receivers
        .map(|one| one["authority"].as_str().unwrap().to_owned())
        .collect()
}

/// With keys of the file, and with the development key, which a reload leaves.
#[tokio::test]
async fn an_office_comes_goes_and_comes_back() {
    for (name, keys) in [("offices", ""), ("offices-development", "keys: {}\n")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = receiver(listener, 0);
        let files = Scratch::new(&format!("{name}-files"));
        let with = |offices: &[&str]| format!("{}{keys}", desk(&files, port, offices));
        let server = Server::start(name, &with(&["ulm"]));
        let mut ulm = official(&server, "ulm").await;
        let (status, _) = ulm.get("/desk/v1/office?authority=bonn").await;
        assert_eq!(status, 404);

        // It comes, and all of it works: key, link, waiting room, official, room, receiver.
        reload(&server, &with(&["ulm", "bonn"])).await;
        until_logged(&server, "other receivers from now on receivers=2").await;
        assert_eq!(told(&server).await, ["ulm", "bonn"]);
        // The receiver that is new has found out where the log ends.
        let begun = create(&server, &key("bonn")).await;
        assert_eq!(
            got.recv_timeout(PATIENCE).unwrap().json()["data"]["appointment"],
            begun["id"]
        );
        let mut bonn = official(&server, "bonn").await;
        let now = bonn.get("/desk/v1/official").await.1["server_time"].clone();
        let ends = now.as_str().unwrap().replace('Z', "-01:00");
        let plan = json!({"subject": "Wohngeld", "starts_at": now, "ends_at": ends, "people": [{"role": "citizen", "name": "Erika"}]});
        let (status, made) = v1(
            &server,
            "POST /v1/appointments",
            &key("bonn"),
            &plan.to_string(),
        )
        .await;
        assert_eq!(status, 201, "{made}");
        let link = made["people"][0]["join_url"].as_str().unwrap();
        let link = link.split('#').nth(1).unwrap();
        let mut citizen = Browser::new(&server);
        wait(&mut citizen, link).await;
        let text = |part: &Value| part.as_str().unwrap().to_owned();
        let admit = format!(
            "/desk/v1/appointments/{}/people/{}/admit",
            text(&made["id"]),
            text(&made["people"][0]["id"])
        );
        assert_eq!(bonn.post(&admit, json!({})).await.0, 200);
        let (_, seat) = citizen.post("/desk/v1/me/seat", json!({})).await;
        let token = text(&seat["token"]);
        let (mut socket, _) = server.join_with(&token).await.unwrap();
        server
            .until_metric("schalter_desk_admissions_total", 1.0)
            .await;

        // It goes: its call ends, and nothing of it opens. The other one notices nothing.
        reload(&server, &with(&["ulm"])).await;
        let leave = |message| matches!(message, Message::Leave(_)).then_some(());
        socket.until(leave).await;
        assert_eq!(server.join_with(&token).await.err().unwrap().0, 401);
        let gone = "no-authority";
        let ends = |problem: &Value| text(&problem["type"]).ends_with(gone);
        let (status, problem) = citizen.get("/desk/v1/me").await;
        assert!(status == 404 && ends(&problem), "{problem}");
        let open = json!({"token": link});
        let (status, problem) = Browser::new(&server)
            .post("/desk/v1/links/open", open)
            .await;
        assert!(status == 404 && ends(&problem), "{problem}");
        assert_eq!(bonn.get("/desk/v1/official").await.0, 401);
        assert_eq!(v1(&server, "GET /v1/events", &key("bonn"), "").await.0, 401);
        until_logged(&server, "other receivers from now on receivers=1").await;
        assert_eq!(told(&server).await, ["ulm"]);
        assert_eq!(ulm.get("/desk/v1/official").await.0, 200);

        // It comes back with what was: who was admitted sits down again, and the receiver goes on where it was.
        reload(&server, &with(&["ulm", "bonn"])).await;
        assert_eq!(citizen.get("/desk/v1/me").await.0, 200);
        assert_eq!(
            server.join_with(&token).await.err().unwrap().0,
            401,
            "of another key"
        );
        let (status, seat) = citizen.post("/desk/v1/me/seat", json!({})).await;
        assert_eq!(status, 200, "{seat}");
        server.join_with(&text(&seat["token"])).await.unwrap();
        let mut bonn = official(&server, "bonn").await;
        let end = format!("/desk/v1/appointments/{}/end", text(&made["id"]));
        assert_eq!(bonn.post(&end, json!({"outcome": "done"})).await.0, 200);
        let last = std::iter::repeat_with(|| got.recv_timeout(PATIENCE).unwrap().json());
        for (seq, event) in (2..).zip(last) {
            assert_eq!(event["seq"], seq, "in order, and nothing twice");
            if event["type"] == "appointment.ended" {
                break;
            }
        }
        let log = server.log();
        assert!(!log.contains("Erika"), "{log}");
    }
}

#[tokio::test]
async fn a_made_up_office_does_not_become_others_by_a_reload() {
    let files = Scratch::new("offices-demo-files");
    let server = Server::start("offices-demo", "desk: demo\n");
    write_config(&server.folder, &desk(&files, 9, &["ulm"]));
    let (_, _, body) = server.admin("POST /v1/reload").await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&told["desk"], &told["needs_restart"]),
        (&json!(false), &json!(["desk"]))
    );
    let mut browser = Browser::new(&server);
    let (_, office) = browser.get("/desk/v1/office").await;
    assert_eq!(office["id"], "demo");
}
