//! The servers: `sim::ocs` and `sim::cdf` behind their faults and a responder's control block each.
//!
//! Servers of one dedup domain share books, sessions and duplicate detection; others share nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Wall;
use crate::diameter::AvpList;
use crate::diameter::Header;
use crate::diameter::Message;
use crate::diameter::command;
use crate::diameter::id;
use crate::peer::LocalIdentity;
use crate::peer::PeerConfig;
use crate::peer::control_block::Action;
use crate::peer::control_block::ControlBlock;
use crate::peer::control_block::Input;
use crate::peer::control_block::Service;
use crate::peer::machine::Side;
use crate::sim::account::AccountSpec;
use crate::sim::account::AccountState;
use crate::sim::account::OcsConfig;
use crate::sim::account::RefuseAt;
use crate::sim::answer::Identity;
use crate::sim::answer::Request;
use crate::sim::answer::all_subscriptions;
use crate::sim::answer::command_name;
use crate::sim::cdf::Cdf;
use crate::sim::cdf::CdfConfig;
use crate::sim::fault::End as FaultEnd;
use crate::sim::ledger::Amount;
use crate::sim::ledger::Currency;
use crate::sim::ocs::Ocs;
use crate::sim::rating::Tariff;
use crate::sim::server::Act;
use crate::sim::server::Charging;
use crate::sim::server::Server;

use super::evidence::RequestKey;
use super::evidence::Served;
use super::evidence::Used;
use super::network::End;
use super::plan::AccountKind;
use super::plan::PRICE_MICROS;
use super::world::Event;
use super::world::FIRST_CDF;
use super::world::NAMES;
use super::world::PEERS;
use super::world::World;

/// One server.
pub(super) struct Station {
    pub(super) server: Server,
    pub(super) block: Option<ControlBlock>,
    /// The responder connection.
    pub(super) connection: Option<u64>,
    /// The connection whose CER is being judged.
    newcomer: Option<u64>,
    /// Index of its books: of the OCSs, or of the CDFs.
    pub(super) books: usize,
    state_id: u32,
}

/// Realm of a peer; two OCSs without a common domain are two realms.
pub(super) fn realm(peer: usize, shared: bool) -> &'static str {
    match (peer, shared) {
        (0, _) | (1, true) => "ocs.example.net",
        (1, false) => "ocs2.example.net",
        _ => "cdf.example.net",
    }
}

/// Origin-Host of a peer.
pub(super) fn host(peer: usize, shared: bool) -> String {
    format!("{}.{}", NAMES[peer], realm(peer, shared))
}

impl World {
    pub(super) fn build_servers(&mut self, wall: Wall) {
        let setup = &self.plan.setup;
        let tariff =
            Tariff { grant_seconds: Some(600), ..Tariff::per_message(Amount(PRICE_MICROS)) };
        let accounts = setup.accounts.iter().map(|account| {
            let state = match account.kind {
                AccountKind::Active => AccountState::Active,
                AccountKind::Blocked => AccountState::Blocked,
                AccountKind::Free => AccountState::Free,
                AccountKind::Unknown => AccountState::Unknown,
            };
            (account.id.clone(), AccountSpec { balance: Amount(account.balance), state })
        });
        let config = OcsConfig {
            accounts: accounts.collect(),
            tariffs: BTreeMap::from([(700, tariff.clone()), (701, tariff)]),
            refuse_at: if setup.refuse_at_command { RefuseAt::Command } else { RefuseAt::Service },
            failure_handling: setup.told_ccfh,
            direct_debiting_failure_handling: setup.told_ddfh,
            session_failover: setup.failover,
            ..OcsConfig::standard(Currency::EUR)
        };
        let books = if setup.shared_domain { 1 } else { 2 };
        self.ocs = (0..books).map(|_| Ocs::new(config.clone(), wall)).collect();
        self.cdf = (0..PEERS - FIRST_CDF).map(|_| Cdf::new(CdfConfig::default())).collect();
        let shared = setup.shared_domain;
        self.evidence.domains = (0..PEERS)
            .map(|peer| match peer {
                0 | FIRST_CDF.. => 0,
                _ => usize::from(!shared),
            })
            .collect();
        self.stations = (0..PEERS)
            .map(|peer| Station {
                server: Server::new(Identity::new(host(peer, shared), realm(peer, shared))),
                block: None,
                connection: None,
                newcomer: None,
                books: match peer {
                    FIRST_CDF.. => peer - FIRST_CDF,
                    _ => peer.min(books - 1),
                },
                state_id: 1,
            })
            .collect();
    }

