//! The codec beside the `diameter` crate in one run: `cargo bench --bench codec`.
//!
//! Two messages that end a charged session. Paired and interleaved: each round times every
//! contender once on the same message, so that a slow moment hits all of them; the table shows
//! medians. "Full typed decode" visits every AVP, looks it up and checks its type.
//! `--run CASE N` runs one case N times and nothing else, for `benches/instructions.sh`.

#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::print_stdout)]
#![allow(unsafe_code)] // A counting allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use diameter::avp as other;
use diameter::avp::AvpValue;
use farebox::diameter::{
    Avp, Dictionary, Limits, Message, Value, View, begin_group, decode, end_group,
};
use farebox::diameter::{begin_message, end_message, put_bytes, put_i32, put_u32, put_u64};

#[path = "../tests/conformance/rival.rs"]
mod rival;
#[path = "../tests/conformance/samples.rs"]
mod samples;

use rival::{RivalDictionary, rival_decode, rival_dictionary};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The message as the rival builds it from values.
fn rival_build(message: &Message, dictionary: &RivalDictionary) -> diameter::DiameterMessage {
    let header = &message.header;
    let mut built = diameter::DiameterMessage::new(
        diameter::CommandCode::from_u32(header.code).expect("known"),
        diameter::ApplicationId::from_u32(header.application).expect("known"),
        header.flags.0,
        header.hop_by_hop,
        header.end_to_end,
        Arc::clone(dictionary),
    );
    for avp in &message.avps {
        built.add(rival_avp(avp, dictionary));
    }
    built
}

fn rival_avp(avp: &Avp, dictionary: &RivalDictionary) -> other::Avp {
    let value: AvpValue = match &avp.value {
        Value::Utf8String(text) => other::UTF8String::new(text).into(),
        Value::DiameterIdentity(text) => other::Identity::new(text).into(),
        Value::Unsigned32(value) => other::Unsigned32::new(*value).into(),
        Value::Unsigned64(value) => other::Unsigned64::new(*value).into(),
        Value::Integer32(value) => other::Integer32::new(*value).into(),
        Value::Enumerated(value) => other::Enumerated::new(*value).into(),
        Value::Time(secs) => {
            let time = chrono::DateTime::from_timestamp(*secs, 0).expect("in range");
            other::Time::new(time).into()
        }
        Value::Grouped(members) => {
            let members = members.iter().map(|member| rival_avp(member, dictionary)).collect();
            other::Grouped::new(members, Arc::clone(dictionary)).into()
        }
        value => panic!("not in these messages: {value:?}"),
    };
    let vendor = (avp.id.vendor != 0).then_some(avp.id.vendor);
    other::Avp::new(avp.id.code, vendor, avp.flags.0 & 0x7f, value, Arc::clone(dictionary))
}

/// From values through the `put_…` functions: what an encode plan does.
fn write(message: &Message, out: &mut BytesMut) {
    out.clear();
    let header = &message.header;
    let (code, application) = (header.code, header.application);
    begin_message(out, header.flags, code, application, header.hop_by_hop, header.end_to_end);
    write_list(&message.avps, out);
    end_message(out);
}

fn write_list(avps: &[Avp], out: &mut BytesMut) {
    for avp in avps {
        match &avp.value {
            Value::Unsigned32(value) => put_u32(out, avp.id, avp.flags, *value),
            Value::Integer32(value) | Value::Enumerated(value) => {
                put_i32(out, avp.id, avp.flags, *value);
            }
            Value::Unsigned64(value) => put_u64(out, avp.id, avp.flags, *value),
            Value::Time(secs) => {
                let ntp = farebox::diameter::value::time_to_wire(*secs);
                put_u32(out, avp.id, avp.flags, ntp);
            }
            Value::Grouped(members) => {
                let mark = begin_group(out, avp.id, avp.flags);
                write_list(members, out);
                end_group(out, mark);
            }
            value => {
                put_bytes(out, avp.id, avp.flags, value.as_text().unwrap_or("").as_bytes());
            }
        }
    }
}

