//! The books of a proof as files in one folder: written by those who kept them, read by the judge.
//!
//! `calls.ndjson` the client's ledger, `cdr.ndjson` the CDF's file, `ledger.ndjson` the OCS's
//! debits and reservations, `gateway.ndjson` the records of the gateway's store, `odd.ndjson` what
//! the simulators found odd. Of a CDR only the raw message counts.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::proof_check::{Books, Call, CdfRecord, GatewayRecord, OcsDebit, Op};
use super::proof_load::Entry;
use crate::diagnostic::Code;
use crate::diameter::{AvpList, Dictionary, Limits, decode, id};
use crate::sim::ledger::{Account, Movement};
use crate::sim::run::{CdfServer, OcsServer};

const CALLS: &str = "calls.ndjson";
/// The CDF writes this one itself.
pub(crate) const CDRS: &str = "cdr.ndjson";
const LEDGER: &str = "ledger.ndjson";
const GATEWAY: &str = "gateway.ndjson";
const ODD: &str = "odd.ndjson";

/// States of records by their number in the store's table.
const STATES: [&str; 6] =
    ["waiting", "acknowledged", "answered", "dead", "superseded", "abandoned"];

/// Writes the client's ledger.
pub(crate) fn write_calls(folder: &Path, entries: &[Entry]) -> Result<(), Failure> {
    let lines = entries.iter().map(|entry| {
        let call = &entry.call;
        json!({
            "subject": call.subject, "op": op_name(call.op), "account": call.account,
            "icid": call.icid, "ch1": call.ch1, "ch2": call.ch2, "messages": call.messages,
            "path": entry.path, "key": entry.key, "sha256": entry.sha256, "tries": call.tries,
            "outcome": call.outcome, "replayed": entry.replayed,
            "answeredDifferently": call.answered_differently,
        })
    });
    write(&folder.join(CALLS), lines)
}

/// Writes the OCS's debits and what it still holds.
pub(crate) fn write_ledger(folder: &Path, ocs: &OcsServer) -> Result<(), Failure> {
    let ledger = ocs.ledger();
    let debits = ledger.entries().filter_map(|entry| {
        let (payer, amount) = match (entry.movement, &entry.from, &entry.to) {
            (Movement::Debit, Account::Subscriber(id) | Account::Reserved(id), _) => {
                (id, entry.amount.0)
            }
            (Movement::Refund, _, Account::Subscriber(id)) => (id, -entry.amount.0),
            _ => return None,
        };
        Some(json!({
            "account": &**payer, "session": &*entry.cause.session,
            "number": entry.cause.request_number, "amount": amount.to_string(),
        }))
    });
    let accounts = ocs.accounts();
    let held = accounts.iter().filter(|account| account.reserved.0 != 0).map(
        |account| json!({"account": &*account.id, "reserved": account.reserved.0.to_string()}),
    );
    write(&folder.join(LEDGER), debits.chain(held))
}

/// Writes what the simulators found odd.
pub(crate) fn write_odd(folder: &Path, ocs: &OcsServer, cdf: &CdfServer) -> Result<(), Failure> {
    let of_ocs = ocs.anomalies().into_iter().map(|one| format!("OCS: {one}"));
    let of_cdf = cdf.anomalies().into_iter().map(|one| format!("CDF: {one}"));
    let balance = ocs.ledger().check().err().map(|error| format!("OCS: {error:?}"));
    write(&folder.join(ODD), of_ocs.chain(of_cdf).chain(balance).map(|words| json!({"odd": words})))
}

