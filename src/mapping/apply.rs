//! Value tree → AVPs, along the encode plan; and where each of them came from.
//!
//! One walk serves both: what is explained is what is sent. An absent value leaves its AVP out,
//! and so does a group without members. Nothing is truncated or guessed: a value that does not
//! fit is an error that names AVP, place and field, and then nothing is written at all.

use bytes::BytesMut;

use crate::diagnostic::Code;
use crate::diameter::AvpId;
use crate::diameter::begin_group;
use crate::diameter::end_group;

use super::Mapping;
use super::plan::{AVPS_MAX, Block, Body, MESSAGE_BYTES_MAX, Misfit, Otherwise, Predicate, Step};
use super::resolve::Source;
use super::term::{Item, Scope, Term};
use super::value::Value;

/// Where an AVP of a message came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Names from the message down: `Service-Information/IMS-Information/Cause-Code`.
    pub path: String,
    /// The AVP.
    pub avp: AvpId,
    /// `file:line` of the mapping.
    pub place: String,
    /// Fields and filters in the caller's words, `constant`, or empty for a group.
    pub source: String,
}

/// Why a trigger cannot become a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// A group is there but lacks a member that it cannot be without.
    #[error("`{avp}` needs a value{}", of(.field))]
    MissingValue {
        /// Path of the AVP.
        avp: String,
        /// `file:line` of the mapping.
        place: String,
        /// The field that would give it.
        field: Option<String>,
    },
    /// The value cannot be put into the AVP.
    #[error("the value{} does not fit `{avp}`: {detail}", of(.field))]
    DoesNotFit {
        /// Path of the AVP.
        avp: String,
        /// `file:line` of the mapping.
        place: String,
        /// The field that gave it.
        field: Option<String>,
        /// What was expected.
        detail: String,
    },
    /// The AVP is Enumerated, or mapped by a table, and the value is not one of its names.
    #[error("`{value}`{} is not a value of `{avp}`", of(.field))]
    UnknownEnum {
        /// Path of the AVP.
        avp: String,
        /// `file:line` of the mapping.
        place: String,
        /// The field that gave it.
        field: Option<String>,
        /// The value.
        value: String,
    },
}

fn of(field: &Option<String>) -> String {
    field.as_ref().map_or_else(String::new, |field| format!(" of `{field}`"))
}

impl MappingError {
    /// The diagnostic code.
    pub fn code(&self) -> Code {
        match self {
            MappingError::MissingValue { .. } => Code::FB0109,
            MappingError::DoesNotFit { .. } => Code::FB0113,
            MappingError::UnknownEnum { .. } => Code::FB0108,
        }
    }

    /// Path of the AVP in the message.
    pub fn avp(&self) -> &str {
        match self {
            MappingError::MissingValue { avp, .. }
            | MappingError::DoesNotFit { avp, .. }
            | MappingError::UnknownEnum { avp, .. } => avp,
        }
    }

    /// `file:line` of the mapping.
    pub fn place(&self) -> &str {
        match self {
            MappingError::MissingValue { place, .. }
            | MappingError::DoesNotFit { place, .. }
            | MappingError::UnknownEnum { place, .. } => place,
        }
    }

    /// The trigger's field, if one is known: `subscriber[0].value`.
    pub fn field(&self) -> Option<&str> {
        match self {
            MappingError::MissingValue { field, .. }
            | MappingError::DoesNotFit { field, .. }
            | MappingError::UnknownEnum { field, .. } => field.as_deref(),
        }
    }

    /// The field as a JSON Pointer (RFC 6901): `/subscriber/0/value`.
    pub fn pointer(&self) -> Option<String> {
        let field = self.field()?;
        let mut pointer = String::new();
        for part in field.split('.').flat_map(|part| part.split('[')) {
            let part = part.trim_end_matches(']').trim_matches('\'');
            pointer.push('/');
            pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
        }
        Some(pointer)
    }
}

impl Mapping {
    /// Appends the mapped AVPs of a message: all but the reserved ones.
    ///
    /// # Errors
    /// Every value that is missing or does not fit; then nothing is appended.
    pub fn apply(&self, tree: &Value, out: &mut BytesMut) -> Result<(), Vec<MappingError>> {
        let begin = out.len();
        let errors = Walk::new(out).run(self, tree).errors;
        if errors.is_empty() {
            return Ok(());
        }
        out.truncate(begin);
        Err(errors)
    }

    /// Where each AVP came from, in the order of the bytes that [`Mapping::apply`] appends: one
    /// entry per AVP, a group before its members.
    pub fn explain(&self, tree: &Value) -> Vec<Provenance> {
        let mut out = BytesMut::new();
        let walk = Walk { trace: Some(Vec::new()), ..Walk::new(&mut out) };
        walk.run(self, tree).trace.unwrap_or_default()
    }
}

