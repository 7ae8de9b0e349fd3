//! Two peers, their control blocks wired together without a socket, under a clock of our own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farebox::clock::Now;
use farebox::diameter::{
    Address, Avp, AvpId, Dictionary, Header, Message, command, id, result_code,
};
use farebox::peer::control_block::{Action, ControlBlock, Input, Service};
use farebox::peer::jitter::Jitter;
use farebox::peer::machine::Side;
use farebox::peer::pending::Mixed;
use farebox::peer::{
    Application, DisconnectCause, Fact, LocalIdentity, PeerConfig, PeerState, base,
};

const LOCAL: Address = Address::Ipv4([127, 0, 0, 1]);

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// One of two nodes: `cg` is ours (0), `ocs` is theirs (1).
struct Node {
    block: ControlBlock,
    /// What it told, in order.
    told: Vec<Action>,
    /// The connection that it dialled, and whether the other end has taken it.
    dialled: Option<bool>,
    /// Nothing of what it sends arrives.
    mute: bool,
}

struct World {
    now: Now,
    nodes: [Node; 2],
    inputs: VecDeque<(usize, Input)>,
    /// Dialling fails.
    unreachable: bool,
}

fn config(name: &str, host: &str, address: Option<&str>) -> PeerConfig {
    let mut config = PeerConfig::new(name, address, "example");
    config.host = Some(host.to_owned());
    config
}

fn service() -> Service {
    Service {
        commands: vec![(4, command::RE_AUTH), (4, command::ABORT_SESSION)],
        checked: true,
        requests_per_second_max: Some(100),
        for_us_only: true,
    }
}

fn node(config: PeerConfig, service: Service, host: &str, seed: u64) -> Node {
    let identity = LocalIdentity { origin_state_id: 10, ..LocalIdentity::new(host, "example") };
    let dictionary = Arc::new(Dictionary::builtin().clone());
    let block = ControlBlock::new(config, service, identity, dictionary, seed);
    Node { block, told: Vec::new(), dialled: None, mute: false }
}

impl World {
    /// Ours dials, theirs listens.
    fn new() -> World {
        World::with(|_| {}, |_| {})
    }

    fn with(ours: impl FnOnce(&mut PeerConfig), theirs: impl FnOnce(&mut PeerConfig)) -> World {
        let mut to_ocs = config("ocs", "ocs.example", Some("ocs.example:3868"));
        ours(&mut to_ocs);
        let mut to_cg = config("cg", "cg.example", None);
        theirs(&mut to_cg);
        let served = Service {
            commands: vec![(4, command::CREDIT_CONTROL), (3, command::ACCOUNTING)],
            ..Service::default()
        };
        World {
            now: Now::ZERO,
            nodes: [
                node(to_ocs, service(), "cg.example", 1),
                node(to_cg, served, "ocs.example", 2),
            ],
            inputs: VecDeque::new(),
            unreachable: false,
        }
    }

    fn open() -> World {
        let mut world = World::new();
        world.give(0, Input::Start);
        assert_eq!(world.states(), [PeerState::Open, PeerState::Open]);
        world.nodes.iter_mut().for_each(|node| node.told.clear());
        world
    }

    /// Gives an input and runs until nothing is on its way.
    fn give(&mut self, to: usize, input: Input) {
        self.inputs.push_back((to, input));
        while let Some((to, input)) = self.inputs.pop_front() {
            let mut out = Vec::new();
            self.nodes[to].block.handle(input, self.now, &mut out);
            for action in out {
                self.act(to, action);
            }
        }
    }

    fn act(&mut self, from: usize, action: Action) {
        let to = 1 - from;
        match &action {
            Action::Connect if self.unreachable => {
                self.inputs.push_back((from, Input::NotConnected("connection refused".into())));
            }
            Action::Connect => {
                self.nodes[from].dialled = Some(false);
                self.inputs.push_back((from, Input::Connected(vec![LOCAL])));
            }
            Action::Write(side, bytes) => self.carry(from, *side, bytes.clone()),
            Action::Transmit { side, bytes, hop_by_hop, retransmit, .. } => {
                let mut bytes = bytes.to_vec();
                farebox::diameter::patch_hop_by_hop(&mut bytes, *hop_by_hop);
                farebox::diameter::patch_retransmit(&mut bytes, *retransmit);
                self.carry(from, *side, bytes.into());
            }
            Action::Accept => self.nodes[to].dialled = Some(true),
            Action::Reject(cea) => {
                if let Some(cea) = cea {
                    self.inputs.push_back((to, Input::Received(Side::Initiator, cea.clone())));
                }
                self.cut(to);
            }
            Action::Disconnect(Side::Initiator) if self.nodes[from].dialled.take().is_some() => {
                self.inputs.push_back((to, disconnected(Side::Responder)));
            }
            Action::Disconnect(Side::Responder) => self.cut(to),
            _ => {}
        }
        self.nodes[from].told.push(action);
    }

    /// The connection that `dialler` made is gone on its side.
    fn cut(&mut self, dialler: usize) {
        if self.nodes[dialler].dialled.take().is_some() {
            self.inputs.push_back((dialler, disconnected(Side::Initiator)));
        }
    }

    fn carry(&mut self, from: usize, side: Side, bytes: Bytes) {
        if self.nodes[from].mute {
            return;
        }
        let to = 1 - from;
        let input = match side {
            Side::Responder => Input::Received(Side::Initiator, bytes),
            Side::Initiator if self.nodes[from].dialled == Some(true) => {
                Input::Received(Side::Responder, bytes)
            }
            Side::Initiator => {
                Input::Incoming { cer: bytes, local: vec![LOCAL], from: "127.0.0.1:9".into() }
            }
        };
        self.inputs.push_back((to, input));
    }

