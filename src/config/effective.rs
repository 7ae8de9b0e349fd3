//! The configuration with every default filled in, as it would be written in a file.

use serde_yaml::{Mapping as Map, Value};

use super::load::Config;
use super::values::{duration_text, size_text};
use crate::charging::event::Interfaces;
use crate::charging::outcome::Outcome;
use crate::charging::policy::{Ccfh, Ddfh, Model, PeerProfile, SendDestinationHost};
use crate::diameter::Address;
use crate::peer::routing::{Interface, Route, RoutePolicy, Sticky};
use crate::peer::{Application, ApplicationKind, PeerConfig};
use crate::tls::Tls;

/// Every value in force. Secrets are shown as `***`.
pub fn effective(config: &Config) -> Value {
    let identity = &config.identity;
    map([
        ("version", 1.into()),
        (
            "identity",
            map([
                ("host", text(&identity.host)),
                ("realm", text(&identity.realm)),
                ("product_name", text(&identity.product_name)),
                ("vendor_id", identity.vendor_id.into()),
                ("addresses", list(identity.addresses.iter().map(address))),
            ]),
        ),
        ("api", api(config)),
        ("diameter", diameter(config)),
        ("admin", admin(config)),
        ("peers", peers(config)),
        ("routes", list(config.routes.routes.iter().map(|route| self::route(route, config)))),
        ("policy", policy(config)),
        (
            "rating_groups",
            named(config.policy.rating_groups.iter().map(|(name, group)| (name, (*group).into()))),
        ),
        ("failure", map([("ch2", failure(config))])),
        ("termination", termination(config)),
        ("store", store(config)),
        (
            "log",
            map([(
                "subscriber",
                text(if config.log_subscriber_clear { "clear" } else { "masked" }),
            )]),
        ),
        ("drain", map([("timeout", time(config.drain_timeout))])),
    ])
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
}

fn named<'a>(entries: impl Iterator<Item = (&'a String, Value)>) -> Value {
    Value::Mapping(entries.map(|(key, value)| (text(key), value)).collect::<Map>())
}

