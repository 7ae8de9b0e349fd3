//! What a handshake with a peer says about the configuration: whose fault, and the line to change.
//!
//! Judges harder than the machine does: it knows the certificate and what would have helped.

use crate::diameter::Message;
use crate::diameter::Problem;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::diameter::value::identity_eq;

use super::Application;
use super::PeerConfig;
use super::PeerState;
use super::capabilities;
use super::capabilities::Capabilities;
use super::capabilities::Expected;
use super::capabilities::Verdict;

/// What a CEA, or the lack of one, comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// [`PeerState::Open`]: nothing is wrong; [`PeerState::BadConfig`]: ours to fix;
    /// [`PeerState::BadRemote`]: theirs; [`PeerState::Down`]: the network's.
    pub fault: PeerState,
    /// In words.
    pub words: String,
    /// The key that would change it: `identity.host`, or one of the peer's such as `applications`.
    pub key: Option<&'static str>,
    /// How the line should read.
    pub line: Option<String>,
}

impl Finding {
    fn new(fault: PeerState, words: impl Into<String>) -> Finding {
        Finding { fault, words: words.into(), key: None, line: None }
    }

    /// Ours to fix, in this line.
    pub fn ours(key: &'static str, line: impl Into<String>, words: impl Into<String>) -> Finding {
        let (key, line) = (Some(key), Some(line.into()));
        Finding { key, line, ..Finding::new(PeerState::BadConfig, words) }
    }

    /// Theirs to fix.
    pub fn theirs(words: impl Into<String>) -> Finding {
        Finding::new(PeerState::BadRemote, words)
    }

    /// Nobody's, as far as can be seen from here.
    pub fn network(words: impl Into<String>) -> Finding {
        Finding::new(PeerState::Down, words)
    }
}

/// Judges a CEA. `names` is what the certificate proves, `None` without TLS.
pub fn of_cea(
    message: &Message,
    problems: &[Problem],
    expected: Expected<'_>,
    config: &PeerConfig,
    names: Option<&[String]>,
) -> Finding {
    let peer = Capabilities::of(message);
    let told = &peer.origin_host;
    if let Some(finding) = of_certificate(told, config, names) {
        return finding;
    }
    match message.unsigned32(id::RESULT_CODE) {
        Some(result_code::UNKNOWN_PEER) => {
            let host = &expected.local.host;
            let words = format!(
                "`{told}` does not know `{host}`: correct identity.host, or let its operator add it"
            );
            return Finding::ours("identity.host", format!("host: {host}"), words);
        }
        Some(result_code::NO_COMMON_APPLICATION) => {
            return no_common(&peer, expected.applications);
        }
        Some(result_code::NO_COMMON_SECURITY) => {
            return Finding::ours("tls", "tls: require", "it wants TLS");
        }
        _ => {}
    }
    match capabilities::judge_cea(message, problems, expected) {
        Verdict::Agreed { common, .. } => {
            let ids: Vec<String> = common.iter().map(u32::to_string).collect();
            let relay = if peer.is_relay() { ", as a relay" } else { "" };
            let words = format!("applications {} are shared{relay}", ids.join(", "));
            Finding::new(PeerState::Open, words)
        }
        Verdict::Refused(_)
            if message.unsigned32(id::RESULT_CODE) == Some(result_code::SUCCESS)
                && config.host.as_deref().is_some_and(|host| !identity_eq(host, told))
                && !told.is_empty() =>
        {
            let words = format!("it calls itself `{told}`");
            Finding::ours("host", format!("host: {told}"), words)
        }
        Verdict::Refused(refusal) if refusal.result_code == result_code::NO_COMMON_APPLICATION => {
            no_common(&peer, expected.applications)
        }
        Verdict::Refused(refusal) => Finding::new(refusal.fault, refusal.reason),
    }
}

/// What is wrong with the name in the certificate, if anything is.
fn of_certificate(told: &str, config: &PeerConfig, names: Option<&[String]>) -> Option<Finding> {
    let names = names?;
    let proves = |host: &str| names.iter().any(|name| identity_eq(name, host));
    let wanted = config.host.as_deref().unwrap_or(told);
    if proves(wanted) {
        return None;
    }
    let list = names.join("`, `");
    if proves(told) {
        let words = format!("its certificate and its Origin-Host say `{told}`");
        return Some(Finding::ours("host", format!("host: {told}"), words));
    }
    Some(Finding::theirs(format!(
        "its certificate is for `{list}`; it needs one with subjectAltName DNS:{wanted}"
    )))
}

/// Nothing is shared: what would be, as far as the peer tells.
fn no_common(peer: &Capabilities, ours: &[Application]) -> Finding {
    let theirs = &peer.applications;
    if theirs.is_empty() {
        let vendor: Vec<Application> =
            ours.iter().map(|our| Application { vendor: Some(10415), ..*our }).collect();
        let words = "it offers none; many 3GPP nodes want the vendor";
        return Finding::ours("applications", line(&vendor), words);
    }
    // The same application in the AVP that they use: with a vendor or without, auth or acct.
    let same: Vec<Application> = theirs
        .iter()
        .copied()
        .filter(|their| ours.iter().any(|our| our.id() == their.id()))
        .collect();
    if same.iter().all(|their| ours.contains(their)) && !same.is_empty() {
        return Finding::theirs("it refuses what it offers itself");
    }
    let offered = if same.is_empty() { theirs } else { &same };
    let words = if same.is_empty() {
        "it serves other applications: is it the node that is meant?"
    } else {
        "it wants the application in the form in which it offers it"
    };
    Finding::ours("applications", line(offered), words)
}

fn line(applications: &[Application]) -> String {
    let words: Vec<String> = applications.iter().map(Application::to_string).collect();
    format!("applications: [{}]", words.join(", "))
}

/// `auth 4 in Vendor-Specific-Application-Id (vendor 10415), acct 3 plain`.
pub fn describe(applications: &[Application]) -> String {
    if applications.is_empty() {
        return "none".to_owned();
    }
    let one = |application: &Application| {
        let (word, id) = match application.kind {
            super::ApplicationKind::Auth(id) => ("auth", id),
            super::ApplicationKind::Acct(id) => ("acct", id),
        };
        match application.vendor {
            Some(vendor) => {
                format!("{word} {id} in Vendor-Specific-Application-Id (vendor {vendor})")
            }
            None => format!("{word} {id} plain"),
        }
    };
    applications.iter().map(one).collect::<Vec<_>>().join(", ")
}
