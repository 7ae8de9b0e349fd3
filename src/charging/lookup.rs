//! Repeats: which call is new, which was seen before, and which has to wait for the store to say.
//!
//! A new id costs no look-up: its key is *claimed* in the commit, and only a conflict asks the store.
//! Order of the checks: Idempotency-Key, natural key, ended, sequence, decreasing totals.

use super::commit::Waiter;
use super::engine::{Action, CallerId, Checked, Engine, Fact, natural_key, owner_of};
use super::event::{Request, Trigger};
use super::outcome::{Answer, Refusal, Reply, SessionState};
use super::session::{CallKind, Session};
use crate::clock::Now;
use crate::store::{Key, KeyRow, SessionRow};

/// A call (or a GET) that waits for the store to read.
pub(super) struct Pending {
    caller: CallerId,
    what: What,
}

enum What {
    Idempotency(Box<Request>, Checked),
    Natural(Box<Request>, Checked),
    Session(Box<Request>, Checked),
    /// A repeat whose answer is no longer kept: the state as it is now.
    Current(Box<Request>),
    /// A refund: what its debit's answer said.
    Debit(Box<Request>, Checked),
    View,
}

/// Name of an operation in metrics.
pub(super) fn op(trigger: &Trigger) -> &'static str {
    match trigger {
        Trigger::Start(_) => "start",
        Trigger::Interim(_) => "interim",
        Trigger::Terminate(_) => "terminate",
        Trigger::Event(_) => "event",
    }
}

/// The store's name of an Idempotency-Key.
pub(super) fn idempotency_key(request: &Request) -> Option<Key> {
    let key = request.idempotency_key.clone()?;
    Some(Key { scope: format!("client:{}", request.client), key })
}

impl Engine {
    /// A call: to the session that is in memory, to the store, or to be accepted.
    pub(super) fn trigger(&mut self, caller: CallerId, request: Box<Request>, checked: Checked) {
        let owner = owner_of(&request.trigger);
        if let Some(slot) = self.sessions.get_mut(&owner)
            && slot.busy.is_some()
        {
            slot.inbox.push_back(super::engine::Work::Trigger(caller, request, checked));
            return;
        }
        if let (Some(key), false) = (idempotency_key(&request), checked.idempotency) {
            self.ask(caller, What::Idempotency(request, checked), Some(key), None);
            return;
        }
        let known = self.sessions.contains_key(&owner);
        match &request.trigger {
            Trigger::Start(_) | Trigger::Event(_) if known && !checked.natural => {
                self.repeated(caller, request, checked);
            }
            Trigger::Start(_) if known => self.refuse_start(caller, &request),
            Trigger::Start(_) | Trigger::Event(_) if self.draining => {
                self.reply(caller, Reply::Refused(Refusal::Draining));
            }
            Trigger::Start(_) => self.accept_start(caller, request, checked),
            Trigger::Event(event) if event.refund_of.is_some() && !checked.debit => {
                self.ask_debit(caller, request, checked);
            }
            Trigger::Event(_) => self.accept_event(caller, request, checked),
            Trigger::Interim(interim) if known => {
                let late = self.sessions.get(&owner).is_some_and(|slot| {
                    interim.sequence.is_some_and(|sequence| {
                        sequence <= slot.session.last_sequence || slot.session.closing.is_some()
                    })
                });
                if late && !checked.natural {
                    self.repeated(caller, request, checked);
                } else {
                    self.accept_interim(caller, request, checked);
                }
            }
            Trigger::Terminate(_) if known => self.accept_terminate(caller, request, checked),
            Trigger::Interim(_) | Trigger::Terminate(_) if !checked.session => {
                self.ask(caller, What::Session(request, checked), None, Some(owner));
            }
            Trigger::Interim(_) => self.reply(caller, Reply::Refused(Refusal::UnknownSession)),
            Trigger::Terminate(_) => self.accept_orphan(caller, request, checked),
        }
    }

    pub(super) fn reply(&mut self, caller: CallerId, reply: Reply) {
        self.out.push(Action::Reply { caller, reply });
    }

    fn ask(&mut self, caller: CallerId, what: What, key: Option<Key>, session: Option<String>) {
        let lookup = self.serial();
        self.lookups.insert(lookup, Pending { caller, what });
        self.out.push(Action::Lookup { lookup, key, session });
    }

    /// G-08: the refund returns the Refund-Information of the debit that it undoes, if it had any.
    fn ask_debit(&mut self, caller: CallerId, request: Box<Request>, checked: Checked) {
        let Trigger::Event(event) = &request.trigger else { return };
        let debit = event.refund_of.clone().unwrap_or_default();
        let key = format!("e:{debit}/{}", super::event::EventAction::Debit.name());
        let known = self.sessions.get(&key).map(|slot| slot.session.refund_information.clone());
        match known {
            Some(known) => {
                if let Some(known) = known {
                    self.refunds.insert(caller, known);
                }
                self.trigger(caller, request, Checked { debit: true, ..checked });
            }
            None => self.ask(caller, What::Debit(request, checked), None, Some(key)),
        }
    }