    fn new_station_block(&mut self, peer: usize) -> ControlBlock {
        let station = &self.stations[peer];
        let me = station.server.identity();
        let identity = LocalIdentity {
            origin_state_id: station.state_id,
            ..LocalIdentity::new(&me.host, &me.realm)
        };
        let config = PeerConfig {
            watchdog: self.plan.setup.watchdog,
            ..PeerConfig::new("cg1", None, "ims.example.net")
        };
        let service = Service {
            commands: vec![(4, command::CREDIT_CONTROL), (3, command::ACCOUNTING)],
            ..Service::default()
        };
        let seed = self.network_random.bits();
        ControlBlock::new(config, service, identity, self.kit.dictionary.clone(), seed)
    }

    /// A whole message came to a server.
    pub(super) fn server_receives(&mut self, peer: usize, id: u64, message: Bytes) {
        let Some(header) = Header::parse(&message) else { return };
        if self.stations[peer].connection == Some(id) {
            let watchdog = header.code == command::DEVICE_WATCHDOG && header.flags.is_request();
            if !(watchdog && self.stations[peer].server.is_silent(self.now)) {
                self.station_give(peer, Input::Received(Side::Responder, message));
            }
            return;
        }
        if header.code != command::CAPABILITIES_EXCHANGE {
            return;
        }
        if self.stations[peer].block.is_none() {
            self.stations[peer].block = Some(self.new_station_block(peer));
        }
        self.stations[peer].newcomer = Some(id);
        let from = "cg1".to_owned();
        self.station_give(peer, Input::Incoming { cer: message, local: Vec::new(), from });
    }

    /// A connection of a server is over.
    pub(super) fn station_loses(&mut self, peer: usize, id: u64, reason: &str) {
        if self.stations[peer].connection == Some(id) {
            self.stations[peer].server.closed(id);
            let reason = reason.to_owned();
            self.station_give(peer, Input::Disconnected(Side::Responder, reason));
            self.stations[peer].connection = None;
            self.stations[peer].block = None;
        }
    }

    pub(super) fn station_give(&mut self, peer: usize, input: Input) {
        let now = self.now;
        let Some(block) = self.stations[peer].block.as_mut() else { return };
        let mut actions = Vec::new();
        block.handle(input, now, &mut actions);
        for action in actions {
            self.station_act(peer, action);
        }
        let station = &mut self.stations[peer];
        if station.connection.is_none() && station.newcomer.is_none() {
            station.block = None;
        }
    }

    fn station_act(&mut self, peer: usize, action: Action) {
        match action {
            Action::Took(row) => self.coverage.hit(row),
            Action::Accept => self.stations[peer].connection = self.stations[peer].newcomer.take(),
            Action::Reject(cea) => {
                if let Some(id) = self.stations[peer].newcomer.take() {
                    self.sometimes("connection rejected");
                    if let Some(cea) = cea {
                        self.write(id, End::Server, cea, None);
                    }
                    self.close(id, End::Server, "closed by the peer");
                }
            }
            Action::Write(_, octets) => {
                // The answer to a CER goes to the newcomer, who is accepted by then.
                if let Some(id) = self.stations[peer].connection {
                    self.write(id, End::Server, octets, None);
                }
            }
            Action::Disconnect(_) => {
                if let Some(id) = self.stations[peer].connection.take() {
                    self.stations[peer].server.closed(id);
                    self.close(id, End::Server, "closed by the peer");
                }
            }
            Action::Request(_, message) => self.serve(peer, &message),
            Action::Transmit { hop_by_hop, retransmit, bytes, .. } => {
                let octets = super::network::on_the_wire(&bytes, hop_by_hop, retransmit);
                if let Some(id) = self.stations[peer].connection {
                    self.write(id, End::Server, octets, None);
                }
            }
            Action::Answer { token, bytes, .. } => self.peer_answered(peer, token, &bytes),
            _ => {}
        }
    }

