//! `desk.authorities[]`: one office, with everything that is its own.

use std::collections::BTreeMap;

use schalter_desk::domain::{
    Authority, EndToEnd, Help, Links, MAX_MARGIN_S, MAX_OUTCOMES, Notice, NoticeKind, OutcomeCode,
    TimeZone,
};
use schalter_desk::http::pages::{Feature, Logo, OfficePages};
use schalter_desk::login::Logins;
use schalter_model::AuthorityId;

use super::{bounded, files, officials, required};
use crate::config::document::{Complaint, Value};
use crate::config::read::origin;

/// Longest that records are kept, in days: ten years.
const MOST_RETENTION_DAYS: i64 = 3_660;
/// Days that records are kept unless the file says otherwise.
const RETENTION_DAYS: u32 = 30;
/// Characters of an office's name, a help line and the like.
const MAX_LINE: usize = 200;
/// Sites that may show the pages in a frame.
const MOST_ANCESTORS: usize = 20;
/// Languages that the pages have texts in.
const LANGUAGES: [&str; 3] = ["de", "en", "de-leicht"];
/// Least contrast of text (WCAG 2.2, 1.4.3).
const CONTRAST: f64 = 4.5;

/// One office.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Office {
    pub(crate) id: AuthorityId,
    pub(crate) name: String,
    pub(crate) time_zone: TimeZone,
    pub(crate) help: Help,
    pub(crate) retention_days: u32,
    pub(crate) opens_before_s: u64,
    pub(crate) closes_after_s: u64,
    pub(crate) notice: Notice,
    pub(crate) notices: BTreeMap<String, Notice>,
    pub(crate) outcomes: Vec<OutcomeCode>,
    pub(crate) languages: Vec<String>,
    pub(crate) links: Links,
    pub(crate) colours: BTreeMap<String, String>,
    pub(crate) end_to_end: EndToEnd,
    /// How its officials log in.
    pub(crate) logins: Logins,
    /// What its case systems may do.
    pub(crate) keys: Vec<super::keys::Key>,
    /// What its pages have of their own.
    pub(crate) pages: OfficePages,
}

impl Office {
    /// An office with its name and nothing else.
    pub(crate) fn new(id: AuthorityId, name: &str, time_zone: TimeZone) -> Self {
        Self {
            id,
            name: name.to_owned(),
            time_zone,
            help: Help::default(),
            retention_days: RETENTION_DAYS,
            opens_before_s: Authority::OPENS_BEFORE_S,
            closes_after_s: Authority::CLOSES_AFTER_S,
            notice: default_notice(),
            notices: BTreeMap::new(),
            outcomes: Authority::default_outcomes(),
            languages: LANGUAGES.map(str::to_owned).to_vec(),
            links: Links::default(),
            colours: BTreeMap::new(),
            end_to_end: EndToEnd::default(),
            logins: Logins::default(),
            keys: Vec::new(),
            pages: OfficePages::default(),
        }
    }

    /// What the domain asks for.
    pub(crate) fn authority(&self) -> Authority {
        Authority {
            id: self.id.clone(),
            name: self.name.clone(),
            time_zone: self.time_zone.clone(),
            help: self.help.clone(),
            retention_days: self.retention_days,
            opens_before_s: self.opens_before_s,
            closes_after_s: self.closes_after_s,
            notice: self.notice.clone(),
            notices: self.notices.clone(),
            outcomes: self.outcomes.clone(),
            languages: self.languages.clone(),
            links: self.links.clone(),
            colours: self.colours.clone(),
            end_to_end: self.end_to_end,
        }
    }
}

/// What is shown where an office brought no text of its own.
fn default_notice() -> Notice {
    notice_of(NoticeKind::Notice, include_str!("notice.de.txt"))
        .expect("the file beside has a heading and a text; a test reads it")
}

