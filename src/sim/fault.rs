//! Faults: what a simulated server does wrong, when, and for how long (product.md 2.8).
//!
//! A fault is data: a condition and verbs. [`Faults::decide`] turns the faults that fit one request
//! into one [`Plan`]; [`Faults::due`] hands out what happens by the clock alone. How the plan is
//! carried out on bytes is `sim::server`; nothing here knows a socket.

use std::time::Duration;

use crate::clock::Now;
use crate::diameter::Avp;
use crate::diameter::AvpId;

/// Faults that one server can hold at a time.
pub const FAULTS_MAX: usize = 1_000;

/// The names that `when: {command: …}` takes: those of the metrics, and the two families.
pub const COMMANDS: &[&str] = &[
    "CCR",
    "CCR-I",
    "CCR-U",
    "CCR-T",
    "CCR-E",
    "ACR",
    "ACR-START",
    "ACR-INTERIM",
    "ACR-STOP",
    "ACR-EVENT",
];

/// What a fault needs to know of a request.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// `CCR-T`, `ACR-START`: a name of [`COMMANDS`].
    pub command: &'a str,
    /// Subscription-Id-Data of all Subscription-Ids, as sent.
    pub subscriptions: &'a [String],
    /// Session-Id.
    pub session: &'a str,
}

/// Which requests a fault is for. All given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// `CCR` fits all CCRs, `CCR-T` only that one.
    pub command: Option<String>,
    /// Only the nth request that fits the rest, counted from 1.
    pub nth: Option<u64>,
    /// Every nth request that fits the rest.
    pub every: Option<u64>,
    /// Glob over a Subscription-Id-Data, a leading `+` ignored on both sides.
    pub subscription: Option<String>,
    /// Glob over the Session-Id.
    pub session: Option<String>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The server of the scenario; `None` is every server.
    pub server: Option<String>,
    /// Which requests.
    pub when: When,
    /// Begins this long after it was added.
    pub at: Option<Duration>,
    /// And lasts this long.
    pub lasts: Option<Duration>,
    /// What happens.
    pub verbs: Vec<Verb>,
}

/// Which half of an exchange is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The request never arrived: nothing is debited or recorded.
    Request,
    /// The answer is lost after the server did its work.
    Answer,
}

/// Final-Unit-Action to put into an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalUnitAction {
    /// TERMINATE (0).
    Terminate,
    /// REDIRECT (1).
    Redirect,
    /// RESTRICT_ACCESS (2).
    Restrict,
}

impl FinalUnitAction {
    /// The enumerated value.
    pub fn value(self) -> i32 {
        match self {
            FinalUnitAction::Terminate => 0,
            FinalUnitAction::Redirect => 1,
            FinalUnitAction::Restrict => 2,
        }
    }
}

/// Sessions that a RAR or an ASR is sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// The open session used last.
    Any,
    /// Every open session whose Session-Id fits the glob.
    Like(String),
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verb {
    /// This Result-Code instead of the server's own.
    Answer(u32),
    /// Error-Message in the answer.
    ErrorMessage(String),
    /// Final-Unit-Indication in the answer.
    FinalUnit(FinalUnitAction),
    /// Experimental-Result (Vendor-Id, code) instead of Result-Code.
    ExperimentalResult(u32, u32),
    /// Success is answered and nothing is done: a server that loses what it acknowledged.
    Forget,
    /// No answer.
    Drop(Lost),
    /// The answer later.
    Delay(Duration),
    /// The answer this many times more.
    Duplicate(u32),
    /// The answer after the next one.
    Reorder,
    /// The answer without this AVP.
    MissingAvp(AvpId),
    /// The answer with one AVP more.
    ExtraAvp(Avp),
    /// The AVP's data cut to three octets.
    WrongType(AvpId),
    /// The AVP's M flag inverted.
    WrongFlag(AvpId),
    /// An AVP nobody knows, with M.
    UnknownMandatoryAvp,
    /// Another End-to-End id.
    WrongEndToEnd,
    /// Only the first octets of the answer, then the connection closes.
    Truncate(Option<u32>),
    /// Bytes that are not Diameter.
    Garbage,
    /// The connection closes instead of an answer; without `when`, all connections close.
    Close,
    /// As `Close`, with a TCP reset.
    Reset,
    /// No new connections, and the present ones are reset.
    RefuseConnections,
    /// DWRs are not answered.
    DwrSilence,
    /// DPR with this Disconnect-Cause.
    Dpr(i32),
    /// RAR; optionally for one rating group.
    Rar(Sessions, Option<u32>),
    /// ASR.
    Asr(Sessions),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// FIN.
    Close,
    /// RST.
    Reset,
}

