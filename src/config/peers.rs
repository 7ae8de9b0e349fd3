//! `peers`, `profiles` and `routes`: whom we talk to, how, and for what.

use std::collections::BTreeMap;
use std::time::Duration;

use super::charging::Services;
use super::diameter::{Certificates, check_inbound, plain_stays_here};
use super::item::{Host, Item};
use super::sections::DAY;
use super::settings::DiameterSettings;
use crate::charging::event::Interfaces;
use crate::charging::outcome::Outcome;
use crate::charging::policy::{RouteRule, SendDestinationHost};
use crate::diagnostic::document::Node;
use crate::diagnostic::{Code, Diagnostic, suggest};
use crate::diameter::application;
use crate::mapping::Condition;
use crate::peer::routing::{Interface, Route, RoutePolicy, Routes, Sticky};
use crate::peer::watchdog::TWINIT_MIN;
use crate::peer::{Application, ApplicationKind, PeerConfig};
use crate::store;
use crate::tls::Tls;

/// One entry of `peers`.
pub(super) struct Peer<'a> {
    pub(super) config: PeerConfig,
    pub(super) tls: Option<Tls>,
    pub(super) profile: Option<(&'a str, Item<'a>)>,
    pub(super) quirks: Quirks,
    /// `overlay`, a mapping on top of all others.
    pub(super) overlay: Option<&'a Node>,
}

/// `quirks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quirks {
    pub(super) send_destination_host: Option<SendDestinationHost>,
    pub(super) strip_plus_from_e164: bool,
    pub(super) t_after_error: bool,
}

/// One entry of `profiles`.
#[derive(Default)]
pub(super) struct Profile<'a> {
    pub(super) service_context_id: Option<String>,
    /// Mapping files and where they are named.
    pub(super) ch1_mapping: Option<(String, Item<'a>)>,
    pub(super) ch2_mapping: Option<(String, Item<'a>)>,
    pub(super) results: BTreeMap<u32, Outcome>,
    pub(super) timeouts: BTreeMap<String, Duration>,
    pub(super) report_granted_only: bool,
}

/// Largest weight of a peer; finer shares serve nobody.
const WEIGHT_MAX: u64 = 1000;
const MILLISECOND: Duration = Duration::from_millis(1);
const PEER: &[&str] = &[
    "address",
    "host",
    "realm",
    "transport",
    "tls",
    "applications",
    "profile",
    "watchdog",
    "timeout",
    "reconnect",
    "window",
    "rate",
    "dedup_domain",
    "overload",
    "quirks",
    "overlay",
];

/// Reads `peers`.
pub(super) fn peers<'a>(
    root: &Item<'a>,
    diameter: &DiameterSettings,
    certificates: &Certificates<'_, '_>,
) -> Vec<Peer<'a>> {
    let Some(section) = root.required("peers") else { return Vec::new() };
    let mut peers = Vec::new();
    for (name, item) in section.entries() {
        if !is_name(name) {
            let message = format!("`{name}` is no name: letters, digits, `-`, `_` and `.` only");
            item.error(Code::FB0102, message);
        }
        if item.keys(PEER) {
            peers.push(peer(name, &item, diameter, certificates));
        }
    }
    peers
}

