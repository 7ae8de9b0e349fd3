//! The quota of one rating group, as data: what a grant, usage, time and refusals do to it.
//!
//! Ours: RFC 8506 and TS 32.299, 6.5 describe quota in prose only. `QTA-nn` are the rows; every
//! other pair of state and event is in [`IMPOSSIBLE`] with its reason. The engine asks [`observe`]
//! what a report says about a grant, takes the row, and learns from its steps which
//! Reporting-Reason the report has and whether the last units have ended.

use minicbor::{Decode, Encode};

use super::counters::{Counter, UnitKind};
use super::event::Units;
use super::outcome::{FinalAction, Grant, StopBy};
use super::request::reason;
use crate::clock::Wall;

/// Where the quota of a rating group stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum State {
    /// No grant.
    #[default]
    #[n(0)]
    None,
    /// Granted, with more than the threshold left.
    #[n(1)]
    Granted,
    /// No more than the threshold is left.
    #[n(2)]
    Threshold,
    /// Used up.
    #[n(3)]
    Exhausted,
    /// Validity-Time or Quota-Holding-Time is over.
    #[n(4)]
    Expired,
    /// Granted, and nothing will follow (Final-Unit-Indication TERMINATE).
    #[n(5)]
    Final,
    /// Refused by the OCS.
    #[n(6)]
    Refused,
}

/// What happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Granted-Service-Unit.
    Grant,
    /// Granted-Service-Unit with Final-Unit-Indication TERMINATE.
    Final,
    /// A report while the grant holds.
    Usage,
    /// Time-, Volume- or Unit-Quota-Threshold is reached (TS 32.299, 7.2.229).
    ThresholdReached,
    /// One of the granted unit types is used up.
    UsedUp,
    /// Validity-Time is over (RFC 8506, 8.33).
    ValidityOver,
    /// Quota-Holding-Time passed without usage (TS 32.299, 7.2.160).
    HoldingOver,
    /// The OCS refused the group.
    Refused,
    /// The session was closed.
    Closed,
}

/// Why a report is made, the stronger one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// RATING_CONDITION_CHANGE.
    RatingChange,
    /// QHT.
    Holding,
    /// THRESHOLD.
    Threshold,
    /// QUOTA_EXHAUSTED.
    QuotaExhausted,
    /// VALIDITY_TIME.
    Validity,
}

impl Reason {
    /// The value of Reporting-Reason.
    pub fn code(self) -> u8 {
        match self {
            Reason::RatingChange => reason::RATING_CONDITION_CHANGE,
            Reason::Holding => reason::QHT,
            Reason::Threshold => reason::THRESHOLD,
            Reason::QuotaExhausted => reason::QUOTA_EXHAUSTED,
            Reason::Validity => reason::VALIDITY_TIME,
        }
    }
}

/// What the engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The grant is in force.
    Take,
    /// `advice.stopBy` says when the service has to stop.
    TellStop,
    /// The report has this Reporting-Reason.
    Say(Reason),
    /// The last units have ended: the service ends.
    EndService,
    /// The grant is gone.
    Drop,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `QTA-01` and so on.
    pub id: &'static str,
    /// State before.
    pub state: State,
    /// What happened.
    pub event: Event,
    /// What is done, in order.
    pub steps: &'static [Step],
    /// State after.
    pub next: State,
}

use Event as E;
use Reason as R;
use State as S;
use Step as P;

const fn row(
    id: &'static str,
    state: State,
    event: Event,
    steps: &'static [Step],
    next: State,
) -> Row {
    Row { id, state, event, steps, next }
}

