//! The grammar of `${…}`: text to syntax tree, with the place of every part.
//!
//! ```text
//! pipeline   := choice { "|" name [ "(" pipeline { "," pipeline } ")" ] }
//! choice     := any [ "?" choice ":" choice ]
//! any        := all { "||" all }
//! all        := comparison { "&&" comparison }
//! comparison := fallback [ ("==" | "!=" | "<=" | ">=" | "<" | ">") fallback ]
//! fallback   := unary { "??" unary }
//! unary      := "!" unary | primary
//! primary    := literal | "avp(" text ")" | path | "(" pipeline ")"
//! path       := name { "." name | "[" pipeline "]" }
//! ```
//! There is no loop and no call but the filters; length and depth are bounded, so the cost of an
//! expression is known when it is read.

use std::ops::Range;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, multispace0};
use nom::combinator::{cut, map, not, opt, recognize, value};
use nom::error::{ContextError, ErrorKind, ParseError, context};
use nom::multi::{many0, separated_list0};
use nom::sequence::{delimited, pair, preceded, terminated};
use nom::{Err, IResult, Parser};

use super::value::Value;

/// Longest text that may hold expressions, in octets.
pub(super) const TEXT_BYTES_MAX: usize = 8192;
const DEPTH_MAX: usize = 24;

/// An expression and the octets of the text it was written in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    pub(super) range: Range<usize>,
    pub(super) form: Form,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Literal(Value),
    /// A name of the value tree, a `lets` name or an `each` variable.
    Name(String),
    /// `base.key`.
    Key(Box<Expr>, String),
    /// `base[index]`.
    Index(Box<Expr>, Box<Expr>),
    /// `avp('…')`: an AVP of the answer.
    Avp(String),
    /// `input | name(args)`.
    Filter {
        input: Box<Expr>,
        name: String,
        name_range: Range<usize>,
        args: Vec<Expr>,
    },
    Not(Box<Expr>),
    All(Box<Expr>, Box<Expr>),
    Any(Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// `a ?? b`.
    Fallback(Box<Expr>, Box<Expr>),
    /// `a ? b : c`.
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    LessOrEqual,
    GreaterOrEqual,
    Less,
    Greater,
}

/// A text with `${…}` in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Template {
    /// No `${` at all.
    Constant(String),
    /// Nothing but one `${…}`: keeps the type of its value.
    Single(Expr),
    /// Several parts, joined as text.
    Mixed(Vec<Part>),
}

/// One part of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Expr(Expr),
}

/// Where reading stopped, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) range: Range<usize>,
    pub(super) message: String,
}

/// Reads a text that may hold `${…}`.
pub(super) fn template(text: &str) -> Result<Template, SyntaxError> {
    if !text.contains("${") {
        return Ok(Template::Constant(text.to_owned()));
    }
    let at = At { total: text.len(), depth: 0 };
    let hole = |i| {
        let closed = |i| preceded(multispace0, char('}')).parse(i);
        preceded(tag("${"), cut((|i| pipeline(i, at), context("`}`", closed)))).parse(i)
    };
    let mut parts = finish(
        text,
        many0(alt((map(hole, |(expr, _)| Part::Expr(expr)), map(plain_text, Part::Text)))),
    )?;
    Ok(match (parts.pop(), parts.is_empty()) {
        (Some(Part::Expr(expr)), true) => Template::Single(expr),
        (last, _) => Template::Mixed(parts.into_iter().chain(last).collect()),
    })
}

/// Reads a text that is one expression, with or without `${` and `}` around it.
pub(super) fn expression(text: &str) -> Result<Expr, SyntaxError> {
    if text.trim_start().starts_with("${") {
        return match template(text.trim_end())? {
            Template::Single(expr) => Ok(expr),
            _ => Err(SyntaxError {
                range: 0..text.len(),
                message: "expected one expression, found text around it".to_owned(),
            }),
        };
    }
    let at = At { total: text.len(), depth: 0 };
    finish(text, terminated(|i| pipeline(i, at), multispace0))
}

