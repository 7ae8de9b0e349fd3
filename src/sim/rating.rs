//! Tariffs of the simulated OCS, and service units as they stand in AVPs (RFC 8506, 8.17 to 8.26).

use crate::diameter::Avp;
use crate::diameter::AvpList;
use crate::diameter::Value;
use crate::diameter::id;
use crate::sim::fault::FinalUnitAction;
use crate::sim::ledger::Amount;
use crate::sim::ledger::Currency;

/// What a tariff counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// CC-Service-Specific-Units.
    Messages,
    /// CC-Time.
    Seconds,
    /// CC-Total-Octets, or CC-Input-Octets and CC-Output-Octets together.
    Bytes,
    /// CC-Money: the client rates; price and `per` are not used.
    Money,
}

/// What happens after the last unit that the balance covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalUnit {
    /// Final-Unit-Action.
    pub action: FinalUnitAction,
    /// Redirect-Address-Type and Redirect-Server-Address.
    pub redirect: Option<(i32, String)>,
    /// Filter-Ids.
    pub filters: Vec<String>,
}

impl FinalUnit {
    /// TERMINATE.
    pub const TERMINATE: FinalUnit =
        FinalUnit { action: FinalUnitAction::Terminate, redirect: None, filters: Vec::new() };

    /// The Final-Unit-Indication AVP.
    pub fn avp(&self) -> Avp {
        let mut members = vec![Avp::enumerated(id::FINAL_UNIT_ACTION, self.action.value())];
        members.extend(self.filters.iter().map(|filter| Avp::text(id::FILTER_ID, filter)));
        if let Some((kind, address)) = &self.redirect {
            members.push(Avp::group(
                id::REDIRECT_SERVER,
                vec![
                    Avp::enumerated(id::REDIRECT_ADDRESS_TYPE, *kind),
                    Avp::text(id::REDIRECT_SERVER_ADDRESS, address),
                ],
            ));
        }
        Avp::group(id::FINAL_UNIT_INDICATION, members)
    }
}

/// The price of one rating group and what is granted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// What is counted.
    pub unit: Unit,
    /// Price of one step.
    pub price: Amount,
    /// Units in one step, at least 1; a step that has begun is paid.
    pub per: u64,
    /// Most seconds in one grant.
    pub grant_seconds: Option<u32>,
    /// Most messages in one grant.
    pub grant_messages: Option<u64>,
    /// Most octets in one grant.
    pub grant_bytes: Option<u64>,
    /// Validity-Time of a grant in seconds.
    pub validity_seconds: Option<u32>,
    /// Time-Quota-Threshold.
    pub threshold_seconds: Option<u32>,
    /// Unit-Quota-Threshold.
    pub threshold_messages: Option<u32>,
    /// Volume-Quota-Threshold.
    pub threshold_bytes: Option<u32>,
    /// Quota-Holding-Time in seconds.
    pub holding_seconds: Option<u32>,
    /// What comes with the last grant.
    pub final_unit: FinalUnit,
}

impl Tariff {
    /// A price per message and nothing else.
    pub fn per_message(price: Amount) -> Tariff {
        Tariff {
            unit: Unit::Messages,
            price,
            per: 1,
            grant_seconds: None,
            grant_messages: None,
            grant_bytes: None,
            validity_seconds: None,
            threshold_seconds: None,
            threshold_messages: None,
            threshold_bytes: None,
            holding_seconds: None,
            final_unit: FinalUnit::TERMINATE,
        }
    }

    /// Price and size of a step; money is its own price.
    fn step(&self) -> (Amount, u64) {
        match self.unit {
            Unit::Money => (Amount(1), 1),
            _ => (self.price, self.per.max(1)),
        }
    }

    /// The price of a step as it is written into the books.
    pub fn step_price(&self) -> Amount {
        self.step().0
    }

    /// The cost of `units` more when `used` are paid already; `None` if it is beyond all money.
    pub fn cost(&self, used: u64, units: u64) -> Option<Amount> {
        let (price, per) = self.step();
        let steps = used.saturating_add(units).div_ceil(per) - used.div_ceil(per);
        price.times(steps)
    }

