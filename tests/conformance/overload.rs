//! Overload (RFC 7683, loss algorithm, reacting node) and load (RFC 8583): O-01 to O-09, FM-16.

use std::time::Duration;

use bytes::Bytes;
use farebox::clock::Now;
use farebox::diameter::{Avp, Dictionary, Message, View, command, id};
use farebox::peer::notice::Notice;
use farebox::peer::overload::{
    Change, Load, LoadType, OLR_DEFAULT_ALGO, Overload, RAMP, Rank, Report, ReportType, Scope,
};
use farebox::peer::router::{Choice, Router, Wish};
use farebox::peer::routing::{Ask, Candidate, Interface, Route, RoutePolicy, Routes, Sticky};
use farebox::peer::{Fact, PeerConfig};

const A: usize = 0;
const B: usize = 1;

fn at(secs: u64) -> Now {
    Now::ZERO + Duration::from_secs(secs)
}

fn host(name: &str) -> Scope {
    Scope::new(ReportType::Host, 4, name)
}

fn report(sequence: u64, percent: u32, validity: u64) -> Report {
    let validity = Duration::from_secs(validity);
    Report { sequence, report_type: ReportType::Host, percent, validity }
}

/// How many of so many requests of a rank are abated.
fn abated(overload: &mut Overload, scope: &Scope, rank: Rank, requests: usize, now: Now) -> usize {
    (0..requests).filter(|_| overload.selects(scope, rank, now)).count()
}

// The messages of a server that reports.

fn olr(report: &Report) -> Avp {
    let kind = i32::from(report.report_type == ReportType::Realm);
    Avp::group(
        id::OC_OLR,
        vec![
            Avp::u64(id::OC_SEQUENCE_NUMBER, report.sequence),
            Avp::enumerated(id::OC_REPORT_TYPE, kind),
            Avp::u32(id::OC_REDUCTION_PERCENTAGE, report.percent),
            Avp::u32(id::OC_VALIDITY_DURATION, report.validity.as_secs() as u32),
        ],
    )
}

fn features(vector: u64) -> Avp {
    Avp::group(id::OC_SUPPORTED_FEATURES, vec![Avp::u64(id::OC_FEATURE_VECTOR, vector)])
}

fn load(kind: LoadType, value: u64, source: &str) -> Avp {
    let kind = i32::from(kind == LoadType::Peer);
    Avp::group(
        id::LOAD,
        vec![
            Avp::enumerated(id::LOAD_TYPE, kind),
            Avp::u64(id::LOAD_VALUE, value),
            Avp::identity(id::SOURCEID, source),
        ],
    )
}

/// A CCA 2001 of this host with these AVPs.
fn cca(origin: &str, avps: &[Avp]) -> Bytes {
    let mut message = Message::request(command::CREDIT_CONTROL, 4, true);
    message.header.flags.0 = 0x40;
    message.push(Avp::text(id::SESSION_ID, "cg;1;1"));
    message.push(Avp::u32(id::RESULT_CODE, 2001));
    message.push(Avp::identity(id::ORIGIN_HOST, origin));
    message.push(Avp::identity(id::ORIGIN_REALM, "ocs.example"));
    message.avps.extend(avps.iter().cloned());
    message.encode(Dictionary::builtin())
}

fn ccr() -> Bytes {
    let mut message = Message::request(command::CREDIT_CONTROL, 4, true);
    message.push(Avp::text(id::SESSION_ID, "cg;1;1"));
    message.push(Avp::identity(id::DESTINATION_REALM, "OCS.example"));
    message.encode(Dictionary::builtin())
}

// Two servers that are peers, and a router in front of them.

