//! The nemesis: which faults of the catalogue strike, when, and for how long.
//!
//! Ids are those of the fault catalogue (FD disk, FP process, FC clock, FN transport, FM peer
//! protocol, FA answers, FH calls, FQ sessions). Drawn with heavy tails, and never more than the
//! promise allows: a disk that lies, or a server that forgets what it acknowledged, is not here.

use std::time::Duration;

use crate::diameter::Avp;
use crate::diameter::id;
use crate::sim::fault::Fault;
use crate::sim::fault::Lost;
use crate::sim::fault::Verb;
use crate::sim::fault::When;

use super::random::Random;

/// One fault, drawn before the universe runs.
#[derive(Clone, Debug, PartialEq)]
pub struct NemesisEvent {
    /// When it strikes.
    pub at: Duration,
    /// When it heals, counted from `at`.
    pub lasts: Duration,
    /// What happens.
    pub what: Strike,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// kill -9: the kernel closes the connections.
    Kill,
    /// Power loss: nobody is told.
    Power,
    /// SIGTERM: drain, DPR, exit.
    Term,
}

/// A place in the gateway at which a crash strikes exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// A batch is about to be handed to the committer.
    Persist,
    /// Batches are being flushed.
    Flushing,
    /// They are on disk, and the engine does not know yet.
    Flushed,
    /// A copy is about to leave.
    Send,
    /// It has just left.
    Sent,
    /// A caller is about to be answered.
    Reply,
    /// It has just been answered.
    Replied,
    /// An answer came, and the engine does not know yet.
    Answer,
    /// The counters of a new life are reserved.
    Reserved,
    /// The store was read back.
    Recovered,
}

/// All of them.
pub const BOUNDARIES: &[Boundary] = &[
    Boundary::Persist,
    Boundary::Flushing,
    Boundary::Flushed,
    Boundary::Send,
    Boundary::Sent,
    Boundary::Reply,
    Boundary::Replied,
    Boundary::Answer,
    Boundary::Reserved,
    Boundary::Recovered,
];

/// What the disk does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// Every flush takes so long.
    Slow(Duration),
    /// No space at all.
    Full,
    /// No space for new records; what is there can be changed.
    NoNewRecords,
    /// A write or a sync fails; nothing was written.
    Failed,
    /// Nobody knows whether it was written; it was not.
    UnknownAbsent,
    /// Nobody knows whether it was written; it was.
    UnknownThere,
    /// It cannot be read.
    Unreadable,
}

/// What the network to one or more peers does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// RST.
    Reset,
    /// FIN from the server.
    Fin,
    /// The connection is gone and nobody is told.
    HalfOpen,
    /// Octets wait in both directions until it heals.
    Clog,
    /// Requests wait.
    ClogForth,
    /// Answers wait.
    ClogBack,
    /// New connections are refused.
    Refuse,
    /// New connections get no answer.
    NoAnswer,
    /// The peer reads nothing: our send buffer stays full.
    Stall,
    /// Everything takes so much longer.
    Slow(Duration),
    /// The next request breaks off after so many octets, with a reset.
    CutForth(u32),
    /// The next answer breaks off after so many octets, with a reset.
    CutBack(u32),
    /// Every write arrives in pieces.
    Pieces,
}

/// A fault.
#[derive(Clone, Debug, PartialEq)]
pub enum Strike {
    /// The gateway dies and comes back after `down`, its wall clock moved by `wall_step_millis`;
    /// `again`: so many times more while it recovers.
    Crash {
        /// How.
        death: Death,
        /// Until it starts again.
        down: Duration,
        /// The clock's step across the restart.
        wall_step_millis: i64,
        /// Crashes during recovery.
        again: u32,
    },
    /// The gateway dies at the nth passage of a boundary.
    CrashAt {
        /// Where.
        boundary: Boundary,
        /// From 1.
        nth: u32,
        /// How.
        death: Death,
        /// Until it starts again.
        down: Duration,
    },
    /// SIGSTOP, SIGCONT when it heals.
    Freeze,
    /// The gateway's wall clock is moved; NTP moves it back when it heals.
    WallStep {
        /// Milliseconds.
        millis: i64,
    },
    /// The disk.
    Disk(DiskFault),
    /// The network to the peers in the mask.
    Link {
        /// Bit n: peer n.
        peers: u8,
        /// What.
        fault: LinkFault,
    },
    /// Up and down in turns of this length.
    Flap {
        /// Bit n: peer n.
        peers: u8,
        /// Half a period.
        turn: Duration,
    },
    /// A server answers wrongly, or not at all.
    Serve {
        /// Bit n: peer n.
        peers: u8,
        /// Catalogue ids.
        id: &'static [&'static str],
        /// For `sim::server`.
        fault: Fault,
    },
    /// A server starts again: connections are lost, its Origin-State-Id is higher.
    Reboot {
        /// Bit n: peer n.
        peers: u8,
    },
    /// Answers to callers are lost on the way.
    AnswersLost,
    /// The OCSs ask for sessions, their own and those of the other domain.
    Ask {
        /// ASR instead of RAR.
        abort: bool,
    },
}

