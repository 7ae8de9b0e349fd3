//! `diameter` and every `tls`: where peers may connect to us, who may, and with which certificates.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::item::Item;
use super::peers::Peer;
use super::settings::{AllowEntry, DiameterSettings};
use super::source::Files;
use crate::clock;
use crate::diagnostic::{Code, Diagnostic};
use crate::diameter::value::identity_eq;
use crate::tls::{Credentials, Pem, Tls};

/// Ports of RFC 6733, 11.4.
const PORT: u16 = 3868;
const TLS_PORT: u16 = 5658;

/// Below so many days the end of a certificate is worth a word.
const DAYS_LEFT_MIN: i64 = 14;

/// Reads the files that `tls` names.
pub(super) struct Certificates<'a, 'f> {
    pub(super) files: &'a Files<'f>,
    /// Relative names start here.
    pub(super) base: &'a Path,
    /// Our own Origin-Host.
    pub(super) host: &'a str,
}

impl Certificates<'_, '_> {
    /// `{ca, cert, key, crl, min_version}`. `None` after noting why it cannot be used.
    pub(super) fn read(&self, item: &Item<'_>) -> Option<Tls> {
        if !item.keys(&["ca", "cert", "key", "crl", "min_version"]) {
            return None;
        }
        let required = |key| item.required(key).and_then(|item| self.pem(&item));
        let (ca, cert, key) = (required("ca"), required("cert"), required("key"));
        let crl = item.get("crl").map(|item| self.pem(&item));
        let versions = [("1.3", false), ("1.2", true)];
        let min_version = item.get("min_version").map(|item| item.word(&versions));
        let credentials = Credentials {
            ca: ca?,
            cert: cert?,
            key: key?,
            crl: crl.map_or(Some(None), |crl| crl.map(Some))?,
            allows_tls_1_2: min_version.unwrap_or(Some(false))?,
        };
        match Tls::new(&credentials) {
            Ok(tls) => {
                self.look_at(&tls, item);
                Some(tls)
            }
            Err(unusable) => {
                let at = item.get(unusable.key);
                at.as_ref().unwrap_or(item).error(Code::FB0209, unusable.to_string());
                None
            }
        }
    }

    /// A name of a file, or the text itself, as `${file:…}` gives it.
    fn pem(&self, item: &Item<'_>) -> Option<Pem> {
        let text = item.text()?;
        if text.contains("-----BEGIN ") {
            return Some(Pem { name: item.path.clone(), text: text.to_owned() });
        }
        let read = self.files.secret(&self.base.join(text), &item.node.span)?;
        Some(Pem { name: text.to_owned(), text: read })
    }

    /// What other nodes will think of our certificate.
    fn look_at(&self, tls: &Tls, item: &Item<'_>) {
        let Some(item) = item.get("cert") else { return };
        let certificate = tls.certificate();
        let end = i64::try_from(certificate.not_after).unwrap_or(i64::MAX);
        let days = end.saturating_sub(clock::wall().secs()).div_euclid(86_400);
        if days < DAYS_LEFT_MIN {
            let message = match days {
                ..0 => "the certificate has ended".to_owned(),
                days => format!("the certificate ends in {days} days"),
            };
            item.note(Diagnostic::warning(Code::FB0412, message));
        }
        if !self.host.is_empty() && !certificate.names(self.host) {
            let message = match certificate.names.as_slice() {
                [] => "the certificate has no dNSName".to_owned(),
                names => format!("the certificate is for `{}`", names.join("`, `")),
            };
            let help = format!("a peer that checks it expects `{}`, our identity.host", self.host);
            item.note(Diagnostic::warning(Code::FB0413, message).help(help));
        }
    }
}

