//! Where the next copy goes: of those who may get it, one that is well and has room.
//!
//! Puts together what is known of the peers: who is usable, who answers (grey peers), who comes and
//! goes, whose window or rate is full, who reported overload or load, who redirected. Who *may* get
//! a copy is `peer::routing`'s business, and what a request means for money nobody's here.

use std::time::Duration;

use crate::clock::Now;
use crate::diameter::value::identity_eq;

use super::Fact;
use super::PeerConfig;
use super::health;
use super::health::Health;
use super::health::Stability;
use super::notice::Notice;
use super::overload;
use super::overload::Load;
use super::overload::LoadType;
use super::overload::Overload;
use super::overload::Rank;
use super::overload::ReportType;
use super::overload::Scope;
use super::rate::Rate;
use super::redirect::Indication;
use super::redirect::Redirects;
use super::redirect::Traits;
use super::restart::Restarts;
use super::restart::Rise;
use super::routing;
use super::routing::Allowed;
use super::routing::Ask;
use super::routing::Candidate;
use super::routing::Interface;
use super::routing::RoutePolicy;
use super::routing::Routes;
use super::window::Window;

/// After its connection refused a request a peer is passed over for this long.
const REFUSED_FOR: Duration = Duration::from_millis(10);

/// A request that looks for a peer.
pub struct Wish<'a> {
    /// Names it.
    pub token: u64,
    /// Who may get it.
    pub ask: Ask<'a>,
    /// If nobody is left but an excluded peer, that one may get it again.
    pub repeat_allowed: bool,
    /// How hard it is to do without it.
    pub rank: Rank,
    /// The whole request.
    pub message: &'a [u8],
    /// Its Application-Id.
    pub application: u32,
    /// Peers that an answer redirected it to, most preferred first.
    pub redirected: &'a [usize],
    /// Destination-Host of the copy for a peer, if it would have one.
    pub destination_host: &'a dyn Fn(usize) -> Option<&'a str>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This peer gets it; its place is taken.
    To(usize),
    /// Those who may get it are full; one has room at this time, or earlier.
    Full(Now),
    /// Those who may get it asked for less traffic, and this request is among what they do not get.
    Throttled,
    /// Nobody may get it, or nobody who may is usable.
    Nobody,
}

/// What a redirect means for its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirection {
    /// It goes to one of these peers, or, if none of them is usable, wherever it may.
    To(Vec<usize>),
    /// Nobody whom the answer names is a peer of ours that may get it.
    Refused,
}

/// What is known of a peer besides its [`Candidate`].
#[derive(Clone, Debug)]
struct Standing {
    /// Overload and load reports are asked for and obeyed.
    overload: bool,
    timeout: Duration,
    window: Window,
    rate: Option<Rate>,
    full_until: Now,
    /// CH-1, CH-2.
    health: [Health; 2],
    stability: Stability,
    load: Load,
}

/// Everything that decides who gets the next copy.
#[derive(Clone, Debug)]
pub struct Router {
    routes: Routes,
    candidates: Vec<Candidate>,
    standings: Vec<Standing>,
    /// Per route, how far each of its peers is behind its share.
    turns: Vec<Vec<i64>>,
    overload: Overload,
    redirects: Redirects,
    restarts: Restarts,
    told: Vec<(usize, Fact)>,
}

impl Router {
    /// Peers that are not usable yet, in the order in which the routes name them.
    pub fn new(routes: Routes, candidates: Vec<Candidate>, seed: u64) -> Router {
        let standings = candidates
            .iter()
            .map(|_| Standing {
                overload: false,
                timeout: Duration::MAX,
                window: Window::new(usize::MAX, Duration::MAX),
                rate: None,
                full_until: Now::ZERO,
                health: [Health::default(), Health::default()],
                stability: Stability::default(),
                load: Load::default(),
            })
            .collect();
        Router {
            turns: routes.routes.iter().map(|route| vec![0; route.peers.len()]).collect(),
            routes,
            candidates,
            standings,
            overload: Overload::new(seed),
            redirects: Redirects::default(),
            restarts: Restarts::default(),
            told: Vec::new(),
        }
    }

    /// Sets the limits of the peers; without them windows have no end.
    pub fn configure(&mut self, peers: &[PeerConfig]) {
        for (standing, config) in self.standings.iter_mut().zip(peers) {
            standing.overload = config.overload;
            standing.timeout = config.timeout;
            standing.window = Window::new(config.window, config.timeout);
            standing.rate = config.rate.map(Rate::per_second);
        }
    }

