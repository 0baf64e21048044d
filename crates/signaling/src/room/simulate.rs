//! Faults on request, so that whoever builds a client can see what it makes of them. Each concerns the session that asks and
//! nobody else's; the operator decides whether any may be asked for
//! ([`RoomDefaults::simulate`](crate::config::RoomDefaults)).

use std::time::Duration;

use livekit_protocol::request_response::Reason;
use livekit_protocol::simulate_scenario::Scenario;
use livekit_protocol::{
    CandidateProtocol, DisconnectReason, RequestResponse, SimulateScenario, leave_request::Action,
    signal_response::Message,
};
use schalter_model::{Bitrate, Time};
use schalter_shard::control::Command;

use super::join::leave;
use super::participant::ParticipantKey;
use super::request::Refusal;
use super::speakers::{LEVEL_STEPS, speaker};
use super::{Output, Room, Timer};
use crate::ids::ConnectionId;

/// Longest speech that may be simulated, in seconds; clients ask for three.
const LONGEST_SPEECH: u8 = 60;

/// What a participant has asked for that is still to come.
#[derive(Debug, Default)]
pub(super) struct Simulation {
    /// It is told until then that it speaks.
    speaks_until: Option<Time>,
    /// What goes wrong when it resumes, once.
    resume: Option<FailingResume>,
}

impl Simulation {
    pub(super) fn speaks(&self) -> bool {
        self.speaks_until.is_some()
    }
}

/// When the WebSocket of a resume closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailingResume {
    BeforeMessages,
    AfterMessages,
}

impl Room {
    pub(super) fn on_simulate(&mut self, key: ParticipantKey, request: &SimulateScenario) {
        if let Err(refusal) = self.simulate(key, request) {
            self.refuse_request(key, 0, refusal, None);
        }
    }

    fn simulate(&mut self, key: ParticipantKey, request: &SimulateScenario) -> Result<(), Refusal> {
        if !self.config.room.simulate {
            let text = "simulations are not allowed on this server";
            return Err(Refusal::new(Reason::NotAllowed, text));
        }
        let nothing = Refusal::new(
            Reason::InvalidRequest,
            "no scenario that could be simulated",
        );
        match request.scenario.as_ref().ok_or(nothing)? {
            Scenario::SpeakerUpdate(seconds) => {
                let seconds = u8::try_from(*seconds).map_err(|_| nothing)?;
                if !(1..=LONGEST_SPEECH).contains(&seconds) {
                    return Err(nothing);
                }
                self.simulate_speech(key, Duration::from_secs(u64::from(seconds)));
            }
            Scenario::NodeFailure(true) => self.vanish(key),
            Scenario::Migration(true) => self.send_away(key),
            Scenario::ServerLeave(true) => self.dismiss(key, DisconnectReason::ServerShutdown),
            Scenario::LeaveRequestFullReconnect(true) => {
                self.lose_media(key, DisconnectReason::StateMismatch);
            }
            Scenario::SwitchCandidateProtocol(protocol) => {
                if *protocol != CandidateProtocol::Udp as i32 {
                    let text = "media passes over UDP only";
                    return Err(Refusal::new(Reason::UnsupportedType, text));
                }
                self.confirm_simulation(key);
            }
            Scenario::SubscriberBandwidth(bps) => {
                let bps = u64::try_from(*bps).map_err(|_| nothing)?;
                self.limit_downlink(key, (bps > 0).then(|| Bitrate::from_bps(bps)));
                self.confirm_simulation(key);
            }
            Scenario::DisconnectSignalOnResume(true) => {
                self.fail_next_resume(key, FailingResume::AfterMessages);
            }
            Scenario::DisconnectSignalOnResumeNoMessages(true) => {
                self.fail_next_resume(key, FailingResume::BeforeMessages);
            }
            Scenario::NodeFailure(false)
            | Scenario::Migration(false)
            | Scenario::ServerLeave(false)
            | Scenario::LeaveRequestFullReconnect(false)
            | Scenario::DisconnectSignalOnResume(false)
            | Scenario::DisconnectSignalOnResumeNoMessages(false) => return Err(nothing),
        }
        Ok(())
    }

    /// What changes nothing that the client would hear of is confirmed, so that it need not guess.
    fn confirm_simulation(&mut self, key: ParticipantKey) {
        let response = RequestResponse {
            reason: Reason::Ok as i32,
            ..RequestResponse::default()
        };
        self.send(key, Message::RequestResponse(response));
    }

    fn simulate_speech(&mut self, key: ParticipantKey, span: Duration) {
        let until = self.now + span;
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.simulation.speaks_until = Some(until);
        let sid = participant.sid.to_string();
        self.send(key, speaker(sid, LEVEL_STEPS as u8));
        self.arm(until, Timer::Speakers);
    }

    /// Tells those whose simulated speech is over how loud they are.
    pub(super) fn end_simulated_speech(&mut self) {
        let now = self.now;
        let over: Vec<_> = self
            .participants
            .iter_mut()
            .filter_map(|(key, p)| {
                let simulation = &mut p.simulation;
                simulation
                    .speaks_until
                    .take_if(|until| *until <= now)
                    .map(|_| *key)
            })
            .collect();
        for key in over {
            let participant = &self.participants[&key];
            let sid = participant.sid.to_string();
            let told = self.told_loudness(&participant.published);
            self.send(key, speaker(sid, told));
        }
    }

    /// The session is gone without a word, as if its server were: a resume finds nothing.
    fn vanish(&mut self, key: ParticipantKey) {
        if let Some(connection) = self.hang_up(key) {
            // What its own end changes is no news for it any more.
            self.by_connection.remove(&connection);
            if let Some(participant) = self.participants.get_mut(&key) {
                participant.connection = None;
            }
        }
        self.remove(key, DisconnectReason::SignalClose);
    }

    /// The client is to go on elsewhere, which is here: it resumes, with what it knows of its session.
    fn send_away(&mut self, key: ParticipantKey) {
        let message = leave(DisconnectReason::Migration, Action::Resume);
        self.send(key, Message::Leave(message));
        if let Some(connection) = self.hang_up(key) {
            self.on_closed(connection);
        }
    }

    fn hang_up(&mut self, key: ParticipantKey) -> Option<ConnectionId> {
        let connection = self.participants.get(&key)?.connection?;
        self.outputs.push_back(Output::Close { connection });
        Some(connection)
    }

    fn limit_downlink(&mut self, key: ParticipantKey, limit: Option<Bitrate>) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let shard = participant.shard;
        if let Some(transport) = participant.transports.get(participant.downlink_role()) {
            let transport = transport.id;
            self.media(shard, Command::LimitDownlink { transport, limit });
        }
    }

    fn fail_next_resume(&mut self, key: ParticipantKey, how: FailingResume) {
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.simulation.resume = Some(how);
            self.confirm_simulation(key);
        }
    }

    /// What is to go wrong with the resume that begins.
    pub(super) fn take_failing_resume(&mut self, key: ParticipantKey) -> Option<FailingResume> {
        self.participants.get_mut(&key)?.simulation.resume.take()
    }
}
