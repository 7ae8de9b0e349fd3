//! The witness: reads the wire, the answers, the books and the store into evidence, and checks
//! what can be checked while the universe runs.

use bytes::Bytes;

use crate::charging::engine::Input;
use crate::charging::outcome::Reply;
use crate::charging::record::Record;
use crate::diameter::Avp;
use crate::diameter::AvpList;
use crate::diameter::Dictionary;
use crate::diameter::Limits;
use crate::diameter::Message;
use crate::diameter::Problem;
use crate::diameter::ProblemKind;
use crate::diameter::decode;
use crate::diameter::id;
use crate::gateway::step;
use crate::sim::answer::command_name;
use crate::sim::answer::fingerprint;
use crate::sim::cdr::RecordType;
use crate::sim::ledger::Account as LedgerAccount;
use crate::sim::ledger::Entry;
use crate::sim::ledger::Movement;
use crate::store::Interface;
use crate::store::RecordId;
use crate::store::RecordRow;
use crate::store::RecordState;
use crate::store::Store;

use super::evidence::Account;
use super::evidence::Answered;
use super::evidence::Cdr;
use super::evidence::Copy;
use super::evidence::Posting;
use super::evidence::RequestKey;
use super::evidence::Stored;
use super::plan::AccountKind;
use super::plan::RICH_MICROS;
use super::servers::request_key;
use super::servers::units_of;
use super::world::NAMES;
use super::world::World;

/// A message of the wire, leniently.
pub(super) fn read(octets: &Bytes) -> (Message, Vec<Problem>) {
    decode(octets, Dictionary::builtin(), &Limits::default())
}

impl World {
    /// A request is handed to its connection.
    pub(super) fn left(
        &mut self,
        connection: u64,
        peer: usize,
        token: u64,
        given: u32,
        octets: &Bytes,
    ) {
        let (message, _) = read(octets);
        let Some(command) = command_name(&message) else { return };
        let header = message.header;
        let marked = header.flags.is_retransmit();
        if marked {
            self.sometimes("T set");
        }
        let index = self.evidence.copies.len();
        self.in_flight.insert((u64::from(self.life) << 8 | peer as u64, given), index);
        self.evidence.copies.push(Copy {
            at: self.now,
            life: self.life,
            token,
            is_void: false,
            peer,
            connection,
            hop_by_hop: header.hop_by_hop,
            end_to_end: header.end_to_end,
            marked,
            command,
            key: request_key(&message),
            fingerprint: fingerprint(octets),
            used: units_of(&message).0,
            answered: None,
        });
    }

    /// The connection ended, and not one octet of this copy had left.
    pub(super) fn never_left(&mut self, peer: usize, token: u64) {
        let life = self.life;
        let mut copies = self.evidence.copies.iter_mut().rev();
        let last =
            copies.find(|copy| copy.life == life && copy.peer == peer && copy.token == token);
        if let Some(copy) = last {
            copy.is_void = true;
        }
    }

    /// An answer reaches the engine.
    pub(super) fn note_answer(&mut self, news: &step::Event) {
        let step::Event::Engine(Input::Answer { peer, hop_by_hop, bytes, .. }) = news else {
            return;
        };
        let key = (u64::from(self.life) << 8 | *peer as u64, *hop_by_hop);
        let Some(index) = self.in_flight.get(&key).copied() else { return };
        let (message, problems) = read(bytes);
        let unusable = problems.iter().any(|problem| {
            matches!(problem.kind, ProblemKind::UnknownAvp | ProblemKind::InvalidAvpLength)
        });
        let now = self.now;
        let copy = &mut self.evidence.copies[index];
        let number = message
            .unsigned32(id::CC_REQUEST_NUMBER)
            .or_else(|| message.unsigned32(id::ACCOUNTING_RECORD_NUMBER));
        let answered = Answered {
            at: now,
            code: message.unsigned32(id::RESULT_CODE),
            services: services(&message),
            unusable,
            mixed: number.is_some_and(|number| number != copy.key.number),
        };
        let late = now.since(copy.at) > self.plan.setup.tx;
        let (name, number) = (copy.command, copy.key.number);
        let code = answered.code;
        copy.answered.get_or_insert(answered);
        if late {
            self.sometimes("answer after Tx");
        }
        self.trace(70, u64::from(*hop_by_hop), u64::from(code.unwrap_or(0)), || {
            format!("{} -> {name} {number}: {code:?}", NAMES[*peer])
        });
    }

