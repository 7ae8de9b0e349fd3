//! A universe before it runs: configuration, accounts, the calls of the CPM servers and the faults,
//! all drawn from one seed.
//!
//! Drawn beforehand, so that a shrinker can take faults away and leave the rest as it was.

use std::time::Duration;

use crate::charging::event::CloseTrigger;
use crate::charging::event::EventAction;
use crate::charging::policy::Ccfh;
use crate::charging::policy::Ddfh;
use crate::charging::policy::SendDestinationHost;

use super::nemesis::NemesisEvent;
use super::nemesis::draw_events;
use super::random::Random;

/// Price of one message in micro-units, in every rating group.
pub const PRICE_MICROS: i128 = 50_000;
/// Opening balance of an account that never runs dry.
pub const RICH_MICROS: i128 = 1_000_000_000;

/// Everything that is decided before the first event.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// Configuration of gateway and servers.
    pub setup: Setup,
    /// What the CPM servers report.
    pub scripts: Vec<Script>,
    /// What goes wrong.
    pub events: Vec<NemesisEvent>,
    /// Calls begin and faults strike before this time.
    pub load: Duration,
}

/// Configuration of one universe.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Tx.
    pub tx: Duration,
    /// `termination.settle_within`.
    pub settle_within: Option<Duration>,
    /// `failure.ch2.on_no_answer`.
    pub ccfh: Ccfh,
    /// `failure.ch2.direct_debit`.
    pub ddfh: Ddfh,
    /// `termination.backup_accounting`.
    pub backup: bool,
    /// Both OCSs share ledger, sessions and duplicate detection, and so one dedup domain.
    pub shared_domain: bool,
    /// `sticky: strict` on ch2.
    pub strict: bool,
    /// CC-Session-Failover in answers.
    pub failover: Option<bool>,
    /// Credit-Control-Failure-Handling in answers.
    pub told_ccfh: Option<i32>,
    /// Direct-Debiting-Failure-Handling in answers.
    pub told_ddfh: Option<i32>,
    /// Refusals stand at command level.
    pub refuse_at_command: bool,
    /// `api.max_wait`.
    pub max_wait: Duration,
    /// `termination.ok_timeout`.
    pub ok_timeout: Duration,
    /// `termination.max_session`.
    pub max_session: Duration,
    /// `failure.ch2.buffer_for`.
    pub buffer_for: Duration,
    /// `api.orphans: accept`.
    pub accept_orphans: bool,
    /// `quirks.send_destination_host` of the OCSs.
    pub destination_host: Option<SendDestinationHost>,
    /// Twinit.
    pub watchdog: Duration,
    /// One way through the network.
    pub latency: Duration,
    /// One flush of the disk.
    pub flush: Duration,
    /// Opening balance and state of each subscriber.
    pub accounts: Vec<AccountPlan>,
    /// Requests in flight per peer.
    pub window: usize,
}

/// One subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPlan {
    /// The MSISDN.
    pub id: String,
    /// Micro-units.
    pub balance: i128,
    /// What the OCS thinks of it.
    pub kind: AccountKind,
}

/// How the OCS treats an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// As its balance goes.
    Active,
    /// 4010.
    Blocked,
    /// 4011.
    Free,
    /// 5030.
    Unknown,
}

/// What one session or event reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// `sessionId` or `eventId`.
    pub id: String,
    /// Index of the account.
    pub subscriber: usize,
    /// Name of the service.
    pub service: &'static str,
    /// Goes on with its steps though the start was denied.
    pub stubborn: bool,
    /// In order of time.
    pub steps: Vec<Step>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, since the beginning.
    pub at: Duration,
    /// What.
    pub call: Call,
    /// Further copies, each so long after the first.
    pub copies: Vec<Duration>,
    /// With an Idempotency-Key.
    pub keyed: bool,
    /// `Prefer: wait=N`.
    pub prefer: Option<u8>,
}

/// What is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A session begins.
    Start,
    /// It reports totals.
    Interim {
        /// Order of the call.
        sequence: u64,
        /// Total seconds.
        seconds: u64,
        /// Total messages.
        messages: u64,
    },
    /// It ends.
    Close {
        /// Which SIP moment.
        trigger: CloseTrigger,
        /// Total seconds.
        seconds: u64,
        /// Total messages.
        messages: u64,
        /// The final answer to the BYE was no 200.
        sip_error: Option<u16>,
    },
    /// A one-time event.
    Event {
        /// What the OCS is asked.
        action: EventAction,
        /// Messages.
        messages: u64,
    },
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Plan {
    /// Everything that follows from `seed`.
    pub fn draw(seed: u64) -> Plan {
        let mut random = Random::fork(seed, "setup");
        let setup = Setup::draw(&mut random);
        let load = random.tail(secs(60), secs(480));
        let scripts = draw_scripts(&mut Random::fork(seed, "scripts"), &setup, load);
        let events = draw_events(&mut Random::fork(seed, "nemesis"), load);
        Plan { seed, setup, scripts, events, load }
    }

    /// The same calls in a world where nothing goes wrong.
    pub fn without_faults(seed: u64) -> Plan {
        Plan { events: Vec::new(), ..Plan::draw(seed) }
    }
}

