//! A message as an owned tree: for building, and for comfortable reading.

use bytes::{Bytes, BytesMut};

use super::avp::{Avp, AvpId, AvpList};
use super::dictionary::Dictionary;
use super::header::{CommandFlags, HEADER_BYTES, Header};
use super::write::{end_message, put_value};

/// Header and AVPs. `header.length` and `header.version` are what was received; encoding
/// computes the length and writes version 1.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The AVPs in their order.
    pub avps: Vec<Avp>,
}

impl Message {
    /// A request without AVPs; identifiers 0, T clear.
    pub fn request(code: u32, application: u32, proxiable: bool) -> Message {
        let proxiable = if proxiable { CommandFlags::PROXIABLE } else { 0 };
        let flags = CommandFlags(CommandFlags::REQUEST | proxiable);
        let header = Header { flags, code, application, version: 1, ..Header::default() };
        Message { header, avps: Vec::new() }
    }

    /// An answer without AVPs: R, E and T clear, P and both identifiers as in the request.
    pub fn answer_to(request: &Header) -> Message {
        let flags = CommandFlags(request.flags.0 & CommandFlags::PROXIABLE);
        Message { header: Header { flags, length: 0, version: 1, ..*request }, avps: Vec::new() }
    }

    /// Appends an AVP.
    pub fn push(&mut self, avp: Avp) {
        self.avps.push(avp);
    }

    /// The bytes. M of known AVPs is set or cleared as the dictionary says (not inside
    /// Failed-AVP), V as the vendor needs it, reserved bits are clear.
    pub fn encode(&self, dictionary: &Dictionary) -> Bytes {
        self.encode_with(Some(dictionary))
    }

    /// The bytes with every M and P bit as it is in the tree.
    pub fn encode_as_is(&self) -> Bytes {
        self.encode_with(None)
    }

    fn encode_with(&self, dictionary: Option<&Dictionary>) -> Bytes {
        let length = HEADER_BYTES + self.avps.iter().map(Avp::padded_len).sum::<usize>();
        let mut out = BytesMut::with_capacity(length);
        out.extend_from_slice(&self.header.to_bytes(0));
        for avp in &self.avps {
            put_value(&mut out, avp.id, avp.flags, &avp.value, dictionary);
        }
        end_message(&mut out);
        out.freeze()
    }

    /// The first AVP of this id.
    pub fn find(&self, id: AvpId) -> Option<&Avp> {
        self.avps.find(id)
    }

    /// Every AVP of this id.
    pub fn all(&self, id: AvpId) -> impl Iterator<Item = &Avp> {
        self.avps.all(id)
    }

    /// The text of the first AVP of this id.
    pub fn text(&self, id: AvpId) -> Option<&str> {
        self.avps.text(id)
    }

    /// The Unsigned32 of the first AVP of this id.
    pub fn unsigned32(&self, id: AvpId) -> Option<u32> {
        self.avps.unsigned32(id)
    }

    /// The Unsigned64 of the first AVP of this id.
    pub fn unsigned64(&self, id: AvpId) -> Option<u64> {
        self.avps.unsigned64(id)
    }

    /// The Integer32 of the first AVP of this id.
    pub fn integer32(&self, id: AvpId) -> Option<i32> {
        self.avps.integer32(id)
    }

    /// The Enumerated of the first AVP of this id.
    pub fn enumerated(&self, id: AvpId) -> Option<i32> {
        self.avps.enumerated(id)
    }

    /// The Time of the first AVP of this id, seconds since 1970.
    pub fn time(&self, id: AvpId) -> Option<i64> {
        self.avps.time(id)
    }

    /// The members of the first AVP of this id.
    pub fn group(&self, id: AvpId) -> Option<&[Avp]> {
        self.avps.group(id)
    }
}