    /// A charging request reaches the charging system behind a server.
    fn serve(&mut self, peer: usize, message: &Bytes) {
        let Some(id) = self.stations[peer].connection else { return };
        let (now, wall) = (self.now, self.true_wall());
        let station = &mut self.stations[peer];
        let mut log = None;
        let acts = if peer < FIRST_CDF {
            let inner: &mut dyn Charging = &mut self.ocs[station.books];
            let mut observed = Observed { inner, log: &mut log };
            station.server.request(&mut observed, id, message, now, wall)
        } else {
            let inner: &mut dyn Charging = &mut self.cdf[station.books];
            let mut observed = Observed { inner, log: &mut log };
            station.server.request(&mut observed, id, message, now, wall)
        };
        let books = self.evidence.domains[peer];
        if let Some(served) = log {
            self.trace(
                20,
                u64::from(served.key.number),
                u64::from(served.code.unwrap_or(0)),
                || {
                    format!(
                        "{} serves {} {} of {}: {:?}",
                        NAMES[peer],
                        served.command,
                        served.key.number,
                        served.key.session,
                        served.code
                    )
                },
            );
            self.evidence.served.push(Served { at: now, books, ..served });
        } else {
            self.trace(21, peer as u64, 0, || format!("{} loses a request", NAMES[peer]));
        }
        // The work itself takes a moment.
        let work =
            self.network_random.duration(Duration::from_micros(50), Duration::from_millis(2));
        for act in acts {
            let after = match &act {
                Act::Send { after, .. } | Act::End { after, .. } => *after,
            };
            self.after(work + after, Event::Act(peer, id, act));
        }
    }

    /// What a server does with its connection, now.
    pub(super) fn act(&mut self, peer: usize, id: u64, act: Act) {
        if self.stations[peer].connection != Some(id) {
            return;
        }
        match act {
            Act::Send { bytes, .. } => self.write(id, End::Server, bytes, None),
            Act::End { how: FaultEnd::Close, .. } => self.ended(id, End::Server, "closed here"),
            Act::End { how: FaultEnd::Reset, .. } => self.reset(id),
        }
    }

    /// Each OCS asks for every open session: RAR or ASR. What is not its own must not be heard.
    pub(super) fn ask(&mut self, abort: bool) {
        for peer in 0..FIRST_CDF {
            for books in 0..self.ocs.len() {
                for session in self.ocs[books].sessions().into_iter().take(8) {
                    let station = &mut self.stations[peer];
                    let bytes = match abort {
                        true => station.server.asr(&session),
                        false => station.server.rar(&session, None),
                    };
                    let Some(header) = Header::parse(&bytes) else { continue };
                    let token = u64::from(header.end_to_end);
                    // Of one domain both may be the session's server; of two only one is.
                    let stranger = self.ocs.len() > 1 && station.books != books;
                    self.asked.insert((peer, token), stranger);
                    self.sometimes(if stranger { "asked by a stranger" } else { "asked" });
                    self.station_give(peer, Input::Send { token, bytes, retransmit: false });
                }
            }
        }
    }

    fn peer_answered(&mut self, peer: usize, token: u64, bytes: &Bytes) {
        let (message, _) = super::witness::read(bytes);
        let code = message.unsigned32(id::RESULT_CODE);
        self.trace(22, token, u64::from(code.unwrap_or(0)), || {
            format!("{} is answered {code:?}", NAMES[peer])
        });
        let heard = matches!(code, Some(2000..=2999));
        if heard {
            self.sometimes("RAR or ASR heard");
        }
        if self.asked.get(&(peer, token)) == Some(&true) && heard {
            let detail = format!("{} asked for a session of another server", NAMES[peer]);
            self.finding("SEC-03", detail);
        }
    }