    // While it runs.

    /// 2xx means on disk: whatever an answer names is there.
    pub(super) fn check_reply(&mut self, line: usize, reply: &Reply) {
        let Reply::Answered { answer, .. } = reply else { return };
        let ids = [answer.ch1.record_id, answer.ch2.record_id];
        let missing: Vec<RecordId> = ids
            .into_iter()
            .flatten()
            .filter(|id| !matches!(self.disk.store.record(*id), Ok(Some(_))))
            .collect();
        let subject = self.evidence.calls[line].subject.clone();
        for id in missing {
            self.finding("I-1", format!("{subject} is answered, and record {id} is not on disk"));
        }
    }

    /// I-3, from one snapshot.
    pub(super) fn check_conservation(&mut self) {
        let Some(node) = self.node.as_ref() else { return };
        let mut broken = Vec::new();
        for (index, interface) in [Interface::Ch1, Interface::Ch2].into_iter().enumerate() {
            let count = |event: &str| node.counts[index].get(event).copied().unwrap_or(0);
            let now = node.core.engine().spool_counts(interface);
            let came = count("stored") + count("recovered");
            let went = count("acknowledged") + count("superseded") + count("abandoned");
            let here = now.waiting + now.in_flight + now.dead;
            if came != went + count("purged") + here {
                broken.push(format!(
                    "{interface:?}: {came} came, {went} went, {now:?} are here: {:?}",
                    node.counts[index]
                ));
            }
        }
        for detail in broken {
            self.finding("I-3", detail);
        }
    }

    /// I-12: some time after the last fault nothing waits and every peer is open.
    pub(super) fn check_quiet(&mut self) {
        let waiting: Vec<String> = self
            .disk
            .store
            .records()
            .filter(|row| row.state == RecordState::Waiting)
            .map(|row| format!("{} {} of {}", row.command, row.id, row.subject))
            .collect();
        for record in waiting {
            self.finding("I-12", format!("still waiting: {record}"));
        }
        let Some(node) = self.node.as_ref() else {
            return self.finding("I-12", "the gateway does not run".to_owned());
        };
        let closed: Vec<usize> = node
            .ends
            .iter()
            .enumerate()
            .filter(|(_, end)| !end.block.is_usable())
            .map(|(peer, _)| peer)
            .collect();
        for peer in closed {
            let state = self.node.as_ref().map(|node| node.ends[peer].block.state());
            self.finding("I-12", format!("{} is not open: {state:?}", NAMES[peer]));
        }
    }

    /// I-13: later nothing is left in memory.
    pub(super) fn check_baseline(&mut self) {
        let Some(node) = self.node.as_ref() else { return };
        let (sessions, records) = node.core.engine().in_memory();
        let mut left = Vec::new();
        if sessions > 0 || records > 0 {
            left.push(format!("{sessions} sessions and {records} records are still in memory"));
        }
        if !node.callers.is_empty() {
            left.push(format!("{} callers were never answered", node.callers.len()));
        }
        if !node.commits.is_empty() || !node.lookups.is_empty() || !node.flushing.is_empty() {
            left.push("work is left for the committer".to_owned());
        }
        let window: usize = node.ends.iter().map(|end| end.block.in_window()).sum();
        if window > 0 {
            left.push(format!("{window} requests are still in a window"));
        }
        for detail in left {
            self.finding("I-13", detail);
        }
    }

    // At the end.

