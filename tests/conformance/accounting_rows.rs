//! The accounting client: what an ACA asks for, and the rows of RFC 6733, 8.2 that the engine takes.

use std::time::Duration;

use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::io::NoticeKind;
use farebox::charging::outcome::{Ch1State, SessionState};
use farebox::charging::record::Command;
use farebox::diameter::{Avp, AvpList, Message, Value, id};
use farebox::store::Interface;

use crate::gateway_world::*;

const S: Duration = Duration::from_secs(1);

/// First copies of interims.
fn interims(world: &World) -> usize {
    let mut numbers: Vec<u32> =
        world.of(Command::AcrInterim).iter().map(|sent| sent.number()).collect();
    numbers.dedup();
    numbers.len()
}

fn aca(world: &mut World, code: u32, fill: impl FnOnce(&mut Message)) {
    world.answer_with(Interface::Ch1, |message| {
        message.push(Avp::u32(id::RESULT_CODE, code));
        fill(message);
    });
}

fn started() -> World {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world
}

#[test]
fn acc_01_acc_04_acc_13_acc_27_a_session_runs_through() {
    let mut world = started();
    aca(&mut world, 2001, |_| {});
    assert!(world.took("ACC-04"));
    world.interim("s1", 1, seconds(10));
    aca(&mut world, 2002, |_| {});
    assert!(world.took("ACC-13"), "F-34: 2002 is a success too");
    world.terminate("s1", ByeReceived, seconds(20));
    aca(&mut world, 2001, |_| {});
    assert!(world.took("ACC-27"));
    world.conserved();
}

#[test]
fn acc_05_acc_14_acc_21_acc_28_failure_to_send_stores_and_goes_on() {
    let mut world = started();
    for row in ["ACC-05", "ACC-14", "ACC-28"] {
        aca(&mut world, 4002, |_| {});
        aca(&mut world, 3004, |_| {});
        assert!(world.took(row), "{row}");
        assert!(world.session("s1").ch1.state == Ch1State::Stored, "{row}");
        world.pass(40 * S);
        aca(&mut world, 2001, |_| {});
        assert!(world.took("ACC-24"), "a record in storage was acknowledged");
        world.sent.iter_mut().for_each(|sent| sent.answered = true);
        match row {
            "ACC-05" => drop(world.interim("s1", 1, seconds(10))),
            "ACC-14" => drop(world.terminate("s1", ByeReceived, seconds(20))),
            _ => {}
        }
    }
    world.call(event("e1", farebox::charging::event::EventAction::Debit, world.wall));
    world.aca(4002);
    world.aca(4002);
    assert!(world.took("ACC-21"));
    world.conserved();
}

#[test]
fn acc_08x_acc_17x_without_realtime_a_failed_answer_cuts_nobody_off() {
    let mut world = started();
    aca(&mut world, 5012, |_| {});
    world.interim("s1", 1, seconds(10));
    aca(&mut world, 5012, |_| {});
    assert!(world.took("ACC-08x") && world.took("ACC-17x"));
    world.pass(60 * S);
    assert_eq!(world.session("s1").state, SessionState::Open);
    assert!(world.notices.iter().all(|notice| notice.kind != NoticeKind::Abort));
}

#[test]
fn acc_18_s_19_grant_and_store_disconnects_on_a_failed_answer() {
    let mut world = started();
    aca(&mut world, 2001, |message| {
        message.push(Avp::enumerated(id::ACCOUNTING_REALTIME_REQUIRED, 2));
    });
    world.interim("s1", 1, seconds(10));
    aca(&mut world, 5012, |_| {});
    assert!(world.took("ACC-18"));
    assert!(world.notices.iter().any(|notice| notice.kind == NoticeKind::Abort));
    world.pass(6 * S);
    let stop = world.only(Command::AcrStop);
    assert_eq!(cause_code(stop), Some(0), "no terminate came: ended as aborted");
}

#[test]
fn acc_17_s_19_grant_and_lose_goes_on() {
    let mut world = started();
    aca(&mut world, 2001, |message| {
        message.push(Avp::enumerated(id::ACCOUNTING_REALTIME_REQUIRED, 3));
    });
    world.interim("s1", 1, seconds(10));
    aca(&mut world, 5012, |_| {});
    assert!(world.took("ACC-17"));
    world.pass(60 * S);
    assert_eq!(world.session("s1").state, SessionState::Open);
}

