//! A message as people read it: one line per AVP, and hex.
//!
//! ```text
//! 0014  Session-Id           263    53 -M-  cg1.ims.example.net;1765531200;7;9f1c4a7e
//! 0190  Multiple-Services…   456    56 -M-
//! 0198    Used-Service-Unit  446    36 -M-
//! ```
//! Bytes that cannot be framed are shown too. Control characters are escaped: what a peer
//! sent must not steer a terminal.

use std::fmt::Write;

use crate::clock::Wall;

use super::avp::{AvpFlags, AvpId};
use super::codec::Limits;
use super::dictionary::{AvpDef, Dictionary, Kind};
use super::header::{HEADER_BYTES, Header};
use super::id;
use super::result_code;
use super::value::{check, time_from_wire};
use super::view::{AvpView, DEPTH_CEILING, bad_avp, read_avp};

/// Octets of data that are shown in hex before `…`.
const HEX_BYTES_MAX: usize = 32;

/// One AVP as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Octet of the message.
    pub offset: usize,
    /// 0 at command level.
    pub depth: usize,
    /// Which AVP.
    pub id: AvpId,
    /// Name, or `1044:99999 (unknown)`.
    pub name: String,
    /// `263`, `872:3GPP`.
    pub code: String,
    /// AVP Length.
    pub length: usize,
    /// `VM-`.
    pub flags: String,
    /// The value; empty for a group.
    pub value: String,
}

/// `CCR-T  Credit-Control-Request  app 4  flags RP--  612 bytes`.
pub fn summary(bytes: &[u8], dictionary: &Dictionary) -> String {
    let Some(header) = Header::parse(bytes) else {
        return format!("{} bytes, less than a header", bytes.len());
    };
    let request = header.flags.is_request();
    let command = dictionary.command(header.code, header.application, request);
    let (short, name) = match command {
        Some(command) => (command.short.clone(), command.name.clone()),
        None => (header.code.to_string(), "(unknown command)".to_owned()),
    };
    let short = short + type_letter(bytes);
    let (application, flags) = (header.application, header.flags);
    format!("{short}  {name}  app {application}  flags {flags}  {} bytes", bytes.len())
}

/// The suffix of a CCR, CCA, ACR or ACA: from CC-Request-Type or Accounting-Record-Type.
pub fn type_letter(bytes: &[u8]) -> &'static str {
    let mut rest = bytes.get(HEADER_BYTES..).unwrap_or(&[]);
    while let Some(raw) = read_avp(rest) {
        let value = raw.data.try_into().ok();
        match (raw.id, value.map(u32::from_be_bytes)) {
            (id::CC_REQUEST_TYPE, Some(1)) => return "-I",
            (id::CC_REQUEST_TYPE, Some(2)) => return "-U",
            (id::CC_REQUEST_TYPE, Some(3)) => return "-T",
            (id::CC_REQUEST_TYPE, Some(4)) => return "-E",
            (id::ACCOUNTING_RECORD_TYPE, Some(1)) => return "-Event",
            (id::ACCOUNTING_RECORD_TYPE, Some(2)) => return "-Start",
            (id::ACCOUNTING_RECORD_TYPE, Some(3)) => return "-Interim",
            (id::ACCOUNTING_RECORD_TYPE, Some(4)) => return "-Stop",
            _ => {}
        }
        rest = raw.after(rest);
    }
    ""
}

/// Every AVP as a line, in the order of the bytes.
pub fn lines(bytes: &[u8], dictionary: &Dictionary) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut ends = vec![bytes.len()];
    let mut at = HEADER_BYTES;
    while let Some(end) = ends.last().copied() {
        if at >= end {
            ends.pop();
            at = at.next_multiple_of(4);
            continue;
        }
        let rest = &bytes[at..end];
        let depth = ends.len() - 1;
        let raw = match read_avp(rest) {
            Some(raw) if lines.len() < Limits::default().avps_max as usize => raw,
            Some(_) => break,
            None => {
                let bad = bad_avp(rest);
                lines.push(Line {
                    offset: at,
                    depth,
                    id: bad.id,
                    name: format!("({})", bad.detail),
                    code: code(bad.id),
                    length: rest.len(),
                    flags: flags(bad.flags),
                    value: octets(rest),
                });
                at = end;
                continue;
            }
        };
        let definition = dictionary.avp(raw.id);
        let group = definition.is_some_and(|definition| definition.kind == Kind::Grouped)
            && depth < DEPTH_CEILING;
        let avp = AvpView { id: raw.id, flags: raw.flags, data: raw.data, offset: at };
        lines.push(Line {
            offset: at,
            depth,
            id: raw.id,
            name: match definition {
                Some(definition) => definition.name.clone(),
                None => format!("{} (unknown)", raw.id),
            },
            code: code(raw.id),
            length: raw.length(),
            flags: flags(raw.flags),
            value: if group { String::new() } else { value(&avp, definition) },
        });
        if group {
            ends.push(at + raw.length());
            at += raw.header_bytes();
        } else {
            at += raw.step(rest);
        }
    }
    lines
}

