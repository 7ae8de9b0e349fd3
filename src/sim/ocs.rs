//! The simulated OCS: accounts, tariffs and credit-control sessions (RFC 8506, 5 and 6).
//!
//! A message and the time go in, an answer comes out; what it did stands in its [`Ledger`], what it
//! found odd in its [`Anomaly`] list. It debits what it is told was used and trusts nothing else:
//! numbering, duplicates and grammar are checked here anew, not with the gateway's code.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Wall;
use crate::diameter::Avp;
use crate::diameter::Dictionary;
use crate::diameter::Message;
use crate::diameter::Value;
use crate::diameter::application;
use crate::diameter::command;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::sim::account::AccountState;
use crate::sim::account::AccountView;
use crate::sim::account::OcsConfig;
use crate::sim::account::RefuseAt;
use crate::sim::account::normalised;
use crate::sim::answer::Identity;
use crate::sim::answer::Refusal;
use crate::sim::answer::Request;
use crate::sim::answer::answer;
use crate::sim::answer::refusal;
use crate::sim::answer::refuse;
use crate::sim::cca::Outcome;
use crate::sim::cca::Verdict;
use crate::sim::ccr::CcRequestType;
use crate::sim::ccr::Ccr;
use crate::sim::ccr::Service;
use crate::sim::judge::Anomalies;
use crate::sim::judge::Anomaly;
use crate::sim::judge::AnomalyKind;
use crate::sim::judge::Answered;
use crate::sim::judge::Copy;
use crate::sim::ledger::Amount;
use crate::sim::ledger::Cause;
use crate::sim::ledger::Ledger;
use crate::sim::rating::Tariff;
use crate::sim::rating::Units;

/// Ended sessions that are remembered, so that a late request is told from a strange one.
const ENDED_MAX: usize = 100_000;

/// A credit-control session as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Session-Id.
    pub id: Arc<str>,
    /// Whose it is.
    pub subscriber: Arc<str>,
    /// Origin-Host and Origin-Realm of its client.
    pub client: (String, String),
    /// CC-Request-Number of the last request.
    pub last_number: u32,
}

#[derive(Clone, Debug)]
struct Session {
    subscriber: Arc<str>,
    client: (String, String),
    last_number: u32,
    last_request: Wall,
    /// Order of use over all sessions.
    touched: u64,
    meters: BTreeMap<Option<u32>, Meter>,
    cost: Amount,
}

/// One rating group of one session.
#[derive(Clone, Debug, Default)]
struct Meter {
    /// Units of the tariff that are paid.
    paid: u64,
    /// What the last answer granted.
    granted: Units,
}

/// The simulated OCS.
#[derive(Clone, Debug)]
pub struct Ocs {
    pub(super) config: OcsConfig,
    pub(super) ledger: Ledger,
    /// Normalised Subscription-Id-Data → account.
    names: BTreeMap<String, Arc<str>>,
    states: BTreeMap<Arc<str>, AccountState>,
    sessions: BTreeMap<Arc<str>, Session>,
    ended: BTreeSet<Arc<str>>,
    ended_order: VecDeque<Arc<str>>,
    answered: Answered,
    pub(super) refundable: BTreeMap<String, (Arc<str>, Amount)>,
    pub(super) refundable_order: VecDeque<String>,
    anomalies: Anomalies,
    touched: u64,
}

impl Ocs {
    /// An OCS with the accounts of `config`.
    pub fn new(config: OcsConfig, now: Wall) -> Ocs {
        let mut ocs = Ocs {
            ledger: Ledger::new(config.currency),
            names: BTreeMap::new(),
            states: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ended: BTreeSet::new(),
            ended_order: VecDeque::new(),
            answered: Answered::default(),
            refundable: BTreeMap::new(),
            refundable_order: VecDeque::new(),
            anomalies: Anomalies::default(),
            touched: 0,
            config: OcsConfig { accounts: BTreeMap::new(), ..config.clone() },
        };
        for (id, spec) in &config.accounts {
            ocs.set_account(id, Some(spec.balance), Some(spec.state), now);
        }
        ocs
    }

    /// The books.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What was odd, oldest first.
    pub fn anomalies(&self) -> Vec<Anomaly> {
        self.anomalies.list()
    }

    /// Requests that were recognised as copies and answered as before.
    pub fn duplicates(&self) -> u64 {
        self.answered.duplicates()
    }

