//! A record as a document: HTML that stands by itself, to be read, printed, and kept in a file.
//!
//! Owns how a record reads to people. Everything that somebody wrote is escaped, and nothing in the document runs: its policy allows its own
//! style by its digest and nothing else. Made to WCAG 2.1: a language, headings, tables with captions and headers.

mod texts;

use std::fmt::{self, Display, Write};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Record;
use crate::domain::{Authority, Event, Needs, Person, PersonId, TimeZone, Timestamp};
use texts::Texts;

const STYLE: &str = include_str!("style.css");

/// Whether a document is asked for rather than JSON (RFC 9110 §12.5.1): where both are as welcome, it is JSON.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let ranges: Vec<(String, f32)> = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(range)
        .collect();
    let quality = |kinds: [&str; 3]| {
        let of = |kind: &str| ranges.iter().find(|(name, _)| name == kind);
        kinds.into_iter().find_map(of).map_or(0.0, |(_, q)| *q)
    };
    let json = quality(["application/json", "application/*", "*/*"]);
    quality(["text/html", "text/*", "*/*"]) > json
}

/// A media range and its weight.
fn range(text: &str) -> (String, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let weight = weight.map_or(Some(1.0), |q| q.parse().ok());
    (
        name,
        weight.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
    )
}

/// The answer with these records.
pub(super) fn answer(records: &[Record], authority: &Authority, now: Timestamp) -> Response {
    let html = write(records, authority, now);
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
    );
    let mut response = html.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_str(&policy).expect("base64 is visible ASCII");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// What somebody wrote, as text between tags or in a quoted attribute.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A piece of markup: what is not ours in it was escaped.
struct Markup(String);

impl Markup {
    fn text(text: &str) -> Self {
        Self(Text(text).to_string())
    }

    /// Set apart, so that the direction of somebody's name turns nothing around it.
    fn apart(text: &str) -> Self {
        Self(format!("<bdi>{}</bdi>", Text(text)))
    }

    fn code(text: &str) -> Self {
        Self(format!("<code>{}</code>", Text(text)))
    }
}

fn write(records: &[Record], authority: &Authority, now: Timestamp) -> String {
    let texts = Texts::of(&authority.languages);
    let page = Page {
        texts,
        authority,
        now,
    };
    let mut html = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{}</h1>\n",
        Text(&texts.language),
        Text(&texts.title),
        Text(&texts.title),
    );
    for record in records {
        page.record(&mut html, record);
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// What all parts of a document need.
struct Page<'a> {
    texts: &'a Texts,
    authority: &'a Authority,
    now: Timestamp,
}

