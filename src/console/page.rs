//! The index page and the JSON of the spool.

use std::fmt::Write;

use serde::Serialize;

use super::PeerView;
use crate::store::Interface;
use crate::telemetry::labels;
use crate::telemetry::metrics::Metrics;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpoolJson {
    items: Vec<InterfaceJson>,
    bytes: u64,
    limit_bytes: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceJson {
    interface: &'static str,
    waiting: u64,
    in_flight: u64,
    dead: u64,
    oldest_seconds: f64,
    stored: u64,
    recovered: u64,
    acknowledged: u64,
    superseded: u64,
    abandoned: u64,
    purged: u64,
    died: u64,
    replayed: u64,
    conserved: bool,
}

/// `GET /admin/v1/spool`: the same snapshot as the metrics.
pub(super) fn spool_json(metrics: &Metrics) -> Vec<u8> {
    let (bytes, limit_bytes) = metrics.store_size();
    let items = [Interface::Ch1, Interface::Ch2].map(|interface| of_interface(metrics, interface));
    let spool = SpoolJson { items: items.into(), bytes, limit_bytes };
    serde_json::to_vec(&spool).unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // An age in milliseconds.
fn of_interface(metrics: &Metrics, interface: Interface) -> InterfaceJson {
    let counts = metrics.spool_counts(interface);
    InterfaceJson {
        interface: labels::interface(interface),
        waiting: counts.waiting,
        in_flight: counts.in_flight,
        dead: counts.dead,
        oldest_seconds: counts.oldest_millis as f64 / 1000.0,
        stored: counts.stored,
        recovered: counts.recovered,
        acknowledged: counts.acknowledged,
        superseded: counts.superseded,
        abandoned: counts.abandoned,
        purged: counts.purged,
        died: counts.died,
        replayed: counts.replayed,
        conserved: counts.missing() == 0,
    }
}

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
<meta name=\"viewport\" content=\"width=device-width\">\n<title>farebox</title>\n<style>\n\
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }\n\
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }\n\
table { border-collapse: collapse; width: 100%; }\n\
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; }\n\
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }\n\
</style>\n";

/// `GET /`: what is asked first, without a script.
pub(super) fn index(peers: &[PeerView], metrics: &Metrics) -> String {
    let mut out = String::from(HEAD);
    // Writing into a String cannot fail.
    let _ = write!(out, "<h1>farebox {}</h1>\n<h2>Peers</h2>\n", env!("CARGO_PKG_VERSION"));
    out.push_str("<table><tr><th>Peer<th>Interfaces<th>State<th>Since<th>Why<th class=n>Pending\n");
    for peer in peers {
        let interfaces: Vec<_> =
            peer.interfaces.iter().map(|one| labels::interface(*one)).collect();
        let since = peer.since.map_or_else(|| "–".to_owned(), |at| at.to_string());
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{}<td>{} {}<td>{since}<td>{}<td class=n>{}/{}",
            escape(&peer.name),
            interfaces.join(" "),
            if peer.usable { "✔" } else { "✖" },
            if peer.admin_state == "ready" {
                peer.state.to_owned()
            } else {
                format!("{} ({})", peer.state, peer.admin_state)
            },
            escape(&peer.reason),
            peer.pending,
            peer.window,
        );
    }
    out.push_str(
        "</table>\n<h2>Spool</h2>\n<table><tr><th>Interface<th class=n>Waiting<th class=n>In flight\
         <th class=n>Dead<th class=n>Oldest<th>Conserved\n",
    );
    for interface in [Interface::Ch1, Interface::Ch2] {
        let counts = of_interface(metrics, interface);
        let _ = writeln!(
            out,
            "<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{:.0} s<td>{}",
            counts.interface,
            counts.waiting,
            counts.in_flight,
            counts.dead,
            counts.oldest_seconds,
            if counts.conserved { "✔" } else { "✖ a bug: see FareboxRecordsNotConserved" },
        );
    }
    out.push_str("</table>\n<h2>More</h2>\n<ul>\n");
    for (path, what) in [
        ("/metrics", "metrics for Prometheus"),
        ("/healthz", "is the process alive"),
        ("/readyz", "does it take new triggers"),
        ("/admin/v1/peers", "the peers as JSON"),
        ("/admin/v1/spool", "the spool as JSON"),
    ] {
        let _ = writeln!(out, "<li><a href=\"{path}\">{path}</a>: {what}");
    }
    out.push_str("</ul>\n</html>\n");
    out
}

/// Names and reasons come from files and peers.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            character => out.push(character),
        }
    }
    out
}
