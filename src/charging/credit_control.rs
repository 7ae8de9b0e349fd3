//! The credit-control client: tables 3, 4 and 5 of RFC 8506, section 7, as data.
//!
//! `CC3-nn`, `CC4-nn` and `CC5-nn` are the rows in the order in which the RFC prints them; a row whose
//! id ends in `x` departs from the RFC or adds to it, and says why. The engine asks [`find`] and
//! performs the steps; it decides nothing itself.
//!
//! `CannotSend` is raised when no allowed peer is left after a temporary error or a failure to send;
//! `TxExpired` when Tx ran out on the last copy that the caller waits for.

use super::policy::Ccfh;

/// State of one credit-control session (or one-time event).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum State {
    /// Nothing at the OCS.
    #[n(0)]
    Idle,
    /// CCR-I unanswered.
    #[n(1)]
    PendingI,
    /// Granted.
    #[n(2)]
    Open,
    /// CCR-U unanswered.
    #[n(3)]
    PendingU,
    /// CCR-T unanswered.
    #[n(4)]
    PendingT,
    /// CCR-E unanswered.
    #[n(5)]
    PendingE,
    /// Stored CCR-E sent again.
    #[n(6)]
    PendingB,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Client or device requests access or a one-time service.
    ServiceRequested,
    /// Request in storage (events).
    Stored,
    /// Successful answer.
    Success,
    /// Failure to send, or temporary error, and no allowed peer is left.
    CannotSend,
    /// One-time events: a temporary error from every allowed peer, so nothing was debited.
    TemporaryError,
    /// One-time events: a temporary error after Tx, and no allowed peer is left.
    TemporaryErrorLate,
    /// One-time events: a failed or denying answer to a request that was dropped at Tx.
    FailedLate,
    /// Tx expired.
    TxExpired,
    /// END_USER_SERVICE_DENIED, USER_UNKNOWN (and by api.md 4012, 5003, 5031).
    Denied,
    /// CREDIT_CONTROL_NOT_APPLICABLE.
    NotApplicable,
    /// Any other failed answer.
    Failed,
    /// User service terminated.
    UserTerminated,
    /// Granted unit elapses, no Final-Unit-Indication.
    UnitsElapse,
    /// Change in rating condition, or Validity-Time elapses: a new report.
    Report,
    /// Granted unit elapses and the final action is TERMINATE.
    FinalUnitElapses,
    /// A queued report is found on entering Open.
    QueuedReport,
    /// A queued termination is found on entering Open.
    QueuedTermination,
    /// RAR received.
    ReAuth,
    /// The settling window ended without an answer (ours).
    WindowOver,
}

/// Which CCFH or DDFH, action and timer a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Always.
    Any,
    /// CCFH CONTINUE.
    Continue,
    /// CCFH TERMINATE.
    Terminate,
    /// CCFH RETRY_AND_TERMINATE.
    Retry,
    /// CCFH TERMINATE or RETRY_AND_TERMINATE.
    NotContinue,
    /// CCFH CONTINUE or RETRY_AND_TERMINATE.
    NotTerminate,
    /// DIRECT_DEBITING.
    Debit,
    /// DIRECT_DEBITING, DDFH CONTINUE.
    DebitContinue,
    /// DIRECT_DEBITING, DDFH TERMINATE_OR_BUFFER.
    DebitBuffer,
    /// REFUND_ACCOUNT.
    Refund,
    /// CHECK_BALANCE or PRICE_ENQUIRY.
    Enquiry,
}