    /// The most units that `money` pays for when `used` are paid already.
    pub fn affordable(&self, used: u64, money: Amount) -> u64 {
        let (price, per) = self.step();
        if price <= Amount::ZERO {
            return u64::MAX;
        }
        let paid_ahead = used.div_ceil(per).saturating_mul(per).saturating_sub(used);
        let steps = u64::try_from(money.0.max(0) / price.0).unwrap_or(u64::MAX);
        paid_ahead.saturating_add(steps.saturating_mul(per))
    }

    /// Validity-Time, thresholds and Quota-Holding-Time beside a grant.
    pub fn conditions(&self) -> Vec<Avp> {
        let conditions = [
            (id::VALIDITY_TIME, self.validity_seconds),
            (id::TIME_QUOTA_THRESHOLD, self.threshold_seconds),
            (id::VOLUME_QUOTA_THRESHOLD, self.threshold_bytes),
            (id::UNIT_QUOTA_THRESHOLD, self.threshold_messages),
            (id::QUOTA_HOLDING_TIME, self.holding_seconds),
        ];
        conditions.into_iter().filter_map(|(id, value)| Some(Avp::u32(id, value?))).collect()
    }
}

/// A Requested-, Used- or Granted-Service-Unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// CC-Time.
    pub seconds: Option<u64>,
    /// CC-Service-Specific-Units.
    pub messages: Option<u64>,
    /// CC-Total-Octets.
    pub bytes: Option<u64>,
    /// CC-Input-Octets.
    pub input_bytes: Option<u64>,
    /// CC-Output-Octets.
    pub output_bytes: Option<u64>,
    /// CC-Money.
    pub money: Option<Amount>,
}

impl Units {
    /// Reads the members of a service unit.
    ///
    /// # Errors
    /// The CC-Money that is not exact, or in another currency.
    pub fn read(members: &[Avp], currency: Currency) -> Result<Units, Avp> {
        let money = match members.find(id::CC_MONEY) {
            None => None,
            Some(avp) => Some(read_money(avp, currency).ok_or_else(|| avp.clone())?),
        };
        Ok(Units {
            seconds: members.unsigned32(id::CC_TIME).map(u64::from),
            messages: members.unsigned64(id::CC_SERVICE_SPECIFIC_UNITS),
            bytes: members.unsigned64(id::CC_TOTAL_OCTETS),
            input_bytes: members.unsigned64(id::CC_INPUT_OCTETS),
            output_bytes: members.unsigned64(id::CC_OUTPUT_OCTETS),
            money,
        })
    }

    /// Is no type given?
    pub fn is_empty(&self) -> bool {
        *self == Units::default()
    }

    /// The number of what the tariff counts; `None` if it is not given.
    pub fn counted(&self, unit: Unit) -> Option<u64> {
        match unit {
            Unit::Messages => self.messages,
            Unit::Seconds => self.seconds,
            Unit::Bytes => self.bytes.or_else(|| sum(self.input_bytes, self.output_bytes)),
            Unit::Money => {
                self.money.map(|money| u64::try_from(money.0.max(0)).unwrap_or(u64::MAX))
            }
        }
    }

    /// Puts the number of what the tariff counts.
    pub fn set_counted(&mut self, unit: Unit, count: u64) {
        match unit {
            Unit::Messages => self.messages = Some(count),
            Unit::Seconds => self.seconds = Some(count),
            Unit::Bytes => {
                self.bytes = Some(count);
                self.input_bytes = None;
                self.output_bytes = None;
            }
            Unit::Money => self.money = Some(Amount(i128::from(count))),
        }
    }

