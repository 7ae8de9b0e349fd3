//! What a session remembers of each of its records, and what became of each request.

use minicbor::{Decode, Encode};

use super::outcome::{
    Advice, Basis, Ch1State, Ch1View, Ch2State, Ch2View, DiameterIds, DiameterResult, Outcome,
    RecordView, ServiceAdvice,
};
use super::record::Command;
use crate::clock::Wall;
use crate::store::{RecordId, RecordState};

/// What became of one request, for its caller.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Decision {
    /// The money.
    #[n(0)]
    pub outcome: Outcome,
    /// Who decided.
    #[n(1)]
    pub basis: Basis,
    /// For the SIP side.
    #[n(2)]
    pub advice: Advice,
}

impl Decision {
    /// A decision with plain advice.
    pub fn new(outcome: Outcome, basis: Basis, service: ServiceAdvice) -> Decision {
        Decision { outcome, basis, advice: Advice { service, sip_status: None, stop_by: None } }
    }

    /// CH-2 does not apply.
    pub fn recorded(service: ServiceAdvice) -> Decision {
        Decision::new(Outcome::Recorded, Basis::LocalRule, service)
    }
}

/// What a session remembers of each of its records, for answers and views.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Brief {
    /// The record.
    #[n(0)]
    pub id: RecordId,
    /// What it becomes.
    #[n(1)]
    pub command: Command,
    /// Record or request number.
    #[n(2)]
    pub number: u32,
    /// Where it stands.
    #[n(3)]
    pub state: RecordState,
    /// Command-level result of the last answer.
    #[n(4)]
    pub result: Option<DiameterResult>,
    /// Per rating group.
    #[n(5)]
    pub services: Vec<ServiceResult>,
    /// The peer of the last copy.
    #[n(6)]
    pub peer: Option<String>,
    /// Copies sent.
    #[n(7)]
    pub attempts: u32,
    /// When it was made.
    #[n(8)]
    pub created_at: Wall,
    /// Last copy to answer.
    #[n(9)]
    pub round_trip_micros: Option<u64>,
    /// Of the last copy.
    #[n(10)]
    pub hop_by_hop: Option<u32>,
    /// Of every copy.
    #[n(11)]
    pub end_to_end: u32,
    /// Diameter Session-Id.
    #[n(12)]
    pub diameter_session_id: String,
    /// Armed until.
    #[n(13)]
    pub due_at: Option<Wall>,
    /// CCRs: what its caller is told.
    #[n(14)]
    pub decision: Option<Decision>,
    /// Settled by a backup record, or dead.
    #[n(15)]
    pub failed: bool,
    /// A caller was answered before the request was settled: it is notified of the rest.
    #[n(16)]
    pub told_pending: bool,
}

/// The MSCC-level result of one rating group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ServiceResult {
    /// Rating-Group, if the MSCC had one.
    #[n(0)]
    pub rating_group: Option<u32>,
    /// Its result.
    #[n(1)]
    pub result: DiameterResult,
}

impl Brief {
    /// The `ch1` object.
    pub fn ch1(&self) -> Ch1View {
        Ch1View {
            state: match self.state {
                RecordState::Waiting if self.due_at.is_some() => Ch1State::Armed,
                RecordState::Waiting => Ch1State::Stored,
                RecordState::Dead => Ch1State::Dead,
                _ => Ch1State::Acknowledged,
            },
            record_id: Some(self.id),
            record: Some(self.command.type_name().to_owned()),
            record_number: Some(self.number),
            result: self.result.clone(),
            peer: self.peer.clone(),
            attempts: self.attempts,
            due_at: self.due_at,
        }
    }

    /// The `ch2` object.
    pub fn ch2(&self) -> Ch2View {
        let state = match self.state {
            _ if self.failed => Ch2State::Failed,
            RecordState::Waiting => Ch2State::Pending,
            RecordState::Answered | RecordState::Acknowledged => Ch2State::Answered,
            RecordState::Dead | RecordState::Superseded | RecordState::Abandoned => {
                Ch2State::Failed
            }
        };
        Ch2View {
            state,
            record_id: Some(self.id),
            command: Some(self.command.name().to_owned()),
            request_number: Some(self.number),
            result: self.result.clone(),
            services: self
                .services
                .iter()
                .map(|service| (service.rating_group, service.result.clone()))
                .collect(),
            peer: self.peer.clone(),
            attempts: self.attempts,
            round_trip_micros: self.round_trip_micros,
            diameter: Some(DiameterIds {
                session_id: self.diameter_session_id.clone(),
                hop_by_hop: self.hop_by_hop,
                end_to_end: self.end_to_end,
            }),
        }
    }

    /// What a session's view and a notification show of it.
    pub fn view(&self) -> RecordView {
        RecordView {
            record_id: self.id,
            interface: self.command.interface(),
            command: self.command.name().to_owned(),
            number: self.number,
            state: self.state,
            result: self.result.clone(),
            peer: self.peer.clone(),
            attempts: self.attempts,
            created_at: self.created_at,
        }
    }
}
