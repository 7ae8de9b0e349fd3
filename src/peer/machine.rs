//! The peer state machine of RFC 6733, 5.6: one per peer, initiator and responder side, election.
//!
//! Decides which connection lives and which base-protocol message is due. Does not know sockets,
//! octets, capabilities or the watchdog: whoever drives it judges CER and CEA and says which event
//! that was. The table is in [`super::machine_table`].

use std::cmp::Ordering;
use std::time::Duration;

use crate::clock::Now;

pub use super::machine_table::{DEPARTURES, Event, IMPOSSIBLE, ROWS, Row, State, Step, find};

use super::machine_table::Event::WinElection;
use super::machine_table::State::*;
use super::machine_table::Step::*;

/// Which of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The connection we made: prefix `I-`.
    Initiator,
    /// The connection the peer made: prefix `R-`.
    Responder,
}

impl Side {
    /// For tables with one place for each.
    pub const fn index(self) -> usize {
        match self {
            Side::Initiator => 0,
            Side::Responder => 1,
        }
    }
}

/// What the machine asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The row that was taken; always first.
    Took(&'static str),
    /// The pair is in [`IMPOSSIBLE`]; nothing was done.
    Impossible(State, Event),
    /// Dial the peer.
    Connect,
    /// Take the new connection as the responder connection.
    Accept,
    /// Disconnect the newcomer.
    Reject,
    /// Service the CER of the responder connection.
    ProcessCer,
    /// Service the CEA.
    ProcessCea,
    /// Send our CER.
    SendCer,
    /// Answer the CER.
    SendCea,
    /// Send the message at hand.
    SendMessage(Side),
    /// Hand the message at hand to whom it concerns.
    Process,
    /// Service the DWR.
    ProcessDwr,
    /// Service the DWA.
    ProcessDwa,
    /// Answer the DWR at hand.
    SendDwa(Side),
    /// Send a DPR.
    SendDpr(Side),
    /// Answer the DPR at hand.
    SendDpa(Side),
    /// Answer the CER at hand with 5012.
    RefuseCer(Side),
    /// Count the message at hand and forget it.
    Discard,
    /// Disconnect; without a connection (a dial under way, or none) free what it held.
    Disconnect(Side),
    /// The connection is open.
    Opened(Side),
    /// No connection is left. `was_open`: it had been open.
    Closed {
        /// It ended after Open, not on the way to it.
        was_open: bool,
    },
}

/// How long each waiting state may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// For the transport.
    pub connect: Duration,
    /// For the CEA, and for the end of an election.
    pub handshake: Duration,
    /// For the DPA, or for the peer's disconnect after our DPA.
    pub closing: Duration,
}

/// The machine of one peer.
#[derive(Clone, Debug)]
pub struct Machine {
    state: State,
    deadline: Option<Now>,
    waits: Waits,
    local_host: String,
    peer_host: String,
}