/// What becomes of one request and its answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// This Result-Code instead of the server's own.
    pub result: Option<u32>,
    /// Experimental-Result (Vendor-Id, code) instead of Result-Code.
    pub experimental: Option<(u32, u32)>,
    /// Error-Message.
    pub error_message: Option<String>,
    /// Final-Unit-Indication.
    pub final_unit: Option<FinalUnitAction>,
    /// Success without the work.
    pub forget: bool,
    /// No answer, and perhaps no request.
    pub lost: Option<Lost>,
    /// Wait before the answer.
    pub delay: Duration,
    /// Further copies of the answer.
    pub copies: u32,
    /// Behind the next answer.
    pub reorder: bool,
    /// AVPs to leave out.
    pub missing: Vec<AvpId>,
    /// AVPs to add.
    pub extra: Vec<Avp>,
    /// AVPs to cut to three octets.
    pub wrong_type: Vec<AvpId>,
    /// AVPs whose M flag to invert.
    pub wrong_flag: Vec<AvpId>,
    /// An AVP nobody knows, with M.
    pub unknown_mandatory: bool,
    /// Another End-to-End id.
    pub wrong_end_to_end: bool,
    /// Octets to keep; `Some(None)` keeps half.
    pub truncate: Option<Option<u32>>,
    /// Bytes that are not Diameter.
    pub garbage: bool,
    /// The connection ends.
    pub end: Option<End>,
}

/// Something that happens by the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// End all connections.
    End(End),
    /// DPR to all connections.
    Dpr(i32),
    /// RAR.
    Rar(Sessions, Option<u32>),
    /// ASR.
    Asr(Sessions),
}

#[derive(Clone, Debug)]
struct Armed {
    id: u64,
    fault: Fault,
    from: Now,
    until: Option<Now>,
    /// Requests that fitted everything but `nth` and `every`.
    fitted: u64,
    /// How often it acted.
    acted: u64,
    /// What happens by the clock has happened.
    done: bool,
}

impl Armed {
    fn active(&self, now: Now) -> bool {
        now >= self.from && self.until.is_none_or(|until| now < until)
    }

    fn has(&self, verb: &Verb) -> bool {
        self.fault.verbs.contains(verb)
    }
}

/// A fault as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// For [`Faults::remove`].
    pub id: u64,
    /// The fault.
    pub fault: Fault,
    /// How often it acted.
    pub acted: u64,
}

/// The faults of one server.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    armed: Vec<Armed>,
    last_id: u64,
}

impl Faults {
    /// Adds a fault; its `at` counts from `now`. `None` if there are [`FAULTS_MAX`] already.
    pub fn add(&mut self, fault: Fault, now: Now) -> Option<u64> {
        if self.armed.len() >= FAULTS_MAX {
            return None;
        }
        self.last_id += 1;
        let from = now + fault.at.unwrap_or(Duration::ZERO);
        let until = fault.lasts.map(|lasts| from + lasts);
        self.armed.push(Armed {
            id: self.last_id,
            fault,
            from,
            until,
            fitted: 0,
            acted: 0,
            done: false,
        });
        Some(self.last_id)
    }