    /// Lets time pass, with every timer on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = [0, 1].map(|index| self.nodes[index].block.next_timeout());
            let Some(next) = due.into_iter().flatten().min().filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            for (index, due) in due.into_iter().enumerate() {
                if due.is_some_and(|due| due <= self.now) {
                    self.give(index, Input::Timeout);
                }
            }
        }
        self.now = end;
    }

    /// Lets time pass until the next timer of ours.
    fn next_timer(&mut self) {
        let due = self.nodes[0].block.next_timeout().expect("a timer");
        self.pass(due.since(self.now));
    }

    fn states(&self) -> [PeerState; 2] {
        [0, 1].map(|index| self.nodes[index].block.state())
    }

    fn rows(&self, index: usize) -> Vec<&'static str> {
        let rows = self.nodes[index].told.iter();
        rows.filter_map(|one| if let Action::Took(row) = one { Some(*row) } else { None }).collect()
    }

    fn facts(&self, index: usize) -> Vec<&Fact> {
        let facts = self.nodes[index].told.iter();
        facts
            .filter_map(|one| if let Action::Fact(fact) = one { Some(fact) } else { None })
            .collect()
    }

    fn lost(&self) -> Vec<u64> {
        let told = self.nodes[0].told.iter();
        told.filter_map(|one| if let Action::Lost(token) = one { Some(*token) } else { None })
            .collect()
    }

    fn answers(&self) -> Vec<(u64, Message)> {
        let told = self.nodes[0].told.iter();
        told.filter_map(|one| match one {
            Action::Answer { token, bytes, .. } => Some((*token, read(bytes))),
            _ => None,
        })
        .collect()
    }

    /// Messages that a node sent itself, in order.
    fn written(&self, index: usize) -> Vec<Message> {
        let told = self.nodes[index].told.iter();
        told.filter_map(|one| match one {
            Action::Write(_, bytes) | Action::Reject(Some(bytes)) => Some(read(bytes)),
            _ => None,
        })
        .collect()
    }

    /// Requests that theirs handed to its application.
    fn asked(&self, index: usize) -> Vec<Bytes> {
        let told = self.nodes[index].told.iter();
        told.filter_map(|one| match one {
            Action::Request(_, bytes) => Some(bytes.clone()),
            _ => None,
        })
        .collect()
    }

    /// A CCR of ours.
    fn ccr(&mut self, token: u64) {
        let bytes = ccr(token as u32);
        self.give(0, Input::Send { token, bytes, retransmit: false });
    }

    /// Theirs answers a request.
    fn answer(&mut self, request: &Bytes) {
        let mut cca = Message::answer_to(&Header::parse(request).expect("a header"));
        cca.push(Avp::text(id::SESSION_ID, "cg.example;1;1"));
        cca.push(Avp::u32(id::RESULT_CODE, 2001));
        self.give(1, Input::Reply(cca.encode_as_is()));
    }
}

fn disconnected(side: Side) -> Input {
    Input::Disconnected(side, "closed by the peer".into())
}

fn read(bytes: &Bytes) -> Message {
    let limits = farebox::diameter::Limits::default();
    farebox::diameter::decode(bytes, Dictionary::builtin(), &limits).0
}

fn ccr(end_to_end: u32) -> Bytes {
    let mut message = Message::request(command::CREDIT_CONTROL, 4, true);
    message.header.end_to_end = end_to_end;
    message.push(Avp::text(id::SESSION_ID, "cg.example;1;1"));
    message.push(Avp::identity(id::ORIGIN_HOST, "cg.example"));
    message.encode_as_is()
}

fn rar() -> Message {
    let mut message = Message::request(command::RE_AUTH, 4, true);
    message.header.hop_by_hop = 77;
    message.header.end_to_end = 88;
    message.push(Avp::text(id::SESSION_ID, "cg.example;1;1"));
    message.push(Avp::identity(id::ORIGIN_HOST, "ocs.example"));
    message.push(Avp::identity(id::ORIGIN_REALM, "example"));
    message.push(Avp::identity(id::DESTINATION_REALM, "example"));
    message.push(Avp::identity(id::DESTINATION_HOST, "cg.example"));
    message.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
    message.push(Avp::enumerated(id::RE_AUTH_REQUEST_TYPE, 0));
    message
}

/// Gives ours a message on its open connection.
fn receive(world: &mut World, message: &Message) {
    let bytes = message.encode(Dictionary::builtin());
    world.give(0, Input::Received(Side::Initiator, bytes));
}

#[test]
fn p_10_cer_and_cea_come_first_and_open() {
    let mut world = World::new();
    world.give(0, Input::Start);
    assert_eq!(world.states(), [PeerState::Open, PeerState::Open]);
    assert_eq!(world.rows(0), ["PSM-01", "PSM-03", "WD-09", "PSM-07", "WD-20"]);
    assert_eq!(world.rows(1), ["PSM-02", "WD-20"]);
    assert_eq!(world.written(0).len(), 1);
    assert_eq!(world.nodes[0].block.applications(), [3, 4]);
    let State { usable, reason, .. } = last_state(&world, 0);
    assert!(usable, "the first connection is usable at once");
    assert_eq!(reason, "ocs.example \"farebox\"");
}

#[derive(Debug)]
struct State {
    state: PeerState,
    usable: bool,
    reason: String,
}

fn states_told(world: &World, index: usize) -> Vec<State> {
    let told = world.nodes[index].told.iter();
    told.filter_map(|one| match one {
        Action::State { state, usable, reason } => {
            Some(State { state: *state, usable: *usable, reason: reason.clone() })
        }
        _ => None,
    })
    .collect()
}

fn last_state(world: &World, index: usize) -> State {
    states_told(world, index).pop().expect("a state was told")
}

