//! Request headers: `Prefer`, `Idempotency-Key`, `X-Request-Id`, bearer tokens, media types.

use std::hash::{BuildHasher, Hasher, RandomState};

use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use crate::charging::event::Prefer;
use crate::clock;
use crate::config::settings::Token;
use crate::store::RecordId;

/// Longest `Idempotency-Key` and `X-Request-Id`.
pub const TOKEN_OCTETS_MAX: usize = 255;
/// Longest `Prefer: wait`, in seconds.
pub const WAIT_SECS_MAX: u8 = 60;

/// What `Prefer` (RFC 7240) asked for and this server understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// `wait=N`; more than [`WAIT_SECS_MAX`] is taken as that.
    pub wait_secs: Option<u8>,
    /// `denied=402`: a denied debit is to be a problem.
    pub denied_402: bool,
}

impl Preferences {
    /// Reads every `Prefer` header; of a repeated preference the first counts, others are ignored.
    pub fn read(headers: &HeaderMap) -> Preferences {
        let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        Preferences::of(values)
    }

    /// The same from values without a header.
    pub fn of<'v>(values: impl Iterator<Item = &'v str>) -> Preferences {
        let mut wait: Option<Option<u8>> = None;
        let mut denied: Option<bool> = None;
        for preference in values.flat_map(|value| value.split(',')) {
            // Parameters after `;` qualify a preference; none is defined for these two.
            let plain = preference.split(';').next().unwrap_or("");
            let (name, value) = plain.split_once('=').unwrap_or((plain, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "wait" => {
                    wait.get_or_insert_with(|| wait_secs(value));
                }
                "denied" => {
                    denied.get_or_insert(value == "402");
                }
                _ => {}
            }
        }
        Preferences { wait_secs: wait.flatten(), denied_402: denied.unwrap_or(false) }
    }

    /// The part that the engine acts on.
    pub fn prefer(self) -> Prefer {
        Prefer { wait_secs: self.wait_secs }
    }

    /// The value of `Preference-Applied`, if there is anything to say.
    pub fn applied(self) -> Option<HeaderValue> {
        let wait = self.wait_secs.map(|secs| format!("wait={secs}"));
        let denied = self.denied_402.then(|| "denied=402".to_owned());
        let words: Vec<String> = wait.into_iter().chain(denied).collect();
        if words.is_empty() {
            return None;
        }
        HeaderValue::try_from(words.join(", ")).ok()
    }
}

fn wait_secs(value: &str) -> Option<u8> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(value.parse::<u8>().unwrap_or(WAIT_SECS_MAX).min(WAIT_SECS_MAX))
}

/// May this be an `Idempotency-Key`: 1 to 255 visible ASCII characters, with blanks inside?
pub fn is_key(text: &str) -> bool {
    let visible = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    let bytes = text.as_bytes();
    (1..=TOKEN_OCTETS_MAX).contains(&bytes.len())
        && bytes.iter().all(|byte| (0x20..=0x7e).contains(byte))
        && visible(bytes.first())
        && visible(bytes.last())
}

/// The `Idempotency-Key`.
///
/// # Errors
/// In words, if it is there twice, empty, too long, or not visible ASCII.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("header Idempotency-Key stands there twice".to_owned());
    }
    match value.to_str() {
        Ok(text) if is_key(text) => Ok(Some(text.to_owned())),
        _ => Err(format!(
            "header Idempotency-Key must be 1 to {TOKEN_OCTETS_MAX} visible ASCII characters"
        )),
    }
}

/// The caller's `X-Request-Id` if it is usable, else a new ULID.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers
        .get("x-request-id")
        .filter(|value| (1..=TOKEN_OCTETS_MAX).contains(&value.len()) && value.to_str().is_ok());
    given.cloned().unwrap_or_else(|| {
        let made = RecordId::new(clock::wall(), random()).to_string();
        HeaderValue::try_from(made).unwrap_or(HeaderValue::from_static("unknown"))
    })
}

/// 128 bits that differ from call to call; no secret depends on them.
fn random() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    (half() << 64) | half()
}

