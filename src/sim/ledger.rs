//! The simulated OCS's own books: double entry in integer micro-units.
//!
//! Every movement of money is one entry from one account to another, so the sum over all accounts
//! is always zero and every balance can be counted again from the entries. The arithmetic is this
//! module's own: it judges the gateway and shares nothing with it (RFC 8506, 8.8 to 8.11 / C-53).

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::clock::Wall;

/// Micro-units of a currency in one unit of it.
const MICROS_PER_UNIT: i128 = 1_000_000;

/// Largest amount that is accepted from a file, a command or a message: 10^12 units of a currency.
pub const AMOUNT_MAX: Amount = Amount(1_000_000 * MICROS_PER_UNIT * 1_000_000);

/// Entries kept in memory; the oldest go first, balances stay right.
pub const ENTRIES_MAX: usize = 1_000_000;

/// An amount of money in micro-units of the ledger's currency; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub i128);

/// Why a number is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// It has digits below a millionth of the unit.
    #[error("more than 6 decimals")]
    Inexact,
    /// It is beyond [`AMOUNT_MAX`].
    #[error("larger than 10^12")]
    TooLarge,
    /// It is not a decimal number followed by a currency.
    #[error("expected an amount and a currency, such as `9.30 EUR`")]
    Form,
    /// The currency is not in the table.
    #[error("unknown currency")]
    Currency,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// Value-Digits × 10^Exponent, exactly or not at all (RFC 8506, 8.8).
    ///
    /// # Errors
    /// [`MoneyError::Inexact`] below a millionth, [`MoneyError::TooLarge`] beyond [`AMOUNT_MAX`].
    pub fn from_unit_value(digits: i64, exponent: i32) -> Result<Amount, MoneyError> {
        let digits = i128::from(digits);
        if digits == 0 {
            return Ok(Amount::ZERO);
        }
        let shift = i64::from(exponent) + 6;
        let scale = |power: i64| u32::try_from(power).ok().and_then(|p| 10i128.checked_pow(p));
        let micros = if shift >= 0 {
            scale(shift).and_then(|s| digits.checked_mul(s)).ok_or(MoneyError::TooLarge)?
        } else {
            let scale = scale(-shift).ok_or(MoneyError::Inexact)?;
            if digits % scale != 0 {
                return Err(MoneyError::Inexact);
            }
            digits / scale
        };
        Amount(micros).checked()
    }

    /// Value-Digits and Exponent: the currency's own decimals where they are enough, else more.
    ///
    /// An amount too large for Integer64 is cut to it; [`AMOUNT_MAX`] keeps balances far below.
    pub fn unit_value(self, currency: Currency) -> (i64, i32) {
        let mut exponent = -i32::from(currency.decimals());
        let mut scale = 10i128.pow(6 - u32::from(currency.decimals()));
        while self.0 % scale != 0 {
            scale /= 10;
            exponent -= 1;
        }
        let digits = (self.0 / scale).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        (i64::try_from(digits).unwrap_or(i64::MAX), exponent)
    }

    /// `self × count`, `None` beyond [`AMOUNT_MAX`].
    pub fn times(self, count: u64) -> Option<Amount> {
        self.0.checked_mul(i128::from(count)).and_then(|micros| Amount(micros).checked().ok())
    }

    /// The decimal number alone: `9.30`.
    pub fn decimal(self, currency: Currency) -> String {
        let (digits, exponent) = self.unit_value(currency);
        let places = usize::try_from(-exponent).unwrap_or(0);
        let sign = if digits < 0 { "-" } else { "" };
        let text = format!("{:0>width$}", digits.unsigned_abs(), width = places + 1);
        let (whole, fraction) = text.split_at(text.len() - places);
        if fraction.is_empty() {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{fraction}")
        }
    }

    fn checked(self) -> Result<Amount, MoneyError> {
        if self.0.abs() > AMOUNT_MAX.0 { Err(MoneyError::TooLarge) } else { Ok(self) }
    }
}

impl std::ops::Add for Amount {
    type Output = Amount;
    fn add(self, rhs: Amount) -> Amount {
        Amount(self.0.saturating_add(rhs.0))
    }
}

impl std::ops::Sub for Amount {
    type Output = Amount;
    fn sub(self, rhs: Amount) -> Amount {
        Amount(self.0.saturating_sub(rhs.0))
    }
}

/// A currency by its ISO 4217 number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(pub u16);