fn code(id: AvpId) -> String {
    id.to_string()
}

fn flags(flags: AvpFlags) -> String {
    let letter = |bit, letter| if flags.0 & bit == 0 { '-' } else { letter };
    [
        letter(AvpFlags::VENDOR, 'V'),
        letter(AvpFlags::MANDATORY, 'M'),
        letter(AvpFlags::PROTECTED, 'P'),
    ]
    .iter()
    .collect()
}

/// The data of an AVP as text: by its type, or octets if that does not fit.
pub fn value(avp: &AvpView<'_>, definition: Option<&AvpDef>) -> String {
    let Some(definition) = definition else { return octets(avp.data) };
    if check(definition.kind, avp.data).is_err() {
        return format!("{} (does not fit {})", octets(avp.data), definition.kind.name());
    }
    let named = |number: Option<i32>| {
        let number = number.unwrap_or_default();
        match definition.value_name(number) {
            Some(name) => format!("{name} ({number})"),
            None => number.to_string(),
        }
    };
    match definition.kind {
        Kind::Enumerated | Kind::Integer32 => named(avp.integer32()),
        Kind::Unsigned32 => {
            let number = avp.unsigned32().unwrap_or_default();
            match (avp.id, result_code::name(number), i32::try_from(number)) {
                (id::RESULT_CODE | id::EXPERIMENTAL_RESULT_CODE, Some(name), _) => {
                    format!("{name} ({number})")
                }
                (_, _, Ok(small)) => named(Some(small)),
                _ => number.to_string(),
            }
        }
        Kind::Integer64 => avp.integer64().unwrap_or_default().to_string(),
        Kind::Unsigned64 => avp.unsigned64().unwrap_or_default().to_string(),
        Kind::Float32 => avp.float32().unwrap_or_default().to_string(),
        Kind::Float64 => avp.float64().unwrap_or_default().to_string(),
        Kind::Time => {
            Wall::from_secs(time_from_wire(avp.unsigned32().unwrap_or_default())).to_string()
        }
        Kind::Address => avp.address().map(|address| address.to_string()).unwrap_or_default(),
        Kind::Utf8String | Kind::DiameterIdentity | Kind::DiameterUri | Kind::IpFilterRule => {
            escaped(avp.text().unwrap_or_default())
        }
        Kind::OctetString | Kind::Grouped => octets(avp.data),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Hex, with the text if it is printable.
fn octets(data: &[u8]) -> String {
    let mut out = String::new();
    for octet in data.iter().take(HEX_BYTES_MAX) {
        let _ = write!(out, "{octet:02x}");
    }
    if data.len() > HEX_BYTES_MAX {
        let _ = write!(out, "… ({} octets)", data.len());
    }
    let printable = !data.is_empty() && data.iter().all(|c| c.is_ascii_graphic() || *c == b' ');
    if printable {
        let text: String = data.iter().take(2 * HEX_BYTES_MAX).map(|c| char::from(*c)).collect();
        let _ = write!(out, " \"{text}\"");
    }
    out
}

/// The whole tree, with a note behind each line for which `note` has one.
pub fn tree(
    bytes: &[u8],
    dictionary: &Dictionary,
    note: impl Fn(&Line) -> Option<String>,
) -> String {
    let lines = lines(bytes, dictionary);
    let widest = |of: &dyn Fn(&Line) -> usize, least: usize, most: usize| {
        lines.iter().map(of).max().unwrap_or(0).clamp(least, most)
    };
    let name_width = widest(&|line| 2 * line.depth + line.name.chars().count(), 20, 60);
    let code_width = widest(&|line| line.code.len(), 4, 20);
    let value_width = widest(&|line| line.value.chars().count(), 8, 48);
    let mut out = summary(bytes, dictionary);
    out.push('\n');
    for line in &lines {
        let indent = 2 * line.depth;
        let text = format!(
            "{:04x}  {:indent$}{:<name$} {:>code_width$} {:>5} {}  {:<value_width$}  {}",
            line.offset,
            "",
            line.name,
            line.code,
            line.length,
            line.flags,
            line.value,
            note(line).unwrap_or_default(),
            name = name_width.saturating_sub(indent),
        );
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// Sixteen octets a line: `0000: 01 00 …  ....`.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (row, octets) in bytes.chunks(16).enumerate() {
        let _ = write!(out, "{:04x}:", row * 16);
        for octet in octets {
            let _ = write!(out, " {octet:02x}");
        }
        let gap = 3 * (16 - octets.len()) + 2;
        let _ = write!(out, "{:gap$}", "");
        out.extend(octets.iter().map(|c| match c {
            0x20..=0x7e => char::from(*c),
            _ => '.',
        }));
        out.push('\n');
    }
    out
}
