//! All sections together: one typed configuration, or the reasons why there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::diameter::Certificates;
use super::item::{Findings, Item};
use super::mappings::{Compiler, dictionary};
use super::peers::{self, Peer, Profile};
use super::report::{Counts, Report};
use super::settings::{AdminSettings, ApiSettings, DiameterSettings, StoreSettings};
use super::source::{Environment, Files};
use super::{charging, diameter, sections};
use crate::charging::policy::{PeerProfile, PerInterface, Policy};
use crate::diagnostic::document::{Entry, Node};
use crate::diagnostic::{Diagnostic, Severity};
use crate::diameter::Dictionary;
use crate::mapping::{self, Mapping};
use crate::peer::routing::{Interface, Routes};
use crate::peer::{LocalIdentity, PeerConfig};
use crate::tls::Tls;

/// Everything that a gateway is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// `identity`; the Origin-State-Id is the store's to give.
    pub identity: LocalIdentity,
    /// `api`, the port.
    pub api: ApiSettings,
    /// `admin`.
    pub admin: AdminSettings,
    /// Where keys stand: `peers.ocs-a.host` → `farebox.yaml:12`.
    pub places: BTreeMap<String, String>,
    /// `diameter`.
    pub diameter: DiameterSettings,
    /// `tls` of each of [`Config::peers`].
    pub tls: Vec<Option<Tls>>,
    /// `store`.
    pub store: StoreSettings,
    /// What the engine needs; its `peers` stand in the order of [`Config::peers`].
    pub policy: Policy,
    /// `peers`, in the order of the file.
    pub peers: Vec<PeerConfig>,
    /// `routes`, by index of the peers; in the order of the policy's.
    pub routes: Routes,
    /// `dictionaries`.
    pub dictionary: Arc<Dictionary>,
    /// Compiled mappings by the names that the policy's peers carry.
    pub mappings: BTreeMap<String, Mapping>,
    /// `drain.timeout`.
    pub drain_timeout: Duration,
    /// `log.subscriber: clear`: logs show subscriber ids unmasked.
    pub log_subscriber_clear: bool,
}

/// What reading the files gave.
#[derive(Debug)]
pub struct Loaded {
    /// There unless the report has an error.
    pub config: Option<Config>,
    /// All findings.
    pub report: Report,
}

/// Reads files, or folders whose `.yaml` files are merged in name order.
pub fn load(paths: &[PathBuf], environment: &Environment) -> Loaded {
    let findings = Findings::default();
    let mut files = Files::new(environment, &findings);
    let (node, base) = files.configuration(paths);
    let mut counts = Counts::default();
    let config = node.as_ref().map(|node| read(node, &mut files, &findings, &mut counts, &base));
    let (sources, configs) = files.into_sources();
    counts.configs = configs;
    let diagnostics = sorted(findings.into_list());
    let report = Report { diagnostics, sources, counts };
    Loaded { config: config.filter(|_| report.errors() == 0), report }
}

/// The findings of [`load`] alone.
pub fn check(paths: &[PathBuf], environment: &Environment) -> Report {
    load(paths, environment).report
}

/// Errors first; otherwise as they were found.
fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|diagnostic| match diagnostic.severity {
        Severity::Error => 0,
        Severity::Warning => 1,
    });
    diagnostics
}

const KEYS: &[&str] = &[
    "version",
    "identity",
    "api",
    "diameter",
    "admin",
    "dictionaries",
    "peers",
    "routes",
    "policy",
    "rating_groups",
    "failure",
    "termination",
    "store",
    "trace",
    "log",
    "drain",
    "profiles",
];

