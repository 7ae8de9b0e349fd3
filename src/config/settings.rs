//! What the shell needs to know from the configuration, as plain structs with the documented defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::tls::Tls;

/// What a token allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Every POST but a search.
    pub trigger: bool,
    /// Every GET, and the search.
    pub read: bool,
    /// Events with action refund, besides `trigger`.
    pub refund: bool,
    /// Subscriber identities in clear, besides `read`.
    pub subscriber: bool,
}

/// One bearer token of `api.auth.tokens`; only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Name of the client, the scope of its idempotency keys.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// What it allows.
    pub scopes: Scopes,
}

impl Token {
    /// From the token's text.
    pub fn new(name: &str, secret: &str, scopes: Scopes) -> Token {
        Token { name: name.to_owned(), digest: Sha256::digest(secret.as_bytes()).into(), scopes }
    }
}

/// Without the digest: a log line needs the name only.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("scopes", &self.scopes).finish()
    }
}

/// `api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// `Idempotency-Key` on every POST.
    pub require_idempotency_key: bool,
    /// Accepted bearer tokens; none: no authentication.
    pub tokens: Vec<Token>,
    /// Origins that `notifyUri` may name.
    pub notify_allow: Vec<String>,
    /// Calls in progress at once; more are 503 `overloaded`.
    pub in_flight_max: usize,
    /// Longest body.
    pub body_bytes_max: usize,
    /// Calls a second; more are 429 `rate-limited`. `None`: unlimited.
    pub rate_per_second: Option<u32>,
}

impl Default for ApiSettings {
    fn default() -> ApiSettings {
        ApiSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8868)),
            require_idempotency_key: false,
            tokens: Vec::new(),
            notify_allow: Vec::new(),
            in_flight_max: 20_000,
            body_bytes_max: 64 << 10,
            rate_per_second: None,
        }
    }
}

/// `admin`.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where console, metrics and health listen.
    pub listen: SocketAddr,
    /// Token that may read.
    pub viewer: Option<String>,
    /// Token that may act.
    pub operator: Option<String>,
}

impl Default for AdminSettings {
    fn default() -> AdminSettings {
        AdminSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8869)),
            viewer: None,
            operator: None,
        }
    }
}

/// Without the tokens.
impl std::fmt::Debug for AdminSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminSettings")
            .field("listen", &self.listen)
            .field("viewer", &self.viewer.is_some())
            .field("operator", &self.operator.is_some())
            .finish()
    }
}

/// `diameter`.
#[derive(Clone, Debug)]
pub struct DiameterSettings {
    /// Where peers connect to us over TCP.
    pub listen: Vec<SocketAddr>,
    /// Where they connect over TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// What we show there and whom we believe; also of peers with `tls: require`.
    pub tls: Option<Tls>,
    /// Who may connect; `None`: the configured peers, from anywhere.
    pub allow: Option<Vec<AllowEntry>>,
    /// Longest message, both ways.
    pub message_bytes_max: u32,
}

impl Default for DiameterSettings {
    fn default() -> DiameterSettings {
        DiameterSettings {
            listen: Vec::new(),
            tls_listen: Vec::new(),
            tls: None,
            allow: None,
            message_bytes_max: 1 << 20,
        }
    }
}

/// One entry of `diameter.allow`: all that is given must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowEntry {
    /// Address and prefix length.
    pub network: Option<(IpAddr, u8)>,
    /// Origin-Host.
    pub host: Option<String>,
    /// Origin-Realm.
    pub realm: Option<String>,
}

/// `store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Folder of the embedded store.
    pub path: PathBuf,
    /// `None`: unlimited.
    pub max_size_bytes: Option<u64>,
    /// How long writers may wait to share one flush.
    pub batch: Duration,
    /// Acknowledged records and ended sessions stay so long.
    pub keep_acknowledged: Duration,
    /// Dead letters stay so long.
    pub keep_dead: Duration,
}

impl Default for StoreSettings {
    fn default() -> StoreSettings {
        StoreSettings {
            path: PathBuf::from("./farebox-data"),
            max_size_bytes: None,
            batch: Duration::ZERO,
            keep_acknowledged: Duration::from_secs(72 * 3600),
            keep_dead: Duration::from_secs(90 * 24 * 3600),
        }
    }
}