/// Names are metric labels and parts of file names.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn peer<'a>(
    name: &str,
    item: &Item<'a>,
    diameter: &DiameterSettings,
    certificates: &Certificates<'_, '_>,
) -> Peer<'a> {
    let realm = item.required("realm").and_then(|item| item.identity()).unwrap_or_default();
    let mut config = PeerConfig::new(name, None, &realm);
    config.limits.message_bytes_max = diameter.message_bytes_max;
    let tls = item.get("tls").and_then(|item| tls(&item, diameter, certificates));
    config.tls = tls.is_some();
    connection(item, &mut config, diameter);
    if let Some(list) = item.get("applications") {
        config.applications = applications(&list);
    }
    if let Some(watchdog) = item.get("watchdog") {
        config.watchdog = watchdog_interval(&watchdog).unwrap_or(config.watchdog);
    }
    if let Some(timeout) = item.get("timeout").and_then(|item| item.duration(MILLISECOND..=DAY)) {
        config.timeout = timeout;
    }
    if let Some(reconnect) = item.get("reconnect")
        && reconnect.keys(&["initial", "max", "after_dpr"])
    {
        let time = |key| reconnect.get(key).and_then(|item| item.duration(MILLISECOND..=DAY));
        config.reconnect_initial = time("initial").unwrap_or(config.reconnect_initial);
        config.reconnect_max = time("max").unwrap_or(config.reconnect_max);
        config.reconnect_after_dpr = time("after_dpr").unwrap_or(config.reconnect_after_dpr);
        if config.reconnect_initial > config.reconnect_max {
            reconnect.error(Code::FB0102, format!("`{}`: initial is above max", reconnect.path));
        }
    }
    if let Some(window) = item.get("window").and_then(|item| item.integer(1..=1_000_000)) {
        config.window = usize::try_from(window).unwrap_or(usize::MAX);
    }
    if let Some(rate) = item.get("rate").and_then(|item| item.rate()) {
        config.rate = rate;
    }
    if let Some(domain) = item.get("dedup_domain").and_then(|item| item.text()) {
        config.dedup_domain = domain.to_owned();
    }
    if let Some(overload) = item.get("overload").and_then(|item| item.boolean()) {
        config.overload = overload;
    }
    let profile = item.get("profile").and_then(|item| Some((item.text()?, item)));
    let quirks = item.get("quirks").map(|item| quirks(&item)).unwrap_or_default();
    let overlay = item.get("overlay").map(|item| item.node);
    Peer { config, tls, profile, quirks, overlay }
}

/// `tls`: `none`, `require` for the certificate of `diameter.tls`, or one of its own.
fn tls(
    item: &Item<'_>,
    diameter: &DiameterSettings,
    certificates: &Certificates<'_, '_>,
) -> Option<Tls> {
    match item.node.text() {
        Some("none") => None,
        Some("require") if diameter.tls.is_none() => {
            let message = format!("`{}: require` needs a certificate", item.path);
            let help = "add `diameter.tls: {ca: …, cert: …, key: …}`, or write such a map here";
            item.note(Diagnostic::error(Code::FB0103, message).help(help));
            None
        }
        Some("require") => diameter.tls.clone(),
        Some(_) => {
            item.expected("`none`, `require` or `{ca: …, cert: …, key: …}`");
            None
        }
        None => certificates.read(item),
    }
}

/// `address`, `host`, `transport`.
fn connection(item: &Item<'_>, config: &mut PeerConfig, diameter: &DiameterSettings) {
    let host = item.get("host");
    if let Some(host) = &host {
        config.host = match host.node.text() {
            Some("*") => None,
            _ => host.identity(),
        };
    }
    let words = [("tcp", true), ("sctp", false)];
    if let Some(transport) = item.get("transport")
        && transport.word(&words) == Some(false)
    {
        transport.unsupported("write `transport: tcp`: docs/decisions say why there is no SCTP");
    }
    let written = item.get("tls").is_some();
    let Some(address) = item.get("address") else {
        check_inbound(item, diameter, config.tls, config.host.is_some());
        if !written && !plain_stays_here(diameter) {
            tls_unwritten(item, item);
        }
        return;
    };
    let Some((target, text)) = address.address() else { return };
    if !written && !target.is_loopback() {
        tls_unwritten(item, &address);
    }
    match target {
        Host::Name(name) if host.is_none() => config.host = Some(name),
        Host::Ip(_) if host.is_none() => {
            let message =
                format!("`{}` is an IP address, so that any Origin-Host is accepted", address.path);
            let help =
                "write `host:` with the Origin-Host of the peer, or `host: \"*\"` if any is meant";
            address.note(Diagnostic::warning(Code::FB0410, message).help(help));
        }
        _ => {}
    }
    config.address = Some(text);
}

fn tls_unwritten(item: &Item<'_>, at: &Item<'_>) {
    let message = format!("`{}.tls` must be written for a peer that is not on loopback", item.path);
    let help = "`tls: none` sends charging data in the clear";
    at.note(Diagnostic::error(Code::FB0103, message).help(help));
}

