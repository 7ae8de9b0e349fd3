//! The sections that stand for themselves: identity, api, admin, store, trace, log, drain.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::item::Item;
use super::settings::{AdminSettings, ApiSettings, Scopes, StoreSettings, Token};
use crate::diagnostic::{Code, Diagnostic};
use crate::diameter::Address;
use crate::peer::LocalIdentity;

/// A day.
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// The longest time that any key takes.
pub(super) const LONGEST: Duration = Duration::from_secs(86_400 * 366 * 10);
const MILLISECOND: Duration = Duration::from_millis(1);

/// `version`: 1.
pub(super) fn version(root: &Item<'_>) {
    if let Some(item) = root.required("version")
        && item.node.integer() != Some(1)
    {
        item.expected("1, the version of this format");
    }
}

/// `identity`.
pub(super) fn identity(root: &Item<'_>) -> LocalIdentity {
    let mut identity = LocalIdentity::new("", "");
    let Some(section) = root.required("identity") else { return identity };
    if !section.keys(&["host", "realm", "product_name", "vendor_id", "addresses"]) {
        return identity;
    }
    if let Some(host) = section.required("host").and_then(|item| item.identity()) {
        identity.host = host;
    }
    if let Some(realm) = section.required("realm").and_then(|item| item.identity()) {
        identity.realm = realm;
    }
    if let Some(name) = section.get("product_name").and_then(|item| item.text()) {
        identity.product_name = name.to_owned();
    }
    if let Some(vendor) = section.get("vendor_id").and_then(|item| item.unsigned32()) {
        identity.vendor_id = vendor;
    }
    for item in section.get("addresses").map(|item| item.list()).unwrap_or_default() {
        match item.text().map(str::parse::<IpAddr>) {
            Some(Ok(IpAddr::V4(address))) => {
                identity.addresses.push(Address::Ipv4(address.octets()));
            }
            Some(Ok(IpAddr::V6(address))) => {
                identity.addresses.push(Address::Ipv6(address.octets()));
            }
            Some(Err(_)) => item.expected("an IP address"),
            None => {}
        }
    }
    identity
}

/// What `api` says besides the port's settings.
pub(super) struct ApiPolicy {
    pub(super) accept_orphans: bool,
    pub(super) max_wait: Duration,
}

/// `api`.
pub(super) fn api(root: &Item<'_>) -> (ApiSettings, ApiPolicy) {
    let mut settings = ApiSettings::default();
    let mut policy = ApiPolicy { accept_orphans: true, max_wait: Duration::from_secs(30) };
    let Some(section) = root.get("api") else { return (settings, policy) };
    let known = [
        "listen",
        "tls",
        "require_idempotency_key",
        "orphans",
        "max_wait",
        "auth",
        "notify",
        "limits",
    ];
    if !section.keys(&known) {
        return (settings, policy);
    }
    if let Some(item) = section.get("tls") {
        item.unsupported("put a TLS proxy in front, or listen on loopback");
    }
    if let Some(required) = section.get("require_idempotency_key").and_then(|i| i.boolean()) {
        settings.require_idempotency_key = required;
    }
    let orphans = section.get("orphans");
    if let Some(accept) = orphans.and_then(|i| i.word(&[("accept", true), ("reject", false)])) {
        policy.accept_orphans = accept;
    }
    let max_wait = section.get("max_wait");
    if let Some(wait) = max_wait.and_then(|i| i.duration(MILLISECOND..=DAY)) {
        policy.max_wait = wait;
    }
    settings.tokens = section.get("auth").map(|item| tokens(&item)).unwrap_or_default();
    if let Some(notify) = section.get("notify")
        && notify.keys(&["allow"])
    {
        settings.notify_allow = origins(notify.get("allow"));
    }
    if let Some(limits) = section.get("limits") {
        api_limits(&limits, &mut settings);
    }
    if let Some(item) = section.get("listen")
        && let Some(listen) = item.listener()
    {
        settings.listen = listen;
        if !listen.ip().is_loopback() && section.get("tls").is_none() && settings.tokens.is_empty()
        {
            let message = format!("`{}` is not loopback and asks for no token", item.path);
            let help = "add `api.auth.tokens`, or listen on 127.0.0.1";
            item.note(Diagnostic::error(Code::FB0205, message).help(help));
        }
    }
    (settings, policy)
}

fn api_limits(limits: &Item<'_>, settings: &mut ApiSettings) {
    if !limits.keys(&["max_in_flight", "max_body", "rate"]) {
        return;
    }
    if let Some(count) = limits.get("max_in_flight").and_then(|item| item.integer(1..=1_000_000)) {
        settings.in_flight_max = usize::try_from(count).unwrap_or(usize::MAX);
    }
    if let Some(bytes) = limits.get("max_body").and_then(|item| item.size(1024..=1 << 20)) {
        settings.body_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(rate) = limits.get("rate").and_then(|item| item.rate()) {
        settings.rate_per_second = rate;
    }
}

/// `auth.tokens`; names and tokens are unique.
fn tokens(auth: &Item<'_>) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    if !auth.keys(&["tokens"]) {
        return tokens;
    }
    for item in auth.get("tokens").map(|item| item.list()).unwrap_or_default() {
        if !item.keys(&["name", "token", "scopes"]) {
            continue;
        }
        let name = item.required("name").and_then(|item| item.text());
        let secret = item.required("token").and_then(|item| item.text());
        let mut scopes = Scopes::default();
        for scope in item.required("scopes").map(|item| item.list()).unwrap_or_default() {
            let words = [("trigger", 0), ("read", 1), ("refund", 2), ("subscriber", 3)];
            match scope.word(&words) {
                Some(0) => scopes.trigger = true,
                Some(1) => scopes.read = true,
                Some(2) => scopes.refund = true,
                Some(_) => scopes.subscriber = true,
                None => {}
            }
        }
        let (Some(name), Some(secret)) = (name, secret) else { continue };
        let token = Token::new(name, secret, scopes);
        if tokens.iter().any(|known| known.name == token.name || known.digest == token.digest) {
            item.error(
                Code::FB0201,
                format!("token `{name}` has a name or text that is used twice"),
            );
        }
        tokens.push(token);
    }
    tokens
}

