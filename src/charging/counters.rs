//! Units per rating group: totals for Rf, increments for Ro (api.md section 1, "Units are cumulative").
//!
//! RFC 8506, 8.19 reports what is new since the last report, RFC 6733, 9.8.1 totals. One set of
//! counters feeds both: `total` is what the CPM server said, `settled` what an answered CCR
//! covered. What is new is the difference, and it is computed again for every CCR, so a report
//! that failed is never lost and one that was answered never repeated.

use minicbor::{Decode, Encode};

use super::event::{Money, Tariff, Units, UsageEntry};
use super::outcome::Grant;
use crate::clock::Wall;

/// A unit type of the API, in the order in which units are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnitKind {
    /// CC-Time.
    Seconds,
    /// CC-Service-Specific-Units.
    Messages,
    /// CC-Total-Octets.
    Bytes,
    /// CC-Input-Octets.
    InputBytes,
    /// CC-Output-Octets.
    OutputBytes,
}

impl UnitKind {
    /// All counted kinds; money is a decimal and has its own path.
    pub const ALL: [UnitKind; 5] = [
        UnitKind::Seconds,
        UnitKind::Messages,
        UnitKind::Bytes,
        UnitKind::InputBytes,
        UnitKind::OutputBytes,
    ];

    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            UnitKind::Seconds => "seconds",
            UnitKind::Messages => "messages",
            UnitKind::Bytes => "bytes",
            UnitKind::InputBytes => "inputBytes",
            UnitKind::OutputBytes => "outputBytes",
        }
    }
}

impl Units {
    /// The amount of one kind.
    pub fn amount(&self, kind: UnitKind) -> Option<u64> {
        match kind {
            UnitKind::Seconds => self.seconds,
            UnitKind::Messages => self.messages,
            UnitKind::Bytes => self.bytes,
            UnitKind::InputBytes => self.input_bytes,
            UnitKind::OutputBytes => self.output_bytes,
        }
    }

    /// Sets the amount of one kind.
    pub fn put(&mut self, kind: UnitKind, amount: Option<u64>) {
        match kind {
            UnitKind::Seconds => self.seconds = amount,
            UnitKind::Messages => self.messages = amount,
            UnitKind::Bytes => self.bytes = amount,
            UnitKind::InputBytes => self.input_bytes = amount,
            UnitKind::OutputBytes => self.output_bytes = amount,
        }
    }

    /// No unit type is given at all.
    pub fn is_empty(&self) -> bool {
        UnitKind::ALL.iter().all(|kind| self.amount(*kind).is_none()) && self.money.is_none()
    }

    /// Every given amount is zero (or none is given).
    pub fn is_zero(&self) -> bool {
        UnitKind::ALL.iter().all(|kind| self.amount(*kind).unwrap_or(0) == 0)
            && self.money.as_ref().is_none_or(|money| money.digits == 0)
    }

    /// `self + other`, type by type; saturating, so that a hostile total cannot wrap.
    pub fn plus(&self, other: &Units) -> Units {
        let mut sum = self.clone();
        for kind in UnitKind::ALL {
            if let Some(more) = other.amount(kind) {
                sum.put(kind, Some(self.amount(kind).unwrap_or(0).saturating_add(more)));
            }
        }
        if let Some(more) = &other.money {
            sum.money = Some(match &self.money {
                Some(money) => money.plus(more),
                None => more.clone(),
            });
        }
        sum
    }

    /// `self - other` for every type that `self` has, never below zero.
    pub fn minus(&self, other: &Units) -> Units {
        let mut rest = self.clone();
        for kind in UnitKind::ALL {
            if let Some(amount) = self.amount(kind) {
                rest.put(kind, Some(amount.saturating_sub(other.amount(kind).unwrap_or(0))));
            }
        }
        if let (Some(money), Some(less)) = (&self.money, &other.money) {
            rest.money = Some(money.minus(less));
        }
        rest
    }

    /// Keeps the types that are not zero.
    pub fn without_zeros(&self) -> Units {
        let mut kept = Units::default();
        for kind in UnitKind::ALL {
            kept.put(kind, self.amount(kind).filter(|amount| *amount != 0));
        }
        kept.money = self.money.clone().filter(|money| money.digits != 0);
        kept
    }

