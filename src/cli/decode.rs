//! `farebox decode`: hex or bytes in, messages out, judged on request.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;

use super::args::{Decode, Format, Hex};
use super::exit::{Exit, Failure, Outcome};
use super::hex;
use super::message_json;
use super::terminal::{RED, RESET, Terminal};
use crate::diagnostic::Code;
use crate::diameter::{Dictionary, Header, Limits, Problem, check_grammar, decode, print};

const INPUT_BYTES_MAX: u64 = 64 << 20;

/// Prints every message; 65 if the input holds none, 3 if `--check` finds fault.
pub(crate) fn run(args: &Decode, terminal: &mut Terminal) -> Outcome {
    let bytes = Bytes::from(gather(&args.input)?);
    if bytes.is_empty() {
        return Err(undecodable(0, "there is no hex in the input").help(
            "give hex or a file (.bin, .hex), or pipe one in: `farebox decode < capture.hex`",
        ));
    }
    let dictionary = Dictionary::builtin();
    let limits = Limits::default();
    let mut offset = 0;
    let mut sound = true;
    let mut objects = Vec::new();
    while offset < bytes.len() {
        let frame = frame(&bytes, offset, &limits)?;
        let (message, mut problems) = decode(&frame, dictionary, &limits);
        if args.check {
            problems.extend(check_grammar(&message, dictionary));
        }
        sound &= problems.is_empty();
        match args.format {
            Format::Human => {
                if offset > 0 {
                    terminal.line("");
                }
                terminal.data(&print::tree(&frame, dictionary, |_| None));
                tell(&problems, args.check, terminal);
                if args.hex == Hex::Full {
                    terminal.data(&print::hex(&frame));
                }
            }
            Format::Json => {
                objects.push(message_json::message(&frame, &problems, dictionary, |_| None));
            }
        }
        offset += frame.len();
    }
    if args.format == Format::Json {
        terminal.line(serde_json::Value::Array(objects).to_string());
    }
    Ok(if args.check && !sound { Exit::Assertion } else { Exit::Ok })
}

/// The message at `offset`, cut by its own length field.
fn frame(bytes: &Bytes, offset: usize, limits: &Limits) -> Result<Bytes, Failure> {
    let rest = bytes.slice(offset..);
    let Some(header) = Header::parse(&rest) else {
        return Err(undecodable(
            offset,
            &format!("{} bytes left, a Diameter header has 20", rest.len()),
        ));
    };
    if header.version != 1 {
        return Err(undecodable(
            offset,
            &format!("version {} where a Diameter message has 1", header.version),
        ));
    }
    let length = header.length as usize;
    if length < 20 || !length.is_multiple_of(4) {
        return Err(undecodable(
            offset + 1,
            &format!("message length {length} is no multiple of 4 from 20 up"),
        ));
    }
    if header.length > limits.message_bytes_max {
        return Err(undecodable(
            offset + 1,
            &format!("message length {length} is above {}", limits.message_bytes_max),
        ));
    }
    if length > rest.len() {
        return Err(undecodable(
            offset + 1,
            &format!("message length {length}, but the input has {} bytes from here", rest.len()),
        )
        .help("is the end of the message missing?"));
    }
    Ok(rest.slice(..length))
}

fn undecodable(offset: usize, detail: &str) -> Failure {
    Failure::coded(
        Exit::BadData,
        Code::FB2004,
        format!("offset {offset} ({offset:#06x}): {detail}"),
    )
}

/// What is wrong with the message, below it.
fn tell(problems: &[Problem], check: bool, terminal: &mut Terminal) {
    for problem in problems {
        terminal.line(format!("{RED}✖ wrong{RESET}  {problem}"));
    }
    if check && problems.is_empty() {
        terminal.line("✔ right: lengths, flags, required AVPs and occurrence");
    }
}

/// The bytes that the arguments, or stdin, give.
fn gather(input: &[String]) -> Result<Vec<u8>, Failure> {
    match input {
        [] => stdin(),
        [one] if one == "-" => stdin(),
        // A name that exists is a file; everything else is hex, in one word or in many.
        files if files.iter().all(|name| Path::new(name).is_file()) => {
            let mut bytes = Vec::new();
            for name in files {
                bytes.extend(read_file(Path::new(name))?);
            }
            Ok(bytes)
        }
        [one] if one.contains(['/', '.']) => {
            let error = std::io::Error::from(std::io::ErrorKind::NotFound);
            Err(Failure::file(Path::new(one), &error))
        }
        words => from_text(&words.join(" ")),
    }
}

fn stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file(Path::new("stdin"), &error))?;
    from_bytes(bytes)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("bin") => Ok(bytes),
        _ => from_bytes(bytes),
    }
}

/// Raw bytes begin with the version, which is no text.
fn from_bytes(bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if bytes.first() == Some(&1) {
        return Ok(bytes);
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => from_text(text),
        Err(error) => Err(undecodable(
            error.valid_up_to(),
            "neither text nor a Diameter message, which begins with 01",
        )),
    }
}

fn from_text(text: &str) -> Result<Vec<u8>, Failure> {
    hex::read(text).map_err(|error| {
        Failure::coded(Exit::BadData, Code::FB2004, error.to_string())
            .help("hex may be a stream, spaced, with 0x, or a dump with offsets")
    })
}