#[test]
fn p_10_no_request_leaves_before_open() {
    let mut world = World::new();
    world.nodes[1].mute = true;
    world.give(0, Input::Start);
    assert_eq!(world.states()[0], PeerState::Handshaking);
    world.ccr(1);
    assert_eq!(world.lost(), [1]);
    assert_eq!(world.written(0).len(), 1, "the CER alone");
}

#[test]
fn w_12_a_request_finds_its_answer() {
    let mut world = World::open();
    world.ccr(1);
    let request = world.asked(1)[0].clone();
    assert!(!Header::parse(&request).expect("a header").flags.is_retransmit(), "H-05");
    world.answer(&request);
    assert_eq!(world.answers()[0].0, 1);
    world.answer(&request);
    assert!(matches!(world.facts(0)[..], [Fact::AnswerUnknown { command: 272, .. }]), "H-18");
    assert_eq!(world.answers().len(), 1);
}

#[test]
fn h_06_t_goes_out_as_it_is_decided() {
    let mut world = World::open();
    world.give(0, Input::Send { token: 1, bytes: ccr(1), retransmit: true });
    assert!(Header::parse(&world.asked(1)[0]).expect("a header").flags.is_retransmit());
}

#[test]
fn h_12_every_copy_gets_a_hop_by_hop_id_of_its_own_and_keeps_its_end_to_end_id() {
    let mut world = World::open();
    for _ in 0..3 {
        world.give(0, Input::Send { token: 1, bytes: ccr(5), retransmit: false });
    }
    let headers: Vec<Header> =
        world.asked(1).iter().map(|bytes| Header::parse(bytes).expect("a header")).collect();
    assert!(headers.iter().all(|header| header.end_to_end == 5), "H-16");
    assert_ne!(headers[0].hop_by_hop, headers[1].hop_by_hop);
    assert_ne!(headers[1].hop_by_hop, headers[2].hop_by_hop);
}

#[test]
fn fa_07_a_mixed_answer_is_told_and_discarded() {
    let mut world = World::open();
    world.ccr(1);
    let mut header = Header::parse(&world.asked(1)[0]).expect("a header");
    header.end_to_end += 1;
    let bytes = Message::answer_to(&header).encode_as_is();
    world.give(1, Input::Reply(bytes));
    assert!(matches!(world.facts(0)[..], [Fact::AnswerMixed { what: Mixed::EndToEnd, .. }]));
    assert!(world.answers().is_empty());
}

#[test]
fn p_13_an_application_that_is_not_shared_is_not_sent() {
    let mut world = World::with(
        |_| {},
        |theirs| {
            theirs.applications = vec![Application::acct(3)];
        },
    );
    world.give(0, Input::Start);
    assert_eq!(world.nodes[0].block.applications(), [3]);
    world.ccr(1);
    assert_eq!(world.lost(), [1]);
}

#[test]
fn p_15_no_common_application_is_bad_config_on_both_ends() {
    let mut world = World::with(
        |_| {},
        |theirs| {
            theirs.applications = vec![Application::auth(1)];
        },
    );
    world.give(0, Input::Start);
    assert_eq!(world.states(), [PeerState::BadConfig, PeerState::Down]);
    let cea = &world.written(1)[0];
    assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(result_code::NO_COMMON_APPLICATION));
    assert_eq!(world.rows(0), ["PSM-01", "PSM-03", "WD-09", "PSM-44x"]);
    let State { reason, usable, .. } = last_state(&world, 0);
    assert!(!usable);
    assert!(reason.starts_with("5010 DIAMETER_NO_COMMON_APPLICATION: no common"), "{reason}");
    // It goes on trying, and says so again once it has a new reason.
    world.unreachable = true;
    world.pass(secs(2));
    assert_eq!(world.states()[0], PeerState::Down);
}

#[test]
fn p_19_a_stranger_gets_3010_and_e() {
    let mut world = World::with(|_| {}, |theirs| theirs.host = Some("cg9.example".into()));
    world.give(0, Input::Start);
    let cea = &world.written(1)[0];
    assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(result_code::UNKNOWN_PEER));
    assert!(cea.header.flags.is_error());
    assert_eq!(world.states(), [PeerState::BadConfig, PeerState::Down]);
    assert!(matches!(world.facts(1)[..], [.., Fact::ConnectionRefused { .. }]));
}

#[test]
fn fm_02_a_cea_that_never_comes_ends_after_10_s() {
    let mut world = World::new();
    world.nodes[1].mute = true;
    world.give(0, Input::Start);
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.states()[0], PeerState::Handshaking);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.states(), [PeerState::Down, PeerState::Down]);
    assert_eq!(last_state(&world, 0).reason, "no CEA in time");
}

#[test]
fn fm_01_a_cea_with_a_wrong_hop_by_hop_id_is_no_cea() {
    let mut world = World::new();
    world.nodes[1].mute = true;
    world.give(0, Input::Start);
    let mut cea = world.written(1).remove(0);
    cea.header.hop_by_hop ^= 1;
    receive(&mut world, &cea);
    assert_eq!(world.states()[0], PeerState::BadRemote);
    assert!(last_state(&world, 0).reason.starts_with("its CEA answers no CER of ours"));
}

#[test]
fn fm_02_a_second_cea_is_counted_and_forgotten() {
    let mut world = World::new();
    world.give(0, Input::Start);
    let cea = world.written(1).remove(0);
    receive(&mut world, &cea);
    assert_eq!(world.states()[0], PeerState::Open);
    assert!(matches!(world.facts(0).last(), Some(Fact::Discarded { command: 257, .. })));
}