    /// `seconds=311;messages=14` in the fixed order, zeros left out.
    pub fn listed(&self) -> String {
        let mut parts: Vec<String> = UnitKind::ALL
            .iter()
            .filter_map(|kind| {
                let amount = self.amount(*kind).filter(|amount| *amount != 0)?;
                Some(format!("{}={amount}", kind.name()))
            })
            .collect();
        if let Some(money) = self.money.as_ref().filter(|money| money.digits != 0) {
            parts.push(format!("money={}{}", money.decimal(), money.currency));
        }
        parts.join(";")
    }
}

impl Money {
    fn aligned(&self, other: &Money) -> (i128, i128, i32) {
        let exponent = self.exponent.min(other.exponent);
        let scale = |money: &Money| {
            let steps = u32::try_from(money.exponent - exponent).unwrap_or(0).min(18);
            i128::from(money.digits).saturating_mul(10i128.pow(steps))
        };
        (scale(self), scale(other), exponent)
    }

    fn from_parts(digits: i128, exponent: i32, currency: &str) -> Money {
        let digits = i64::try_from(digits).unwrap_or(i64::MAX);
        Money { digits, exponent, currency: currency.to_owned() }
    }

    /// The sum; the currency is `self`'s.
    pub fn plus(&self, other: &Money) -> Money {
        let (a, b, exponent) = self.aligned(other);
        Money::from_parts(a.saturating_add(b), exponent, &self.currency)
    }

    /// The difference, never below zero; the currency is `self`'s.
    pub fn minus(&self, other: &Money) -> Money {
        let (a, b, exponent) = self.aligned(other);
        Money::from_parts(a.saturating_sub(b).max(0), exponent, &self.currency)
    }

    /// Is `self` less than `other`?
    pub fn less_than(&self, other: &Money) -> bool {
        let (a, b, _) = self.aligned(other);
        a < b
    }

    /// The amount as a decimal string: `0.70`, `12`, `-3.5`, `700`.
    pub fn decimal(&self) -> String {
        if self.exponent >= 0 {
            let zeros = usize::try_from(self.exponent).unwrap_or(0).min(64);
            let zeros = if self.digits == 0 { 0 } else { zeros };
            return format!("{}{}", self.digits, "0".repeat(zeros));
        }
        let places = usize::try_from(self.exponent.unsigned_abs()).unwrap_or(0).min(64);
        let sign = if self.digits < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.digits.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        format!("{sign}{whole}.{fraction}")
    }
}

/// One rating group of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counter {
    /// Rating-Group; 0 where the service has none (CH-1 only).
    #[n(0)]
    pub rating_group: u32,
    /// Its name in the configuration.
    #[n(1)]
    pub name: Option<String>,
    /// Service-Identifier.
    #[n(2)]
    pub service_id: Option<u32>,
    /// What the CPM server reported since the session began.
    #[n(3)]
    pub total: Units,
    /// What answered CCRs covered (2xxx, and 4010, 4011, 4012: the OCS took what it could).
    #[n(4)]
    pub settled: Units,
    /// What answered CCRs with success reported; shown as `debit.units`.
    #[n(5)]
    pub debited: Units,
    /// The grant in force.
    #[n(6)]
    pub grant: Option<Grant>,
    /// The MSCC of this group was refused: no more quota.
    #[n(7)]
    pub refused: bool,
    /// Requested or granted at least once: the OCS knows this group.
    #[n(8)]
    pub online: bool,
    /// The last Requested-Service-Unit.
    #[n(9)]
    pub asked: Units,
    /// Units on one side of a tariff change are counted apart (RFC 8506, 5.1.1).
    #[n(10)]
    pub tariff: Option<Tariff>,
    /// Where the quota stands.
    #[n(11)]
    #[cbor(default)]
    pub quota: super::quota::State,
    /// When the grant in force came.
    #[n(12)]
    pub granted_at: Option<Wall>,
}

impl Counter {
    /// Used-Service-Unit: every type in `usage`, and 0 for every granted type not given.
    /// `None` if neither was ever there.
    pub fn new_units(&self, granted_only: bool) -> Option<Units> {
        let mut report = self.total.minus(&self.settled);
        if let Some(grant) = &self.grant {
            for kind in UnitKind::ALL {
                match (grant.units.amount(kind), report.amount(kind)) {
                    (Some(_), None) => report.put(kind, Some(0)),
                    (None, Some(_)) if granted_only => report.put(kind, None),
                    _ => {}
                }
            }
        }
        if report.is_empty() { None } else { Some(report) }
    }