/// What the engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Send CCR-I and start Tx.
    SendInitial,
    /// Send CCR-U and start Tx.
    SendUpdate,
    /// Send CCR-T.
    SendTermination,
    /// Send CCR-E and start Tx.
    SendEvent,
    /// Send the stored request, T set.
    SendStored,
    /// Stop Tx.
    StopTx,
    /// Grant the service: `granted` by the OCS, else `unverified`.
    Grant,
    /// The service is free of charge.
    GrantFree,
    /// Terminate the end user's service: `denied`.
    TerminateService,
    /// Queue the termination.
    QueueTermination,
    /// Queue the report.
    QueueReport,
    /// Answer the RAR.
    SendRaa,
    /// Indicate service error.
    ServiceError,
    /// Store the request, to be resent with T.
    Store,
    /// Delete the stored request.
    Delete,
    /// Repeat the request as it is until its window ends.
    Repeat,
    /// The leg's units that no answer covered go into the backup record at the end.
    Backup,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `CC3-01` and so on.
    pub id: &'static str,
    /// State before.
    pub state: State,
    /// What happened.
    pub event: Event,
    /// Under which failure handling.
    pub when: When,
    /// What is done, in order.
    pub steps: &'static [Step],
    /// State after.
    pub next: State,
}

use Event as E;
use State::{Idle, Open, PendingB, PendingE, PendingI, PendingT, PendingU};
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

/// Table 3: first interrogation.
#[rustfmt::skip]
pub const TABLE_3: &[Row] = &[
    row("CC3-01", Idle,     E::ServiceRequested, W::Any,          &[S::SendInitial],      PendingI),
    row("CC3-02", PendingI, E::Success,          W::Any,          &[S::StopTx, S::Grant], Open),
    row("CC3-03", PendingI, E::CannotSend,       W::Continue,     &[S::Grant, S::Backup], Idle),
    row("CC3-04", PendingI, E::CannotSend,       W::NotContinue,  &[S::TerminateService], Idle),
    row("CC3-05", PendingI, E::TxExpired,        W::Terminate,    &[S::TerminateService], Idle),
    row("CC3-06", PendingI, E::TxExpired,        W::Continue,     &[S::Grant],            PendingI),
    // Departs from RFC 8506, 7, table 3: under RETRY_AND_TERMINATE nothing is granted provisionally;
    // the caller waits one more Tx for the copy, and then the service ends.
    row("CC3-06x", PendingI, E::TxExpired,       W::Retry,        &[S::TerminateService], Idle),
    row("CC3-07", PendingI, E::Denied,           W::Any,          &[S::TerminateService], Idle),
    row("CC3-08", PendingI, E::NotApplicable,    W::Any,          &[S::GrantFree],        Idle),
    row("CC3-09", PendingI, E::Failed,           W::Continue,     &[S::Grant, S::Backup], Idle),
    row("CC3-10", PendingI, E::Failed,           W::NotContinue,  &[S::TerminateService], Idle),
    row("CC3-11", PendingI, E::UserTerminated,   W::Any,          &[S::QueueTermination], PendingI),
    row("CC3-12", PendingI, E::Report,           W::Any,          &[S::QueueReport],      PendingI),
    // Departs from RFC 8506, 7, table 3: the RFC leaves an unanswered CCR-I under CONTINUE in PendingI
    // for ever; the settling window ends it, and the units go into the backup record.
    row("CC3-13x", PendingI, E::WindowOver,      W::Continue,     &[S::Grant, S::Backup], Idle),
    row("CC3-14x", PendingI, E::WindowOver,      W::NotContinue,  &[S::TerminateService], Idle),
];