    /// All accounts in order of their ids.
    pub fn accounts(&self) -> Vec<AccountView> {
        self.states.keys().map(|id| self.view(id)).collect()
    }

    /// One account; a leading `+` does not matter.
    pub fn account(&self, id: &str) -> Option<AccountView> {
        self.names.get(&normalised(id)).map(|id| self.view(id))
    }

    /// Opens or changes an account; what is `None` stays (a new account: zero and active).
    pub fn set_account(
        &mut self,
        id: &str,
        balance: Option<Amount>,
        state: Option<AccountState>,
        now: Wall,
    ) {
        let name = self.names.entry(normalised(id)).or_insert_with(|| id.into()).clone();
        if balance.is_some() || !self.ledger.has(&name) {
            self.ledger.set_balance(&name, balance.unwrap_or_default(), now);
        }
        let present = self.states.entry(name).or_insert(AccountState::Active);
        *present = state.unwrap_or(*present);
    }

    /// All open sessions, the one used last at the end.
    pub fn sessions(&self) -> Vec<SessionView> {
        let mut sessions: Vec<(&Arc<str>, &Session)> = self.sessions.iter().collect();
        sessions.sort_by_key(|(_, session)| session.touched);
        sessions
            .into_iter()
            .map(|(id, session)| SessionView {
                id: id.clone(),
                subscriber: session.subscriber.clone(),
                client: session.client.clone(),
                last_number: session.last_number,
            })
            .collect()
    }

    /// Ends the sessions whose Tcc has passed and releases what they hold. Returns how many.
    pub fn expire(&mut self, now: Wall) -> usize {
        let Some(tcc) = self.config.tcc else { return 0 };
        let over: Vec<Arc<str>> = self
            .sessions
            .iter()
            .filter(|(_, session)| now.since(session.last_request) >= tcc)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &over {
            if let Some(session) = self.sessions.remove(id) {
                self.end(id, &session, now);
            }
        }
        over.len()
    }

    /// The answer to a request.
    pub fn answer(&mut self, me: &Identity, request: &Request<'_>, now: Wall) -> Message {
        self.respond(me, request, now, None)
    }

    /// The answer with `code`, and what that code means for the account: 2xxx does the work;
    /// 4010, 4011 and 4012 deduct what a U or T reports and end the session (RFC 8506, 9.1);
    /// any other changes nothing, so that a copy of the request is new.
    pub fn answer_with(
        &mut self,
        me: &Identity,
        request: &Request<'_>,
        now: Wall,
        code: u32,
    ) -> Message {
        match code {
            2000..=2999 => {
                let mut answer = self.respond(me, request, now, None);
                for avp in &mut answer.avps {
                    if avp.id == id::RESULT_CODE {
                        avp.value = Value::Unsigned32(code);
                    }
                }
                answer
            }
            4010..=4012 => self.respond(me, request, now, Some(code)),
            _ => answer(me, request.message, code),
        }
    }

    fn respond(
        &mut self,
        me: &Identity,
        request: &Request<'_>,
        now: Wall,
        forced: Option<u32>,
    ) -> Message {
        let wanted = (command::CREDIT_CONTROL, application::CREDIT_CONTROL);
        if let Some(found) = refuse(me, request, wanted, Dictionary::builtin()) {
            return refusal(me, request.message, &found);
        }
        let ccr = match Ccr::read(request.message, self.config.currency) {
            Ok(ccr) => ccr,
            Err(found) => return refusal(me, request.message, &found),
        };
        let copy = Copy::of(request);
        if let Some(known) = self.answered.repeat(&ccr.session, ccr.number, &copy) {
            known.odd.into_iter().for_each(|(kind, detail)| self.note(&ccr, now, kind, detail));
            return known.answer;
        }
        self.check_number(&ccr, now);
        self.touched += 1;
        let outcome = match ccr.kind {
            CcRequestType::Initial => self.initial(&ccr, now, forced),
            CcRequestType::Update | CcRequestType::Termination => self.ongoing(&ccr, now, forced),
            CcRequestType::Event => self.event(&ccr, now, forced),
        };
        let answer = self.build(me, request.message, outcome);
        self.answered.remember(&ccr.session, ccr.number, copy, &answer);
        answer
    }