impl Strike {
    /// Ids of the catalogue.
    pub fn ids(&self) -> &'static [&'static str] {
        match self {
            Strike::Crash { death: Death::Term, .. } => &["FP-03"],
            Strike::Crash { again, wall_step_millis, death, .. } => {
                match (*again > 0, *wall_step_millis < 0, death) {
                    (true, _, _) => &["FP-01", "FP-02", "FQ-08"],
                    (false, true, _) => &["FP-01", "FC-02", "FQ-08"],
                    (false, false, Death::Power) => &["FD-02", "FQ-08"],
                    (false, false, _) => &["FP-01", "FQ-08"],
                }
            }
            Strike::CrashAt { .. } => &["FD-01"],
            Strike::Freeze => &["FP-04"],
            Strike::WallStep { .. } => &["FC-01"],
            Strike::Disk(DiskFault::Slow(_)) => &["FD-12"],
            Strike::Disk(DiskFault::Full | DiskFault::NoNewRecords) => &["FD-10"],
            Strike::Disk(DiskFault::Failed) => &["FD-08", "FD-09"],
            Strike::Disk(DiskFault::UnknownAbsent) => &["FD-unknown-absent"],
            Strike::Disk(DiskFault::UnknownThere) => &["FD-unknown-there"],
            Strike::Disk(DiskFault::Unreadable) => &["FD-13"],
            Strike::Link { peers, fault } => link_ids(*peers, *fault),
            Strike::Flap { .. } => &["FN-10"],
            Strike::Serve { id, .. } => id,
            Strike::Reboot { .. } => &["FM-09"],
            Strike::AnswersLost => &["FH-06"],
            Strike::Ask { abort: false } => &["FM-13"],
            Strike::Ask { abort: true } => &["FM-14"],
        }
    }
}