/// Table 4: intermediate and final interrogations.
#[rustfmt::skip]
pub const TABLE_4: &[Row] = &[
    row("CC4-01", Open,     E::UnitsElapse,       W::Any,         &[S::SendUpdate],       PendingU),
    row("CC4-02", Open,     E::FinalUnitElapses,  W::Any,         &[S::TerminateService, S::SendTermination], PendingT),
    row("CC4-03", Open,     E::QueuedReport,      W::Any,         &[S::SendUpdate],       PendingU),
    row("CC4-04", Open,     E::QueuedTermination, W::Any,         &[S::SendTermination],  PendingT),
    row("CC4-05", Open,     E::Report,            W::Any,         &[S::SendUpdate],       PendingU),
    row("CC4-06", Open,     E::UserTerminated,    W::Any,         &[S::SendTermination],  PendingT),
    row("CC4-07", Open,     E::ReAuth,            W::Any,         &[S::SendRaa, S::SendUpdate], PendingU),
    row("CC4-08", PendingU, E::Success,           W::Any,         &[S::StopTx, S::Grant], Open),
    row("CC4-09", PendingU, E::CannotSend,        W::Continue,    &[S::Grant, S::Backup], Idle),
    row("CC4-10", PendingU, E::CannotSend,        W::NotContinue, &[S::TerminateService, S::Backup], Idle),
    // Departs from RFC 8506, 7, table 4: the service ends at Tx, but the update is repeated as it is
    // until its window ends, so that its units land in exactly one place.
    row("CC4-11x", PendingU, E::TxExpired,        W::Terminate,   &[S::TerminateService, S::Repeat], PendingU),
    row("CC4-12", PendingU, E::TxExpired,         W::Continue,    &[S::Grant, S::Repeat], PendingU),
    // Departs from RFC 8506, 7, table 4: as CC3-06x.
    row("CC4-12x", PendingU, E::TxExpired,        W::Retry,       &[S::TerminateService, S::Repeat], PendingU),
    row("CC4-13", PendingU, E::Denied,            W::Any,         &[S::TerminateService, S::Backup], Idle),
    row("CC4-14", PendingU, E::NotApplicable,     W::Any,         &[S::GrantFree],        Idle),
    row("CC4-15", PendingU, E::Failed,            W::Continue,    &[S::Grant, S::Backup], Idle),
    row("CC4-16", PendingU, E::Failed,            W::NotContinue, &[S::TerminateService, S::Backup], Idle),
    row("CC4-17", PendingU, E::UserTerminated,    W::Any,         &[S::QueueTermination], PendingU),
    row("CC4-18", PendingU, E::Report,            W::Any,         &[S::QueueReport],      PendingU),
    row("CC4-19", PendingU, E::ReAuth,            W::Any,         &[S::SendRaa],          PendingU),
    row("CC4-20", PendingT, E::Success,           W::Any,         &[S::StopTx],           Idle),
    row("CC4-21", PendingT, E::Failed,            W::Any,         &[S::Backup],           Idle),
    row("CC4-22", PendingT, E::Report,            W::Any,         &[],                    PendingT),
    // Departs from RFC 8506, 7, table 4: a lost CCR-T is settled by an answer or by one backup record
    // (RFC 8506, 5.7 recommends the backup flow); Idle only then.
    row("CC4-23x", PendingT, E::TxExpired,        W::Any,         &[S::Repeat],           PendingT),
    row("CC4-24x", PendingT, E::CannotSend,       W::Any,         &[S::Repeat],           PendingT),
    row("CC4-25x", PendingT, E::WindowOver,       W::Any,         &[S::Backup],           Idle),
    row("CC4-26x", PendingU, E::WindowOver,       W::Any,         &[S::Backup],           Idle),
    row("CC4-27x", PendingT, E::Denied,           W::Any,         &[S::Backup],           Idle),
    row("CC4-28x", PendingT, E::NotApplicable,    W::Any,         &[],                    Idle),
];