/// Reads `list as name`.
pub(super) fn each(text: &str) -> Result<(Expr, String), SyntaxError> {
    let at = At { total: text.len(), depth: 0 };
    let parser = (
        |i| pipeline(i, at),
        cut(preceded(
            (multispace0, context("`as` and a name", tag("as")), multispace0),
            context("a name", name),
        )),
        multispace0,
    );
    finish(text, map(parser, |(list, name, _)| (list, name.to_owned())))
}

/// Where a parser stands: length of the whole text, and how deep it is nested.
#[derive(Clone, Copy)]
struct At {
    total: usize,
    depth: usize,
}

impl At {
    fn range(self, begin: &str, end: &str) -> Range<usize> {
        self.total - begin.len()..self.total - end.len()
    }

    fn deeper<'t>(self, input: &'t str) -> Result<At, Err<Stopped<'t>>> {
        if self.depth >= DEPTH_MAX {
            return Err(Err::Failure(Stopped { rest: input, expected: "less nesting" }));
        }
        Ok(At { depth: self.depth + 1, ..self })
    }
}

/// nom's error: the furthest place wins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stopped<'t> {
    rest: &'t str,
    expected: &'static str,
}

type Parsed<'t, T> = IResult<&'t str, T, Stopped<'t>>;

impl<'t> ParseError<&'t str> for Stopped<'t> {
    fn from_error_kind(rest: &'t str, _: ErrorKind) -> Self {
        Stopped { rest, expected: "" }
    }

    fn append(_: &'t str, _: ErrorKind, other: Self) -> Self {
        other
    }

    fn or(self, other: Self) -> Self {
        if self.rest.len() < other.rest.len() || other.expected.is_empty() { self } else { other }
    }
}

impl<'t> ContextError<&'t str> for Stopped<'t> {
    fn add_context(_: &'t str, expected: &'static str, other: Self) -> Self {
        if other.expected.is_empty() { Stopped { expected, ..other } } else { other }
    }
}

fn finish<'t, T>(
    text: &'t str,
    mut parser: impl Parser<&'t str, Output = T, Error = Stopped<'t>>,
) -> Result<T, SyntaxError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(SyntaxError {
            range: 0..text.len(),
            message: format!("the text has {} octets; the limit is {TEXT_BYTES_MAX}", text.len()),
        });
    }
    let stopped = match parser.parse(text) {
        Ok(("", done)) => return Ok(done),
        Ok((rest, _)) => Stopped { rest: rest.trim_start(), expected: "" },
        Err(Err::Error(stopped) | Err::Failure(stopped)) => stopped,
        Err(Err::Incomplete(_)) => Stopped { rest: "", expected: "" },
    };
    let start = text.len() - stopped.rest.len();
    let found = stopped.rest.chars().next();
    let message = match (stopped.expected, found) {
        ("", Some(c)) => format!("unexpected `{c}`"),
        ("", None) => "the text ends too early".to_owned(),
        (expected, Some(c)) => format!("expected {expected}, found `{c}`"),
        (expected, None) => format!("expected {expected}, found the end"),
    };
    Err(SyntaxError { range: start..start + found.map_or(0, char::len_utf8), message })
}

/// Text up to the next `${` (at least one character).
fn plain_text(input: &str) -> Parsed<'_, String> {
    match input.find("${").unwrap_or(input.len()) {
        0 => Err(Err::Error(Stopped { rest: input, expected: "" })),
        end => Ok((&input[end..], input[..end].to_owned())),
    }
}