fn read(
    node: &Node,
    files: &mut Files<'_>,
    findings: &Findings,
    counts: &mut Counts,
    base: &Path,
) -> Config {
    let root = Item::root(node, findings);
    root.keys(KEYS);
    sections::version(&root);
    let identity = sections::identity(&root);
    let (api, api_policy) = sections::api(&root);
    let admin = sections::admin(&root);
    let certificates = Certificates { files, base, host: &identity.host };
    let diameter = diameter::diameter(&root, &certificates);
    let store = sections::store(&root);
    let (drain_timeout, log_subscriber_clear) = sections::operations(&root);
    let services = charging::services(&root);
    let profiles = peers::profiles(&root);
    let peers = peers::peers(&root, &diameter, &certificates);
    diameter::check(&root, &diameter, &peers);
    peers::check_profiles(&peers, &profiles);
    let (routes, rules) = peers::routes(&root, &peers, &services);
    let (dictionary, dictionary_files) = dictionary(&root, files, base, findings);
    let mut compiler = Compiler::new(files, findings, &dictionary, base);
    let profile_of =
        |peer: &Peer<'_>| peer.profile.as_ref().and_then(|(name, _)| profiles.get(*name));
    let mut peer_profiles = Vec::new();
    for (index, peer) in peers.iter().enumerate() {
        peer_profiles.push(peer_profile(index, peer, profile_of(peer), &routes, &mut compiler));
    }
    for profile in profiles.values() {
        compiler.unused(profile);
    }
    let compiled = compiler.finish();
    *counts = Counts {
        configs: 0,
        mappings: compiled.files,
        mapping_avps: compiled.avps,
        dictionaries: dictionary_files,
        dictionary_avps: dictionary.avps().count(),
        tests: compiled.tests,
    };
    let policy = Policy {
        host: identity.host.clone(),
        realm: identity.realm.clone(),
        services: services.services,
        default_interfaces: services.default,
        rating_groups: services.rating_groups,
        failure: charging::failure(&root),
        termination: charging::termination(&root),
        accept_orphans: api_policy.accept_orphans,
        max_wait: api_policy.max_wait,
        peers: peer_profiles,
        routes: rules,
        key_lifetime: sections::DAY,
    };
    Config {
        identity,
        api,
        admin,
        store,
        policy,
        places: places(node),
        diameter,
        tls: peers.iter().map(|peer| peer.tls.clone()).collect(),
        peers: peers.into_iter().map(|peer| peer.config).collect(),
        routes,
        mappings: compiled.mappings,
        dictionary,
        drain_timeout,
        log_subscriber_clear,
    }
}

/// Where the keys of `identity`, `diameter` and `peers` stand.
fn places(root: &Node) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    for section in root.map().unwrap_or_default() {
        if matches!(section.key.as_str(), "identity" | "diameter" | "peers") {
            note_places(section, &section.key, 0, &mut places);
        }
    }
    places
}

fn note_places(entry: &Entry, path: &str, depth: u8, places: &mut BTreeMap<String, String>) {
    let span = &entry.key_span;
    places.insert(path.to_owned(), format!("{}:{}", span.file, span.line));
    if depth < 4 {
        for inner in entry.value.map().unwrap_or_default() {
            note_places(inner, &format!("{path}.{}", inner.key), depth + 1, places);
        }
    }
}

/// What messages to a peer are made of: its profile, its quirks, its mappings.
fn peer_profile(
    index: usize,
    peer: &Peer<'_>,
    profile: Option<&Profile<'_>>,
    routes: &Routes,
    compiler: &mut Compiler<'_, '_>,
) -> PeerProfile {
    let serves = |interface: Interface| {
        routes.candidates(interface).any(|(_, route)| route.peers.contains(&index))
    };
    let (ch1, ch2) = (serves(Interface::Ch1), serves(Interface::Ch2));
    let context = profile.and_then(|profile| profile.service_context_id.clone());
    PeerProfile {
        name: peer.config.name.clone(),
        host: peer.config.host.clone(),
        realm: peer.config.realm.clone(),
        dedup_domain: peer.config.dedup_domain.clone(),
        service_context_id: context.unwrap_or_else(|| SERVICE_CONTEXT_ID.to_owned()),
        timeout: peer.config.timeout,
        command_timeouts: profile.map(|profile| profile.timeouts.clone()).unwrap_or_default(),
        mapping: PerInterface {
            ch1: compiler.mapping(peer, profile, mapping::Interface::Ch1, ch1),
            ch2: compiler.mapping(peer, profile, mapping::Interface::Ch2, ch2),
        },
        send_destination_host: peer.quirks.send_destination_host,
        t_after_error: peer.quirks.t_after_error,
        report_granted_only: profile.is_some_and(|profile| profile.report_granted_only),
        results: profile.map(|profile| profile.results.clone()).unwrap_or_default(),
    }
}

/// `service_context_id` if the profile has none: CPM charging of TS 32.260 (TS 32.299, 7.1.12).
pub(super) const SERVICE_CONTEXT_ID: &str = "15.32260@3gpp.org";
