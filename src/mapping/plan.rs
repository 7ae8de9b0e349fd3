//! The encode plan that a mapping is compiled to, and the one place where a value becomes the
//! octets of an AVP.

use bytes::BytesMut;

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Span;
use crate::diagnostic::suggest;
use crate::diameter::AvpDef;
use crate::diameter::AvpFlags;
use crate::diameter::AvpId;
use crate::diameter::Kind;
use crate::diameter::put_bytes;
use crate::diameter::value::{Fault, check, time_to_wire};

use super::resolve::Source;
use super::term::Term;
use super::value::Value;

/// Most octets that the mapped AVPs of one message may have together.
pub(super) const MESSAGE_BYTES_MAX: usize = 0xFF_FFFF - 4096;
/// Most AVPs that are tried for one message.
pub(super) const AVPS_MAX: u32 = 100_000;

/// One AVP of the message or of a group, with everything the dictionary says of it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) avp: Target,
    /// Most instances in its place.
    pub(super) max: Option<u32>,
    pub(super) blocks: Vec<Block>,
    /// Instances with such a member are left out.
    pub(super) unless: Vec<Predicate>,
}

/// Which AVP is written, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) id: AvpId,
    pub(super) flags: AvpFlags,
    pub(super) kind: Kind,
    /// Names of values, of an Enumerated.
    pub(super) values: Vec<(i32, String)>,
}

/// One right-hand side.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// `file:line`.
    pub(super) place: String,
    pub(super) each: Option<Term>,
    pub(super) when: Option<Term>,
    pub(super) body: Body,
}

/// What a block writes.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// The same octets each time: the whole AVP.
    Constant(Vec<u8>),
    Value(Source),
    /// One of several encoded AVPs, chosen by a value.
    Select {
        from: Term,
        table: Vec<(String, Vec<u8>)>,
        otherwise: Otherwise,
    },
    /// `required`: positions in `steps` of members that the group cannot be without;
    /// `send_empty`: it is sent even without members.
    Group {
        steps: Vec<Step>,
        required: Vec<usize>,
        send_empty: bool,
    },
}

/// What a value that the table does not have leads to.
#[derive(Clone, Debug)]
pub(super) enum Otherwise {
    Omit,
    Fail,
    Constant(Vec<u8>),
}

/// A member and its data.
#[derive(Clone, Debug)]
pub(super) struct Predicate {
    pub(super) member: AvpId,
    pub(super) data: Vec<u8>,
}

/// Why a value does not become an AVP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The AVP is Enumerated and has no value of this name.
    UnknownName(String),
    /// What was expected.
    Detail(String),
}

impl Target {
    /// How an AVP of the dictionary is written.
    pub(super) fn of(def: &AvpDef) -> Target {
        Target {
            name: def.name.clone(),
            id: def.id,
            flags: def.flags(),
            kind: def.kind,
            values: def.values.clone(),
        }
    }

    /// A constant of the file as (whole AVP, data alone). `plain` text may be a number.
    pub(super) fn constant(&self, text: &str, plain: bool) -> Result<(Vec<u8>, Vec<u8>), Misfit> {
        let number = text.parse::<i64>().ok().filter(|_| plain && !self.is_text());
        let named = self.values.iter().find(|(_, name)| name == text).map(|(number, _)| *number);
        let value = match (named, number) {
            (Some(number), _) => Value::Int(number.into()),
            (None, Some(number)) => Value::Int(number),
            (None, None) => Value::Text(text.to_owned()),
        };
        let mut out = BytesMut::new();
        self.put(&mut out, &value)?;
        let header = if self.flags.vendor() { 12 } else { 8 };
        let length = match *out {
            [_, _, _, _, _, a, b, c, ..] => {
                usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
            }
            _ => 0,
        };
        let data = out.get(header..length).unwrap_or_default().to_vec();
        Ok((out.to_vec(), data))
    }

    /// FB0108 or FB0113 for a constant that the AVP does not hold.
    pub(super) fn misfit_problem(&self, misfit: &Misfit, span: &Span) -> Diagnostic {
        let name = match misfit {
            Misfit::UnknownName(name) => name,
            Misfit::Detail(why) => {
                let message = format!("the value does not fit AVP `{}`: {why}", self.name);
                return Diagnostic::error(Code::FB0113, message).at(span);
            }
        };
        let known = self.values.iter().map(|(_, known)| known.as_str());
        let message = format!("AVP `{}` has no value `{name}`", self.name);
        let problem = Diagnostic::error(Code::FB0108, message).at(span);
        match suggest(name, known.clone()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None if self.values.is_empty() => problem.help("write the number"),
            None => {
                let all: Vec<&str> = known.take(24).collect();
                problem.help(format!("values: {}", all.join(" ")))
            }
        }
    }

