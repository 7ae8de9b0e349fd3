//! Identifiers that must not repeat: End-to-End and Session-Id.

/// End-to-End identifiers from a block that the store has reserved.
///
/// A 32-bit counter with a random start at installation; a block of 65,536 is reserved before
/// its first value is used, so no value returns before 2^32 requests, over restarts too. This
/// keeps H-15 without RFC 6733's recipe (clock and random), which repeats after a clock step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndToEndBlock {
    next: u32,
    left: u32,
}

/// Identifiers in a block.
pub const END_TO_END_BLOCK: u32 = 65_536;

impl EndToEndBlock {
    /// The block that begins with `first`.
    pub fn new(first: u32) -> EndToEndBlock {
        EndToEndBlock { next: first, left: END_TO_END_BLOCK }
    }

    /// A block with nothing in it.
    pub fn empty() -> EndToEndBlock {
        EndToEndBlock { next: 0, left: 0 }
    }

    /// The next identifier; `None` when the block is used up and another must be reserved.
    pub fn take(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let id = self.next;
        self.next = id.wrapping_add(1);
        Some(id)
    }

    /// Identifiers that are left: reserve the next block before it is 0.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The first identifier of the block after one that began with `first`.
    pub fn following(first: u32) -> u32 {
        first.wrapping_add(END_TO_END_BLOCK)
    }
}

/// Builds `<host>;<high>;<low>[;<opt>]` (RFC 6733, 8.8).
///
/// The high part is the process life: max(now, stored + 1), written before use. The low part
/// counts Session-Ids of that life; both interfaces share the counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionIds {
    prefix: String,
    /// 64 bits: 2^32 Session-Ids are five days at 10,000 a second.
    low: u64,
}

impl SessionIds {
    /// For this Origin-Host and process life.
    pub fn new(host: &str, high: u32) -> SessionIds {
        SessionIds { prefix: format!("{host};{high};"), low: 0 }
    }

    /// A Session-Id that was never given before. `cpm_session` is the caller's id: its first
    /// eight letters and digits become the optional part, so that a peer's logs can be searched.
    pub fn take(&mut self, cpm_session: &str) -> String {
        self.low += 1;
        let mut id = format!("{}{}", self.prefix, self.low);
        if let Some(short) = short_id(cpm_session) {
            id.push(';');
            id.push_str(&short);
        }
        id
    }
}

/// The first eight of [A-Za-z0-9]; `None` if there are fewer.
pub fn short_id(cpm_session: &str) -> Option<String> {
    let short: String = cpm_session.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    (short.len() == 8).then_some(short)
}
