//! Models and quota: ECUR, refunds, several rating groups, tariff changes, grants.

use std::time::Duration;

use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::event::*;
use farebox::charging::outcome::{Ch2State, FinalAction, Outcome, ServiceAdvice, SessionState};
use farebox::charging::policy::Model;
use farebox::charging::record::Command;
use farebox::diameter::{Avp, AvpList, Message, Value, id};
use farebox::store::Interface;

use crate::gateway_world::*;

fn ecur() -> World {
    let mut policy = policy();
    policy.services.get_mut("chat").expect("there").model = Model::Ecur;
    World::with(policy)
}

fn mscc(group: u32, code: u32, granted: &[Avp]) -> Avp {
    let mut members = vec![Avp::u32(id::RATING_GROUP, group), Avp::u32(id::RESULT_CODE, code)];
    if !granted.is_empty() {
        members.push(Avp::group(id::GRANTED_SERVICE_UNIT, granted.to_vec()));
    }
    Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, members)
}

fn answer(world: &mut World, services: Vec<Avp>) {
    world.answer_with(Interface::Ch2, |message: &mut Message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        message.avps.extend(services);
    });
}

#[test]
fn f_36_ecur_reserves_and_then_debits_what_was_reserved() {
    let mut world = ecur();
    let caller = world.call(event("e1", EventAction::Debit, world.wall));
    world.aca(2001);
    answer(&mut world, vec![mscc(700, 2001, &[Avp::u64(id::CC_SERVICE_SPECIFIC_UNITS, 2)])]);
    assert!(world.waits(caller), "the reservation is no debit");
    let termination = world.only(Command::CcrTermination).clone();
    assert_eq!((termination.number(), used_units(&termination)), (1, (0, 2)));
    world.cca(2001);
    let told = world.answer(caller);
    assert_eq!((told.outcome, told.state), (Outcome::Debited, SessionState::Ended));
    assert_eq!(told.advice.service, ServiceAdvice::Continue);
    assert_eq!(told.ch2.command.as_deref(), Some("CCR-T"));
    world.conserved();
}

#[test]
fn f_36_ecur_denied_at_the_reservation_debits_nothing() {
    let mut world = ecur();
    let caller = world.call(event("e1", EventAction::Debit, world.wall));
    world.cca(4012);
    assert_eq!(world.answer(caller).outcome, Outcome::Denied);
    assert!(world.of(Command::CcrTermination).is_empty());
    assert!(world.of(Command::AcrStop).is_empty(), "an event has no STOP");
    world.aca(2001);
    world.conserved();
}

#[test]
fn f_36_a_lost_ecur_termination_ends_in_a_backup_record() {
    let mut world = ecur();
    let caller = world.call(event("e1", EventAction::Debit, world.wall));
    world.aca(2001);
    answer(&mut world, vec![mscc(700, 2001, &[Avp::u64(id::CC_SERVICE_SPECIFIC_UNITS, 2)])]);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.answer(caller).outcome, Outcome::Unverified);
    world.pass(Duration::from_secs(5));
    let backup = world.of(Command::AcrEvent).last().map(|sent| service_specific(sent));
    assert!(backup.expect("sent")[0].ends_with(";n=1;rg=700;messages=2"));
}

#[test]
fn g_08_a_refund_returns_the_refund_information_of_its_debit() {
    let mut world = World::new();
    world.call(event("e1", EventAction::Debit, world.wall));
    world.aca(2001);
    world.answer_with(Interface::Ch2, |message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        message.push(Avp::group(
            id::MULTIPLE_SERVICES_CREDIT_CONTROL,
            vec![
                Avp::u32(id::RATING_GROUP, 700),
                Avp::octets(id::REFUND_INFORMATION, &b"\x01ticket"[..]),
            ],
        ));
    });
    for restart in [false, true] {
        if restart {
            world.restart();
            world.peer(OCS_A, true);
        }
        let Trigger::Event(mut refund) =
            event(if restart { "r2" } else { "r1" }, EventAction::Refund, world.wall)
        else {
            unreachable!()
        };
        refund.refund_of = Some("e1".to_owned());
        let caller = world.call(Trigger::Event(refund));
        let request = world.sent.last().expect("sent").message();
        let service = request.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
        let refund = service.find(id::REFUND_INFORMATION).map(|avp| avp.value.clone());
        assert_eq!(refund, Some(Value::OctetString((&b"\x01ticket"[..]).into())));
        world.cca(2001);
        assert_eq!(world.answer(caller).outcome, Outcome::Refunded);
    }
}

fn three_groups(world: &mut World) {
    let Trigger::Start(mut body) = start("s1", "chat", world.wall) else { unreachable!() };
    body.request = [700, 701, 702]
        .map(|group| UnitRequest {
            rating_group: Some(RatingGroupRef::Number(group)),
            units: seconds(60),
        })
        .to_vec();
    world.call(Trigger::Start(body));
}

fn usage(group: u32, units: Units, tariff: Option<Tariff>) -> UsageEntry {
    UsageEntry { rating_group: Some(RatingGroupRef::Number(group)), units, tariff }
}