/// Copies the records out of the gateway's store, which nobody has open any more.
pub(crate) fn write_gateway(folder: &Path, store: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let words = format!("`{}`: {error}", store.display());
        Failure::coded(Exit::Failed, Code::FB2003, words)
    };
    let current = fs::read_to_string(store.join("CURRENT")).map_err(|error| failed(&error))?;
    let db = Connection::open(store.join(current.trim())).map_err(|error| failed(&error))?;
    let mut lines = Vec::new();
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = db.prepare(
            "SELECT subject, command, state, diameter_session_id FROM record ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let state = usize::try_from(row.get::<_, i64>(2)?).unwrap_or(usize::MAX);
            lines.push(json!({
                "subject": row.get::<_, String>(0)?, "command": row.get::<_, String>(1)?,
                "state": STATES.get(state).unwrap_or(&"unknown"),
                "session": row.get::<_, String>(3)?,
            }));
        }
        Ok(())
    };
    read().map_err(|error| failed(&error))?;
    write(&folder.join(GATEWAY), lines.into_iter())
}

/// Reads all books of a folder. `price` of a message in micro-units.
pub(crate) fn read_books(folder: &Path, price: i128) -> Result<Books, Failure> {
    let mut books = Books { price, ..Books::default() };
    each(&folder.join(CALLS), |line| {
        books.calls.push(call(line)?);
        Some(())
    })?;
    each(&folder.join(CDRS), |line| {
        books.cdf.push(cdf_record(line["raw"].as_str()?)?);
        Some(())
    })?;
    each(&folder.join(LEDGER), |line| {
        let account = digits(line["account"].as_str()?);
        if let Some(held) = line["reserved"].as_str() {
            books.reserved.insert(account, held.parse().ok()?);
            return Some(());
        }
        books.ocs.push(OcsDebit {
            account,
            session: line["session"].as_str()?.to_owned(),
            number: u32::try_from(line["number"].as_u64()?).ok()?,
            amount: line["amount"].as_str()?.parse().ok()?,
        });
        Some(())
    })?;
    each(&folder.join(GATEWAY), |line| {
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        books.gateway.push(GatewayRecord {
            subject: text("subject")?,
            command: text("command")?,
            state: text("state")?,
            session: text("session")?,
        });
        Some(())
    })?;
    each(&folder.join(ODD), |line| {
        books.odd.push(line["odd"].as_str()?.to_owned());
        Some(())
    })?;
    Ok(books)
}

/// An E.164 number is the same with and without its plus.
fn digits(account: &str) -> String {
    account.strip_prefix('+').unwrap_or(account).to_owned()
}

fn op_name(op: Op) -> &'static str {
    match op {
        Op::Start => "start",
        Op::Interim => "interim",
        Op::Close => "terminate",
        Op::Event => "event",
    }
}

fn call(line: &Value) -> Option<Call> {
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let op = match line["op"].as_str()? {
        "start" => Op::Start,
        "interim" => Op::Interim,
        "terminate" => Op::Close,
        "event" => Op::Event,
        _ => return None,
    };
    let one_try = |value: &Value| match value {
        Value::Null => Some(None),
        status => Some(Some(u16::try_from(status.as_u64()?).ok()?)),
    };
    Some(Call {
        subject: text("subject")?,
        account: digits(&text("account")?),
        icid: text("icid")?,
        op,
        ch1: line["ch1"].as_bool()?,
        ch2: line["ch2"].as_bool()?,
        messages: line["messages"].as_u64()?,
        tries: line["tries"].as_array()?.iter().map(one_try).collect::<Option<_>>()?,
        outcome: text("outcome")?,
        answered_differently: line["answeredDifferently"].as_bool()?,
    })
}

