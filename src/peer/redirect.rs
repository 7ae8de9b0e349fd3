//! Redirect indications: DIAMETER_REDIRECT_INDICATION (3006), whom it names and for how long
//! (RFC 6733, 6.1.8 and 6.12 to 6.14; R-08).
//!
//! Knows targets by their index in the configuration: a redirect leads to configured peers only
//! (SEC-07), so a name that is none of theirs never gets in here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Now;
use crate::diameter::Limits;
use crate::diameter::View;
use crate::diameter::id;

use super::overload::folded;

/// Redirect-Host AVPs that are read of one answer.
pub const HOSTS_MAX: usize = 16;
/// Cached routes; the one that ends first makes room for a new one.
const ENTRIES_MAX: usize = 10_000;

/// Redirect-Host-Usage, in the order of precedence of RFC 6733, 6.13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Usage {
    /// All messages of the session.
    AllSession,
    /// All messages for the user.
    AllUser,
    /// All messages of the application for the realm.
    RealmAndApplication,
    /// All messages for the realm.
    AllRealm,
    /// All messages of the application.
    AllApplication,
    /// All messages for the host that redirected.
    AllHost,
}

impl Usage {
    /// From the wire; DONT_CACHE and unknown values are `None`.
    pub fn from_value(value: i32) -> Option<Usage> {
        match value {
            1 => Some(Usage::AllSession),
            2 => Some(Usage::AllRealm),
            3 => Some(Usage::RealmAndApplication),
            4 => Some(Usage::AllApplication),
            5 => Some(Usage::AllHost),
            6 => Some(Usage::AllUser),
            _ => None,
        }
    }
}

/// What an answer with 3006 says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indication {
    /// Host names of the Redirect-Host AVPs, in their order.
    pub hosts: Vec<String>,
    /// For which messages the route holds, and how long; `None`: for this request only.
    pub cache: Option<(Usage, Duration)>,
}

impl Indication {
    /// Reads the redirect AVPs of an answer.
    pub fn of(view: &View<'_>) -> Indication {
        let mut indication = Indication::default();
        let (mut usage, mut time) = (None, None);
        for avp in view.avps() {
            match avp.id {
                id::REDIRECT_HOST if indication.hosts.len() < HOSTS_MAX => {
                    indication.hosts.extend(avp.text().and_then(host_of_uri).map(str::to_owned));
                }
                id::REDIRECT_HOST_USAGE => usage = avp.enumerated().and_then(Usage::from_value),
                id::REDIRECT_MAX_CACHE_TIME => time = avp.unsigned32(),
                _ => {}
            }
        }
        // Without a time, which is required beside a usage, and with 0, nothing is cached.
        let time = time.filter(|secs| *secs > 0).map(|secs| Duration::from_secs(secs.into()));
        indication.cache = usage.zip(time);
        indication
    }
}

/// The FQDN of a DiameterURI; a bare name, as some send it, is taken as it is.
fn host_of_uri(uri: &str) -> Option<&str> {
    let rest = match uri.split_once("://") {
        Some(("aaa" | "aaas", rest)) => rest,
        Some(_) => return None,
        None => uri,
    };
    let host = rest.split([':', ';', '/']).next().unwrap_or("");
    (!host.is_empty()).then_some(host)
}

/// What of a request the cached routes ask about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    session_id: Vec<u8>,
    user: Option<Vec<u8>>,
    realm: String,
    application: u32,
}

impl Traits {
    /// Reads a request.
    pub fn of(request: &[u8]) -> Traits {
        let limits = Limits { message_bytes_max: u32::MAX, ..Limits::default() };
        let Ok(view) = View::new(request, &limits) else { return Traits::default() };
        let mut traits = Traits { application: view.header().application, ..Traits::default() };
        for avp in view.avps() {
            match avp.id {
                id::SESSION_ID => traits.session_id = avp.data.to_vec(),
                id::DESTINATION_REALM => traits.realm = folded(avp.text().unwrap_or_default()),
                id::USER_NAME => traits.user = Some(avp.data.to_vec()),
                // Without a User-Name the first Subscription-Id tells whom it is about.
                id::SUBSCRIPTION_ID if traits.user.is_none() => {
                    let mut members = avp.group();
                    let told = members.find(|avp| avp.id == id::SUBSCRIPTION_ID_DATA);
                    traits.user = told.map(|avp| avp.data.to_vec());
                }
                _ => {}
            }
        }
        traits
    }

    /// Destination-Realm, in lower case.
    pub fn into_realm(self) -> String {
        self.realm
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Session(Vec<u8>),
    User(Vec<u8>),
    RealmAndApplication(String, u32),
    Realm(String),
    Application(u32),
    Host(usize),
}

/// Routes learned from redirects.
#[derive(Clone, Debug, Default)]
pub struct Redirects {
    routes: BTreeMap<Key, (usize, Now)>,
    /// The same routes by the time at which they end.
    ends: BTreeSet<(Now, Key)>,
}

impl Redirects {
    /// Nothing was learned, or all of it is forgotten.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Cached routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// The peer `from` redirected a request with these traits to `to`.
    pub fn learn(
        &mut self,
        (usage, time): (Usage, Duration),
        traits: Traits,
        (from, to): (usize, usize),
        now: Now,
    ) {
        let key = match usage {
            Usage::AllSession => Key::Session(traits.session_id),
            Usage::AllUser => match traits.user {
                Some(user) => Key::User(user),
                None => return,
            },
            Usage::RealmAndApplication => {
                Key::RealmAndApplication(traits.realm, traits.application)
            }
            Usage::AllRealm => Key::Realm(traits.realm),
            Usage::AllApplication => Key::Application(traits.application),
            Usage::AllHost => Key::Host(from),
        };
        let until = now + time;
        if let Some((_, before)) = self.routes.insert(key.clone(), (to, until)) {
            self.ends.remove(&(before, key.clone()));
        }
        self.ends.insert((until, key));
        while let Some((end, _)) = self.ends.first()
            && (*end <= now || self.ends.len() > ENTRIES_MAX)
        {
            if let Some((_, key)) = self.ends.pop_first() {
                self.routes.remove(&key);
            }
        }
    }

    /// Where the session of a request was redirected to.
    pub fn of_session(&self, traits: &Traits, now: Now) -> Option<usize> {
        self.find(&Key::Session(traits.session_id.clone()), now)
    }

    /// Where requests like this one were redirected to, by the order of precedence; not asked:
    /// [`Redirects::of_session`] and [`Redirects::of_host`].
    pub fn of_request(&self, traits: &Traits, now: Now) -> Option<usize> {
        let keys = [
            traits.user.clone().map(Key::User),
            Some(Key::RealmAndApplication(traits.realm.clone(), traits.application)),
            Some(Key::Realm(traits.realm.clone())),
            Some(Key::Application(traits.application)),
        ];
        keys.iter().flatten().find_map(|key| self.find(key, now))
    }

    /// Where the peer that would get a request redirects everything to.
    pub fn of_host(&self, peer: usize, now: Now) -> Option<usize> {
        self.find(&Key::Host(peer), now)
    }

    /// A peer is not reachable any more: what leads to it is forgotten (RFC 6733, 6.14).
    pub fn forget(&mut self, peer: usize) {
        self.routes.retain(|_, (to, _)| *to != peer);
        let routes = &self.routes;
        self.ends.retain(|(_, key)| routes.contains_key(key));
    }

    fn find(&self, key: &Key, now: Now) -> Option<usize> {
        let (to, until) = self.routes.get(key).copied()?;
        (now < until).then_some(to)
    }
}
