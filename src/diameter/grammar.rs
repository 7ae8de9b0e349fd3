//! Holds a message against the command's and the groups' grammar (RFC 6733, 3.2).
//!
//! Four rules: required, at most, forbidden, exactly one. The position of `< >` AVPs is a
//! separate question ([`check_order`]): a sender must keep it, a receiver does not care.

use super::avp::{Avp, AvpId, AvpList};
use super::dictionary::{AvpDef, Dictionary, Member};
use super::header::HEADER_BYTES;
use super::id;
use super::message::Message;
use super::problem::{Problem, ProblemKind, minimum_value};
use super::result_code::{self, Class};

/// Problems that are listed.
const PROBLEMS_MAX: usize = 32;

/// What breaks the grammar, in the order of the message; missing AVPs at the end of the group.
///
/// A command that the dictionary does not define breaks no grammar: it is the application's
/// 3001. Nothing inside Failed-AVP is looked at.
pub fn check_grammar(message: &Message, dictionary: &Dictionary) -> Vec<Problem> {
    let mut judge = Judge { dictionary, problems: Vec::new() };
    let header = &message.header;
    if header.flags.is_error() && !header.flags.is_request() {
        let command = dictionary.error_answer();
        judge.list(&message.avps, Rules::new(&command.members, command.open), &Place::top());
    } else if refused(message) {
        // freeDiameter answers a broken CCR with 5005, E clear and no CC-Request-Type: what an
        // error answer needs is enough for a refusal (RFC 6733, 7.2).
        let command = dictionary.error_answer();
        judge.list(&message.avps, Rules::new(&command.members, true), &Place::top());
    } else if let Some(command) =
        dictionary.command(header.code, header.application, header.flags.is_request())
    {
        judge.list(&message.avps, Rules::new(&command.members, command.open), &Place::top());
    }
    judge.groups(&message.avps);
    judge.problems.sort_by_key(|problem| problem.offset);
    judge.problems
}

/// An answer, E clear, whose Result-Code is no success.
fn refused(message: &Message) -> bool {
    let failure = |code| result_code::class(code) != Class::Success;
    !message.header.flags.is_request() && message.unsigned32(id::RESULT_CODE).is_some_and(failure)
}

/// Fixed AVPs (`< >`) that are present but not at their position.
pub fn check_order(message: &Message, dictionary: &Dictionary) -> Vec<Problem> {
    let header = &message.header;
    let command = match header.flags.is_error() {
        true => Some(dictionary.error_answer()),
        false => dictionary.command(header.code, header.application, header.flags.is_request()),
    };
    let fixed = command.into_iter().flat_map(|command| &command.members).filter(|m| m.fixed);
    let mut problems = Vec::new();
    for (position, member) in fixed.enumerate() {
        let Some(at) = message.avps.iter().position(|avp| avp.id == member.id) else { continue };
        if at != position {
            let offset = offset_of(&message.avps, at, HEADER_BYTES);
            let detail =
                format!("`{}` belongs at position {}", name(dictionary, member.id), position + 1);
            let failed = message.avps[at].clone();
            problems.push(Problem::of_avp(
                ProblemKind::Misplaced,
                offset,
                failed,
                member.id,
                detail,
            ));
        }
    }
    problems
}

fn name(dictionary: &Dictionary, id: AvpId) -> String {
    dictionary.avp(id).map_or_else(|| id.to_string(), |definition| definition.name.clone())
}

/// Octet at which the AVP at `position` of a list begins.
fn offset_of(avps: &[Avp], position: usize, begin: usize) -> usize {
    begin + avps[..position].iter().map(Avp::padded_len).sum::<usize>()
}

#[derive(Clone, Copy)]
struct Rules<'d> {
    members: &'d [Member],
    open: bool,
    exactly_one: bool,
}

impl<'d> Rules<'d> {
    fn new(members: &'d [Member], open: bool) -> Rules<'d> {
        Rules { members, open, exactly_one: false }
    }

    fn of(group: &'d AvpDef) -> Rules<'d> {
        Rules { members: &group.members, open: group.open, exactly_one: group.exactly_one }
    }
}

/// Where a list stands: its first octet, and the groups around it, outermost first.
struct Place<'m> {
    begin: usize,
    groups: Vec<&'m Avp>,
}

impl Place<'_> {
    fn top() -> Place<'static> {
        Place { begin: HEADER_BYTES, groups: Vec::new() }
    }

    fn wrap(&self, avp: Avp) -> Avp {
        self.groups.iter().rev().fold(avp, |inner, group| Avp {
            id: group.id,
            flags: group.flags,
            value: super::value::Value::Grouped(vec![inner]),
        })
    }
}