/// Reads an ACR from its octets: the codec is all that is shared with the gateway.
fn cdf_record(hex: &str) -> Option<CdfRecord> {
    let octet = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let octets: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(octet).collect();
    let (message, _) = decode(&Bytes::from(octets?), Dictionary::builtin(), &Limits::default());
    let service = message.group(id::SERVICE_INFORMATION).unwrap_or(&[]);
    let ims = service.group(id::IMS_INFORMATION).unwrap_or(&[]);
    let im = service.group(id::IM_INFORMATION).unwrap_or(&[]);
    let specific = ims.all(id::SERVICE_SPECIFIC_INFO).filter_map(|avp| avp.members());
    let backup = specific.filter_map(|info| backup(info.text(id::SERVICE_SPECIFIC_DATA)?));
    Some(CdfRecord {
        session: message.text(id::SESSION_ID)?.to_owned(),
        number: message.unsigned32(id::ACCOUNTING_RECORD_NUMBER)?,
        kind: message.enumerated(id::ACCOUNTING_RECORD_TYPE)?,
        icid: ims.text(id::IMS_CHARGING_IDENTIFIER).unwrap_or("").to_owned(),
        sent: im.unsigned32(id::TOTAL_NUMBER_OF_MESSAGES_SENT).map(u64::from),
        backup: backup.collect(),
        retransmission: message.header.flags.is_retransmit(),
    })
}

/// `farebox-backup;ccr=<Session-Id>;n=2;rg=700;seconds=311;messages=14`; a Session-Id contains
/// semicolons and runs to the last `;n=`.
fn backup(data: &str) -> Option<(String, u64)> {
    let (session, rest) = data.strip_prefix("farebox-backup;ccr=")?.rsplit_once(";n=")?;
    let messages = rest.split(';').find_map(|part| part.strip_prefix("messages="));
    Some((session.to_owned(), messages.map_or(Some(0), |text| text.parse().ok())?))
}

fn write(path: &Path, lines: impl Iterator<Item = Value>) -> Result<(), Failure> {
    let all = || -> std::io::Result<()> {
        let mut file = BufWriter::new(fs::File::create(path)?);
        for line in lines {
            writeln!(file, "{line}")?;
        }
        file.flush()
    };
    all().map_err(|error| Failure::file(path, &error))
}

/// Every line of a file; a line that cannot be read is bad data.
fn each(path: &Path, mut read: impl FnMut(&Value) -> Option<()>) -> Result<(), Failure> {
    let file = fs::File::open(path).map_err(|error| Failure::file(path, &error))?;
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| Failure::file(path, &error))?;
        let value: Option<Value> = serde_json::from_str(&line).ok();
        if value.as_ref().and_then(&mut read).is_none() {
            let words = format!("`{}` line {}: not a line of this book", path.display(), index + 1);
            return Err(Failure::new(Exit::BadData, words));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_of_the_client_comes_back_as_it_was() {
        let folder = std::env::temp_dir().join(format!("farebox-books-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let call = Call {
            subject: "00000001-kill9".to_owned(),
            account: "12020000001".to_owned(),
            icid: "icid-00000001".to_owned(),
            op: Op::Close,
            ch1: true,
            ch2: false,
            messages: 14,
            tries: vec![None, Some(503), Some(200)],
            outcome: "debited".to_owned(),
            answered_differently: true,
        };
        let entry = Entry {
            call: call.clone(),
            path: "/v1/sessions/00000001-kill9/terminate".to_owned(),
            key: None,
            sha256: "00".to_owned(),
            replayed: false,
        };
        write_calls(&folder, &[entry]).expect("written");
        for empty in [CDRS, LEDGER, GATEWAY, ODD] {
            fs::write(folder.join(empty), "").expect("written");
        }
        let books = read_books(&folder, 1).expect("readable");
        assert_eq!(books.calls, [call]);
        fs::write(folder.join(ODD), "{\"odd\": 7}\n").expect("written");
        let failure = read_books(&folder, 1).expect_err("not a text");
        assert!(failure.message.contains("odd.ndjson` line 1"), "{}", failure.message);
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn a_backup_entry_is_read() {
        let data = "farebox-backup;ccr=cg1;17;1;9f1c4a7e;n=2;rg=700;seconds=191;messages=8";
        assert_eq!(backup(data), Some(("cg1;17;1;9f1c4a7e".to_owned(), 8)));
        assert_eq!(backup("farebox-orphan"), None);
    }
}