/// Reads `diameter`.
pub(super) fn diameter(root: &Item<'_>, certificates: &Certificates<'_, '_>) -> DiameterSettings {
    let mut settings = DiameterSettings::default();
    let Some(section) = root.get("diameter") else { return settings };
    if !section.keys(&["max_message", "listen", "tls_listen", "tls", "allow"]) {
        return settings;
    }
    let bytes = section.get("max_message").and_then(|item| item.size(4096..=(16 << 20) - 4));
    if let Some(bytes) = bytes.and_then(|bytes| u32::try_from(bytes).ok()) {
        settings.message_bytes_max = bytes;
    }
    let listeners = |key, port| {
        let items = section.get(key).map(|item| item.list()).unwrap_or_default();
        items.iter().filter_map(|item| listener(item, port)).collect::<Vec<SocketAddr>>()
    };
    settings.listen = listeners("listen", PORT);
    settings.tls_listen = listeners("tls_listen", TLS_PORT);
    settings.tls = section.get("tls").and_then(|item| certificates.read(&item));
    if let Some(item) = section.get("tls_listen")
        && section.get("tls").is_none()
    {
        let message = "`diameter.tls_listen` needs a certificate";
        let help = "add `diameter.tls: {ca: …, cert: …, key: …}`";
        item.note(Diagnostic::error(Code::FB0103, message).help(help));
    }
    if let Some(list) = section.get("allow") {
        settings.allow = Some(list.list().iter().filter_map(allow_entry).collect());
    }
    settings
}

/// `ip:port`, or `ip` for the port of the RFC.
fn listener(item: &Item<'_>, port: u16) -> Option<SocketAddr> {
    let bare = item.node.text().and_then(|text| text.parse::<IpAddr>().ok());
    bare.map(|ip| SocketAddr::new(ip, port)).or_else(|| item.listener())
}

fn allow_entry(item: &Item<'_>) -> Option<AllowEntry> {
    if !item.keys(&["ip", "host", "realm"]) {
        return None;
    }
    let ip = item.get("ip");
    let network = ip.as_ref().map(network);
    let identity = |key| item.get(key).map(|item| item.identity());
    let (host, realm) = (identity("host"), identity("realm"));
    if network.is_none() && host.is_none() && realm.is_none() {
        item.expected("at least one of `ip`, `host` and `realm`");
        return None;
    }
    Some(AllowEntry {
        network: network.map_or(Some(None), |network| network.map(Some))?,
        host: host.map_or(Some(None), |host| host.map(Some))?,
        realm: realm.map_or(Some(None), |realm| realm.map(Some))?,
    })
}

/// `192.0.2.0/28` or `192.0.2.7`.
fn network(item: &Item<'_>) -> Option<(IpAddr, u8)> {
    let text = item.text()?;
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let read = address.parse::<IpAddr>().ok().and_then(|address| {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = if text.contains('/') { prefix.parse().ok()? } else { width };
        (prefix <= width).then_some((address, prefix))
    });
    if read.is_none() {
        item.expected("an address or a network such as `192.0.2.0/28`");
    }
    read
}

/// Holds `diameter.allow` and the peers that only connect to us against each other.
pub(super) fn check(root: &Item<'_>, settings: &DiameterSettings, peers: &[Peer<'_>]) {
    let Some(section) = root.get("diameter") else { return };
    for item in section.get("allow").map(|item| item.list()).unwrap_or_default() {
        let Some(item) = item.get("host") else { continue };
        let Some(host) = item.node.text() else { continue };
        let known = |peer: &Peer<'_>| {
            peer.config.host.as_deref().is_some_and(|known| identity_eq(known, host))
        };
        if !peers.iter().any(known) {
            let message = format!("no peer has the Origin-Host `{host}`");
            let help = "only configured peers may connect: add it to `peers`";
            item.note(Diagnostic::error(Code::FB0203, message).help(help));
        }
    }
    let listens = !settings.listen.is_empty() || !settings.tls_listen.is_empty();
    if settings.allow.is_some() && !listens {
        let message = "`diameter.allow` without `diameter.listen` allows nothing";
        section.note(Diagnostic::warning(Code::FB0414, message));
    }
}

/// Whether a peer of this kind could connect to us; notes why not.
pub(super) fn check_inbound(item: &Item<'_>, settings: &DiameterSettings, tls: bool, host: bool) {
    let (listen, key) = match tls {
        true => (&settings.tls_listen, "tls_listen"),
        false => (&settings.listen, "listen"),
    };
    if listen.is_empty() {
        let message = format!("peer without `{}.address` can only connect to us", item.path);
        let help = format!("add `address`, or `diameter.{key}` for it to connect to");
        item.note(Diagnostic::error(Code::FB0103, message).help(help));
    }
    if !host {
        let message = format!("`{}.host` must name the peer that connects to us", item.path);
        item.note(Diagnostic::error(Code::FB0103, message).help("`*` would admit anybody"));
    }
}

/// Whether all plain listeners are loopback.
pub(super) fn plain_stays_here(settings: &DiameterSettings) -> bool {
    settings.listen.iter().all(|address| address.ip().is_loopback())
}