/// Table 5: one-time events.
#[rustfmt::skip]
pub const TABLE_5: &[Row] = &[
    row("CC5-01", Idle,     E::ServiceRequested, W::Any,           &[S::SendEvent],        PendingE),
    row("CC5-02", Idle,     E::Stored,           W::Any,           &[S::SendStored],       PendingB),
    row("CC5-03", PendingE, E::Success,          W::Any,           &[S::Grant],            Idle),
    row("CC5-04", PendingE, E::CannotSend,         W::Enquiry,       &[S::ServiceError],     Idle),
    row("CC5-04", PendingE, E::TemporaryError,     W::Enquiry,       &[S::ServiceError],     Idle),
    row("CC5-04", PendingE, E::TemporaryErrorLate, W::Enquiry,       &[S::ServiceError],     Idle),
    row("CC5-04", PendingE, E::Failed,             W::Enquiry,       &[S::ServiceError],     Idle),
    row("CC5-04", PendingE, E::TxExpired,          W::Enquiry,       &[S::ServiceError],     Idle),
    row("CC5-05", PendingE, E::Denied,             W::Any,           &[S::TerminateService], Idle),
    row("CC5-06", PendingE, E::NotApplicable,      W::Any,           &[S::GrantFree],        Idle),
    row("CC5-07", PendingE, E::Failed,             W::DebitContinue, &[S::Grant],            Idle),
    row("CC5-07", PendingE, E::TemporaryError,     W::DebitContinue, &[S::Grant],            Idle),
    row("CC5-07", PendingE, E::TemporaryErrorLate, W::DebitContinue, &[S::Grant],            Idle),
    row("CC5-07", PendingE, E::CannotSend,         W::DebitContinue, &[S::Grant],            Idle),
    row("CC5-08", PendingE, E::Failed,             W::DebitBuffer,   &[S::TerminateService], Idle),
    row("CC5-08", PendingE, E::TemporaryError,     W::DebitBuffer,   &[S::TerminateService], Idle),
    row("CC5-09", PendingE, E::TxExpired,          W::DebitContinue, &[S::Grant],            PendingE),
    // Departs from RFC 8506, 7, table 5: Tx is over on the last copy that the caller waits for, so
    // the request is stored at once; the RFC stores it only when that copy fails too.
    row("CC5-09x", PendingE, E::TxExpired,         W::DebitBuffer,   &[S::Grant, S::Store],  PendingB),
    row("CC5-10", PendingE, E::CannotSend,         W::DebitBuffer,   &[S::Grant, S::Store],  PendingB),
    row("CC5-11", PendingE, E::TemporaryErrorLate, W::DebitBuffer,   &[S::Grant, S::Store],  PendingB),
    row("CC5-12", PendingE, E::FailedLate,         W::Debit,         &[],                    Idle),
    row("CC5-13", PendingE, E::Failed,             W::Refund,        &[S::ServiceError, S::Delete], Idle),
    row("CC5-14", PendingE, E::TxExpired,          W::Refund,        &[S::Store],            PendingB),
    row("CC5-14", PendingE, E::CannotSend,         W::Refund,        &[S::Store],            PendingB),
    row("CC5-15", PendingE, E::TemporaryError,     W::Refund,        &[S::Store],            PendingB),
    row("CC5-15", PendingE, E::TemporaryErrorLate, W::Refund,        &[S::Store],            PendingB),
    row("CC5-16", PendingB, E::Success,          W::Any,           &[S::Delete],           Idle),
    row("CC5-17", PendingB, E::Failed,           W::Any,           &[S::Delete],           Idle),
    row("CC5-17x", PendingB, E::Denied,          W::Any,           &[S::Delete],           Idle),
    row("CC5-17x", PendingB, E::NotApplicable,   W::Any,           &[S::Delete],           Idle),
    row("CC5-18", PendingB, E::CannotSend,       W::Any,           &[],                    PendingB),
    row("CC5-18", PendingB, E::TemporaryError,   W::Any,           &[],                    PendingB),
    row("CC5-18", PendingB, E::TemporaryErrorLate, W::Any,         &[],                    PendingB),
    row("CC5-18x", PendingB, E::TxExpired,       W::Any,           &[],                    PendingB),
    // Ours: `buffer_for` ends; a person decides.
    row("CC5-19x", PendingB, E::WindowOver,      W::Any,           &[],                    Idle),
    row("CC5-20x", PendingE, E::WindowOver,      W::Any,           &[],                    Idle),
];