fn link_ids(peers: u8, fault: LinkFault) -> &'static [&'static str] {
    let both = |mask: u8| peers & mask == mask;
    let pair = both(0b0011) || both(0b1100);
    match fault {
        LinkFault::Reset => &["FN-01"],
        LinkFault::Fin => &["FN-02"],
        LinkFault::HalfOpen => &["FN-03", "FN-14"],
        LinkFault::Clog if pair => &["FN-04", "FN-11", "FN-13"],
        LinkFault::Clog => &["FN-04", "FN-13"],
        LinkFault::ClogForth => &["FN-04", "FA-03"],
        LinkFault::ClogBack => &["FN-04", "FA-05"],
        LinkFault::Refuse if pair => &["FN-09", "FN-11"],
        LinkFault::Refuse => &["FN-09"],
        LinkFault::NoAnswer => &["FN-09"],
        LinkFault::Stall => &["FN-07"],
        LinkFault::Slow(_) => &["FN-08"],
        LinkFault::CutForth(_) | LinkFault::CutBack(_) => &["FN-01"],
        LinkFault::Pieces => &["FN-06"],
    }
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The faults of one universe, in order of time.
pub fn draw_events(random: &mut Random, load: Duration) -> Vec<NemesisEvent> {
    let count = match random.below(10) {
        0 => 0,
        1..=4 => random.between(1, 6),
        5..=8 => random.between(5, 20),
        _ => random.between(20, 60),
    };
    // A universe in ten is about one family alone.
    let family = random.chance(100).then(|| random.below(6));
    let mut events: Vec<NemesisEvent> = (0..count)
        .map(|_| {
            let at = random.duration(Duration::ZERO, load);
            let most = load.saturating_sub(at).max(millis(10));
            let lasts = random.tail(millis(10), secs(300)).min(most);
            let what = draw_strike(random, family);
            NemesisEvent { at, lasts, what }
        })
        .collect();
    events.sort_by_key(|event| event.at);
    events
}

fn draw_strike(random: &mut Random, family: Option<u64>) -> Strike {
    let family = family.unwrap_or_else(|| random.pick(&[0, 0, 1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5]));
    match family {
        0 => draw_crash(random),
        1 => match random.below(3) {
            0 => Strike::Freeze,
            1 => Strike::WallStep { millis: wall_step(random) },
            _ => Strike::AnswersLost,
        },
        2 => Strike::Disk(draw_disk(random)),
        3 => Strike::Link { peers: draw_peers(random), fault: draw_link(random) },
        4 => draw_serve(random),
        _ => match random.below(4) {
            0 => Strike::Ask { abort: false },
            1 => Strike::Ask { abort: random.chance(300) },
            2 => {
                Strike::Flap { peers: draw_peers(random), turn: random.tail(millis(100), secs(20)) }
            }
            _ => Strike::Reboot { peers: draw_peers(random) },
        },
    }
}

fn draw_peers(random: &mut Random) -> u8 {
    random.pick(&[
        0b0001, 0b0010, 0b0100, 0b1000, 0b0001, 0b0010, 0b0100, 0b1000, 0b0011, 0b1100, 0b1111,
        0b0101,
    ])
}

fn draw_death(random: &mut Random) -> Death {
    random.pick(&[Death::Kill, Death::Kill, Death::Power, Death::Term])
}

fn draw_crash(random: &mut Random) -> Strike {
    let down = random.tail(millis(50), secs(60));
    if random.chance(600) {
        let death = random.pick(&[Death::Kill, Death::Power]);
        let boundary = random.pick(BOUNDARIES);
        let nth = u32::try_from(random.between(1, 12)).unwrap_or(1);
        return Strike::CrashAt { boundary, nth, death, down };
    }
    let wall_step_millis = if random.chance(150) { wall_step(random) } else { 0 };
    let again = if random.chance(150) { 5 } else { 0 };
    Strike::Crash { death: draw_death(random), down, wall_step_millis, again }
}

/// ±1 h, ±10 years, to about 1970, to about 2036, and small ones.
fn wall_step(random: &mut Random) -> i64 {
    let hour = 3_600_000;
    let year = 365 * 24 * hour;
    random.pick(&[
        hour,
        -hour,
        10 * year,
        -10 * year,
        -55 * year,
        11 * year,
        2_000,
        -2_000,
        -30_000,
    ])
}

fn draw_disk(random: &mut Random) -> DiskFault {
    match random.below(8) {
        0 => DiskFault::Slow(random.tail(millis(200), secs(20))),
        1 => DiskFault::Full,
        2 => DiskFault::NoNewRecords,
        3 => DiskFault::Failed,
        4 | 5 => DiskFault::UnknownAbsent,
        6 => DiskFault::UnknownThere,
        _ => DiskFault::Unreadable,
    }
}

fn draw_link(random: &mut Random) -> LinkFault {
    let octets = u32::try_from(random.below(700)).unwrap_or(0);
    match random.below(13) {
        0 => LinkFault::Reset,
        1 => LinkFault::Fin,
        2 => LinkFault::HalfOpen,
        3 => LinkFault::Clog,
        4 => LinkFault::ClogForth,
        5 => LinkFault::ClogBack,
        6 => LinkFault::Refuse,
        7 => LinkFault::NoAnswer,
        8 => LinkFault::Stall,
        9 => LinkFault::Slow(random.tail(millis(50), secs(15))),
        10 => LinkFault::CutForth(octets),
        11 => LinkFault::CutBack(octets),
        _ => LinkFault::Pieces,
    }
}

const OCS_CODES: &[u32] =
    &[3002, 3004, 3004, 3005, 4010, 4011, 4012, 5002, 5003, 5012, 5030, 5031, 5005, 3007, 4999];
const CDF_CODES: &[u32] = &[3002, 3004, 3005, 4002, 4002, 5012, 5001, 1001];

fn draw_serve(random: &mut Random) -> Strike {
    let peers = draw_peers(random);
    let online = peers & 0b0011 != 0;
    let code = if online { random.pick(OCS_CODES) } else { random.pick(CDF_CODES) };
    let command = match (online, random.below(6)) {
        (true, 0) => Some("CCR-I"),
        (true, 1) => Some("CCR-U"),
        (true, 2) => Some("CCR-T"),
        (true, 3) => Some("CCR-E"),
        (false, 0) => Some("ACR-START"),
        (false, 1) => Some("ACR-STOP"),
        _ => None,
    };
    let extra = |id, value: u64| Verb::ExtraAvp(Avp::enumerated(id, i32::from(value != 0)));
    let ccfh = i32::try_from(random.below(3)).unwrap_or(0);
    let (id, verb): (&'static [&'static str], Verb) = match random.below(18) {
        0 => (&["FA-01"], Verb::Drop(Lost::Answer)),
        1 => (&["FA-02"], Verb::Drop(Lost::Request)),
        2 => (&["FN-05"], Verb::Drop(random.pick(&[Lost::Answer, Lost::Request]))),
        3 => (&["FA-05"], Verb::Delay(random.tail(millis(500), secs(60)))),
        4 => (&["FA-04"], Verb::Duplicate(1)),
        5 => (&["FA-06"], Verb::Reorder),
        6 => (&["FA-07"], Verb::WrongEndToEnd),
        7 => (&["FA-10"], Verb::UnknownMandatoryAvp),
        8 => (&["K-16"], Verb::MissingAvp(id::RESULT_CODE)),
        9 => (&["FA-14"], Verb::ExperimentalResult(10_415, 5_030)),
        10 => (&["FM-06"], Verb::Dpr(i32::try_from(random.below(2)).unwrap_or(0))),
        11 => (&["FN-04"], Verb::DwrSilence),
        12 => (&["FN-01"], random.pick(&[Verb::Reset, Verb::Close])),
        13 => {
            (&["FA-15"], Verb::ExtraAvp(Avp::enumerated(id::CREDIT_CONTROL_FAILURE_HANDLING, ccfh)))
        }
        14 => (&["FA-15"], extra(id::DIRECT_DEBITING_FAILURE_HANDLING, random.below(2))),
        15 => (&["FA-15"], extra(id::CC_SESSION_FAILOVER, random.below(2))),
        _ => (code_id(code, online), Verb::Answer(code)),
    };
    let everything = matches!(id[0], "FN-05" | "FM-06" | "FN-04");
    let scarce = !everything && random.chance(600);
    let when = When {
        command: if everything { None } else { command.map(str::to_owned) },
        nth: (scarce && random.chance(500)).then(|| random.between(1, 4)),
        every: (scarce && random.chance(500)).then(|| random.between(2, 4)),
        // A fault of requests needs a condition: any Session-Id.
        session: (!everything).then(|| "*".to_owned()),
        ..When::default()
    };
    let fault = Fault { server: None, when, at: None, lasts: None, verbs: vec![verb] };
    Strike::Serve { peers, id, fault }
}

