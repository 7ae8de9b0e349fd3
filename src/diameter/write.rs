//! Writing messages and AVPs into a buffer.
//!
//! For callers that know what comes next: lengths are patched backwards, padding is zero, V
//! follows the id's vendor. The caller bounds what it writes: AVP and message lengths have 24
//! bits on the wire and stop there (a longer message is malformed for every receiver).

use bytes::BytesMut;

use super::avp::{Avp, AvpFlags, AvpId};
use super::dictionary::Dictionary;
use super::header::{CommandFlags, HEADER_BYTES, Header};
use super::value::{Value, time_to_wire};

const LENGTH_MAX: usize = 0xff_ffff;

/// A group that has been begun: where its header stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a group needs its length: give the mark to `end_group`"]
pub struct Mark(usize);

/// Appends an AVP header for `data_bytes` octets of data.
#[inline]
fn put_avp_header(out: &mut BytesMut, id: AvpId, flags: AvpFlags, data_bytes: usize) {
    let code = id.code.to_be_bytes();
    if id.vendor == 0 {
        let [_, l0, l1, l2] = length_field(8 + data_bytes);
        let flags = flags.0 & !AvpFlags::VENDOR;
        out.extend_from_slice(&[code[0], code[1], code[2], code[3], flags, l0, l1, l2]);
    } else {
        let [_, l0, l1, l2] = length_field(12 + data_bytes);
        let flags = flags.0 | AvpFlags::VENDOR;
        let [v0, v1, v2, v3] = id.vendor.to_be_bytes();
        out.extend_from_slice(&[
            code[0], code[1], code[2], code[3], flags, l0, l1, l2, v0, v1, v2, v3,
        ]);
    }
}

#[inline]
fn length_field(length: usize) -> [u8; 4] {
    u32::try_from(length.min(LENGTH_MAX)).unwrap_or_default().to_be_bytes()
}

/// Appends an AVP with any data, padded with zeros.
#[inline]
pub fn put_bytes(out: &mut BytesMut, id: AvpId, flags: AvpFlags, data: &[u8]) {
    let header = if id.vendor == 0 { 8 } else { 12 };
    out.reserve((header + data.len()).next_multiple_of(4));
    put_avp_header(out, id, flags, data.len());
    out.extend_from_slice(data);
    pad(out, data.len());
}

#[inline]
fn pad(out: &mut BytesMut, data_bytes: usize) {
    const ZEROS: [u8; 3] = [0; 3];
    out.extend_from_slice(&ZEROS[..data_bytes.wrapping_neg() & 3]);
}

/// Appends an AVP with 4 octets of data.
#[inline]
fn put_4(out: &mut BytesMut, id: AvpId, flags: AvpFlags, data: [u8; 4]) {
    let [c0, c1, c2, c3] = id.code.to_be_bytes();
    let [d0, d1, d2, d3] = data;
    if id.vendor == 0 {
        let flags = flags.0 & !AvpFlags::VENDOR;
        out.extend_from_slice(&[c0, c1, c2, c3, flags, 0, 0, 12, d0, d1, d2, d3]);
    } else {
        let flags = flags.0 | AvpFlags::VENDOR;
        let [v0, v1, v2, v3] = id.vendor.to_be_bytes();
        out.extend_from_slice(&[c0, c1, c2, c3, flags, 0, 0, 16, v0, v1, v2, v3, d0, d1, d2, d3]);
    }
}

/// Appends an Unsigned32.
#[inline]
pub fn put_u32(out: &mut BytesMut, id: AvpId, flags: AvpFlags, value: u32) {
    put_4(out, id, flags, value.to_be_bytes());
}

/// Appends an Integer32 or Enumerated.
#[inline]
pub fn put_i32(out: &mut BytesMut, id: AvpId, flags: AvpFlags, value: i32) {
    put_4(out, id, flags, value.to_be_bytes());
}

/// Appends an Unsigned64.
#[inline]
pub fn put_u64(out: &mut BytesMut, id: AvpId, flags: AvpFlags, value: u64) {
    put_bytes(out, id, flags, &value.to_be_bytes());
}

/// Appends an Integer64.
#[inline]
pub fn put_i64(out: &mut BytesMut, id: AvpId, flags: AvpFlags, value: i64) {
    put_bytes(out, id, flags, &value.to_be_bytes());
}

/// Begins a Grouped AVP; what is appended until [`end_group`] is inside.
#[inline]
pub fn begin_group(out: &mut BytesMut, id: AvpId, flags: AvpFlags) -> Mark {
    let mark = Mark(out.len());
    put_avp_header(out, id, flags, 0);
    mark
}

