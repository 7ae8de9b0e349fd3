//! RAR and ASR: who is heard, what is answered, what follows.

use std::time::Duration;

use farebox::charging::event::CloseTrigger::{ByeReceived, ByeSent};
use farebox::charging::io::NoticeKind;
use farebox::charging::outcome::{Outcome, SessionState};
use farebox::charging::record::Command;
use farebox::diameter::{Avp, AvpList, id};

use crate::gateway_world::*;

const RAR: u32 = 258;
const ASR: u32 = 274;

fn open() -> World {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.aca(2001);
    world
}

fn result(answer: &farebox::diameter::Message) -> u32 {
    answer.unsigned32(id::RESULT_CODE).expect("Result-Code")
}

#[test]
fn c_22_c_24_f_24_rar_in_open_is_2002_and_an_update_follows() {
    let mut world = open();
    world.interim("s1", 1, seconds(10));
    world.grant();
    world.aca(2001);
    let rar = world.server_request(OCS_A, RAR);
    let answer = world.ask(OCS_A, &rar);
    assert_eq!(result(&answer), 2002);
    assert_eq!(answer.avps.text(id::SESSION_ID), rar.avps.text(id::SESSION_ID), "R-05");
    assert!(answer.find(id::DESTINATION_HOST).is_none(), "R-04");
    let update = world.of(Command::CcrUpdate)[1].message();
    let service = update.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
    assert_eq!(service.enumerated(id::REPORTING_REASON), Some(7), "FORCED_REAUTHORISATION");
    assert!(service.find(id::REQUESTED_SERVICE_UNIT).is_some(), "C-04");
    assert!(service.find(id::USED_SERVICE_UNIT).is_some(), "C-24");
    assert!(world.notices.iter().any(|notice| notice.kind == NoticeKind::Reauthorize));
    world.grant();
    world.terminate("s1", ByeReceived, seconds(30));
    world.cca(2001);
    world.conserved();
}

#[test]
fn c_23_rar_while_an_update_is_pending_is_2001_and_no_second_one() {
    let mut world = open();
    world.interim("s1", 1, seconds(10));
    let rar = world.server_request(OCS_A, RAR);
    let answer = world.ask(OCS_A, &rar);
    assert_eq!(result(&answer), 2001);
    world.grant();
    assert_eq!(world.of(Command::CcrUpdate).len(), 1);
}

#[test]
fn c_25_fm_13_rar_elsewhere_is_5002() {
    let mut world = World::new();
    world.start("s1", "chat");
    let rar = world.server_request(OCS_A, RAR);
    assert_eq!(result(&world.ask(OCS_A, &rar)), 5002, "PendingI: nobody owns it yet");

    let mut world = open();
    world.terminate("s1", ByeReceived, seconds(1));
    let rar = world.server_request(OCS_A, RAR);
    assert_eq!(result(&world.ask(OCS_A, &rar)), 5002, "PendingT");

    let mut world = open();
    let mut rar = world.server_request(OCS_A, RAR);
    rar.avps[0] = Avp::text(id::SESSION_ID, "ocs;1;2");
    assert_eq!(result(&world.ask(OCS_A, &rar)), 5002, "unknown");
}

#[test]
fn sec_03_only_the_server_that_owns_the_session_is_heard() {
    let mut world = open();
    let theirs = world.server_request(OCS_B, RAR);
    assert_eq!(result(&world.ask(OCS_B, &theirs)), 5002, "another host");
    let mut forged = world.server_request(OCS_A, RAR);
    forged.header.end_to_end += 1;
    assert_eq!(result(&world.ask(OCS_B, &forged)), 5002, "the right name on another connection");
    assert!(world.of(Command::CcrUpdate).is_empty(), "no state change");
    let mut asr = world.server_request(OCS_B, ASR);
    asr.header.end_to_end += 2;
    assert_eq!(result(&world.ask(OCS_B, &asr)), 5002);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.session("s1").state, SessionState::Open);
}

