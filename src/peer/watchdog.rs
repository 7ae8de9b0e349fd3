//! The watchdog of RFC 3539, 3.4.1 and appendix A: is the peer alive, may its connection be used?
//!
//! Sits on top of the peer machine: its "connection" is up when that machine is open. Does not know
//! messages or sockets. [`ROWS`] is the table at the end of appendix A in its order. The C text
//! before that table sets the status to DOWN before it switches on the old one in
//! `OnConnectionDown`, so that no branch could ever be taken; the table is followed instead.

use std::time::Duration;

use crate::clock::Now;

use super::jitter::Jitter;

use self::Event::*;
use self::Guard::*;
use self::Status::*;
use self::Step::*;

/// Twinit must not be below 6 s (RFC 3539, 3.4.1 \[1\]; W-02).
pub const TWINIT_MIN: Duration = Duration::from_secs(6);

/// Twinit by default.
pub const TWINIT: Duration = Duration::from_secs(30);

/// Each Tw is drawn from Twinit minus to plus this (RFC 3539, 3.4.1 \[1\]; W-03).
pub const TW_JITTER: Duration = Duration::from_secs(2);

/// A status, spelled as appendix A spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Never opened.
    Initial,
    /// The connection is up.
    Okay,
    /// Failover has been initiated.
    Suspect,
    /// The connection has been closed.
    Down,
    /// A reopened connection is being validated.
    Reopen,
}

impl Status {
    /// Every status.
    pub const ALL: &[Status] = &[Initial, Okay, Suspect, Down, Reopen];

    /// The status as the RFC prints it.
    pub fn name(self) -> &'static str {
        match self {
            Initial => "INITIAL",
            Okay => "OKAY",
            Suspect => "SUSPECT",
            Down => "DOWN",
            Reopen => "REOPEN",
        }
    }
}

/// An event of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A DWA came.
    ReceiveDwa,
    /// Any other message came.
    ReceiveNonDwa,
    /// Tw ran out.
    TimerExpires,
    /// The peer machine is open.
    ConnectionUp,
    /// The peer machine is closed again.
    ConnectionDown,
}

impl Event {
    /// Every event.
    pub const ALL: &[Event] =
        &[ReceiveDwa, ReceiveNonDwa, TimerExpires, ConnectionUp, ConnectionDown];

    /// The event as the RFC prints it.
    pub fn name(self) -> &'static str {
        match self {
            ReceiveDwa => "Receive DWA",
            ReceiveNonDwa => "Receive non-DWA",
            TimerExpires => "Timer expires",
            ConnectionUp => "Connection up",
            ConnectionDown => "Connection down",
        }
    }
}

/// The condition of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// No condition.
    Always,
    /// No DWR is unanswered.
    NotPending,
    /// A DWR is unanswered.
    Pending,
    /// NumDWA is 2.
    NumDwaIs2,
    /// NumDWA is below 2.
    NumDwaBelow2,
    /// A DWR is unanswered and NumDWA is below 0.
    PendingNumDwaNegative,
    /// A DWR is unanswered and NumDWA is 0 or more.
    PendingNumDwaNotNegative,
}

impl Guard {
    /// The condition as the RFC prints it.
    pub fn name(self) -> &'static str {
        match self {
            Always => "",
            NotPending => "!Pending",
            Pending => "Pending",
            NumDwaIs2 => "NumDWA == 2",
            NumDwaBelow2 => "NumDWA < 2",
            PendingNumDwaNegative => "Pending & NumDWA < 0",
            PendingNumDwaNotNegative => "Pending & NumDWA >= 0",
        }
    }

    fn holds(self, pending: bool, num_dwa: i8) -> bool {
        match self {
            Always => true,
            NotPending => !pending,
            Pending => pending,
            NumDwaIs2 => num_dwa == 2,
            NumDwaBelow2 => num_dwa < 2,
            PendingNumDwaNegative => pending && num_dwa < 0,
            PendingNumDwaNotNegative => pending && num_dwa >= 0,
        }
    }
}

/// A step of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Draw a new Tw.
    SetWatchdog,
    /// Send a DWR.
    SendWatchdog,
    /// A DWR is unanswered.
    PendingTrue,
    /// No DWR is unanswered.
    PendingFalse,
    /// Count from the beginning.
    NumDwaZero,
    /// Count one DWA more.
    NumDwaIncrement,
    /// The first silence in REOPEN.
    NumDwaMinusOne,
    /// Give pending requests to other peers.
    Failover,
    /// The connection may be used again.
    Failback,
    /// The message at hand is not for the application.
    Throwaway,
    /// Try to open a connection.
    AttemptOpen,
    /// Reset or close the connection.
    CloseConnection,
}