/// One thing to time: name and what one turn does.
type Case<'a> = (&'static str, Box<dyn FnMut() + 'a>);

fn cases<'a>(message: &'a Message, bytes: &'a Bytes, rival: &'a RivalDictionary) -> Vec<Case<'a>> {
    let dictionary = Dictionary::builtin();
    let limits = Limits::default();
    let mut out = BytesMut::with_capacity(4096);
    let mut rival_out = Vec::with_capacity(4096);
    let built = rival_build(message, rival);
    vec![
        (
            "decode-view",
            Box::new(move || {
                let view = View::new(black_box(bytes), &limits).expect("a message");
                assert_eq!(black_box(view.first_problem(dictionary, &limits)), None);
            }),
        ),
        (
            "decode-tree",
            Box::new(move || {
                black_box(decode(black_box(bytes), dictionary, &limits));
            }),
        ),
        (
            "decode-rival",
            Box::new(move || {
                black_box(rival_decode(black_box(bytes), rival)).expect("it decodes");
            }),
        ),
        (
            "encode-put",
            Box::new(move || {
                write(black_box(message), &mut out);
                black_box(&out);
            }),
        ),
        (
            "encode-tree",
            Box::new(move || {
                black_box(black_box(message).encode(dictionary));
            }),
        ),
        (
            "encode-rival",
            Box::new(move || {
                rival_out.clear();
                black_box(rival_build(black_box(message), rival))
                    .encode_to(&mut rival_out)
                    .expect("encodes");
                black_box(&rival_out);
            }),
        ),
        (
            "encode-rival-built",
            Box::new({
                let mut out = Vec::with_capacity(4096);
                move || {
                    out.clear();
                    black_box(&built).encode_to(&mut out).expect("encodes");
                    black_box(&out);
                }
            }),
        ),
    ]
}

const ROUNDS: usize = 301;
const TURNS: u32 = 200;

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn table(name: &str, message: &Message, rival: &RivalDictionary) {
    let bytes = message.encode(Dictionary::builtin());
    let mut cases = cases(message, &bytes, rival);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    let mut allocations = vec![0; cases.len()];
    for round in 0..ROUNDS {
        for at in 0..cases.len() {
            // Another order each round: nobody always follows the same neighbour.
            let at = (at * 3 + round) % cases.len();
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            let begin = Instant::now();
            for _ in 0..TURNS {
                (cases[at].1)();
            }
            times[at].push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS));
            allocations[at] = ALLOCATIONS.load(Ordering::Relaxed) - before;
        }
    }
    println!("\n{name}: {} octets, {} AVPs", bytes.len(), samples::count(&message.avps));
    println!("  {:<20} {:>9} {:>12} {:>8}", "case", "ns", "allocations", "rival");
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    for (at, (case, _)) in cases.iter().enumerate() {
        let rival = if case.starts_with("decode") { medians[2] } else { medians[5] };
        let each = allocations[at] as f64 / f64::from(TURNS);
        println!("  {case:<20} {:>9.0} {each:>12.1} {:>7.1}x", medians[at], rival / medians[at]);
    }
    assert_eq!(allocations[0], 0, "the view allocates");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let rival = rival_dictionary(Dictionary::builtin());
    let messages = [("ACR-Stop", samples::acr_stop()), ("CCR-T", samples::ccr_t())];
    if let [run, message, case, turns] = &arguments[..]
        && run == "--run"
    {
        let turns: u32 = turns.parse().expect("a number");
        let (_, message) =
            messages.iter().find(|(name, _)| name == message).expect("ACR-Stop or CCR-T");
        let bytes = message.encode(Dictionary::builtin());
        let mut cases = cases(message, &bytes, &rival);
        let (_, turn) = cases.iter_mut().find(|(name, _)| name == case).expect("a case");
        (0..turns).for_each(|_| turn());
        return;
    }
    println!(
        "median of {ROUNDS} rounds of {TURNS} turns, interleaved; `rival` = how many times the crate's time"
    );
    for (name, message) in &messages {
        table(name, message, &rival);
    }
}