fn router(policy: RoutePolicy) -> Router {
    let peer = |host: &str| Candidate {
        usable: true,
        draining: false,
        origin_host: Some(host.to_owned()),
        domain: "pair".to_owned(),
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
    let mut router =
        Router::new(routes, vec![peer("ocs-a.ocs.example"), peer("ocs-b.ocs.example")], 7);
    let config = |name| PeerConfig {
        overload: true,
        window: 1_000_000,
        ..PeerConfig::new(name, None, "ocs.example")
    };
    router.configure(&[config("ocs-a"), config("ocs-b")]);
    router
}

/// A request of a new session.
fn choose(router: &mut Router, rank: Rank, now: Now) -> Choice {
    choose_for(router, rank, None, &[], now)
}

fn choose_for(
    router: &mut Router,
    rank: Rank,
    destination: Option<&str>,
    exclude: &[usize],
    now: Now,
) -> Choice {
    let wish = Wish {
        token: 1,
        ask: Ask { exclude, ..Ask::first(Interface::Ch2, 0) },
        repeat_allowed: false,
        rank,
        message: &ccr(),
        application: 4,
        redirected: &[],
        destination_host: &|_| destination,
    };
    router.choose(&wish, now)
}

fn answer(router: &mut Router, peer: usize, bytes: &Bytes, now: Now) {
    let notice = Notice::of(bytes);
    router.answered((1, peer), Interface::Ch2, &notice, Duration::from_millis(1), now);
}

/// How many of so many new requests go to A, to B, and nowhere.
fn shares(router: &mut Router, rank: Rank, requests: usize, now: Now) -> (usize, usize, usize) {
    let mut shares = (0, 0, 0);
    for _ in 0..requests {
        match choose(router, rank, now) {
            Choice::To(A) => shares.0 += 1,
            Choice::To(_) => shares.1 += 1,
            _ => shares.2 += 1,
        }
    }
    shares
}

#[test]
fn o_02_a_report_is_created_updated_by_a_higher_number_and_else_ignored() {
    let mut overload = Overload::new(1);
    let scope = host("ocs-a");
    assert_eq!(overload.receive(scope.clone(), &report(5, 50, 60), at(0)), Some(Change::Reduced));
    assert_eq!(overload.reduction(&scope, at(1)), 500);
    for sequence in [5, 4, 0] {
        assert_eq!(overload.receive(scope.clone(), &report(sequence, 90, 60), at(2)), None);
        assert_eq!(overload.reduction(&scope, at(2)), 500, "{sequence}");
    }
    assert_eq!(overload.receive(scope.clone(), &report(6, 20, 60), at(3)), Some(Change::Reduced));
    assert_eq!(overload.reduction(&scope, at(3)), 200);
    assert_eq!(overload.reduction(&host("OCS-A."), at(3)), 200, "a name of any case");
    assert_eq!(overload.reduction(&host("ocs-b"), at(3)), 0);
    assert_eq!(overload.reduction(&Scope::new(ReportType::Host, 3, "ocs-a"), at(3)), 0);
    assert_eq!(overload.reduction(&Scope::new(ReportType::Realm, 4, "ocs-a"), at(3)), 0);
}

#[test]
fn o_02_a_number_that_has_rolled_over_is_higher() {
    let mut overload = Overload::new(1);
    let scope = host("ocs-a");
    overload.receive(scope.clone(), &report(u64::MAX - 9, 50, 60), at(0));
    assert_eq!(overload.receive(scope.clone(), &report(3, 10, 60), at(1)), Some(Change::Reduced));
    assert_eq!(overload.receive(scope.clone(), &report(u64::MAX / 2, 30, 60), at(2)), {
        Some(Change::Reduced)
    });
    assert_eq!(overload.receive(scope, &report(3, 30, 60), at(3)), None, "half way is no end");
}

#[test]
fn o_02_a_report_that_is_over_is_not_begun_again_by_its_repetition() {
    let mut overload = Overload::new(1);
    let scope = host("ocs-a");
    overload.receive(scope.clone(), &report(5, 50, 10), at(0));
    assert_eq!(overload.receive(scope.clone(), &report(5, 50, 10), at(100)), None);
    assert_eq!(overload.reduction(&scope, at(100)), 0);
    // A server that restarted counts from the beginning.
    assert_eq!(overload.receive(scope.clone(), &report(0, 40, 10), at(101)), Some(Change::Reduced));
    assert_eq!(overload.reduction(&scope, at(101)), 400);
}

#[test]
fn o_03_a_report_ends_by_0_by_time_and_by_30_s_if_it_says_no_time_that_counts() {
    let mut overload = Overload::new(1);
    let scope = host("ocs-a");
    overload.receive(scope.clone(), &report(1, 100, 60), at(0));
    assert_eq!(overload.receive(scope.clone(), &report(2, 0, 0), at(10)), Some(Change::Ended));
    assert!(overload.reduction(&scope, at(10)) < 1000, "it is over, and the ramp begins");
    assert_eq!(overload.reduction(&scope, at(10) + RAMP), 0);
    assert_eq!(overload.receive(scope, &report(3, 0, 0), at(99)), None, "no second end");

    let of = |avps: Vec<Avp>| {
        let bytes = cca("ocs-a", &[Avp::group(id::OC_OLR, avps)]);
        Notice::of(&bytes).reports.first().copied()
    };
    let base = || {
        vec![
            Avp::u64(id::OC_SEQUENCE_NUMBER, 1),
            Avp::enumerated(id::OC_REPORT_TYPE, 0),
            Avp::u32(id::OC_REDUCTION_PERCENTAGE, 10),
        ]
    };
    let validity = |secs| {
        let mut avps = base();
        avps.push(Avp::u32(id::OC_VALIDITY_DURATION, secs));
        of(avps).expect("a report").validity.as_secs()
    };
    assert_eq!(of(base()).expect("a report").validity.as_secs(), 30);
    assert_eq!([0, 1, 86_400, 86_401, u32::MAX].map(validity), [0, 1, 86_400, 30, 30]);
}

#[test]
fn o_03_what_is_no_report_of_ours_is_ignored() {
    let sequence = || Avp::u64(id::OC_SEQUENCE_NUMBER, 1);
    let kind = |value| Avp::enumerated(id::OC_REPORT_TYPE, value);
    let percent = |value| Avp::u32(id::OC_REDUCTION_PERCENTAGE, value);
    for avps in [
        vec![],
        vec![kind(0), percent(10)],
        vec![sequence(), percent(10)],
        vec![sequence(), kind(2), percent(10)],
        vec![sequence(), kind(0)],
        vec![sequence(), kind(0), percent(101)],
        vec![sequence(), kind(0), percent(u32::MAX)],
        vec![Avp::u32(id::OC_SEQUENCE_NUMBER, 1), kind(0), percent(10)],
    ] {
        let bytes = cca("ocs-a", &[Avp::group(id::OC_OLR, avps.clone())]);
        assert_eq!(Notice::of(&bytes).reports, [], "{avps:?}");
    }
    let other_algorithm = [features(2), olr(&report(1, 50, 60))];
    assert_eq!(Notice::of(&cca("ocs-a", &other_algorithm)).reports, []);
    for vector in [OLR_DEFAULT_ALGO, OLR_DEFAULT_ALGO | 2] {
        let loss = [features(vector), olr(&report(1, 50, 60))];
        assert_eq!(Notice::of(&cca("ocs-a", &loss)).reports.len(), 1);
    }
}

#[test]
fn o_04_the_reduction_is_its_percentage_without_dice() {
    for percent in [0, 1, 10, 33, 50, 75, 99, 100] {
        let mut overload = Overload::new(u64::from(percent));
        let scope = host("ocs-a");
        overload.receive(scope.clone(), &report(1, percent, 60), at(0));
        let abated = abated(&mut overload, &scope, Rank::First, 1000, at(1));
        let wanted = percent as usize * 10;
        assert!(abated.abs_diff(wanted) <= 1, "{percent} %: {abated} of 1000");
    }
    let pattern = |seed| {
        let mut overload = Overload::new(seed);
        let scope = host("ocs-a");
        overload.receive(scope.clone(), &report(1, 37, 60), at(0));
        (0..50).map(|_| overload.selects(&scope, Rank::First, at(1))).collect::<Vec<bool>>()
    };
    assert_eq!(pattern(5), pattern(5));
    assert!((0..20).any(|seed| pattern(seed) != pattern(5)), "gateways do not abate in step");
}

#[test]
fn o_04_abated_requests_are_diverted_first_and_throttled_if_nobody_else_may_get_them() {
    let mut router = router(RoutePolicy::Failover);
    answer(&mut router, A, &cca("ocs-a.ocs.example", &[olr(&report(1, 40, 60))]), at(0));
    assert_eq!(shares(&mut router, Rank::First, 1000, at(1)), (600, 400, 0));
    let told: Vec<Fact> = router.facts().map(|(_, fact)| fact).collect();
    assert!(matches!(&told[0], Fact::OverloadReported { percent: 40, scope, .. }
        if scope == "host ocs-a.ocs.example"));
    assert_eq!(told.len(), 401, "each is counted");
    let (mut sent, mut throttled) = (0, 0);
    for _ in 0..1000 {
        match choose_for(&mut router, Rank::First, None, &[B], at(2)) {
            Choice::To(A) => sent += 1,
            Choice::Throttled => throttled += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((sent, throttled), (600, 400));
    answer(&mut router, B, &cca("ocs-b.ocs.example", &[olr(&report(1, 100, 60))]), at(3));
    assert_eq!(shares(&mut router, Rank::First, 1000, at(4)), (600, 0, 400), "B is worse off");
}

#[test]
fn o_05_a_host_report_meets_host_routed_requests_and_a_realm_report_realm_routed_ones() {
    let full = |report_type| Report { report_type, ..report(1, 100, 60) };
    let host_report = cca("ocs-7.behind.example", &[olr(&full(ReportType::Host))]);
    let mut behind = router(RoutePolicy::Failover);
    answer(&mut behind, A, &host_report, at(0));
    let mut ask = |host| choose_for(&mut behind, Rank::First, host, &[], at(1));
    assert_eq!(ask(Some("OCS-7.behind.example")), Choice::Throttled, "no way leads around it");
    assert_eq!(ask(Some("ocs-8.behind.example")), Choice::To(A));
    assert_eq!(ask(None), Choice::To(A));

    let realm_report = cca("ocs-a.ocs.example", &[olr(&full(ReportType::Realm))]);
    let mut realm = router(RoutePolicy::Failover);
    answer(&mut realm, A, &realm_report, at(0));
    let mut ask = |host| choose_for(&mut realm, Rank::First, host, &[], at(1));
    assert_eq!(ask(None), Choice::Throttled);
    assert_eq!(ask(Some("ocs-a.ocs.example")), Choice::To(A), "it names its host");

    // A direct peer is a host that we know: what it says of itself meets what would go to it.
    let mut own = router(RoutePolicy::Failover);
    let own_report = cca("ocs-a.ocs.example", &[olr(&full(ReportType::Host))]);
    answer(&mut own, A, &own_report, at(0));
    assert_eq!(choose(&mut own, Rank::First, at(1)), Choice::To(B));
}

#[test]
fn o_06_after_100_percent_traffic_comes_back_step_by_step() {
    let mut overload = Overload::new(1);
    let scope = host("ocs-a");
    overload.receive(scope.clone(), &report(1, 100, 60), at(0));
    assert_eq!(abated(&mut overload, &scope, Rank::Termination, 100, at(59)), 100);
    let after = |overload: &mut Overload, secs: u64| {
        100 - abated(overload, &scope, Rank::First, 100, at(60 + secs))
    };
    let passed: Vec<usize> =
        [0, 3, 9, 15, 21, 27, 30, 300].into_iter().map(|secs| after(&mut overload, secs)).collect();
    assert!(passed[0] <= 1, "{passed:?}");
    assert!(passed.windows(2).all(|pair| pair[0] <= pair[1]), "{passed:?}");
    assert!(passed[3].abs_diff(50) <= 2, "{passed:?}");
    assert_eq!(passed[6..], [100, 100]);
    // A new report in the middle of it counts at once.
    let mut overload = Overload::new(1);
    overload.receive(scope.clone(), &report(1, 100, 60), at(0));
    overload.receive(scope.clone(), &report(2, 10, 60), at(75));
    assert_eq!(overload.reduction(&scope, at(76)), 100);
}

#[test]
fn o_07_a_termination_is_abated_last_and_the_share_is_kept_all_the_same() {
    let mut overload = Overload::new(1);
    let scope = host("ocs-a");
    overload.receive(scope.clone(), &report(1, 30, 60), at(0));
    let mut abated = [0; 3];
    for _ in 0..1000 {
        for (count, rank) in abated.iter_mut().zip([Rank::First, Rank::Update, Rank::Termination]) {
            *count += usize::from(overload.selects(&scope, rank, at(1)));
        }
    }
    assert_eq!(abated[1..], [0, 0], "new requests make up for the others");
    assert!(abated[0].abs_diff(900) <= 3, "{abated:?}");
    // Nothing but terminations: the share is kept even so.
    let count = (0..1000).filter(|_| overload.selects(&scope, Rank::Termination, at(2))).count();
    assert!(count.abs_diff(300) <= 10, "{count}");
    // And 100 % is everything.
    overload.receive(scope.clone(), &report(2, 100, 60), at(3));
    assert!(overload.selects(&scope, Rank::Termination, at(4)));
}

#[test]
fn o_08_a_peer_report_counts_from_the_peer_itself_only() {
    let idle = |kind, value, source: &str| cca("ocs-a.ocs.example", &[load(kind, value, source)]);
    for (bytes, expected) in [
        (idle(LoadType::Peer, 6553, "ocs-a.ocs.example"), (91, 909)),
        (idle(LoadType::Peer, 6553, "dra.example"), (500, 500)),
        (idle(LoadType::Peer, 6553, "ocs-b.ocs.example"), (500, 500)),
        (idle(LoadType::Host, 6553, "OCS-A.ocs.example"), (91, 909)),
        (idle(LoadType::Host, 6553, "ocs-b.ocs.example"), (500, 500)),
        (idle(LoadType::Host, 65_536, "ocs-a.ocs.example"), (500, 500)),
    ] {
        let mut router = router(RoutePolicy::Weighted(vec![1, 1]));
        answer(&mut router, A, &bytes, at(0));
        let (a, b, none) = shares(&mut router, Rank::First, 1000, at(1));
        let close = a.abs_diff(expected.0) <= 2 && b.abs_diff(expected.1) <= 2;
        assert!(close && none == 0, "{a} {b} {none}, expected {expected:?}");
    }
}

#[test]
fn o_08_load_moves_requests_and_is_forgotten() {
    let mut router = router(RoutePolicy::Weighted(vec![3, 1]));
    assert_eq!(shares(&mut router, Rank::First, 400, at(0)), (300, 100, 0));
    let busy = cca("ocs-a.ocs.example", &[load(LoadType::Host, 21_845, "ocs-a.ocs.example")]);
    answer(&mut router, A, &busy, at(1));
    assert_eq!(shares(&mut router, Rank::First, 400, at(2)), (200, 200, 0), "3 × ⅓ against 1");
    assert_eq!(shares(&mut router, Rank::First, 400, at(31)), (300, 100, 0));
    // Without `overload: true` reports are not asked for, and not read.
    let mut deaf = PeerConfig::new("ocs-a", None, "ocs.example");
    deaf.window = 1_000_000;
    router.configure(&[deaf.clone(), deaf]);
    answer(&mut router, A, &busy, at(40));
    answer(&mut router, A, &cca("ocs-a.ocs.example", &[olr(&report(1, 100, 60))]), at(40));
    assert_eq!(shares(&mut router, Rank::First, 400, at(41)), (300, 100, 0));
}

#[test]
fn o_09_65535_is_idle_and_0_fully_loaded() {
    let weigh = |value| {
        let mut load = Load::default();
        load.receive(LoadType::Host, value, at(0));
        load.weigh(100, at(1))
    };
    let full = Load::default().weigh(100, at(1));
    assert_eq!(weigh(65_535), full, "as if it had said nothing");
    assert!(weigh(65_535) > weigh(30_000) && weigh(30_000) > weigh(5_000));
    assert_eq!(weigh(0), full / 64, "asked now and then, to hear that it is better");
    let mut both = Load::default();
    both.receive(LoadType::Peer, 10, at(0));
    both.receive(LoadType::Host, 50_000, at(0));
    assert_eq!(both.value(at(1)), Some(50_000), "the host knows best");
    assert_eq!(both.value(at(30)), None);
}

#[test]
fn fm_16_a_report_about_another_peer_of_ours_is_not_believed() {
    let mut router = router(RoutePolicy::Failover);
    let lie = cca("ocs-a.ocs.example", &[olr(&report(1, 100, 60))]);
    answer(&mut router, B, &lie, at(0));
    assert_eq!(choose(&mut router, Rank::First, at(1)), Choice::To(A));
    assert_eq!(router.facts().count(), 0);
}

#[test]
fn fm_16_full_stop_then_validity_0_then_a_number_that_goes_back() {
    let mut router = router(RoutePolicy::Failover);
    let from_a = |report: Report| cca("ocs-a.ocs.example", &[olr(&report)]);
    let from_b = |report: Report| cca("ocs-b.ocs.example", &[olr(&report)]);
    answer(&mut router, A, &from_a(report(9, 100, 60)), at(0));
    answer(&mut router, B, &from_b(report(9, 100, 60)), at(0));
    assert_eq!(choose(&mut router, Rank::Termination, at(1)), Choice::Throttled);
    answer(&mut router, A, &from_a(report(8, 0, 0)), at(2));
    assert_eq!(choose(&mut router, Rank::Termination, at(3)), Choice::Throttled, "an old end");
    answer(&mut router, A, &from_a(report(10, 0, 0)), at(4));
    assert_eq!(choose(&mut router, Rank::Termination, at(5)), Choice::To(A));
    assert_eq!(choose(&mut router, Rank::Termination, at(35)), Choice::To(A));
}

#[test]
fn what_a_server_reports_cannot_grow_without_limit() {
    let mut overload = Overload::new(1);
    for number in 0..5_000u64 {
        let scope = host(&format!("ocs-{number}"));
        overload.receive(scope, &report(1, 50, 86_400), at(0));
    }
    let known = (0..5_000u64)
        .filter(|number| overload.reduction(&host(&format!("ocs-{number}")), at(1)) > 0)
        .count();
    assert_eq!(known, 1024);
}

#[test]
fn a_notice_is_read_in_one_walk_and_never_fails() {
    let bytes = cca("ocs-a", &[Avp::u32(id::ORIGIN_STATE_ID, 77), features(1)]);
    let notice = Notice::of(&bytes);
    assert_eq!((notice.result_code, notice.origin_state_id), (Some(2001), Some(77)));
    assert_eq!((notice.origin_host, notice.origin_realm), (Some("ocs-a"), Some("ocs.example")));
    for cut in 0..bytes.len() {
        let _ = Notice::of(&bytes[..cut]);
    }
    for place in 20..bytes.len() {
        let mut broken = bytes.to_vec();
        broken[place] ^= 0xff;
        let _ = Notice::of(&broken);
    }
    assert!(View::new(&bytes, &farebox::diameter::Limits::default()).is_ok());
}