pub(super) fn read(value: &Value<'_>) -> Result<Office, Complaint> {
    let mut group = value.group()?;
    let id = required(value, &mut group, "id")?;
    let id = AuthorityId::new(id.text()?).or_else(|error| id.complain(error.to_string()))?;
    let name = line(&required(value, &mut group, "name")?)?;
    let zone = match group.value("time_zone") {
        Some(zone) => zone.read("an IANA time zone such as Europe/Berlin", |text| {
            TimeZone::new(text).ok()
        })?,
        None => {
            TimeZone::new("Europe/Berlin").or_else(|error| value.complain(error.to_string()))?
        }
    };
    let mut office = Office::new(id, &name, zone);
    group.take("help", &mut office.help, help)?;
    group.take("retention_days", &mut office.retention_days, |v| {
        v.number(0..=MOST_RETENTION_DAYS)
    })?;
    let margin = i64::try_from(MAX_MARGIN_S).unwrap_or(i64::MAX);
    group.take("opens_before_s", &mut office.opens_before_s, |v| {
        v.number(0..=margin)
    })?;
    group.take("closes_after_s", &mut office.closes_after_s, |v| {
        v.number(0..=margin)
    })?;
    let mut notice = None;
    group.take("notice", &mut notice, |v| notices(v).map(Some))?;
    group.take("outcomes", &mut office.outcomes, outcomes)?;
    group.take("languages", &mut office.languages, languages)?;
    match notice {
        Some(Notices::One(one)) => office.notice = one,
        Some(Notices::ByLanguage(each)) => {
            // Who reads a language without a file is shown the first language's that has one.
            let first = office.languages.iter().find_map(|tag| each.get(tag));
            if let Some(first) = first.or_else(|| each.values().next()) {
                office.notice = first.clone();
            }
            office.notices = each;
        }
        None => {}
    }
    group.take("links", &mut office.links, links)?;
    group.take("colours", &mut office.colours, colours)?;
    group.take("end_to_end", &mut office.end_to_end, |v| {
        v.read("off, possible or required", |text| match text {
            "off" => Some(EndToEnd::Off),
            "possible" => Some(EndToEnd::Possible),
            "required" => Some(EndToEnd::Required),
            _ => None,
        })
    })?;
    group.take("officials", &mut office.logins, officials::read)?;
    group.take("keys", &mut office.keys, super::keys::read)?;
    let outcomes = &office.outcomes;
    group.take("texts", &mut office.pages.texts, |v| texts(v, outcomes))?;
    group.take("logo", &mut office.pages.logo, |v| logo(v).map(Some))?;
    let embedding = &mut office.pages.embedding;
    group.take("frame_ancestors", &mut embedding.ancestors, |v| {
        bounded(v, MOST_ANCESTORS)?.iter().map(origin).collect()
    })?;
    group.take("permissions", &mut embedding.features, features)?;
    group.finish(|_| None)?;
    Ok(office)
}

/// A text of one line.
fn line(value: &Value<'_>) -> Result<String, Complaint> {
    let text = value.text()?.trim();
    let fits = (1..=MAX_LINE).contains(&text.chars().count()) && !text.contains(char::is_control);
    if !fits {
        return value.complain(format!(
            "1 to {MAX_LINE} characters in one line are expected here"
        ));
    }
    Ok(text.to_owned())
}

fn help(value: &Value<'_>) -> Result<Help, Complaint> {
    let mut help = Help::default();
    let mut group = value.group()?;
    group.take("phone", &mut help.phone, line)?;
    group.take("text", &mut help.text, line)?;
    group.finish(|_| None)?;
    Ok(help)
}

/// The file's first line is the heading; after a line `---` comes what can be unfolded.
fn notice_of(kind: NoticeKind, file: &str) -> Option<Notice> {
    let file = file.replace("\r\n", "\n");
    let (title, rest) = file.trim().split_once('\n')?;
    let (text, details) = rest.split_once("\n---\n").unwrap_or((rest, ""));
    let notice = Notice {
        kind,
        title: title.trim().to_owned(),
        text: text.trim().to_owned(),
        details: details.trim().to_owned(),
    };
    (!notice.text.is_empty()).then_some(notice)
}

/// One text for everybody, or one for each language.
enum Notices {
    One(Notice),
    ByLanguage(BTreeMap<String, Notice>),
}

fn notices(value: &Value<'_>) -> Result<Notices, Complaint> {
    let mut group = value.group()?;
    let mut kind = NoticeKind::Notice;
    group.take("kind", &mut kind, |v| {
        v.read("notice or consent", |text| match text {
            "notice" => Some(NoticeKind::Notice),
            "consent" => Some(NoticeKind::Consent),
            _ => None,
        })
    })?;
    let read = |file: &Value<'_>| match notice_of(kind, &files::text(file)?) {
        Some(notice) => Ok(notice),
        None => file.complain("the file has no heading with a text below"),
    };
    let mut each = BTreeMap::new();
    for tag in LANGUAGES {
        if let Some(file) = group.value(tag) {
            each.insert(tag.to_owned(), read(&file)?);
        }
    }
    let found = match (group.value("file"), each.is_empty()) {
        (Some(file), true) => Notices::One(read(&file)?),
        (Some(file), false) => {
            return file.complain("either one file is for everybody, or each language has its own");
        }
        (None, false) => Notices::ByLanguage(each),
        (None, true) => Notices::One(read(&required(value, &mut group, "file")?)?),
    };
    group.finish(|_| None)?;
    Ok(found)
}