/// All rows.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row("QTA-01", S::None,      E::Grant,            &[P::Take],                                S::Granted),
    row("QTA-02", S::None,      E::Final,            &[P::Take, P::TellStop],                   S::Final),
    row("QTA-03", S::None,      E::Usage,            &[P::Say(R::RatingChange)],                S::None),
    row("QTA-04", S::None,      E::Refused,          &[P::Drop],                                S::Refused),
    row("QTA-05", S::None,      E::Closed,           &[P::Drop],                                S::None),
    row("QTA-06", S::Granted,   E::Grant,            &[P::Take],                                S::Granted),
    row("QTA-07", S::Granted,   E::Final,            &[P::Take, P::TellStop],                   S::Final),
    row("QTA-08", S::Granted,   E::Usage,            &[P::Say(R::RatingChange)],                S::Granted),
    row("QTA-09", S::Granted,   E::ThresholdReached, &[P::Say(R::Threshold)],                   S::Threshold),
    row("QTA-10", S::Granted,   E::UsedUp,           &[P::Say(R::QuotaExhausted)],              S::Exhausted),
    row("QTA-11", S::Granted,   E::ValidityOver,     &[P::Say(R::Validity)],                    S::Expired),
    row("QTA-12", S::Granted,   E::HoldingOver,      &[P::Say(R::Holding)],                     S::Expired),
    row("QTA-13", S::Granted,   E::Refused,          &[P::Drop],                                S::Refused),
    row("QTA-14", S::Granted,   E::Closed,           &[P::Drop],                                S::None),
    row("QTA-15", S::Threshold, E::Grant,            &[P::Take],                                S::Granted),
    row("QTA-16", S::Threshold, E::Final,            &[P::Take, P::TellStop],                   S::Final),
    row("QTA-17", S::Threshold, E::Usage,            &[P::Say(R::RatingChange)],                S::Threshold),
    row("QTA-18", S::Threshold, E::ThresholdReached, &[P::Say(R::Threshold)],                   S::Threshold),
    row("QTA-19", S::Threshold, E::UsedUp,           &[P::Say(R::QuotaExhausted)],              S::Exhausted),
    row("QTA-20", S::Threshold, E::ValidityOver,     &[P::Say(R::Validity)],                    S::Expired),
    row("QTA-21", S::Threshold, E::HoldingOver,      &[P::Say(R::Holding)],                     S::Expired),
    row("QTA-22", S::Threshold, E::Refused,          &[P::Drop],                                S::Refused),
    row("QTA-23", S::Threshold, E::Closed,           &[P::Drop],                                S::None),
    row("QTA-24", S::Exhausted, E::Grant,            &[P::Take],                                S::Granted),
    row("QTA-25", S::Exhausted, E::Final,            &[P::Take, P::TellStop],                   S::Final),
    row("QTA-26", S::Exhausted, E::Usage,            &[P::Say(R::RatingChange)],                S::Exhausted),
    row("QTA-27", S::Exhausted, E::ThresholdReached, &[P::Say(R::Threshold)],                   S::Exhausted),
    row("QTA-28", S::Exhausted, E::UsedUp,           &[P::Say(R::QuotaExhausted)],              S::Exhausted),
    row("QTA-29", S::Exhausted, E::ValidityOver,     &[P::Say(R::Validity)],                    S::Expired),
    row("QTA-30", S::Exhausted, E::HoldingOver,      &[P::Say(R::Holding)],                     S::Expired),
    row("QTA-31", S::Exhausted, E::Refused,          &[P::Drop],                                S::Refused),
    row("QTA-32", S::Exhausted, E::Closed,           &[P::Drop],                                S::None),
    row("QTA-33", S::Expired,   E::Grant,            &[P::Take],                                S::Granted),
    row("QTA-34", S::Expired,   E::Final,            &[P::Take, P::TellStop],                   S::Final),
    row("QTA-35", S::Expired,   E::Usage,            &[P::Say(R::Validity)],                    S::Expired),
    row("QTA-36", S::Expired,   E::ThresholdReached, &[P::Say(R::Validity)],                    S::Expired),
    row("QTA-37", S::Expired,   E::UsedUp,           &[P::Say(R::Validity)],                    S::Expired),
    row("QTA-38", S::Expired,   E::ValidityOver,     &[P::Say(R::Validity)],                    S::Expired),
    row("QTA-39", S::Expired,   E::HoldingOver,      &[P::Say(R::Validity)],                    S::Expired),
    row("QTA-40", S::Expired,   E::Refused,          &[P::Drop],                                S::Refused),
    row("QTA-41", S::Expired,   E::Closed,           &[P::Drop],                                S::None),
    row("QTA-42", S::Final,     E::Grant,            &[P::Take],                                S::Granted),
    row("QTA-43", S::Final,     E::Final,            &[P::Take, P::TellStop],                   S::Final),
    row("QTA-44", S::Final,     E::Usage,            &[P::Say(R::RatingChange)],                S::Final),
    row("QTA-45", S::Final,     E::ThresholdReached, &[P::Say(R::Threshold)],                   S::Final),
    row("QTA-46", S::Final,     E::UsedUp,           &[P::Say(R::QuotaExhausted), P::EndService],S::Exhausted),
    row("QTA-47", S::Final,     E::ValidityOver,     &[P::Say(R::Validity), P::EndService],     S::Expired),
    row("QTA-48", S::Final,     E::HoldingOver,      &[P::Say(R::Holding), P::EndService],      S::Expired),
    row("QTA-49", S::Final,     E::Refused,          &[P::Drop],                                S::Refused),
    row("QTA-50", S::Final,     E::Closed,           &[P::Drop],                                S::None),
    row("QTA-51", S::Refused,   E::Grant,            &[P::Take],                                S::Granted),
    row("QTA-52", S::Refused,   E::Final,            &[P::Take, P::TellStop],                   S::Final),
    row("QTA-53", S::Refused,   E::Usage,            &[],                                       S::Refused),
    row("QTA-54", S::Refused,   E::Refused,          &[P::Drop],                                S::Refused),
    row("QTA-55", S::Refused,   E::Closed,           &[P::Drop],                                S::None),
];