#[test]
fn h_17_a_repeated_request_gets_the_same_answer_and_changes_nothing() {
    let mut world = open();
    let rar = world.server_request(OCS_A, RAR);
    let first = world.ask(OCS_A, &rar);
    let mut again = rar.clone();
    again.header.hop_by_hop = 78;
    let second = world.ask(OCS_A, &again);
    assert_eq!((result(&first), result(&second)), (2002, 2002));
    assert_eq!(world.of(Command::CcrUpdate).len(), 1);
}

#[test]
fn r_18_r_19_r_20_r_21_what_breaks_the_grammar_or_is_not_for_us() {
    let mut world = open();
    let mut lacking = world.server_request(OCS_A, RAR);
    lacking.avps.retain(|avp| avp.id != id::RE_AUTH_REQUEST_TYPE);
    let answer = world.ask(OCS_A, &lacking);
    assert_eq!(result(&answer), 5005, "R-18");
    let failed = answer.group(id::FAILED_AVP).expect("Failed-AVP");
    assert_eq!(failed[0].id, id::RE_AUTH_REQUEST_TYPE);

    let mut twice = world.server_request(OCS_A, RAR);
    twice.header.end_to_end += 1;
    twice.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
    assert_eq!(result(&world.ask(OCS_A, &twice)), 5009, "R-19");

    let mut elsewhere = world.server_request(OCS_A, RAR);
    elsewhere.header.end_to_end += 2;
    for avp in &mut elsewhere.avps {
        if avp.id == id::DESTINATION_HOST {
            *avp = Avp::identity(id::DESTINATION_HOST, "other.ims.example.net");
        }
    }
    let answer = world.ask(OCS_A, &elsewhere);
    assert_eq!((result(&answer), answer.header.flags.is_error()), (3002, true), "R-21, R-10");

    let mut strange = world.server_request(OCS_A, RAR);
    strange.header.end_to_end += 3;
    let mut avp = Avp::u32(farebox::diameter::AvpId { code: 9999, vendor: 0 }, 1);
    avp.flags = farebox::diameter::AvpFlags(0x40);
    strange.push(avp);
    assert_eq!(result(&world.ask(OCS_A, &strange)), 5001, "H-25");
    assert!(world.of(Command::CcrUpdate).is_empty());
}

#[test]
fn s_24_asr_asks_the_cpm_server_to_end_and_its_terminate_carries_the_usage() {
    let mut world = open();
    let asr = world.server_request(OCS_A, ASR);
    assert_eq!(result(&world.ask(OCS_A, &asr)), 2001);
    let notice = world.notices.last().expect("told").clone();
    assert_eq!(notice.kind, NoticeKind::Abort);
    assert_eq!(notice.by, Some(world.wall + Duration::from_secs(5)));
    let end = world.terminate("s1", ByeSent, used(311, 14));
    world.cca(2001);
    assert_eq!(world.answer(end).outcome, Outcome::Debited);
    world.pass(Duration::from_secs(10));
    assert_eq!(used_units(world.only(Command::CcrTermination)), (311, 14));
    let late = world.server_request(OCS_A, ASR);
    assert_eq!(result(&world.ask(OCS_A, &late)), 2001, "a repeat");
}

#[test]
fn s_24_without_a_terminate_the_session_ends_as_aborted_with_the_last_usage() {
    for restart in [false, true] {
        let mut world = open();
        world.interim("s1", 1, used(120, 6));
        world.grant();
        world.aca(2001);
        let asr = world.server_request(OCS_A, ASR);
        assert_eq!(result(&world.ask(OCS_A, &asr)), 2001);
        if restart {
            world.restart();
            for peer in [OCS_A, CDF_A] {
                world.peer(peer, true);
            }
        }
        world.pass(Duration::from_secs(6));
        let message = world.only(Command::CcrTermination).message();
        assert_eq!(message.enumerated(id::TERMINATION_CAUSE), Some(4));
        assert_eq!(cause_code(world.only(Command::AcrStop)), Some(0));
        world.cca(2001);
        world.aca(2001);
        assert_eq!(world.session("s1").state, SessionState::Ended);
        let mut late = world.server_request(OCS_A, ASR);
        late.header.end_to_end += 9;
        assert_eq!(result(&world.ask(OCS_A, &late)), 5002, "ended");
    }
}