/// Which of the `accepted` media types the body has; it is read as it is, without content coding.
///
/// # Errors
/// Names the media type, charset or content coding that is not read here.
pub fn media_type(headers: &HeaderMap, accepted: &[&'static str]) -> Result<&'static str, String> {
    let expected = accepted.join(" or ");
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && coding.as_bytes() != b"identity"
    {
        return Err(format!("content coding {coding:?} is not accepted; send the body as it is"));
    }
    let Some(declared) = headers.get(header::CONTENT_TYPE) else {
        return Err(format!("header Content-Type is missing; expected {expected}"));
    };
    let text = declared.to_str().unwrap_or("").to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or("");
    let found = accepted.iter().find(|accepted| **accepted == essence);
    let Some(found) = found else {
        return Err(format!("media type {declared:?} is not accepted; expected {expected}"));
    };
    let charset = parts.find_map(|parameter| parameter.strip_prefix("charset="));
    match charset.map(|name| name.trim_matches('"')) {
        None | Some("utf-8" | "utf8") => Ok(found),
        Some(other) => Err(format!("charset {other} is not accepted; expected utf-8")),
    }
}

/// The client of a request, by its bearer token (RFC 6750, 2.1).
///
/// Every token is compared, each in constant time over digests, so that the time tells nothing
/// about how near a guess was or which token it was near to.
pub fn authenticate<'t>(headers: &HeaderMap, tokens: &'t [Token]) -> Option<&'t Token> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let digest: [u8; 32] = Sha256::digest(secret.trim().as_bytes()).into();
    let mut found = None;
    for token in tokens {
        let difference =
            token.digest.iter().zip(&digest).fold(0u8, |sum, (left, right)| sum | (left ^ right));
        if std::hint::black_box(difference) == 0 {
            found = Some(token);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Scopes;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).expect("a header value"));
        }
        map
    }

    #[test]
    fn prefer_is_read_as_rfc_7240_says() {
        for (values, wait, denied) in [
            (&["wait=5"][..], Some(5), false),
            (&["wait=0, denied=402"], Some(0), true),
            (&["respond-async, WAIT=\"7\"; foo=bar"], Some(7), false),
            (&["wait=3", "wait=9"], Some(3), false),
            (&["wait=61"], Some(60), false),
            (&["wait=100000"], Some(60), false),
            (&["wait=-1"], None, false),
            (&["wait"], None, false),
            (&["denied=403"], None, false),
            (&[""], None, false),
        ] {
            let pairs: Vec<_> = values.iter().map(|value| ("prefer", *value)).collect();
            let read = Preferences::read(&headers(&pairs));
            assert_eq!(read, Preferences { wait_secs: wait, denied_402: denied }, "{values:?}");
        }
        let both = Preferences { wait_secs: Some(2), denied_402: true };
        assert_eq!(both.applied(), Some(HeaderValue::from_static("wait=2, denied=402")));
        assert_eq!(Preferences::default().applied(), None);
    }

    #[test]
    fn media_types_other_than_json_are_named() {
        for (pairs, ok) in [
            (&[("content-type", "application/json")][..], true),
            (&[("content-type", "Application/JSON; charset=UTF-8")], true),
            (&[("content-type", "application/json; charset=latin1")], false),
            (&[("content-type", "application/x-www-form-urlencoded")], false),
            (&[("content-type", "application/json"), ("content-encoding", "gzip")], false),
            (&[], false),
        ] {
            let read = media_type(&headers(pairs), &["application/json"]);
            assert_eq!(read.is_ok(), ok, "{pairs:?}");
        }
    }

    #[test]
    fn fh_13_tokens_are_found_by_their_digest() {
        let scopes = Scopes { trigger: true, read: false, ..Scopes::default() };
        let tokens = [Token::new("a", "secret-a", scopes), Token::new("b", "secret-b", scopes)];
        let who = |value| authenticate(&headers(&[("authorization", value)]), &tokens);
        assert_eq!(who("Bearer secret-b").map(|token| token.name.as_str()), Some("b"));
        assert_eq!(who("bearer secret-a").map(|token| token.name.as_str()), Some("a"));
        assert_eq!(who("Bearer secret-c"), None);
        assert_eq!(who("Basic secret-a"), None);
        assert_eq!(who("Bearer"), None);
        assert_eq!(authenticate(&HeaderMap::new(), &tokens), None);
    }

    #[test]
    fn request_ids_are_kept_or_made() {
        assert_eq!(request_id(&headers(&[("x-request-id", "abc-1")])), "abc-1");
        let made = request_id(&HeaderMap::new());
        assert_eq!(made.len(), 26);
        assert_ne!(made, request_id(&HeaderMap::new()));
    }
}