impl Step {
    /// The action as the RFC prints it.
    pub fn name(self) -> &'static str {
        match self {
            SetWatchdog => "SetWatchdog()",
            SendWatchdog => "SendWatchdog()",
            PendingTrue => "Pending = TRUE",
            PendingFalse => "Pending = FALSE",
            NumDwaZero => "NumDWA = 0",
            NumDwaIncrement => "NumDWA++",
            NumDwaMinusOne => "NumDWA = -1",
            Failover => "Failover()",
            Failback => "Failback()",
            Throwaway => "Throwaway()",
            AttemptOpen => "AttemptOpen()",
            CloseConnection => "CloseConnection()",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `WD-01` to `WD-24`.
    pub id: &'static str,
    /// Status before.
    pub status: Status,
    /// What happened.
    pub event: Event,
    /// Under which condition.
    pub guard: Guard,
    /// What to do, in order.
    pub steps: &'static [Step],
    /// Status after.
    pub next: Status,
}

const fn row(
    id: &'static str,
    status: Status,
    event: Event,
    guard: Guard,
    steps: &'static [Step],
    next: Status,
) -> Row {
    Row { id, status, event, guard, steps, next }
}

/// RFC 3539, appendix A, every row in the table's order.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("WD-01", Okay,    ReceiveDwa,     Always,       &[PendingFalse, SetWatchdog],              Okay),
    row("WD-02", Okay,    ReceiveNonDwa,  Always,       &[SetWatchdog],                            Okay),
    row("WD-03", Suspect, ReceiveDwa,     Always,       &[PendingFalse, Failback, SetWatchdog],    Okay),
    row("WD-04", Suspect, ReceiveNonDwa,  Always,       &[Failback, SetWatchdog],                  Okay),
    row("WD-05", Reopen,  ReceiveDwa,     NumDwaIs2,    &[PendingFalse, NumDwaIncrement, Failback], Okay),
    row("WD-06", Reopen,  ReceiveDwa,     NumDwaBelow2, &[PendingFalse, NumDwaIncrement],          Reopen),
    row("WD-07", Reopen,  ReceiveNonDwa,  Always,       &[Throwaway],                              Reopen),
    row("WD-08", Initial, ReceiveDwa,     Always,       &[PendingFalse, Throwaway],                Initial),
    row("WD-09", Initial, ReceiveNonDwa,  Always,       &[Throwaway],                              Initial),
    row("WD-10", Down,    ReceiveDwa,     Always,       &[PendingFalse, Throwaway],                Down),
    row("WD-11", Down,    ReceiveNonDwa,  Always,       &[Throwaway],                              Down),
    row("WD-12", Okay,    TimerExpires,   NotPending,   &[SendWatchdog, SetWatchdog, PendingTrue], Okay),
    row("WD-13", Okay,    TimerExpires,   Pending,      &[Failover, SetWatchdog],                  Suspect),
    row("WD-14", Suspect, TimerExpires,   Always,       &[CloseConnection, SetWatchdog],           Down),
    row("WD-15", Initial, TimerExpires,   Always,       &[AttemptOpen, SetWatchdog],               Initial),
    row("WD-16", Down,    TimerExpires,   Always,       &[AttemptOpen, SetWatchdog],               Down),
    row("WD-17", Reopen,  TimerExpires,   NotPending,   &[SendWatchdog, SetWatchdog, PendingTrue], Reopen),
    row("WD-18", Reopen,  TimerExpires,   PendingNumDwaNegative,
                                                        &[CloseConnection, SetWatchdog],           Down),
    row("WD-19", Reopen,  TimerExpires,   PendingNumDwaNotNegative,
                                                        &[NumDwaMinusOne, SetWatchdog],            Reopen),
    row("WD-20", Initial, ConnectionUp,   Always,       &[SetWatchdog],                            Okay),
    row("WD-21", Down,    ConnectionUp,   Always,       &[NumDwaZero, SendWatchdog, SetWatchdog, PendingTrue],
                                                                                                   Reopen),
    row("WD-22", Okay,    ConnectionDown, Always,       &[CloseConnection, Failover, SetWatchdog], Down),
    row("WD-23", Suspect, ConnectionDown, Always,       &[CloseConnection, SetWatchdog],           Down),
    row("WD-24", Reopen,  ConnectionDown, Always,       &[CloseConnection, SetWatchdog],           Down),
];

/// Pairs without a row, and why each cannot happen.
pub const IMPOSSIBLE: &[(Status, Event, &str)] = &[
    (Okay, ConnectionUp, "a peer has one connection, and it is up"),
    (Suspect, ConnectionUp, "a peer has one connection, and it is up until Tw closes it"),
    (Reopen, ConnectionUp, "a peer has one connection, and it is up"),
    (Initial, ConnectionDown, "an attempt that failed was never up"),
    (Down, ConnectionDown, "the connection was closed when DOWN was entered"),
];

