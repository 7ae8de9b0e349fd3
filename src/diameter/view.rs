//! A message where it lies: a walk over the bytes that allocates nothing.
//!
//! ```text
//!  AVP Code (4) | flags V M P r r r r r (1) | AVP Length (3) | Vendor-ID (4, if V) | data | pad
//! ```
//! Every step of a walk consumes at least 8 octets or ends it (F-04).

use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::map_opt;

use super::avp::{AvpFlags, AvpId};
use super::codec::Limits;
use super::deframe::FrameError;
use super::dictionary::{Dictionary, Kind};
use super::header::{CommandFlags, HEADER_BYTES, Header};
use super::id;
use super::problem::ProblemKind;
use super::value::{Address, Fault, check, time_from_wire};

/// A whole message in a slice.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: Header,
}

/// One AVP in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvpView<'a> {
    /// Which AVP. Vendor-ID 0 with V set reads as vendor 0.
    pub id: AvpId,
    /// Flags as received.
    pub flags: AvpFlags,
    /// The data without padding.
    pub data: &'a [u8],
    /// Octet of the message at which the AVP begins.
    pub offset: usize,
}

/// What is wrong first, without words: see [`View::first_problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The situation.
    pub kind: ProblemKind,
    /// Octet of the message.
    pub offset: usize,
    /// The offending AVP, if it is about one.
    pub avp: Option<AvpId>,
}

impl<'a> View<'a> {
    /// The message that fills `bytes`.
    ///
    /// # Errors
    /// When Message Length is not the number of octets, or is not a legal length.
    pub fn new(bytes: &'a [u8], limits: &Limits) -> Result<View<'a>, FrameError> {
        let header = Header::parse(bytes).ok_or(FrameError::Truncated { have: bytes.len() })?;
        let length = super::deframe::checked_length(header.length, limits)?;
        if length != bytes.len() {
            return Err(FrameError::Truncated { have: bytes.len() });
        }
        Ok(View { bytes, header })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All octets.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The AVPs; ends at the first whose length does not fit.
    pub fn avps(&self) -> AvpViews<'a> {
        AvpViews { rest: self.bytes.get(HEADER_BYTES..).unwrap_or(&[]), offset: HEADER_BYTES }
    }

    /// The first AVP of this id at command level.
    pub fn find(&self, id: AvpId) -> Option<AvpView<'a>> {
        self.avps().find(|avp| avp.id == id)
    }

    /// Walks everything, groups included, with every type checked against the dictionary.
    ///
    /// The same judgement as [`super::decode`], without words and without allocation.
    pub fn first_problem(&self, dictionary: &Dictionary, limits: &Limits) -> Option<Finding> {
        if let Some((kind, offset)) = header_problem(&self.header) {
            return Some(Finding { kind, offset, avp: None });
        }
        walk(self.bytes, dictionary, limits).err()
    }
}

/// What is wrong with a header, lengths apart.
pub(super) fn header_problem(header: &Header) -> Option<(ProblemKind, usize)> {
    if header.version != 1 {
        return Some((ProblemKind::UnsupportedVersion, 0));
    }
    let both = CommandFlags::REQUEST | CommandFlags::ERROR;
    (header.flags.0 & both == both).then_some((ProblemKind::InvalidHeaderBits, 4))
}

/// The deepest nesting any [`Limits`] can allow.
pub(super) const DEPTH_CEILING: usize = 64;