impl When {
    fn fits(self, ccfh: Ccfh, event: Option<EventHandling>) -> bool {
        match self {
            When::Any => true,
            When::Continue => ccfh == Ccfh::Continue,
            When::Terminate => ccfh == Ccfh::Terminate,
            When::Retry => ccfh == Ccfh::RetryAndTerminate,
            When::NotContinue => ccfh != Ccfh::Continue,
            When::NotTerminate => ccfh != Ccfh::Terminate,
            When::Debit => {
                matches!(event, Some(EventHandling::DebitContinue | EventHandling::DebitBuffer))
            }
            When::DebitContinue => event == Some(EventHandling::DebitContinue),
            When::DebitBuffer => event == Some(EventHandling::DebitBuffer),
            When::Refund => event == Some(EventHandling::Refund),
            When::Enquiry => event == Some(EventHandling::Enquiry),
        }
    }
}

/// Requested action and DDFH of a one-time event, as the rows of table 5 tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventHandling {
    /// DIRECT_DEBITING, DDFH CONTINUE.
    DebitContinue,
    /// DIRECT_DEBITING, DDFH TERMINATE_OR_BUFFER.
    DebitBuffer,
    /// REFUND_ACCOUNT.
    Refund,
    /// CHECK_BALANCE, PRICE_ENQUIRY.
    Enquiry,
}

/// The row of tables 3 and 4 for a session.
pub fn find(state: State, event: Event, ccfh: Ccfh) -> Option<&'static Row> {
    TABLE_3
        .iter()
        .chain(TABLE_4)
        .find(|row| row.state == state && row.event == event && row.when.fits(ccfh, None))
}

/// The row of table 5 for a one-time event.
pub fn find_event(state: State, event: Event, handling: EventHandling) -> Option<&'static Row> {
    TABLE_5.iter().find(|row| {
        row.state == state && row.event == event && row.when.fits(Ccfh::Terminate, Some(handling))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_row_fits() {
        let mut events = vec![E::ServiceRequested, E::Stored, E::Success, E::CannotSend];
        events.extend([E::TxExpired, E::Denied, E::NotApplicable, E::Failed, E::UserTerminated]);
        events.extend([E::UnitsElapse, E::Report, E::FinalUnitElapses, E::QueuedReport]);
        events.extend([E::QueuedTermination, E::ReAuth, E::WindowOver]);
        for state in [Idle, PendingI, Open, PendingU, PendingT] {
            for event in &events {
                for ccfh in [Ccfh::Terminate, Ccfh::Continue, Ccfh::RetryAndTerminate] {
                    let fits = TABLE_3
                        .iter()
                        .chain(TABLE_4)
                        .filter(|row| {
                            row.state == state && row.event == *event && row.when.fits(ccfh, None)
                        })
                        .count();
                    assert!(fits <= 1, "{state:?} {event:?} {ccfh:?}");
                }
            }
        }
    }

    #[test]
    fn every_answer_to_a_pending_request_has_a_row() {
        for state in [PendingI, PendingU, PendingT] {
            for event in [E::Success, E::Denied, E::NotApplicable, E::Failed, E::CannotSend] {
                for ccfh in [Ccfh::Terminate, Ccfh::Continue, Ccfh::RetryAndTerminate] {
                    assert!(find(state, event, ccfh).is_some(), "{state:?} {event:?} {ccfh:?}");
                }
            }
        }
        for state in [PendingE, PendingB] {
            let mut events = vec![E::Success, E::Denied, E::NotApplicable, E::Failed, E::TxExpired];
            events.extend([E::CannotSend, E::TemporaryError, E::TemporaryErrorLate]);
            for event in events {
                for handling in [
                    EventHandling::DebitBuffer,
                    EventHandling::DebitContinue,
                    EventHandling::Refund,
                    EventHandling::Enquiry,
                ] {
                    assert!(
                        find_event(state, event, handling).is_some(),
                        "{state:?} {event:?} {handling:?}"
                    );
                }
            }
        }
    }
}