fn list(items: impl Iterator<Item = Value>) -> Value {
    Value::Sequence(items.collect())
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn time(duration: std::time::Duration) -> Value {
    Value::String(duration_text(duration))
}

fn size(bytes: u64) -> Value {
    Value::String(size_text(bytes))
}

fn rate(rate: Option<u32>) -> Value {
    rate.map_or_else(|| text("unlimited"), |rate| Value::String(format!("{rate}/s")))
}

fn secret(given: bool) -> Value {
    if given { text("***") } else { Value::Null }
}

fn address(address: &Address) -> Value {
    Value::String(match address {
        Address::Ipv4(octets) => std::net::Ipv4Addr::from(*octets).to_string(),
        Address::Ipv6(octets) => std::net::Ipv6Addr::from(*octets).to_string(),
        Address::E164(digits) => digits.clone(),
    })
}

fn diameter(config: &Config) -> Value {
    let diameter = &config.diameter;
    let listeners = |all: &[std::net::SocketAddr]| {
        list(all.iter().map(|address| Value::String(address.to_string())))
    };
    let or_any = |name: &Option<String>| name.as_deref().map_or(Value::Null, text);
    let allow = diameter.allow.as_ref().map_or_else(
        || text("the configured peers"),
        |allow| {
            list(allow.iter().map(|entry| {
                let network = entry.network.map(|(ip, prefix)| format!("{ip}/{prefix}"));
                map([
                    ("ip", or_any(&network)),
                    ("host", or_any(&entry.host)),
                    ("realm", or_any(&entry.realm)),
                ])
            }))
        },
    );
    map([
        ("max_message", size(u64::from(diameter.message_bytes_max))),
        ("listen", listeners(&diameter.listen)),
        ("tls_listen", listeners(&diameter.tls_listen)),
        ("tls", tls(diameter.tls.as_ref())),
        ("allow", allow),
    ])
}

fn tls(tls: Option<&Tls>) -> Value {
    let Some(tls) = tls else { return text("none") };
    let names = tls.names();
    let version = if tls.allows_tls_1_2() { "1.2" } else { "1.3" };
    map([
        ("ca", text(&names.ca)),
        ("cert", text(&names.cert)),
        ("key", text(&names.key)),
        ("crl", names.crl.as_deref().map_or(Value::Null, text)),
        ("min_version", text(version)),
    ])
}

fn api(config: &Config) -> Value {
    let api = &config.api;
    let tokens = api.tokens.iter().map(|token| {
        let scopes = [
            ("trigger", token.scopes.trigger),
            ("read", token.scopes.read),
            ("refund", token.scopes.refund),
            ("subscriber", token.scopes.subscriber),
        ];
        let scopes = scopes.iter().filter(|(_, has)| *has).map(|(name, _)| text(name));
        map([("name", text(&token.name)), ("token", secret(true)), ("scopes", list(scopes))])
    });
    map([
        ("listen", text(&api.listen.to_string())),
        ("require_idempotency_key", api.require_idempotency_key.into()),
        ("orphans", text(if config.policy.accept_orphans { "accept" } else { "reject" })),
        ("max_wait", time(config.policy.max_wait)),
        ("auth", map([("tokens", list(tokens))])),
        ("notify", map([("allow", list(api.notify_allow.iter().map(|origin| text(origin))))])),
        (
            "limits",
            map([
                ("max_in_flight", api.in_flight_max.into()),
                ("max_body", size(api.body_bytes_max as u64)),
                ("rate", rate(api.rate_per_second)),
            ]),
        ),
    ])
}

fn admin(config: &Config) -> Value {
    let admin = &config.admin;
    let roles = map([
        ("viewer", secret(admin.viewer.is_some())),
        ("operator", secret(admin.operator.is_some())),
    ]);
    map([("listen", text(&admin.listen.to_string())), ("roles", roles)])
}

fn peers(config: &Config) -> Value {
    named(
        config
            .peers
            .iter()
            .zip(&config.policy.peers)
            .enumerate()
            .map(|(index, (peer, profile))| (&peer.name, self::peer(index, peer, profile, config))),
    )
}

fn peer(index: usize, peer: &PeerConfig, profile: &PeerProfile, config: &Config) -> Value {
    let quirks = map([
        ("serialize_session", true.into()),
        (
            "send_destination_host",
            profile.send_destination_host.map_or_else(
                || text("after-initial on ch2, never on ch1"),
                |when| {
                    text(match when {
                        SendDestinationHost::Never => "never",
                        SendDestinationHost::AfterInitial => "after-initial",
                        SendDestinationHost::Always => "always",
                    })
                },
            ),
        ),
        ("t_after_error", profile.t_after_error.into()),
    ]);
    let timeouts = profile.command_timeouts.iter().map(|(name, limit)| (name, time(*limit)));
    let results: Vec<(String, Value)> = profile
        .results
        .iter()
        .map(|(code, word)| (code.to_string(), map([("outcome", text(outcome(*word)))])))
        .collect();
    map([
        ("address", peer.address.as_deref().map_or(Value::Null, text)),
        ("host", text(peer.host.as_deref().unwrap_or("*"))),
        ("realm", text(&peer.realm)),
        ("transport", text("tcp")),
        ("tls", tls(config.tls.get(index).and_then(Option::as_ref))),
        ("applications", list(peer.applications.iter().map(application))),
        ("watchdog", time(peer.watchdog)),
        ("timeout", time(peer.timeout)),
        ("timeouts", named(timeouts)),
        (
            "reconnect",
            map([
                ("initial", time(peer.reconnect_initial)),
                ("max", time(peer.reconnect_max)),
                ("after_dpr", time(peer.reconnect_after_dpr)),
            ]),
        ),
        ("window", peer.window.into()),
        ("rate", rate(peer.rate)),
        ("dedup_domain", text(&peer.dedup_domain)),
        ("overload", peer.overload.into()),
        ("quirks", quirks),
        ("service_context_id", text(&profile.service_context_id)),
        (
            "mappings",
            map([("ch1", text(&profile.mapping.ch1)), ("ch2", text(&profile.mapping.ch2))]),
        ),
        ("report_units", text(if profile.report_granted_only { "granted" } else { "usage" })),
        ("results", named(results.iter().map(|(code, value)| (code, value.clone())))),
    ])
}

fn application(application: &Application) -> Value {
    let (word, id) = match application.kind {
        ApplicationKind::Auth(id) => ("auth", id),
        ApplicationKind::Acct(id) => ("acct", id),
    };
    match application.vendor {
        None => map([(word, id.into())]),
        Some(vendor) => map([(word, id.into()), ("vendor", vendor.into())]),
    }
}

fn route(route: &Route, config: &Config) -> Value {
    let name = |index: &usize| text(config.peers.get(*index).map_or("", |peer| &peer.name));
    let interface = match route.interface {
        Interface::Ch1 => "ch1",
        Interface::Ch2 => "ch2",
    };
    let sticky = match route.sticky {
        Sticky::Session => "session",
        Sticky::Strict => "strict",
    };
    let (policy, weights) = match &route.policy {
        RoutePolicy::Failover => ("failover", Value::Null),
        RoutePolicy::Weighted(weights) => {
            let entries = route.peers.iter().zip(weights);
            let entries = entries.map(|(index, weight)| (name(index), (*weight).into()));
            ("weighted", Value::Mapping(entries.collect()))
        }
    };
    map([
        ("interface", text(interface)),
        ("when", route.when.as_deref().map_or(Value::Null, text)),
        ("peers", list(route.peers.iter().map(name))),
        ("policy", text(policy)),
        ("weights", weights),
        ("sticky", text(sticky)),
    ])
}

fn interfaces(interfaces: Interfaces) -> Value {
    let both = [("ch1", interfaces.ch1), ("ch2", interfaces.ch2)];
    list(both.iter().filter(|(_, used)| *used).map(|(name, _)| text(name)))
}

fn policy(config: &Config) -> Value {
    let number = |number: Option<u32>| number.map_or(Value::Null, Value::from);
    let services = config.policy.services.iter().map(|(name, service)| {
        let model = match service.model {
            Model::Scur => "scur",
            Model::Ecur => "ecur",
            Model::Iec => "iec",
        };
        let value = map([
            ("interfaces", interfaces(service.interfaces)),
            ("model", text(model)),
            ("rating_group", number(service.rating_group)),
            ("service_id", number(service.service_id)),
        ]);
        (name, value)
    });
    let default = map([("interfaces", interfaces(config.policy.default_interfaces))]);
    map([("services", named(services)), ("default", default)])
}

fn failure(config: &Config) -> Value {
    let failure = &config.policy.failure;
    let on_no_answer = match failure.on_no_answer {
        Ccfh::Terminate => "terminate",
        Ccfh::Continue => "continue",
        Ccfh::RetryAndTerminate => "retry_and_terminate",
    };
    let direct_debit = match failure.direct_debit {
        Ddfh::TerminateOrBuffer => "terminate_or_buffer",
        Ddfh::Continue => "continue",
    };
    map([
        ("on_no_answer", text(on_no_answer)),
        ("direct_debit", text(direct_debit)),
        ("buffer_for", time(failure.buffer_for)),
    ])
}

fn termination(config: &Config) -> Value {
    let termination = &config.policy.termination;
    let settle_within = termination
        .settle_within
        .map_or_else(|| text("3 x the CCR-T timeout of the peer, at least 3s"), time);
    map([
        ("ok_timeout", time(termination.ok_timeout)),
        ("settle_within", settle_within),
        ("backup_accounting", termination.backup_accounting.into()),
        ("max_session", time(termination.max_session)),
        ("abort_grace", time(termination.abort_grace)),
    ])
}

fn store(config: &Config) -> Value {
    let store = &config.store;
    let retention = map([
        ("acknowledged", time(store.keep_acknowledged)),
        ("dead_letter", time(store.keep_dead)),
    ]);
    map([
        ("path", text(&store.path.display().to_string())),
        ("max_size", store.max_size_bytes.map_or_else(|| text("unlimited"), size)),
        ("sync", Value::String(format!("batch({}ms)", store.batch.as_millis()))),
        ("retention", retention),
    ])
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Recorded => "recorded",
        Outcome::Granted => "granted",
        Outcome::Debited => "debited",
        Outcome::Refunded => "refunded",
        Outcome::Free => "free",
        Outcome::Pending => "pending",
        Outcome::Unverified => "unverified",
        Outcome::Denied => "denied",
    }
}
