//! The accounting client: RFC 6733, section 8.2, as data, row by row.
//!
//! farebox stores every record before it sends it, so there is always buffer space here: the rows
//! for "no buffer space" happen at the API, where a trigger is refused with 507 and nothing is
//! promised. The table still has them, and the engine takes them if a store ever says so.

use super::record::Command;

/// State of the accounting session, for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing pending, no session.
    Idle,
    /// START unanswered.
    PendingS,
    /// Session runs.
    Open,
    /// INTERIM unanswered.
    PendingI,
    /// STOP unanswered.
    PendingL,
    /// EVENT unanswered.
    PendingE,
    /// A stored record is sent again.
    PendingB,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Client or device requests access.
    RequestsAccess,
    /// Client or device requests a one-time service.
    RequestsEvent,
    /// Records in storage.
    RecordsInStorage,
    /// Successful accounting answer received.
    Success,
    /// Failure to send: 4002, 3002, 3004, 3005, no answer, no peer (S-26).
    FailureToSend,
    /// Failed accounting answer received.
    Failed,
    /// User service terminated.
    UserTerminated,
    /// Interim interval elapses.
    IntervalElapses,
}

/// Accounting-Realtime-Required (RFC 6733, 9.8.7), same values as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Realtime {
    /// 1.
    #[n(1)]
    DeliverAndGrant,
    /// 2.
    #[n(2)]
    GrantAndStore,
    /// 3.
    #[n(3)]
    GrantAndLose,
}

/// Under which conditions a row applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Always.
    Any,
    /// Buffer space, realtime not DELIVER_AND_GRANT.
    Space,
    /// Buffer space, whatever realtime says.
    SpaceAny,
    /// No buffer space, GRANT_AND_LOSE.
    NoSpaceLose,
    /// No buffer space, not GRANT_AND_LOSE; also DELIVER_AND_GRANT with space.
    NoSpace,
    /// No buffer space, whatever realtime says.
    NoSpaceAny,
    /// GRANT_AND_LOSE.
    Lose,
    /// Not GRANT_AND_LOSE.
    NotLose,
    /// No Accounting-Realtime-Required was received at all.
    Unsaid,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Send the START.
    SendStart,
    /// Send the INTERIM.
    SendInterim,
    /// Send the STOP.
    SendStop,
    /// Send the EVENT.
    SendEvent,
    /// Send the stored record.
    SendRecord,
    /// Store the record.
    Store,
    /// Store the STOP; it follows.
    StoreStop,
    /// Delete the record.
    Delete,
    /// Disconnect the user.
    DisconnectUser,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `ACC-01` and so on.
    pub id: &'static str,
    /// State before.
    pub state: State,
    /// What happened.
    pub event: Event,
    /// Under which conditions.
    pub when: When,
    /// What is done.
    pub steps: &'static [Step],
    /// State after.
    pub next: State,
}

use Event as E;
use State::{Idle, Open, PendingB, PendingE, PendingI, PendingL, PendingS};
use Step as S;
use When as W;

const fn row(
    id: &'static str,
    state: State,
    event: Event,
    when: When,
    steps: &'static [Step],
    next: State,
) -> Row {
    Row { id, state, event, when, steps, next }
}

