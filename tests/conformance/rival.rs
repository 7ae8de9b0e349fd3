//! The `diameter` crate 0.7.1: another implementation, for the differential test and the bench.

use std::io::Cursor;
use std::sync::Arc;

use diameter::DiameterMessage;
use diameter::avp::AvpType;
use diameter::dictionary::{AvpDefinition, DEFAULT_DICT_XML};
use farebox::diameter::{Dictionary, Kind};

pub(crate) type RivalDictionary = Arc<diameter::dictionary::Dictionary>;

/// Its type for one of ours. It has no IPFilterRule.
pub(crate) fn rival_type(kind: Kind) -> AvpType {
    match kind {
        Kind::OctetString => AvpType::OctetString,
        Kind::Integer32 => AvpType::Integer32,
        Kind::Integer64 => AvpType::Integer64,
        Kind::Unsigned32 => AvpType::Unsigned32,
        Kind::Unsigned64 => AvpType::Unsigned64,
        Kind::Float32 => AvpType::Float32,
        Kind::Float64 => AvpType::Float64,
        Kind::Grouped => AvpType::Grouped,
        Kind::Address => AvpType::Address,
        Kind::Time => AvpType::Time,
        Kind::Utf8String | Kind::IpFilterRule => AvpType::UTF8String,
        Kind::DiameterIdentity => AvpType::Identity,
        Kind::DiameterUri => AvpType::DiameterURI,
        Kind::Enumerated => AvpType::Enumerated,
    }
}

/// The dictionary that it comes with.
pub(crate) fn own_dictionary() -> diameter::dictionary::Dictionary {
    diameter::dictionary::Dictionary::new(&[&DEFAULT_DICT_XML])
}

/// Its own dictionary, and from ours what it lacks or cannot decode: it refuses a message with
/// an AVP that it does not know.
pub(crate) fn rival_dictionary(ours: &Dictionary) -> RivalDictionary {
    let mut rival = own_dictionary();
    for avp in ours.avps() {
        let vendor_id = (avp.id.vendor != 0).then_some(avp.id.vendor);
        let known = rival.get_avp_type(avp.id.code, vendor_id);
        if known.is_none_or(|known| *known == AvpType::Unknown) {
            let (code, name, m_flag) = (avp.id.code, avp.name.clone(), avp.flags().mandatory());
            let avp_type = rival_type(avp.kind);
            rival.add_avp(AvpDefinition { code, vendor_id, name, avp_type, m_flag });
        }
    }
    Arc::new(rival)
}

/// Reads one message.
pub(crate) fn rival_decode(
    bytes: &[u8],
    dictionary: &RivalDictionary,
) -> diameter::error::Result<DiameterMessage> {
    DiameterMessage::decode_from(&mut Cursor::new(bytes), Arc::clone(dictionary))
}