fn pipeline<'t>(input: &'t str, at: At) -> Parsed<'t, Expr> {
    let at = at.deeper(input)?;
    let input = input.trim_start();
    let arguments = |i| {
        delimited(
            char('('),
            separated_list0(preceded(multispace0, char(',')), |i| pipeline(i, at)),
            preceded(multispace0, context("`)`", char(')'))),
        )
        .parse(i)
    };
    let filter = |i: &'t str| {
        let mut bar = (multispace0, char('|'), not(char('|')), multispace0);
        let (begin, _) = bar.parse(i)?;
        let (rest, name) = cut(context("a filter", name)).parse(begin)?;
        let name_range = at.range(begin, rest);
        let call = if rest.starts_with('(') { cut(arguments).parse(rest)? } else { (rest, vec![]) };
        Ok((call.0, (name.to_owned(), name_range, call.1, at.range(begin, call.0).end)))
    };
    let (rest, first) = choice(input, at)?;
    let (rest, filters) = many0(filter).parse(rest)?;
    let start = first.range.start;
    let done = filters.into_iter().fold(first, |input, (name, name_range, args, end)| Expr {
        range: start..end,
        form: Form::Filter { input: Box::new(input), name, name_range, args },
    });
    Ok((rest, done))
}

fn choice<'t>(input: &'t str, at: At) -> Parsed<'t, Expr> {
    let at = at.deeper(input)?;
    let (rest, condition) = any(input, at)?;
    let question = (multispace0, char('?'), not(char('?')));
    let (rest, asked) = opt(question).parse(rest)?;
    if asked.is_none() {
        return Ok((rest, condition));
    }
    let colon = context("`:`", preceded(multispace0, char(':')));
    let (rest, (yes, _, no)) = cut((|i| choice(i, at), colon, |i| choice(i, at))).parse(rest)?;
    let range = condition.range.start..no.range.end;
    let form = Form::Choice(Box::new(condition), Box::new(yes), Box::new(no));
    Ok((rest, Expr { range, form }))
}

/// `next { operator next }`, joined from the left.
fn chain<'t>(
    input: &'t str,
    operator: &'static str,
    next: impl Fn(&'t str) -> Parsed<'t, Expr>,
    join: fn(Box<Expr>, Box<Expr>) -> Form,
) -> Parsed<'t, Expr> {
    let (rest, first) = next(input)?;
    let more = preceded((multispace0, tag(operator)), cut(&next));
    let (rest, others) = many0(more).parse(rest)?;
    let joined = others.into_iter().fold(first, |left, right| Expr {
        range: left.range.start..right.range.end,
        form: join(Box::new(left), Box::new(right)),
    });
    Ok((rest, joined))
}

fn any<'t>(input: &'t str, at: At) -> Parsed<'t, Expr> {
    chain(input, "||", |i| all(i, at), Form::Any)
}

fn all<'t>(input: &'t str, at: At) -> Parsed<'t, Expr> {
    chain(input, "&&", |i| comparison(i, at), Form::All)
}

fn comparison<'t>(input: &'t str, at: At) -> Parsed<'t, Expr> {
    let operator = alt((
        value(Comparison::Equal, tag("==")),
        value(Comparison::NotEqual, tag("!=")),
        value(Comparison::LessOrEqual, tag("<=")),
        value(Comparison::GreaterOrEqual, tag(">=")),
        value(Comparison::Less, tag("<")),
        value(Comparison::Greater, tag(">")),
    ));
    let (rest, left) = fallback(input, at)?;
    let (rest, compared) =
        opt((preceded(multispace0, operator), cut(|i| fallback(i, at)))).parse(rest)?;
    Ok(match compared {
        None => (rest, left),
        Some((operator, right)) => {
            let range = left.range.start..right.range.end;
            let form = Form::Compare(operator, Box::new(left), Box::new(right));
            (rest, Expr { range, form })
        }
    })
}

fn fallback<'t>(input: &'t str, at: At) -> Parsed<'t, Expr> {
    chain(input, "??", |i| unary(i, at), Form::Fallback)
}

fn unary<'t>(input: &'t str, at: At) -> Parsed<'t, Expr> {
    let at = at.deeper(input)?;
    let input = input.trim_start();
    let bang = terminated(char('!'), not(char('=')));
    let negated = |i| preceded(bang, cut(|i| unary(i, at))).parse(i);
    match negated(input) {
        Ok((rest, inner)) => {
            let range = at.range(input, rest);
            Ok((rest, Expr { range, form: Form::Not(Box::new(inner)) }))
        }
        Err(Err::Error(_)) => primary(input, at),
        Err(failure) => Err(failure),
    }
}

