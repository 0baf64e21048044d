//! What the pages are told: an office, a citizen's view of their appointment, an official's card of one.
//!
//! A citizen learns who else is there only when admitted; others' needs, devices and links never.

use std::collections::BTreeMap;

use schalter_model::AuthorityId;
use serde::Serialize;
use serde_json::Value;

use super::embedding::OfficePages;
use crate::Visitor;
use crate::domain::{
    Authority, Digest, EndToEnd, LanguageTag, Message, Needs, Notice, Person, Refusal, Role,
    Session, Timestamp,
};

/// An office, as everybody may see it.
#[derive(Serialize)]
pub(super) struct OfficeView {
    id: String,
    name: String,
    time_zone: String,
    languages: Vec<String>,
    end_to_end: EndToEnd,
    help: HelpView,
    links: LinksView,
    theme: ThemeView,
    login: LoginView,
}

#[derive(Serialize)]
struct HelpView {
    phone: String,
    text: String,
}

#[derive(Serialize)]
struct LinksView {
    imprint: Option<String>,
    privacy: Option<String>,
    accessibility: Option<String>,
    feedback: Option<String>,
}

#[derive(Serialize)]
struct ThemeView {
    logo_url: Option<String>,
    colours: ColoursView,
}

#[derive(Serialize)]
struct ColoursView {
    primary: Option<String>,
    on_primary: Option<String>,
}

#[derive(Serialize)]
struct LoginView {
    oidc: bool,
    demo: Vec<DemoView>,
}

#[derive(Serialize)]
struct DemoView {
    id: String,
    name: String,
}

/// Which logins an office has.
pub(super) struct LoginWays<'a> {
    pub(super) oidc: bool,
    pub(super) demo: &'a [crate::login::DemoOfficial],
}

impl OfficeView {
    pub(super) fn new(
        authority: &Authority,
        pages: Option<&OfficePages>,
        login: &LoginWays<'_>,
    ) -> Self {
        let colour = |name: &str| authority.colours.get(name).cloned();
        Self {
            id: authority.id.to_string(),
            name: authority.name.clone(),
            time_zone: authority.time_zone.name().to_owned(),
            languages: authority.languages.clone(),
            end_to_end: authority.end_to_end,
            help: HelpView {
                phone: authority.help.phone.clone(),
                text: authority.help.text.clone(),
            },
            links: LinksView {
                imprint: authority.links.imprint.clone(),
                privacy: authority.links.privacy.clone(),
                accessibility: authority.links.accessibility.clone(),
                feedback: authority.links.feedback.clone(),
            },
            theme: ThemeView {
                logo_url: pages
                    .and_then(|pages| pages.logo.as_ref())
                    .map(|_| logo_url(&authority.id)),
                colours: ColoursView {
                    primary: colour("primary"),
                    on_primary: colour("on_primary"),
                },
            },
            login: LoginView {
                oidc: login.oidc,
                demo: login
                    .demo
                    .iter()
                    .map(|official| DemoView {
                        id: official.id.clone(),
                        name: official.name.clone(),
                    })
                    .collect(),
            },
        }
    }
}

fn logo_url(authority: &AuthorityId) -> String {
    format!("/desk/v1/logo/{authority}")
}

/// What a browser with a link's session is told.
#[derive(Serialize)]
pub(super) struct View {
    version: u64,
    server_time: Timestamp,
    me: Me,
    appointment: AppointmentView,
    authority: OfficeView,
    notice: NoticeView,
    /// By tag of a language: what is shown in its place to who reads that.
    notices: BTreeMap<String, NoticeView>,
    present: Vec<Present>,
    grants: GrantsView,
}

#[derive(Serialize)]
struct Me {
    id: String,
    role: Role,
    name: String,
    stage: &'static str,
    needs: Needs,
    language: Option<LanguageTag>,
    notice_agreed: bool,
    other_device: bool,
    waiting_since: Option<Timestamp>,
    message: Option<Message>,
    linked_to: Option<String>,
}

#[derive(Serialize)]
struct AppointmentView {
    id: String,
    subject: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    opens_at: Timestamp,
    closes_at: Timestamp,
    state: &'static str,
    outcome: Option<String>,
}

#[derive(Serialize)]
struct NoticeView {
    kind: &'static str,
    hash: Digest,
    title: String,
    text: String,
    details: String,
}

#[derive(Serialize)]
struct Present {
    id: String,
    role: Role,
    name: String,
    stage: &'static str,
    linked_to: Option<String>,
}

#[derive(Serialize)]
struct GrantsView {
    publish: bool,
    captions: bool,
}

impl View {
    /// What `visitor` may see at `now`.
    pub(super) fn new(
        visitor: &Visitor,
        authority: &Authority,
        office: OfficeView,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let appointment = &visitor.appointment;
        let (person, own) = (visitor.me()?, visitor.own()?);
        let grants = visitor.grants();
        Ok(Self {
            version: appointment.version,
            server_time: now,
            me: Me::new(visitor, person, own, authority),
            appointment: AppointmentView {
                id: appointment.id.to_string(),
                subject: appointment.subject.as_str().to_owned(),
                starts_at: appointment.when.starts_at,
                ends_at: appointment.when.ends_at,
                opens_at: appointment.opens_at(authority),
                closes_at: appointment.closes_at(authority),
                state: appointment.state.label(),
                outcome: appointment
                    .outcome
                    .as_ref()
                    .map(|code| code.as_str().to_owned()),
            },
            authority: office,
            notice: NoticeView::new(&authority.notice),
            notices: authority
                .notices
                .iter()
                .map(|(language, notice)| (language.clone(), NoticeView::new(notice)))
                .collect(),
            present: visitor.present().into_iter().map(Present::new).collect(),
            grants: GrantsView {
                publish: grants.publish,
                captions: grants.captions,
            },
        })
    }
}

impl NoticeView {
    fn new(notice: &Notice) -> Self {
        Self {
            kind: notice.kind.label(),
            hash: notice.hash(),
            title: notice.title.clone(),
            text: notice.text.clone(),
            details: notice.details.clone(),
        }
    }
}

impl Me {
    fn new(visitor: &Visitor, person: &Person, own: &Session, authority: &Authority) -> Self {
        Self {
            id: person.id.to_string(),
            role: person.role,
            name: person.name.as_str().to_owned(),
            stage: own.stage.label(),
            needs: person.needs,
            language: person.language.clone(),
            notice_agreed: agreed(person, authority),
            other_device: visitor.is_other_device(),
            waiting_since: own.stage.waiting_since(),
            message: person.message.clone(),
            linked_to: person.linked_to.as_ref().map(ToString::to_string),
        }
    }
}

fn agreed(person: &Person, authority: &Authority) -> bool {
    person
        .agreed
        .is_some_and(|agreed| authority.reads(&agreed.notice))
}

impl Present {
    fn new(person: &Person) -> Self {
        Self {
            id: person.id.to_string(),
            role: person.role,
            name: person.name.as_str().to_owned(),
            stage: person.stage().label(),
            linked_to: person.linked_to.as_ref().map(ToString::to_string),
        }
    }
}

/// A day's appointments.
#[derive(Serialize)]
pub(super) struct DayView {
    pub(super) day: String,
    /// Each as `/v1` shows it, without links.
    pub(super) appointments: Vec<Value>,
}
