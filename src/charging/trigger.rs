//! Closing as a table: which SIP moment sends which request (api.md section 1; SEED 6.2.3.7, 6.3.3.7).
//!
//! Session state × trigger × interfaces → STOP now, armed or none; CCR-T now, queued or none.
//! The table is the only place that knows when a STOP or a CCR-T is due.

use super::event::CloseTrigger;

/// Where the CPM session stands when a closing trigger comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No closing trigger yet.
    Open,
    /// `bye-sent` was the first closing trigger; the STOP waits.
    Armed,
    /// The first closing trigger has decided and nothing waits for another.
    Closed,
    /// Never started here.
    Orphan,
}

/// The online side at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// CH-2 does not apply.
    Absent,
    /// Credit-control session open, nothing outstanding.
    Open,
    /// A CCR-I or CCR-U is unanswered.
    Pending,
    /// Not opened, refused, failed or free: there is nothing to terminate.
    Idle,
}

/// What becomes of the ACR STOP_RECORD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Stored to be sent now.
    Now,
    /// Stored, waits for the OK or the guard.
    Armed,
    /// The armed one goes out now.
    Release,
    /// None (CH-1 does not apply, or it is stored already).
    None,
}

/// What becomes of the CCR TERMINATION_REQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Termination {
    /// Sent now.
    Now,
    /// Sent when the outstanding CCR has ended.
    Queued,
    /// None: no leg to terminate, or sent already.
    None,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `TRG-01` and so on.
    pub id: &'static str,
    /// Phase before.
    pub phase: Phase,
    /// The trigger.
    pub trigger: CloseTrigger,
    /// CH-1 applies; `None`: either.
    pub ch1: Option<bool>,
    /// State of CH-2; `None`: any.
    pub leg: Option<Leg>,
    /// The STOP.
    pub stop: Stop,
    /// The CCR-T.
    pub termination: Termination,
    /// Phase after.
    pub next: Phase,
}

use CloseTrigger::{Aborted, ByeOkReceived, ByeReceived, ByeSent};
use Phase::{Armed, Closed, Open, Orphan};

#[allow(clippy::too_many_arguments)] // The columns of the table.
const fn row(
    id: &'static str,
    phase: Phase,
    trigger: CloseTrigger,
    ch1: Option<bool>,
    leg: Option<Leg>,
    stop: Stop,
    termination: Termination,
    next: Phase,
) -> Row {
    Row { id, phase, trigger, ch1, leg, stop, termination, next }
}

const CH1: Option<bool> = Some(true);
const NO_CH1: Option<bool> = Some(false);
const EITHER: Option<bool> = None;
const ABSENT: Option<Leg> = Some(Leg::Absent);
const LEG_OPEN: Option<Leg> = Some(Leg::Open);
const PENDING: Option<Leg> = Some(Leg::Pending);
const IDLE: Option<Leg> = Some(Leg::Idle);
const ANY: Option<Leg> = None;

