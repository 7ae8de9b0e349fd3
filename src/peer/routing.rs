//! Which peer gets a request: routes, failover, and who may get a copy.
//!
//! Knows peers by their index in the configuration, and of a request only what the choice needs.
//! Conditions of routes are evaluated by the caller, who knows the event.

use super::machine::compare_identities;

/// The offline or the online reference point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// CH-1: Rf, to a CDF.
    Ch1,
    /// CH-2: Ro, to an OCS.
    Ch2,
}

/// How a route picks among its usable peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoutePolicy {
    /// The first usable one, in the order of the configuration.
    #[default]
    Failover,
}

/// `routes[].sticky`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sticky {
    /// A session stays with its server while that is usable.
    #[default]
    Session,
    /// A session never moves.
    Strict,
}

/// One entry of `routes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// For which requests.
    pub interface: Interface,
    /// The condition as written; a route with one is tried before those without.
    pub when: Option<String>,
    /// Indices of the peers, most preferred first.
    pub peers: Vec<usize>,
    /// How one is picked.
    pub policy: RoutePolicy,
    /// Whether sessions may move.
    pub sticky: Sticky,
}

/// All routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// As the configuration lists them.
    pub routes: Vec<Route>,
}

impl Routes {
    /// Routes of an interface in the order in which they are tried, with their index.
    pub fn candidates(&self, interface: Interface) -> impl Iterator<Item = (usize, &Route)> {
        let of = move |with_condition: bool| {
            self.routes.iter().enumerate().filter(move |(_, route)| {
                route.interface == interface && route.when.is_some() == with_condition
            })
        };
        of(true).chain(of(false))
    }

    /// The first route of an interface whose condition holds.
    pub fn select(
        &self,
        interface: Interface,
        mut holds: impl FnMut(&str) -> bool,
    ) -> Option<usize> {
        self.candidates(interface)
            .find(|(_, route)| route.when.as_deref().is_none_or(&mut holds))
            .map(|(index, _)| index)
    }
}

/// What the choice needs to know about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Requests may be sent now.
    pub usable: bool,
    /// Its Origin-Host, learned or configured.
    pub origin_host: Option<String>,
    /// `dedup_domain`.
    pub domain: String,
    /// It shares the application of CH-1.
    pub ch1: bool,
    /// It shares the application of CH-2.
    pub ch2: bool,
}

/// A request that looks for a peer.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Which interface.
    pub interface: Interface,
    /// Index of the route.
    pub route: usize,
    /// The domain that earlier copies went to; `None` for a first copy.
    pub domain: Option<&'a str>,
    /// Peers that must not get it: they had a copy.
    pub exclude: &'a [usize],
    /// The only peer that may get it.
    pub only: Option<usize>,
    /// S: Origin-Host of the server that settled the session's last settled request.
    pub server: Option<&'a str>,
    /// The peer through which S answered.
    pub via: Option<usize>,
    /// CC-Session-Failover of the session is FAILOVER_SUPPORTED.
    pub failover_supported: bool,
}

impl<'a> Ask<'a> {
    /// The first copy of the first request of a session.
    pub fn first(interface: Interface, route: usize) -> Ask<'a> {
        Ask {
            interface,
            route,
            domain: None,
            exclude: &[],
            only: None,
            server: None,
            via: None,
            failover_supported: false,
        }
    }
}

/// Chooses the peer for a copy, by "who may get a copy"; `None`: none may, or none is usable.
///
/// (a) No server yet: any peer of the route in the domain of earlier copies. (b) The server is a
/// peer itself: another one only if the session's server allows failover. (c) The server is behind
/// a peer: any peer that leads there, so any of the route. (d) Accounting: any peer of the route.
/// A credit-control request never has copies in two domains.
pub fn choose(routes: &Routes, peers: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
    let route = routes.routes.get(ask.route)?;
    let fits = |index: usize| -> Option<&Candidate> {
        let peer = peers.get(index)?;
        let shares = match ask.interface {
            Interface::Ch1 => peer.ch1,
            Interface::Ch2 => peer.ch2,
        };
        let allowed = peer.usable
            && shares
            && !ask.exclude.contains(&index)
            && ask.only.is_none_or(|only| only == index)
            && (ask.interface == Interface::Ch1
                || ask.domain.is_none_or(|domain| domain == peer.domain));
        allowed.then_some(peer)
    };
    let first = || route.peers.iter().copied().find(|index| fits(*index).is_some());
    if ask.interface == Interface::Ch1 {
        return first();
    }
    let Some(server) = ask.server else { return first() };
    match home(route, peers, server) {
        Some(home) if fits(home).is_some() => Some(home),
        Some(_) if route.sticky == Sticky::Strict || !ask.failover_supported => None,
        Some(home) => route
            .peers
            .iter()
            .copied()
            .find(|index| fits(*index).is_some_and(|peer| peer.domain == peers[home].domain)),
        None => {
            ask.via.filter(|via| route.peers.contains(via) && fits(*via).is_some()).or_else(first)
        }
    }
}

/// The peer of the route that is the server itself.
pub fn home(route: &Route, peers: &[Candidate], server: &str) -> Option<usize> {
    route.peers.iter().copied().find(|index| {
        peers
            .get(*index)
            .and_then(|peer| peer.origin_host.as_deref())
            .is_some_and(|host| compare_identities(host, server).is_eq())
    })
}