/// Pairs that cannot be, with the reason.
pub const IMPOSSIBLE: &[(State, Event, &str)] = &[
    (S::None, E::ThresholdReached, "without a grant there is no threshold"),
    (S::None, E::UsedUp, "without a grant nothing is used up"),
    (S::None, E::ValidityOver, "without a grant nothing expires"),
    (S::None, E::HoldingOver, "without a grant nothing is held"),
    (S::Refused, E::ThresholdReached, "a refused group has no grant"),
    (S::Refused, E::UsedUp, "a refused group has no grant"),
    (S::Refused, E::ValidityOver, "a refused group has no grant"),
    (S::Refused, E::HoldingOver, "a refused group has no grant"),
];

/// The row, or `None` for a pair of [`IMPOSSIBLE`].
pub fn find(state: State, event: Event) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.state == state && row.event == event)
}

/// What a report at `at` says about the grant: `used` is what no answered CCR covered yet.
pub fn observe(counter: &Counter, used: &Units, at: Wall) -> Event {
    let Some(grant) = counter.grant.as_ref().filter(|_| !counter.refused) else {
        return E::Usage;
    };
    if grant.valid_until.is_some_and(|until| at >= until) {
        return E::ValidityOver;
    }
    if UnitKind::ALL.iter().any(|kind| left_of(grant, used, *kind) == Some(0)) {
        return E::UsedUp;
    }
    let since = counter.granted_at.zip(grant.holding_seconds);
    let held = since.is_some_and(|(granted_at, secs)| {
        at >= granted_at + std::time::Duration::from_secs(u64::from(secs))
    });
    if held && used.is_zero() {
        return E::HoldingOver;
    }
    // A CPM server that reports when exactly the threshold is left means the threshold.
    let low = grant.threshold.as_ref().is_some_and(|threshold| {
        UnitKind::ALL.iter().any(|kind| {
            let limit = threshold.amount(*kind);
            limit.zip(left_of(grant, used, *kind)).is_some_and(|(limit, left)| left <= limit)
        })
    });
    if low { E::ThresholdReached } else { E::Usage }
}

fn left_of(grant: &Grant, used: &Units, kind: UnitKind) -> Option<u64> {
    let granted = grant.units.amount(kind)?;
    Some(granted.saturating_sub(used.amount(kind).unwrap_or(0)))
}

/// Does this grant end the service when it ends?
pub fn is_final(grant: &Grant) -> bool {
    grant.final_unit.as_ref().is_some_and(|last| last.action == FinalAction::Terminate)
}

/// C-20: a final grant of nothing; the service ends at once.
pub fn is_nothing(grant: &Grant) -> bool {
    is_final(grant) && grant.units.is_zero()
}

/// Have the last units of this group ended?
pub fn has_ended(counter: &Counter) -> bool {
    counter.grant.as_ref().is_some_and(is_final)
        && matches!(counter.quota, State::Exhausted | State::Expired)
}