#[test]
fn fm_03_a_cer_on_an_open_connection_is_5012() {
    let mut world = World::new();
    world.give(0, Input::Start);
    let cer = world.written(0).remove(0);
    world.give(1, Input::Received(Side::Responder, cer.encode_as_is()));
    let refusal = world.written(1).pop().expect("an answer");
    assert_eq!(refusal.unsigned32(id::RESULT_CODE), Some(result_code::UNABLE_TO_COMPLY));
    assert_eq!(world.states(), [PeerState::Open, PeerState::Open]);
}

#[test]
fn f_20_a_second_connection_is_rejected_and_the_first_one_probed() {
    let mut world = World::new();
    world.give(0, Input::Start);
    let cer = world.written(0)[0].encode(Dictionary::builtin());
    world.nodes[0].dialled = Some(true);
    let before = world.written(1).len();
    let mut out = Vec::new();
    let again = Input::Incoming { cer, local: vec![LOCAL], from: "127.0.0.2:7".into() };
    world.nodes[1].block.handle(again, world.now, &mut out);
    assert!(out.contains(&Action::Reject(None)));
    assert!(out.contains(&Action::Took("PSM-27")) && out.contains(&Action::Took("WD-12")));
    let from = "127.0.0.2:7".to_owned();
    assert!(out.contains(&Action::Fact(Fact::SecondConnectionRefused { from })), "FM-05");
    assert_eq!((before, world.nodes[1].block.state()), (1, PeerState::Open));
}

#[test]
fn w_11_a_dwr_is_answered_in_every_open_status() {
    let mut world = World::open();
    let dwr = base::dwr(&LocalIdentity::new("ocs.example", "example"), 1, 2);
    receive(&mut world, &dwr);
    let dwa = world.written(0).pop().expect("a DWA");
    assert_eq!((dwa.header.code, dwa.unsigned32(id::RESULT_CODE)), (280, Some(2001)));
    assert_eq!((dwa.header.hop_by_hop, dwa.header.end_to_end), (1, 2), "H-14");
    assert_eq!(dwa.text(id::ORIGIN_HOST), Some("cg.example"), "P-29");
    assert_eq!(dwa.unsigned32(id::ORIGIN_STATE_ID), Some(10), "P-30");
    assert_eq!(dwa.header.application, 0, "H-11");
}

/// Ours is open, theirs has fallen silent.
fn silent() -> World {
    let mut world = World::open();
    world.nodes[1].mute = true;
    world
}

#[test]
fn w_06_two_silent_tw_fail_over_and_w_07_the_third_closes() {
    let mut world = silent();
    world.ccr(1);
    world.ccr(2);
    world.pass(secs(33));
    assert_eq!(world.states()[0], PeerState::Open, "a DWR is out");
    assert!(world.lost().is_empty());
    world.pass(secs(32));
    assert_eq!(world.states()[0], PeerState::Suspect);
    assert_eq!(world.lost(), [1, 2]);
    assert!(!last_state(&world, 0).usable, "W-08: new requests go elsewhere");
    world.ccr(3);
    assert_eq!(world.lost(), [1, 2, 3]);
    world.pass(secs(32));
    assert!(world.rows(0).contains(&"WD-14"));
    assert!(world.rows(0).contains(&"PSM-38"));
    assert_eq!(world.lost(), [1, 2, 3], "given back once");
    let closed = states_told(&world, 0).into_iter().find(|one| one.state == PeerState::Down);
    assert_eq!(closed.expect("down").reason, "silent: DWR unanswered for two Tw");
}

#[test]
fn w_08_any_message_fails_back_and_a_late_answer_is_still_read() {
    let mut world = silent();
    world.ccr(1);
    world.pass(secs(65));
    assert_eq!(world.states()[0], PeerState::Suspect);
    world.nodes[1].mute = false;
    let request = world.asked(1)[0].clone();
    world.answer(&request);
    assert_eq!(world.states()[0], PeerState::Open);
    assert!(last_state(&world, 0).usable);
    assert_eq!(world.answers()[0].0, 1);
    assert_eq!(world.lost(), [1], "its owner was told before");
}

#[test]
fn w_10_a_reopened_connection_waits_for_three_dwa() {
    let mut world = World::open();
    world.give(1, disconnected(Side::Responder));
    world.give(0, disconnected(Side::Initiator));
    world.nodes[0].dialled = None;
    assert_eq!(world.states(), [PeerState::Down, PeerState::Down]);
    world.pass(secs(1));
    assert_eq!(world.states()[0], PeerState::Reopen);
    world.ccr(9);
    assert_eq!(world.lost(), [9], "not usable yet");
    world.pass(secs(35));
    assert_eq!(world.states()[0], PeerState::Reopen, "two of three");
    world.pass(secs(32));
    assert_eq!(world.states()[0], PeerState::Open);
    assert!(world.rows(0).contains(&"WD-05"));
}

#[test]
fn w_11_a_dwr_is_answered_in_reopen_and_other_requests_are_thrown_away() {
    let mut world = World::open();
    world.give(1, disconnected(Side::Responder));
    world.give(0, disconnected(Side::Initiator));
    world.nodes[0].dialled = None;
    world.pass(secs(1));
    world.nodes[0].told.clear();
    receive(&mut world, &rar());
    assert!(world.asked(0).is_empty() && world.written(0).is_empty(), "WD-07");
    let dwr = base::dwr(&LocalIdentity::new("ocs.example", "example"), 1, 2);
    receive(&mut world, &dwr);
    assert_eq!(world.written(0).len(), 1);
}

#[test]
fn w_18_a_peer_that_answers_only_watchdogs_stays_open() {
    let mut world = World::open();
    world.ccr(1);
    world.pass(secs(500));
    assert_eq!(world.states()[0], PeerState::Open);
    assert!(world.lost().is_empty());
    assert_eq!(world.nodes[0].block.in_window(), 0, "FN-05: the window is free again");
    let request = world.asked(1)[0].clone();
    world.answer(&request);
    assert_eq!(world.answers()[0].0, 1);
}

