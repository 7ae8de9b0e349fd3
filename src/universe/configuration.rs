//! What a configuration file would say, per universe: policy, peers, routes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::charging::event::Interfaces;
use crate::charging::policy::FailurePolicy;
use crate::charging::policy::Model;
use crate::charging::policy::PeerProfile;
use crate::charging::policy::PerInterface;
use crate::charging::policy::Policy;
use crate::charging::policy::RouteRule;
use crate::charging::policy::Service;
use crate::charging::policy::Termination;
use crate::peer::Application;
use crate::peer::PeerConfig;
use crate::peer::routing::Interface as RouteInterface;
use crate::peer::routing::Route;
use crate::peer::routing::RoutePolicy;
use crate::peer::routing::Routes;
use crate::peer::routing::Sticky;
use crate::store::Interface;

use super::plan::Setup;
use super::planted::PlantedBug;
use super::servers::host;
use super::servers::realm;
use super::world::FIRST_CDF;
use super::world::NAMES;
use super::world::PEERS;

/// The policy of one universe, as the configuration would make it.
pub(super) fn policy(setup: &Setup, bug: Option<PlantedBug>) -> Policy {
    let service = |ch1, ch2, group, id| Service {
        interfaces: Interfaces { ch1, ch2 },
        model: Model::Scur,
        rating_group: Some(group),
        service_id: Some(id),
    };
    let rule = |interface, peers: &[usize], strict| RouteRule {
        interface,
        when: None,
        peers: peers.to_vec(),
        strict,
    };
    Policy {
        host: "cg1.ims.example.net".to_owned(),
        realm: "ims.example.net".to_owned(),
        services: BTreeMap::from([
            ("chat".to_owned(), service(true, true, 700, 7)),
            ("online-only".to_owned(), service(false, true, 701, 9)),
            ("offline-only".to_owned(), service(true, false, 702, 10)),
        ]),
        default_interfaces: Interfaces { ch1: true, ch2: false },
        rating_groups: BTreeMap::new(),
        failure: FailurePolicy {
            on_no_answer: setup.ccfh,
            direct_debit: setup.ddfh,
            buffer_for: setup.buffer_for,
        },
        termination: Termination {
            ok_timeout: setup.ok_timeout,
            settle_within: setup.settle_within,
            backup_accounting: setup.backup,
            max_session: setup.max_session,
            abort_grace: Duration::from_secs(5),
        },
        accept_orphans: setup.accept_orphans,
        max_wait: setup.max_wait,
        peers: (0..PEERS)
            .map(|peer| PeerProfile {
                t_after_error: bug == Some(PlantedBug::TAfterError),
                ..profile(setup, peer)
            })
            .collect(),
        routes: vec![
            rule(Interface::Ch2, &[0, 1], setup.strict),
            rule(Interface::Ch1, &[2, 3], false),
        ],
        key_lifetime: Duration::from_secs(24 * 3600),
    }
}

fn profile(setup: &Setup, peer: usize) -> PeerProfile {
    let realm = realm(peer, setup.shared_domain);
    PeerProfile {
        name: NAMES[peer].to_owned(),
        host: Some(host(peer, setup.shared_domain)),
        realm: realm.to_owned(),
        dedup_domain: realm.to_owned(),
        service_context_id: "15.32260@3gpp.org".to_owned(),
        timeout: setup.tx,
        command_timeouts: BTreeMap::new(),
        mapping: PerInterface { ch1: "ch1".to_owned(), ch2: "ch2".to_owned() },
        send_destination_host: setup.destination_host.filter(|_| peer < FIRST_CDF),
        t_after_error: false,
        report_granted_only: false,
        results: BTreeMap::new(),
    }
}

/// The routes of the same policy, as the router has them.
pub(super) fn routes(policy: &Policy) -> Routes {
    let route = |rule: &RouteRule| Route {
        interface: match rule.interface {
            Interface::Ch1 => RouteInterface::Ch1,
            Interface::Ch2 => RouteInterface::Ch2,
        },
        when: None,
        peers: rule.peers.clone(),
        policy: RoutePolicy::Failover,
        sticky: if rule.strict { Sticky::Strict } else { Sticky::Session },
    };
    Routes { routes: policy.routes.iter().map(route).collect() }
}

/// One entry of `peers`.
pub(super) fn peer_config(setup: &Setup, peer: usize) -> PeerConfig {
    let realm = realm(peer, setup.shared_domain);
    let application = if peer < FIRST_CDF { Application::auth(4) } else { Application::acct(3) };
    PeerConfig {
        host: Some(host(peer, setup.shared_domain)),
        applications: vec![application],
        watchdog: setup.watchdog,
        window: setup.window,
        timeout: setup.tx,
        ..PeerConfig::new(NAMES[peer], Some("there:3868"), realm)
    }
}