fn walk(bytes: &[u8], dictionary: &Dictionary, limits: &Limits) -> Result<(), Finding> {
    let depth_max = usize::from(limits.depth_max).min(DEPTH_CEILING);
    // What follows the groups around the place, the outermost first.
    let mut after = [&bytes[..0]; DEPTH_CEILING];
    let mut depth = 0;
    let mut count = 0;
    let mut rest = bytes.get(HEADER_BYTES..).unwrap_or(&[]);
    loop {
        while rest.is_empty() {
            if depth == 0 {
                return Ok(());
            }
            depth -= 1;
            rest = after[depth];
        }
        let found =
            |kind, avp| Err(Finding { kind, offset: distance(bytes, rest), avp: Some(avp) });
        let Some(raw) = read_avp(rest) else {
            return found(ProblemKind::InvalidAvpLength, bad_avp(rest).id);
        };
        count += 1;
        if count > limits.avps_max {
            return found(ProblemKind::LimitExceeded, raw.id);
        }
        match dictionary.kind(raw.id) {
            None if raw.flags.mandatory() => return found(ProblemKind::UnknownAvp, raw.id),
            None => {}
            // What Failed-AVP holds is known to be wrong; its content is not judged (R-17).
            Some(Kind::Grouped) if raw.id == id::FAILED_AVP => {}
            Some(Kind::Grouped) if depth >= depth_max => {
                return found(ProblemKind::LimitExceeded, raw.id);
            }
            Some(Kind::Grouped) => {
                after[depth] = raw.after(rest);
                depth += 1;
                rest = raw.data;
                continue;
            }
            Some(kind) => {
                if let Err(fault) = check(kind, raw.data) {
                    return found(ProblemKind::from(fault), raw.id);
                }
            }
        }
        rest = raw.after(rest);
    }
}

/// Octets from the beginning of `whole` to that of `part`, which lies inside of it.
fn distance(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

impl From<Fault> for ProblemKind {
    fn from(fault: Fault) -> ProblemKind {
        match fault {
            Fault::Length(_) => ProblemKind::InvalidAvpLength,
            Fault::Content(_) => ProblemKind::InvalidAvpValue,
        }
    }
}

/// An AVP whose length fits what follows it.
#[derive(Clone, Copy)]
pub(super) struct RawAvp<'a> {
    pub(super) id: AvpId,
    pub(super) flags: AvpFlags,
    /// The data without padding.
    pub(super) data: &'a [u8],
}

impl<'a> RawAvp<'a> {
    /// Octets of the header, 8 or 12.
    #[inline]
    pub(super) fn header_bytes(&self) -> usize {
        if self.flags.vendor() { 12 } else { 8 }
    }

    /// AVP Length.
    #[inline]
    pub(super) fn length(&self) -> usize {
        self.header_bytes() + self.data.len()
    }

    /// Octets to the next AVP; of the last one the padding may be missing.
    #[inline]
    pub(super) fn step(&self, input: &[u8]) -> usize {
        self.length().next_multiple_of(4).min(input.len())
    }

    /// What follows in `input`, at whose beginning the AVP stands.
    #[inline]
    pub(super) fn after(&self, input: &'a [u8]) -> &'a [u8] {
        input.get(self.length().next_multiple_of(4)..).unwrap_or(&[])
    }
}

/// Reads the AVP at the beginning of `input`; `None` if its header or length does not fit.
#[inline(always)]
pub(super) fn read_avp(input: &[u8]) -> Option<RawAvp<'_>> {
    let (_, (code, flags, length, header, vendor)) = avp_header(input).ok()?;
    let data = input.get(header..length)?;
    Some(RawAvp { id: AvpId { code, vendor }, flags: AvpFlags(flags), data })
}

type AvpHeader = (u32, u8, usize, usize, u32);

#[inline(always)]
fn avp_header(input: &[u8]) -> nom::IResult<&[u8], AvpHeader, ()> {
    let (rest, [c0, c1, c2, c3, flags, l0, l1, l2]) = octets(input)?;
    let code = u32::from_be_bytes([c0, c1, c2, c3]);
    let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
    // The flag decides, not the vendor's value: V with Vendor-ID 0 has 12 octets too (F-05).
    if flags & AvpFlags::VENDOR == 0 {
        return Ok((rest, (code, flags, length, 8, 0)));
    }
    let (rest, vendor) = octets(rest)?;
    Ok((rest, (code, flags, length, 12, u32::from_be_bytes(vendor))))
}

