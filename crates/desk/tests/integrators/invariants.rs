//! Whatever people do in whatever order: nobody has a seat whom nobody admitted, numbers have no gaps, and what is over stays over.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use schalter_desk::domain::{
    AppointmentId, LinkToken, OutcomeCode, Patch, PersonId, Refusal, Secret, State,
};
use schalter_desk::{Caller, DeskError, Terms};
use serde_json::json;

use crate::office::Office;

/// People of the appointment: a citizen, their interpreter, another citizen, one who watches.
const PEOPLE: usize = 4;
/// Browsers that ops name; a place that there is none at stands for the last.
const BROWSERS: usize = 6;

/// What somebody does. People and browsers are told by place.
#[derive(Clone, Debug)]
enum Op {
    Open(usize),
    OpenAgain(usize, usize),
    Agree(usize),
    Wait(usize),
    Leave(usize),
    Admit(usize),
    Deny(usize),
    Hold(usize),
    Remove(usize),
    Revoke(usize),
    Reissue(usize),
    TakeOut(usize),
    Colleague,
    Presence(usize, bool),
    Longer(u64),
    Pass(i64),
    Cancel,
    End,
    Sweep,
}

/// What belongs together, mostly one thing.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let person = || 0..PEOPLE;
    let browser = || 0..BROWSERS;
    let arrive = person().prop_map(|p| vec![Op::Open(p), Op::Agree(BROWSERS), Op::Wait(BROWSERS)]);
    let one = prop_oneof![
        6 => person().prop_map(Op::Open),
        3 => (person(), browser()).prop_map(|(p, b)| Op::OpenAgain(p, b)),
        3 => browser().prop_map(Op::Agree),
        6 => browser().prop_map(Op::Wait),
        3 => browser().prop_map(Op::Leave),
        24 => person().prop_map(Op::Admit),
        3 => person().prop_map(Op::Deny),
        12 => person().prop_map(Op::Hold),
        2 => person().prop_map(Op::Remove),
        2 => person().prop_map(Op::Revoke),
        3 => person().prop_map(Op::Reissue),
        1 => person().prop_map(Op::TakeOut),
        1 => Just(Op::Colleague),
        16 => (person(), any::<bool>()).prop_map(|(p, came)| Op::Presence(p, came)),
        2 => (0_u64..7_200).prop_map(Op::Longer),
        3 => (0_i64..900).prop_map(Op::Pass),
        1 => Just(Op::Cancel),
        1 => Just(Op::End),
        1 => Just(Op::Sweep),
    ];
    prop_oneof![1 => arrive, 4 => one.prop_map(|op| vec![op])]
}

/// A browser with a session.
struct Browser {
    secret: Secret,
    person: PersonId,
    /// Whether somebody's decision lets it have the seat.
    may_sit: bool,
    /// Whether its link was withdrawn: never again, then.
    dead: bool,
}

struct Model {
    office: Office,
    official: Caller,
    id: AppointmentId,
    people: Vec<PersonId>,
    /// The link of each, as it is now.
    links: Vec<LinkToken>,
    revoked: Vec<LinkToken>,
    browsers: Vec<Browser>,
    /// By which the room knew somebody who sat last.
    identities: BTreeMap<PersonId, String>,
    over: Option<State>,
    version: u64,
    events: u64,
}

impl Model {
    async fn begin() -> Self {
        let office = Office::open();
        let citizen = json!({"role": "citizen", "name": "Toni"});
        let plan = json!({
            "subject": "Wohngeld", "starts_at": "2026-11-28T09:00:00Z", "ends_at": "2026-11-28T09:30:00Z",
            "people": [citizen, {"role": "interpreter", "name": "Uli", "linked_to": 0}, citizen, {"role": "observer", "name": "Kim"}],
        });
        let made = office
            .call("POST", "/v1/appointments", &[], Some(plan))
            .await;
        let made = &made.json;
        let people = made["people"].as_array().unwrap().iter();
        let link = |person: &serde_json::Value| {
            let url = person["join_url"].as_str().unwrap();
            LinkToken::parse(url.split_once('#').unwrap().1).unwrap()
        };
        let links = people.clone().map(link).collect();
        let people = people.map(|one| one["id"].as_str().unwrap().parse().unwrap());
        Self {
            official: office.official(),
            id: made["id"].as_str().unwrap().parse().unwrap(),
            people: people.collect(),
            links,
            revoked: Vec::new(),
            browsers: Vec::new(),
            identities: BTreeMap::new(),
            over: None,
            version: 1,
            events: 1 + PEOPLE as u64,
            office,
        }
    }

