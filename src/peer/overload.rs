//! Overload reports (RFC 7683, loss algorithm, as reacting node) and load reports (RFC 8583).
//!
//! Keeps what servers reported and says which requests are to be abated. Whether abated means
//! diverted or throttled is the business of whoever chooses the peer.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Now;
use crate::diameter::AvpView;
use crate::diameter::AvpViews;
use crate::diameter::id;

use super::jitter::Jitter;

/// OC-Feature-Vector: the loss algorithm (RFC 7683, 7.2).
pub const OLR_DEFAULT_ALGO: u64 = 1;

/// OC-Validity-Duration if there is none, or one above the maximum (RFC 7683, 7.5).
pub const VALIDITY: Duration = Duration::from_secs(30);
/// Longest OC-Validity-Duration.
pub const VALIDITY_MAX: Duration = Duration::from_secs(86_400);

/// After a report has ended traffic comes back over this time (RFC 7683, 5.2.2 and 6.3).
pub const RAMP: Duration = Duration::from_secs(30);

/// An ended report is remembered for this long, so that a repeated one is known as such.
const MEMORY: Duration = VALIDITY_MAX;
/// Reports that are remembered.
const STATES_MAX: usize = 1024;

/// OC-Report-Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReportType {
    /// HOST_REPORT.
    Host,
    /// REALM_REPORT.
    Realm,
}

/// An OC-OLR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// OC-Sequence-Number.
    pub sequence: u64,
    /// What it is about.
    pub report_type: ReportType,
    /// OC-Reduction-Percentage.
    pub percent: u32,
    /// OC-Validity-Duration.
    pub validity: Duration,
}

impl Report {
    /// Reads the members of an OC-OLR; `None` if a required one is missing, or none of ours.
    pub fn of(members: AvpViews<'_>) -> Option<Report> {
        let [mut sequence, mut kind, mut percent, mut validity] = [None; 4];
        for avp in members {
            match avp.id {
                id::OC_SEQUENCE_NUMBER => sequence = avp.unsigned64(),
                id::OC_REPORT_TYPE => kind = avp.unsigned32().map(u64::from),
                id::OC_REDUCTION_PERCENTAGE => percent = avp.unsigned32().map(u64::from),
                id::OC_VALIDITY_DURATION => validity = avp.unsigned32().map(u64::from),
                _ => {}
            }
        }
        let validity = validity.map_or(VALIDITY, Duration::from_secs);
        let validity = if validity > VALIDITY_MAX { VALIDITY } else { validity };
        // An end needs no percentage; a value above 100 is ignored (RFC 7683, 7.7).
        let percent = percent.or(validity.is_zero().then_some(0))?;
        Some(Report {
            sequence: sequence?,
            report_type: match kind? {
                0 => ReportType::Host,
                1 => ReportType::Realm,
                _ => return None,
            },
            percent: u32::try_from(percent).ok().filter(|percent| *percent <= 100)?,
            validity,
        })
    }
}

/// How hard it is to do without a request: what is abated first stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Asks for a new service, or is an accounting record, which waits in the spool.
    First,
    /// Goes on with a service.
    Update,
    /// Settles what was used (O-07).
    Termination,
}

impl Rank {
    /// Owed abatement, in thousandths of a request, from which a request of this rank is abated.
    /// Those above [`Rank::First`] are spared as long as others make up for it.
    fn threshold(self) -> u32 {
        match self {
            Rank::First => WHOLE,
            Rank::Update => 3 * WHOLE,
            Rank::Termination => 10 * WHOLE,
        }
    }
}

/// One request, in thousandths.
const WHOLE: u32 = 1000;
/// Owed abatement never grows above this.
const OWED_MAX: u32 = 20 * WHOLE;

/// Whom a report is about: a host or a realm, for one application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    report_type: ReportType,
    application: u32,
    /// Host or realm in lower case, without a final dot (H-34).
    name: String,
}

impl Scope {
    /// A host or realm of any case.
    pub fn new(report_type: ReportType, application: u32, name: &str) -> Scope {
        Scope { report_type, application, name: folded(name) }
    }

    /// `host ocs-a.example.net` or `realm example.net`.
    pub fn words(&self) -> String {
        let kind = match self.report_type {
            ReportType::Host => "host",
            ReportType::Realm => "realm",
        };
        format!("{kind} {}", self.name)
    }
}