fn applications(list: &Item<'_>) -> Vec<Application> {
    let mut applications = Vec::new();
    for item in list.list() {
        if !item.keys(&["auth", "acct", "vendor"]) {
            continue;
        }
        let (auth, acct) = (item.get("auth"), item.get("acct"));
        let kind = match (&auth, &acct) {
            (Some(auth), None) => auth.unsigned32().map(ApplicationKind::Auth),
            (None, Some(acct)) => acct.unsigned32().map(ApplicationKind::Acct),
            _ => {
                item.expected("`{auth: N}` or `{acct: N}`");
                None
            }
        };
        let vendor = item.get("vendor").and_then(|item| item.unsigned32());
        if kind == Some(ApplicationKind::Auth(3)) {
            let message = "accounting application advertised as `auth: 3`";
            let help = "Rf is `acct: 3`; strict peers answer 5010 NO_COMMON_APPLICATION";
            item.note(Diagnostic::warning(Code::FB0420, message).help(help));
        }
        if let Some(kind) = kind {
            applications.push(Application { kind, vendor });
        }
    }
    if applications.is_empty() && list.node.list().is_some_and(<[Node]>::is_empty) {
        list.expected("at least one application");
    }
    applications
}

fn watchdog_interval(item: &Item<'_>) -> Option<Duration> {
    let interval = item.duration(Duration::ZERO..=DAY)?;
    if interval < TWINIT_MIN {
        let message = format!("`{}` is below the 6s that RFC 3539, 3.4.1 allows", item.path);
        item.note(Diagnostic::error(Code::FB0204, message).help("30s is the default"));
        return None;
    }
    Some(interval)
}

fn quirks(item: &Item<'_>) -> Quirks {
    let mut quirks = Quirks::default();
    let known =
        ["serialize_session", "send_destination_host", "strip_plus_from_e164", "t_after_error"];
    if !item.keys(&known) {
        return quirks;
    }
    if let Some(serialize) = item.get("serialize_session")
        && serialize.boolean() == Some(false)
    {
        serialize.unsupported("requests of one session are sent one at a time");
    }
    let words = [
        ("never", SendDestinationHost::Never),
        ("after-initial", SendDestinationHost::AfterInitial),
        ("always", SendDestinationHost::Always),
    ];
    quirks.send_destination_host =
        item.get("send_destination_host").and_then(|item| item.word(&words));
    let flag = |key| item.get(key).and_then(|item| item.boolean()).unwrap_or(false);
    quirks.strip_plus_from_e164 = flag("strip_plus_from_e164");
    quirks.t_after_error = flag("t_after_error");
    quirks
}

/// Reads `profiles`.
pub(super) fn profiles<'a>(root: &Item<'a>) -> BTreeMap<String, Profile<'a>> {
    let mut profiles = BTreeMap::new();
    for (name, item) in root.get("profiles").map(|item| item.entries()).unwrap_or_default() {
        profiles.insert(name.to_owned(), profile(&item));
    }
    profiles
}

/// Notes every peer whose profile is not one of the `profiles`.
pub(super) fn check_profiles(peers: &[Peer<'_>], profiles: &BTreeMap<String, Profile<'_>>) {
    for (name, item) in peers.iter().filter_map(|peer| peer.profile.as_ref()) {
        if profiles.contains_key(*name) {
            continue;
        }
        let diagnostic =
            Diagnostic::error(Code::FB0208, format!("profile `{name}` is not defined"));
        item.note(match suggest(name, profiles.keys().map(String::as_str)) {
            Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
            None => diagnostic,
        });
    }
}

const COMMANDS: &[&str] =
    &["CCR-I", "CCR-U", "CCR-T", "CCR-E", "ACR-START", "ACR-INTERIM", "ACR-STOP", "ACR-EVENT"];
const OUTCOMES: &[(&str, Outcome)] = &[
    ("granted", Outcome::Granted),
    ("debited", Outcome::Debited),
    ("denied", Outcome::Denied),
    ("free", Outcome::Free),
    ("unverified", Outcome::Unverified),
    ("recorded", Outcome::Recorded),
];

fn profile<'a>(item: &Item<'a>) -> Profile<'a> {
    let mut profile = Profile::default();
    let known =
        ["service_context_id", "ch1_mapping", "ch2_mapping", "results", "timeouts", "report_units"];
    if !item.keys(&known) {
        return profile;
    }
    let text = |key| item.get(key).and_then(|item| Some((item.text()?.to_owned(), item)));
    profile.service_context_id = text("service_context_id").map(|(text, _)| text);
    profile.ch1_mapping = text("ch1_mapping");
    profile.ch2_mapping = text("ch2_mapping");
    let words = [("usage", false), ("granted", true)];
    profile.report_granted_only =
        item.get("report_units").and_then(|item| item.word(&words)).unwrap_or(false);
    for (code, result) in item.get("results").map(|item| item.entries()).unwrap_or_default() {
        if !result.keys(&["outcome", "note"]) {
            continue;
        }
        let outcome = result.required("outcome").and_then(|item| item.word(OUTCOMES));
        match code.parse::<u32>() {
            Ok(code) => profile.results.extend(outcome.map(|outcome| (code, outcome))),
            Err(_) => result.error(Code::FB0102, format!("`{code}` is not a Result-Code")),
        }
    }
    if let Some(timeouts) = item.get("timeouts")
        && timeouts.keys(COMMANDS)
    {
        for (command, item) in timeouts.entries() {
            if let Some(time) = item.duration(MILLISECOND..=DAY) {
                profile.timeouts.insert(command.to_owned(), time);
            }
        }
    }
    profile
}