    /// The session is in memory: the first copy may still be in progress, else the store knows.
    fn repeated(&mut self, caller: CallerId, request: Box<Request>, checked: Checked) {
        let Some(natural) = natural_key(&request.trigger, request.fingerprint) else {
            self.trigger(caller, request, Checked { natural: true, ..checked });
            return;
        };
        if self.attach(caller, &request, &natural.name()) {
            return;
        }
        self.ask(caller, What::Natural(request, checked), Some(natural.name()), None);
    }

    /// Lets a repeat wait for the first copy's answer. `false`: no such call is in progress.
    fn attach(&mut self, caller: CallerId, request: &Request, key: &Key) -> bool {
        let owner = owner_of(&request.trigger);
        let Some(slot) = self.sessions.get_mut(&owner) else { return false };
        let found = slot.session.calls.iter().find_map(|call| {
            let known = call.keys.iter().find(|known| known.name() == *key)?;
            Some((call.id, known.fingerprint == request.fingerprint))
        });
        match found {
            None => false,
            Some((_, false)) => {
                self.reply(caller, Reply::Refused(Refusal::IdempotencyKeyReused));
                true
            }
            Some((call, true)) => {
                let waiter =
                    Waiter { caller, call, replayed: true, at_once: false, aca_until: None };
                slot.waiters.push(waiter);
                true
            }
        }
    }

    /// The store's answer to a look-up.
    pub(super) fn found(
        &mut self,
        lookup: u64,
        key: Option<KeyRow>,
        session: Option<SessionRow>,
        error: Option<String>,
    ) {
        let Some(Pending { caller, what }) = self.lookups.remove(&lookup) else { return };
        if let Some(why) = error {
            match what {
                What::View => self
                    .out
                    .push(Action::Show { caller, view: Err(Refusal::StoreUnavailable(why)) }),
                _ => self.reply(caller, Reply::Refused(Refusal::StoreUnavailable(why))),
            }
            return;
        }
        match what {
            What::View => {
                let view = session.and_then(|row| decode(&row)).map(|s| Box::new(s.view()));
                self.out.push(Action::Show { caller, view: Ok(view) });
            }
            What::Debit(request, checked) => {
                let debit = session.and_then(|row| decode(&row));
                if let Some(known) = debit.and_then(|debit| debit.refund_information) {
                    self.refunds.insert(caller, known);
                }
                self.trigger(caller, request, Checked { debit: true, ..checked });
            }
            What::Current(request) => match session.and_then(|row| decode(&row)) {
                Some(session) => {
                    let kind = kind_of(&request.trigger);
                    let answer = Box::new(super::reply::current(&session, kind, Vec::new()));
                    self.reply(caller, Reply::Answered { answer, replayed: true });
                }
                None => self.reply(caller, Reply::Refused(Refusal::RequestInProgress)),
            },
            What::Idempotency(request, checked) => {
                let checked = Checked { idempotency: true, ..checked };
                match key {
                    None => self.trigger(caller, request, checked),
                    Some(row) => self.seen(caller, request, checked, &row, true),
                }
            }
            What::Natural(request, checked) => {
                let checked = Checked { natural: true, ..checked };
                match key {
                    None => self.trigger(caller, request, checked),
                    Some(row) => self.seen(caller, request, checked, &row, false),
                }
            }
            What::Session(request, checked) => {
                let checked = Checked { session: true, ..checked };
                match session.and_then(|row| decode(&row)) {
                    None => self.trigger(caller, request, checked),
                    Some(session) => self.past(caller, request, checked, &session),
                }
            }
        }
    }

    /// A key that the store knows.
    fn seen(
        &mut self,
        caller: CallerId,
        request: Box<Request>,
        checked: Checked,
        row: &KeyRow,
        idempotency: bool,
    ) {
        if row.fingerprint != request.fingerprint {
            let over = matches!(request.trigger, Trigger::Start(_)) && !idempotency;
            if over {
                self.refuse_start_or_reuse(caller, request, checked);
            } else {
                self.reply(caller, Reply::Refused(Refusal::IdempotencyKeyReused));
            }
            return;
        }
        match row.answer.as_ref().and_then(|bytes| minicbor::decode::<Answer>(bytes).ok()) {
            Some(answer) => {
                self.fact(Fact::Replayed { op: op(&request.trigger) });
                self.reply(caller, Reply::Answered { answer: Box::new(answer), replayed: true });
            }
            None if self.attach(caller, &request, &row.key) => {}
            // Its answer may have been stored since the store was read: look once more, behind the
            // commit that is under way.
            None if !checked.again => {
                let again = Checked { again: true, ..Checked::default() };
                match self.sessions.get_mut(&owner_of(&request.trigger)) {
                    Some(slot) if slot.busy.is_some() => {
                        slot.inbox.push_back(super::engine::Work::Trigger(caller, request, again));
                    }
                    _ => {
                        let what = match idempotency {
                            true => What::Idempotency(request, again),
                            false => What::Natural(request, Checked { idempotency: true, ..again }),
                        };
                        self.ask(caller, what, Some(row.key.clone()), None);
                    }
                }
            }
            // Accepted before a restart, and its answer is no longer kept: the state as it is now.
            None => match self.sessions.get(&owner_of(&request.trigger)) {
                Some(slot) => {
                    let kind = kind_of(&request.trigger);
                    let answer = super::reply::current(&slot.session, kind, Vec::new());
                    self.reply(
                        caller,
                        Reply::Answered { answer: Box::new(answer), replayed: true },
                    );
                }
                None => {
                    let owner = owner_of(&request.trigger);
                    self.ask(caller, What::Current(request), None, Some(owner));
                }
            },
        }
    }

