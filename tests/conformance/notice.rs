//! What the CPM server is told without having asked (api.md section 2, "Waiting", "Notifications").

use std::time::Duration;

use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::event::*;
use farebox::charging::notice::{MustDo, NoticeKind};
use farebox::charging::outcome::*;
use farebox::store::{CommitResult, Interface};

use crate::gateway_world::*;

const S: Duration = Duration::from_secs(1);

fn at_once(trigger: Trigger) -> Request {
    Request {
        trigger,
        prefer: Prefer { wait_secs: Some(0) },
        client: String::new(),
        idempotency_key: None,
        fingerprint: [7; 32],
    }
}

#[test]
fn an_answer_in_time_needs_no_notification() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.aca(2001);
    world.terminate("s1", ByeReceived, used(311, 14));
    world.cca(2001);
    world.aca(2001);
    assert!(world.told().is_empty(), "{:?}", world.told());
}

#[test]
fn a_start_answered_at_once_is_told_its_grant() {
    let mut world = World::new();
    let Trigger::Start(mut start) = start("s1", "chat", world.wall) else { panic!("a start") };
    start.notify_uri = Some("https://as1.cpm.example.net/notify".to_owned());
    let caller = world.request(at_once(Trigger::Start(start)));
    assert_eq!(world.answer(caller).outcome, Outcome::Pending);
    world.grant();
    assert_eq!(world.told(), ["farebox.outcome granted"]);
    let told = &world.notices[0];
    assert_eq!(told.subject, Subject::Session("s1".to_owned()));
    assert_eq!((told.state, told.must_do), (SessionState::Open, None));
    assert_eq!(told.record.as_ref().map(|record| record.command.as_str()), Some("CCR-I"));
    assert_eq!(told.notify_uri.as_deref(), Some("https://as1.cpm.example.net/notify"));
    world.aca(2001);
    world.terminate("s1", ByeReceived, used(1, 0));
    world.cca(2001);
    assert_eq!(world.told().len(), 1, "once");
}

#[test]
fn a_terminate_behind_the_start_is_told_when_its_own_request_is_settled() {
    let mut world = World::new();
    world.start("s1", "chat");
    let trigger = terminate("s1", ByeReceived, used(311, 14), world.wall);
    let caller = world.request(at_once(trigger));
    assert_eq!(world.answer(caller).ch2.state, Ch2State::Pending);
    world.grant();
    assert!(world.told().is_empty(), "the CCR-T is on its way only now");
    world.cca(2001);
    assert_eq!(world.told(), ["farebox.outcome debited"]);
    let record = world.notices[0].record.clone().expect("a record");
    assert_eq!(record.command, "CCR-T");
}

#[test]
fn a_lost_termination_is_told_once_as_unverified() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    let caller = world.terminate("s1", ByeReceived, used(311, 14));
    world.pass(2 * S);
    assert_eq!(world.answer(caller).ch2.state, Ch2State::Pending);
    world.pass(60 * S);
    assert_eq!(world.told(), ["farebox.outcome unverified"]);
}

#[test]
fn a_refund_is_told_when_the_ocs_answers() {
    let mut world = World::new();
    let caller = world.call(event("e1", EventAction::Refund, world.wall));
    world.pass(10 * S);
    assert_eq!(world.answer(caller).outcome, Outcome::Pending);
    world.answer_with(Interface::Ch2, |message| {
        message.push(farebox::diameter::Avp::u32(farebox::diameter::id::RESULT_CODE, 2001));
    });
    assert_eq!(world.told(), ["farebox.outcome refunded"]);
    assert_eq!(world.notices[0].subject, Subject::Event("e1".to_owned()));
}

#[test]
fn a_pending_start_that_is_denied_must_not_go_on() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    let trigger = interim("s1", 1, used(120, 6), world.wall);
    let caller = world.request(at_once(trigger));
    assert_eq!(world.answer(caller).outcome, Outcome::Pending);
    world.cca(4012);
    assert_eq!(world.told(), ["farebox.outcome denied"]);
    assert_eq!(world.notices[0].must_do, Some(MustDo::Stop));
}

#[test]
fn a_dead_letter_is_told() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.aca(5004);
    assert_eq!(world.told(), ["farebox.record.dead -"]);
    let told = &world.notices[0];
    assert!(matches!(told.kind, NoticeKind::RecordDead(_)));
    let record = told.record.clone().expect("a record");
    assert_eq!(record.result.and_then(|result| result.code), Some(5004));
}

#[test]
fn nothing_is_told_before_it_is_on_disk() {
    let mut world = World::new();
    let caller = world.request(at_once(start("s1", "chat", world.wall)));
    assert_eq!(world.answer(caller).outcome, Outcome::Pending);
    world.fail_next = Some(CommitResult::Failed("disk".to_owned()));
    world.grant();
    assert!(world.told().is_empty(), "{:?}", world.told());
    world.pass(2 * S);
    assert_eq!(world.told(), ["farebox.outcome granted"]);
}