impl Page<'_> {
    fn record(&self, html: &mut String, record: &Record) {
        let texts = self.texts;
        html.push_str("<section>\n");
        push(html, &format!("<h2>{}</h2>\n", Text(&texts.appointment)));
        self.facts(html, record);
        push(html, &format!("<h2>{}</h2>\n", Text(&texts.people)));
        self.people(html, record);
        push(html, &format!("<h2>{}</h2>\n", Text(&texts.agreements)));
        self.agreements(html, record);
        push(html, &format!("<h2>{}</h2>\n", Text(&texts.history)));
        self.history(html, record);
        self.proof(html, record);
        html.push_str("</section>\n");
    }

    fn at(&self, at: Timestamp) -> Markup {
        time(&self.authority.time_zone, at, &self.texts.time)
    }

    fn maybe_at(&self, at: Option<Timestamp>) -> Markup {
        at.map_or_else(|| Markup::text(&self.texts.none), |at| self.at(at))
    }

    fn facts(&self, html: &mut String, record: &Record) {
        let (texts, one) = (self.texts, &record.appointment);
        let none = || texts.none.as_str();
        let call = record.call();
        let length = match call.map(|call| call.seconds()) {
            None => Markup::text(&texts.no_call),
            Some(None) => Markup::text(none()),
            Some(Some(seconds)) => Markup::text(
                &texts
                    .minutes_seconds
                    .replace("{minutes}", &(seconds / 60).to_string())
                    .replace("{seconds}", &(seconds % 60).to_string()),
            ),
        };
        let reference = one.external_ref.as_ref();
        let outcome = one.outcome.as_ref().map(|code| code.as_str());
        let rows = [
            (&texts.office, Markup::apart(&self.authority.name)),
            (&texts.id, Markup::code(one.id.as_str())),
            (
                &texts.external_ref,
                reference.map_or_else(|| Markup::text(none()), |own| Markup::apart(own.as_str())),
            ),
            (&texts.subject, Markup::apart(one.subject.as_str())),
            (&texts.starts_at, self.at(one.when.starts_at)),
            (&texts.ends_at, self.at(one.when.ends_at)),
            (&texts.created_at, self.at(one.created_at)),
            (&texts.over_at, self.maybe_at(one.over_at)),
            (&texts.state, Markup::text(texts.state_of(one.state))),
            (
                &texts.outcome,
                outcome.map_or_else(|| Markup::text(none()), |code| self.outcome(code)),
            ),
            (
                &texts.call_began,
                self.maybe_at(call.map(|call| call.began_at)),
            ),
            (
                &texts.call_ended,
                self.maybe_at(call.and_then(|call| call.ended_at)),
            ),
            (&texts.call_length, length),
            (&texts.version, Markup::text(&one.version.to_string())),
            (&texts.printed_at, self.at(self.now)),
        ];
        table_head(html, &texts.appointment, &[&texts.what, &texts.value]);
        for (name, value) in rows {
            row(html, &Markup::text(name), &[value]);
        }
        table_end(html);
    }

    /// The code, which systems go by, and the word for it.
    fn outcome(&self, code: &str) -> Markup {
        let word = self.texts.outcome_of(code);
        if word == code {
            return Markup::code(code);
        }
        Markup(format!("{} (<code>{}</code>)", Text(word), Text(code)))
    }

    fn people(&self, html: &mut String, record: &Record) {
        let texts = self.texts;
        let heads = [&texts.name, &texts.role, &texts.linked_to, &texts.needs];
        table_head(html, &texts.people, &heads.map(String::as_str));
        for one in &record.appointment.people {
            let partner = one.linked_to.as_ref();
            let cells = [
                Markup::text(texts.role(one.role)),
                partner.map_or_else(
                    || Markup::text(&texts.none),
                    |partner| self.person(record, partner),
                ),
                self.needs(one.needs),
            ];
            row(html, &Markup::apart(one.name.as_str()), &cells);
        }
        table_end(html);
    }

    fn needs(&self, needs: Needs) -> Markup {
        let (words, none) = (&self.texts.need, &self.texts.none);
        let Needs {
            signing,
            live_text,
            interpreter,
            companion,
        } = needs;
        let all = [
            (signing, &words.signing),
            (live_text, &words.live_text),
            (interpreter, &words.interpreter),
            (companion, &words.companion),
        ];
        let had: Vec<&str> = all
            .iter()
            .filter_map(|(has, word)| has.then_some(word.as_str()))
            .collect();
        if had.is_empty() {
            Markup::text(none)
        } else {
            Markup::text(&had.join(", "))
        }
    }

    /// Somebody by id: role and name of who is still in it, or that they were.
    fn person(&self, record: &Record, id: &PersonId) -> Markup {
        let people = &record.appointment.people;
        match people.iter().find(|one| one.id == *id) {
            Some(one) => self.named(one),
            None => Markup::text(&self.texts.former_person.replace("{id}", id.as_str())),
        }
    }

    fn named(&self, one: &Person) -> Markup {
        let name = Markup::apart(one.name.as_str()).0;
        Markup(format!("{name} ({})", Text(self.texts.role(one.role))))
    }

    fn agreements(&self, html: &mut String, record: &Record) {
        let texts = self.texts;
        let heads = [&texts.name, &texts.time_column, &texts.notice, &texts.hash];
        table_head(html, &texts.agreements, &heads.map(String::as_str));
        let mut anybody = false;
        for one in &record.appointment.people {
            let Some(agreed) = one.agreed else { continue };
            anybody = true;
            let title = self.authority.notice_with(&agreed.notice);
            let title = title.map_or(&texts.former_notice, |notice| &notice.title);
            let cells = [
                self.at(agreed.at),
                Markup::apart(title),
                Markup::code(&String::from(agreed.notice)),
            ];
            row(html, &self.named(one), &cells);
        }
        if !anybody {
            let empty = || Markup::text(&texts.none);
            row(
                html,
                &Markup::text(&texts.nobody),
                &[empty(), empty(), empty()],
            );
        }
        table_end(html);
    }

    fn history(&self, html: &mut String, record: &Record) {
        let texts = self.texts;
        let heads = [&texts.time_column, &texts.event, &texts.name, &texts.by];
        table_head(html, &texts.history, &heads.map(String::as_str));
        for event in &record.events {
            let whom = event.fact.person.as_ref();
            let cells = [
                self.what(event),
                whom.map_or_else(|| Markup::text(&texts.none), |id| self.person(record, id)),
                self.by(record, &event.by),
            ];
            row(html, &self.at(event.at), &cells);
        }
        table_end(html);
    }

    /// Under which log it stands, and which events that proves.
    fn proof(&self, html: &mut String, record: &Record) {
        let texts = self.texts;
        let proof = record.proof.as_ref();
        let newest = proof.and_then(|proof| Some((proof, proof.newest.as_ref()?)));
        let Some((proof, checkpoint)) = newest else {
            push(html, &format!("<p>{}</p>\n", Text(&texts.not_logged)));
            return;
        };
        let root = STANDARD.encode(checkpoint.root);
        let line = Markup::text(&texts.logged)
            .0
            .replace("{proven}", &proof.places.len().to_string())
            .replace("{events}", &record.events.len().to_string())
            .replace("{log}", &Markup::code(&checkpoint.origin).0)
            .replace("{size}", &checkpoint.size.to_string())
            .replace("{root}", &Markup::code(&root).0);
        push(html, &format!("<p>{line}</p>\n"));
    }

    fn what(&self, event: &Event) -> Markup {
        let mut what = Markup::text(self.texts.event_of(event.fact.kind)).0;
        if let Some(code) = &event.fact.outcome {
            push(&mut what, &format!(": {}", self.outcome(code.as_str()).0));
        }
        if let Some(notice) = event.fact.notice {
            push(
                &mut what,
                &format!(": {}", Markup::code(&String::from(notice)).0),
            );
        }
        Markup(what)
    }

    fn by(&self, record: &Record, by: &str) -> Markup {
        let texts = self.texts;
        match by.split_once(':') {
            Some(("official", id)) => Markup::apart(&texts.official.replace("{id}", id)),
            Some(("integrator", id)) => Markup::apart(&texts.integrator.replace("{id}", id)),
            Some(("person", id)) => match id.parse() {
                Ok(id) => self.person(record, &id),
                Err(_) => Markup::apart(id),
            },
            Some(_) | None if by == "system" => Markup::text(&texts.system),
            Some(_) | None => Markup::apart(by),
        }
    }
}

