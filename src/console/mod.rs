//! HTTP for operators on the admin port: metrics, health, and what the peers and the spool look like.
//!
//! Knows nothing of the gateway's inside: what it shows comes from [`Source`] and the metrics.
//! Served by [`crate::api::serve`], whose limits hold against slow and silent clients.

mod health;
mod page;
mod peers;
mod records;
mod routes;

pub use routes::{Rules, router};

use crate::api::backend::Answering;
use crate::charging::outcome::Refusal;
use crate::charging::replay::NoReplay;
use crate::clock::Wall;
use crate::gateway::StoredRecord;
pub use crate::gateway::{PeerAction, PeerError};
use crate::store::{Interface, Query, RecordId};

/// Of each record whether it is sent again, or why not.
pub type Replayed = Result<Vec<(RecordId, Result<(), NoReplay>)>, Refusal>;

/// What the console asks of the gateway.
pub trait Source: Send + Sync + 'static {
    /// Every condition for taking new triggers: configuration loaded, API listening, the store
    /// accepts a real commit, not draining. Peers never matter.
    fn ready(&self) -> Answering<'_, Vec<Check>>;

    /// Every configured peer, in the order of the configuration.
    fn peers(&self) -> Vec<PeerView>;

    /// Does to a peer what an operator asks for; `false`: there is no such peer.
    fn act_on_peer(&self, _name: &str, _action: PeerAction) -> bool {
        false
    }

    /// Records in order of creation, each with its session.
    fn search(&self, _query: Query) -> Answering<'_, Result<Vec<StoredRecord>, Refusal>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// A record by its id.
    fn record(&self, _id: RecordId) -> Answering<'_, Result<Option<StoredRecord>, Refusal>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Sends dead records again as far as that is right, or only says for which it would be.
    fn replay(&self, _ids: Vec<RecordId>, _dry_run: bool) -> Answering<'_, Replayed> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Removes those of these records that are dead; returns how many.
    fn purge(&self, _ids: Vec<RecordId>) -> Answering<'_, Result<u64, Refusal>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Brings the gauges up to date, all from one moment, before they are shown.
    fn refresh(&self) -> Answering<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// One condition for being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `config`, `api`, `store`, `draining`.
    pub name: String,
    /// Does it hold?
    pub ok: bool,
    /// In words.
    pub detail: String,
}

impl Check {
    /// A condition with its state.
    pub fn new(name: impl Into<String>, ok: bool, detail: impl Into<String>) -> Check {
        Check { name: name.into(), ok, detail: detail.into() }
    }
}

/// One peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    /// Name in the configuration.
    pub name: String,
    /// The interfaces of the routes that name it.
    pub interfaces: Vec<Interface>,
    /// Where it is dialled; `None` for a peer that dials us.
    pub address: Option<String>,
    /// The state's word: `open`, `suspect` …
    pub state: &'static str,
    /// What the operator wants: `ready`, `drain`, `maint`.
    pub admin_state: &'static str,
    /// May requests be sent?
    pub usable: bool,
    /// Since when.
    pub since: Option<Wall>,
    /// Why, in words.
    pub reason: String,
    /// The last row of the machines' tables.
    pub row: String,
    /// From its CER or CEA.
    pub origin_host: Option<String>,
    /// Ids of the applications shared with it.
    pub applications: Vec<u32>,
    /// Requests without an answer.
    pub pending: u64,
    /// Most of them at a time.
    pub window: u64,
    /// `tcp` or `tls`.
    pub transport: &'static str,
    /// When it is dialled again; `None`: not waiting for that.
    pub next_attempt: Option<Wall>,
    /// Why it was last not usable.
    pub last_error: Option<PeerError>,
    /// What our CER and CEA say.
    pub ours: NodeView,
    /// What its CER or CEA said.
    pub theirs: Option<TheirsView>,
    /// The end of its certificate.
    pub certificate_ends: Option<Wall>,
    /// Changes of state, the oldest first.
    pub history: Vec<TransitionView>,
}

/// A node in the capabilities exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Origin-Host.
    pub origin_host: String,
    /// Origin-Realm.
    pub origin_realm: String,
    /// Product-Name.
    pub product_name: String,
    /// Vendor-Id.
    pub vendor_id: u32,
    /// Origin-State-Id, if it was told.
    pub origin_state_id: Option<u32>,
    /// As the configuration would write them: `{auth: 4}`.
    pub applications: Vec<String>,
}

/// The peer's side of the last capabilities exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TheirsView {
    /// When.
    pub at: Wall,
    /// Result-Code of the CEA.
    pub result_code: u32,
    /// The rest.
    pub node: NodeView,
}

/// A change of a peer's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitionView {
    /// When.
    pub at: Wall,
    /// The state's word.
    pub state: &'static str,
    /// The table row.
    pub row: &'static str,
    /// Why.
    pub reason: String,
}
