//! The Diameter header (RFC 6733, 3).

use nom::Parser;

use super::view::octets;

/// Octets of the header.
pub const HEADER_BYTES: usize = 20;

/// Command codes of the base protocol and of credit control.
pub mod command {
    /// CER, CEA.
    pub const CAPABILITIES_EXCHANGE: u32 = 257;
    /// RAR, RAA.
    pub const RE_AUTH: u32 = 258;
    /// ACR, ACA.
    pub const ACCOUNTING: u32 = 271;
    /// CCR, CCA.
    pub const CREDIT_CONTROL: u32 = 272;
    /// ASR, ASA.
    pub const ABORT_SESSION: u32 = 274;
    /// DWR, DWA.
    pub const DEVICE_WATCHDOG: u32 = 280;
    /// DPR, DPA.
    pub const DISCONNECT_PEER: u32 = 282;
}

/// Application-Ids.
pub mod application {
    /// Peer messages: CER, DWR, DPR.
    pub const BASE: u32 = 0;
    /// Base accounting: Rf.
    pub const ACCOUNTING: u32 = 3;
    /// Credit control: Ro.
    pub const CREDIT_CONTROL: u32 = 4;
    /// A relay, which serves every application.
    pub const RELAY: u32 = 0xffff_ffff;
}

/// The Command Flags octet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CommandFlags(pub u8);

impl CommandFlags {
    /// R.
    pub const REQUEST: u8 = 0x80;
    /// P.
    pub const PROXIABLE: u8 = 0x40;
    /// E.
    pub const ERROR: u8 = 0x20;
    /// T.
    pub const RETRANSMIT: u8 = 0x10;

    /// R: a request.
    pub const fn is_request(self) -> bool {
        self.0 & CommandFlags::REQUEST != 0
    }

    /// P: may be proxied, relayed or redirected.
    pub const fn is_proxiable(self) -> bool {
        self.0 & CommandFlags::PROXIABLE != 0
    }

    /// E: an answer of the error grammar (RFC 6733, 7.2).
    pub const fn is_error(self) -> bool {
        self.0 & CommandFlags::ERROR != 0
    }

    /// T: potentially retransmitted.
    pub const fn is_retransmit(self) -> bool {
        self.0 & CommandFlags::RETRANSMIT != 0
    }

    /// The reserved bits. Not 0: accepted and worth a log line (H-03).
    pub const fn reserved(self) -> u8 {
        self.0 & 0x0f
    }
}

impl std::fmt::Display for CommandFlags {
    /// `RP--`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (bit, letter) in [(0x80, 'R'), (0x40, 'P'), (0x20, 'E'), (0x10, 'T')] {
            write!(f, "{}", if self.0 & bit == 0 { '-' } else { letter })?;
        }
        Ok(())
    }
}

/// The header's fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// Command Flags.
    pub flags: CommandFlags,
    /// Command Code, 24 bits.
    pub code: u32,
    /// Application-ID.
    pub application: u32,
    /// Hop-by-Hop Identifier.
    pub hop_by_hop: u32,
    /// End-to-End Identifier.
    pub end_to_end: u32,
    /// Message Length as received; 0 in a message that was built here.
    pub length: u32,
    /// Version as received; 1 in a message that was built here.
    pub version: u8,
}

impl Header {
    /// Reads the first 20 octets; `None` if there are fewer. Judges nothing.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let (_, [version_length, flags_code, application, hop_by_hop, end_to_end]) =
            words.parse(bytes).ok()?;
        let [version, l0, l1, l2] = version_length;
        let [flags, c0, c1, c2] = flags_code;
        Some(Header {
            flags: CommandFlags(flags),
            code: u32::from_be_bytes([0, c0, c1, c2]),
            application: u32::from_be_bytes(application),
            hop_by_hop: u32::from_be_bytes(hop_by_hop),
            end_to_end: u32::from_be_bytes(end_to_end),
            length: u32::from_be_bytes([0, l0, l1, l2]),
            version,
        })
    }

    /// The 20 octets, with this Message Length and Version 1.
    pub fn to_bytes(&self, length: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&length.min(0xff_ffff).to_be_bytes());
        bytes[0] = 1;
        bytes[4..8].copy_from_slice(&(self.code & 0xff_ffff).to_be_bytes());
        bytes[4] = self.flags.0 & 0xf0;
        bytes[8..12].copy_from_slice(&self.application.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.hop_by_hop.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.end_to_end.to_be_bytes());
        bytes
    }
}

#[inline]
fn words(input: &[u8]) -> nom::IResult<&[u8], [[u8; 4]; 5], ()> {
    (octets, octets, octets, octets, octets).map(|(a, b, c, d, e)| [a, b, c, d, e]).parse(input)
}