/// What the watchdog asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The row that was taken; always first.
    Took(&'static str),
    /// The pair is in [`IMPOSSIBLE`]; nothing was done.
    Impossible(Status, Event),
    /// Send a DWR.
    SendDwr,
    /// Give pending requests to other peers.
    Failover,
    /// The connection may be used again.
    Failback,
    /// Do not hand the message at hand to the application.
    Throwaway,
    /// Open a connection, unless that is under way.
    AttemptOpen,
    /// Close the connection.
    CloseConnection,
}

/// The watchdog of one peer: the part of RFC 3539's peer control block that belongs to Tw.
#[derive(Clone, Debug)]
pub struct Watchdog {
    status: Status,
    pending: bool,
    num_dwa: i8,
    twinit: Duration,
    jitter_range: Duration,
    jitter: Jitter,
    deadline: Option<Now>,
}

impl Watchdog {
    /// A watchdog in INITIAL, without a timer. `twinit` is raised to [`TWINIT_MIN`].
    pub fn new(twinit: Duration, seed: u64) -> Watchdog {
        Watchdog::with_timers(twinit.max(TWINIT_MIN), TW_JITTER, seed)
    }

    /// As [`Watchdog::new`], with any Twinit and any jitter: for tests, which cannot wait 6 s.
    pub fn with_timers(twinit: Duration, jitter_range: Duration, seed: u64) -> Watchdog {
        Watchdog {
            status: Initial,
            pending: false,
            num_dwa: 0,
            twinit,
            jitter_range: jitter_range.min(twinit),
            jitter: Jitter::new(seed),
            deadline: None,
        }
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// A DWR is unanswered.
    pub fn pending(&self) -> bool {
        self.pending
    }

    /// Three DWA are needed in REOPEN; so many came. Below zero after a silent Tw.
    pub fn num_dwa(&self) -> i8 {
        self.num_dwa
    }

    /// When [`Event::TimerExpires`] is due.
    pub fn next_timeout(&self) -> Option<Now> {
        self.deadline
    }

    /// Replaces the timer in INITIAL and DOWN.
    ///
    /// Departs from RFC 3539, appendix A: there the next attempt comes a Tw later. Here it comes
    /// when the reconnect delay of the configuration says so; `None` stops the attempts.
    pub fn attempt_at(&mut self, deadline: Option<Now>) {
        if matches!(self.status, Initial | Down) {
            self.deadline = deadline;
        }
    }

    /// Sends the next DWR at once, if none is unanswered: the peer seems to have a new connection.
    ///
    /// Only a probe out of turn; Pending and Tw are as after WD-12 and WD-17.
    pub fn probe(&mut self, now: Now, out: &mut Vec<Action>) {
        if !self.pending && matches!(self.status, Okay | Reopen) {
            self.handle(TimerExpires, now, out);
        }
    }

    /// One event. Takes its row, if there is one.
    pub fn handle(&mut self, event: Event, now: Now, out: &mut Vec<Action>) {
        let Some(row) = find(self.status, event, self.pending, self.num_dwa) else {
            out.push(Action::Impossible(self.status, event));
            return;
        };
        out.push(Action::Took(row.id));
        for &step in row.steps {
            self.perform(step, now, out);
        }
        self.status = row.next;
    }

    /// Turns a step into variables and actions; the only place that does.
    fn perform(&mut self, step: Step, now: Now, out: &mut Vec<Action>) {
        match step {
            SetWatchdog => self.deadline = Some(now + self.draw_tw()),
            SendWatchdog => out.push(Action::SendDwr),
            PendingTrue => self.pending = true,
            PendingFalse => self.pending = false,
            NumDwaZero => self.num_dwa = 0,
            NumDwaIncrement => self.num_dwa += 1,
            NumDwaMinusOne => self.num_dwa = -1,
            Failover => out.push(Action::Failover),
            Failback => out.push(Action::Failback),
            Throwaway => out.push(Action::Throwaway),
            AttemptOpen => out.push(Action::AttemptOpen),
            CloseConnection => out.push(Action::CloseConnection),
        }
    }

    /// Tw: Twinit minus to plus the jitter, drawn anew each time.
    fn draw_tw(&mut self) -> Duration {
        let low = self.twinit.saturating_sub(self.jitter_range);
        low + self.jitter.below(self.jitter_range * 2)
    }
}

/// The row of a pair under these variables.
pub fn find(status: Status, event: Event, pending: bool, num_dwa: i8) -> Option<&'static Row> {
    ROWS.iter()
        .find(|row| row.status == status && row.event == event && row.guard.holds(pending, num_dwa))
}