    /// A server starts again; its books are on a disk of its own.
    pub(super) fn reboot(&mut self, peer: usize) {
        self.stations[peer].state_id += 1;
        if let Some(id) = self.stations[peer].connection {
            self.ended(id, End::Server, "closed by the peer");
        }
        self.stations[peer].block = None;
        self.stations[peer].connection = None;
    }
}

/// Watches what the charging system answers.
struct Observed<'a> {
    inner: &'a mut dyn Charging,
    log: &'a mut Option<Served>,
}

impl Observed<'_> {
    fn note(&mut self, request: &Request<'_>, answer: &Message) {
        *self.log = served(request.message, answer.unsigned32(id::RESULT_CODE));
    }
}

impl Charging for Observed<'_> {
    fn answer(&mut self, me: &Identity, request: &Request<'_>, raw: &Bytes, now: Wall) -> Message {
        let answer = self.inner.answer(me, request, raw, now);
        self.note(request, &answer);
        answer
    }

    fn answer_with(
        &mut self,
        me: &Identity,
        request: &Request<'_>,
        raw: &Bytes,
        now: Wall,
        code: u32,
    ) -> Message {
        let answer = self.inner.answer_with(me, request, raw, now, code);
        self.note(request, &answer);
        answer
    }

    fn expire(&mut self, now: Wall) -> usize {
        self.inner.expire(now)
    }
}

/// Session-Id and number of a charging request.
pub(super) fn request_key(message: &Message) -> RequestKey {
    let number = message
        .unsigned32(id::CC_REQUEST_NUMBER)
        .or_else(|| message.unsigned32(id::ACCOUNTING_RECORD_NUMBER));
    RequestKey {
        session: message.text(id::SESSION_ID).unwrap_or("").into(),
        number: number.unwrap_or(0),
    }
}

/// Units of every Multiple-Services-Credit-Control: used, and asked for.
pub(super) fn units_of(message: &Message) -> (Vec<Used>, u64) {
    let mut used = Vec::new();
    let mut asked = 0;
    for service in message.all(id::MULTIPLE_SERVICES_CREDIT_CONTROL) {
        let members = service.members().unwrap_or_default();
        let rating_group = members.unsigned32(id::RATING_GROUP).unwrap_or(0);
        for unit in members.all(id::USED_SERVICE_UNIT) {
            let unit = unit.members().unwrap_or_default();
            used.push(Used {
                rating_group,
                seconds: u64::from(unit.unsigned32(id::CC_TIME).unwrap_or(0)),
                messages: unit.unsigned64(id::CC_SERVICE_SPECIFIC_UNITS).unwrap_or(0),
            });
        }
        let requested = members.group(id::REQUESTED_SERVICE_UNIT).unwrap_or(&[]);
        asked += requested.unsigned64(id::CC_SERVICE_SPECIFIC_UNITS).unwrap_or(0);
    }
    if message.find(id::MULTIPLE_SERVICES_CREDIT_CONTROL).is_none() {
        let requested = message.group(id::REQUESTED_SERVICE_UNIT).unwrap_or(&[]);
        asked = requested.unsigned64(id::CC_SERVICE_SPECIFIC_UNITS).unwrap_or(0);
    }
    (used, asked)
}

fn served(message: &Message, code: Option<u32>) -> Option<Served> {
    let (used, asked) = units_of(message);
    Some(Served {
        at: crate::clock::Now::ZERO,
        books: 0,
        command: command_name(message)?,
        key: request_key(message),
        code,
        used,
        asked,
        action: message.enumerated(id::REQUESTED_ACTION),
        subscriber: all_subscriptions(message)
            .first()
            .map(|(_, id)| id.clone())
            .unwrap_or_default(),
    })
}