    /// Reads books, records and store.
    pub(super) fn collect(&mut self) {
        let setup = &self.plan.setup;
        self.evidence.tx = setup.tx;
        self.evidence.backup = setup.backup;
        self.evidence.some_poor = setup
            .accounts
            .iter()
            .any(|account| account.balance < RICH_MICROS || account.kind != AccountKind::Active);
        let opening = |id: &str| {
            let known = setup.accounts.iter().find(|account| account.id == id);
            known.map_or(0, |account| account.balance)
        };
        for (books, ocs) in self.ocs.iter().enumerate() {
            let entries = ocs.ledger().entries();
            self.evidence.postings.extend(entries.filter_map(|entry| posting(books, entry)));
            self.evidence.accounts.extend(ocs.accounts().into_iter().map(|account| Account {
                books,
                opening: opening(&account.id),
                balance: account.balance.0,
                reserved: account.reserved.0,
                id: account.id.to_string(),
            }));
            self.evidence.books_broken.extend(ocs.ledger().check().err());
            self.evidence.open_at_ocs.extend(ocs.sessions().into_iter().map(|open| open.id));
            self.evidence.anomalies.extend(ocs.anomalies().iter().map(ToString::to_string));
        }
        for (index, cdf) in self.cdf.iter().enumerate() {
            self.evidence.anomalies.extend(cdf.anomalies().iter().map(ToString::to_string));
            self.evidence.cdrs.extend(cdf.records().map(|cdr| Cdr {
                cdf: index,
                command: acr_name(cdr.record_type),
                key: RequestKey { session: cdr.session.clone(), number: cdr.number },
                texts: cdr.ims.service_specific.iter().map(|(_, text)| text.clone()).collect(),
                sent: cdr.im.sent,
                cause_code: cdr.ims.cause_code,
            }));
        }
        let rows: Vec<RecordRow> = self.disk.store.records().cloned().collect();
        for row in rows {
            let born = self.disk.born.get(&row.id).copied();
            self.evidence.stored.extend(stored(&row, born));
        }
    }
}

fn services(message: &Message) -> Vec<(u32, Option<u32>)> {
    message
        .all(id::MULTIPLE_SERVICES_CREDIT_CONTROL)
        .filter_map(Avp::members)
        .map(|members| {
            (members.unsigned32(id::RATING_GROUP).unwrap_or(0), members.unsigned32(id::RESULT_CODE))
        })
        .collect()
}

fn acr_name(kind: RecordType) -> &'static str {
    match kind {
        RecordType::Event => "ACR-EVENT",
        RecordType::Start => "ACR-START",
        RecordType::Interim => "ACR-INTERIM",
        RecordType::Stop => "ACR-STOP",
    }
}

fn posting(books: usize, entry: &Entry) -> Option<Posting> {
    let (account, sign) = match entry.movement {
        Movement::Debit => (&entry.from, 1),
        Movement::Refund => (&entry.to, -1),
        _ => return None,
    };
    let subscriber = match account {
        LedgerAccount::Subscriber(id) | LedgerAccount::Reserved(id) => id.to_string(),
        LedgerAccount::Funding | LedgerAccount::Revenue => return None,
    };
    Some(Posting {
        books,
        key: RequestKey {
            session: entry.cause.session.clone(),
            number: entry.cause.request_number,
        },
        subscriber,
        amount: sign * entry.amount.0,
    })
}

/// A row of the store, read as an operator's export would.
fn stored(row: &RecordRow, born: Option<(u32, crate::clock::Now)>) -> Option<Stored> {
    let record: Record = minicbor::decode(&row.body).ok()?;
    let texts = match row.command.as_str() {
        "ACR-EVENT" => texts(&record.message),
        _ => Vec::new(),
    };
    Some(Stored {
        id: row.id,
        subject: row.subject.clone(),
        interface: row.interface,
        command: row.command.clone(),
        key: RequestKey {
            session: record.diameter_session_id.as_str().into(),
            number: record.number,
        },
        end_to_end: record.end_to_end,
        state: row.state,
        is_armed: row.due_at.is_some(),
        texts,
        born,
    })
}

fn texts(message: &Bytes) -> Vec<String> {
    let (message, _) = read(message);
    let service = message.group(id::SERVICE_INFORMATION).unwrap_or(&[]);
    let ims = service.group(id::IMS_INFORMATION).unwrap_or(&[]);
    ims.all(id::SERVICE_SPECIFIC_INFO)
        .filter_map(|avp| Some(avp.members()?.text(id::SERVICE_SPECIFIC_DATA)?.to_owned()))
        .collect()
}