fn primary<'t>(input: &'t str, at: At) -> Parsed<'t, Expr> {
    let nested = |i| {
        let closed = preceded(multispace0, context("`)`", char(')')));
        delimited(char('('), cut(|i| pipeline(i, at)), cut(closed)).parse(i)
    };
    let (mut rest, form) = context(
        "a value",
        alt((
            map(nested, |expr| expr.form),
            map(number, |number| Form::Literal(Value::Int(number))),
            map(quoted, |text| Form::Literal(Value::Text(text))),
            map(avp_call, Form::Avp),
            map(name, |name| match name {
                "null" => Form::Literal(Value::Null),
                "true" => Form::Literal(Value::Bool(true)),
                "false" => Form::Literal(Value::Bool(false)),
                _ => Form::Name(name.to_owned()),
            }),
        )),
    )
    .parse(input)?;
    let mut done = Expr { range: at.range(input, rest), form };
    loop {
        let dotted = preceded(char('.'), cut(context("a field name", name)));
        let closed = preceded(multispace0, context("`]`", char(']')));
        let indexed = delimited(char('['), cut(|i| pipeline(i, at)), cut(closed));
        let step = alt((map(dotted, Step::Key), map(indexed, Step::Index)));
        let (after, step) = match { step }.parse(rest) {
            Ok(step) => step,
            Err(Err::Error(_)) => return Ok((rest, done)),
            Err(failure) => return Err(failure),
        };
        rest = after;
        let range = at.range(input, rest);
        let form = match step {
            Step::Key(key) => Form::Key(Box::new(done), key.to_owned()),
            Step::Index(index) => Form::Index(Box::new(done), Box::new(index)),
        };
        done = Expr { range, form };
    }
}

enum Step<'t> {
    Key(&'t str),
    Index(Expr),
}

fn name(input: &str) -> Parsed<'_, &str> {
    recognize(pair(
        take_while1(|c: char| c.is_ascii_alphabetic() || c == '_'),
        take_while(|c: char| c.is_ascii_alphanumeric() || c == '_'),
    ))
    .parse(input)
}

fn number(input: &str) -> Parsed<'_, i64> {
    let digits = recognize(pair(opt(char('-')), take_while1(|c: char| c.is_ascii_digit())));
    let (rest, digits) = { digits }.parse(input)?;
    match digits.parse() {
        Ok(number) => Ok((rest, number)),
        Err(_) => Err(Err::Failure(Stopped {
            rest: input,
            expected: "a number between -2^63 and 2^63-1",
        })),
    }
}

/// `'text'` or `"text"`; a backslash takes the next character as it is.
fn quoted(input: &str) -> Parsed<'_, String> {
    let mut chars = input.char_indices();
    let Some((_, quote @ ('\'' | '"'))) = chars.next() else {
        return Err(Err::Error(Stopped { rest: input, expected: "" }));
    };
    let mut text = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
            _ if c == quote => return Ok((&input[at + 1..], text)),
            _ => text.push(c),
        }
    }
    Err(Err::Failure(Stopped { rest: "", expected: "a closing quote" }))
}

