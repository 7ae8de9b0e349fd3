//! Values of the data formats of RFC 6733, 4.2 to 4.4, and their checks.

use std::fmt;

use bytes::Bytes;

use super::avp::Avp;
use super::dictionary::Kind;

/// Seconds from 1900-01-01 (NTP) to 1970-01-01.
const NTP_TO_UNIX_SECS: i64 = 2_208_988_800;
/// Seconds of one NTP era.
const NTP_ERA_SECS: i64 = 1 << 32;

/// An AVP's data.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any octets; also the data of an AVP that is unknown or that its type does not fit.
    OctetString(Bytes),
    /// 32 bits, signed.
    Integer32(i32),
    /// 64 bits, signed.
    Integer64(i64),
    /// 32 bits.
    Unsigned32(u32),
    /// 64 bits.
    Unsigned64(u64),
    /// IEEE 754 single.
    Float32(f32),
    /// IEEE 754 double.
    Float64(f64),
    /// A network address or a telephone number.
    Address(Address),
    /// Seconds since 1970-01-01T00:00:00Z, from 1968-01-20 to 2104-02-26 (see [`time_to_wire`]).
    Time(i64),
    /// Text without NUL.
    Utf8String(String),
    /// A fully qualified domain name or a realm.
    DiameterIdentity(String),
    /// `aaa://host…`.
    DiameterUri(String),
    /// 32 bits, signed (RFC 6733, 4.3.1).
    Enumerated(i32),
    /// A packet filter in ASCII.
    IpFilterRule(String),
    /// Other AVPs.
    Grouped(Vec<Avp>),
}

impl Value {
    /// The text of the four textual types.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Utf8String(text)
            | Value::DiameterIdentity(text)
            | Value::DiameterUri(text)
            | Value::IpFilterRule(text) => Some(text),
            _ => None,
        }
    }

    /// Octets that the value needs on the wire, without padding.
    pub fn encoded_len(&self) -> usize {
        match self {
            Value::OctetString(octets) => octets.len(),
            Value::Integer32(_)
            | Value::Unsigned32(_)
            | Value::Float32(_)
            | Value::Time(_)
            | Value::Enumerated(_) => 4,
            Value::Integer64(_) | Value::Unsigned64(_) | Value::Float64(_) => 8,
            Value::Address(address) => 2 + address.octets().len(),
            Value::Utf8String(text)
            | Value::DiameterIdentity(text)
            | Value::DiameterUri(text)
            | Value::IpFilterRule(text) => text.len(),
            Value::Grouped(members) => members.iter().map(Avp::padded_len).sum(),
        }
    }
}

impl Avp {
    /// The value of the AVP Length field: header and data, padding not counted.
    pub fn encoded_len(&self) -> usize {
        (if self.id.vendor == 0 { 8 } else { 12 }) + self.value.encoded_len()
    }

    /// Octets on the wire, padding counted.
    pub fn padded_len(&self) -> usize {
        self.encoded_len().next_multiple_of(4)
    }
}

/// An Address AVP's value: the address families that charging uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Address family 1.
    Ipv4([u8; 4]),
    /// Address family 2.
    Ipv6([u8; 16]),
    /// Address family 8: an E.164 number as ASCII digits.
    E164(String),
}

impl Address {
    /// IANA address family number.
    pub fn family(&self) -> u16 {
        match self {
            Address::Ipv4(_) => 1,
            Address::Ipv6(_) => 2,
            Address::E164(_) => 8,
        }
    }

    /// The address without the family.
    pub fn octets(&self) -> &[u8] {
        match self {
            Address::Ipv4(octets) => octets,
            Address::Ipv6(octets) => octets,
            Address::E164(digits) => digits.as_bytes(),
        }
    }