    /// Takes one fault away. False if there is none of this id.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.armed.len();
        self.armed.retain(|armed| armed.id != id);
        self.armed.len() < before
    }

    /// Takes all faults away.
    pub fn clear(&mut self) {
        self.armed.clear();
    }

    /// All faults in the order they were added.
    pub fn list(&self) -> Vec<Listed> {
        self.armed
            .iter()
            .map(|armed| Listed { id: armed.id, fault: armed.fault.clone(), acted: armed.acted })
            .collect()
    }

    /// What becomes of this request: the union of all faults that fit; for a single-valued thing
    /// the fault added last wins.
    pub fn decide(&mut self, seen: &Seen<'_>, now: Now) -> Plan {
        let mut plan = Plan::default();
        for armed in &mut self.armed {
            if armed.active(now) && fits(&armed.fault.when, seen) {
                armed.fitted += 1;
                let when = &armed.fault.when;
                let nth = when.nth.is_none_or(|nth| armed.fitted == nth);
                let every =
                    when.every.is_none_or(|every| every > 0 && armed.fitted.is_multiple_of(every));
                let fault = &armed.fault;
                if nth && every && fault.verbs.iter().any(|verb| per_request(verb, fault)) {
                    armed.acted += 1;
                    fault.verbs.iter().for_each(|verb| plan.put(verb, fault));
                }
            }
        }
        plan
    }

    /// Are connections refused?
    pub fn refuses(&self, now: Now) -> bool {
        self.armed.iter().any(|armed| armed.active(now) && armed.has(&Verb::RefuseConnections))
    }

    /// Are DWRs left unanswered?
    pub fn is_silent(&self, now: Now) -> bool {
        self.armed.iter().any(|armed| armed.active(now) && armed.has(&Verb::DwrSilence))
    }

    /// What is to be done by the clock, each thing once.
    pub fn due(&mut self, now: Now) -> Vec<Due> {
        let mut due = Vec::new();
        for armed in &mut self.armed {
            if !armed.done && armed.active(now) {
                let timed: Vec<Due> =
                    armed.fault.verbs.iter().filter_map(|verb| timed(verb, &armed.fault)).collect();
                armed.acted += u64::from(!timed.is_empty());
                armed.done = true;
                due.extend(timed);
            }
        }
        due
    }

    /// When, after `now`, [`Faults::due`] or [`Faults::refuses`] has something new to say.
    pub fn next_timeout(&self, now: Now) -> Option<Now> {
        let begins = self
            .armed
            .iter()
            .filter(|armed| !armed.done)
            .filter(|armed| armed.fault.verbs.iter().any(|v| timed(v, &armed.fault).is_some()))
            .map(|armed| armed.from)
            .filter(|from| *from > now);
        let ends = self
            .armed
            .iter()
            .filter(|armed| armed.has(&Verb::RefuseConnections))
            .filter_map(|armed| armed.until.filter(|until| *until > now));
        begins.chain(ends).min()
    }
}

impl Plan {
    fn put(&mut self, verb: &Verb, fault: &Fault) {
        match verb {
            Verb::Answer(code) => self.result = Some(*code),
            Verb::ErrorMessage(text) => self.error_message = Some(text.clone()),
            Verb::FinalUnit(action) => self.final_unit = Some(*action),
            Verb::ExperimentalResult(vendor, code) => self.experimental = Some((*vendor, *code)),
            Verb::Forget => self.forget = true,
            Verb::Drop(lost) => self.lost = Some(*lost),
            Verb::Delay(delay) => self.delay = *delay,
            Verb::Duplicate(copies) => self.copies = *copies,
            Verb::Reorder => self.reorder = true,
            Verb::MissingAvp(id) => self.missing.push(*id),
            Verb::ExtraAvp(avp) => self.extra.push(avp.clone()),
            Verb::WrongType(id) => self.wrong_type.push(*id),
            Verb::WrongFlag(id) => self.wrong_flag.push(*id),
            Verb::UnknownMandatoryAvp => self.unknown_mandatory = true,
            Verb::WrongEndToEnd => self.wrong_end_to_end = true,
            Verb::Truncate(octets) => self.truncate = Some(*octets),
            Verb::Garbage => self.garbage = true,
            Verb::Close if fault.is_for_requests() => self.end = Some(End::Close),
            Verb::Reset if fault.is_for_requests() => self.end = Some(End::Reset),
            _ => {}
        }
    }
}

impl Fault {
    /// `close` and `reset` belong to a request if there is a `when`, else to all connections.
    fn is_for_requests(&self) -> bool {
        self.when != When::default()
    }
}

fn per_request(verb: &Verb, fault: &Fault) -> bool {
    timed(verb, fault).is_none() && *verb != Verb::DwrSilence
}

fn timed(verb: &Verb, fault: &Fault) -> Option<Due> {
    match verb {
        Verb::Close if !fault.is_for_requests() => Some(Due::End(End::Close)),
        Verb::Reset if !fault.is_for_requests() => Some(Due::End(End::Reset)),
        // As if the process had died: no goodbye.
        Verb::RefuseConnections => Some(Due::End(End::Reset)),
        Verb::Dpr(cause) => Some(Due::Dpr(*cause)),
        Verb::Rar(sessions, rating_group) => Some(Due::Rar(sessions.clone(), *rating_group)),
        Verb::Asr(sessions) => Some(Due::Asr(sessions.clone())),
        _ => None,
    }
}