    fn note(&mut self, ccr: &Ccr, at: Wall, kind: AnomalyKind, detail: String) {
        let session = ccr.session.clone();
        self.anomalies.note(Anomaly { at, session, number: ccr.number, kind, detail });
    }

    /// 0 for INITIAL and EVENT, then one more per request (RFC 8506, 8.2; F-21).
    fn check_number(&mut self, ccr: &Ccr, now: Wall) {
        let expected = match ccr.kind {
            CcRequestType::Initial | CcRequestType::Event => Some(0),
            CcRequestType::Update | CcRequestType::Termination => {
                self.sessions.get(&ccr.session).map(|session| session.last_number.wrapping_add(1))
            }
        };
        if let Some(expected) = expected.filter(|expected| *expected != ccr.number) {
            let detail = format!("CC-Request-Number {} where {expected} is due", ccr.number);
            self.note(ccr, now, AnomalyKind::Numbering, detail);
        }
    }

    // ---- INITIAL_REQUEST ----

    fn initial(&mut self, ccr: &Ccr, now: Wall, forced: Option<u32>) -> Outcome {
        if !ccr.at_command() && !ccr.multiple_services {
            let detail = "Multiple-Services-Credit-Control without the indicator (C-05)".to_owned();
            self.note(ccr, now, AnomalyKind::Form, detail);
        }
        let subscriber = match self.subscriber(ccr, now) {
            Ok(subscriber) => subscriber,
            Err(refusal) => return Outcome::refused(refusal),
        };
        if let Some(code) = forced.or_else(|| self.state_code(&subscriber)) {
            return Outcome {
                subscriber: Some(subscriber),
                ..Outcome::refused(Refusal::new(code, ""))
            };
        }
        let mut session = Session {
            subscriber: subscriber.clone(),
            client: ccr.client.clone(),
            last_number: ccr.number,
            last_request: now,
            touched: self.touched,
            meters: BTreeMap::new(),
            cost: Amount::ZERO,
        };
        let verdicts: Vec<(Service, Verdict)> = ccr
            .services
            .iter()
            .map(|service| {
                (service.clone(), self.reserve(ccr, &mut session, service, now, Verdict::Settled))
            })
            .collect();
        let refusal = self.overall(ccr, &verdicts);
        if refusal.is_some() {
            self.end(&ccr.session, &session, now);
        } else {
            self.sessions.insert(ccr.session.clone(), session);
        }
        Outcome { refusal, verdicts, subscriber: Some(subscriber), ..Outcome::default() }
    }

    // ---- UPDATE_REQUEST and TERMINATION_REQUEST ----

    fn ongoing(&mut self, ccr: &Ccr, now: Wall, forced: Option<u32>) -> Outcome {
        let Some(mut session) = self.sessions.remove(&ccr.session) else {
            let (kind, detail) = match self.ended.contains(&ccr.session) {
                true => (AnomalyKind::AfterEnd, "the session has ended"),
                false => (AnomalyKind::UnknownSession, "no such credit session"),
            };
            self.note(ccr, now, kind, detail.to_owned());
            return Outcome::refused(Refusal::new(result_code::UNKNOWN_SESSION_ID, detail));
        };
        session.last_number = ccr.number;
        session.last_request = now;
        session.touched = self.touched;
        let last = ccr.kind == CcRequestType::Termination;
        let subscriber = session.subscriber.clone();
        let forced = forced.or_else(|| self.state_code(&subscriber));
        let mut verdicts = Vec::new();
        for service in &ccr.services {
            self.check_report(ccr, &session, service, now);
            let settled = self.settle(ccr, &mut session, service, now);
            let verdict = if last || forced.is_some() {
                settled
            } else {
                self.reserve(ccr, &mut session, service, now, settled)
            };
            verdicts.push((service.clone(), verdict));
        }
        let refusal = match forced {
            Some(code) => Some(Refusal::new(code, "")),
            None => self.overall(ccr, &verdicts),
        };
        let cost = session.cost;
        if last || refusal.is_some() {
            self.end(&ccr.session, &session, now);
        } else {
            self.sessions.insert(ccr.session.clone(), session);
        }
        Outcome {
            refusal,
            verdicts,
            cost: Some(cost),
            subscriber: Some(subscriber),
            ..Outcome::default()
        }
    }