impl Script {
    /// A chat, or an event, of the first subscriber: each call with its time.
    pub fn plain(id: &str, service: &'static str, calls: &[(Duration, Call)]) -> Script {
        let step = |(at, call): &(Duration, Call)| Step {
            at: *at,
            call: *call,
            copies: Vec::new(),
            keyed: false,
            prefer: None,
        };
        Script {
            id: id.to_owned(),
            subscriber: 0,
            service,
            stubborn: true,
            steps: calls.iter().map(step).collect(),
        }
    }
}

impl Setup {
    /// Every default, two OCSs with common books, one rich subscriber.
    pub fn plain() -> Setup {
        Setup {
            tx: secs(2),
            settle_within: None,
            ccfh: Ccfh::Terminate,
            ddfh: Ddfh::TerminateOrBuffer,
            backup: true,
            shared_domain: true,
            strict: false,
            failover: Some(true),
            told_ccfh: None,
            told_ddfh: None,
            refuse_at_command: true,
            max_wait: secs(30),
            ok_timeout: secs(36),
            max_session: secs(240),
            buffer_for: secs(60),
            accept_orphans: true,
            destination_host: None,
            watchdog: secs(6),
            latency: millis(1),
            flush: millis(1),
            accounts: vec![AccountPlan {
                id: "+12025550100".to_owned(),
                balance: RICH_MICROS,
                kind: AccountKind::Active,
            }],
            window: 500,
        }
    }

    fn draw(random: &mut Random) -> Setup {
        let tx = random.pick(&[millis(1000), secs(2), secs(2), secs(5), secs(10)]);
        let poor = random.chance(250);
        let odd = random.chance(150);
        let accounts = (0..random.between(2, 6)).map(|n| AccountPlan {
            id: format!("+120255501{n:02}"),
            balance: if poor && n > 0 {
                PRICE_MICROS * i128::from(random.between(0, 60))
            } else {
                RICH_MICROS
            },
            kind: match n {
                1 if odd => {
                    random.pick(&[AccountKind::Blocked, AccountKind::Free, AccountKind::Unknown])
                }
                _ => AccountKind::Active,
            },
        });
        let accounts = accounts.collect();
        Setup {
            tx,
            settle_within: random.pick(&[None, None, Some(secs(4)), Some(secs(40))]),
            ccfh: random.pick(&[Ccfh::Terminate, Ccfh::Continue, Ccfh::RetryAndTerminate]),
            ddfh: random.pick(&[Ddfh::TerminateOrBuffer, Ddfh::TerminateOrBuffer, Ddfh::Continue]),
            backup: !random.chance(100),
            shared_domain: random.chance(700),
            strict: random.chance(100),
            failover: random.pick(&[None, Some(false), Some(true), Some(true)]),
            told_ccfh: random.pick(&[None, None, Some(0), Some(1), Some(2)]),
            told_ddfh: random.pick(&[None, None, Some(0), Some(1)]),
            refuse_at_command: random.chance(600),
            max_wait: random.pick(&[secs(30), secs(30), secs(5)]),
            ok_timeout: random.pick(&[secs(36), secs(4)]),
            max_session: random.pick(&[secs(90), secs(240), secs(600)]),
            buffer_for: random.pick(&[secs(60), secs(300)]),
            accept_orphans: !random.chance(200),
            destination_host: random.pick(&[
                None,
                None,
                Some(SendDestinationHost::Never),
                Some(SendDestinationHost::Always),
            ]),
            watchdog: random.pick(&[secs(6), secs(10), secs(30)]),
            latency: random.tail(Duration::from_micros(100), millis(40)),
            flush: random.tail(Duration::from_micros(50), millis(20)),
            accounts,
            window: random.pick(&[500, 500, 500, 3]),
        }
    }
}

fn draw_scripts(random: &mut Random, setup: &Setup, load: Duration) -> Vec<Script> {
    let mut scripts = Vec::new();
    let chats = random.between(8, 40);
    let events = random.between(4, 30);
    for n in 0..chats {
        scripts.push(draw_chat(random, setup, load, n));
    }
    for n in 0..events {
        scripts.push(draw_event(random, setup, load, n));
    }
    scripts
}