/// All rows, read from the top; exactly one fits.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // Both interfaces, credit-control session open.
    row("TRG-01", Open, ByeReceived,   CH1, LEG_OPEN, Stop::Now,   Termination::Now,    Closed),
    row("TRG-02", Open, ByeSent,       CH1, LEG_OPEN, Stop::Armed, Termination::Now,    Armed),
    row("TRG-03", Open, ByeOkReceived, CH1, LEG_OPEN, Stop::Now,   Termination::Now,    Closed),
    row("TRG-04", Open, Aborted,       CH1, LEG_OPEN, Stop::Now,   Termination::Now,    Closed),
    // Both interfaces, a CCR-I or CCR-U unanswered.
    row("TRG-05", Open, ByeReceived,   CH1, PENDING,  Stop::Now,   Termination::Queued, Closed),
    row("TRG-06", Open, ByeSent,       CH1, PENDING,  Stop::Armed, Termination::Queued, Armed),
    row("TRG-07", Open, ByeOkReceived, CH1, PENDING,  Stop::Now,   Termination::Queued, Closed),
    row("TRG-08", Open, Aborted,       CH1, PENDING,  Stop::Now,   Termination::Queued, Closed),
    // Both interfaces, nothing open at the OCS.
    row("TRG-09", Open, ByeReceived,   CH1, IDLE,     Stop::Now,   Termination::None,   Closed),
    row("TRG-10", Open, ByeSent,       CH1, IDLE,     Stop::Armed, Termination::None,   Armed),
    row("TRG-11", Open, ByeOkReceived, CH1, IDLE,     Stop::Now,   Termination::None,   Closed),
    row("TRG-12", Open, Aborted,       CH1, IDLE,     Stop::Now,   Termination::None,   Closed),
    // CH-1 alone.
    row("TRG-13", Open, ByeReceived,   CH1, ABSENT,   Stop::Now,   Termination::None,   Closed),
    row("TRG-14", Open, ByeSent,       CH1, ABSENT,   Stop::Armed, Termination::None,   Armed),
    row("TRG-15", Open, ByeOkReceived, CH1, ABSENT,   Stop::Now,   Termination::None,   Closed),
    row("TRG-16", Open, Aborted,       CH1, ABSENT,   Stop::Now,   Termination::None,   Closed),
    // CH-2 alone: `bye-sent` ends the session.
    row("TRG-17", Open, ByeReceived,   NO_CH1, LEG_OPEN, Stop::None, Termination::Now,    Closed),
    row("TRG-18", Open, ByeSent,       NO_CH1, LEG_OPEN, Stop::None, Termination::Now,    Closed),
    row("TRG-19", Open, ByeOkReceived, NO_CH1, LEG_OPEN, Stop::None, Termination::Now,    Closed),
    row("TRG-20", Open, Aborted,       NO_CH1, LEG_OPEN, Stop::None, Termination::Now,    Closed),
    row("TRG-21", Open, ByeReceived,   NO_CH1, PENDING,  Stop::None, Termination::Queued, Closed),
    row("TRG-22", Open, ByeSent,       NO_CH1, PENDING,  Stop::None, Termination::Queued, Closed),
    row("TRG-23", Open, ByeOkReceived, NO_CH1, PENDING,  Stop::None, Termination::Queued, Closed),
    row("TRG-24", Open, Aborted,       NO_CH1, PENDING,  Stop::None, Termination::Queued, Closed),
    row("TRG-25", Open, ByeReceived,   NO_CH1, IDLE,     Stop::None, Termination::None,   Closed),
    row("TRG-26", Open, ByeSent,       NO_CH1, IDLE,     Stop::None, Termination::None,   Closed),
    row("TRG-27", Open, ByeOkReceived, NO_CH1, IDLE,     Stop::None, Termination::None,   Closed),
    row("TRG-28", Open, Aborted,       NO_CH1, IDLE,     Stop::None, Termination::None,   Closed),
    // The STOP is armed: a later trigger can only advance it. CCR-T was decided before.
    row("TRG-29", Armed, ByeReceived,   CH1, ANY, Stop::Release, Termination::None, Closed),
    row("TRG-30", Armed, ByeSent,       CH1, ANY, Stop::None,    Termination::None, Armed),
    row("TRG-31", Armed, ByeOkReceived, CH1, ANY, Stop::Release, Termination::None, Closed),
    row("TRG-32", Armed, Aborted,       CH1, ANY, Stop::Release, Termination::None, Closed),
    // Decided: the current state is answered and nothing is made.
    row("TRG-33", Closed, ByeReceived,   EITHER, ANY, Stop::None, Termination::None, Closed),
    row("TRG-34", Closed, ByeSent,       EITHER, ANY, Stop::None, Termination::None, Closed),
    row("TRG-35", Closed, ByeOkReceived, EITHER, ANY, Stop::None, Termination::None, Closed),
    row("TRG-36", Closed, Aborted,       EITHER, ANY, Stop::None, Termination::None, Closed),
    // Never started here: an ACR-Stop alone, no CCR-T. Without CH-1 the call is refused before.
    row("TRG-37", Orphan, ByeReceived,   CH1, ABSENT, Stop::Now,   Termination::None, Closed),
    row("TRG-38", Orphan, ByeSent,       CH1, ABSENT, Stop::Armed, Termination::None, Armed),
    row("TRG-39", Orphan, ByeOkReceived, CH1, ABSENT, Stop::Now,   Termination::None, Closed),
    row("TRG-40", Orphan, Aborted,       CH1, ABSENT, Stop::Now,   Termination::None, Closed),
];

/// Combinations that no session can be in, with the reason.
pub const IMPOSSIBLE: &[(Phase, bool, Option<Leg>, &str)] = &[
    (Open, false, ABSENT, "a session uses at least one interface"),
    (Armed, false, ANY, "only a STOP can be armed"),
    (Orphan, true, LEG_OPEN, "an orphan has no online leg"),
    (Orphan, true, PENDING, "an orphan has no online leg"),
    (Orphan, true, IDLE, "an orphan has no online leg"),
    (Orphan, false, ANY, "refused with 404 before the table is asked"),
];

/// The row for a closing trigger, or `None` for a combination listed in [`IMPOSSIBLE`].
pub fn find(phase: Phase, trigger: CloseTrigger, ch1: bool, leg: Leg) -> Option<&'static Row> {
    TABLE.iter().find(|row| {
        row.phase == phase
            && row.trigger == trigger
            && row.ch1.is_none_or(|wanted| wanted == ch1)
            && row.leg.is_none_or(|wanted| wanted == leg)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trg_every_combination_has_one_row_or_a_reason() {
        for phase in [Open, Armed, Closed, Orphan] {
            for trigger in [ByeReceived, ByeSent, ByeOkReceived, Aborted] {
                for ch1 in [true, false] {
                    for leg in [Leg::Absent, Leg::Open, Leg::Pending, Leg::Idle] {
                        let rows = TABLE
                            .iter()
                            .filter(|row| {
                                row.phase == phase
                                    && row.trigger == trigger
                                    && row.ch1.is_none_or(|wanted| wanted == ch1)
                                    && row.leg.is_none_or(|wanted| wanted == leg)
                            })
                            .count();
                        let impossible = IMPOSSIBLE.iter().any(|(p, c, l, _)| {
                            *p == phase && *c == ch1 && l.is_none_or(|wanted| wanted == leg)
                        });
                        let expected = usize::from(!impossible);
                        assert_eq!(rows, expected, "{phase:?} {trigger:?} {ch1} {leg:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn trg_ids_are_in_order() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.id, format!("TRG-{:02}", index + 1));
        }
    }
}
