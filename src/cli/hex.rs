//! Reads hex as people have it: a stream, spaced bytes, `0x`, dumps with offsets, log lines.

/// Why a text is not hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HexError {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
    /// What was expected and what came.
    pub(crate) detail: String,
}

impl std::fmt::Display for HexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.detail)
    }
}

/// The shortest run of hex digits that is taken out of a line of other text: a Diameter header.
const LOG_DIGITS_MIN: usize = 40;

/// The bytes that `text` spells.
///
/// # Errors
/// The first thing that is neither hex nor decoration, or half a byte at the end.
pub(crate) fn read(text: &str) -> Result<Vec<u8>, HexError> {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .collect();
    if lines.first().is_some_and(|(_, line)| is_dump(line)) {
        return dump(&lines);
    }
    let mut digits = Digits::default();
    for (number, line) in lines {
        stream(number, line, &mut digits)?;
    }
    digits.finish()
}

/// Hex digits on their way to bytes.
#[derive(Default)]
struct Digits {
    bytes: Vec<u8>,
    /// The high digit of a byte, and where it stood.
    half: Option<(u8, usize, usize)>,
}

impl Digits {
    fn push(&mut self, digit: u8, line: usize, column: usize) {
        match self.half.take() {
            None => self.half = Some((digit, line, column)),
            Some((high, ..)) => self.bytes.push(high << 4 | digit),
        }
    }

    fn finish(self) -> Result<Vec<u8>, HexError> {
        match self.half {
            None => Ok(self.bytes),
            Some((_, line, column)) => Err(HexError {
                line,
                column,
                detail: "half a byte: the number of hex digits is odd".to_owned(),
            }),
        }
    }
}

fn digit(c: char) -> Option<u8> {
    c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// One line without an offset.
fn stream(number: usize, line: &str, digits: &mut Digits) -> Result<(), HexError> {
    let chars: Vec<char> = line.chars().collect();
    // A run as long as a message's header is the message, whatever else the line says: a date
    // before it is made of digits too.
    let (start, length) = longest_run(&chars);
    if length < LOG_DIGITS_MIN {
        return spaced(number, &chars, digits);
    }
    for (index, c) in chars.iter().enumerate().skip(start).take(length) {
        if let Some(value) = digit(*c) {
            digits.push(value, number, index + 1);
        }
    }
    Ok(())
}

/// Bytes with separators, `0x` and `\x`. Pushes nothing where it fails.
fn spaced(number: usize, chars: &[char], digits: &mut Digits) -> Result<(), HexError> {
    let mut found = Vec::new();
    let mut index = 0;
    while let Some(&c) = chars.get(index) {
        let next = chars.get(index + 1).copied();
        let prefix = matches!((c, next), ('0' | '\\', Some('x' | 'X')));
        if prefix {
            index += 2;
            continue;
        }
        if let Some(value) = digit(c) {
            found.push((value, index + 1));
        } else if !(c.is_whitespace() || ":,;-_|\"'{}[]()".contains(c)) {
            return Err(HexError {
                line: number,
                column: index + 1,
                detail: format!("expected hex digits, found `{}`", c.escape_default()),
            });
        }
        index += 1;
    }
    for (value, column) in found {
        digits.push(value, number, column);
    }
    Ok(())
}

fn longest_run(chars: &[char]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut start = 0;
    for index in 0..=chars.len() {
        let hex = chars.get(index).is_some_and(char::is_ascii_hexdigit);
        if !hex {
            if index - start > best.1 {
                best = (start, index - start);
            }
            start = index + 1;
        }
    }
    best
}

/// Does the line begin a dump? Its offset is zero, which no message begins with.
fn is_dump(line: &str) -> bool {
    let Some((offset, rest)) = offset_of(line) else { return false };
    offset == 0 && rest.split_whitespace().next().is_some_and(is_byte_group)
}

fn is_byte_group(token: &str) -> bool {
    matches!(token.len(), 2 | 4 | 8) && token.chars().all(|c| c.is_ascii_hexdigit())
}

/// The offset at the start of a dump's line, and what follows it.
fn offset_of(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_start();
    let line = line.strip_prefix("0x").unwrap_or(line);
    let end = line.find(|c: char| !c.is_ascii_hexdigit())?;
    let (offset, rest) = line.split_at(end);
    if !(4..=8).contains(&offset.len()) {
        return None;
    }
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    Some((usize::from_str_radix(offset, 16).ok()?, rest))
}

/// A dump: offset, bytes, and the same bytes as text, which is not read.
fn dump(lines: &[(usize, &str)]) -> Result<Vec<u8>, HexError> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut width = 16;
    for (index, (number, line)) in lines.iter().enumerate() {
        let problem = |detail: String| HexError { line: *number, column: 1, detail };
        // `hexdump -C` ends with the length alone, people end with `…` or a prompt.
        let Some((offset, rest)) = offset_of(&format!("{line} ")).map(|(o, r)| (o, r.to_owned()))
        else {
            return Err(problem("expected an offset and bytes, as in the lines above".to_owned()));
        };
        if offset != bytes.len() {
            return Err(problem(format!(
                "offset {offset:#06x} after {:#06x} bytes: a line is missing or cut",
                bytes.len()
            )));
        }
        let next = lines
            .get(index + 1)
            .and_then(|(_, line)| offset_of(&format!("{line} ")).map(|(o, _)| o));
        let expected = next.and_then(|next| next.checked_sub(offset));
        if let Some(expected) = expected.filter(|expected| (1..=64).contains(expected)) {
            width = expected;
        }
        let line_bytes = dump_bytes(&rest, width);
        if expected.is_some_and(|expected| expected != line_bytes.len()) {
            return Err(problem(format!(
                "{} bytes where the next line's offset says {}",
                line_bytes.len(),
                expected.unwrap_or_default()
            )));
        }
        bytes.extend(line_bytes);
    }
    Ok(bytes)
}