fn copies(random: &mut Random) -> Vec<Duration> {
    match random.below(20) {
        // Racing, soon, and long after.
        0 => vec![Duration::ZERO],
        1 => (0..random.between(2, 6)).map(|_| random.duration(Duration::ZERO, secs(2))).collect(),
        2 => vec![random.tail(millis(10), secs(20))],
        3 => vec![random.tail(secs(5), secs(200))],
        _ => Vec::new(),
    }
}

fn step(random: &mut Random, at: Duration, call: Call) -> Step {
    let copies = copies(random);
    let keyed = random.chance(400);
    let prefer = match random.below(20) {
        0 => Some(0),
        1 => Some(u8::try_from(random.between(1, 60)).unwrap_or(1)),
        _ => None,
    };
    Step { at, call, copies, keyed, prefer }
}

fn draw_chat(random: &mut Random, setup: &Setup, load: Duration, n: u64) -> Script {
    let service = random.pick(&["chat", "chat", "chat", "online-only", "offline-only"]);
    let mut at = random.duration(Duration::ZERO, load);
    let mut steps = vec![step(random, at, Call::Start)];
    let (mut seconds, mut messages) = (0, 0);
    let interims = if random.chance(50) { random.between(6, 20) } else { random.below(4) };
    let hasty = random.chance(100);
    for sequence in 1..=interims {
        let gap = if hasty { millis(1) } else { random.tail(millis(100), secs(40)) };
        at += gap;
        seconds += gap.as_secs();
        messages += random.below(6);
        steps.push(step(random, at, Call::Interim { sequence, seconds, messages }));
    }
    let gap = random.tail(millis(50), secs(60));
    at += gap;
    seconds += gap.as_secs();
    messages += random.below(6);
    draw_close(random, &mut steps, at, seconds, messages);
    steps.sort_by_key(|step| step.at);
    Script {
        id: format!("chat-{n:04}-{:08x}", random.bits() & 0xffff_ffff),
        subscriber: random.index(setup.accounts.len()),
        service,
        stubborn: random.chance(300),
        steps,
    }
}

fn draw_close(
    random: &mut Random,
    steps: &mut Vec<Step>,
    at: Duration,
    seconds: u64,
    messages: u64,
) {
    use CloseTrigger::{Aborted, ByeOkReceived, ByeReceived, ByeSent};
    let rtt = random.tail(millis(5), secs(60));
    let close = |trigger, sip_error| Call::Close { trigger, seconds, messages, sip_error };
    let error = random.chance(150).then(|| random.pick(&[408u16, 481, 503]));
    let later = at + rtt;
    let moments = match random.below(10) {
        0..=2 => vec![(at, close(ByeReceived, None))],
        3..=5 => vec![(at, close(ByeSent, None)), (later, close(ByeOkReceived, error))],
        6 => vec![(at, close(ByeSent, None))],
        7 => {
            let skew = random.duration(Duration::ZERO, millis(400));
            let mut crossing = vec![
                (at + random.duration(Duration::ZERO, millis(400)), close(ByeSent, None)),
                (at + skew, close(ByeReceived, None)),
            ];
            if random.chance(500) {
                crossing.push((later, close(ByeOkReceived, None)));
            }
            crossing
        }
        8 => vec![(at, close(Aborted, None))],
        // Never ended: `termination.max_session` does it.
        _ => Vec::new(),
    };
    for (at, call) in moments {
        steps.push(step(random, at, call));
        if random.chance(100) {
            // The other node of the CPM server reports the same moment.
            let at = at + random.duration(Duration::ZERO, secs(3));
            steps.push(step(random, at, call));
        }
    }
    if random.chance(60) {
        // An interim that comes too late.
        let sequence = 100;
        let at = at + random.duration(Duration::ZERO, secs(10));
        steps.push(step(random, at, Call::Interim { sequence, seconds, messages }));
    }
}

fn draw_event(random: &mut Random, setup: &Setup, load: Duration, n: u64) -> Script {
    let action = random.pick(&[
        EventAction::Debit,
        EventAction::Debit,
        EventAction::Debit,
        EventAction::Refund,
        EventAction::CheckBalance,
        EventAction::EnquirePrice,
    ]);
    let at = random.duration(Duration::ZERO, load);
    let messages = random.between(1, 5);
    Script {
        id: format!("event-{n:04}-{:08x}", random.bits() & 0xffff_ffff),
        subscriber: random.index(setup.accounts.len()),
        service: random.pick(&["chat", "chat", "online-only", "offline-only"]),
        stubborn: true,
        steps: vec![step(random, at, Call::Event { action, messages })],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_plan() {
        let (a, b) = (Plan::draw(3), Plan::draw(3));
        assert_eq!(a.scripts, b.scripts);
        assert_eq!(a.events, b.events);
        assert_ne!(a.scripts, Plan::draw(4).scripts);
        assert!(Plan::without_faults(3).events.is_empty());
        assert_eq!(Plan::without_faults(3).scripts, a.scripts);
    }
}