    /// A session that is only in the store: it has ended.
    fn past(
        &mut self,
        caller: CallerId,
        request: Box<Request>,
        checked: Checked,
        session: &Session,
    ) {
        match &request.trigger {
            Trigger::Terminate(terminate) => {
                let warnings = super::reply::late_warnings(terminate, session);
                let mut answer = super::reply::current(session, CallKind::Terminate, warnings);
                answer.sequence = terminate.sequence.unwrap_or(answer.sequence);
                self.reply(caller, Reply::Answered { answer: Box::new(answer), replayed: false });
            }
            Trigger::Start(_) => {
                let current = Box::new(session.view());
                self.reply(caller, Reply::Refused(Refusal::SessionEnded { current }));
            }
            Trigger::Interim(_) if !checked.natural => {
                match natural_key(&request.trigger, request.fingerprint) {
                    Some(natural) => {
                        let checked = Checked { session: false, ..checked };
                        self.ask(
                            caller,
                            What::Natural(request, checked),
                            Some(natural.name()),
                            None,
                        );
                    }
                    None => {
                        let current = Box::new(session.view());
                        self.reply(caller, Reply::Refused(Refusal::SessionEnded { current }));
                    }
                }
            }
            Trigger::Interim(_) | Trigger::Event(_) => {
                let current = Box::new(session.view());
                self.reply(caller, Reply::Refused(Refusal::SessionEnded { current }));
            }
        }
    }

    /// A start with another body: 409 once the session is ending or ended, else 422.
    fn refuse_start_or_reuse(&mut self, caller: CallerId, request: Box<Request>, checked: Checked) {
        let owner = owner_of(&request.trigger);
        match self.sessions.get(&owner) {
            Some(slot) if slot.session.state() == SessionState::Open => {
                self.reply(caller, Reply::Refused(Refusal::IdempotencyKeyReused));
            }
            Some(_) => self.refuse_start(caller, &request),
            None => self.ask(caller, What::Session(request, checked), None, Some(owner)),
        }
    }

    fn refuse_start(&mut self, caller: CallerId, request: &Request) {
        let Some(slot) = self.sessions.get(&owner_of(&request.trigger)) else { return };
        let current = Box::new(slot.session.view());
        self.reply(caller, Reply::Refused(Refusal::SessionEnded { current }));
    }

    /// The commit of a new call found a key in its way.
    pub(super) fn conflict(&mut self, caller: CallerId, request: Box<Request>, claimed: Key) {
        let what = if claimed.scope.starts_with("client:") {
            What::Idempotency(request, Checked::default())
        } else {
            What::Natural(request, Checked { idempotency: true, ..Checked::default() })
        };
        self.ask(caller, what, Some(claimed), None);
    }

    /// `GET /v1/sessions/{id}`.
    pub(super) fn view(&mut self, caller: CallerId, session_id: &str) {
        let key = Session::session_key(session_id);
        if self.sessions.contains_key(&key) {
            self.work(&key, super::engine::Work::View(caller));
        } else {
            self.ask(caller, What::View, None, Some(key));
        }
    }

    /// When `Prefer: wait=N` ends; `None` if it was not asked for.
    pub(super) fn aca_until(&self, request: &Request) -> Option<Now> {
        let secs = request.prefer.wait_secs?;
        (secs > 0).then(|| self.now + std::time::Duration::from_secs(u64::from(secs)))
    }
}

fn decode(row: &SessionRow) -> Option<Session> {
    minicbor::decode(&row.body).ok()
}

/// Which call a trigger is.
pub(super) fn kind_of(trigger: &Trigger) -> CallKind {
    match trigger {
        Trigger::Start(_) => CallKind::Start,
        Trigger::Interim(_) => CallKind::Interim,
        Trigger::Terminate(_) => CallKind::Terminate,
        Trigger::Event(_) => CallKind::Event,
    }
}