/// At most `width` bytes of a dump's line; ends where the text column begins.
fn dump_bytes(rest: &str, width: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut position = 0;
    while bytes.len() < width {
        let tail = rest.get(position..).unwrap_or("");
        let gap = tail.len() - tail.trim_start_matches([' ', '\t']).len();
        let token: &str = tail.get(gap..).unwrap_or("");
        let token = token.split([' ', '\t']).next().unwrap_or("");
        // A wide gap ends the bytes, except the one in the middle of `hexdump -C`.
        let text_column = gap >= 2 && !bytes.is_empty() && !(gap == 2 && bytes.len() == 8);
        if text_column || !is_byte_group(token) {
            break;
        }
        for pair in token.as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).unwrap_or("");
            bytes.extend(u8::from_str_radix(pair, 16));
        }
        position += gap + token.len();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A DWR's header and one AVP.
    const BYTES: &[u8] = &[
        0x01, 0x00, 0x00, 0x24, 0x80, 0x00, 0x01, 0x18, 0, 0, 0, 0, 0x5a, 0x1c, 0x00, 0x07, 0x93,
        0xbb, 0x00, 0x12, 0x00, 0x00, 0x01, 0x08, 0x40, 0x00, 0x00, 0x0d, 0x61, 0x62, 0x20, 0x63,
        0x64, 0, 0, 0,
    ];

    fn check(text: &str) {
        assert_eq!(read(text).as_deref(), Ok(BYTES), "{text}");
    }

    fn stream_text() -> String {
        BYTES.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_form_people_have_is_read() {
        let plain = stream_text();
        check(&plain);
        check(&plain.to_uppercase());
        check(&format!("0x{plain}\n"));
        for separator in [" ", ":", ", ", "\n", " 0x", "\\x"] {
            let parts: Vec<String> = BYTES.iter().map(|byte| format!("{byte:02x}")).collect();
            check(&parts.join(separator));
        }
        check(&format!("# a comment\n2025-12-12T10:43:11Z DEBUG peer=ocs-a sent hex={plain} ok"));
        check(&format!("2025-12-12 10:43:11 {plain}"));
        check(&format!("\"{}\"\n\"{}\"", &plain[..24], &plain[24..]));
    }

    #[test]
    fn every_dump_is_read() {
        for (offset, group, gap, bars) in [
            ("{:04x}: ", 1, false, ""),
            ("{:04x}   ", 1, false, ""),
            ("{:08x}  ", 1, true, "|"),
            ("{:08x}: ", 2, false, ""),
        ] {
            let mut text = String::new();
            for (index, row) in BYTES.chunks(16).enumerate() {
                let at = index * 16;
                text += &match offset {
                    "{:04x}: " => format!("{at:04x}: "),
                    "{:04x}   " => format!("{at:04x}   "),
                    "{:08x}  " => format!("{at:08x}  "),
                    _ => format!("{at:08x}: "),
                };
                for (index, pair) in row.chunks(group).enumerate() {
                    if gap && index == 8 {
                        text.push(' ');
                    }
                    text += &pair.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                    text.push(' ');
                }
                let printable: String =
                    row.iter()
                        .map(|byte| {
                            if byte.is_ascii_graphic() || *byte == b' ' {
                                *byte as char
                            } else {
                                '.'
                            }
                        })
                        .collect();
                text += &format!("  {bars}{printable}{bars}\n");
            }
            if gap {
                text += "00000024\n";
            }
            check(&text);
        }
    }

    #[test]
    fn a_mistake_is_pointed_at() {
        let error = read("01 00 0g").expect_err("not hex");
        assert_eq!((error.line, error.column), (1, 8), "{error}");
        let error = read("0100\n010").expect_err("half a byte");
        assert_eq!((error.line, error.column), (2, 3), "{error}");
        let error = read("0000: 01 00 02 64\n0020: 00").expect_err("a line is missing");
        assert!(error.to_string().contains("line 1"), "{error}");
        assert_eq!(read(""), Ok(Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,400}") {
            let _ = read(&text);
        }

        #[test]
        fn a_stream_is_read_back(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let bytes = [vec![1u8], bytes].concat();
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            proptest::prop_assert_eq!(read(&text), Ok(bytes));
        }
    }
}