struct Judge<'d> {
    dictionary: &'d Dictionary,
    problems: Vec<Problem>,
}

impl Judge<'_> {
    /// Judges every group in the message, with an own stack.
    fn groups(&mut self, avps: &[Avp]) {
        let mut waiting: Vec<(&[Avp], Place)> = vec![(avps, Place::top())];
        while let Some((list, place)) = waiting.pop() {
            let mut offset = place.begin;
            for avp in list {
                let begin = offset + if avp.id.vendor == 0 { 8 } else { 12 };
                offset += avp.padded_len();
                let Some(members) = avp.members() else { continue };
                if avp.id == id::FAILED_AVP {
                    continue;
                }
                let mut groups = place.groups.clone();
                groups.push(avp);
                let inner = Place { begin, groups };
                if let Some(definition) = self.dictionary.avp(avp.id) {
                    self.list(members, Rules::of(definition), &inner);
                }
                waiting.push((members, inner));
            }
        }
    }

    fn list(&mut self, avps: &[Avp], rules: Rules, place: &Place) {
        let end = offset_of(avps, avps.len(), place.begin);
        for member in rules.members {
            let count = avps.all(member.id).count();
            let most = member.max.map_or(usize::MAX, |max| max as usize);
            if count > most {
                let mut instances = avps.iter().enumerate().filter(|(_, avp)| avp.id == member.id);
                if let Some((at, avp)) = instances.nth(most) {
                    let detail = format!("{count} times, at most {most}");
                    let offset = offset_of(avps, at, place.begin);
                    self.say(ProblemKind::TooManyAvps, offset, avp.clone(), place, &detail);
                }
            } else if count < member.min as usize {
                let detail = match member.min {
                    1 => "required".to_owned(),
                    min => format!("{count} times, at least {min}"),
                };
                self.say(ProblemKind::MissingAvp, end, self.example(member.id), place, &detail);
            }
        }
        if !rules.open {
            self.forbidden(avps, rules, place);
        }
        if rules.exactly_one {
            self.exactly_one(avps, rules, place, end);
        }
    }

    /// A known AVP that a closed group does not list, or any unlisted one with M: unknown ones
    /// without M are to be ignored.
    fn forbidden(&mut self, avps: &[Avp], rules: Rules, place: &Place) {
        for (at, avp) in avps.iter().enumerate() {
            let listed = rules.members.iter().any(|member| member.id == avp.id);
            if !listed && avp.flags.mandatory() && self.dictionary.avp(avp.id).is_some() {
                let offset = offset_of(avps, at, place.begin);
                self.say(
                    ProblemKind::AvpNotAllowed,
                    offset,
                    avp.clone(),
                    place,
                    "not allowed here",
                );
            }
        }
    }

    fn exactly_one(&mut self, avps: &[Avp], rules: Rules, place: &Place, end: usize) {
        let required = |id| rules.members.iter().any(|member| member.id == id && member.min > 0);
        let mut choices = avps.iter().enumerate().filter(|(_, avp)| !required(avp.id));
        match (choices.next(), choices.next()) {
            (Some(_), None) => {}
            (None, _) => {
                let first = rules.members.iter().find(|member| member.min == 0);
                if let Some(member) = first {
                    let example = self.example(member.id);
                    let detail = "exactly one of the optional members is required";
                    self.say(ProblemKind::MissingAvp, end, example, place, detail);
                }
            }
            (Some(_), Some((at, second))) => {
                let offset = offset_of(avps, at, place.begin);
                let detail = "exactly one of the optional members is allowed";
                self.say(ProblemKind::TooManyAvps, offset, second.clone(), place, detail);
            }
        }
    }

    /// A missing AVP with zero-filled data of minimum length (RFC 6733, 7.5).
    fn example(&self, id: AvpId) -> Avp {
        let definition = self.dictionary.avp(id);
        let mut avp = Avp::new(id, minimum_value(definition.map(|definition| definition.kind)));
        if let Some(definition) = definition {
            avp.flags = definition.flags();
        }
        avp
    }

    fn say(&mut self, kind: ProblemKind, offset: usize, avp: Avp, place: &Place, detail: &str) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let id = avp.id;
        let mut detail = format!("`{}`: {detail}", name(self.dictionary, id));
        if let Some(group) = place.groups.last() {
            detail.push_str(&format!(" in `{}`", name(self.dictionary, group.id)));
        }
        self.problems.push(Problem::of_avp(kind, offset, place.wrap(avp), id, detail));
    }
}