    /// What a U or T must carry (C-11, C-14).
    fn check_report(&mut self, ccr: &Ccr, session: &Session, service: &Service, now: Wall) {
        let last = ccr.kind == CcRequestType::Termination;
        if last && service.requested.is_some() {
            let detail = "Requested-Service-Unit in a TERMINATION_REQUEST (C-14)".to_owned();
            self.note(ccr, now, AnomalyKind::Form, detail);
        }
        let Some(meter) = session.meters.get(&service.rating_group) else { return };
        let reported = match &service.used {
            Some(used) => used.clone(),
            None if last => Units::default(),
            None => return,
        };
        let missing = meter.granted.types_missing_in(&reported);
        if !missing.is_empty() {
            let detail = format!("granted and not reported: {} (C-11)", missing.join(", "));
            self.note(ccr, now, AnomalyKind::Form, detail);
        }
    }

    /// Debits what is reported and gives the rest of the reservation back.
    fn settle(
        &mut self,
        ccr: &Ccr,
        session: &mut Session,
        service: &Service,
        now: Wall,
    ) -> Verdict {
        let Some(used) = &service.used else { return Verdict::Settled };
        let Some(tariff) = self.tariff(service.rating_group).cloned() else {
            return Verdict::Refused(unrated(service));
        };
        let units = used.counted(tariff.unit).unwrap_or(0);
        let meter = session.meters.entry(service.rating_group).or_default();
        let Some(due) = tariff.cost(meter.paid, units) else {
            return Verdict::Refused(unrated(service));
        };
        meter.paid = meter.paid.saturating_add(units);
        meter.granted = Units::default();
        let cause = cause(ccr, service, &tariff, units, now);
        let debited = self.ledger.debit(cause, &session.subscriber, due);
        session.cost = session.cost + debited.paid;
        if debited.uncovered > Amount::ZERO {
            let detail = "the account does not cover what was used";
            return Verdict::Refused(Refusal::new(result_code::CREDIT_LIMIT_REACHED, detail));
        }
        Verdict::Settled
    }

    /// Grants what is requested as far as the balance goes; `before` if nothing is requested.
    fn reserve(
        &mut self,
        ccr: &Ccr,
        session: &mut Session,
        service: &Service,
        now: Wall,
        before: Verdict,
    ) -> Verdict {
        let (Some(requested), Verdict::Settled) = (&service.requested, &before) else {
            return before;
        };
        let Some(tariff) = self.tariff(service.rating_group).cloned() else {
            return Verdict::Refused(unrated(service));
        };
        // A reservation that no usage was reported for is replaced by the new one.
        self.ledger.release(cause(ccr, service, &tariff, 0, now));
        let meter = session.meters.entry(service.rating_group).or_default();
        let available = self.ledger.available(&session.subscriber);
        let affordable = tariff.affordable(meter.paid, available);
        let mut units = grant(&tariff, requested);
        // What the tariff counts may not be what the client asks for: then one step is held.
        let wanted = units.counted(tariff.unit).unwrap_or(tariff.per.max(1));
        let count = wanted.min(affordable);
        if count == 0 && wanted > 0 {
            let detail = "the account cannot cover the service";
            return Verdict::Refused(Refusal::new(result_code::CREDIT_LIMIT_REACHED, detail));
        }
        let Some(held) = tariff.cost(meter.paid, count) else {
            return Verdict::Refused(unrated(service));
        };
        let last = affordable <= wanted && wanted > 0;
        if last || units.counted(tariff.unit).is_some() {
            units.set_counted(tariff.unit, count);
        }
        meter.granted = units.clone();
        self.ledger.reserve(cause(ccr, service, &tariff, count, now), &session.subscriber, held);
        Verdict::Granted { units, last }
    }

    /// The end of a session: what it still holds goes back.
    fn end(&mut self, id: &Arc<str>, session: &Session, now: Wall) {
        for rating_group in session.meters.keys() {
            self.ledger.release(Cause {
                session: id.clone(),
                request_number: session.last_number,
                rating_group: *rating_group,
                ..Cause::operator(now)
            });
        }
        if self.ended_order.len() == ENDED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.ended.insert(id.clone());
        self.ended_order.push_back(id.clone());
    }