#[test]
fn w_12_an_unanswered_request_is_forgotten_after_ten_minutes() {
    let mut world = World::open();
    world.ccr(1);
    world.pass(secs(601));
    assert!(world.facts(0).contains(&&Fact::Expired { token: 1 }));
}

#[test]
fn p_24_p_25_stop_says_rebooting_and_the_receiver_of_the_dpa_closes() {
    let mut world = World::open();
    world.give(0, Input::Stop(DisconnectCause::Rebooting));
    let dpr = &world.written(0)[0];
    assert_eq!(dpr.enumerated(id::DISCONNECT_CAUSE), Some(0));
    assert_eq!(dpr.text(id::DESTINATION_REALM), None, "R-03");
    let dpa = &world.written(1)[0];
    assert_eq!(dpa.unsigned32(id::RESULT_CODE), Some(2001));
    assert_eq!(world.rows(0), ["PSM-36", "WD-02", "PSM-39", "WD-22"]);
    assert_eq!(world.rows(1), ["WD-02", "PSM-29", "PSM-43", "WD-22"]);
    assert!(world.nodes[0].block.is_finished());
    assert_eq!(world.nodes[0].block.next_timeout(), None, "no more attempts");
}

#[test]
fn maintenance_says_goodbye_and_leaves_the_peer_alone_until_it_is_over() {
    let mut world = World::open();
    world.ccr(1);
    world.give(0, Input::Hold);
    let dpr = &world.written(0)[0];
    assert_eq!(dpr.enumerated(id::DISCONNECT_CAUSE), Some(2), "DO_NOT_WANT_TO_TALK_TO_YOU");
    assert_eq!(world.lost(), [1], "P-27: what waits goes elsewhere");
    world.pass(secs(3600));
    assert_eq!(world.states()[0], PeerState::Down);
    assert_eq!(world.nodes[0].block.next_timeout(), None, "nothing is tried");
    let cer = cer_of("ocs.example");
    let local = vec![LOCAL];
    world.nodes[0].told.clear();
    world.give(0, Input::Incoming { cer, local, from: "x".into() });
    assert_eq!(world.written(0)[0].unsigned32(id::RESULT_CODE), Some(5012));
    world.give(0, Input::Retry);
    assert_eq!(world.states()[0], PeerState::Down, "a retry does not end it");
    world.give(0, Input::Resume);
    assert_eq!(world.states()[0], PeerState::Reopen);
    world.pass(secs(100));
    assert_eq!(world.states()[0], PeerState::Open);
}

#[test]
fn maintenance_before_the_connection_stops_the_attempts() {
    let mut world = World::new();
    world.unreachable = true;
    world.give(0, Input::Start);
    world.give(0, Input::Hold);
    assert_eq!(world.nodes[0].block.next_timeout(), None);
    world.unreachable = false;
    world.give(0, Input::Resume);
    assert_eq!(world.states()[0], PeerState::Open, "dialled at once");
}

#[test]
fn what_a_peer_says_of_itself_is_told_whatever_comes_of_it() {
    let mut world = World::with(|ours| ours.host = Some("other.example".into()), |_| {});
    world.give(0, Input::Start);
    let told = world.facts(0).into_iter().find_map(|fact| match fact {
        Fact::Introduced { result_code, capabilities } => Some((*result_code, capabilities)),
        _ => None,
    });
    let (code, capabilities) = told.expect("told");
    assert_eq!((code, capabilities.origin_host.as_str()), (2001, "ocs.example"));
    assert_eq!(world.states()[0], PeerState::BadConfig);
}

#[test]
fn fm_06_a_dpa_that_never_comes_is_not_waited_for_long() {
    let mut world = silent();
    world.give(0, Input::Stop(DisconnectCause::Rebooting));
    world.pass(secs(5));
    assert!(world.nodes[0].block.is_finished());
}

#[test]
fn p_27_after_a_dpr_nothing_new_is_sent_and_answers_are_read() {
    let mut world = World::open();
    world.ccr(1);
    world.ccr(2);
    let request = world.asked(1)[0].clone();
    let identity = LocalIdentity::new("ocs.example", "example");
    let dpr = base::dpr(&identity, DisconnectCause::Busy, 1, 2);
    receive(&mut world, &dpr);
    assert_eq!(world.states()[0], PeerState::Closing);
    let dpa = world.written(0).pop().expect("a DPA");
    assert_eq!(dpa.unsigned32(id::RESULT_CODE), Some(5012));
    assert_eq!(dpa.text(id::ERROR_MESSAGE), Some("2 answers are outstanding"), "P-25");
    world.ccr(3);
    assert_eq!(world.lost(), [3]);
    world.answer(&request);
    assert_eq!(world.answers()[0].0, 1);
    world.give(0, disconnected(Side::Initiator));
    assert_eq!(world.lost(), [3, 2], "the rest goes elsewhere");
    assert_eq!(last_state(&world, 0).reason, "it sent a DPR, BUSY");
}

#[test]
fn p_26_reconnection_follows_the_disconnect_cause() {
    for (cause, least, most) in [
        (DisconnectCause::Rebooting, 0, 1),
        (DisconnectCause::Busy, 300, 300),
        (DisconnectCause::DoNotWantToTalkToYou, 300, 300),
    ] {
        let mut world = World::open();
        let identity = LocalIdentity::new("ocs.example", "example");
        receive(&mut world, &base::dpr(&identity, cause, 1, 2));
        world.give(0, disconnected(Side::Initiator));
        let due = world.nodes[0].block.next_timeout().expect("a timer").since(world.now);
        assert!(due >= secs(least) && due <= secs(most), "{cause:?}: {due:?}");
        assert!(world.facts(0).contains(&&Fact::DisconnectRequested { cause }));
    }
}

