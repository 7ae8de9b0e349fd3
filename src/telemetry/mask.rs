//! Subscriber identities in logs and pages: enough to recognize one's own, too little to call it.

use std::borrow::Cow;

const HIDDEN: &str = "•••";
/// Digits that an identity keeps at its end.
const TAIL: usize = 3;
/// Digits that it keeps at its beginning, at most.
const HEAD_MAX: usize = 5;
/// Shortest run of digits behind a `+` that is taken for a number.
const NUMBER_MIN: usize = 7;

/// `+12025550123` → `+12025•••123`; `sip:+12025550123@ims.example.net` →
/// `sip:+12025•••123@ims.example.net`; `tel:` likewise; a name keeps its first letter.
pub fn mask(identity: &str) -> String {
    for scheme in ["sip:", "sips:", "tel:"] {
        if let Some(start) = identity.get(..scheme.len())
            && start.eq_ignore_ascii_case(scheme)
        {
            return format!("{start}{}", mask(&identity[scheme.len()..]));
        }
    }
    let end = identity.find(['@', ';', '?', '>']).unwrap_or(identity.len());
    let (user, rest) = identity.split_at(end);
    let (plus, number) = match user.strip_prefix('+') {
        Some(number) => ("+", number),
        None => ("", user),
    };
    let hidden = if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
        mask_digits(number)
    } else {
        let first: String = number.chars().take(1).collect();
        format!("{first}{HIDDEN}")
    };
    format!("{plus}{hidden}{rest}")
}

/// At least three digits stay hidden.
fn mask_digits(digits: &str) -> String {
    let head = digits.len().saturating_sub(2 * TAIL).min(HEAD_MAX);
    if head == 0 {
        return HIDDEN.to_owned();
    }
    format!("{}{HIDDEN}{}", &digits[..head], &digits[digits.len() - TAIL..])
}

/// Masks everything in a text that looks like an identity: `+` and digits, `sip:` and `tel:` URIs,
/// 14 or 15 digits (IMSI).
///
/// The last lock of I-14: whoever writes a line masks what is known to be an identity before.
pub fn mask_text(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        match identity_at(text, at) {
            Some(length) => {
                out.push_str(&text[copied..at]);
                out.push_str(&mask(&text[at..at + length]));
                at += length;
                copied = at;
            }
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Length of the identity that begins at `at`.
fn identity_at(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let before = text[..at].chars().next_back();
    if before.is_some_and(|character| character.is_ascii_alphanumeric() || character == '+') {
        return None;
    }
    let lower = rest.get(..5).unwrap_or(rest).to_ascii_lowercase();
    if ["sip:", "sips:", "tel:"].iter().any(|scheme| lower.starts_with(scheme)) {
        let end = rest.find(|c: char| c.is_whitespace() || "\"'<>,".contains(c));
        return Some(end.unwrap_or(rest.len()));
    }
    let plus = usize::from(rest.starts_with('+'));
    let digits = rest[plus..].bytes().take_while(u8::is_ascii_digit).count();
    let number = if plus == 1 { digits >= NUMBER_MIN } else { matches!(digits, 14 | 15) };
    let next = rest[plus + digits..].chars().next();
    let ends = next.is_none_or(|character| !character.is_ascii_alphanumeric());
    // A masked number is not an identity any more.
    (number && ends && next != Some('•')).then_some(plus + digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_keep_their_ends() {
        for (clear, masked) in [
            ("+12025550123", "+12025•••123"),
            ("12025550123", "12025•••123"),
            ("sip:+12025550123@ims.example.net", "sip:+12025•••123@ims.example.net"),
            ("SIP:+12025550123@ims.example.net", "SIP:+12025•••123@ims.example.net"),
            ("tel:+12025550145", "tel:+12025•••145"),
            ("tel:2025550145;phone-context=+1", "tel:2025•••145;phone-context=+1"),
            ("sip:alice@example.net;user=phone", "sip:a•••@example.net;user=phone"),
            ("262071234567890", "26207•••890"),
            ("bob@realm", "b•••@realm"),
            ("ünal", "ü•••"),
            ("+1234567", "+1•••567"),
            ("+123456", "+•••"),
            ("+49", "+•••"),
            ("", "•••"),
        ] {
            assert_eq!(mask(clear), masked, "{clear}");
        }
    }

    #[test]
    fn i_14_texts_lose_what_looks_like_an_identity() {
        for (clear, masked) in [
            ("no such user +12025550123 here", "no such user +12025•••123 here"),
            ("from <sip:+12025550123@x.net>, ok", "from <sip:+12025•••123@x.net>, ok"),
            ("imsi 262071234567890.", "imsi 26207•••890."),
            (
                "cg1.ims.example.net;1765531200;7;9f1c4a7e",
                "cg1.ims.example.net;1765531200;7;9f1c4a7e",
            ),
            ("01KC99XQ6Z3W8M5T2R7V4N0B1C", "01KC99XQ6Z3W8M5T2R7V4N0B1C"),
            ("9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11", "9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11"),
            ("1765531200123456", "1765531200123456"),
            ("+12025•••123", "+12025•••123"),
            ("ünïcode stays · ✔", "ünïcode stays · ✔"),
            ("", ""),
        ] {
            assert_eq!(mask_text(clear), masked, "{clear}");
        }
    }
}
