//! The peer state machine against RFC 6733, 5.6 (P-21, P-22): PSM-01 to PSM-43 and our own rows.

use std::collections::BTreeSet;
use std::time::Duration;

use farebox::clock::Now;
use farebox::peer::jitter::Jitter;
use farebox::peer::machine::Event::*;
use farebox::peer::machine::Side::*;
use farebox::peer::machine::State::*;
use farebox::peer::machine::{
    Action, DEPARTURES, Event, IMPOSSIBLE, Machine, ROWS, Row, State, Waits, compare_identities,
};

const WAITS: Waits = Waits {
    connect: Duration::from_secs(3),
    handshake: Duration::from_secs(5),
    closing: Duration::from_secs(7),
};

/// Our Origin-Host is below this peer's: we lose elections.
const STRONG: &str = "z.example.net";
/// Our Origin-Host is above this peer's: we win elections.
const WEAK: &str = "a.example.net";

fn machine(peer: &str) -> Machine {
    Machine::new(WAITS, "m.example.net", Some(peer))
}

fn give(machine: &mut Machine, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    machine.handle(event, Now::ZERO, &mut out);
    out
}

/// Gives `events` to a new machine and compares what the last one did, and where it led.
#[track_caller]
fn check(peer: &str, events: &[Event], took: &[&'static str], actions: &[Action], state: State) {
    let mut machine = machine(peer);
    let (last, before) = events.split_last().expect("an event");
    for event in before {
        let out = give(&mut machine, *event);
        assert!(matches!(out[0], Action::Took(_)), "{event:?}: {out:?}");
    }
    let out = give(&mut machine, *last);
    let rows: Vec<&str> = out
        .iter()
        .filter_map(|action| if let Action::Took(row) = action { Some(*row) } else { None })
        .collect();
    let done: Vec<Action> =
        out.iter().copied().filter(|action| !matches!(action, Action::Took(_))).collect();
    assert_eq!((rows.as_slice(), done.as_slice(), machine.state()), (took, actions, state));
}

const OPEN_I: &[Event] = &[Start, IRcvConnAck, IRcvCea];
const OPEN_R: &[Event] = &[RConnCer];
const ELECT: &[Event] = &[Start, RConnCer];
const CLOSING_I: &[Event] = &[Start, IRcvConnAck, IRcvCea, Stop];
const RETURNS: &[Event] = &[Start, IRcvConnAck, RConnCer];

fn after(before: &[Event], event: Event) -> Vec<Event> {
    before.iter().copied().chain([event]).collect()
}

const NOT_OPENED: Action = Action::Closed { was_open: false };
const WAS_OPEN: Action = Action::Closed { was_open: true };
const DROP_I: Action = Action::Disconnect(Initiator);
const DROP_R: Action = Action::Disconnect(Responder);

/// One story a row: its name, the peer, what came before, the event, rows, actions, state.
macro_rules! stories {
    ($($name:ident: $peer:expr, $before:expr, $event:expr => $took:expr, $actions:expr, $state:expr;)*) => {
        $(#[test]
        fn $name() {
            check($peer, &after($before, $event), &$took, &$actions, $state);
        })*
    };
}

stories! {
    psm_01_start_dials: STRONG, &[], Start
        => ["PSM-01"], [Action::Connect], WaitConnAck;
    psm_02_a_cer_opens_the_responder_side: STRONG, &[], RConnCer
        => ["PSM-02"], [Action::Accept, Action::ProcessCer, Action::SendCea, Action::Opened(Responder)], ROpen;
    psm_03_a_connection_sends_the_cer: STRONG, &[Start], IRcvConnAck
        => ["PSM-03"], [Action::SendCer], WaitICea;
    psm_04_a_refused_connection_closes: STRONG, &[Start], IRcvConnNack
        => ["PSM-04"], [DROP_I, NOT_OPENED], Closed;
    psm_05_a_cer_while_dialling_waits_for_the_election: STRONG, &[Start], RConnCer
        => ["PSM-05"], [Action::Accept, Action::ProcessCer], WaitConnAckElect;
    psm_06_a_dial_that_lasts_too_long_ends: STRONG, &[Start], Timeout
        => ["PSM-06"], [DROP_I, DROP_R, NOT_OPENED], Closed;
    psm_07_a_cea_opens_the_initiator_side: STRONG, &[Start, IRcvConnAck], IRcvCea
        => ["PSM-07"], [Action::ProcessCea, Action::Opened(Initiator)], IOpen;
    psm_08_crossing_cers_lost_election_waits: STRONG, &[Start, IRcvConnAck], RConnCer
        => ["PSM-08"], [Action::Accept, Action::ProcessCer], WaitReturns;
    psm_09_a_disconnect_instead_of_a_cea_closes: STRONG, &[Start, IRcvConnAck], IPeerDisc
        => ["PSM-09"], [DROP_I, NOT_OPENED], Closed;
    psm_10_another_message_instead_of_a_cea_closes: STRONG, &[Start, IRcvConnAck], IRcvNonCea
        => ["PSM-10"], [DROP_I, DROP_R, NOT_OPENED], Closed;
    psm_11_no_cea_in_time_closes: STRONG, &[Start, IRcvConnAck], Timeout
        => ["PSM-11"], [DROP_I, DROP_R, NOT_OPENED], Closed;
    psm_12_our_connection_comes_second_and_the_election_is_lost: STRONG, ELECT, IRcvConnAck
        => ["PSM-12"], [Action::SendCer], WaitReturns;
    psm_13_our_dial_fails_and_theirs_opens: STRONG, ELECT, IRcvConnNack
        => ["PSM-13"], [Action::SendCea, Action::Opened(Responder)], ROpen;
    psm_14_theirs_goes_and_ours_goes_on: STRONG, ELECT, RPeerDisc
        => ["PSM-14"], [DROP_R], WaitConnAck;
    psm_15_a_third_connection_is_rejected_while_dialling: STRONG, ELECT, RConnCer
        => ["PSM-15"], [Action::Reject], WaitConnAckElect;
    psm_16_an_election_that_waits_for_our_dial_ends: STRONG, ELECT, Timeout
        => ["PSM-16"], [DROP_I, DROP_R, NOT_OPENED], Closed;
    psm_17_the_winner_closes_the_connection_it_made: WEAK, &[Start, IRcvConnAck], RConnCer
        => ["PSM-08", "PSM-17"],
           [Action::Accept, Action::ProcessCer, DROP_I, Action::SendCea, Action::Opened(Responder)], ROpen;
    psm_17_the_winner_closes_it_as_well_if_its_dial_came_second: WEAK, ELECT, IRcvConnAck
        => ["PSM-12", "PSM-17"], [Action::SendCer, DROP_I, Action::SendCea, Action::Opened(Responder)], ROpen;
    psm_18_ours_goes_while_returns_are_due_and_theirs_opens: STRONG, RETURNS, IPeerDisc
        => ["PSM-18"], [DROP_I, Action::SendCea, Action::Opened(Responder)], ROpen;
    psm_19_the_winner_answers_ours_and_theirs_is_closed: STRONG, RETURNS, IRcvCea
        => ["PSM-19"], [DROP_R, Action::Opened(Initiator)], IOpen;
    psm_20_theirs_goes_while_returns_are_due: STRONG, RETURNS, RPeerDisc
        => ["PSM-20"], [DROP_R], WaitICea;
    psm_21_a_third_connection_is_rejected_while_returns_are_due: STRONG, RETURNS, RConnCer
        => ["PSM-21"], [Action::Reject], WaitReturns;
    psm_22_returns_that_never_come_close_both: STRONG, RETURNS, Timeout
        => ["PSM-22"], [DROP_I, DROP_R, NOT_OPENED], Closed;

    psm_23_a_message_is_sent_on_theirs: STRONG, OPEN_R, SendMessage
        => ["PSM-23"], [Action::SendMessage(Responder)], ROpen;
    psm_24_a_message_on_theirs_is_processed: STRONG, OPEN_R, RRcvMessage
        => ["PSM-24"], [Action::Process], ROpen;
    psm_25_a_dwr_on_theirs_is_answered: STRONG, OPEN_R, RRcvDwr
        => ["PSM-25"], [Action::ProcessDwr, Action::SendDwa(Responder)], ROpen;
    psm_26_a_dwa_on_theirs_is_processed: STRONG, OPEN_R, RRcvDwa
        => ["PSM-26"], [Action::ProcessDwa], ROpen;
    psm_27_a_second_connection_is_rejected_beside_theirs: STRONG, OPEN_R, RConnCer
        => ["PSM-27"], [Action::Reject], ROpen;
    psm_28_stop_sends_a_dpr_on_theirs: STRONG, OPEN_R, Stop
        => ["PSM-28"], [Action::SendDpr(Responder)], Closing;
    psm_29_a_dpr_on_theirs_is_answered: STRONG, OPEN_R, RRcvDpr
        => ["PSM-29"], [Action::SendDpa(Responder)], Closing;
    psm_30_theirs_goes_after_open: STRONG, OPEN_R, RPeerDisc
        => ["PSM-30"], [DROP_R, WAS_OPEN], Closed;

    psm_31_a_message_is_sent_on_ours: STRONG, OPEN_I, SendMessage
        => ["PSM-31"], [Action::SendMessage(Initiator)], IOpen;
    psm_32_a_message_on_ours_is_processed: STRONG, OPEN_I, IRcvMessage
        => ["PSM-32"], [Action::Process], IOpen;
    psm_33_a_dwr_on_ours_is_answered: STRONG, OPEN_I, IRcvDwr
        => ["PSM-33"], [Action::ProcessDwr, Action::SendDwa(Initiator)], IOpen;
    psm_34_a_dwa_on_ours_is_processed: STRONG, OPEN_I, IRcvDwa
        => ["PSM-34"], [Action::ProcessDwa], IOpen;
    psm_35_a_second_connection_is_rejected_beside_ours: STRONG, OPEN_I, RConnCer
        => ["PSM-35"], [Action::Reject], IOpen;
    psm_36_stop_sends_a_dpr_on_ours: STRONG, OPEN_I, Stop
        => ["PSM-36"], [Action::SendDpr(Initiator)], Closing;
    psm_37_a_dpr_on_ours_is_answered: STRONG, OPEN_I, IRcvDpr
        => ["PSM-37"], [Action::SendDpa(Initiator)], Closing;
    psm_38_ours_goes_after_open: STRONG, OPEN_I, IPeerDisc
        => ["PSM-38"], [DROP_I, WAS_OPEN], Closed;

    psm_39_the_receiver_of_a_dpa_closes_ours: STRONG, CLOSING_I, IRcvDpa
        => ["PSM-39"], [DROP_I, WAS_OPEN], Closed;
    psm_40_the_receiver_of_a_dpa_closes_theirs: STRONG, &[RConnCer, Stop], RRcvDpa
        => ["PSM-40"], [DROP_R, WAS_OPEN], Closed;
    psm_41_a_dpa_that_never_comes_closes_all_the_same: STRONG, &[RConnCer, Stop], Timeout
        => ["PSM-41"], [DROP_I, DROP_R, WAS_OPEN], Closed;
    psm_42_the_sender_of_a_dpa_waits_for_the_disconnect_of_ours: STRONG,
        &[Start, IRcvConnAck, IRcvCea, IRcvDpr], IPeerDisc
        => ["PSM-42"], [DROP_I, WAS_OPEN], Closed;
    psm_43_the_sender_of_a_dpa_waits_for_the_disconnect_of_theirs: STRONG, &[RConnCer, RRcvDpr], RPeerDisc
        => ["PSM-43"], [DROP_R, WAS_OPEN], Closed;

    psm_44x_a_cea_that_refuses_us_is_read_and_closes: STRONG, &[Start, IRcvConnAck], IRcvBadCea
        => ["PSM-44x"], [Action::ProcessCea, DROP_I, DROP_R, NOT_OPENED], Closed;
    psm_45x_a_cea_that_refuses_us_leaves_their_connection: STRONG, RETURNS, IRcvBadCea
        => ["PSM-45x"], [Action::ProcessCea, DROP_I, Action::SendCea, Action::Opened(Responder)], ROpen;
    psm_46x_another_message_leaves_their_connection: STRONG, RETURNS, IRcvNonCea
        => ["PSM-46x"], [DROP_I, Action::SendCea, Action::Opened(Responder)], ROpen;
    psm_47x_nothing_may_follow_a_cer: STRONG, ELECT, RRcvEarly
        => ["PSM-47x"], [DROP_R], WaitConnAck;
    psm_48x_nothing_may_follow_a_cer_in_an_election: STRONG, RETURNS, RRcvEarly
        => ["PSM-48x"], [DROP_R], WaitICea;
    psm_49x_stop_in_closed_changes_nothing: STRONG, &[], Stop => ["PSM-49x"], [], Closed;
    psm_50x_stop_stops_dialling: STRONG, &[Start], Stop
        => ["PSM-50x"], [DROP_I, NOT_OPENED], Closed;
    psm_51x_stop_before_open_drops_the_attempt: STRONG, &[Start, IRcvConnAck], Stop
        => ["PSM-51x"], [DROP_I, DROP_R, NOT_OPENED], Closed;
    psm_52x_stop_drops_dial_and_newcomer: STRONG, ELECT, Stop
        => ["PSM-52x"], [DROP_I, DROP_R, NOT_OPENED], Closed;
    psm_53x_stop_drops_both_connections: STRONG, RETURNS, Stop
        => ["PSM-53x"], [DROP_I, DROP_R, NOT_OPENED], Closed;
    psm_54x_a_second_cer_on_theirs_is_refused: STRONG, OPEN_R, RRcvCer
        => ["PSM-54x"], [Action::RefuseCer(Responder)], ROpen;
    psm_55x_a_cer_on_an_open_connection_is_refused: STRONG, OPEN_I, IRcvCer
        => ["PSM-55x"], [Action::RefuseCer(Initiator)], IOpen;
    psm_56x_a_stray_cea_on_theirs_is_discarded: STRONG, OPEN_R, RRcvCea
        => ["PSM-56x"], [Action::Discard], ROpen;
    psm_57x_a_second_cea_is_discarded: STRONG, OPEN_I, IRcvCea
        => ["PSM-57x"], [Action::Discard], IOpen;
    psm_58x_a_stray_dpa_on_theirs_is_discarded: STRONG, OPEN_R, RRcvDpa
        => ["PSM-58x"], [Action::Discard], ROpen;
    psm_59x_a_stray_dpa_on_ours_is_discarded: STRONG, OPEN_I, IRcvDpa
        => ["PSM-59x"], [Action::Discard], IOpen;
    psm_60x_an_answer_on_theirs_after_the_dpr_is_still_processed: STRONG, &[RConnCer, Stop], RRcvMessage
        => ["PSM-60x"], [Action::Process], Closing;
    psm_61x_an_answer_after_the_dpr_is_still_processed: STRONG,
        CLOSING_I, IRcvMessage
        => ["PSM-61x"], [Action::Process], Closing;
    psm_62x_a_dwr_on_theirs_while_closing_is_answered: STRONG, &[RConnCer, Stop], RRcvDwr
        => ["PSM-62x"], [Action::ProcessDwr, Action::SendDwa(Responder)], Closing;
    psm_63x_a_dwr_on_ours_while_closing_is_answered: STRONG, CLOSING_I, IRcvDwr
        => ["PSM-63x"], [Action::ProcessDwr, Action::SendDwa(Initiator)], Closing;
    psm_64x_a_dwa_on_theirs_while_closing: STRONG, &[RConnCer, Stop], RRcvDwa
        => ["PSM-64x"], [Action::ProcessDwa], Closing;
    psm_65x_a_dwa_on_ours_while_closing: STRONG, CLOSING_I, IRcvDwa
        => ["PSM-65x"], [Action::ProcessDwa], Closing;
    psm_66x_crossing_dprs_on_theirs_are_both_answered: STRONG, &[RConnCer, Stop], RRcvDpr
        => ["PSM-66x"], [Action::SendDpa(Responder)], Closing;
    psm_67x_crossing_dprs_are_both_answered: STRONG, CLOSING_I, IRcvDpr
        => ["PSM-67x"], [Action::SendDpa(Initiator)], Closing;
    psm_68x_a_cer_on_theirs_while_closing_is_discarded: STRONG, &[RConnCer, Stop], RRcvCer
        => ["PSM-68x"], [Action::Discard], Closing;
    psm_69x_a_cer_on_ours_while_closing_is_discarded: STRONG, CLOSING_I, IRcvCer
        => ["PSM-69x"], [Action::Discard], Closing;
    psm_70x_a_cea_on_theirs_while_closing_is_discarded: STRONG, &[RConnCer, Stop], RRcvCea
        => ["PSM-70x"], [Action::Discard], Closing;
    psm_71x_a_cea_on_ours_while_closing_is_discarded: STRONG, CLOSING_I, IRcvCea
        => ["PSM-71x"], [Action::Discard], Closing;
    psm_73x_a_second_stop_changes_nothing: STRONG, CLOSING_I, Stop => ["PSM-73x"], [], Closing;
    psm_72x_a_new_connection_is_rejected_while_closing: STRONG, &[RConnCer, Stop], RConnCer
        => ["PSM-72x"], [Action::Reject], Closing;
}

/// (state, event, actions, next) of each row as RFC 6733 prints it.
fn rfc_rows() -> Vec<(String, String, Vec<String>, String)> {
    let text = include_str!("../golden/rfc6733-5.6.txt");
    let cell = |line: &str, from: usize, to: usize| -> String {
        line.get(from..to.min(line.len())).unwrap_or("").trim().to_owned()
    };
    let mut rows: Vec<(String, String, Vec<String>, String)> = Vec::new();
    let mut state = String::new();
    for line in text.lines().skip(2).filter(|line| !line.trim().is_empty()) {
        let (cell_state, event) = (cell(line, 6, 23), cell(line, 23, 40));
        if state.ends_with('/') && !cell_state.is_empty() {
            state.push_str(&cell_state);
            // The first row of this state was begun before its name was complete.
            rows.last_mut().expect("a row").0.clone_from(&state);
        } else if !cell_state.is_empty() {
            state = cell_state;
        }
        let actions = cell(line, 40, 57);
        let next = cell(line, 57, 80);
        if !event.is_empty() {
            rows.push((state.clone(), event, Vec::new(), String::new()));
        }
        let row = rows.last_mut().expect("a row");
        row.2
            .extend(actions.split(',').map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned));
        row.3.push_str(&next);
    }
    rows
}