#[test]
fn acc_16_s_19_deliver_and_grant_needs_a_cdf() {
    let mut world = started();
    aca(&mut world, 2001, |message| {
        message.push(Avp::enumerated(id::ACCOUNTING_REALTIME_REQUIRED, 1));
    });
    world.interim("s1", 1, seconds(10));
    world.disconnect(CDF_A);
    world.disconnect(CDF_B);
    assert!(world.took("ACC-16"));
    assert_eq!(world.notices.last().map(|notice| notice.kind), Some(NoticeKind::Abort));
}

#[test]
fn s_08_s_09_acc_11_interims_by_time_follow_the_latest_interval() {
    let mut world = started();
    aca(&mut world, 2001, |m| m.push(Avp::u32(id::ACCT_INTERIM_INTERVAL, 60)));
    world.pass(53 * S);
    assert!(world.of(Command::AcrInterim).is_empty(), "not before 54 s");
    world.pass(14 * S);
    assert_eq!(interims(&world), 1, "not after 66 s");
    assert!(world.took("ACC-11"));
    aca(&mut world, 2001, |m| m.push(Avp::u32(id::ACCT_INTERIM_INTERVAL, 600)));
    world.pass(500 * S);
    assert_eq!(interims(&world), 1, "the latest value wins");
    world.pass(170 * S);
    assert_eq!(interims(&world), 2);
    aca(&mut world, 2001, |m| m.push(Avp::u32(id::ACCT_INTERIM_INTERVAL, 0)));
    world.pass(7200 * S);
    assert_eq!(interims(&world), 2, "0 switches them off");
    world.conserved();
}

#[test]
fn f_35_fq_03_no_interim_by_time_after_the_stop() {
    let mut world = started();
    aca(&mut world, 2001, |m| m.push(Avp::u32(id::ACCT_INTERIM_INTERVAL, 60)));
    world.pass(50 * S);
    world.terminate("s1", ByeReceived, seconds(50));
    aca(&mut world, 2001, |m| m.push(Avp::u32(id::ACCT_INTERIM_INTERVAL, 60)));
    world.pass(600 * S);
    assert!(world.of(Command::AcrInterim).is_empty());
}

#[test]
fn fc_06_an_interval_of_one_second_has_a_floor() {
    let mut world = started();
    aca(&mut world, 2001, |m| m.push(Avp::u32(id::ACCT_INTERIM_INTERVAL, 1)));
    world.pass(4 * S);
    assert!(world.of(Command::AcrInterim).is_empty());
    world.pass(2 * S);
    assert_eq!(interims(&world), 1);
}

#[test]
fn s_08_the_interval_survives_a_restart() {
    let mut world = started();
    aca(&mut world, 2001, |m| m.push(Avp::u32(id::ACCT_INTERIM_INTERVAL, 60)));
    world.restart();
    world.peer(CDF_A, true);
    world.pass(67 * S);
    assert_eq!(interims(&world), 1);
}

#[test]
fn s_22_s_23_class_and_acct_multi_session_id_come_back_in_later_records() {
    let mut world = started();
    aca(&mut world, 2001, |message| {
        message.push(Avp::octets(id::CLASS, &b"gold"[..]));
        message.push(Avp::octets(id::CLASS, &b"\x00\x01"[..]));
        message.push(Avp::text(id::ACCT_MULTI_SESSION_ID, "multi;1"));
    });
    world.interim("s1", 1, seconds(10));
    aca(&mut world, 2001, |_| {});
    world.restart();
    world.peer(CDF_A, true);
    world.terminate("s1", ByeReceived, seconds(20));
    for command in [Command::AcrInterim, Command::AcrStop] {
        let message = world.only(command).message();
        let classes: Vec<_> = message.all(id::CLASS).map(|avp| avp.value.clone()).collect();
        let octets = |bytes: &'static [u8]| Value::OctetString(bytes.into());
        assert_eq!(classes, [octets(b"gold"), octets(b"\x00\x01")]);
        assert_eq!(message.avps.text(id::ACCT_MULTI_SESSION_ID), Some("multi;1"));
    }
    assert!(world.only(Command::AcrStart).message().find(id::CLASS).is_none());
}