fn fits(when: &When, seen: &Seen<'_>) -> bool {
    let command = when.command.as_ref().is_none_or(|wanted| {
        seen.command == wanted
            || seen.command.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('-'))
    });
    let plain = |text: &str| text.strip_prefix('+').unwrap_or(text).to_owned();
    let subscription = when
        .subscription
        .as_ref()
        .is_none_or(|glob| seen.subscriptions.iter().any(|id| glob_fits(&plain(glob), &plain(id))));
    let session = when.session.as_ref().is_none_or(|glob| glob_fits(glob, seen.session));
    command && subscription && session
}

/// `*` stands for any text, `?` for one character. Linear in `text` for each `*`.
pub fn glob_fits(glob: &str, text: &str) -> bool {
    let glob: Vec<char> = glob.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut g, mut t) = (0, 0);
    // Where to go on when a later character does not fit: behind the last `*`.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                retry = Some((g, t));
                g += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    g = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(when: When, verbs: Vec<Verb>) -> Fault {
        Fault { server: None, when, at: None, lasts: None, verbs }
    }

    fn seen(command: &str) -> Seen<'_> {
        Seen { command, subscriptions: &[], session: "cg1;1;1" }
    }

    #[test]
    fn globs() {
        for (glob, text, fits) in [
            ("12025551*", "12025551000", true),
            ("12025551*", "1202555", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(glob_fits(glob, text), fits, "{glob} {text}");
        }
    }

    #[test]
    fn nth_counts_only_what_fits_the_rest() {
        let mut faults = Faults::default();
        let when = When { command: Some("CCR-U".into()), nth: Some(2), ..When::default() };
        faults.add(fault(when, vec![Verb::Answer(4012)]), Now::ZERO);
        let mut results = Vec::new();
        for command in ["CCR-I", "CCR-U", "CCR-T", "CCR-U", "CCR-U"] {
            results.push(faults.decide(&seen(command), Now::ZERO).result);
        }
        assert_eq!(results, [None, None, None, Some(4012), None]);
        assert_eq!(faults.list()[0].acted, 1);
    }

    #[test]
    fn every_and_the_command_family() {
        let mut faults = Faults::default();
        let when = When { command: Some("CCR".into()), every: Some(2), ..When::default() };
        faults.add(fault(when, vec![Verb::Drop(Lost::Answer)]), Now::ZERO);
        let lost: Vec<bool> = ["CCR-I", "ACR-START", "CCR-U", "CCR-T", "CCR-E"]
            .map(|command| faults.decide(&seen(command), Now::ZERO).lost.is_some())
            .to_vec();
        assert_eq!(lost, [false, false, true, false, true]);
    }

    #[test]
    fn a_window_opens_and_closes() {
        let mut faults = Faults::default();
        let mut refuse = fault(When::default(), vec![Verb::RefuseConnections]);
        refuse.at = Some(Duration::from_secs(20));
        refuse.lasts = Some(Duration::from_secs(30));
        let start = Now(5_000_000_000);
        faults.add(refuse, start);
        assert_eq!(faults.next_timeout(start), Some(start + Duration::from_secs(20)));
        let refuses = |secs: u64| faults.refuses(start + Duration::from_secs(secs));
        assert_eq!([19, 20, 49, 50].map(refuses), [false, true, true, false]);
        assert_eq!(faults.due(start), []);
        let then = start + Duration::from_secs(20);
        assert_eq!(faults.due(then), [Due::End(End::Reset)]);
        assert_eq!(faults.due(then), []);
        assert_eq!(faults.next_timeout(then), Some(start + Duration::from_secs(50)));
        assert_eq!(faults.next_timeout(start + Duration::from_secs(50)), None);
    }

    #[test]
    fn close_belongs_to_the_request_only_with_a_condition() {
        let mut faults = Faults::default();
        let when = When { command: Some("CCR-T".into()), ..When::default() };
        faults.add(fault(when, vec![Verb::Close]), Now::ZERO);
        assert_eq!(faults.due(Now::ZERO), []);
        assert_eq!(faults.decide(&seen("CCR-T"), Now::ZERO).end, Some(End::Close));
        faults.clear();
        faults.add(fault(When::default(), vec![Verb::Reset]), Now::ZERO);
        assert_eq!(faults.decide(&seen("CCR-T"), Now::ZERO).end, None);
        assert_eq!(faults.due(Now::ZERO), [Due::End(End::Reset)]);
    }
}