    /// The command level's refusal: every service that wanted something is refused.
    fn overall(&self, ccr: &Ccr, verdicts: &[(Service, Verdict)]) -> Option<Refusal> {
        let mut refusals = verdicts.iter().map(|(_, verdict)| match verdict {
            Verdict::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        });
        let first = refusals.next()??;
        let all = refusals.all(|refusal| refusal.is_some());
        let at_command = self.config.refuse_at == RefuseAt::Command || ccr.at_command();
        (all && at_command).then_some(first)
    }

    // ---- accounts and answers ----

    fn view(&self, id: &Arc<str>) -> AccountView {
        AccountView {
            id: id.clone(),
            state: self.states.get(id).copied().unwrap_or(AccountState::Active),
            balance: self.ledger.balance(id),
            reserved: self.ledger.reserved(id),
        }
    }

    /// The account of the first Subscription-Id that has one; else a new one like `others`.
    pub(super) fn subscriber(&mut self, ccr: &Ccr, now: Wall) -> Result<Arc<str>, Refusal> {
        let known = ccr.subscriptions.iter().find_map(|(_, id)| self.names.get(&normalised(id)));
        let subscriber = match known {
            Some(subscriber) => subscriber.clone(),
            None => self.newcomer(ccr, now).ok_or_else(unknown_user)?,
        };
        match self.states.get(&subscriber) {
            Some(AccountState::Unknown) => Err(unknown_user()),
            _ => Ok(subscriber),
        }
    }

    fn newcomer(&mut self, ccr: &Ccr, now: Wall) -> Option<Arc<str>> {
        let spec = self.config.others?;
        // END_USER_E164 names the account where there is one.
        let first = ccr.subscriptions.iter().find(|(kind, _)| *kind == 0);
        let (_, id) = first.or(ccr.subscriptions.first())?;
        self.set_account(id, Some(spec.balance), Some(spec.state), now);
        self.names.get(&normalised(id)).cloned()
    }

    pub(super) fn state_code(&self, subscriber: &Arc<str>) -> Option<u32> {
        match self.states.get(subscriber)? {
            AccountState::Active => None,
            AccountState::Unknown => Some(result_code::USER_UNKNOWN),
            AccountState::Blocked => Some(result_code::END_USER_SERVICE_DENIED),
            AccountState::Free => Some(result_code::CREDIT_CONTROL_NOT_APPLICABLE),
        }
    }

    pub(super) fn tariff(&self, rating_group: Option<u32>) -> Option<&Tariff> {
        rating_group
            .and_then(|group| self.config.tariffs.get(&group))
            .or(self.config.other_tariff.as_ref())
    }
}

/// What an entry in the books is for.
pub(super) fn cause(ccr: &Ccr, service: &Service, tariff: &Tariff, units: u64, at: Wall) -> Cause {
    Cause {
        at,
        session: ccr.session.clone(),
        request_number: ccr.number,
        rating_group: service.rating_group,
        units,
        price: tariff.step_price(),
    }
}

/// What is granted of what is requested, before the balance is looked at.
fn grant(tariff: &Tariff, requested: &Units) -> Units {
    let seconds = tariff.grant_seconds.map(u64::from);
    let most = |asked: Option<u64>, most: Option<u64>| match (asked, most) {
        (Some(asked), Some(most)) => Some(asked.min(most)),
        (asked, _) => asked,
    };
    if requested.is_empty() {
        // "Give me what you like": what the tariff says, at least one step of what it counts.
        let mut units = Units {
            seconds,
            messages: tariff.grant_messages,
            bytes: tariff.grant_bytes,
            ..Units::default()
        };
        if units.is_empty() {
            units.set_counted(tariff.unit, tariff.per.max(1));
        }
        return units;
    }
    Units {
        seconds: most(requested.seconds, seconds),
        messages: most(requested.messages, tariff.grant_messages),
        bytes: most(requested.bytes, tariff.grant_bytes),
        ..requested.clone()
    }
}

/// 5031 with what could not be rated (RFC 8506, 9.2).
pub(super) fn unrated(service: &Service) -> Refusal {
    let failed = Avp::u32(id::RATING_GROUP, service.rating_group.unwrap_or(0));
    Refusal::of(result_code::RATING_FAILED, failed, "no tariff for this rating group")
}

fn unknown_user() -> Refusal {
    Refusal::new(result_code::USER_UNKNOWN, "no account for any Subscription-Id")
}