fn time(zone: &TimeZone, at: Timestamp, format: &str) -> Markup {
    let written = zone.written(at, format);
    Markup(format!("<time datetime=\"{at}\">{}</time>", Text(&written)))
}

fn push(html: &mut String, more: &str) {
    html.push_str(more);
}

fn table_head(html: &mut String, caption: &str, heads: &[&str]) {
    // On a narrow screen the table scrolls by itself, also by keyboard.
    push(
        html,
        &format!(
            "<div class=\"wide\" role=\"region\" aria-label=\"{0}\" tabindex=\"0\"><table>\n<caption>{0}</caption>\n<thead><tr>",
            Text(caption)
        ),
    );
    for head in heads {
        push(html, &format!("<th scope=\"col\">{}</th>", Text(head)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
}

fn row(html: &mut String, head: &Markup, cells: &[Markup]) {
    push(html, &format!("<tr><th scope=\"row\">{}</th>", head.0));
    for cell in cells {
        push(html, &format!("<td>{}</td>", cell.0));
    }
    html.push_str("</tr>\n");
}

fn table_end(html: &mut String) {
    html.push_str("</tbody>\n</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for one in accept {
            headers.append(header::ACCEPT, HeaderValue::from_str(one).unwrap());
        }
        is_wanted(&headers)
    }

    #[test]
    fn a_document_is_for_who_prefers_it() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for accept in [
            &[browser][..],
            &["text/html"],
            &["TEXT/HTML; q=0.2"],
            &["application/json;q=0.5", "text/*"],
            &["text/html, application/json;q=0"],
        ] {
            assert!(wanted(accept), "{accept:?}");
        }
        for accept in [
            &[][..],
            &["*/*"],
            &["application/json"],
            &["application/json, text/html"],
            &["text/html;q=0.5, application/json"],
            &["text/html;q=0"],
            &["text/html;q=7"],
            &["text/html;q=, */*"],
            &["image/png"],
        ] {
            assert!(!wanted(accept), "{accept:?}");
        }
    }

    #[test]
    fn what_somebody_wrote_is_text_wherever_it_stands() {
        let hostile = "<script>'\"&";
        assert_eq!(Text(hostile).to_string(), "&lt;script&gt;&#39;&quot;&amp;");
        assert_eq!(Markup::apart("</bdi>").0, "<bdi>&lt;/bdi&gt;</bdi>");
    }
}