/// The next N octets. One load where nom's own number parsers go octet by octet.
#[inline(always)]
pub(super) fn octets<const N: usize>(input: &[u8]) -> nom::IResult<&[u8], [u8; N], ()> {
    map_opt(take(N), |octets: &[u8]| octets.first_chunk().copied()).parse(input)
}

/// An AVP header that does not fit.
pub(super) struct BadAvp {
    pub(super) id: AvpId,
    pub(super) flags: AvpFlags,
    pub(super) detail: &'static str,
}

/// Why [`read_avp`] read nothing. A header that is cut off is padded with zeros, as RFC 6733,
/// 7.1.5 says.
#[cold]
pub(super) fn bad_avp(input: &[u8]) -> BadAvp {
    let mut padded = [0; 12];
    let have = input.len().min(padded.len());
    padded[..have].copy_from_slice(&input[..have]);
    let (code, flags, length, header, vendor) = match avp_header(&padded) {
        Ok((_, fields)) => fields,
        Err(_) => (0, 0, 0, padded.len(), 0),
    };
    let detail = if input.len() < header {
        "fewer octets left than an AVP header has"
    } else if length < header {
        "AVP Length below the AVP's header"
    } else {
        "AVP Length beyond the end"
    };
    BadAvp { id: AvpId { code, vendor }, flags: AvpFlags(flags), detail }
}

/// Iterator over AVPs that stand side by side.
#[derive(Clone, Debug)]
pub struct AvpViews<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for AvpViews<'a> {
    type Item = AvpView<'a>;

    #[inline]
    fn next(&mut self) -> Option<AvpView<'a>> {
        let raw = read_avp(self.rest)?;
        let avp = AvpView { id: raw.id, flags: raw.flags, data: raw.data, offset: self.offset };
        self.offset += raw.step(self.rest);
        self.rest = raw.after(self.rest);
        Some(avp)
    }
}

impl<'a> AvpView<'a> {
    /// Octets of this AVP's header.
    pub fn header_bytes(&self) -> usize {
        if self.flags.vendor() { 12 } else { 8 }
    }

    /// The AVP Length field.
    pub fn length(&self) -> usize {
        self.header_bytes() + self.data.len()
    }

    /// As Unsigned32; `None` unless there are 4 octets.
    #[inline]
    pub fn unsigned32(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.data.try_into().ok()?))
    }

    /// As Integer32 or Enumerated; `None` unless there are 4 octets.
    #[inline]
    pub fn integer32(&self) -> Option<i32> {
        Some(i32::from_be_bytes(self.data.try_into().ok()?))
    }

    /// As Enumerated; `None` unless there are 4 octets.
    #[inline]
    pub fn enumerated(&self) -> Option<i32> {
        self.integer32()
    }

    /// As Unsigned64; `None` unless there are 8 octets.
    #[inline]
    pub fn unsigned64(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.data.try_into().ok()?))
    }

    /// As Integer64; `None` unless there are 8 octets.
    #[inline]
    pub fn integer64(&self) -> Option<i64> {
        Some(i64::from_be_bytes(self.data.try_into().ok()?))
    }

    /// As Float32; `None` unless there are 4 octets.
    pub fn float32(&self) -> Option<f32> {
        Some(f32::from_be_bytes(self.data.try_into().ok()?))
    }

    /// As Float64; `None` unless there are 8 octets.
    pub fn float64(&self) -> Option<f64> {
        Some(f64::from_be_bytes(self.data.try_into().ok()?))
    }

    /// As Time, seconds since 1970; `None` unless there are 4 octets.
    pub fn time(&self) -> Option<i64> {
        self.unsigned32().map(time_from_wire)
    }

    /// As text; `None` if it is not UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.data).ok()
    }

    /// As Address; `None` if the family or its length is not one of ours.
    pub fn address(&self) -> Option<Address> {
        Address::from_wire(self.data)
    }

    /// The members of a Grouped AVP.
    pub fn group(&self) -> AvpViews<'a> {
        AvpViews { rest: self.data, offset: self.offset + self.header_bytes() }
    }
}
