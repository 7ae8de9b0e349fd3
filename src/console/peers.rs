//! The peers as JSON: how each stands, what was agreed on, what went wrong and whose it is.

use serde::Serialize;

use super::{NodeView, PeerView};
use crate::clock::Wall;
use crate::telemetry::labels;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerJson<'a> {
    name: &'a str,
    interfaces: Vec<&'static str>,
    address: Option<&'a str>,
    transport: &'a str,
    state: &'a str,
    admin_state: &'a str,
    usable: bool,
    since: Option<String>,
    reason: &'a str,
    row: &'a str,
    origin_host: Option<&'a str>,
    applications: &'a [u32],
    pending: u64,
    window: u64,
    next_attempt: Option<String>,
    next_attempt_seconds: Option<f64>,
    last_error: Option<ErrorJson<'a>>,
    handshake: HandshakeJson<'a>,
    certificate_ends: Option<String>,
    history: Vec<TransitionJson<'a>>,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    at: String,
    fault: &'a str,
    reason: &'a str,
}

/// CER beside CEA.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HandshakeJson<'a> {
    ours: NodeJson<'a>,
    theirs: Option<NodeJson<'a>>,
    result_code: Option<u32>,
    at: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeJson<'a> {
    origin_host: &'a str,
    origin_realm: &'a str,
    product_name: &'a str,
    vendor_id: u32,
    origin_state_id: Option<u32>,
    applications: &'a [String],
}

#[derive(Serialize)]
struct TransitionJson<'a> {
    at: String,
    state: &'a str,
    row: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

/// `GET /admin/v1/peers`.
pub(super) fn all(peers: &[PeerView], now: Wall) -> Vec<u8> {
    let items = peers.iter().map(|view| peer(view, now)).collect();
    // String keys and finite numbers only, so that this cannot fail.
    serde_json::to_vec(&Items { items }).unwrap_or_default()
}

/// `GET /admin/v1/peers/{name}`.
pub(super) fn one(view: &PeerView, now: Wall) -> Vec<u8> {
    serde_json::to_vec(&peer(view, now)).unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // Milliseconds until an attempt.
fn peer(view: &PeerView, now: Wall) -> PeerJson<'_> {
    let left = view.next_attempt.map(|at| (at.0 - now.0).max(0) as f64 / 1000.0);
    PeerJson {
        name: &view.name,
        interfaces: view.interfaces.iter().map(|one| labels::interface(*one)).collect(),
        address: view.address.as_deref(),
        transport: view.transport,
        state: view.state,
        admin_state: view.admin_state,
        usable: view.usable,
        since: view.since.map(|at| at.to_string()),
        reason: &view.reason,
        row: &view.row,
        origin_host: view.origin_host.as_deref(),
        applications: &view.applications,
        pending: view.pending,
        window: view.window,
        next_attempt: view.next_attempt.map(|at| at.to_string()),
        next_attempt_seconds: left,
        last_error: view.last_error.as_ref().map(|error| ErrorJson {
            at: error.at.to_string(),
            fault: error.fault,
            reason: &error.reason,
        }),
        handshake: HandshakeJson {
            ours: node(&view.ours),
            theirs: view.theirs.as_ref().map(|theirs| node(&theirs.node)),
            result_code: view.theirs.as_ref().map(|theirs| theirs.result_code),
            at: view.theirs.as_ref().map(|theirs| theirs.at.to_string()),
        },
        certificate_ends: view.certificate_ends.map(|at| at.to_string()),
        history: view
            .history
            .iter()
            .map(|change| TransitionJson {
                at: change.at.to_string(),
                state: change.state,
                row: change.row,
                reason: &change.reason,
            })
            .collect(),
    }
}

fn node(view: &NodeView) -> NodeJson<'_> {
    NodeJson {
        origin_host: &view.origin_host,
        origin_realm: &view.origin_realm,
        product_name: &view.product_name,
        vendor_id: view.vendor_id,
        origin_state_id: view.origin_state_id,
        applications: &view.applications,
    }
}