/// By when, or after which total, the CPM server must stop: the first final grant decides.
pub fn stop_by(counters: &[Counter]) -> Option<StopBy> {
    counters.iter().find_map(|counter| {
        let grant = counter.grant.as_ref().filter(|grant| is_final(grant))?;
        let units = counter.settled.plus(&grant.units);
        let mut limit = Units::default();
        for kind in UnitKind::ALL {
            limit.put(kind, grant.units.amount(kind).and(units.amount(kind)));
        }
        Some(StopBy { at: grant.valid_until, units: (!limit.is_empty()).then_some(limit) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 7] =
        [S::None, S::Granted, S::Threshold, S::Exhausted, S::Expired, S::Final, S::Refused];
    const EVENTS: [Event; 9] = [
        E::Grant,
        E::Final,
        E::Usage,
        E::ThresholdReached,
        E::UsedUp,
        E::ValidityOver,
        E::HoldingOver,
        E::Refused,
        E::Closed,
    ];

    #[test]
    fn qta_every_pair_is_one_row_or_has_a_reason() {
        for state in STATES {
            for event in EVENTS {
                let rows = TABLE.iter().filter(|r| r.state == state && r.event == event).count();
                let reasons =
                    IMPOSSIBLE.iter().filter(|(s, e, _)| *s == state && *e == event).count();
                assert_eq!(rows + reasons, 1, "{state:?} {event:?}");
            }
        }
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.id, format!("QTA-{:02}", index + 1));
        }
    }

    #[test]
    fn qta_every_report_has_exactly_one_reason_unless_refused() {
        for row in TABLE {
            let says = row.steps.iter().filter(|step| matches!(step, P::Say(_))).count();
            let report = !matches!(row.event, E::Grant | E::Final | E::Refused | E::Closed);
            assert_eq!(says, usize::from(report && row.state != S::Refused), "{}", row.id);
        }
    }

    fn grant(units: u64, last: bool, threshold: Option<u64>) -> Grant {
        let seconds = |n| Units { seconds: Some(n), ..Units::default() };
        Grant {
            rating_group: 700,
            name: None,
            units: seconds(units),
            valid_until: None,
            threshold: threshold.map(seconds),
            holding_seconds: None,
            final_unit: last.then(|| crate::charging::outcome::Final {
                action: FinalAction::Terminate,
                redirect: None,
                filters: Vec::new(),
            }),
            tariff_change_at: None,
        }
    }

    /// Random lives of a rating group: nothing is left twice, and the last units end once.
    #[test]
    fn qta_what_is_left_never_grows_without_a_grant_and_final_units_end_once() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (random >> 33) % below
        };
        for life in 0..2000 {
            let mut counter = Counter::default();
            let mut ended = 0;
            let mut left_before = None;
            for _ in 0..20 {
                let event = match draw(5) {
                    0 => {
                        counter.settled = counter.total.clone();
                        let last = draw(2) == 0;
                        counter.grant = Some(grant(draw(100), last, Some(draw(20))));
                        (left_before, ended) = (None, 0);
                        if last { E::Final } else { E::Grant }
                    }
                    _ => {
                        let total = counter.total.seconds.unwrap_or(0) + draw(30);
                        counter.raise(&Units { seconds: Some(total), ..Units::default() });
                        observe(&counter, &counter.total.minus(&counter.settled), Wall(0))
                    }
                };
                let row = find(counter.quota, event).expect("possible");
                counter.quota = row.next;
                ended += row.steps.iter().filter(|step| **step == P::EndService).count();
                assert!(ended <= 1, "life {life}: the last units end once");
                let Some(grant) = &counter.grant else { continue };
                let used = counter.total.minus(&counter.settled);
                let left = left_of(grant, &used, UnitKind::Seconds).expect("granted");
                let granted = grant.units.seconds.unwrap_or(0);
                assert_eq!(left + used.seconds.unwrap_or(0).min(granted), granted);
                assert!(left_before.is_none_or(|before| left <= before), "life {life}");
                left_before = Some(left);
                let spent = matches!(counter.quota, S::Exhausted);
                assert_eq!(spent, left == 0 && !matches!(event, E::Grant | E::Final));
            }
        }
    }

    #[test]
    fn qta_time_decides_before_units_and_holding_needs_silence() {
        let mut counter =
            Counter { grant: Some(grant(600, false, Some(60))), ..Counter::default() };
        let grant = counter.grant.as_mut().expect("there");
        grant.valid_until = Some(Wall(100_000));
        grant.holding_seconds = Some(30);
        counter.granted_at = Some(Wall(0));
        let seconds = |n| Units { seconds: Some(n), ..Units::default() };
        let at = |used: u64, millis: i64| observe(&counter, &seconds(used), Wall(millis));
        assert_eq!(at(600, 100_000), E::ValidityOver);
        assert_eq!(at(600, 99_999), E::UsedUp);
        assert_eq!(at(540, 99_999), E::ThresholdReached);
        assert_eq!(at(539, 99_999), E::Usage);
        assert_eq!(at(0, 30_000), E::HoldingOver);
        assert_eq!(at(0, 29_999), E::Usage);
    }
}