    /// What no answered CCR covered.
    pub fn uncovered(&self) -> Units {
        self.total.minus(&self.settled).without_zeros()
    }

    /// Takes a new total; returns the kinds that went backwards (they stay unchanged).
    pub fn raise(&mut self, units: &Units) -> Vec<(&'static str, u64, u64)> {
        let mut decreased = Vec::new();
        for kind in UnitKind::ALL {
            let Some(now) = units.amount(kind) else { continue };
            let before = self.total.amount(kind).unwrap_or(0);
            if now < before {
                decreased.push((kind.name(), before, now));
            } else {
                self.total.put(kind, Some(now));
            }
        }
        if let Some(money) = &units.money {
            match &self.total.money {
                Some(before) if money.less_than(before) => {
                    let digits = |money: &Money| u64::try_from(money.digits).unwrap_or(0);
                    decreased.push(("money", digits(before), digits(money)));
                }
                _ => self.total.money = Some(money.clone()),
            }
        }
        decreased
    }
}

/// Entries of one body for one rating group (split by tariff) add up to its total.
pub fn sum_entries<'a>(entries: impl Iterator<Item = &'a UsageEntry>) -> Units {
    entries.fold(Units::default(), |sum, entry| sum.plus(&entry.units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Units {
        Units { seconds: Some(n), ..Units::default() }
    }

    #[test]
    fn c_12_new_units_are_the_difference_to_what_was_settled() {
        let mut counter = Counter::default();
        assert_eq!(counter.new_units(false), None);
        assert!(counter.raise(&seconds(120)).is_empty());
        assert_eq!(counter.new_units(false), Some(seconds(120)));
        counter.settled = counter.settled.plus(&seconds(120));
        assert!(counter.raise(&seconds(311)).is_empty());
        assert_eq!(counter.new_units(false), Some(seconds(191)));
    }

    #[test]
    fn fh_09_a_total_that_goes_backwards_is_told_and_unchanged() {
        let mut counter = Counter::default();
        counter.raise(&seconds(10));
        assert_eq!(counter.raise(&seconds(9)), vec![("seconds", 10, 9)]);
        assert_eq!(counter.total, seconds(10));
        counter.settled = seconds(u64::MAX);
        assert_eq!(counter.uncovered(), Units::default());
    }

    #[test]
    fn c_11_a_granted_type_without_usage_is_reported_as_zero() {
        let grant = Grant {
            rating_group: 700,
            name: None,
            units: Units { messages: Some(5), ..seconds(600) },
            valid_until: None,
            threshold: None,
            holding_seconds: None,
            final_unit: None,
            tariff_change_at: None,
        };
        let mut counter = Counter { grant: Some(grant), ..Counter::default() };
        assert_eq!(counter.new_units(false), Some(Units { messages: Some(0), ..seconds(0) }));
        counter.raise(&Units { bytes: Some(7), ..Units::default() });
        assert_eq!(counter.new_units(false).and_then(|units| units.bytes), Some(7));
        assert_eq!(counter.new_units(true).and_then(|units| units.bytes), None);
    }

    #[test]
    fn c_53_money_is_digits_times_ten_to_the_exponent() {
        let money = |digits, exponent| Money { digits, exponent, currency: "EUR".to_owned() };
        assert_eq!(money(70, -2).decimal(), "0.70");
        assert_eq!(money(-5, -3).decimal(), "-0.005");
        assert_eq!(money(7, 2).decimal(), "700");
        assert_eq!(money(93, -1).plus(&money(70, -2)).decimal(), "10.00");
        assert_eq!(money(1, 0).minus(&money(30, -2)).decimal(), "0.70");
        assert!(money(1, -1).less_than(&money(11, -2)));
    }

    #[test]
    fn backup_units_are_listed_in_order_without_zeros() {
        let units = Units { messages: Some(14), bytes: Some(0), ..seconds(311) };
        assert_eq!(units.listed(), "seconds=311;messages=14");
    }
}