/// Reads `routes` and holds them against peers and services. Both forms have the same order:
/// routes with a condition come first, as they are tried.
pub(super) fn routes(
    root: &Item<'_>,
    peers: &[Peer<'_>],
    services: &Services,
) -> (Routes, Vec<RouteRule>) {
    let Some(section) = root.required("routes") else { return Default::default() };
    let items = section.list();
    let mut read: Vec<(Route, RouteRule)> = Vec::new();
    for item in &items {
        if item.keys(&["interface", "peers", "policy", "weights", "sticky", "when"]) {
            read.extend(route(item, peers));
        }
    }
    // A route that could not be read is reported already; no second finding for what it carries.
    let complete = read.len() == items.len();
    read.sort_by_key(|(route, _)| route.when.is_none());
    let (routes, rules) = read.into_iter().unzip();
    let routes = Routes { routes };
    if complete {
        missing_routes(&section, &routes, services);
    }
    (routes, rules)
}

fn route(item: &Item<'_>, peers: &[Peer<'_>]) -> Option<(Route, RouteRule)> {
    let words = [("ch1", Interface::Ch1), ("ch2", Interface::Ch2)];
    let interface = item.required("interface").and_then(|item| item.word(&words));
    let words = [("failover", false), ("weighted", true)];
    let weighted = item.get("policy").and_then(|item| item.word(&words)).unwrap_or(false);
    let words = [("session", Sticky::Session), ("strict", Sticky::Strict)];
    let sticky = item.get("sticky").and_then(|item| item.word(&words)).unwrap_or_default();
    let when = item.get("when").and_then(|item| condition(&item));
    let list = item.required("peers")?;
    let mut indices = Vec::new();
    for named in list.list() {
        let Some(name) = named.text() else { continue };
        match peers.iter().position(|peer| peer.config.name == name) {
            Some(index) if indices.contains(&index) => {
                named.error(Code::FB0201, format!("peer `{name}` is listed twice"));
            }
            Some(index) => indices.push(index),
            None => {
                let names = peers.iter().map(|peer| peer.config.name.as_str());
                let diagnostic =
                    Diagnostic::error(Code::FB0203, format!("peer `{name}` is not defined"));
                named.note(match suggest(name, names) {
                    Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                    None => diagnostic,
                });
            }
        }
    }
    if list.node.list().is_some_and(<[Node]>::is_empty) {
        list.expected("at least one peer");
    }
    let interface = interface?;
    same_body(&list, &indices, peers);
    shared_application(&list, interface, &indices, peers);
    let (text, condition) = when.unzip();
    let rule = RouteRule {
        interface: match interface {
            Interface::Ch1 => store::Interface::Ch1,
            Interface::Ch2 => store::Interface::Ch2,
        },
        when: condition,
        peers: indices.clone(),
        strict: sticky == Sticky::Strict,
    };
    let weights = weights(item, weighted, &indices, peers);
    let policy = if weighted { RoutePolicy::Weighted(weights) } else { RoutePolicy::Failover };
    Some((Route { interface, when: text, peers: indices, policy, sticky }, rule))
}

/// `weights`: a number for each peer of the route, 1 for those that it does not name.
fn weights(item: &Item<'_>, weighted: bool, indices: &[usize], peers: &[Peer<'_>]) -> Vec<u32> {
    let mut weights = vec![1; indices.len()];
    let Some(section) = item.get("weights") else { return weights };
    if !weighted {
        let message = format!("`{}` has no effect without `policy: weighted`", section.path);
        section.note(Diagnostic::error(Code::FB0102, message).help("write `policy: weighted`"));
        return weights;
    }
    for (name, weight) in section.entries() {
        let place = indices.iter().position(|index| peers[*index].config.name == name);
        let number = weight.integer(1..=WEIGHT_MAX).and_then(|number| u32::try_from(number).ok());
        match (place, number) {
            (Some(place), Some(number)) => weights[place] = number,
            (Some(_), None) => {}
            (None, _) => {
                let names = indices.iter().map(|index| peers[*index].config.name.as_str());
                let message = format!("peer `{name}` is none of this route's `peers`");
                let diagnostic = Diagnostic::error(Code::FB0203, message);
                weight.note(match suggest(name, names) {
                    Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                    None => diagnostic,
                });
            }
        }
    }
    weights
}

