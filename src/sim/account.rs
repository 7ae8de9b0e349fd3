//! Accounts of the simulated OCS, and how it behaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::sim::ledger::Amount;
use crate::sim::ledger::Currency;
use crate::sim::rating::Tariff;

/// May the account be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// Yes.
    Active,
    /// It does not exist: 5030.
    Unknown,
    /// It exists and may not: 4010.
    Blocked,
    /// Everything is free for it: 4011.
    Free,
}

/// An account as a scenario gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountSpec {
    /// Opening balance.
    pub balance: Amount,
    /// State.
    pub state: AccountState,
}

/// Where a refused service stands in an answer that grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefuseAt {
    /// At command level: the session ends, or does not begin.
    Command,
    /// In Multiple-Services-Credit-Control under 2001: the session goes on.
    Service,
}

/// How the OCS behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcsConfig {
    /// The one currency of accounts and tariffs.
    pub currency: Currency,
    /// Accounts by Subscription-Id-Data; a leading `+` does not matter.
    pub accounts: BTreeMap<String, AccountSpec>,
    /// The account that any other subscriber is given at first sight; `None`: 5030.
    pub others: Option<AccountSpec>,
    /// Tariffs by Rating-Group.
    pub tariffs: BTreeMap<u32, Tariff>,
    /// For any other rating group, and for requests without one; `None`: 5031.
    pub other_tariff: Option<Tariff>,
    /// Where refusals stand.
    pub refuse_at: RefuseAt,
    /// Credit-Control-Failure-Handling in every successful answer.
    pub failure_handling: Option<i32>,
    /// Direct-Debiting-Failure-Handling in every successful answer.
    pub direct_debiting_failure_handling: Option<i32>,
    /// CC-Session-Failover in every successful answer.
    pub session_failover: Option<bool>,
    /// Low-Balance-Indication says YES below this; `None`: the AVP is not sent.
    pub low_balance: Option<Amount>,
    /// Cost-Information and Remaining-Balance in answers?
    pub shows_money: bool,
    /// A session without a request for this long is ended (Tcc of RFC 8506, 13).
    pub tcc: Option<Duration>,
}

impl OcsConfig {
    /// What runs without a scenario: rating groups 700 and 701 at 0.05 a message, 600 s a grant.
    pub fn standard(currency: Currency) -> OcsConfig {
        let price = Amount(50_000);
        let tariff = Tariff { grant_seconds: Some(600), ..Tariff::per_message(price) };
        OcsConfig {
            currency,
            accounts: BTreeMap::new(),
            others: None,
            tariffs: BTreeMap::from([(700, tariff.clone()), (701, tariff)]),
            other_tariff: None,
            refuse_at: RefuseAt::Command,
            failure_handling: None,
            direct_debiting_failure_handling: None,
            session_failover: None,
            low_balance: None,
            shows_money: true,
            tcc: None,
        }
    }

    /// With one active account more.
    pub fn with_account(mut self, subscriber: &str, balance: Amount) -> OcsConfig {
        let spec = AccountSpec { balance, state: AccountState::Active };
        self.accounts.insert(subscriber.to_owned(), spec);
        self
    }
}

/// An account as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Subscription-Id-Data.
    pub id: Arc<str>,
    /// State.
    pub state: AccountState,
    /// Available and reserved together.
    pub balance: Amount,
    /// Held by open sessions.
    pub reserved: Amount,
}

/// Identities are compared without `+`, `tel:` and case.
pub(super) fn normalised(id: &str) -> String {
    let id = id.trim();
    let id = id.strip_prefix("tel:").unwrap_or(id);
    id.strip_prefix('+').unwrap_or(id).to_ascii_lowercase()
}