/// What became of a member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Written,
    Absent,
    Failed,
}

struct Walk<'w> {
    out: &'w mut BytesMut,
    begin: usize,
    /// Names of the groups around.
    path: Vec<&'w str>,
    errors: Vec<MappingError>,
    trace: Option<Vec<Provenance>>,
    /// AVPs that may still be tried.
    left: u32,
}

impl<'w> Walk<'w> {
    fn new(out: &'w mut BytesMut) -> Walk<'w> {
        let begin = out.len();
        Walk { out, begin, path: Vec::new(), errors: Vec::new(), trace: None, left: AVPS_MAX }
    }

    fn run(mut self, mapping: &'w Mapping, tree: &Value) -> Walk<'w> {
        let scope = Scope::of_tree(tree);
        for step in &mapping.steps {
            self.step(step, &scope);
        }
        self
    }

    fn step(&mut self, step: &'w Step, scope: &Scope<'_>) -> Done {
        let (errors, mut written) = (self.errors.len(), 0);
        self.path.push(&step.avp.name);
        for block in &step.blocks {
            self.block(step, block, scope, &mut written);
        }
        self.path.pop();
        match () {
            () if self.errors.len() > errors => Done::Failed,
            () if written > 0 => Done::Written,
            () => Done::Absent,
        }
    }

    fn block(&mut self, step: &'w Step, block: &'w Block, scope: &Scope<'_>, written: &mut u32) {
        let Some(each) = &block.each else {
            return self.instance(step, block, scope, written);
        };
        let elements = match each.elements(scope) {
            Ok(elements) => elements,
            Err(detail) => return self.does_not_fit(block, each.field(scope), detail),
        };
        for (position, value) in elements.iter().enumerate() {
            let item = Item { value, position, each, scope: *scope };
            self.instance(step, block, &Scope { item: Some(&item), ..*scope }, written);
        }
    }

    /// Is the message still within its limits? The first block beyond them is reported, and
    /// nothing more is written.
    fn may_go_on(&mut self, block: &Block) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let detail = match self.out.len() - self.begin {
            octets if octets > MESSAGE_BYTES_MAX => format!("{MESSAGE_BYTES_MAX} octets"),
            _ if self.left == 0 => format!("{AVPS_MAX} AVPs"),
            _ => return true,
        };
        self.left = 0;
        self.does_not_fit(block, None, format!("the message would have more than {detail}"));
        false
    }

    /// What one block writes for one element.
    fn instance(&mut self, step: &'w Step, block: &'w Block, scope: &Scope<'_>, written: &mut u32) {
        if !self.may_go_on(block) {
            return;
        }
        match block.when.as_ref().map(|when| when.holds(scope)) {
            Some(Ok(false)) => return,
            Some(Err(detail)) => {
                let field = block.when.as_ref().and_then(|when| when.field(scope));
                return self.does_not_fit(block, field, detail);
            }
            None | Some(Ok(true)) => {}
        }
        match &block.body {
            Body::Constant(octets) => {
                self.out.extend_from_slice(octets);
                self.written(step, block, written, || "constant".to_owned());
            }
            Body::Value(source) => self.value(step, block, source, scope, written),
            Body::Select { from, table, otherwise } => {
                self.select(step, block, (from, table, otherwise), scope, written);
            }
            Body::Group { steps, required, send_empty } => {
                self.group(step, block, (steps, required, *send_empty), scope, written);
            }
        }
    }

    fn value(
        &mut self,
        step: &'w Step,
        block: &'w Block,
        source: &'w Source,
        scope: &Scope<'_>,
        written: &mut u32,
    ) {
        let value = match source.read(scope) {
            Ok(value) => value,
            Err(detail) => return self.does_not_fit(block, source.field(scope), detail),
        };
        let of_list = matches!(&*value, Value::List(_));
        let values = match &*value {
            Value::Null => return,
            Value::List(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for (index, value) in values.iter().enumerate().filter(|(_, value)| !value.is_null()) {
            if !self.may_go_on(block) {
                return;
            }
            match step.avp.put(self.out, value) {
                Ok(()) => self.written(step, block, written, || {
                    let source = source.describe(scope);
                    // An element of a list; of a filtered list only the list is known.
                    match of_list && !source.contains(' ') {
                        true => format!("{source}[{index}]"),
                        false => source,
                    }
                }),
                Err(misfit) => self.misfit(block, source.field(scope), misfit),
            }
        }
    }

    fn select(
        &mut self,
        step: &'w Step,
        block: &'w Block,
        (from, table, otherwise): (&'w Term, &'w [(String, Vec<u8>)], &'w Otherwise),
        scope: &Scope<'_>,
        written: &mut u32,
    ) {
        let value = match from.read(scope) {
            Ok(value) => value,
            Err(detail) => return self.does_not_fit(block, from.field(scope), detail),
        };
        let name = match &*value {
            Value::Null => return,
            Value::Text(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            other => {
                let detail = format!("{} is not a name", other.describe());
                return self.does_not_fit(block, from.field(scope), detail);
            }
        };
        let octets = match (table.iter().find(|(known, _)| *known == name), otherwise) {
            (Some((_, octets)), _) | (None, Otherwise::Constant(octets)) => octets,
            (None, Otherwise::Omit) => return,
            (None, Otherwise::Fail) => {
                return self.misfit(block, from.field(scope), Misfit::UnknownName(name));
            }
        };
        self.out.extend_from_slice(octets);
        self.written(step, block, written, || format!("{} → enum", from.source(scope)));
    }

    fn group(
        &mut self,
        step: &'w Step,
        block: &'w Block,
        (steps, required, send_empty): (&'w [Step], &'w [usize], bool),
        scope: &Scope<'_>,
        written: &mut u32,
    ) {
        let begin = self.out.len();
        let traced = self.trace.as_ref().map_or(0, Vec::len);
        let mark = begin_group(self.out, step.avp.id, step.avp.flags);
        self.note(step, block, String::new);
        let empty = self.out.len();
        let mut missing = Vec::new();
        for (position, member) in steps.iter().enumerate() {
            let done = self.step(member, scope);
            if done == Done::Absent && required.contains(&position) {
                missing.push(member);
            }
        }
        end_group(self.out, mark);
        if self.out.len() > empty {
            missing.iter().for_each(|member| self.missing(member, scope));
        }
        let is_empty = self.out.len() == empty && !send_empty;
        if is_empty || has_one_of(&self.out[empty..], &step.unless) {
            self.out.truncate(begin);
            if let Some(trace) = &mut self.trace {
                trace.truncate(traced);
            }
            return;
        }
        self.count(step, block, written);
    }

    /// Notes an instance that was just written.
    fn written(
        &mut self,
        step: &Step,
        block: &Block,
        written: &mut u32,
        source: impl FnOnce() -> String,
    ) {
        self.note(step, block, source);
        self.count(step, block, written);
    }

    /// Notes where an AVP comes from, if somebody asks.
    fn note(&mut self, step: &Step, block: &Block, source: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(Provenance {
                path: self.path.join("/"),
                avp: step.avp.id,
                place: block.place.clone(),
                source: source(),
            });
        }
    }

    fn count(&mut self, step: &Step, block: &Block, written: &mut u32) {
        *written += 1;
        if step.max.is_some_and(|max| *written == max.saturating_add(1)) {
            let max = step.max.unwrap_or_default();
            let detail = format!("the AVP occurs at most {max} times here");
            self.does_not_fit(block, None, detail);
        }
    }

    fn missing(&mut self, member: &Step, scope: &Scope<'_>) {
        let block = member.blocks.first();
        self.errors.push(MappingError::MissingValue {
            avp: format!("{}/{}", self.path.join("/"), member.avp.name),
            place: block.map_or_else(String::new, |block| block.place.clone()),
            field: block.and_then(|block| match &block.body {
                Body::Value(source) => source.field(scope),
                Body::Select { from, .. } => from.field(scope),
                Body::Constant(_) | Body::Group { .. } => None,
            }),
        });
    }

    fn misfit(&mut self, block: &Block, field: Option<String>, misfit: Misfit) {
        match misfit {
            Misfit::Detail(detail) => self.does_not_fit(block, field, detail),
            Misfit::UnknownName(value) => self.errors.push(MappingError::UnknownEnum {
                avp: self.path.join("/"),
                place: block.place.clone(),
                field,
                value,
            }),
        }
    }

    fn does_not_fit(&mut self, block: &Block, field: Option<String>, detail: String) {
        let (avp, place) = (self.path.join("/"), block.place.clone());
        self.errors.push(MappingError::DoesNotFit { avp, place, field, detail });
    }
}

/// Does one of the encoded members match one of the predicates? The bytes are our own.
fn has_one_of(mut members: &[u8], predicates: &[Predicate]) -> bool {
    while let ([a, b, c, d, flags, x, y, z, ..], false) = (members, predicates.is_empty()) {
        let code = u32::from_be_bytes([*a, *b, *c, *d]);
        let length = usize::from(*x) << 16 | usize::from(*y) << 8 | usize::from(*z);
        let (header, vendor) = match (flags & 0x80 != 0, members.get(8..12)) {
            (true, Some(&[a, b, c, d])) => (12, u32::from_be_bytes([a, b, c, d])),
            _ => (8, 0),
        };
        let Some(data) = members.get(header..length) else { return false };
        let id = AvpId { code, vendor };
        if predicates.iter().any(|wanted| wanted.member == id && wanted.data == data) {
            return true;
        }
        members = members.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}