fn origins(list: Option<Item<'_>>) -> Vec<String> {
    let mut origins = Vec::new();
    for item in list.map(|item| item.list()).unwrap_or_default() {
        let Some(text) = item.text() else { continue };
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        if rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/')) {
            origins.push(text.to_owned());
        } else {
            item.expected("an origin such as `https://as1.cpm.example.net`, without a path");
        }
    }
    origins
}

/// `admin`.
pub(super) fn admin(root: &Item<'_>) -> AdminSettings {
    let mut settings = AdminSettings::default();
    let Some(section) = root.get("admin") else { return settings };
    if !section.keys(&["listen", "roles"]) {
        return settings;
    }
    if let Some(roles) = section.get("roles")
        && roles.keys(&["viewer", "operator"])
    {
        let token = |key| roles.get(key).and_then(|item| item.text().map(str::to_owned));
        settings.viewer = token("viewer");
        settings.operator = token("operator");
    }
    if let Some(item) = section.get("listen")
        && let Some(listen) = item.listener()
    {
        settings.listen = listen;
        let open = settings.viewer.is_none() && settings.operator.is_none();
        if !listen.ip().is_loopback() && open {
            let message = format!("`{}` is not loopback and asks for no token", item.path);
            let help = "add `admin.roles`, or listen on 127.0.0.1";
            item.note(Diagnostic::error(Code::FB0205, message).help(help));
        }
    }
    settings
}

/// `store`.
pub(super) fn store(root: &Item<'_>) -> StoreSettings {
    let mut settings = StoreSettings::default();
    let Some(section) = root.get("store") else { return settings };
    if !section.keys(&["path", "max_size", "sync", "retention", "replay", "cluster"]) {
        return settings;
    }
    if let Some(item) = section.get("cluster") {
        item.unsupported("one gateway has one embedded store; leave the key out");
    }
    if let Some(path) = section.get("path").and_then(|item| item.text()) {
        settings.path = PathBuf::from(path);
    }
    if let Some(item) = section.get("max_size") {
        settings.max_size_bytes = match item.node.text() {
            Some("unlimited") => None,
            _ => item.size(16 << 20..=1 << 50),
        };
    }
    if let Some(item) = section.get("sync") {
        let inside = item.text().and_then(|text| text.strip_prefix("batch(")?.strip_suffix(')'));
        let batch = inside.and_then(super::values::duration);
        match batch.filter(|batch| *batch <= Duration::from_secs(1)) {
            Some(batch) => settings.batch = batch,
            None => item.expected("`batch(0ms)` to `batch(1s)`"),
        }
    }
    if let Some(retention) = section.get("retention")
        && retention.keys(&["acknowledged", "dead_letter"])
    {
        let keep =
            |key| retention.get(key).and_then(|item| item.duration(Duration::ZERO..=LONGEST));
        settings.keep_acknowledged = keep("acknowledged").unwrap_or(settings.keep_acknowledged);
        settings.keep_dead = keep("dead_letter").unwrap_or(settings.keep_dead);
    }
    if let Some(replay) = section.get("replay")
        && replay.keys(&["rate", "order", "ch2"])
    {
        replay.get("rate").and_then(|item| item.rate());
        replay.get("order").and_then(|item| item.word(&[("oldest_first", ())]));
        replay.get("ch2").and_then(|item| item.word(&[("settle_only", ())]));
    }
    settings
}

/// `trace`, `log`, `drain`: checked; how long a drain may take, and whether logs show subscribers.
pub(super) fn operations(root: &Item<'_>) -> (Duration, bool) {
    if let Some(trace) = root.get("trace")
        && trace.keys(&["keep", "max_size", "mask_subscriber"])
    {
        trace.get("keep").and_then(|item| item.duration(Duration::ZERO..=LONGEST));
        trace.get("max_size").and_then(|item| item.size(1 << 20..=1 << 50));
        trace.get("mask_subscriber").and_then(|item| item.boolean());
    }
    let mut clear = false;
    if let Some(log) = root.get("log")
        && log.keys(&["subscriber"])
    {
        let words = [("masked", false), ("clear", true)];
        clear = log.get("subscriber").and_then(|item| item.word(&words)).unwrap_or(false);
    }
    let mut drain = Duration::from_secs(10);
    if let Some(section) = root.get("drain")
        && section.keys(&["timeout"])
    {
        let timeout = section.get("timeout");
        drain = timeout.and_then(|item| item.duration(Duration::ZERO..=DAY)).unwrap_or(drain);
    }
    (drain, clear)
}