impl Machine {
    /// A machine in Closed. `local_host` is our Origin-Host, `peer_host` the peer's if it is known.
    pub fn new(waits: Waits, local_host: &str, peer_host: Option<&str>) -> Machine {
        Machine {
            state: Closed,
            deadline: None,
            waits,
            local_host: local_host.to_owned(),
            peer_host: peer_host.unwrap_or_default().to_owned(),
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// When [`Event::Timeout`] is due.
    pub fn next_timeout(&self) -> Option<Now> {
        self.deadline
    }

    /// Notes the Origin-Host of a CER, before [`Event::RConnCer`]: the election needs it.
    pub fn identify(&mut self, origin_host: &str) {
        origin_host.clone_into(&mut self.peer_host);
    }

    /// One event. Takes its row, if there is one.
    pub fn handle(&mut self, event: Event, now: Now, out: &mut Vec<Action>) {
        let mut event = Some(event);
        while let Some(current) = event.take() {
            let Some(row) = find(self.state, current) else {
                out.push(Action::Impossible(self.state, current));
                return;
            };
            out.push(Action::Took(row.id));
            let before = self.state;
            for &step in row.steps {
                if step == Elect {
                    event = self.wins_election().then_some(WinElection);
                } else {
                    self.perform(step, out);
                }
            }
            self.enter(row.next, now);
            announce(before, row.next, out);
        }
    }

    /// RFC 6733, 5.6.4: the local Origin-Host succeeds the peer's, without regard to ASCII case.
    fn wins_election(&self) -> bool {
        compare_identities(&self.local_host, &self.peer_host) == Ordering::Greater
    }

    /// Turns a step into actions; the only place that does.
    fn perform(&self, step: Step, out: &mut Vec<Action>) {
        use self::Side::*;
        match step {
            ISndConnReq => out.push(Action::Connect),
            RAccept => out.push(Action::Accept),
            ProcessCer => out.push(Action::ProcessCer),
            RSndCea => out.push(Action::SendCea),
            ISndCer => out.push(Action::SendCer),
            Cleanup | IDisc => out.push(Action::Disconnect(Initiator)),
            RDisc => out.push(Action::Disconnect(Responder)),
            Error => {
                out.push(Action::Disconnect(Initiator));
                out.push(Action::Disconnect(Responder));
            }
            ProcessCea => out.push(Action::ProcessCea),
            Elect => {}
            RReject => out.push(Action::Reject),
            RSndMessage => out.push(Action::SendMessage(Responder)),
            ISndMessage => out.push(Action::SendMessage(Initiator)),
            Process => out.push(Action::Process),
            ProcessDwr => out.push(Action::ProcessDwr),
            RSndDwa => out.push(Action::SendDwa(Responder)),
            ISndDwa => out.push(Action::SendDwa(Initiator)),
            ProcessDwa => out.push(Action::ProcessDwa),
            RSndDpr => out.push(Action::SendDpr(Responder)),
            ISndDpr => out.push(Action::SendDpr(Initiator)),
            RSndDpa => out.push(Action::SendDpa(Responder)),
            ISndDpa => out.push(Action::SendDpa(Initiator)),
            RefuseCer if self.state == ROpen => out.push(Action::RefuseCer(Responder)),
            RefuseCer => out.push(Action::RefuseCer(Initiator)),
            Discard => out.push(Action::Discard),
        }
    }

    /// Changes the state. Each waiting state has one timer, set on entry; staying does not renew it.
    fn enter(&mut self, next: State, now: Now) {
        if next == self.state {
            return;
        }
        self.state = next;
        self.deadline = match next {
            WaitConnAck | WaitConnAckElect => Some(now + self.waits.connect),
            WaitICea | WaitReturns => Some(now + self.waits.handshake),
            Closing => Some(now + self.waits.closing),
            Closed | ROpen | IOpen => None,
        };
    }
}

/// Two DiameterIdentities as octets, `a` to `z` equal to `A` to `Z` (RFC 6733, 5.6.4; H-34).
pub fn compare_identities(a: &str, b: &str) -> Ordering {
    let upper = |text: &str| text.bytes().map(|octet| octet.to_ascii_uppercase()).collect();
    let (a, b): (Vec<u8>, Vec<u8>) = (upper(a), upper(b));
    a.cmp(&b)
}

/// Says what a change of state means to the outside.
fn announce(before: State, after: State, out: &mut Vec<Action>) {
    match (before, after) {
        (ROpen, ROpen) | (IOpen, IOpen) | (Closed, Closed) => {}
        (_, ROpen) => out.push(Action::Opened(Side::Responder)),
        (_, IOpen) => out.push(Action::Opened(Side::Initiator)),
        (ROpen | IOpen | Closing, Closed) => out.push(Action::Closed { was_open: true }),
        (_, Closed) => out.push(Action::Closed { was_open: false }),
        _ => {}
    }
}
