//! Who gets the next copy: weights, windows, rates, grey and flapping peers, redirects
//! (FN-05, FN-10, FM-11, R-08, W-17, W-18, SEC-07).

use std::time::Duration;

use bytes::Bytes;
use farebox::clock::Now;
use farebox::diameter::{Avp, Dictionary, Message, View, command, id};
use farebox::peer::notice::Notice;
use farebox::peer::overload::Rank;
use farebox::peer::redirect::{Indication, Redirects, Traits, Usage};
use farebox::peer::router::{Choice, Redirection, Router, Wish};
use farebox::peer::routing::{Ask, Candidate, Interface, Route, RoutePolicy, Routes, Sticky};
use farebox::peer::{Fact, PeerConfig};

const A: usize = 0;
const B: usize = 1;
/// In no route; in A's and B's domain.
const C: usize = 2;
/// In another domain.
const X: usize = 3;

const HOSTS: [&str; 4] =
    ["ocs-a.example.net", "ocs-b.example.net", "ocs-c.example.net", "ocs-x.example.net"];

fn at(secs: u64) -> Now {
    Now::ZERO + Duration::from_secs(secs)
}

fn router(policy: RoutePolicy, change: impl Fn(&mut PeerConfig)) -> Router {
    let peer = |index: usize| Candidate {
        usable: true,
        draining: false,
        origin_host: Some(HOSTS[index].to_owned()),
        domain: if index == X { "other" } else { "pair" }.to_owned(),
        ch1: true,
        ch2: true,
    };
    let route = |interface| Route {
        interface,
        when: None,
        peers: vec![A, B],
        policy: policy.clone(),
        sticky: Sticky::Session,
    };
    let routes = Routes { routes: vec![route(Interface::Ch2), route(Interface::Ch1)] };
    let mut router = Router::new(routes, (0..4).map(peer).collect(), 7);
    let configs: Vec<PeerConfig> = HOSTS
        .iter()
        .map(|name| {
            let mut config = PeerConfig::new(name, None, "example.net");
            config.window = 1_000_000;
            config.timeout = Duration::from_secs(2);
            change(&mut config);
            config
        })
        .collect();
    router.configure(&configs);
    router
}

fn ccr(session: &str, user: &str) -> Bytes {
    let mut message = Message::request(command::CREDIT_CONTROL, 4, true);
    message.push(Avp::text(id::SESSION_ID, session));
    message.push(Avp::identity(id::DESTINATION_REALM, "example.net"));
    message.push(Avp::text(id::USER_NAME, user));
    message.encode(Dictionary::builtin())
}

fn wish<'a>(token: u64, message: &'a [u8], ask: Ask<'a>) -> Wish<'a> {
    Wish {
        token,
        ask,
        repeat_allowed: false,
        rank: Rank::First,
        message,
        application: 4,
        redirected: &[],
        destination_host: &|_| None,
    }
}

/// A new request.
fn choose(router: &mut Router, token: u64, now: Now) -> Choice {
    let message = ccr("cg;1;1", "alice");
    router.choose(&wish(token, &message, Ask::first(Interface::Ch2, 0)), now)
}

fn answered(router: &mut Router, token: u64, peer: usize, round_trip: Duration, now: Now) {
    let notice = Notice { application: 4, ..Notice::default() };
    router.answered((token, peer), Interface::Ch2, &notice, round_trip, now);
}

fn usable(router: &mut Router, peer: usize, usable: bool, now: Now) {
    router.peer_changed(peer, usable, None, (true, true), now);
}

fn told(router: &mut Router) -> Vec<(usize, Fact)> {
    router.facts().collect()
}

const QUICK: Duration = Duration::from_millis(5);