    /// Both together.
    pub fn plus(&self, other: &Units) -> Units {
        Units {
            seconds: sum(self.seconds, other.seconds),
            messages: sum(self.messages, other.messages),
            bytes: sum(self.bytes, other.bytes),
            input_bytes: sum(self.input_bytes, other.input_bytes),
            output_bytes: sum(self.output_bytes, other.output_bytes),
            money: match (self.money, other.money) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            },
        }
    }

    /// The names of the types that are in `self` and not in `other` (C-11).
    pub fn types_missing_in(&self, other: &Units) -> Vec<&'static str> {
        let pairs = [
            ("CC-Time", self.seconds.is_some(), other.seconds.is_some()),
            ("CC-Service-Specific-Units", self.messages.is_some(), other.messages.is_some()),
            ("CC-Total-Octets", self.bytes.is_some(), other.bytes.is_some()),
            ("CC-Input-Octets", self.input_bytes.is_some(), other.input_bytes.is_some()),
            ("CC-Output-Octets", self.output_bytes.is_some(), other.output_bytes.is_some()),
            ("CC-Money", self.money.is_some(), other.money.is_some()),
        ];
        pairs.into_iter().filter(|(_, here, there)| *here && !there).map(|row| row.0).collect()
    }

    /// The Granted-Service-Unit AVP.
    pub fn granted_avp(&self, currency: Currency) -> Avp {
        let mut members = Vec::new();
        if let Some(seconds) = self.seconds {
            members.push(Avp::u32(id::CC_TIME, u32::try_from(seconds).unwrap_or(u32::MAX)));
        }
        if let Some(money) = self.money {
            members.push(money_avp(id::CC_MONEY, money, currency));
        }
        let octets = [
            (id::CC_TOTAL_OCTETS, self.bytes),
            (id::CC_INPUT_OCTETS, self.input_bytes),
            (id::CC_OUTPUT_OCTETS, self.output_bytes),
            (id::CC_SERVICE_SPECIFIC_UNITS, self.messages),
        ];
        members.extend(octets.into_iter().filter_map(|(id, value)| Some(Avp::u64(id, value?))));
        Avp::group(id::GRANTED_SERVICE_UNIT, members)
    }
}

/// A group of Unit-Value and Currency-Code: CC-Money, Cost-Information, Remaining-Balance.
pub fn money_avp(id: crate::diameter::AvpId, amount: Amount, currency: Currency) -> Avp {
    let (digits, exponent) = amount.unit_value(currency);
    let value = vec![
        Avp::new(id::VALUE_DIGITS, Value::Integer64(digits)),
        Avp::i32(id::EXPONENT, exponent),
    ];
    Avp::group(
        id,
        vec![Avp::group(id::UNIT_VALUE, value), Avp::u32(id::CURRENCY_CODE, u32::from(currency.0))],
    )
}

/// Reads such a group; `None` if it is incomplete, inexact, negative or in another currency.
///
/// A CC-Money without Currency-Code is in the account's currency.
pub fn read_money(avp: &Avp, currency: Currency) -> Option<Amount> {
    let members = avp.members()?;
    let code = members.unsigned32(id::CURRENCY_CODE);
    if code.is_some_and(|code| code != u32::from(currency.0)) {
        return None;
    }
    let value = members.group(id::UNIT_VALUE)?;
    let exponent = match value.find(id::EXPONENT) {
        Some(_) => value.integer32(id::EXPONENT)?,
        None => 0,
    };
    let amount = Amount::from_unit_value(value.integer64(id::VALUE_DIGITS)?, exponent).ok()?;
    (amount >= Amount::ZERO).then_some(amount)
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_has_begun_is_paid_once() {
        let mut tariff = Tariff::per_message(Amount(100));
        tariff.per = 60;
        assert_eq!(tariff.cost(0, 0), Some(Amount(0)));
        assert_eq!(tariff.cost(0, 1), Some(Amount(100)));
        assert_eq!(tariff.cost(1, 59), Some(Amount(0)));
        assert_eq!(tariff.cost(60, 1), Some(Amount(100)));
        assert_eq!(tariff.cost(0, 311), Some(Amount(600)));
        assert_eq!(tariff.affordable(1, Amount(199)), 59 + 60);
        assert_eq!(tariff.affordable(0, Amount(-5)), 0);
        tariff.price = Amount::ZERO;
        assert_eq!(tariff.affordable(0, Amount(0)), u64::MAX);
        tariff.price = Amount(i128::MAX);
        assert_eq!(tariff.cost(0, u64::MAX), None);
    }
}
