//! The gateway as operators see it: what the console and the admin port show and do.

use std::collections::BTreeMap;

use crate::api::backend::Answering;
use crate::charging::outcome::Refusal;
use crate::clock::Wall;
use crate::config::Config;
use crate::console::{
    Check, NodeView, PeerAction, PeerView, Replayed, Source, TheirsView, TransitionView,
};
use crate::gateway::dry_run::interfaces;
use crate::gateway::{Handle, Introduced, PeerStanding, StoredRecord};
use crate::peer::capabilities::Capabilities;
use crate::peer::{Application, PeerConfig};
use crate::store::{Interface, Query, RecordId};

/// What the configuration says about the peers, by name.
pub(super) struct Known {
    peers: BTreeMap<String, KnownPeer>,
}

#[derive(Clone, Default)]
struct KnownPeer {
    interfaces: Vec<Interface>,
    address: Option<String>,
    tls: bool,
    window: u64,
    ours: NodeView,
}

impl Known {
    pub(super) fn of(config: &Config) -> Known {
        let of = |(index, peer): (usize, &PeerConfig)| {
            let ours = NodeView {
                origin_host: config.identity.host.clone(),
                origin_realm: config.identity.realm.clone(),
                product_name: config.identity.product_name.clone(),
                vendor_id: config.identity.vendor_id,
                origin_state_id: None,
                applications: words(&peer.applications),
            };
            let known = KnownPeer {
                interfaces: interfaces(&config.policy, index),
                address: peer.address.clone(),
                tls: peer.tls,
                window: u64::try_from(peer.window).unwrap_or(u64::MAX),
                ours,
            };
            (peer.name.clone(), known)
        };
        Known { peers: config.peers.iter().enumerate().map(of).collect() }
    }
}

fn words(applications: &[Application]) -> Vec<String> {
    applications.iter().map(Application::to_string).collect()
}

/// The gateway as operators see it.
pub(super) struct Operators {
    handle: Handle,
    known: Known,
}

impl Operators {
    pub(super) fn new(handle: Handle, known: Known) -> Operators {
        Operators { handle, known }
    }

    fn view(&self, peer: PeerStanding) -> PeerView {
        let known = self.known.peers.get(&peer.name).cloned().unwrap_or_default();
        let ends = peer.certificate_ends.and_then(|ends| i64::try_from(ends).ok());
        let history = peer.history.into_iter().map(|change| TransitionView {
            at: change.at,
            state: change.state.word(),
            row: change.row,
            reason: change.reason,
        });
        PeerView {
            name: peer.name,
            interfaces: known.interfaces,
            address: known.address,
            transport: if known.tls { "tls" } else { "tcp" },
            state: peer.state.word(),
            admin_state: peer.admin.word(),
            usable: peer.usable,
            since: peer.since,
            reason: peer.reason,
            row: peer.row.to_owned(),
            origin_host: peer.origin_host,
            applications: peer.applications,
            pending: peer.pending,
            window: known.window,
            next_attempt: peer.next_attempt,
            last_error: peer.last_error,
            ours: known.ours,
            theirs: peer.introduced.map(theirs),
            certificate_ends: ends.map(Wall::from_secs),
            history: history.collect(),
        }
    }
}

fn theirs(introduced: Introduced) -> TheirsView {
    let Introduced { at, result_code, capabilities } = introduced;
    TheirsView { at, result_code, node: node(capabilities) }
}

/// What a node said of itself.
fn node(capabilities: Capabilities) -> NodeView {
    NodeView {
        applications: words(&capabilities.applications),
        origin_host: capabilities.origin_host,
        origin_realm: capabilities.origin_realm,
        product_name: capabilities.product_name,
        vendor_id: capabilities.vendor_id,
        origin_state_id: capabilities.origin_state_id,
    }
}

impl Source for Operators {
    fn ready(&self) -> Answering<'_, Vec<Check>> {
        Box::pin(async {
            let checks = self.handle.ready().await;
            let mut checks: Vec<Check> = checks
                .into_iter()
                .map(|check| Check::new(check.name, check.ok, check.detail))
                .collect();
            // This answer came over the same kind of listener, bound before everything else.
            checks.push(Check::new("api", true, "listening"));
            checks
        })
    }

    fn peers(&self) -> Vec<PeerView> {
        self.handle.peers().into_iter().map(|peer| self.view(peer)).collect()
    }

    fn search(&self, query: Query) -> Answering<'_, Result<Vec<StoredRecord>, Refusal>> {
        Box::pin(self.handle.search(query))
    }

    fn record(&self, id: RecordId) -> Answering<'_, Result<Option<StoredRecord>, Refusal>> {
        Box::pin(self.handle.record(id))
    }

    fn replay(&self, ids: Vec<RecordId>, dry_run: bool) -> Answering<'_, Replayed> {
        Box::pin(async move { self.handle.replay(&ids, dry_run).await })
    }

    fn purge(&self, ids: Vec<RecordId>) -> Answering<'_, Result<u64, Refusal>> {
        Box::pin(self.handle.purge(ids))
    }

    fn act_on_peer(&self, name: &str, action: PeerAction) -> bool {
        self.handle.act_on_peer(name, action)
    }

    fn refresh(&self) -> Answering<'_, ()> {
        Box::pin(self.handle.refresh())
    }
}