    /// Everybody who is admitted and held with a person.
    fn pair(&self, person: usize) -> Vec<PersonId> {
        let places: &[usize] = if person < 2 { &[0, 1] } else { &[person] };
        places.iter().map(|i| self.people[*i].clone()).collect()
    }

    fn let_in(&mut self, people: &[PersonId], may_sit: bool) {
        for browser in &mut self.browsers {
            if people.contains(&browser.person) {
                browser.may_sit = may_sit;
            }
        }
    }

    fn withdraw(&mut self, person: usize) {
        self.revoked.push(self.links[person].clone());
        for browser in &mut self.browsers {
            browser.dead |= browser.person == self.people[person];
        }
    }

    /// Does it; answers whether it was done.
    async fn act(&mut self, op: &Op) -> bool {
        let desk = self.office.desk.clone();
        let (official, id) = (self.official.clone(), self.id.clone());
        let at = |place: usize| self.browsers.get(place).or(self.browsers.last());
        let browser = |place: usize| at(place).map(|one| one.secret.clone());
        match *op {
            Op::Open(person) => {
                let opened = desk.open(&self.links[person], None).await;
                self.opened(person, opened).is_some()
            }
            Op::OpenAgain(person, place) => {
                let presented = browser(place);
                let opened = desk.open(&self.links[person], presented.as_ref()).await;
                self.opened(person, opened).is_some()
            }
            Op::Agree(place) => match browser(place) {
                Some(secret) => {
                    let notice = desk.authority(&official.authority).unwrap().notice.hash();
                    did(desk.agree(&secret, notice).await)
                }
                None => false,
            },
            Op::Wait(place) => match browser(place) {
                Some(secret) => did(desk.wait(&secret).await),
                None => false,
            },
            Op::Leave(place) => match browser(place) {
                Some(secret) => did(desk.leave(&secret).await),
                None => false,
            },
            Op::Admit(person) => {
                let done = did(desk.admit(&official, &id, &self.people[person]).await);
                if done {
                    self.let_in(&self.pair(person), true);
                    assert_eq!(self.seated(person).await, 1, "who was admitted can sit");
                }
                done
            }
            Op::Deny(person) => did(desk.deny(&official, &id, &self.people[person], None).await),
            Op::Hold(person) => {
                let done = did(desk.hold(&official, &id, &self.people[person]).await);
                if done {
                    self.let_in(&self.pair(person), false);
                }
                done
            }
            Op::Remove(person) => {
                let done = did(desk.remove(&official, &id, &self.people[person]).await);
                self.withdrawn(person, done)
            }
            Op::Revoke(person) => {
                let done = did(desk
                    .revoke_link(&official, &id, &self.people[person], Terms::default())
                    .await);
                self.withdrawn(person, done)
            }
            Op::Reissue(person) => {
                let done = desk
                    .reissue_link(&official, &id, &self.people[person], Terms::default())
                    .await;
                let link = done.as_ref().ok().map(|done| done.links[0].1.clone());
                let done = self.withdrawn(person, did(done));
                if let Some(link) = link {
                    self.links[person] = link;
                }
                done
            }
            Op::TakeOut(person) => {
                let done = did(desk
                    .remove_person(&official, &id, &self.people[person], Terms::default())
                    .await);
                self.withdrawn(person, done)
            }
            Op::Colleague => did(desk.add_colleague(&official, &id, None).await),
            Op::Presence(person, came) => {
                // Also of somebody who was sent away meanwhile, or never was there.
                let person = &self.people[person];
                let known = self.identities.get(person).cloned();
                let identity = known.unwrap_or_else(|| person.to_string());
                let presence = desk.on_presence(&official.authority, id.as_str(), &identity, came);
                presence.await.unwrap();
                true
            }
            Op::Longer(seconds) => {
                let patch = Patch {
                    ends_at: Some(desk.now().plus_s(60 + seconds)),
                    ..Patch::default()
                };
                did(desk.patch(&official, &id, Terms::default(), patch).await)
            }
            Op::Pass(seconds) => {
                self.office.pass(seconds);
                false
            }
            Op::Cancel => {
                let done = did(desk.cancel(&official, &id, Terms::default()).await);
                self.ended(State::Cancelled, done)
            }
            Op::End => {
                let outcome = OutcomeCode::new("done").unwrap();
                let done = did(desk.end(&official, &id, outcome).await);
                self.ended(State::Ended, done)
            }
            Op::Sweep => {
                let closed = desk.sweep().await.unwrap().closed == 1;
                self.ended(State::Ended, closed)
            }
        }
    }