#[test]
fn weights_are_kept_exactly_and_evenly() {
    let mut router = router(RoutePolicy::Weighted(vec![3, 1]), |_| {});
    let order: Vec<usize> = (0..8)
        .map(|token| match choose(&mut router, token, at(0)) {
            Choice::To(peer) => peer,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [A, A, B, A, A, A, B, A], "spread out, not in blocks");
    usable(&mut router, A, false, at(1));
    assert_eq!(choose(&mut router, 9, at(1)), Choice::To(B));
    let mut even = super::router::router(RoutePolicy::Weighted(Vec::new()), |_| {});
    let order: Vec<Choice> = (0..4).map(|token| choose(&mut even, token, at(0))).collect();
    assert_eq!(order, [A, B, A, B].map(Choice::To), "without weights each in turn");
}

#[test]
fn fn_07_a_full_window_passes_requests_on_and_then_keeps_them_waiting() {
    let mut router = router(RoutePolicy::Failover, |config| config.window = 2);
    let choices: Vec<Choice> = (0..4).map(|token| choose(&mut router, token, at(0))).collect();
    assert_eq!(choices, [A, A, B, B].map(Choice::To));
    assert_eq!(choose(&mut router, 4, at(1)), Choice::Full(at(2)), "the oldest leaves at Tx");
    answered(&mut router, 2, B, QUICK, at(1));
    assert_eq!(choose(&mut router, 4, at(1)), Choice::To(B));
    router.lost(0, A);
    assert_eq!(choose(&mut router, 5, at(1)), Choice::To(A));
    assert_eq!(choose(&mut router, 6, at(2)), Choice::To(A), "1 left the window");
}

#[test]
fn a_rate_passes_requests_on_too() {
    let mut router = router(RoutePolicy::Failover, |config| config.rate = Some(10));
    let mut taken = [0; 2];
    let full = loop {
        match choose(&mut router, 1, at(5)) {
            Choice::To(peer) => taken[peer] += 1,
            Choice::Full(room_at) => break room_at,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(taken, [1, 1]);
    assert!(full > at(5) && full <= at(5) + Duration::from_millis(101), "{full:?}");
    assert_eq!(choose(&mut router, 2, full), Choice::To(A));
}

#[test]
fn a_peer_whose_connection_has_less_room_than_is_counted_is_passed_over_for_a_moment() {
    let mut router = router(RoutePolicy::Failover, |_| {});
    assert_eq!(choose(&mut router, 1, at(0)), Choice::To(A));
    router.refused(1, A, at(0));
    assert_eq!(choose(&mut router, 1, at(0)), Choice::To(B));
    assert_eq!(choose(&mut router, 2, at(1)), Choice::To(A));
}

#[test]
fn a_session_waits_for_its_server_unless_that_lets_it_move() {
    let mut router = router(RoutePolicy::Failover, |config| config.window = 1);
    let message = ccr("cg;1;1", "alice");
    let mut update = |token, failover_supported| {
        let ask = Ask {
            domain: Some("pair"),
            server: Some(HOSTS[A]),
            failover_supported,
            ..Ask::first(Interface::Ch2, 0)
        };
        router.choose(&wish(token, &message, ask), at(0))
    };
    assert_eq!(update(1, false), Choice::To(A));
    assert_eq!(update(2, false), Choice::Full(at(2)), "B is free, and knows nothing of it");
    assert_eq!(update(2, true), Choice::To(B));
}

#[test]
fn fn_05_w_18_a_grey_peer_keeps_a_trickle_and_loses_the_rest_without_being_called_down() {
    let mut router = router(RoutePolicy::Failover, |_| {});
    for token in 0..3 {
        assert_eq!(choose(&mut router, token, at(0)), Choice::To(A));
    }
    for _ in 0..3 {
        router.unanswered(A, Interface::Ch2, at(2));
    }
    let grey = Fact::AnswersWatchdogOnly { interface: "ch2", requests: 3 };
    assert_eq!(told(&mut router), [(A, grey)]);
    assert!(router.candidates()[A].usable);
    // A request each 100 ms for a minute; what goes to A is never answered.
    let mut probes = Vec::new();
    for tick in 0..600u64 {
        let now = at(2) + Duration::from_millis(100 * tick);
        match choose(&mut router, 100 + tick, now) {
            Choice::To(A) => {
                probes.push(now.since(at(2)).as_secs());
                router.unanswered(A, Interface::Ch2, now + Duration::from_secs(2));
            }
            Choice::To(B) => answered(&mut router, 100 + tick, B, QUICK, now),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(probes, [5, 10, 20, 40], "and rarer with time");
    // Accounting is another matter, and so is a session that has its server there.
    let ask = Ask::first(Interface::Ch1, 1);
    assert_eq!(router.choose(&wish(9, &ccr("s", "u"), ask), at(70)), Choice::To(A));
    let pinned = Ask { server: Some(HOSTS[A]), ..Ask::first(Interface::Ch2, 0) };
    assert_eq!(router.choose(&wish(9, &ccr("s", "u"), pinned), at(70)), Choice::To(A));
    let movable = Ask { failover_supported: true, ..pinned };
    assert_eq!(router.choose(&wish(9, &ccr("s", "u"), movable), at(70)), Choice::To(B));
    // Nobody else: better a grey peer than none.
    usable(&mut router, B, false, at(71));
    assert_eq!(choose(&mut router, 7, at(71)), Choice::To(A));
}

#[test]
fn fn_05_answers_in_time_bring_a_grey_peer_back_and_late_ones_do_not() {
    let mut router = router(RoutePolicy::Failover, |_| {});
    let grey = |router: &mut Router| {
        for _ in 0..3 {
            router.unanswered(A, Interface::Ch2, at(2));
        }
    };
    grey(&mut router);
    for _ in 0..50 {
        answered(&mut router, 1, A, Duration::from_secs(2), at(3));
    }
    assert_eq!(choose(&mut router, 2, at(3)), Choice::To(B), "after Tx it helps nobody");
    for _ in 0..3 {
        answered(&mut router, 1, A, QUICK, at(4));
    }
    assert_eq!(choose(&mut router, 3, at(4)), Choice::To(A));
    let facts = told(&mut router);
    assert_eq!(facts[1], (A, Fact::AnswersAgain { interface: "ch2" }));
    // A new connection is a new beginning.
    grey(&mut router);
    usable(&mut router, A, false, at(5));
    usable(&mut router, A, true, at(6));
    assert_eq!(choose(&mut router, 4, at(6)), Choice::To(A));
    assert_eq!(told(&mut router).last(), Some(&(A, Fact::AnswersAgain { interface: "ch2" })));
}

#[test]
fn fn_10_w_17_work_stays_on_the_stable_peer_while_another_flaps() {
    let mut router = router(RoutePolicy::Failover, |_| {});
    // One failure: A is back in use as soon as it is usable.
    usable(&mut router, A, false, at(0));
    assert_eq!(choose(&mut router, 1, at(0)), Choice::To(B));
    usable(&mut router, A, true, at(1));
    assert_eq!(choose(&mut router, 2, at(1)), Choice::To(A), "a single failure is no flap");
    // Up 1 s, down 1 s, a thousand times.
    let mut to_a = 0;
    for round in 1..1000 {
        usable(&mut router, A, false, at(2 * round));
        assert_eq!(choose(&mut router, 3, at(2 * round)), Choice::To(B));
        usable(&mut router, A, true, at(2 * round + 1));
        to_a += usize::from(choose(&mut router, 4, at(2 * round + 1)) == Choice::To(A));
    }
    assert_eq!(to_a, 0);
    assert_eq!(choose(&mut router, 5, at(1999 + 299)), Choice::To(B));
    assert_eq!(choose(&mut router, 5, at(1999 + 300)), Choice::To(A), "five minutes without");
    let flaps = told(&mut router);
    assert!(matches!(flaps[0], (A, Fact::Flapping { losses: 2, .. })));
    usable(&mut router, B, false, at(3000));
    usable(&mut router, A, false, at(3000));
    usable(&mut router, A, true, at(3001));
    usable(&mut router, A, false, at(3002));
    usable(&mut router, A, true, at(3003));
    assert_eq!(choose(&mut router, 6, at(3003)), Choice::To(A), "there is nobody else");
}

// Redirects.

fn redirect(hosts: &[&str], usage: Option<(i32, u32)>) -> Bytes {
    let mut message = Message::request(command::CREDIT_CONTROL, 4, true);
    message.header.flags.0 = 0x60;
    message.push(Avp::text(id::SESSION_ID, "cg;1;1"));
    message.push(Avp::u32(id::RESULT_CODE, 3006));
    for host in hosts {
        message.push(Avp::octets(id::REDIRECT_HOST, Bytes::copy_from_slice(host.as_bytes())));
    }
    if let Some((usage, time)) = usage {
        message.push(Avp::enumerated(id::REDIRECT_HOST_USAGE, usage));
        message.push(Avp::u32(id::REDIRECT_MAX_CACHE_TIME, time));
    }
    message.encode(Dictionary::builtin())
}

fn indication(hosts: &[&str], usage: Option<(i32, u32)>) -> Indication {
    let bytes = redirect(hosts, usage);
    Notice::of(&bytes).redirect.expect("a redirect")
}

/// A redirects a request of this session and user.
fn redirected(
    router: &mut Router,
    (hosts, usage): (&[&str], Option<(i32, u32)>),
    now: Now,
) -> Redirection {
    let ask = Ask { domain: Some("pair"), exclude: &[A], ..Ask::first(Interface::Ch2, 0) };
    let message = ccr("cg;1;1", "alice");
    router.redirect(&indication(hosts, usage), A, &message, &ask, now)
}

fn uri(host: &str) -> String {
    format!("aaa://{host}:3868;transport=tcp;protocol=diameter")
}

#[test]
fn r_08_a_redirect_is_read_by_host_usage_and_time() {
    let hosts = ["aaa://ocs-c.example.net:6666;transport=tcp", "aaas://ocs-b.example.net"];
    let read = indication(&hosts, Some((3, 60)));
    assert_eq!(read.hosts, ["ocs-c.example.net", "ocs-b.example.net"]);
    assert_eq!(read.cache, Some((Usage::RealmAndApplication, Duration::from_secs(60))));
    for (usage, cache) in [
        (None, None),
        (Some((0, 60)), None),
        (Some((1, 0)), None),
        (Some((7, 60)), None),
        (Some((1, 9)), Some((Usage::AllSession, Duration::from_secs(9)))),
    ] {
        assert_eq!(indication(&hosts, usage).cache, cache, "{usage:?}");
    }
    assert_eq!(indication(&["ocs-c.example.net"], None).hosts, ["ocs-c.example.net"]);
    assert_eq!(indication(&["http://ocs-c.example.net", "aaa://", ""], None).hosts, [""; 0]);
    let many = vec!["aaa://ocs-c.example.net"; 100];
    assert_eq!(indication(&many, None).hosts.len(), 16, "FM-11: a hundred hosts");
}

#[test]
fn sec_07_fm_11_a_redirect_leads_to_peers_of_ours_only() {
    let mut router = router(RoutePolicy::Failover, |_| {});
    let mut ask = |host: &str| redirected(&mut router, (&[&uri(host)], Some((2, 60))), at(0));
    assert_eq!(ask("OCS-C.example.net"), Redirection::To(vec![C]), "in no route, and allowed");
    assert_eq!(ask("evil.example.org"), Redirection::Refused);
    assert_eq!(ask(HOSTS[A]), Redirection::Refused, "itself");
    assert_eq!(ask(HOSTS[X]), Redirection::Refused, "no copies in two domains");
    assert_eq!(redirected(&mut router, (&[], None), at(0)), Redirection::Refused);
    let hosts = [uri("evil.example.org"), uri(HOSTS[B]), uri(HOSTS[C]), uri(HOSTS[B])];
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    assert_eq!(redirected(&mut router, (&hosts, None), at(0)), Redirection::To(vec![B, C]));
    let refused = told(&mut router);
    assert_eq!(refused.len(), 5, "{refused:?}");
    assert!(
        refused
            .iter()
            .all(|(peer, fact)| { *peer == A && matches!(fact, Fact::RedirectRefused { .. }) })
    );
}

#[test]
fn r_08_each_usage_moves_what_it_says_and_no_more() {
    let mine = || ccr("cg;1;1", "alice");
    let of_user = || ccr("cg;2;2", "alice");
    let of_realm = || ccr("cg;3;3", "bob");
    let elsewhere = || {
        let mut message = Message::request(command::CREDIT_CONTROL, 4, true);
        message.push(Avp::text(id::SESSION_ID, "cg;4;4"));
        message.push(Avp::identity(id::DESTINATION_REALM, "other.net"));
        message.encode(Dictionary::builtin())
    };
    let (yes, no) = (Choice::To(C), Choice::To(A));
    for (usage, expected) in [
        (1, [yes, no, no, no]),
        (6, [yes, yes, no, no]),
        (3, [yes, yes, yes, no]),
        (2, [yes, yes, yes, no]),
        (4, [yes; 4]),
        (5, [yes; 4]),
    ] {
        let mut router = router(RoutePolicy::Failover, |_| {});
        redirected(&mut router, (&[&uri(HOSTS[C])], Some((usage, 60))), at(0));
        let mut get = |message: &[u8], now| {
            router.choose(&wish(1, message, Ask::first(Interface::Ch2, 0)), now)
        };
        let found = [&mine(), &of_user(), &of_realm(), &elsewhere()].map(|m| get(m, at(59)));
        assert_eq!(found, expected, "usage {usage}");
        assert_eq!(get(&mine(), at(60)), no, "usage {usage} ends with its time");
    }
}

#[test]
fn r_08_precedence_is_session_user_realm_and_application_realm_application_host() {
    // Each usage leads elsewhere; taken away from the front, the next one speaks.
    let order = [
        Usage::AllSession,
        Usage::AllUser,
        Usage::RealmAndApplication,
        Usage::AllRealm,
        Usage::AllApplication,
    ];
    for first in 0..order.len() {
        let mut redirects = Redirects::default();
        let traits = || Traits::of(&ccr("cg;1;1", "alice"));
        for (peer, usage) in order.iter().enumerate().skip(first) {
            redirects.learn((*usage, Duration::from_secs(60)), traits(), (9, peer), at(0));
        }
        let found = redirects
            .of_session(&traits(), at(1))
            .or_else(|| redirects.of_request(&traits(), at(1)));
        assert_eq!(found, Some(first));
        redirects.forget(first);
        assert_eq!(redirects.len(), order.len() - first - 1, "not reachable, so forgotten");
    }
}

#[test]
fn fm_11_caches_do_not_chase_each_other_and_do_not_grow() {
    let mut router = router(RoutePolicy::Failover, |_| {});
    redirected(&mut router, (&[&uri(HOSTS[C])], Some((5, 60))), at(0));
    let ask = Ask { domain: Some("pair"), ..Ask::first(Interface::Ch2, 0) };
    let back = indication(&[&uri(HOSTS[A])], Some((5, 60)));
    router.redirect(&back, C, &ccr("cg;1;1", "alice"), &ask, at(0));
    assert_eq!(choose(&mut router, 1, at(1)), Choice::To(C), "one step, not round and round");

    let mut redirects = Redirects::default();
    for session in 0..20_000u64 {
        let traits = Traits::of(&ccr(&format!("cg;1;{session}"), "alice"));
        let cache = (Usage::AllSession, Duration::from_secs(60));
        redirects.learn(cache, traits, (A, C), at(session / 200));
    }
    assert!(redirects.len() <= 10_000);
    let newest = Traits::of(&ccr("cg;1;19999", "alice"));
    assert_eq!(redirects.of_session(&newest, at(100)), Some(C));
}

#[test]
fn a_redirect_to_a_full_peer_waits_and_one_to_a_closed_peer_goes_wherever_it_may() {
    let mut router = router(RoutePolicy::Failover, |config| config.window = 1);
    let message = ccr("cg;1;1", "alice");
    let ask = Ask { domain: Some("pair"), exclude: &[A], ..Ask::first(Interface::Ch2, 0) };
    let targets = [C];
    let follow = |router: &mut Router, token| {
        let wish = Wish { redirected: &targets, ..wish(token, &message, ask) };
        router.choose(&wish, at(0))
    };
    assert_eq!(follow(&mut router, 1), Choice::To(C));
    assert_eq!(follow(&mut router, 2), Choice::Full(at(2)));
    usable(&mut router, C, false, at(0));
    assert_eq!(follow(&mut router, 2), Choice::To(B));
    assert!(View::new(&message, &farebox::diameter::Limits::default()).is_ok());
}

#[test]
fn fm_09_fm_10_a_server_that_restarts_is_told_and_one_that_always_does_is_not_believed() {
    let mut router = router(RoutePolicy::Failover, |_| {});
    let mut tell = |peer, host: &'static str, value, now| {
        let notice = Notice {
            application: 4,
            origin_host: Some(host),
            origin_state_id: Some(value),
            ..Notice::default()
        };
        router.answered((1, peer), Interface::Ch2, &notice, QUICK, now);
        router.facts().collect::<Vec<_>>()
    };
    assert_eq!(tell(A, HOSTS[A], 100, at(0)), []);
    let restarted = tell(A, HOSTS[A], 200, at(400));
    assert!(
        matches!(&restarted[..], [(A, Fact::ServerRestarted { host, from: 100, to: 200, .. })]
            if host == HOSTS[A]),
        "{restarted:?}"
    );
    assert_eq!(tell(B, HOSTS[A], 999, at(401)), [], "not by a third party");
    let behind = "ocs-7.behind.example.net";
    let told: Vec<Fact> =
        (1..500).flat_map(|v| tell(A, behind, v, at(500 + u64::from(v)))).map(|(_, f)| f).collect();
    let restarts = told.iter().filter(|f| matches!(f, Fact::ServerRestarted { .. })).count();
    assert_eq!((restarts, told.len()), (2, 3), "{told:?}");
    assert!(matches!(told[2], Fact::StateIdUnsteady { .. }));
}

#[test]
fn p_08_p_09_two_connected_peers_of_a_realm_and_the_alternate_is_promoted() {
    let mut router = router(RoutePolicy::Failover, |_| {});
    assert!(router.candidates().iter().all(|peer| peer.usable), "both connections are held");
    assert_eq!(choose(&mut router, 1, at(0)), Choice::To(A));
    usable(&mut router, A, false, at(1));
    assert_eq!(choose(&mut router, 2, at(1)), Choice::To(B));
    usable(&mut router, A, true, at(2));
    usable(&mut router, B, false, at(2));
    assert_eq!(choose(&mut router, 3, at(2)), Choice::To(A));
}

#[test]
fn w_17_a_working_alternate_is_never_put_out_of_use_by_the_return_of_the_primary() {
    let mut router = router(RoutePolicy::Failover, |_| {});
    usable(&mut router, A, false, at(0));
    usable(&mut router, A, true, at(1));
    for second in 1..400 {
        assert!(router.candidates()[B].usable);
        assert_eq!(choose(&mut router, second, at(second)), Choice::To(A), "no flap of ours");
    }
}
