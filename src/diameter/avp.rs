//! An AVP: which one, its flags and its value (RFC 6733, 4.1).

use super::value::{Address, Value};

pub use super::id;

/// Vendor-Id of 3GPP, under which OMA's charging AVPs are registered too.
pub const VENDOR_3GPP: u32 = 10415;

/// What names an AVP: its code within its vendor's space; vendor 0 is the IETF.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AvpId {
    /// AVP Code.
    pub code: u32,
    /// Vendor-ID, 0 if the AVP has none.
    pub vendor: u32,
}

impl AvpId {
    /// An AVP of the IETF.
    pub const fn base(code: u32) -> AvpId {
        AvpId { code, vendor: 0 }
    }

    /// An AVP of 3GPP (or OMA).
    pub const fn tgpp(code: u32) -> AvpId {
        AvpId { code, vendor: VENDOR_3GPP }
    }
}

impl std::fmt::Display for AvpId {
    /// `263`, `872:3GPP`, `1044:99999`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.vendor {
            0 => write!(f, "{}", self.code),
            VENDOR_3GPP => write!(f, "{}:3GPP", self.code),
            vendor => write!(f, "{}:{vendor}", self.code),
        }
    }
}

/// The AVP Flags octet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AvpFlags(pub u8);

impl AvpFlags {
    /// V: a Vendor-ID follows.
    pub const VENDOR: u8 = 0x80;
    /// M: a receiver that does not know the AVP must reject the message.
    pub const MANDATORY: u8 = 0x40;
    /// P: once reserved for end-to-end security; sent as 0.
    pub const PROTECTED: u8 = 0x20;

    /// M set, V as the id needs it.
    pub const fn mandatory_for(id: AvpId) -> AvpFlags {
        AvpFlags(AvpFlags::MANDATORY | AvpFlags::optional_for(id).0)
    }

    /// M clear, V as the id needs it.
    pub const fn optional_for(id: AvpId) -> AvpFlags {
        AvpFlags(if id.vendor == 0 { 0 } else { AvpFlags::VENDOR })
    }

    /// Is V set?
    pub const fn vendor(self) -> bool {
        self.0 & AvpFlags::VENDOR != 0
    }

    /// Is M set?
    pub const fn mandatory(self) -> bool {
        self.0 & AvpFlags::MANDATORY != 0
    }

    /// Is P set?
    pub const fn protected(self) -> bool {
        self.0 & AvpFlags::PROTECTED != 0
    }
}

/// One AVP with an owned value.
#[derive(Clone, Debug, PartialEq)]
pub struct Avp {
    /// Which AVP.
    pub id: AvpId,
    /// Flags as received, or as they should be sent.
    pub flags: AvpFlags,
    /// The value.
    pub value: Value,
}

impl Avp {
    /// With M set; [`super::Message::encode`] corrects M by the dictionary.
    pub fn new(id: AvpId, value: Value) -> Avp {
        Avp { id, flags: AvpFlags::mandatory_for(id), value }
    }

    /// A Grouped AVP.
    pub fn group(id: AvpId, members: Vec<Avp>) -> Avp {
        Avp::new(id, Value::Grouped(members))
    }

    /// An Unsigned32 AVP.
    pub fn u32(id: AvpId, value: u32) -> Avp {
        Avp::new(id, Value::Unsigned32(value))
    }

    /// An Unsigned64 AVP.
    pub fn u64(id: AvpId, value: u64) -> Avp {
        Avp::new(id, Value::Unsigned64(value))
    }

    /// An Integer32 AVP.
    pub fn i32(id: AvpId, value: i32) -> Avp {
        Avp::new(id, Value::Integer32(value))
    }

    /// An Enumerated AVP.
    pub fn enumerated(id: AvpId, value: i32) -> Avp {
        Avp::new(id, Value::Enumerated(value))
    }

    /// A UTF8String AVP.
    pub fn text(id: AvpId, value: impl Into<String>) -> Avp {
        Avp::new(id, Value::Utf8String(value.into()))
    }

    /// A DiameterIdentity AVP.
    pub fn identity(id: AvpId, value: impl Into<String>) -> Avp {
        Avp::new(id, Value::DiameterIdentity(value.into()))
    }

    /// An OctetString AVP.
    pub fn octets(id: AvpId, value: impl Into<bytes::Bytes>) -> Avp {
        Avp::new(id, Value::OctetString(value.into()))
    }

    /// An Address AVP.
    pub fn address(id: AvpId, value: Address) -> Avp {
        Avp::new(id, Value::Address(value))
    }

    /// A Time AVP, seconds since 1970.
    pub fn time(id: AvpId, secs: i64) -> Avp {
        Avp::new(id, Value::Time(secs))
    }
}

/// Reading a list of AVPs: a message's, or a group's.
///
/// The typed readers look at the first AVP of that id; `None` also if its type differs.
pub trait AvpList {
    /// The AVPs in their order.
    fn avps(&self) -> &[Avp];

    /// The first AVP of this id.
    fn find(&self, id: AvpId) -> Option<&Avp> {
        self.avps().iter().find(|avp| avp.id == id)
    }

    /// Every AVP of this id, in order.
    fn all(&self, id: AvpId) -> impl Iterator<Item = &Avp> {
        self.avps().iter().filter(move |avp| avp.id == id)
    }

    /// A UTF8String, DiameterIdentity, DiameterURI or IPFilterRule.
    fn text(&self, id: AvpId) -> Option<&str> {
        self.find(id)?.value.as_text()
    }

    /// An OctetString.
    fn octets(&self, id: AvpId) -> Option<&[u8]> {
        match &self.find(id)?.value {
            Value::OctetString(octets) => Some(octets),
            _ => None,
        }
    }

    /// An Unsigned32.
    fn unsigned32(&self, id: AvpId) -> Option<u32> {
        match self.find(id)?.value {
            Value::Unsigned32(value) => Some(value),
            _ => None,
        }
    }

    /// An Unsigned64.
    fn unsigned64(&self, id: AvpId) -> Option<u64> {
        match self.find(id)?.value {
            Value::Unsigned64(value) => Some(value),
            _ => None,
        }
    }

    /// An Integer32.
    fn integer32(&self, id: AvpId) -> Option<i32> {
        match self.find(id)?.value {
            Value::Integer32(value) => Some(value),
            _ => None,
        }
    }

    /// An Integer64.
    fn integer64(&self, id: AvpId) -> Option<i64> {
        match self.find(id)?.value {
            Value::Integer64(value) => Some(value),
            _ => None,
        }
    }

    /// An Enumerated.
    fn enumerated(&self, id: AvpId) -> Option<i32> {
        match self.find(id)?.value {
            Value::Enumerated(value) => Some(value),
            _ => None,
        }
    }

    /// A Time, in seconds since 1970.
    fn time(&self, id: AvpId) -> Option<i64> {
        match self.find(id)?.value {
            Value::Time(value) => Some(value),
            _ => None,
        }
    }

    /// The members of a Grouped AVP.
    fn group(&self, id: AvpId) -> Option<&[Avp]> {
        self.find(id)?.members()
    }
}

impl AvpList for [Avp] {
    fn avps(&self) -> &[Avp] {
        self
    }
}

impl Avp {
    /// The members, if the value is Grouped.
    pub fn members(&self) -> Option<&[Avp]> {
        match &self.value {
            Value::Grouped(members) => Some(members),
            _ => None,
        }
    }
}