#[test]
fn fm_06_crossing_dprs_end_both() {
    let mut world = World::open();
    world.inputs.push_back((1, Input::Stop(DisconnectCause::Busy)));
    world.give(0, Input::Stop(DisconnectCause::Rebooting));
    assert!(world.nodes.iter().all(|node| node.block.is_finished()));
}

#[test]
fn p_05_fn_09_attempts_back_off_and_never_end() {
    let mut world = World::new();
    world.unreachable = true;
    world.give(0, Input::Start);
    let mut delays = Vec::new();
    for _ in 0..40 {
        let before = world.now;
        world.next_timer();
        delays.push(world.now.since(before));
    }
    assert!(delays[0] <= secs(1) && delays[0] >= Duration::from_millis(750));
    assert!(delays[39] <= secs(30) && delays[39] >= Duration::from_millis(22_500));
    assert_eq!(last_state(&world, 0).reason, "connection refused");
    world.unreachable = false;
    world.next_timer();
    assert_eq!(world.states()[0], PeerState::Open, "it was never open, so it is usable at once");
}

#[test]
fn fn_10_a_flapping_peer_is_tried_less_and_less_often() {
    let mut world = World::open();
    let mut attempts = 0;
    for _ in 0..600 {
        world.pass(secs(1));
        if world.states()[0] == PeerState::Reopen {
            attempts += 1;
            world.give(1, disconnected(Side::Responder));
            world.give(0, disconnected(Side::Initiator));
            world.nodes[0].dialled = None;
        }
        if attempts == 0 {
            world.give(1, disconnected(Side::Responder));
            world.give(0, disconnected(Side::Initiator));
            world.nodes[0].dialled = None;
        }
    }
    assert!((15..40).contains(&attempts), "{attempts} in 10 min");
}

#[test]
fn p_22_fm_04_crossing_connections_leave_exactly_one() {
    for (ours, theirs) in [("cg.example", "ocs.example"), ("zz.example", "ocs.example")] {
        for order in 0..4 {
            let address = Some("there.example:3868");
            let mut world = World::new();
            world.nodes = [
                node(config("ocs", theirs, address), service(), ours, 3),
                node(config("cg", ours, address), service(), theirs, 4),
            ];
            let first = order % 2;
            // Both dial; the transport's acknowledgements and CERs interleave in either order.
            if order < 2 {
                world.inputs.push_back((first, Input::Start));
                world.give(1 - first, Input::Start);
            } else {
                for index in [first, 1 - first] {
                    let mut out = Vec::new();
                    world.nodes[index].block.handle(Input::Start, world.now, &mut out);
                    world.nodes[index].dialled = Some(false);
                }
                world.give(first, Input::Connected(vec![LOCAL]));
                world.give(1 - first, Input::Connected(vec![LOCAL]));
            }
            let what = format!("{ours} order {order}");
            assert_eq!(world.states(), [PeerState::Open, PeerState::Open], "{what}");
            let alive: Vec<bool> = world.nodes.iter().map(|n| n.dialled.is_some()).collect();
            // The winner closes the connection that it made.
            let winner_is_ours = ours > theirs;
            assert_eq!(alive, [!winner_is_ours, winner_is_ours], "{what}");
            world.ccr(1);
        }
    }
}

/// What ours answers to a request of theirs.
#[track_caller]
fn refused(change: impl FnOnce(&mut Message), code: u32) -> Message {
    let mut world = World::open();
    let mut request = rar();
    change(&mut request);
    let mut bytes = request.encode(Dictionary::builtin()).to_vec();
    bytes[0] = request.header.version;
    bytes[4] = request.header.flags.0;
    world.give(0, Input::Received(Side::Initiator, bytes.into()));
    assert!(world.asked(0).is_empty());
    let answer = world.written(0).pop().expect("an answer");
    assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(code));
    assert_eq!(answer.header.flags.is_error(), code / 1000 == 3, "R-10");
    assert_eq!((answer.header.hop_by_hop, answer.header.end_to_end), (77, 88), "H-14");
    assert_eq!(answer.text(id::ORIGIN_HOST), Some("cg.example"), "P-29");
    assert_eq!(answer.text(id::DESTINATION_HOST), None, "R-04");
    assert!(answer.header.flags.is_proxiable(), "H-09");
    assert!(!answer.header.flags.is_retransmit(), "H-08");
    assert_eq!(world.states()[0], PeerState::Open);
    answer
}

#[test]
fn a_good_request_is_handed_on_and_its_answer_goes_out() {
    let mut world = World::open();
    receive(&mut world, &rar());
    let asked = world.asked(0);
    assert_eq!(asked.len(), 1);
    let raa = Message::answer_to(&Header::parse(&asked[0]).expect("a header")).encode_as_is();
    world.give(0, Input::Reply(raa.clone()));
    assert!(world.nodes[0].told.contains(&Action::Write(Side::Initiator, raa)));
}

#[test]
fn r_20_an_unsupported_command_is_3001_and_an_unsupported_application_3007() {
    let answer = refused(|request| request.header.code = 999, 3001);
    assert_eq!(answer.header.code, 999);
    assert_eq!(answer.text(id::SESSION_ID), Some("cg.example;1;1"), "R-05");
    refused(|request| request.header.application = 16_777_238, 3007);
    let base = |request: &mut Message| {
        request.header.application = 0;
        request.header.code = 999;
    };
    refused(base, 3001);
}