/// Letters, number, decimals.
const CURRENCIES: &[(&str, u16, u8)] = &[
    ("AUD", 36, 2),
    ("BHD", 48, 3),
    ("BRL", 986, 2),
    ("CAD", 124, 2),
    ("CHF", 756, 2),
    ("CNY", 156, 2),
    ("CZK", 203, 2),
    ("DKK", 208, 2),
    ("EUR", 978, 2),
    ("GBP", 826, 2),
    ("HUF", 348, 2),
    ("INR", 356, 2),
    ("JPY", 392, 0),
    ("KRW", 410, 0),
    ("KWD", 414, 3),
    ("MXN", 484, 2),
    ("NOK", 578, 2),
    ("PLN", 985, 2),
    ("SEK", 752, 2),
    ("SGD", 702, 2),
    ("TRY", 949, 2),
    ("USD", 840, 2),
    ("ZAR", 710, 2),
];

impl Currency {
    /// The euro.
    pub const EUR: Currency = Currency(978);

    /// The currency of these three letters.
    pub fn from_letters(letters: &str) -> Option<Currency> {
        CURRENCIES.iter().find(|row| row.0 == letters).map(|row| Currency(row.1))
    }

    /// Decimals of its smallest coin; 2 where unknown.
    pub fn decimals(self) -> u8 {
        CURRENCIES.iter().find(|row| row.1 == self.0).map_or(2, |row| row.2)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CURRENCIES.iter().find(|row| row.1 == self.0) {
            Some(row) => f.write_str(row.0),
            None => write!(f, "{:03}", self.0),
        }
    }
}

/// Reads `9.30 EUR`, `10.00EUR`, `-1 JPY`.
///
/// # Errors
/// What is wrong with the text, see [`MoneyError`].
pub fn parse_money(text: &str) -> Result<(Amount, Currency), MoneyError> {
    let text = text.trim();
    let letters = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(MoneyError::Form)?;
    let (number, letters) = text.split_at(letters);
    let currency = Currency::from_letters(letters).ok_or(MoneyError::Currency)?;
    let number = number.trim_end();
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits_only = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let form = !whole.is_empty() && digits_only(whole) && digits_only(fraction);
    if !form || (number.contains('.') && fraction.is_empty()) {
        return Err(MoneyError::Form);
    }
    let digits = format!("{whole}{fraction}");
    let digits: i64 = digits.parse().map_err(|_| MoneyError::TooLarge)?;
    let exponent = i32::try_from(fraction.len()).map_err(|_| MoneyError::Inexact)?;
    let amount = Amount::from_unit_value(if negative { -digits } else { digits }, -exponent)?;
    Ok((amount, currency))
}

/// One side of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// Where opening balances and top-ups come from.
    Funding,
    /// What the subscriber can spend.
    Subscriber(Arc<str>),
    /// What sessions of the subscriber hold.
    Reserved(Arc<str>),
    /// What the operator earned.
    Revenue,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Funding => f.write_str("funding"),
            Account::Subscriber(id) => write!(f, "subscriber {id}"),
            Account::Reserved(id) => write!(f, "reserved {id}"),
            Account::Revenue => f.write_str("revenue"),
        }
    }
}

/// What an entry is for: the request that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// When.
    pub at: Wall,
    /// Diameter Session-Id; empty for an operator's change.
    pub session: Arc<str>,
    /// CC-Request-Number.
    pub request_number: u32,
    /// Rating-Group, if the units belong to one.
    pub rating_group: Option<u32>,
    /// Units of the tariff that are paid or held.
    pub units: u64,
    /// Price of one tariff step.
    pub price: Amount,
}

impl Cause {
    /// An operator's change of an account.
    pub fn operator(at: Wall) -> Cause {
        Cause {
            at,
            session: "".into(),
            request_number: 0,
            rating_group: None,
            units: 0,
            price: Amount::ZERO,
        }
    }
}

/// Why money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Opening balance, top-up, correction.
    Fund,
    /// Held for a grant.
    Reserve,
    /// Given back from a reservation.
    Release,
    /// Paid for used units.
    Debit,
    /// Paid back.
    Refund,
}

impl Movement {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Movement::Fund => "fund",
            Movement::Reserve => "reserve",
            Movement::Release => "release",
            Movement::Debit => "debit",
            Movement::Refund => "refund",
        }
    }
}

/// One posting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The request.
    pub cause: Cause,
    /// Why.
    pub movement: Movement,
    /// Who gives.
    pub from: Account,
    /// Who gets.
    pub to: Account,
    /// How much; never negative.
    pub amount: Amount,
}

/// What a debit took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debited {
    /// Taken from the balance.
    pub paid: Amount,
    /// What the account could not cover.
    pub uncovered: Amount,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reservation {
    subscriber: Arc<str>,
    amount: Amount,
}

/// The books of one OCS (or of several that share a store).
#[derive(Clone, Debug)]
pub struct Ledger {
    currency: Currency,
    accounts: BTreeMap<Account, Amount>,
    reservations: BTreeMap<(Arc<str>, Option<u32>), Reservation>,
    entries: VecDeque<Entry>,
    entries_dropped: u64,
}