    /// From the data of an AVP; `None` if [`check`] finds a fault.
    pub fn from_wire(data: &[u8]) -> Option<Address> {
        let (family, octets) = data.split_at_checked(2)?;
        match (family, octets) {
            ([0, 1], octets) => Some(Address::Ipv4(octets.try_into().ok()?)),
            ([0, 2], octets) => Some(Address::Ipv6(octets.try_into().ok()?)),
            ([0, 8], digits) if is_e164(digits) => {
                Some(Address::E164(std::str::from_utf8(digits).ok()?.to_owned()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ipv4(octets) => core::net::Ipv4Addr::from(*octets).fmt(f),
            Address::Ipv6(octets) => core::net::Ipv6Addr::from(*octets).fmt(f),
            Address::E164(digits) => f.write_str(digits),
        }
    }
}

fn is_e164(digits: &[u8]) -> bool {
    (1..=32).contains(&digits.len())
        && digits.iter().enumerate().all(|(at, c)| c.is_ascii_digit() || (at == 0 && *c == b'+'))
}

/// Seconds since 1970 of the four octets of a Time AVP.
///
/// Era as in RFC 6733, 4.3.1 (RFC 5905): high bit set, 1968-01-20 to 2036-02-07T06:28:15Z;
/// clear, from then on until 2104-02-26.
pub fn time_from_wire(ntp: u32) -> i64 {
    let era = if ntp & 0x8000_0000 == 0 { NTP_ERA_SECS } else { 0 };
    era + i64::from(ntp) - NTP_TO_UNIX_SECS
}

/// The four octets of a Time AVP; instants outside of 1968-01-20 to 2104-02-26 wrap around.
pub fn time_to_wire(secs: i64) -> u32 {
    // The era is not sent: the remainder is the value.
    u32::try_from(secs.wrapping_add(NTP_TO_UNIX_SECS).rem_euclid(NTP_ERA_SECS)).unwrap_or_default()
}

/// Are the two names the same DiameterIdentity? ASCII case and a final dot do not matter.
pub fn identity_eq(a: &str, b: &str) -> bool {
    let trim = |name: &str| name.len() - usize::from(name.ends_with('.'));
    a[..trim(a)].eq_ignore_ascii_case(&b[..trim(b)])
}

/// Longest DiameterIdentity: a domain name in text form (RFC 1035, 2.3.4).
const IDENTITY_BYTES_MAX: usize = 255;

/// Why data does not fit its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The length is wrong: 5014.
    Length(&'static str),
    /// The content is wrong: 5004.
    Content(&'static str),
}

/// Holds data against its type; Grouped is checked by walking it.
///
/// # Errors
/// The first fault.
#[inline]
pub fn check(kind: Kind, data: &[u8]) -> Result<(), Fault> {
    match kind {
        Kind::OctetString | Kind::Grouped => Ok(()),
        Kind::Integer32 | Kind::Unsigned32 | Kind::Float32 | Kind::Time | Kind::Enumerated => {
            if data.len() == 4 {
                Ok(())
            } else {
                Err(Fault::Length("4 octets expected"))
            }
        }
        Kind::Integer64 | Kind::Unsigned64 | Kind::Float64 => {
            if data.len() == 8 {
                Ok(())
            } else {
                Err(Fault::Length("8 octets expected"))
            }
        }
        Kind::Utf8String => check_text(data),
        Kind::DiameterIdentity => check_identity(data),
        Kind::Address => check_address(data),
        Kind::DiameterUri => check_uri(data),
        Kind::IpFilterRule => match data.iter().all(|c| c.is_ascii() && *c != 0) {
            true => Ok(()),
            false => Err(Fault::Content("ASCII expected")),
        },
    }
}

#[inline]
fn check_text(data: &[u8]) -> Result<(), Fault> {
    // One pass for what nearly all texts are, ASCII without NUL.
    if is_plain_ascii(data) {
        return Ok(());
    }
    match std::str::from_utf8(data) {
        Ok(_) if data.contains(&0) => Err(Fault::Content("NUL in UTF8String")),
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::Content("not UTF-8")),
    }
}

const HIGH: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;

/// ASCII without NUL.
#[inline]
fn is_plain_ascii(data: &[u8]) -> bool {
    // Where no high bit is set, subtracting borrows into one exactly at or above a zero octet.
    no_word(data, |word| word | word.wrapping_sub(ONES))
}

/// ASCII from `!` to `~`.
#[inline]
fn is_graphic_ascii(data: &[u8]) -> bool {
    // 0x5f lifts 0x21 to 0x80, so what stays below has no high bit; 1 lifts 0x7f to 0x80.
    no_word(data, |word| word | !word.wrapping_add(0x5f * ONES) | word.wrapping_add(ONES))
}

/// Does no octet make `bad` set its high bit? Eight octets a step, the last step overlapping.
#[inline]
fn no_word(data: &[u8], bad: impl Fn(u64) -> u64) -> bool {
    let Some(last) = data.last_chunk::<8>() else {
        let mut word = [b'x'; 8];
        data.iter().zip(&mut word).for_each(|(from, to)| *to = *from);
        return bad(u64::from_le_bytes(word)) & HIGH == 0;
    };
    let (chunks, _) = data.as_chunks::<8>();
    let mut seen = bad(u64::from_le_bytes(*last));
    for chunk in chunks {
        seen |= bad(u64::from_le_bytes(*chunk));
    }
    seen & HIGH == 0
}

fn check_identity(data: &[u8]) -> Result<(), Fault> {
    if data.is_empty() {
        return Err(Fault::Content("empty DiameterIdentity"));
    }
    if data.len() > IDENTITY_BYTES_MAX {
        return Err(Fault::Content("DiameterIdentity longer than 255 octets"));
    }
    // Wider than a domain name's letters, digits, dots and hyphens: `_` and `:` are met in the
    // field, and refusing a peer for its name helps nobody. IDN must come as A-labels.
    if is_graphic_ascii(data) {
        Ok(())
    } else {
        Err(Fault::Content("DiameterIdentity with characters that no name has"))
    }
}

fn check_address(data: &[u8]) -> Result<(), Fault> {
    let Some((family, octets)) = data.split_at_checked(2) else {
        return Err(Fault::Length("Address shorter than its family"));
    };
    match (family, octets.len()) {
        ([0, 1], 4) | ([0, 2], 16) => Ok(()),
        ([0, 1], _) => Err(Fault::Length("an IPv4 address has 4 octets")),
        ([0, 2], _) => Err(Fault::Length("an IPv6 address has 16 octets")),
        ([0, 8], _) if is_e164(octets) => Ok(()),
        ([0, 8], _) => Err(Fault::Content("E.164 digits expected")),
        _ => Err(Fault::Content("address family is not 1, 2 or 8")),
    }
}

fn check_uri(data: &[u8]) -> Result<(), Fault> {
    let graphic = is_graphic_ascii(data);
    let host = data.strip_prefix(b"aaa://").or_else(|| data.strip_prefix(b"aaas://"));
    match host {
        Some([_, ..]) if graphic => Ok(()),
        _ => Err(Fault::Content("not `aaa://` or `aaas://` and a host name")),
    }
}