fn outcomes(value: &Value<'_>) -> Result<Vec<OutcomeCode>, Complaint> {
    let mut codes = Vec::new();
    for value in bounded(value, MAX_OUTCOMES)? {
        let code =
            OutcomeCode::new(value.text()?).or_else(|error| value.complain(error.to_string()))?;
        if codes.contains(&code) {
            return value.complain("this code stands here twice");
        }
        codes.push(code);
    }
    if codes.is_empty() {
        return value.complain("without a code no appointment could end");
    }
    Ok(codes)
}

fn language(value: &Value<'_>) -> Result<String, Complaint> {
    value.read("de, en or de-leicht", |text| {
        LANGUAGES.contains(&text).then(|| text.to_owned())
    })
}

fn languages(value: &Value<'_>) -> Result<Vec<String>, Complaint> {
    let mut tags = Vec::new();
    for value in value.list()? {
        let tag = language(&value)?;
        if tags.contains(&tag) {
            return value.complain("this language stands here twice");
        }
        tags.push(tag);
    }
    if tags.is_empty() {
        return value.complain("the pages need a language");
    }
    Ok(tags)
}

fn links(value: &Value<'_>) -> Result<Links, Complaint> {
    let mut links = Links::default();
    let mut group = value.group()?;
    for (key, slot) in [
        ("imprint", &mut links.imprint),
        ("privacy", &mut links.privacy),
        ("accessibility", &mut links.accessibility),
        ("feedback", &mut links.feedback),
    ] {
        group.take(key, slot, |v| address(v).map(Some))?;
    }
    group.finish(|_| None)?;
    Ok(links)
}

/// Where a link may lead: a page, or a mail address. Never a script.
fn address(value: &Value<'_>) -> Result<String, Complaint> {
    value.read("an address that begins with https:// or mailto:", |text| {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("mailto:"))?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || "<>\"'\\".contains(c);
        (!rest.is_empty() && text.len() <= 2_000 && !text.contains(odd)).then(|| text.to_owned())
    })
}

fn colours(value: &Value<'_>) -> Result<BTreeMap<String, String>, Complaint> {
    let mut colours = BTreeMap::new();
    let mut group = value.group()?;
    for key in ["primary", "on_primary"] {
        let colour = required(value, &mut group, key)?;
        let text = colour.read("a colour such as #003064, in quotes", |text| {
            luminance(text).map(|_| text.to_ascii_lowercase())
        })?;
        colours.insert(key.to_owned(), text);
    }
    group.finish(|_| None)?;
    let [on_primary, primary] = ["on_primary", "primary"].map(|key| {
        colours
            .get(key)
            .and_then(|text| luminance(text))
            .unwrap_or(0.0)
    });
    let (light, dark) = (primary.max(on_primary), primary.min(on_primary));
    let contrast = (light + 0.05) / (dark + 0.05);
    if contrast < CONTRAST {
        return value.complain(format!(
            "text in these colours is hard to read: their contrast is {contrast:.1}, at least {CONTRAST} is needed (WCAG 1.4.3)"
        ));
    }
    Ok(colours)
}

/// Relative luminance (WCAG 2.2) of `#rrggbb`.
fn luminance(text: &str) -> Option<f64> {
    let digits = text
        .strip_prefix('#')
        .filter(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let channel = |at: usize| {
        let value = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        let value = f64::from(value) / 255.0;
        Some(if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        })
    };
    Some(0.2126 * channel(0)? + 0.7152 * channel(2)? + 0.0722 * channel(4)?)
}

fn texts(
    value: &Value<'_>,
    outcomes: &[OutcomeCode],
) -> Result<BTreeMap<String, BTreeMap<String, String>>, Complaint> {
    let mut texts = BTreeMap::new();
    let mut group = value.group()?;
    for tag in LANGUAGES {
        if let Some(file) = group.value(tag) {
            texts.insert(tag.to_owned(), files::texts(&file, outcomes)?);
        }
    }
    group.finish(|_| None)?;
    Ok(texts)
}

fn logo(value: &Value<'_>) -> Result<Logo, Complaint> {
    let bytes = files::bytes(value, files::MAX_LOGO_BYTES)?;
    match files::picture_type(&bytes) {
        Some(content_type) => Ok(Logo {
            content_type,
            bytes: bytes.into(),
        }),
        None => value.complain("the file is no SVG, PNG, JPEG or WebP picture"),
    }
}

fn features(value: &Value<'_>) -> Result<Vec<Feature>, Complaint> {
    value
        .list()?
        .iter()
        .map(|value| value.read("camera, microphone or display-capture", Feature::parse))
        .collect()
}