impl Ledger {
    /// Empty books.
    pub fn new(currency: Currency) -> Ledger {
        Ledger {
            currency,
            accounts: BTreeMap::new(),
            reservations: BTreeMap::new(),
            entries: VecDeque::new(),
            entries_dropped: 0,
        }
    }

    /// The one currency of these books.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// Makes the subscriber's balance `amount`, reservations included; opens the account if needed.
    pub fn set_balance(&mut self, subscriber: &Arc<str>, amount: Amount, at: Wall) {
        let account = Account::Subscriber(subscriber.clone());
        self.accounts.entry(account.clone()).or_default();
        let difference = amount - self.balance(subscriber);
        let cause = Cause::operator(at);
        if difference >= Amount::ZERO {
            self.post(cause, Movement::Fund, Account::Funding, account, difference);
        } else {
            let back = Amount::ZERO - difference;
            self.post(cause, Movement::Fund, account, Account::Funding, back);
        }
    }

    /// Has this subscriber an account?
    pub fn has(&self, subscriber: &Arc<str>) -> bool {
        self.accounts.contains_key(&Account::Subscriber(subscriber.clone()))
    }

    /// All subscribers with an account, in order.
    pub fn subscribers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.accounts.keys().filter_map(|account| match account {
            Account::Subscriber(id) => Some(id),
            _ => None,
        })
    }

    /// What the subscriber can spend now.
    pub fn available(&self, subscriber: &Arc<str>) -> Amount {
        self.amount(&Account::Subscriber(subscriber.clone()))
    }

    /// What the subscriber's sessions hold.
    pub fn reserved(&self, subscriber: &Arc<str>) -> Amount {
        self.amount(&Account::Reserved(subscriber.clone()))
    }

    /// Available and reserved together: the balance a person means.
    pub fn balance(&self, subscriber: &Arc<str>) -> Amount {
        self.available(subscriber) + self.reserved(subscriber)
    }

    /// The balance as text: `9.30 EUR`.
    pub fn balance_text(&self, subscriber: &Arc<str>) -> String {
        format!("{} {}", self.balance(subscriber).decimal(self.currency), self.currency)
    }

    /// What was earned and not paid back.
    pub fn revenue(&self) -> Amount {
        self.amount(&Account::Revenue)
    }

    /// What `(session, rating group)` holds.
    pub fn reservation(&self, session: &Arc<str>, rating_group: Option<u32>) -> Amount {
        self.reservations
            .get(&(session.clone(), rating_group))
            .map_or(Amount::ZERO, |reservation| reservation.amount)
    }

    /// Adds `amount` to the reservation of the cause's (session, rating group).
    ///
    /// False, and nothing changed, if the subscriber cannot cover it.
    pub fn reserve(&mut self, cause: Cause, subscriber: &Arc<str>, amount: Amount) -> bool {
        if amount < Amount::ZERO || self.available(subscriber) < amount {
            return false;
        }
        let key = (cause.session.clone(), cause.rating_group);
        let held = self.reservations.entry(key).or_insert_with(|| Reservation {
            subscriber: subscriber.clone(),
            amount: Amount::ZERO,
        });
        held.amount = held.amount + amount;
        let owner = held.subscriber.clone();
        self.post(
            cause,
            Movement::Reserve,
            Account::Subscriber(owner.clone()),
            Account::Reserved(owner),
            amount,
        );
        true
    }

    /// Gives back what the cause's (session, rating group) still holds.
    pub fn release(&mut self, cause: Cause) -> Amount {
        let key = (cause.session.clone(), cause.rating_group);
        let Some(held) = self.reservations.remove(&key) else {
            return Amount::ZERO;
        };
        self.post(
            cause,
            Movement::Release,
            Account::Reserved(held.subscriber.clone()),
            Account::Subscriber(held.subscriber),
            held.amount,
        );
        held.amount
    }

    /// Takes `amount` in one entry, subscriber to revenue, after giving back what the cause's
    /// (session, rating group) holds.
    ///
    /// Never below zero: what the account cannot cover is reported back (RFC 8506, 9.1:
    /// used units "are deducted, if possible").
    pub fn debit(&mut self, cause: Cause, subscriber: &Arc<str>, amount: Amount) -> Debited {
        self.release(cause.clone());
        let paid = amount.min(self.available(subscriber)).max(Amount::ZERO);
        let from = Account::Subscriber(subscriber.clone());
        self.post(cause, Movement::Debit, from, Account::Revenue, paid);
        Debited { paid, uncovered: amount - paid }
    }

    /// Pays `amount` back.
    pub fn refund(&mut self, cause: Cause, subscriber: &Arc<str>, amount: Amount) {
        let to = Account::Subscriber(subscriber.clone());
        self.post(cause, Movement::Refund, Account::Revenue, to, amount);
    }

    /// The newest entries, oldest first, at most [`ENTRIES_MAX`].
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Holds the books against themselves.
    ///
    /// # Errors
    /// The first thing that does not add up.
    pub fn check(&self) -> Result<(), String> {
        let total = self.accounts.values().fold(Amount::ZERO, |sum, amount| sum + *amount);
        if total != Amount::ZERO {
            return Err(format!("the sum of all accounts is {} micro-units", total.0));
        }
        let mut held: BTreeMap<Account, Amount> = BTreeMap::new();
        for reservation in self.reservations.values() {
            let sum = held.entry(Account::Reserved(reservation.subscriber.clone())).or_default();
            *sum = *sum + reservation.amount;
        }
        for (account, amount) in &self.accounts {
            let reserved = matches!(account, Account::Reserved(_));
            if reserved && held.get(account).copied().unwrap_or_default() != *amount {
                return Err(format!("{account} differs from its reservations"));
            }
            if reserved && *amount < Amount::ZERO {
                return Err(format!("{account} is negative"));
            }
        }
        if self.entries_dropped == 0 && self.recount() != self.accounts {
            return Err("the balances differ from the entries".to_owned());
        }
        Ok(())
    }

    /// All balances, counted again from the entries.
    fn recount(&self) -> BTreeMap<Account, Amount> {
        let mut counted: BTreeMap<Account, Amount> =
            self.accounts.keys().map(|account| (account.clone(), Amount::ZERO)).collect();
        for entry in &self.entries {
            let from = counted.entry(entry.from.clone()).or_default();
            *from = *from - entry.amount;
            let to = counted.entry(entry.to.clone()).or_default();
            *to = *to + entry.amount;
        }
        counted
    }

    fn amount(&self, account: &Account) -> Amount {
        self.accounts.get(account).copied().unwrap_or_default()
    }

    /// The only function that moves money.
    fn post(
        &mut self,
        cause: Cause,
        movement: Movement,
        from: Account,
        to: Account,
        amount: Amount,
    ) {
        if amount == Amount::ZERO {
            return;
        }
        let giver = self.accounts.entry(from.clone()).or_default();
        *giver = *giver - amount;
        let taker = self.accounts.entry(to.clone()).or_default();
        *taker = *taker + amount;
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.entries_dropped += 1;
        }
        self.entries.push_back(Entry { cause, movement, from, to, amount });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_53_money_is_digits_times_ten_to_the_exponent() {
        assert_eq!(Amount::from_unit_value(5, -2), Ok(Amount(50_000)));
        assert_eq!(Amount::from_unit_value(23, -1), Ok(Amount(2_300_000)));
        assert_eq!(Amount::from_unit_value(7, 0), Ok(Amount(7_000_000)));
        assert_eq!(Amount::from_unit_value(-7, 2), Ok(Amount(-700_000_000)));
        assert_eq!(Amount::from_unit_value(0, i32::MAX), Ok(Amount::ZERO));
        assert_eq!(Amount::from_unit_value(10, -7), Ok(Amount(1)));
        assert_eq!(Amount::from_unit_value(1, -7), Err(MoneyError::Inexact));
        assert_eq!(Amount::from_unit_value(1, i32::MIN), Err(MoneyError::Inexact));
        assert_eq!(Amount::from_unit_value(1, i32::MAX), Err(MoneyError::TooLarge));
        assert_eq!(Amount::from_unit_value(i64::MAX, 0), Err(MoneyError::TooLarge));
    }

    #[test]
    fn money_reads_and_prints() {
        let eur = Currency::EUR;
        assert_eq!(parse_money("9.30 EUR"), Ok((Amount(9_300_000), eur)));
        assert_eq!(parse_money("10.00EUR"), Ok((Amount(10_000_000), eur)));
        assert_eq!(parse_money("-1 JPY"), Ok((Amount(-1_000_000), Currency(392))));
        for bad in ["", "EUR", "1", "1. EUR", ".5 EUR", "1,5 EUR", "1 EURO", "1e3 EUR", "--1 EUR"] {
            assert!(parse_money(bad).is_err(), "{bad}");
        }
        assert_eq!(Amount(9_300_000).decimal(eur), "9.30");
        assert_eq!(Amount(-50_000).decimal(eur), "-0.05");
        assert_eq!(Amount(1_234_500).decimal(eur), "1.2345");
        assert_eq!(Amount(3_000_000).decimal(Currency(392)), "3");
        assert_eq!(Amount(9_300_000).unit_value(eur), (930, -2));
    }
}