/// `when`: its text, and read.
fn condition(item: &Item<'_>) -> Option<(String, Condition)> {
    let text = item.text()?;
    match Condition::parse(text) {
        Ok(condition) => Some((text.to_owned(), condition)),
        Err((at, reason)) => {
            let message = format!("`{}` cannot be read at character {}", item.path, at + 1);
            item.note(Diagnostic::error(Code::FB0111, message).label(reason));
            None
        }
    }
}

/// A copy keeps the mapping of the first usable peer, so that all should want the same.
fn same_body(list: &Item<'_>, indices: &[usize], peers: &[Peer<'_>]) {
    let Some((first, others)) = indices.split_first() else { return };
    let body = |index: usize| {
        let peer = &peers[index];
        let quirks = (peer.quirks.strip_plus_from_e164, peer.quirks.send_destination_host);
        (peer.profile.as_ref().map(|(name, _)| *name), quirks, peer.config.overload)
    };
    for other in others {
        let (left, right) = (body(*first), body(*other));
        let what = if left.0 != right.0 {
            "profile"
        } else if left.1 != right.1 {
            "quirks"
        } else if left.2 != right.2 {
            "overload"
        } else if !same_overlay(peers[*first].overlay, peers[*other].overlay) {
            "overlay"
        } else {
            continue;
        };
        let (a, b) = (&peers[*first].config.name, &peers[*other].config.name);
        let message = format!("peers `{a}` and `{b}` of one route differ in {what}");
        let help = format!("a copy that goes to `{b}` keeps the message made for `{a}`");
        list.note(Diagnostic::warning(Code::FB0411, message).help(help));
    }
}

/// Equal but for where they stand.
fn same_overlay(left: Option<&Node>, right: Option<&Node>) -> bool {
    fn same(left: &Node, right: &Node) -> bool {
        match (left.map(), right.map(), left.list(), right.list()) {
            (Some(a), Some(b), ..) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| a.key == b.key && same(&a.value, &b.value))
            }
            (_, _, Some(a), Some(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            _ => left.value == right.value,
        }
    }
    match (left, right) {
        (Some(left), Some(right)) => same(left, right),
        (None, None) => true,
        _ => false,
    }
}

/// A peer that does not carry the interface's application can never get its requests.
fn shared_application(
    list: &Item<'_>,
    interface: Interface,
    indices: &[usize],
    peers: &[Peer<'_>],
) {
    let (wanted, word) = match interface {
        Interface::Ch1 => (3, "acct: 3"),
        Interface::Ch2 => (4, "auth: 4"),
    };
    for index in indices {
        let config = &peers[*index].config;
        let shared = config
            .applications
            .iter()
            .any(|application| [wanted, application::RELAY].contains(&application.id()));
        if !shared && !config.applications.is_empty() {
            let message =
                format!("peer `{}` does not carry the application of this route", config.name);
            let help = format!("add `{{{word}}}` to its `applications`");
            list.note(Diagnostic::error(Code::FB0102, message).help(help));
        }
    }
}

fn missing_routes(section: &Item<'_>, routes: &Routes, services: &Services) {
    let has = |interface| routes.candidates(interface).any(|(_, route)| route.when.is_none());
    let (ch1, ch2) = (has(Interface::Ch1), has(Interface::Ch2));
    for (who, Interfaces { ch1: wants_ch1, ch2: wants_ch2 }, at) in &services.wanted {
        for (wanted, there, name) in [(*wants_ch1, ch1, "ch1"), (*wants_ch2, ch2, "ch2")] {
            if wanted && !there {
                let message = format!("{who} uses {name}, for which there is no route");
                let help =
                    format!("add a route `{{interface: {name}, peers: […]}}` without `when`");
                section.note_at(Diagnostic::error(Code::FB0202, message).help(help), at);
            }
        }
    }
}