#[test]
fn h_01_another_version_is_5011() {
    let answer = refused(|request| request.header.version = 2, 5011);
    assert_eq!(answer.text(id::SESSION_ID), None, "what it means is unknown");
}

#[test]
fn h_04_e_in_a_request_is_3008() {
    refused(|request| request.header.flags.0 |= 0x20, 3008);
}

#[test]
fn h_25_an_unknown_avp_with_m_is_5001_with_the_avp() {
    let unknown = AvpId { code: 9999, vendor: 77 };
    let avp = Avp::octets(unknown, Bytes::from_static(b"what"));
    let answer = refused(|request| request.push(avp.clone()), 5001);
    assert_eq!(answer.group(id::FAILED_AVP), Some(&[avp][..]));
}

#[test]
fn r_18_a_rar_without_re_auth_request_type_is_5005_with_an_example() {
    let lose = |request: &mut Message| {
        request.avps.retain(|avp| avp.id != id::RE_AUTH_REQUEST_TYPE);
    };
    let answer = refused(lose, 5005);
    assert_eq!(answer.group(id::FAILED_AVP).expect("one")[0].id, id::RE_AUTH_REQUEST_TYPE);
}

#[test]
fn h_36_the_first_error_is_the_one_reported() {
    let both = |request: &mut Message| {
        request.push(Avp::octets(AvpId { code: 9999, vendor: 77 }, Bytes::new()));
        request.push(Avp::octets(AvpId { code: 9998, vendor: 77 }, Bytes::new()));
    };
    let answer = refused(both, 5001);
    assert_eq!(answer.group(id::FAILED_AVP).expect("one").len(), 1);
    assert_eq!(answer.group(id::FAILED_AVP).expect("one")[0].id.code, 9999);
}

#[test]
fn r_21_a_request_for_another_host_or_realm_is_not_relayed() {
    let set = |avp: AvpId, value: &'static str| {
        move |request: &mut Message| {
            let found = request.avps.iter_mut().find(|one| one.id == avp).expect("there");
            *found = Avp::identity(avp, value);
        }
    };
    refused(set(id::DESTINATION_REALM, "elsewhere"), 3003);
    refused(set(id::DESTINATION_HOST, "cg2.example"), 3002);
}

#[test]
fn r_06_proxy_info_comes_back_unchanged_and_in_order() {
    let info = |host: &str| {
        let state = Avp::octets(id::PROXY_STATE, Bytes::from_static(b"\x00\xffx"));
        Avp::group(id::PROXY_INFO, vec![Avp::identity(id::PROXY_HOST, host), state])
    };
    let with = |request: &mut Message| {
        request.header.code = 999;
        request.push(info("b.example"));
        request.push(info("a.example"));
    };
    let answer = refused(with, 3001);
    let came: Vec<&Avp> = answer.all(id::PROXY_INFO).collect();
    assert_eq!(came, [&info("b.example"), &info("a.example")]);
}

#[test]
fn r_12_nothing_is_said_to_a_broken_answer() {
    let mut world = World::open();
    world.ccr(1);
    let mut answer = Message::answer_to(&Header::parse(&world.asked(1)[0]).expect("a header"))
        .encode_as_is()
        .to_vec();
    answer[0] = 9;
    world.give(0, Input::Received(Side::Initiator, answer.into()));
    assert!(world.written(0).is_empty() && world.answers().is_empty());
    assert_eq!(world.nodes[0].block.in_window(), 1);
}

#[test]
fn fm_08_a_flood_of_dwr_closes() {
    let mut world = World::open();
    let dwr = base::dwr(&LocalIdentity::new("ocs.example", "example"), 1, 2);
    for _ in 0..10 {
        receive(&mut world, &dwr);
    }
    assert_eq!((world.states()[0], world.written(0).len()), (PeerState::Open, 10));
    receive(&mut world, &dwr);
    assert_eq!((world.states()[0], world.written(0).len()), (PeerState::BadRemote, 10));
    assert_eq!(last_state(&world, 0).reason, "it floods us with DWR");
}

#[test]
fn fm_08_a_dwa_is_alive_whatever_it_says() {
    let mut world = silent();
    world.pass(secs(32));
    let mut dwa = Message::request(command::DEVICE_WATCHDOG, 0, false);
    dwa.header.flags.0 = 0;
    dwa.header.hop_by_hop = 12_345;
    dwa.push(Avp::u32(id::RESULT_CODE, 5012));
    receive(&mut world, &dwa);
    assert!(world.rows(0).ends_with(&["WD-01", "PSM-34"]));
}

#[test]
fn fm_09_a_risen_origin_state_id_is_told() {
    let mut world = World::open();
    let mut identity = LocalIdentity::new("ocs.example", "example");
    for (state_id, told) in [(10, 0), (11, 1), (11, 1), (9, 1), (12, 2)] {
        identity.origin_state_id = state_id;
        receive(&mut world, &base::dwr(&identity, 1, 2));
        let rose = world.facts(0);
        let rose = rose.iter().filter(|fact| matches!(fact, Fact::PeerRestarted { .. })).count();
        assert_eq!(rose, told, "after {state_id}");
    }
}

#[test]
fn stop_before_open_drops_the_attempt() {
    let mut world = World::new();
    world.nodes[1].mute = true;
    world.give(0, Input::Start);
    world.give(0, Input::Stop(DisconnectCause::Rebooting));
    assert!(world.nodes[0].block.is_finished());
    assert_eq!(world.nodes[0].block.next_timeout(), None);
    world.give(0, Input::Start);
    assert_eq!(world.states()[0], PeerState::Down);
}

#[test]
fn the_window_bounds_what_is_sent() {
    let mut world = World::with(|ours| ours.window = 2, |_| {});
    world.give(0, Input::Start);
    for token in 1..=3 {
        world.ccr(token);
    }
    assert_eq!((world.asked(1).len(), world.lost()), (2, vec![3]));
    world.give(0, Input::Release(1));
    world.ccr(4);
    assert_eq!(world.asked(1).len(), 3);
}