#[test]
fn p_21_the_table_is_the_table_of_rfc_6733() {
    let rfc = rfc_rows();
    assert_eq!(rfc.len(), 43, "rows in the RFC");
    assert_eq!(ROWS.len(), 43, "rows in the code");
    for (number, (row, (state, event, actions, next))) in ROWS.iter().zip(rfc).enumerate() {
        assert_eq!(row.id, format!("PSM-{:02}", number + 1));
        let steps: Vec<&str> = row.steps.iter().map(|step| step.name()).collect();
        assert_eq!((row.state.name(), row.event.name()), (state.as_str(), event.as_str()));
        assert_eq!(steps, actions, "{}", row.id);
        assert_eq!(row.next.name(), next, "{}", row.id);
    }
}

#[test]
fn p_21_our_own_rows_are_marked() {
    for (number, row) in DEPARTURES.iter().enumerate() {
        assert_eq!(row.id, format!("PSM-{:02}x", ROWS.len() + number + 1));
    }
}

#[test]
fn p_21_every_pair_is_a_row_or_impossible_and_never_both() {
    for &state in State::ALL {
        for &event in Event::ALL {
            let fits = |row: &&Row| row.state == state && row.event == event;
            let rows = ROWS.iter().chain(DEPARTURES).filter(fits).count();
            let reasons = IMPOSSIBLE
                .iter()
                .filter(|(s, events, _)| *s == state && events.contains(&event))
                .count();
            assert_eq!(rows + reasons, 1, "{state:?} {event:?}: {rows} rows, {reasons} reasons");
        }
    }
}