/// Ends the group and sets its length.
#[inline]
pub fn end_group(out: &mut BytesMut, mark: Mark) {
    let length = out.len().saturating_sub(mark.0);
    if let Some(field) = out.get_mut(mark.0 + 5..mark.0 + 8) {
        field.copy_from_slice(&length_field(length)[1..]);
    }
}

/// Appends an AVP with its flags as they are; V follows the vendor.
pub fn put_avp(out: &mut BytesMut, avp: &Avp) {
    put_value(out, avp.id, avp.flags, &avp.value, None);
}

/// Appends a value; with a dictionary its M rule corrects the flags, except in Failed-AVP.
pub(super) fn put_value(
    out: &mut BytesMut,
    id: AvpId,
    flags: AvpFlags,
    value: &Value,
    dictionary: Option<&Dictionary>,
) {
    let flags = match dictionary.and_then(|dictionary| dictionary.avp(id)) {
        Some(definition) => {
            AvpFlags(definition.flags().0 | flags.0 & !(AvpFlags::VENDOR | AvpFlags::MANDATORY))
        }
        None => flags,
    };
    match value {
        Value::Unsigned32(value) => put_u32(out, id, flags, *value),
        Value::Integer32(value) | Value::Enumerated(value) => put_i32(out, id, flags, *value),
        Value::Unsigned64(value) => put_u64(out, id, flags, *value),
        Value::Integer64(value) => put_i64(out, id, flags, *value),
        Value::Float32(value) => put_4(out, id, flags, value.to_be_bytes()),
        Value::Float64(value) => put_bytes(out, id, flags, &value.to_be_bytes()),
        Value::Time(secs) => put_u32(out, id, flags, time_to_wire(*secs)),
        Value::OctetString(octets) => put_bytes(out, id, flags, octets),
        Value::Utf8String(text)
        | Value::DiameterIdentity(text)
        | Value::DiameterUri(text)
        | Value::IpFilterRule(text) => put_bytes(out, id, flags, text.as_bytes()),
        Value::Address(address) => {
            let octets = address.octets();
            put_avp_header(out, id, flags, 2 + octets.len());
            out.extend_from_slice(&address.family().to_be_bytes());
            out.extend_from_slice(octets);
            pad(out, 2 + octets.len());
        }
        Value::Grouped(members) => {
            let mark = begin_group(out, id, flags);
            // Failed-AVP holds what somebody else sent: nothing in it is corrected.
            let inner = if id == super::id::FAILED_AVP { None } else { dictionary };
            for member in members {
                put_value(out, member.id, member.flags, &member.value, inner);
            }
            end_group(out, mark);
        }
    }
}

/// Appends a header; [`end_message`] sets its length. The buffer must be empty before.
#[inline]
pub fn begin_message(
    out: &mut BytesMut,
    flags: CommandFlags,
    code: u32,
    application: u32,
    hop_by_hop: u32,
    end_to_end: u32,
) {
    let header = Header { flags, code, application, hop_by_hop, end_to_end, length: 0, version: 1 };
    out.extend_from_slice(&header.to_bytes(0));
}

/// Sets the Message Length of the message that fills the buffer.
#[inline]
pub fn end_message(out: &mut BytesMut) {
    let length = length_field(out.len());
    if let Some(field) = out.get_mut(1..4) {
        field.copy_from_slice(&length[1..]);
    }
}

/// Sets the Hop-by-Hop Identifier of an encoded message.
#[inline]
pub fn patch_hop_by_hop(message: &mut [u8], hop_by_hop: u32) {
    if let Some(field) = message.get_mut(12..16) {
        field.copy_from_slice(&hop_by_hop.to_be_bytes());
    }
}

/// Sets the End-to-End Identifier of an encoded message.
#[inline]
pub fn patch_end_to_end(message: &mut [u8], end_to_end: u32) {
    if let Some(field) = message.get_mut(16..HEADER_BYTES) {
        field.copy_from_slice(&end_to_end.to_be_bytes());
    }
}

/// Sets or clears T of an encoded message.
#[inline]
pub fn patch_retransmit(message: &mut [u8], retransmit: bool) {
    if let Some(flags) = message.get_mut(4) {
        *flags = (*flags & !CommandFlags::RETRANSMIT)
            | if retransmit { CommandFlags::RETRANSMIT } else { 0 };
    }
}

/// Appends an AVP to an encoded message and corrects its length.
pub fn append_avp(message: &mut BytesMut, id: AvpId, flags: AvpFlags, data: &[u8]) {
    put_bytes(message, id, flags, data);
    end_message(message);
}