    /// Appends the AVP with this value; nothing is appended if it does not fit.
    pub(super) fn put(&self, out: &mut BytesMut, value: &Value) -> Result<(), Misfit> {
        match (self.kind, value) {
            (Kind::Integer32, Value::Int(number)) => {
                let number = self.number::<i32>(*number, "-2^31 to 2^31-1")?;
                self.put_octets(out, &number.to_be_bytes())
            }
            (Kind::Unsigned32, Value::Int(number)) => {
                let number = self.number::<u32>(*number, "0 to 2^32-1")?;
                self.put_octets(out, &number.to_be_bytes())
            }
            (Kind::Unsigned64, Value::Int(number)) => {
                let number = self.number::<u64>(*number, "0 to 2^64-1")?;
                self.put_octets(out, &number.to_be_bytes())
            }
            (Kind::Integer64, Value::Int(number)) => self.put_octets(out, &number.to_be_bytes()),
            (Kind::Float32, Value::Int(number)) => {
                let number = self.number::<i16>(*number, "-2^15 to 2^15-1")?;
                self.put_octets(out, &f32::from(number).to_be_bytes())
            }
            (Kind::Float64, Value::Int(number)) => {
                let number = self.number::<i32>(*number, "-2^31 to 2^31-1")?;
                self.put_octets(out, &f64::from(number).to_be_bytes())
            }
            (Kind::Enumerated, _) => self.put_octets(out, &self.enumerated(value)?.to_be_bytes()),
            (Kind::Time, Value::Int(secs)) => self.put_octets(out, &time(*secs)?),
            (Kind::Address, Value::Text(text)) => self.put_octets(out, &address(text)?),
            (Kind::OctetString, Value::Text(text)) => self.put_octets(out, text.as_bytes()),
            (Kind::OctetString | Kind::Address, Value::Bytes(octets)) => {
                self.put_octets(out, octets)
            }
            (Kind::Grouped, _) => Err(self.unsuited(value)),
            (_, Value::Text(text)) if self.is_text() => self.put_octets(out, text.as_bytes()),
            (_, Value::Bytes(octets)) if self.is_text() => self.put_octets(out, octets),
            (_, Value::Int(number)) if self.is_text() => {
                self.put_octets(out, number.to_string().as_bytes())
            }
            _ => Err(self.unsuited(value)),
        }
    }

    /// Is it one of the types that hold text?
    pub(super) fn is_text(&self) -> bool {
        matches!(
            self.kind,
            Kind::Utf8String | Kind::DiameterIdentity | Kind::DiameterUri | Kind::IpFilterRule
        )
    }

    fn put_octets(&self, out: &mut BytesMut, octets: &[u8]) -> Result<(), Misfit> {
        if octets.len() > MESSAGE_BYTES_MAX {
            let length = octets.len();
            return Err(Misfit::Detail(format!("{length} octets are more than a message holds")));
        }
        match check(self.kind, octets) {
            Ok(()) => put_bytes(out, self.id, self.flags, octets),
            Err(Fault::Length(why) | Fault::Content(why)) => {
                return Err(Misfit::Detail(why.to_owned()));
            }
        }
        Ok(())
    }

    fn number<T: TryFrom<i64>>(&self, number: i64, range: &str) -> Result<T, Misfit> {
        T::try_from(number).map_err(|_| {
            Misfit::Detail(format!("{number} is out of range: {} is {range}", self.kind.name()))
        })
    }

    /// The number of an Enumerated's name, or the number itself: enums are open.
    fn enumerated(&self, value: &Value) -> Result<i32, Misfit> {
        match value {
            Value::Int(number) => self.number(*number, "-2^31 to 2^31-1"),
            Value::Text(name) => match self.values.iter().find(|(_, known)| known == name) {
                Some((number, _)) => Ok(*number),
                None => Err(Misfit::UnknownName(name.clone())),
            },
            _ => Err(self.unsuited(value)),
        }
    }

    fn unsuited(&self, value: &Value) -> Misfit {
        Misfit::Detail(format!("{} cannot hold {}", self.kind.name(), value.describe()))
    }
}

fn time(secs: i64) -> Result<[u8; 4], Misfit> {
    // 1968-01-20T03:14:08Z and 2104-02-26T09:42:23Z, RFC 6733, 4.3.1.
    if (-61_505_152..=4_233_462_143).contains(&secs) {
        Ok(time_to_wire(secs).to_be_bytes())
    } else {
        Err(Misfit::Detail(format!("{secs} s is outside of 1968 to 2104")))
    }
}

/// IPv4, IPv6, or an E.164 number, with its address family.
fn address(text: &str) -> Result<Vec<u8>, Misfit> {
    let (family, octets) = match text.parse() {
        Ok(core::net::IpAddr::V4(address)) => (1, address.octets().to_vec()),
        Ok(core::net::IpAddr::V6(address)) => (2, address.octets().to_vec()),
        Err(_) => (8, text.as_bytes().to_vec()),
    };
    Ok([vec![0, family], octets].concat())
}
