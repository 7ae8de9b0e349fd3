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

impl Interface {
    /// `ch1` or `ch2`.
    pub fn word(self) -> &'static str {
        match self {
            Interface::Ch1 => "ch1",
            Interface::Ch2 => "ch2",
        }
    }
}

/// How a route picks among its usable peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoutePolicy {
    /// The first usable one, in the order of the configuration.
    #[default]
    Failover,
    /// Each in proportion to its weight, which stands here in the order of the route's peers; a
    /// peer without one weighs 1.
    Weighted(Vec<u32>),
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
    /// Nothing new goes there: only what belongs to a session that it serves.
    pub draining: bool,
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

/// The peers that may get a copy, by "who may get a copy".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The session's server itself, if it is a peer that may get the copy: it comes first whatever
    /// the route's policy says.
    pub home: Option<usize>,
    /// All of them, in the order of preference.
    pub peers: Vec<usize>,
}

/// Every peer that may get a copy now.
///
/// (a) No server yet: any peer of the route in the domain of earlier copies. (b) The server is a
/// peer itself: another one only if the session's server allows failover. (c) The server is behind
/// a peer: any peer that leads there, so any of the route. (d) Accounting: any peer of the route.
/// A credit-control request never has copies in two domains.
pub fn allowed(routes: &Routes, peers: &[Candidate], ask: &Ask<'_>) -> Allowed {
    let Some(route) = routes.routes.get(ask.route) else { return Allowed::default() };
    let fits = |index: &usize| peers.get(*index).is_some_and(|peer| may_get(peer, *index, ask));
    let any = || route.peers.iter().copied().filter(fits).collect::<Vec<usize>>();
    let server = ask.server.filter(|_| ask.interface == Interface::Ch2);
    let Some(server) = server else { return Allowed { home: None, peers: any() } };
    match home(route, peers, server) {
        Some(home) => {
            let own = fits(&home).then_some(home);
            let may_move = route.sticky != Sticky::Strict && ask.failover_supported;
            let shares = |other: &usize| {
                may_move && *other != home && peers[*other].domain == peers[home].domain
            };
            let others = any().into_iter().filter(shares);
            Allowed { home: own, peers: own.into_iter().chain(others).collect() }
        }
        None => {
            let mut peers = any();
            if let Some(via) = ask.via {
                // The sort is stable: the others keep their order.
                peers.sort_by_key(|index| *index != via);
            }
            Allowed { home: None, peers }
        }
    }
}

/// Whether a peer may get the copy as far as that depends on the peer alone.
pub fn may_get(peer: &Candidate, index: usize, ask: &Ask<'_>) -> bool {
    let shares = match ask.interface {
        Interface::Ch1 => peer.ch1,
        Interface::Ch2 => peer.ch2,
    };
    let serves = ask.only == Some(index)
        || ask.server.is_some() && ask.via == Some(index)
        || ask.server.is_some_and(|server| {
            let host = peer.origin_host.as_deref();
            host.is_some_and(|host| compare_identities(host, server).is_eq())
        });
    peer.usable
        && (!peer.draining || serves)
        && shares
        && !ask.exclude.contains(&index)
        && ask.only.is_none_or(|only| only == index)
        && (ask.interface == Interface::Ch1
            || ask.domain.is_none_or(|domain| domain == peer.domain))
}

/// The most preferred peer that may get a copy; `None`: none may, or none is usable.
pub fn choose(routes: &Routes, peers: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
    allowed(routes, peers, ask).peers.first().copied()
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