#[test]
fn sec_06_more_than_100_requests_a_second_are_too_many() {
    let mut world = World::open();
    for _ in 0..1000 {
        receive(&mut world, &rar());
    }
    assert_eq!(world.asked(0).len(), 100);
    let codes: Vec<Option<u32>> =
        world.written(0).iter().map(|answer| answer.unsigned32(id::RESULT_CODE)).collect();
    assert_eq!(codes, vec![Some(result_code::TOO_BUSY); 900]);
    world.pass(secs(1));
    receive(&mut world, &rar());
    assert_eq!(world.asked(0).len(), 101);
    assert_eq!(world.states()[0], PeerState::Open);
}

#[test]
fn no_octets_and_no_order_of_inputs_break_a_control_block() {
    let good = [
        cer_of("ocs.example"),
        ccr(1),
        rar().encode(Dictionary::builtin()),
        base::dwr(&LocalIdentity::new("ocs.example", "example"), 1, 2).encode_as_is(),
        base::dpr(&LocalIdentity::new("ocs.example", "example"), DisconnectCause::Busy, 1, 2)
            .encode_as_is(),
    ];
    for seed in 0..200u64 {
        let mut random = Jitter::new(seed);
        let config = config("ocs", "ocs.example", Some("ocs.example:3868"));
        let mut node = node(config, service(), "cg.example", seed);
        let (mut now, mut out) = (Now::ZERO, Vec::new());
        for token in 0..300 {
            let mut bytes = good[random.bits() as usize % good.len()].to_vec();
            // Answers as well as requests, and every octet may be wrong.
            bytes[4] ^= (random.bits() as u8) & 0x80;
            for _ in 0..random.bits() % 4 {
                let at = random.bits() as usize % bytes.len();
                bytes[at] = random.bits() as u8;
            }
            let bytes = Bytes::from(bytes);
            let side =
                if random.bits().is_multiple_of(2) { Side::Initiator } else { Side::Responder };
            let input = match random.bits() % 12 {
                0 => Input::Start,
                1 => Input::Connected(vec![LOCAL]),
                2 => Input::NotConnected("refused".into()),
                3 => {
                    Input::Incoming { cer: cer_of("ocs.example"), local: vec![], from: "x".into() }
                }
                4 => Input::Incoming { cer: bytes, local: vec![], from: "x".into() },
                5 => disconnected(side),
                6 | 7 => Input::Send { token, bytes: ccr(1), retransmit: false },
                8 => Input::Timeout,
                9 if token > 250 => Input::Stop(DisconnectCause::Rebooting),
                _ => Input::Received(side, bytes),
            };
            now = now + Duration::from_millis(random.bits() % 4000);
            let usable = node.block.is_usable();
            node.block.handle(input, now, &mut out);
            let sent = out.iter().any(|action| matches!(action, Action::Transmit { .. }));
            assert!(usable || !sent, "seed {seed}: a request left before Open");
            assert!(node.block.in_window() <= 500);
            out.clear();
        }
    }
}

fn cer_of(host: &str) -> Bytes {
    let identity = LocalIdentity::new(host, "example");
    farebox::peer::capabilities::cer(&identity, Application::DEFAULT, &[LOCAL], 1, 2)
        .encode(Dictionary::builtin())
}

#[test]
fn no_story_here_meets_an_impossible_pair() {
    let mut world = World::open();
    world.ccr(1);
    world.nodes[1].mute = true;
    world.pass(secs(200));
    world.nodes[1].mute = false;
    world.pass(secs(200));
    world.give(0, Input::Stop(DisconnectCause::Rebooting));
    for index in [0, 1] {
        let facts = world.facts(index);
        assert!(!facts.iter().any(|fact| matches!(fact, Fact::Impossible(_))), "{facts:?}");
    }
}

#[test]
fn p_06_refusal_reset_and_silence_of_the_transport_are_failures_and_are_tried_again() {
    let mut refused = World::new();
    refused.unreachable = true;
    refused.give(0, Input::Start);
    assert_eq!(last_state(&refused, 0).reason, "connection refused");

    let mut reset = World::open();
    reset.ccr(1);
    let words = "reset by the peer".to_owned();
    reset.give(0, Input::Disconnected(Side::Initiator, words.clone()));
    assert_eq!((last_state(&reset, 0).reason, reset.lost()), (words, vec![1]));

    let mut stuck = World::new();
    let mut out = Vec::new();
    // The transport neither connects nor fails.
    stuck.nodes[0].block.handle(Input::Start, stuck.now, &mut out);
    assert!(out.contains(&Action::Connect));
    stuck.pass(secs(10));
    assert_eq!(last_state(&stuck, 0).reason, "no connection in time");
    for world in [&refused, &reset, &stuck] {
        assert_eq!(world.states()[0], PeerState::Down);
        let next = |fact: &&&Fact| matches!(fact, Fact::NextAttempt { .. });
        assert!(world.facts(0).iter().any(|fact| next(&fact)));
    }
}

#[test]
fn p_23_messages_of_the_base_protocol_go_to_no_other_peer() {
    let mut world = silent();
    world.ccr(1);
    world.ccr(2);
    world.pass(secs(65));
    let requests: Vec<u32> = world
        .written(0)
        .iter()
        .filter(|message| message.header.flags.is_request())
        .map(|message| message.header.code)
        .collect();
    assert_eq!(requests, [command::DEVICE_WATCHDOG], "a DWR is unanswered too");
    assert_eq!(world.lost(), [1, 2], "and only requests with an owner are given back");
}