#[test]
fn fa_11_c_38_several_groups_each_keep_their_result_and_the_worst_is_the_outcome() {
    let mut world = World::new();
    three_groups(&mut world);
    let granted = [Avp::u32(id::CC_TIME, 60)];
    let services = vec![mscc(700, 2001, &granted), mscc(701, 4012, &[]), mscc(702, 5031, &[])];
    answer(&mut world, services);
    let caller = farebox::charging::engine::CallerId(1);
    let told = world.answer(caller).clone();
    assert_eq!((told.outcome, told.state), (Outcome::Denied, SessionState::Open));
    assert_eq!(told.advice.service, ServiceAdvice::Continue, "one group was granted");
    assert_eq!(told.grants.iter().map(|g| g.rating_group).collect::<Vec<_>>(), [700]);
    let codes: Vec<_> = told.ch2.services.iter().map(|(g, r)| (*g, r.code)).collect();
    assert_eq!(codes, [(Some(700), Some(2001)), (Some(701), Some(4012)), (Some(702), Some(5031))]);
    world.aca(2001);
    let Trigger::Terminate(mut body) = terminate("s1", ByeReceived, Units::default(), world.wall)
    else {
        unreachable!()
    };
    body.usage = vec![usage(700, seconds(30), None)];
    world.call(Trigger::Terminate(body));
    let message = world.only(Command::CcrTermination).message();
    let groups: Vec<_> = message
        .all(id::MULTIPLE_SERVICES_CREDIT_CONTROL)
        .filter_map(|avp| avp.members()?.unsigned32(id::RATING_GROUP))
        .collect();
    assert_eq!(groups, [700, 701], "C-38: what was answered 5031 is never asked for again");
}

#[test]
fn c_16_fq_10_units_around_a_tariff_change_are_reported_apart() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.aca(2001);
    let Trigger::Interim(mut body) = interim("s1", 1, Units::default(), world.wall) else {
        unreachable!()
    };
    body.usage = vec![
        usage(700, seconds(100), Some(Tariff::Before)),
        usage(700, seconds(20), Some(Tariff::After)),
    ];
    world.call(Trigger::Interim(body));
    let sides = |message: &Message| -> Vec<(Option<i32>, Option<u32>)> {
        message
            .all(id::MULTIPLE_SERVICES_CREDIT_CONTROL)
            .flat_map(|avp| avp.members().unwrap_or_default().all(id::USED_SERVICE_UNIT))
            .filter_map(Avp::members)
            .map(|m| (m.enumerated(id::TARIFF_CHANGE_USAGE), m.unsigned32(id::CC_TIME)))
            .collect()
    };
    let update = world.only(Command::CcrUpdate).message();
    assert_eq!(sides(&update), [(Some(0), Some(100)), (Some(1), Some(20))]);
    world.grant();
    world.aca(2001);
    let Trigger::Terminate(mut body) = terminate("s1", ByeReceived, Units::default(), world.wall)
    else {
        unreachable!()
    };
    body.usage = vec![usage(700, seconds(50), Some(Tariff::After))];
    let end = world.call(Trigger::Terminate(body));
    let message = world.only(Command::CcrTermination).message();
    assert_eq!(sides(&message), [(Some(1), Some(30))], "only what is new, on its side");
    world.cca(2001);
    let debit = world.answer(end).debit.clone().expect("debit");
    assert_eq!(debit.units, vec![(700, seconds(150))], "shown by rating group");
}

#[test]
fn c_17_c_18_a_final_grant_says_by_when_and_after_what_to_stop() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    let wall = world.wall;
    answer(
        &mut world,
        vec![Avp::group(
            id::MULTIPLE_SERVICES_CREDIT_CONTROL,
            vec![
                Avp::u32(id::RATING_GROUP, 700),
                Avp::group(id::GRANTED_SERVICE_UNIT, vec![Avp::u32(id::CC_TIME, 90)]),
                Avp::u32(id::VALIDITY_TIME, 900),
                Avp::u32(id::TIME_QUOTA_THRESHOLD, 10),
                Avp::u32(id::QUOTA_HOLDING_TIME, 60),
                // REDIRECT without a server cannot be carried out: TERMINATE.
                Avp::group(
                    id::FINAL_UNIT_INDICATION,
                    vec![Avp::enumerated(id::FINAL_UNIT_ACTION, 1)],
                ),
            ],
        )],
    );
    let told = world.answer(caller);
    let grant = &told.grants[0];
    assert_eq!(grant.units, seconds(90));
    assert_eq!(grant.valid_until, Some(wall + Duration::from_secs(900)));
    assert_eq!(grant.threshold, Some(seconds(10)));
    assert_eq!(grant.holding_seconds, Some(60));
    assert_eq!(grant.final_unit.as_ref().map(|f| f.action), Some(FinalAction::Terminate));
    let stop_by = told.advice.stop_by.clone().expect("stopBy");
    assert_eq!((stop_by.at, stop_by.units), (grant.valid_until, Some(seconds(90))));
}

#[test]
fn c_10_a_grant_that_runs_out_by_time_is_reported_and_renewed() {
    let mut world = World::new();
    world.start("s1", "chat");
    answer(
        &mut world,
        vec![Avp::group(
            id::MULTIPLE_SERVICES_CREDIT_CONTROL,
            vec![
                Avp::u32(id::RATING_GROUP, 700),
                Avp::group(id::GRANTED_SERVICE_UNIT, vec![Avp::u32(id::CC_TIME, 90)]),
                Avp::u32(id::VALIDITY_TIME, 30),
            ],
        )],
    );
    world.aca(2001);
    world.pass(Duration::from_secs(29));
    assert!(world.of(Command::CcrUpdate).is_empty());
    world.pass(Duration::from_secs(4));
    let update = world.only(Command::CcrUpdate).message();
    let service = update.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
    assert_eq!(service.enumerated(id::REPORTING_REASON), Some(4), "VALIDITY_TIME, in the MSCC");
    assert!(service.find(id::REQUESTED_SERVICE_UNIT).is_some());
    world.grant();
    world.pass(Duration::from_secs(600));
    assert_eq!(world.of(Command::CcrUpdate).len(), 1, "the new grant has no end");
    assert_eq!(world.session("s1").ch2.state, Ch2State::Answered);
}