/// All rows; the first that fits is taken.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row("ACC-01",  Idle,     E::RequestsAccess,   W::Any,         &[S::SendStart],               PendingS),
    row("ACC-02",  Idle,     E::RequestsEvent,    W::Any,         &[S::SendEvent],               PendingE),
    row("ACC-03",  Idle,     E::RecordsInStorage, W::Any,         &[S::SendRecord],              PendingB),
    row("ACC-04",  PendingS, E::Success,          W::Any,         &[],                           Open),
    row("ACC-05",  PendingS, E::FailureToSend,    W::Space,       &[S::Store],                   Open),
    row("ACC-06",  PendingS, E::FailureToSend,    W::NoSpaceLose, &[],                           Open),
    row("ACC-07",  PendingS, E::FailureToSend,    W::NoSpace,     &[S::Store, S::DisconnectUser], Idle),
    // Departs from RFC 6733, 8.2: an operator whose CDF never sent Accounting-Realtime-Required did not
    // ask for users to be cut off; the record becomes a dead letter and the service goes on (api.md 3).
    row("ACC-08x", PendingS, E::Failed,           W::Unsaid,      &[],                           Open),
    row("ACC-08",  PendingS, E::Failed,           W::Lose,        &[],                           Open),
    row("ACC-09",  PendingS, E::Failed,           W::NotLose,     &[S::DisconnectUser],          Idle),
    row("ACC-10",  PendingS, E::UserTerminated,   W::Any,         &[S::StoreStop],               PendingS),
    row("ACC-11",  Open,     E::IntervalElapses,  W::Any,         &[S::SendInterim],             PendingI),
    row("ACC-12",  Open,     E::UserTerminated,   W::Any,         &[S::SendStop],                PendingL),
    row("ACC-13",  PendingI, E::Success,          W::Any,         &[],                           Open),
    row("ACC-14",  PendingI, E::FailureToSend,    W::Space,       &[S::Store],                   Open),
    row("ACC-15",  PendingI, E::FailureToSend,    W::NoSpaceLose, &[],                           Open),
    row("ACC-16",  PendingI, E::FailureToSend,    W::NoSpace,     &[S::Store, S::DisconnectUser], Idle),
    // Departs from RFC 6733, 8.2: as ACC-08x.
    row("ACC-17x", PendingI, E::Failed,           W::Unsaid,      &[],                           Open),
    row("ACC-17",  PendingI, E::Failed,           W::Lose,        &[],                           Open),
    row("ACC-18",  PendingI, E::Failed,           W::NotLose,     &[S::DisconnectUser],          Idle),
    row("ACC-19",  PendingI, E::UserTerminated,   W::Any,         &[S::StoreStop],               PendingI),
    row("ACC-20",  PendingE, E::Success,          W::Any,         &[],                           Idle),
    row("ACC-21",  PendingE, E::FailureToSend,    W::SpaceAny,    &[S::Store],                   Idle),
    row("ACC-22",  PendingE, E::FailureToSend,    W::NoSpaceAny,  &[],                           Idle),
    row("ACC-23",  PendingE, E::Failed,           W::Any,         &[],                           Idle),
    row("ACC-24",  PendingB, E::Success,          W::Any,         &[S::Delete],                  Idle),
    row("ACC-25",  PendingB, E::FailureToSend,    W::Any,         &[],                           Idle),
    row("ACC-26",  PendingB, E::Failed,           W::Any,         &[S::Delete],                  Idle),
    row("ACC-27",  PendingL, E::Success,          W::Any,         &[],                           Idle),
    row("ACC-28",  PendingL, E::FailureToSend,    W::SpaceAny,    &[S::Store],                   Idle),
    row("ACC-29",  PendingL, E::FailureToSend,    W::NoSpaceAny,  &[],                           Idle),
    row("ACC-30",  PendingL, E::Failed,           W::Any,         &[],                           Idle),
    // Departs from RFC 6733, 8.2: the RFC lists no interim while a record is pending; here it is
    // stored behind it, and replaced in place by the next one (RFC 6733, 9.5).
    row("ACC-31x", PendingS, E::IntervalElapses,  W::Any,         &[S::Store],                   PendingS),
    row("ACC-32x", PendingI, E::IntervalElapses,  W::Any,         &[S::Store],                   PendingI),
];

/// Rows that cannot happen while every record is stored before it is sent.
pub const IMPOSSIBLE_HERE: &[&str] = &["ACC-06", "ACC-15", "ACC-22", "ACC-29"];

/// The row that fits. `realtime` is the last Accounting-Realtime-Required of an ACA.
pub fn find(
    state: State,
    event: Event,
    realtime: Option<Realtime>,
    space: bool,
) -> Option<&'static Row> {
    let lose = realtime == Some(Realtime::GrantAndLose);
    let deliver = realtime == Some(Realtime::DeliverAndGrant);
    TABLE.iter().find(|row| {
        let fits = match row.when {
            When::Any => true,
            When::Space => space && !deliver,
            When::SpaceAny => space,
            When::NoSpaceLose => !space && lose,
            When::NoSpace => (!space && !lose) || deliver,
            When::NoSpaceAny => !space,
            When::Lose => lose,
            When::NotLose => !lose,
            When::Unsaid => realtime.is_none(),
        };
        row.state == state && row.event == event && fits
    })
}

/// The pending state that a record stands for.
pub fn pending(command: Command, stored_before: bool) -> State {
    match command {
        _ if stored_before => State::PendingB,
        Command::AcrStart => State::PendingS,
        Command::AcrInterim => State::PendingI,
        Command::AcrStop => State::PendingL,
        _ => State::PendingE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REALTIMES: [Option<Realtime>; 4] = [
        None,
        Some(Realtime::DeliverAndGrant),
        Some(Realtime::GrantAndStore),
        Some(Realtime::GrantAndLose),
    ];

    #[test]
    fn s_04_every_outcome_of_a_pending_record_has_a_row() {
        for state in [PendingS, PendingI, PendingL, PendingE, PendingB] {
            for event in [E::Success, E::FailureToSend, E::Failed] {
                for realtime in REALTIMES {
                    for space in [true, false] {
                        assert!(
                            find(state, event, realtime, space).is_some(),
                            "{state:?} {event:?} {realtime:?} {space}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn s_04_every_row_of_the_rfc_is_there_and_can_be_found() {
        for number in 1..=30 {
            let id = format!("ACC-{number:02}");
            let row = TABLE.iter().find(|row| row.id == id).expect("a row");
            let found = REALTIMES.into_iter().any(|realtime| {
                [true, false].into_iter().any(|space| {
                    find(row.state, row.event, realtime, space).is_some_and(|r| r.id == row.id)
                })
            });
            assert!(found, "{id} is never found");
        }
    }

    #[test]
    fn s_19_realtime_decides_who_is_disconnected() {
        let disconnects = |event, realtime| {
            find(PendingI, event, realtime, true)
                .is_some_and(|row| row.steps.contains(&S::DisconnectUser))
        };
        let of = |event| REALTIMES.map(|realtime| disconnects(event, realtime));
        assert_eq!(of(E::FailureToSend), [false, true, false, false]);
        assert_eq!(of(E::Failed), [false, true, true, false]);
    }
}
