//! How a peer stands, as operators see it: kept up to date from its events.

use std::collections::VecDeque;

use crate::clock::Wall;
use crate::peer::capabilities::Capabilities;
use crate::peer::{Admin, Fact, PeerConfig, PeerState};
use crate::transport::PeerEvent;

/// Changes of state that are kept of each peer.
const HISTORY_MAX: usize = 60;

/// How a peer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStanding {
    /// Name in the configuration.
    pub name: String,
    /// The state's word.
    pub state: PeerState,
    /// What the operator wants.
    pub admin: Admin,
    /// Requests may be sent.
    pub usable: bool,
    /// Its Origin-Host, once known.
    pub origin_host: Option<String>,
    /// Applications shared with it.
    pub applications: Vec<u32>,
    /// Why, in words.
    pub reason: String,
    /// The last table row on the way here.
    pub row: &'static str,
    /// Since when; `None`: since the start.
    pub since: Option<Wall>,
    /// When it is dialled again; `None`: not waiting for that.
    pub next_attempt: Option<Wall>,
    /// Why it was last not usable.
    pub last_error: Option<PeerError>,
    /// What it last said of itself.
    pub introduced: Option<Introduced>,
    /// Its certificate's end, in seconds since 1970.
    pub certificate_ends: Option<u64>,
    /// Changes of state, the oldest first.
    pub history: VecDeque<Transition>,
    /// Requests without an answer.
    pub pending: u64,
}

/// Why a peer could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerError {
    /// When.
    pub at: Wall,
    /// Who acts: `ours`, `theirs`, or `network` if nobody is wrong.
    pub fault: &'static str,
    /// In words.
    pub reason: String,
}

/// The other side of a capabilities exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduced {
    /// When.
    pub at: Wall,
    /// Result-Code of the CEA.
    pub result_code: u32,
    /// What the peer said.
    pub capabilities: Capabilities,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: Wall,
    /// To which.
    pub state: PeerState,
    /// The table row.
    pub row: &'static str,
    /// Why.
    pub reason: String,
}

impl PeerStanding {
    /// Before anything happened.
    pub fn new(config: &PeerConfig) -> PeerStanding {
        PeerStanding {
            name: config.name.clone(),
            state: PeerState::Down,
            admin: Admin::Ready,
            usable: false,
            origin_host: config.host.clone(),
            applications: Vec::new(),
            reason: match config.address {
                Some(_) => "not connected yet".to_owned(),
                None => "waits for its connection".to_owned(),
            },
            row: "",
            since: None,
            next_attempt: None,
            last_error: None,
            introduced: None,
            certificate_ends: None,
            history: VecDeque::new(),
            pending: 0,
        }
    }

    /// Takes note of what happened.
    pub(super) fn note(&mut self, event: &PeerEvent, at: Wall) {
        match event {
            PeerEvent::State { state, usable, origin_host, applications, reason, row, .. } => {
                self.state = *state;
                self.usable = *usable;
                if origin_host.is_some() {
                    self.origin_host.clone_from(origin_host);
                }
                self.applications.clone_from(applications);
                self.reason.clone_from(reason);
                self.row = row;
                self.since = Some(at);
                self.changed(at);
            }
            PeerEvent::Fact { fact: Fact::NextAttempt { delay, .. }, .. } => {
                let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
                self.next_attempt = Some(Wall(at.0.saturating_add(millis)));
            }
            PeerEvent::Fact { fact: Fact::Introduced { result_code, capabilities }, .. } => {
                let (result_code, capabilities) = (*result_code, (**capabilities).clone());
                self.introduced = Some(Introduced { at, result_code, capabilities });
            }
            PeerEvent::Fact { fact: Fact::Certificate { not_after }, .. } => {
                self.certificate_ends = Some(*not_after);
            }
            _ => {}
        }
    }

    fn changed(&mut self, at: Wall) {
        let fault = match self.state {
            PeerState::BadConfig => Some("ours"),
            PeerState::BadRemote => Some("theirs"),
            // What the operator wanted is no error.
            PeerState::Down if self.admin != Admin::Maint => Some("network"),
            PeerState::Suspect => Some("network"),
            _ => None,
        };
        let is_down =
            matches!(self.state, PeerState::Down | PeerState::BadConfig | PeerState::BadRemote);
        if !is_down {
            self.next_attempt = None;
        }
        if let Some(fault) = fault {
            self.last_error = Some(PeerError { at, fault, reason: self.reason.clone() });
        }
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        let (state, row, reason) = (self.state, self.row, self.reason.clone());
        self.history.push_back(Transition { at, state, row, reason });
    }
}