    /// The peers as the choice sees them.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Whether requests to a peer carry OC-Supported-Features (O-01).
    pub fn asks_for_overload(&self, peer: usize) -> bool {
        self.standings.get(peer).is_some_and(|standing| standing.overload)
    }

    /// Share of requests that a peer left unanswered, 0 to 1000, the newest counting most.
    pub fn silence(&self, peer: usize, interface: Interface) -> u32 {
        self.standings.get(peer).map_or(0, |standing| standing.health[at(interface)].silence())
    }

    /// What is worth telling since the last time, each with its peer.
    pub fn facts(&mut self) -> std::vec::Drain<'_, (usize, Fact)> {
        self.told.drain(..)
    }

    /// A peer stands differently.
    pub fn peer_changed(
        &mut self,
        peer: usize,
        usable: bool,
        origin_host: Option<&str>,
        (ch1, ch2): (bool, bool),
        now: Now,
    ) {
        let Some(candidate) = self.candidates.get_mut(peer) else { return };
        let standing = &mut self.standings[peer];
        if let Some(host) = origin_host {
            candidate.origin_host = Some(host.to_owned());
        }
        (candidate.ch1, candidate.ch2) = (ch1, ch2);
        match (std::mem::replace(&mut candidate.usable, usable), usable) {
            (false, true) => {
                for interface in [Interface::Ch1, Interface::Ch2] {
                    let before = std::mem::take(&mut standing.health[at(interface)]);
                    if before.is_grey() {
                        let interface = interface.word();
                        self.told.push((peer, Fact::AnswersAgain { interface }));
                    }
                }
                if let Some(losses) = standing.stability.back(now) {
                    let steady_after = health::STEADY_AFTER;
                    self.told.push((peer, Fact::Flapping { losses, steady_after }));
                }
            }
            (true, false) => {
                standing.stability.lost(now);
                standing.window.clear();
                self.redirects.forget(peer);
            }
            _ => {}
        }
    }

    /// The operator lets a peer run dry, or no more.
    pub fn drain(&mut self, peer: usize, draining: bool) {
        if let Some(candidate) = self.candidates.get_mut(peer) {
            candidate.draining = draining;
        }
    }

    /// Whether requests may be sent to a peer.
    pub fn is_usable(&self, peer: usize) -> bool {
        self.candidates.get(peer).is_some_and(|candidate| candidate.usable)
    }

    /// Chooses the peer for a copy, and takes a place in its window.
    pub fn choose(&mut self, wish: &Wish<'_>, now: Now) -> Choice {
        let mut choice = self.pick(wish, &wish.ask, now);
        if choice == Choice::Nobody && wish.repeat_allowed && !wish.ask.exclude.is_empty() {
            choice = self.pick(wish, &Ask { exclude: &[], ..wish.ask }, now);
        }
        if let Choice::To(peer) = choice {
            let standing = &mut self.standings[peer];
            standing.window.take(wish.token, now);
            if let Some(rate) = &mut standing.rate {
                rate.take(now);
            }
            standing.health[at(wish.ask.interface)].probed(now);
        }
        choice
    }

    fn pick(&mut self, wish: &Wish<'_>, ask: &Ask<'_>, now: Now) -> Choice {
        if let Some(choice) = self.follow(wish, ask, now) {
            return choice;
        }
        let Allowed { home, peers } = routing::allowed(&self.routes, &self.candidates, ask);
        if peers.is_empty() {
            return Choice::Nobody;
        }
        let room: Vec<usize> = peers.iter().copied().filter(|p| self.has_room(*p, now)).collect();
        if room.is_empty() {
            return self.full(&peers, now);
        }
        let order = self.order(ask, home.filter(|home| room.contains(home)), room, now);
        let mut diverted = false;
        for peer in order {
            let peer = self.redirected_from(peer, ask, now).unwrap_or(peer);
            if self.is_abated(peer, wish, now) {
                diverted = true;
                continue;
            }
            if diverted {
                self.told.push((peer, Fact::Abated { treatment: "diverted" }));
            }
            return Choice::To(peer);
        }
        let first = peers.first().copied().unwrap_or(0);
        self.told.push((first, Fact::Abated { treatment: "throttled" }));
        Choice::Throttled
    }

    /// Where a redirect says that the request goes, if that may be.
    fn follow(&mut self, wish: &Wish<'_>, ask: &Ask<'_>, now: Now) -> Option<Choice> {
        let may = |router: &Router, peer: &usize| {
            router.candidates.get(*peer).is_some_and(|one| routing::may_get(one, *peer, ask))
        };
        let mut targets: Vec<usize> =
            wish.redirected.iter().copied().filter(|peer| may(self, peer)).collect();
        if targets.is_empty() && !self.redirects.is_empty() {
            let traits = Traits::of(wish.message);
            // A session that has its server stays there, unless it was redirected itself.
            let found = self.redirects.of_session(&traits, now).or_else(|| match ask.server {
                None => self.redirects.of_request(&traits, now),
                Some(_) => None,
            });
            targets.extend(found.filter(|peer| may(self, peer)));
        }
        if targets.is_empty() {
            return None;
        }
        match targets.iter().find(|peer| self.has_room(**peer, now)) {
            Some(peer) => Some(Choice::To(*peer)),
            None => Some(self.full(&targets, now)),
        }
    }

    /// Where the peer that would get a request of a new session has redirected everything to.
    fn redirected_from(&mut self, peer: usize, ask: &Ask<'_>, now: Now) -> Option<usize> {
        if self.redirects.is_empty() || ask.server.is_some() {
            return None;
        }
        let to = self.redirects.of_host(peer, now)?;
        let may = self.candidates.get(to).is_some_and(|one| routing::may_get(one, to, ask));
        (may && self.has_room(to, now)).then_some(to)
    }

    fn has_room(&mut self, peer: usize, now: Now) -> bool {
        let standing = &mut self.standings[peer];
        now >= standing.full_until
            && standing.window.has_room(now)
            && standing.rate.as_ref().is_none_or(|rate| rate.has_room(now))
    }

    /// When the first of these full peers has room.
    fn full(&mut self, peers: &[usize], now: Now) -> Choice {
        let mut first = None;
        for peer in peers {
            let standing = &mut self.standings[*peer];
            let mut room = standing.full_until;
            if !standing.window.has_room(now) {
                room = room.max(standing.window.room_at().unwrap_or(now));
            }
            if let Some(rate) = standing.rate.as_ref().filter(|rate| !rate.has_room(now)) {
                room = room.max(rate.room_at());
            }
            first = Some(first.map_or(room, |first: Now| first.min(room)));
        }
        // Never now: whoever waits would ask again at once, and for nothing.
        Choice::Full(first.unwrap_or(now).max(now + Duration::from_nanos(1)))
    }

    /// The order in which peers with room are tried.
    fn order(
        &mut self,
        ask: &Ask<'_>,
        home: Option<usize>,
        mut room: Vec<usize>,
        now: Now,
    ) -> Vec<usize> {
        let interface = at(ask.interface);
        let grey =
            |router: &Router, peer: usize| router.standings[peer].health[interface].is_grey();
        if let Some(home) = home
            && (!grey(self, home) || room.iter().all(|peer| grey(self, *peer)))
        {
            return first_of(room, home);
        }
        let weighted = self
            .routes
            .routes
            .get(ask.route)
            .is_some_and(|route| matches!(route.policy, RoutePolicy::Weighted(_)));
        // Whoever would be first if it answered is asked now and then whether it does.
        let reached = room.iter().take_while(|peer| weighted || grey(self, **peer));
        let probe = reached
            .copied()
            .find(|peer| home.is_none() && self.standings[*peer].health[interface].may_probe(now));
        let penalty = |peer: &usize| {
            let standing = &self.standings[*peer];
            let unsteady = u8::from(!standing.stability.is_steady(now));
            2 * u8::from(standing.health[interface].is_grey()) + unsteady
        };
        room.sort_by_key(penalty);
        if let Some(probe) = probe {
            return first_of(room, probe);
        }
        if weighted {
            let best = room.first().map(penalty);
            let equals = room.iter().filter(|peer| Some(penalty(peer)) == best).count();
            if let Some(next) = self.next_in_turn(ask.route, &room[..equals], now) {
                return first_of(room, next);
            }
        }
        room
    }

    /// Whose turn it is, by weight and load: the one furthest behind its share.
    fn next_in_turn(&mut self, route: usize, peers: &[usize], now: Now) -> Option<usize> {
        let turns = self.turns.get_mut(route)?;
        let route = self.routes.routes.get(route)?;
        let RoutePolicy::Weighted(weights) = &route.policy else { return None };
        let mut total = 0;
        let mut next: Option<usize> = None;
        for (place, peer) in route.peers.iter().enumerate() {
            if !peers.contains(peer) {
                continue;
            }
            let standing = &self.standings[*peer];
            let weight = weights.get(place).copied().unwrap_or(1);
            let weight = i64::try_from(standing.load.weigh(weight, now)).unwrap_or(i64::MAX / 4);
            turns[place] = turns[place].saturating_add(weight);
            total += weight;
            if next.is_none_or(|next| turns[place] > turns[next]) {
                next = Some(place);
            }
        }
        let next = next?;
        turns[next] -= total;
        route.peers.get(next).copied()
    }

    /// Whether a request to this peer is to be abated (O-04, O-05).
    fn is_abated(&mut self, peer: usize, wish: &Wish<'_>, now: Now) -> bool {
        if self.overload.is_empty() || !self.standings[peer].overload {
            return false;
        }
        // Host-routed: by its Destination-Host, or because we know that this peer is the host.
        let destination = (wish.destination_host)(peer);
        let own = self.candidates[peer].origin_host.as_deref();
        if let Some(host) = destination.or(own) {
            let scope = Scope::new(ReportType::Host, wish.application, host);
            if self.overload.reduction(&scope, now) > 0 {
                return self.overload.selects(&scope, wish.rank, now);
            }
        }
        if destination.is_some() {
            return false;
        }
        let realm = Traits::of(wish.message).into_realm();
        let scope = Scope::new(ReportType::Realm, wish.application, &realm);
        self.overload.selects(&scope, wish.rank, now)
    }

    // What comes back.

    /// An answer came.
    pub fn answered(
        &mut self,
        (token, peer): (u64, usize),
        interface: Interface,
        notice: &Notice<'_>,
        round_trip: Duration,
        now: Now,
    ) {
        let Some(standing) = self.standings.get_mut(peer) else { return };
        standing.window.give_back(token);
        // An answer after Tx helped nobody: its request counts as unanswered and stays so.
        if round_trip < standing.timeout
            && standing.health[at(interface)].answered() == Some(health::Change::Clear)
        {
            self.told.push((peer, Fact::AnswersAgain { interface: interface.word() }));
        }
        if let (Some(host), Some(value)) = (notice.origin_host, notice.origin_state_id) {
            self.state_id(peer, host, value, now);
        }
        if self.standings[peer].overload {
            self.overload_reports(peer, notice, now);
            self.load_reports(peer, notice, now);
        }
    }

    /// Tx ran out.
    pub fn unanswered(&mut self, peer: usize, interface: Interface, now: Now) {
        let Some(standing) = self.standings.get_mut(peer) else { return };
        if let Some(health::Change::Grey(requests)) = standing.health[at(interface)].unanswered(now)
        {
            let interface = interface.word();
            self.told.push((peer, Fact::AnswersWatchdogOnly { interface, requests }));
        }
    }

    /// A copy was given back.
    pub fn lost(&mut self, token: u64, peer: usize) {
        if let Some(standing) = self.standings.get_mut(peer) {
            standing.window.give_back(token);
        }
    }

    /// A copy was not taken by the peer's connection: it has less room than is counted here.
    pub fn refused(&mut self, token: u64, peer: usize, now: Now) {
        if let Some(standing) = self.standings.get_mut(peer) {
            standing.window.give_back(token);
            standing.full_until = now + REFUSED_FOR;
        }
    }

    /// A peer restarted, as the base protocol tells.
    pub fn restarted(&mut self, peer: usize, from: u32, to: u32, now: Now) {
        let host = self.candidates.get(peer).and_then(|one| one.origin_host.clone());
        if let Some(host) = host {
            self.state_id(peer, &host, from, now);
            self.state_id(peer, &host, to, now);
        }
    }

    /// A host told its Origin-State-Id.
    pub fn state_id(&mut self, peer: usize, host: &str, value: u32, now: Now) {
        if self.is_foreign(peer, host) {
            return;
        }
        let host = || host.to_owned();
        match self.restarts.note(&host(), value, now) {
            Some(Rise::Restarted { from, to }) => {
                // Whoever knows the sessions counts them.
                let fact = Fact::ServerRestarted { host: host(), from, to, sessions: 0 };
                self.told.push((peer, fact));
            }
            Some(Rise::Unsteady) => {
                self.told.push((peer, Fact::StateIdUnsteady { host: host() }));
            }
            None => {}
        }
    }

    /// Whether this is the name of a peer of ours, and another one than this: what comes about it
    /// by a third party is not believed.
    fn is_foreign(&self, peer: usize, host: &str) -> bool {
        let named =
            |one: &Candidate| one.origin_host.as_deref().is_some_and(|own| identity_eq(own, host));
        self.candidates.iter().enumerate().any(|(index, one)| index != peer && named(one))
            && !self.candidates.get(peer).is_some_and(named)
    }

    fn overload_reports(&mut self, peer: usize, notice: &Notice<'_>, now: Now) {
        for report in &notice.reports {
            let name = match report.report_type {
                ReportType::Host => notice.origin_host,
                ReportType::Realm => notice.origin_realm,
            };
            let Some(name) = name.filter(|name| !self.is_foreign(peer, name)) else { continue };
            let scope = Scope::new(report.report_type, notice.application, name);
            let words = scope.words();
            let change = self.overload.receive(scope, report, now);
            let percent = match change {
                Some(overload::Change::Reduced) => report.percent,
                Some(overload::Change::Ended) => 0,
                None => continue,
            };
            let (scope, validity) = (words, report.validity);
            self.told.push((peer, Fact::OverloadReported { scope, percent, validity }));
        }
    }

    fn load_reports(&mut self, peer: usize, notice: &Notice<'_>, now: Now) {
        let own = self.candidates[peer].origin_host.clone();
        for load in &notice.loads {
            let source = load.source.as_deref();
            let about = match load.load_type {
                // O-08: by nobody but the peer itself.
                LoadType::Peer => source,
                LoadType::Host => source.or(notice.origin_host),
            };
            let is_own = own.as_deref().zip(about).is_some_and(|(own, it)| identity_eq(own, it));
            if is_own {
                self.standings[peer].load.receive(load.load_type, load.value, now);
            }
        }
    }

    /// Whom a redirect leads to, and whether that may be followed. The cached route is learned.
    pub fn redirect(
        &mut self,
        indication: &Indication,
        from: usize,
        request: &[u8],
        ask: &Ask<'_>,
        now: Now,
    ) -> Redirection {
        let mut targets = Vec::new();
        for host in &indication.hosts {
            let named = |one: &Candidate| {
                one.origin_host.as_deref().is_some_and(|own| identity_eq(own, host))
            };
            let Some(to) = self.candidates.iter().position(named) else {
                self.refuse_redirect(from, host, "it is no peer of ours");
                continue;
            };
            // A peer that is down now may be up again when an accounting record is tried again.
            let up =
                Candidate { usable: true, ch1: true, ch2: true, ..self.candidates[to].clone() };
            if to == from {
                self.refuse_redirect(from, host, "it redirects to itself");
            } else if !routing::may_get(&up, to, &Ask { exclude: &[], ..*ask }) {
                self.refuse_redirect(from, host, "it is in another dedup_domain");
            } else if !targets.contains(&to) {
                targets.push(to);
            }
        }
        let usable = targets
            .iter()
            .copied()
            .find(|to| routing::may_get(&self.candidates[*to], *to, &Ask { exclude: &[], ..*ask }));
        if let (Some(to), Some(cache)) = (usable, indication.cache) {
            self.redirects.learn(cache, Traits::of(request), (from, to), now);
        }
        if targets.is_empty() {
            if indication.hosts.is_empty() {
                self.refuse_redirect(from, "", "it names no Redirect-Host");
            }
            return Redirection::Refused;
        }
        Redirection::To(targets)
    }

    /// A redirect was not followed.
    pub fn refuse_redirect(&mut self, from: usize, host: &str, reason: &'static str) {
        let host = host.chars().take(255).collect();
        self.told.push((from, Fact::RedirectRefused { host, reason }));
    }

    /// Cached routes.
    pub fn cached_redirects(&self) -> usize {
        self.redirects.len()
    }
}

/// The index of an interface.
fn at(interface: Interface) -> usize {
    match interface {
        Interface::Ch1 => 0,
        Interface::Ch2 => 1,
    }
}

/// The same peers, this one first.
fn first_of(mut peers: Vec<usize>, first: usize) -> Vec<usize> {
    peers.sort_by_key(|peer| *peer != first);
    peers
}
