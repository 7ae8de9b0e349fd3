//! Who may get a request, and who a copy (api.md 3; R-07, W-08, W-13).

use farebox::peer::routing::{
    Ask, Candidate, Interface, Route, RoutePolicy, Routes, Sticky, choose,
};

const OCS_A: usize = 0;
const OCS_B: usize = 1;
const OTHER_DOMAIN: usize = 2;
const CDF: usize = 3;

fn route(interface: Interface, peers: &[usize], when: Option<&str>) -> Route {
    Route {
        interface,
        when: when.map(str::to_owned),
        peers: peers.to_vec(),
        policy: RoutePolicy::Failover,
        sticky: Sticky::Session,
    }
}

fn routes() -> Routes {
    Routes {
        routes: vec![
            route(Interface::Ch2, &[OCS_A, OCS_B, OTHER_DOMAIN], None),
            route(Interface::Ch1, &[CDF, OCS_A], None),
            route(Interface::Ch2, &[OTHER_DOMAIN], Some("subscriber.mccmnc == \"26207\"")),
        ],
    }
}

fn peers() -> Vec<Candidate> {
    let peer = |host: &str, domain: &str, ch1, ch2| Candidate {
        usable: true,
        draining: false,
        origin_host: Some(host.to_owned()),
        domain: domain.to_owned(),
        ch1,
        ch2,
    };
    vec![
        peer("ocs-a.example", "pair", true, true),
        peer("ocs-b.example", "pair", false, true),
        peer("ocs-x.example", "other", false, true),
        peer("cdf-a.example", "cdf", true, false),
    ]
}

/// Chooses after `change` took peers out of use.
#[track_caller]
fn check(unusable: &[usize], ask: Ask<'_>, chosen: Option<usize>) {
    let mut peers = peers();
    for index in unusable {
        peers[*index].usable = false;
    }
    assert_eq!(choose(&routes(), &peers, &ask), chosen, "without {unusable:?}: {ask:?}");
}

#[test]
fn failover_takes_the_first_usable_peer_of_the_route() {
    let first = Ask::first(Interface::Ch2, 0);
    check(&[], first, Some(OCS_A));
    check(&[OCS_A], first, Some(OCS_B));
    check(&[OCS_A, OCS_B], first, Some(OTHER_DOMAIN));
    check(&[OCS_A, OCS_B, OTHER_DOMAIN], first, None);
    check(&[], Ask { route: 9, ..first }, None);
}

#[test]
fn r_07_only_a_peer_that_shares_the_application() {
    let mut peers = peers();
    peers[OCS_A].ch2 = false;
    let ask = Ask::first(Interface::Ch2, 0);
    assert_eq!(choose(&routes(), &peers, &ask), Some(OCS_B));
}

#[test]
fn a_copy_without_a_server_stays_in_its_domain() {
    let copy = Ask { domain: Some("pair"), exclude: &[OCS_A], ..Ask::first(Interface::Ch2, 0) };
    check(&[], copy, Some(OCS_B));
    check(&[OCS_B], copy, None);
    check(&[], Ask { exclude: &[OCS_A, OCS_B], ..copy }, None);
}

#[test]
fn w_13_a_session_stays_with_a_server_that_is_a_peer_unless_it_allows_failover() {
    let ask = Ask {
        domain: Some("pair"),
        server: Some("OCS-B.example"),
        via: Some(OCS_B),
        ..Ask::first(Interface::Ch2, 0)
    };
    check(&[], ask, Some(OCS_B));
    check(&[OCS_B], ask, None);
    let movable = Ask { failover_supported: true, ..ask };
    check(&[], movable, Some(OCS_B));
    check(&[OCS_B], movable, Some(OCS_A));
    check(&[], Ask { exclude: &[OCS_B], ..movable }, Some(OCS_A));
    check(&[OCS_A, OCS_B], movable, None);
    check(&[OCS_A, OCS_B], Ask { domain: None, ..movable }, None);
}

#[test]
fn a_strict_route_never_moves_a_session() {
    let mut routes = routes();
    routes.routes[0].sticky = Sticky::Strict;
    let mut peers = peers();
    peers[OCS_A].usable = false;
    let ask = Ask {
        server: Some("ocs-a.example"),
        failover_supported: true,
        ..Ask::first(Interface::Ch2, 0)
    };
    assert_eq!(choose(&routes, &peers, &ask), None);
    peers[OCS_A].usable = true;
    assert_eq!(choose(&routes, &peers, &ask), Some(OCS_A));
}

#[test]
fn a_server_behind_agents_is_reached_through_any_of_them() {
    let ask = Ask {
        domain: Some("pair"),
        server: Some("ocs-7.behind.example"),
        via: Some(OCS_B),
        ..Ask::first(Interface::Ch2, 0)
    };
    check(&[], ask, Some(OCS_B));
    check(&[OCS_B], ask, Some(OCS_A));
    check(&[OCS_A, OCS_B], ask, None);
    check(&[], Ask { via: None, ..ask }, Some(OCS_A));
    check(&[], Ask { via: Some(CDF), ..ask }, Some(OCS_A));
}

#[test]
fn accounting_goes_to_any_peer_of_its_route() {
    let ask = Ask {
        domain: Some("pair"),
        server: Some("cdf-a.example"),
        ..Ask::first(Interface::Ch1, 1)
    };
    check(&[], ask, Some(CDF));
    check(&[CDF], ask, Some(OCS_A));
    check(&[], Ask { exclude: &[CDF], ..ask }, Some(OCS_A));
}

#[test]
fn only_pins_the_peer() {
    let ask = Ask { only: Some(OCS_B), ..Ask::first(Interface::Ch2, 0) };
    check(&[], ask, Some(OCS_B));
    check(&[OCS_B], ask, None);
}

#[test]
fn a_route_with_a_condition_is_tried_before_those_without() {
    let routes = routes();
    assert_eq!(routes.select(Interface::Ch2, |_| true), Some(2));
    assert_eq!(routes.select(Interface::Ch2, |_| false), Some(0));
    assert_eq!(routes.select(Interface::Ch1, |_| true), Some(1));
    assert_eq!(Routes::default().select(Interface::Ch1, |_| true), None);
}

#[test]
fn a_draining_peer_keeps_its_sessions_and_gets_no_new_ones() {
    let check = |ask: Ask<'_>, chosen| {
        let mut peers = peers();
        peers[OCS_A].draining = true;
        assert_eq!(choose(&routes(), &peers, &ask), chosen, "{ask:?}");
    };
    let first = Ask::first(Interface::Ch2, 0);
    check(first, Some(OCS_B));
    // Its own sessions go on, whether it is the server itself or leads there.
    check(Ask { server: Some("OCS-A.example"), ..first }, Some(OCS_A));
    let behind = Ask { server: Some("behind.example"), via: Some(OCS_A), ..first };
    check(behind, Some(OCS_A));
    check(Ask { only: Some(OCS_A), ..first }, Some(OCS_A));
    check(Ask { server: Some("behind.example"), via: Some(OCS_B), ..first }, Some(OCS_B));
    // A record waits rather than that the operator's word is broken.
    let mut peers = peers();
    peers[CDF].draining = true;
    peers[OCS_A].draining = true;
    assert_eq!(choose(&routes(), &peers, &Ask::first(Interface::Ch1, 1)), None);
}