#[test]
fn p_21_an_impossible_pair_changes_nothing_and_is_told() {
    let mut machine = machine(STRONG);
    assert_eq!(give(&mut machine, SendMessage), [Action::Impossible(Closed, SendMessage)]);
    assert_eq!(machine.state(), Closed);
}

#[test]
fn p_21_every_row_is_reached_by_random_walks() {
    let mut reached = BTreeSet::new();
    for seed in 0..400u64 {
        let mut random = Jitter::new(seed);
        let mut machine = machine(if seed % 2 == 0 { STRONG } else { WEAK });
        for _ in 0..200 {
            let pick = random.bits() as usize % Event::ALL.len();
            for action in give(&mut machine, Event::ALL[pick]) {
                if let Action::Took(row) = action {
                    reached.insert(row);
                }
            }
        }
    }
    for row in ROWS.iter().chain(DEPARTURES) {
        assert!(reached.contains(row.id), "{} was never taken", row.id);
    }
}

#[test]
fn p_04_at_most_one_connection_is_open_on_every_walk() {
    for seed in 0..200u64 {
        let mut random = Jitter::new(seed);
        let mut machine = machine(if seed % 2 == 0 { STRONG } else { WEAK });
        let (mut ours, mut theirs) = (false, false);
        for _ in 0..200 {
            let event = Event::ALL[random.bits() as usize % Event::ALL.len()];
            // Closing does not know its side, so a connection that is not there must stay silent.
            if machine.state() == Closing
                && (event.name().starts_with("I-") && !ours
                    || event.name().starts_with("R-") && !theirs && event != RConnCer)
            {
                continue;
            }
            let out = give(&mut machine, event);
            ours |= event == IRcvConnAck && matches!(out[0], Action::Took(_));
            for action in out {
                match action {
                    Action::Accept => {
                        assert!(!theirs, "seed {seed}: a second responder connection");
                        theirs = true;
                    }
                    DROP_I => ours = false,
                    DROP_R => theirs = false,
                    _ => {}
                }
            }
            match machine.state() {
                ROpen => assert!(theirs && !ours, "seed {seed} after {event:?}"),
                IOpen => assert!(ours && !theirs, "seed {seed} after {event:?}"),
                Closed => assert!(!ours && !theirs, "seed {seed} after {event:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn p_20_each_waiting_state_has_its_time() {
    let mut machine = machine(STRONG);
    assert_eq!(machine.next_timeout(), None);
    give(&mut machine, Start);
    assert_eq!(machine.next_timeout(), Some(Now::ZERO + WAITS.connect));
    give(&mut machine, IRcvConnAck);
    assert_eq!(machine.next_timeout(), Some(Now::ZERO + WAITS.handshake));
    give(&mut machine, IRcvCea);
    assert_eq!(machine.next_timeout(), None);
    give(&mut machine, Stop);
    assert_eq!(machine.next_timeout(), Some(Now::ZERO + WAITS.closing));
    let mut out = Vec::new();
    machine.handle(IRcvMessage, Now(1), &mut out);
    assert_eq!(machine.next_timeout(), Some(Now::ZERO + WAITS.closing), "a message renews nothing");
}

#[test]
fn h_34_identities_compare_without_regard_to_case() {
    use std::cmp::Ordering::*;
    for (a, b, order) in [
        ("a.example", "A.EXAMPLE", Equal),
        ("b.example", "A.example", Greater),
        ("B.example", "a.example", Greater),
        ("a.example", "a.example.net", Less),
        // Underscore lies between the two cases: letters are compared as upper case.
        ("_", "a", Greater),
    ] {
        assert_eq!(compare_identities(a, b), order, "{a} {b}");
        assert_eq!(compare_identities(b, a), order.reverse(), "{b} {a}");
    }
}

#[test]
fn p_22_both_ends_of_an_election_agree() {
    for (ours, theirs) in [("a.x", "b.x"), ("B.x", "a.x"), ("aa.x", "AB.x"), ("x", "x.y")] {
        let survives = |local: &str, peer: &str| {
            let mut machine = Machine::new(WAITS, local, Some(peer));
            for event in RETURNS {
                give(&mut machine, *event);
            }
            machine.state() == ROpen
        };
        assert_ne!(survives(ours, theirs), survives(theirs, ours), "{ours} {theirs}");
    }
}
