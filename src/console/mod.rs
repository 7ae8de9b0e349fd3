//! HTTP for operators on the admin port: metrics, health, and what the peers and the spool look like.
//!
//! Knows nothing of the gateway's inside: what it shows comes from [`Source`] and the metrics.
//! Served by [`crate::api::serve`], whose limits hold against slow and silent clients.

mod health;
mod page;
mod routes;

pub use routes::{Rules, router};

use crate::api::backend::Answering;
use crate::clock::Wall;
use crate::store::Interface;

/// What the console asks of the gateway.
pub trait Source: Send + Sync + 'static {
    /// Every condition for taking new triggers: configuration loaded, API listening, the store
    /// accepts a real commit, not draining. Peers never matter.
    fn ready(&self) -> Answering<'_, Vec<Check>>;

    /// Every configured peer, in the order of the configuration.
    fn peers(&self) -> Vec<PeerView>;

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
}