fn code_id(code: u32, online: bool) -> &'static [&'static str] {
    match code {
        3002 | 3004 | 3005 => &["FM-12"],
        4002 => &["FA-16"],
        5002 if online => &["FA-18"],
        _ if !online => &["FA-17"],
        _ => &["FA-13"],
    }
}

/// Every id that can strike, for the table of coverage.
pub const CATALOGUE: &[&str] = &[
    "FD-01",
    "FD-02",
    "FD-08",
    "FD-09",
    "FD-10",
    "FD-12",
    "FD-13",
    "FD-unknown-absent",
    "FD-unknown-there",
    "FP-01",
    "FP-02",
    "FP-03",
    "FP-04",
    "FC-01",
    "FC-02",
    "FN-01",
    "FN-02",
    "FN-03",
    "FN-04",
    "FN-05",
    "FN-06",
    "FN-07",
    "FN-08",
    "FN-09",
    "FN-10",
    "FN-11",
    "FN-13",
    "FN-14",
    "FM-06",
    "FM-09",
    "FM-13",
    "FM-14",
    "FM-12",
    "FA-01",
    "FA-02",
    "FA-03",
    "FA-04",
    "FA-05",
    "FA-06",
    "FA-07",
    "FA-10",
    "FA-13",
    "FA-14",
    "FA-15",
    "FA-16",
    "FA-17",
    "FA-18",
    "K-16",
    "FH-01",
    "FH-03",
    "FH-04",
    "FH-05",
    "FH-06",
    "FQ-01",
    "FQ-02",
    "FQ-05",
    "FQ-07",
    "FQ-08",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_strike_has_an_id_of_the_catalogue() {
        let mut seen = BTreeSet::new();
        for seed in 0..400 {
            for event in draw_events(&mut Random::new(seed), secs(120)) {
                for id in event.what.ids() {
                    assert!(CATALOGUE.contains(id), "{id}");
                    seen.insert(*id);
                }
                assert!(event.at + event.lasts <= secs(121));
            }
        }
        assert!(seen.len() > 35, "{seen:?}");
    }
}