    fn opened(
        &mut self,
        person: usize,
        opened: Result<schalter_desk::Opened, DeskError>,
    ) -> Option<()> {
        let secret = match opened {
            Ok(opened) => opened.secret?,
            Err(DeskError::Refused(_)) => return None,
            Err(error) => panic!("{error:?}"),
        };
        self.browsers.push(Browser {
            secret,
            person: self.people[person].clone(),
            may_sit: false,
            dead: false,
        });
        Some(())
    }

    fn withdrawn(&mut self, person: usize, done: bool) -> bool {
        if done {
            self.withdraw(person);
        }
        done
    }

    fn ended(&mut self, state: State, done: bool) -> bool {
        if done {
            assert_eq!(self.over, None, "it was over before");
            self.over = Some(state);
        }
        done
    }

    /// How many browsers of somebody may sit.
    async fn seated(&self, person: usize) -> usize {
        let mut seated = 0;
        for browser in &self.browsers {
            let theirs = browser.person == self.people[person];
            seated += usize::from(theirs && did(self.office.desk.sit(&browser.secret).await));
        }
        seated
    }

    /// Holds the desk against what must be true after each thing that is done.
    async fn check(&mut self, done: bool) {
        let desk = self.office.desk.clone();
        let mut seated = BTreeSet::new();
        for browser in &self.browsers {
            let seat = desk.sit(&browser.secret).await;
            if let Ok(seat) = &seat {
                let identities = &mut self.identities;
                identities.insert(browser.person.clone(), seat.token.clone());
            }
            if did(seat) {
                assert!(browser.may_sit, "a seat without admission");
                assert!(!browser.dead, "a seat by a withdrawn link");
                assert_eq!(self.over, None, "a seat after the end");
                assert!(seated.insert(browser.person.clone()), "two seats of one");
            }
        }
        for link in &self.revoked {
            assert!(!did(desk.open(link, None).await), "a withdrawn link opens");
        }
        let appointment = desk.appointment(&self.official, &self.id).await.unwrap();
        match self.over {
            Some(state) => assert_eq!(appointment.state, state, "what is over stays so"),
            None => assert!(!appointment.state.is_over()),
        }
        let risen = appointment.version - self.version;
        assert!(risen <= u64::from(done), "{risen} versions by one change");
        let events = desk.events(&self.official, 0, 1_000).await.unwrap();
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
        let last = events.len() as u64;
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "without gaps");
        assert!(last >= self.events, "what was told is not taken back");
        assert!(last == self.events || risen == 1, "events without a change");
        (self.version, self.events) = (appointment.version, last);
    }
}

/// Whether it was done, not refused. Anything else is a failure of the desk.
fn did<T: std::fmt::Debug>(result: Result<T, DeskError>) -> bool {
    match result {
        Ok(_) => true,
        Err(DeskError::Refused(refusal)) => {
            assert_ne!(refusal, Refusal::NoAppointment);
            false
        }
        Err(error) => panic!("{error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_doings_gives_anybody_what_they_must_not_have(ops in prop::collection::vec(ops(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::begin().await;
            for op in ops.iter().flatten() {
                let done = model.act(op).await;
                model.check(done).await;
            }
        });
    }
}