fn avp_call(input: &str) -> Parsed<'_, String> {
    let open = (tag("avp"), multispace0, char('('), multispace0);
    let close = (multispace0, context("`)`", char(')')));
    delimited(open, cut(context("the AVP's name in quotes", quoted)), cut(close)).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The syntax tree in prefix form.
    fn show(expr: &Expr) -> String {
        match &expr.form {
            Form::Literal(Value::Text(text)) => format!("'{text}'"),
            Form::Literal(Value::Int(number)) => number.to_string(),
            Form::Literal(other) => format!("{other:?}").to_lowercase(),
            Form::Name(name) => name.clone(),
            Form::Key(base, key) => format!("{}.{key}", show(base)),
            Form::Index(base, index) => format!("{}[{}]", show(base), show(index)),
            Form::Avp(path) => format!("avp({path})"),
            Form::Filter { input, name, args, .. } => {
                let args: Vec<String> = args.iter().map(show).collect();
                format!("({} {})", name, [vec![show(input)], args].concat().join(" "))
            }
            Form::Not(inner) => format!("(! {})", show(inner)),
            Form::All(a, b) => format!("(&& {} {})", show(a), show(b)),
            Form::Any(a, b) => format!("(|| {} {})", show(a), show(b)),
            Form::Compare(op, a, b) => format!("({op:?} {} {})", show(a), show(b)),
            Form::Fallback(a, b) => format!("(?? {} {})", show(a), show(b)),
            Form::Choice(a, b, c) => format!("(? {} {} {})", show(a), show(b), show(c)),
        }
    }

    #[test]
    fn operators_bind_as_the_grammar_says() {
        for (text, tree) in [
            ("kind ?? op", "(?? kind op)"),
            ("a ?? b == 'x'", "(Equal (?? a b) 'x')"),
            ("a ?? b | lower | upper", "(upper (lower (?? a b)))"),
            ("messages.delivered > 0 ? 'y' : 'n'", "(? (Greater messages.delivered 0) 'y' 'n')"),
            ("a?b:c?d:e", "(? a b (? c d e))"),
            ("!a && b || c", "(|| (&& (! a) b) c)"),
            ("!(a | starts_with('x'))", "(! (starts_with a 'x'))"),
            ("extensions['acme.campaign'] != null", "(NotEqual extensions['acme.campaign'] null)"),
            ("to[0]", "to[0]"),
            (
                "id.value | strip_plus(id.type == 'e164')",
                "(strip_plus id.value (Equal id.type 'e164'))",
            ),
            ("avp('Remaining-Balance') | money", "(money avp(Remaining-Balance))"),
            ("avp", "avp"),
            ("'it\\'s'", "'it's'"),
            ("a != -1", "(NotEqual a -1)"),
        ] {
            let expr = expression(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert_eq!(show(&expr), tree, "{text}");
            assert_eq!(expr.range, 0..text.len(), "{text}");
        }
    }

    #[test]
    fn a_text_may_have_several_parts() {
        assert_eq!(template("plain $ {}"), Ok(Template::Constant("plain $ {}".into())));
        assert!(matches!(template("${a}"), Ok(Template::Single(_))));
        match template("x${a}-${ b | upper }.") {
            Ok(Template::Mixed(parts)) => assert_eq!(parts.len(), 5),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            each("ids as id").map(|(list, name)| (show(&list), name)),
            Ok(("ids".into(), "id".into()))
        );
    }

    #[test]
    fn k_18_what_cannot_be_read_is_refused_at_its_place() {
        for (text, start, message) in [
            ("${a", 3, "expected `}`, found the end"),
            ("${a }} ${", 9, "expected a value, found the end"),
            ("${a +b}", 4, "expected `}`, found `+`"),
            ("${a. }", 4, "expected a field name, found ` `"),
            ("${a[1}", 5, "expected `]`, found `}`"),
            ("${'x}", 5, "expected a closing quote, found the end"),
            ("${a | 1}", 6, "expected a filter, found `1`"),
            ("${a ? b}", 7, "expected `:`, found `}`"),
            ("${99999999999999999999}", 2, "expected a number between -2^63 and 2^63-1, found `9`"),
        ] {
            let error = template(text).expect_err(text);
            assert_eq!((error.range.start, error.message.as_str()), (start, message), "{text}");
        }
        assert_eq!(expression("a b").expect_err("two").message, "unexpected `b`");
        assert_eq!(each("ids").expect_err("as").message, "expected `as` and a name, found the end");
    }

    #[test]
    fn sec_20_nesting_and_length_have_limits() {
        for deep in ["(".repeat(4000), "!".repeat(4000), "a[".repeat(2000), "a?".repeat(2000)] {
            let error = expression(&deep).expect_err("deep");
            assert!(error.message.starts_with("expected less nesting"), "{}", error.message);
        }
        assert!(expression(&"a".repeat(TEXT_BYTES_MAX + 1)).is_err());
    }
}
