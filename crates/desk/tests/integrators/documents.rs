//! Records as documents: what is in them, in which language, and that nothing of them runs.

use schalter_desk::domain::OutcomeCode;
use schalter_model::AuthorityId;
use serde_json::{Value, json};

use crate::api::plan;
use crate::life::{arrive, person, token};
use crate::office::{OTHER_KEY, Office};

const HTML: (&str, &str) = ("accept", "text/html");
/// As browsers ask for a page.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const HOSTILE: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>";

/// An appointment with these words, after a call of a bit more than ten minutes; its path.
pub(crate) async fn ended(office: &Office, plan: Value) -> String {
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan))
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = made.header("location").to_owned();
    let id = made.json["id"].as_str().unwrap().parse().unwrap();
    let citizen = person(&made, 0);
    arrive(office, &token(&made, 0)).await;
    let official = office.official();
    office.desk.admit(&official, &id, &citizen).await.unwrap();
    let own = AuthorityId::new("own").unwrap();
    let presence = async |came| {
        let told = office
            .desk
            .on_presence(&own, id.as_str(), citizen.as_str(), came);
        told.await.unwrap();
    };
    presence(true).await;
    office.pass(605);
    presence(false).await;
    let done = OutcomeCode::new("done").unwrap();
    office.desk.end(&official, &id, done).await.unwrap();
    path
}

#[tokio::test]
async fn the_record_of_what_is_over_is_given_as_a_document_or_as_json() {
    let office = Office::open();
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan()))
        .await;
    let early = format!("{}/record", made.header("location"));
    let answer = office.call("GET", &early, &[HTML], None).await;
    assert_eq!(answer.problem(), (409, "not-over".into()));

    let mut second = plan();
    second["external_ref"] = json!("case-2");
    let path = format!("{}/record", ended(&office, second).await);
    let page = office
        .call("GET", &path, &[("accept", BROWSER)], None)
        .await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("vary"), "accept");
    for part in [
        "<html lang=\"de\">",
        "<h1>Protokoll der Videoberatung</h1>",
        "<caption>Verlauf</caption>",
        "<th scope=\"col\">Zeit</th>",
        "<th scope=\"row\">Dauer des Gesprächs</th><td>10 Minuten 5 Sekunden</td>",
        "<td>erledigt (<code>done</code>)</td>",
        "<bdi>Zaphod Musterfrau</bdi></th><td>Bürgerin oder Bürger</td>",
        "<bdi>Behörde o1</bdi>",
        "<bdi>case-2</bdi>",
        // In the office's zone, and for machines in UTC.
        "<time datetime=\"2026-11-28T09:00:00.000Z\">28.11.2026, 10:00:00 (UTC+01:00)</time>",
        "@media print",
    ] {
        assert!(page.text.contains(part), "{part}\n{}", page.text);
    }
    let authority = AuthorityId::new("own").unwrap();
    let notice = office.desk.authority(&authority).unwrap().notice.hash();
    let agreed = format!(
        "<bdi>Hinweis</bdi></td><td><code>{}</code>",
        String::from(notice)
    );
    assert!(page.text.contains(&agreed), "{}", page.text);

    let json = office.call("GET", &path, &[], None).await;
    assert_eq!(json.header("content-type"), "application/json");
    assert_eq!(json.json["call"]["seconds"], 605);
    let all = office.call("GET", "/v1/records/case-2", &[], None).await;
    assert_eq!(all.json["records"][0], json.json);
    let all = office
        .call("GET", "/v1/records/case-2", &[HTML], None)
        .await;
    assert!(all.text.contains("Zaphod Musterfrau"));

    let other = format!("Bearer {OTHER_KEY}");
    let theirs = [("authorization", other.as_str()), HTML];
    let answer = office.call("GET", &path, &theirs, None).await;
    assert_eq!(answer.problem(), (404, "no-appointment".into()));
}

#[tokio::test]
async fn nothing_that_somebody_wrote_runs_in_a_document() {
    let office = Office::open();
    let mut plan = plan();
    plan["subject"] = json!(HOSTILE);
    plan["external_ref"] = json!("</td><script>alert(3)</script>");
    plan["people"][0]["name"] = json!(HOSTILE);
    plan["people"][1]["name"] = json!("</title></style><script>alert(4)</script>");
    let path = format!("{}/record", ended(&office, plan).await);
    let page = office.call("GET", &path, &[HTML], None).await;
    assert!(page.text.contains("&lt;script&gt;alert(1)"));
    assert!(page.text.contains("&lt;/title&gt;&lt;/style&gt;"));
    let lower = page.text.to_ascii_lowercase();
    assert!(!lower.contains("<script") && !lower.contains("<img"));
    // One of each of ours, and none of theirs.
    for tag in ["<style>", "</style>", "</title>"] {
        assert_eq!(lower.matches(tag).count(), 1, "{tag}");
    }
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "style-src 'sha256-",
        "frame-ancestors 'none'",
        "sandbox",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"));
}