/// A DiameterIdentity as a key.
pub fn folded(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Overload control state of one scope (RFC 7683, 5.2.1.1).
#[derive(Clone, Copy, Debug)]
struct State {
    sequence: u64,
    percent: u32,
    until: Now,
    /// Abatement that is due, in thousandths of a request: the fraction goes to the next one, so
    /// that 37 % is 37 of any 100 requests, by no dice.
    owed: u32,
}

impl State {
    /// Share of requests to be abated, in thousandths.
    fn reduction(&self, now: Now) -> u32 {
        let full = self.percent * 10;
        if now < self.until {
            return full;
        }
        let left = RAMP.saturating_sub(now.since(self.until));
        let share = u128::from(full) * left.as_millis() / RAMP.as_millis();
        // The ramp begins just below everything: a few requests probe how the server is.
        u32::try_from(share).unwrap_or(full).min(WHOLE - 1)
    }

    fn is_forgotten(&self, now: Now) -> bool {
        now >= self.until + MEMORY
    }
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Requests are abated, or more or fewer of them than before.
    Reduced,
    /// The server says that it is over; traffic comes back over [`RAMP`].
    Ended,
}

/// Every overload report in force.
#[derive(Clone, Debug)]
pub struct Overload {
    states: BTreeMap<Scope, State>,
    jitter: Jitter,
}

impl Overload {
    /// No reports. The seed spreads gateways that abate the same share.
    pub fn new(seed: u64) -> Overload {
        Overload { states: BTreeMap::new(), jitter: Jitter::new(seed) }
    }

    /// No report is remembered.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// A report came. `None`: it is no news (O-02).
    pub fn receive(&mut self, scope: Scope, report: &Report, now: Now) -> Option<Change> {
        let end = report.validity.is_zero();
        let Some(state) = self.states.get_mut(&scope) else {
            // The end of something unknown is no beginning.
            return (!end && self.create(scope, report, now)).then_some(Change::Reduced);
        };
        let over = now >= state.until;
        if !is_newer(report.sequence, state.sequence, over) {
            return None;
        }
        state.sequence = report.sequence;
        if end {
            state.until = state.until.min(now);
            return (!over).then_some(Change::Ended);
        }
        (state.percent, state.until) = (report.percent, now + report.validity);
        Some(Change::Reduced)
    }

    fn create(&mut self, scope: Scope, report: &Report, now: Now) -> bool {
        if self.states.len() >= STATES_MAX {
            self.states.retain(|_, state| now < state.until + RAMP);
        }
        if self.states.len() >= STATES_MAX {
            return false;
        }
        let owed = u32::try_from(self.jitter.bits() % u64::from(WHOLE)).unwrap_or(0);
        let (sequence, percent) = (report.sequence, report.percent);
        let until = now + report.validity;
        self.states.insert(scope, State { sequence, percent, until, owed });
        true
    }

    /// Share of the scope's requests that is abated now, in thousandths.
    pub fn reduction(&self, scope: &Scope, now: Now) -> u32 {
        self.states.get(scope).map_or(0, |state| state.reduction(now))
    }

    /// Whether a request of the scope is to be abated; counts it (RFC 7683, 6.3).
    pub fn selects(&mut self, scope: &Scope, rank: Rank, now: Now) -> bool {
        let Some(state) = self.states.get_mut(scope) else { return false };
        if state.is_forgotten(now) {
            self.states.remove(scope);
            return false;
        }
        let reduction = state.reduction(now);
        if reduction >= WHOLE {
            return true;
        }
        if reduction == 0 {
            return false;
        }
        state.owed = (state.owed + reduction).min(OWED_MAX);
        let selected = state.owed >= rank.threshold();
        if selected {
            state.owed -= WHOLE;
        }
        selected
    }
}

/// Whether a report replaces the one that is known. One that is over may be followed by a server's
/// new count from the beginning; never by itself.
fn is_newer(sequence: u64, known: u64, over: bool) -> bool {
    const ONE_PERCENT: u64 = u64::MAX / 100;
    let rolled_over = known >= u64::MAX - ONE_PERCENT && sequence <= ONE_PERCENT;
    sequence > known || rolled_over || over && sequence != known
}

/// Load-Type (RFC 8583, 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LoadType {
    /// Of the server that answered.
    Host,
    /// Of the node that handed the answer on.
    Peer,
}

/// A Load AVP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// Whose load.
    pub load_type: LoadType,
    /// Load-Value: 65535 idle, 0 fully loaded (O-09).
    pub value: u16,
    /// SourceID.
    pub source: Option<String>,
}

impl LoadReport {
    /// Reads the members of a Load AVP; `None` if it says nothing.
    pub fn of(members: AvpViews<'_>) -> Option<LoadReport> {
        let (mut load_type, mut value, mut source) = (None, None, None);
        for avp in members {
            match avp.id {
                id::LOAD_TYPE => load_type = avp.unsigned32(),
                id::LOAD_VALUE => value = avp.unsigned64(),
                id::SOURCEID => source = avp.text().map(str::to_owned),
                _ => {}
            }
        }
        Some(LoadReport {
            load_type: match load_type? {
                0 => LoadType::Host,
                1 => LoadType::Peer,
                _ => return None,
            },
            value: u16::try_from(value?).ok()?,
            source,
        })
    }
}

/// A load that was not repeated for this long says nothing any more.
pub const LOAD_VALID: Duration = Duration::from_secs(30);

/// A peer's weight never falls below this part of its own, so that it is asked now and then and can
/// say that it is better.
const FLOOR: u64 = 64;

/// The load that a peer reported last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    host: Option<(u16, Now)>,
    peer: Option<(u16, Now)>,
}

impl Load {
    /// A report about this peer.
    pub fn receive(&mut self, load_type: LoadType, value: u16, now: Now) {
        match load_type {
            LoadType::Host => self.host = Some((value, now)),
            LoadType::Peer => self.peer = Some((value, now)),
        }
    }

    /// The value in force: what the host says of itself, else what the peer does.
    pub fn value(&self, now: Now) -> Option<u16> {
        let valid = |(_, at): &(u16, Now)| now < *at + LOAD_VALID;
        let value = self.host.filter(valid).or(self.peer.filter(valid));
        value.map(|(value, _)| value)
    }

    /// A configured weight under the load (RFC 8583, 6.2: as the weight of RFC 2782).
    pub fn weigh(&self, weight: u32, now: Now) -> u64 {
        let full = u64::from(weight) * u64::from(u16::MAX);
        match self.value(now) {
            Some(value) => (u64::from(weight) * u64::from(value)).max(full / FLOOR),
            None => full,
        }
    }
}

/// Whether OC-Supported-Features of an answer selects the loss algorithm: it does unless it names
/// others only (RFC 7683, 7.2).
pub fn selects_loss(features: &AvpView<'_>) -> bool {
    let vector = features.group().find(|avp| avp.id == id::OC_FEATURE_VECTOR);
    vector.and_then(|avp| avp.unsigned64()).is_none_or(|bits| bits & OLR_DEFAULT_ALGO != 0)
}
