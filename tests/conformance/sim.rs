//! The simulator as judge: its books, its duplicate detection, its answers, its faults.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farebox::clock::{Now, Wall};
use farebox::diameter::{
    Avp, AvpFlags, AvpId, AvpList, CommandFlags, Dictionary, Limits, Message, Value, application,
    check_grammar, command, decode, id,
};
use farebox::sim::account::{AccountSpec, AccountState, OcsConfig, RefuseAt};
use farebox::sim::answer::Identity;
use farebox::sim::cdf::{Cdf, CdfConfig};
use farebox::sim::cdr::RecordType;
use farebox::sim::fault::{End, Fault, FinalUnitAction, Lost, Sessions, Verb, When};
use farebox::sim::judge::AnomalyKind;
use farebox::sim::ledger::{Account, Amount, Currency, Movement, parse_money};
use farebox::sim::ocs::Ocs;
use farebox::sim::rating::{Tariff, Unit};
use farebox::sim::server::{Act, Charging, Server};
use proptest::prelude::*;

const ANNE: &str = "+12025550123";
const NOW: Wall = Wall(1_765_535_000_000);

fn money(text: &str) -> Amount {
    parse_money(text).expect("an amount").0
}

// ---- requests ----

/// A request that is still being written.
#[derive(Clone)]
struct Ask(Message);

impl Ask {
    fn ccr(session: &str, kind: i32, number: u32) -> Ask {
        let mut message = Message::request(command::CREDIT_CONTROL, 4, true);
        message.header.hop_by_hop = number + 1;
        message.header.end_to_end = 0x1000 + number;
        message.push(Avp::text(id::SESSION_ID, session));
        message.push(Avp::identity(id::ORIGIN_HOST, "cg1.ims.example.net"));
        message.push(Avp::identity(id::ORIGIN_REALM, "ims.example.net"));
        message.push(Avp::identity(id::DESTINATION_REALM, "sim.example.net"));
        message.push(Avp::u32(id::AUTH_APPLICATION_ID, application::CREDIT_CONTROL));
        message.push(Avp::text(id::SERVICE_CONTEXT_ID, "15.32260@3gpp.org"));
        message.push(Avp::enumerated(id::CC_REQUEST_TYPE, kind));
        message.push(Avp::u32(id::CC_REQUEST_NUMBER, number));
        if kind == 1 {
            message.push(Avp::enumerated(id::MULTIPLE_SERVICES_INDICATOR, 1));
        }
        Ask(message).subscriber(0, ANNE)
    }

    fn acr(session: &str, kind: i32, number: u32) -> Ask {
        let mut message = Message::request(command::ACCOUNTING, 3, true);
        message.header.hop_by_hop = number + 1;
        message.header.end_to_end = 0x2000 + number;
        message.push(Avp::text(id::SESSION_ID, session));
        message.push(Avp::identity(id::ORIGIN_HOST, "cg1.ims.example.net"));
        message.push(Avp::identity(id::ORIGIN_REALM, "ims.example.net"));
        message.push(Avp::identity(id::DESTINATION_REALM, "sim.example.net"));
        message.push(Avp::enumerated(id::ACCOUNTING_RECORD_TYPE, kind));
        message.push(Avp::u32(id::ACCOUNTING_RECORD_NUMBER, number));
        message.push(Avp::u32(id::ACCT_APPLICATION_ID, application::ACCOUNTING));
        Ask(message)
    }

    fn subscriber(mut self, kind: i32, data: &str) -> Ask {
        self.0.avps.retain(|avp| avp.id != id::SUBSCRIPTION_ID);
        self.0.push(Avp::group(
            id::SUBSCRIPTION_ID,
            vec![
                Avp::enumerated(id::SUBSCRIPTION_ID_TYPE, kind),
                Avp::text(id::SUBSCRIPTION_ID_DATA, data.trim_start_matches('+')),
            ],
        ));
        self
    }

    fn with(mut self, avp: Avp) -> Ask {
        self.0.push(avp);
        self
    }

    fn without(mut self, id: AvpId) -> Ask {
        self.0.avps.retain(|avp| avp.id != id);
        self
    }

    /// An MSCC: what is requested, what was used.
    fn service(self, group: u32, requested: Option<Vec<Avp>>, used: Option<Vec<Avp>>) -> Ask {
        let mut members = Vec::new();
        members.extend(requested.map(|units| Avp::group(id::REQUESTED_SERVICE_UNIT, units)));
        members.extend(used.map(|units| Avp::group(id::USED_SERVICE_UNIT, units)));
        members.push(Avp::u32(id::RATING_GROUP, group));
        self.with(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, members))
    }

    fn action(self, action: i32) -> Ask {
        self.with(Avp::enumerated(id::REQUESTED_ACTION, action))
    }

    fn copy(mut self) -> Ask {
        self.0.header.flags.0 |= CommandFlags::RETRANSMIT;
        self.0.header.hop_by_hop += 0x500;
        self
    }

    fn bytes(&self) -> Bytes {
        self.0.encode(Dictionary::builtin())
    }
}

fn seconds(count: u32) -> Avp {
    Avp::u32(id::CC_TIME, count)
}

fn messages(count: u64) -> Avp {
    Avp::u64(id::CC_SERVICE_SPECIFIC_UNITS, count)
}

fn start(session: &str) -> Ask {
    Ask::ccr(session, 1, 0).service(700, Some(vec![seconds(600)]), None)
}

fn update(session: &str, number: u32, sent: u64) -> Ask {
    let used = Some(vec![seconds(120), messages(sent)]);
    Ask::ccr(session, 2, number).service(700, Some(vec![seconds(600)]), used)
}

fn end(session: &str, number: u32, sent: u64) -> Ask {
    Ask::ccr(session, 3, number).service(700, None, Some(vec![seconds(60), messages(sent)]))
}

fn event(session: &str, sent: u64) -> Ask {
    Ask::ccr(session, 4, 0).action(0).service(701, Some(vec![messages(sent)]), None)
}

// ---- a server under test ----

struct Bench<C> {
    server: Server,
    charging: C,
    now: Now,
    wall: Wall,
}

impl<C: Charging> Bench<C> {
    fn new(charging: C) -> Bench<C> {
        let server = Server::new(Identity::new("judge.sim.example.net", "sim.example.net"));
        Bench { server, charging, now: Now::ZERO, wall: NOW }
    }

    fn acts(&mut self, ask: &Ask) -> Vec<Act> {
        self.server.request(&mut self.charging, 1, &ask.bytes(), self.now, self.wall)
    }

    /// The one answer, which must be well formed and of its command's grammar.
    fn ask(&mut self, ask: &Ask) -> Message {
        let acts = self.acts(ask);
        let [Act::Send { bytes, .. }] = acts.as_slice() else { panic!("{acts:?}") };
        let (answer, problems) = decode(bytes, Dictionary::builtin(), &Limits::default());
        assert_eq!(problems, []);
        assert_eq!(check_grammar(&answer, Dictionary::builtin()), []);
        assert_eq!(answer.header.hop_by_hop, ask.0.header.hop_by_hop);
        assert_eq!(answer.header.end_to_end, ask.0.header.end_to_end);
        assert!(!answer.header.flags.is_request() && !answer.header.flags.is_retransmit());
        answer
    }

    fn code(&mut self, ask: &Ask) -> u32 {
        code_of(&self.ask(ask))
    }

    fn fault(&mut self, when: When, verbs: Vec<Verb>) {
        let fault = Fault { server: None, when, at: None, lasts: None, verbs };
        self.server.add_fault(fault, self.now).expect("room");
    }
}

impl Bench<Ocs> {
    fn balance(&self) -> String {
        let anne: Arc<str> = ANNE.into();
        assert_eq!(self.charging.ledger().check(), Ok(()));
        self.charging.ledger().balance_text(&anne)
    }

    fn held(&self) -> Amount {
        self.charging.ledger().reserved(&ANNE.into())
    }

    fn oddities(&self) -> Vec<AnomalyKind> {
        self.charging.anomalies().iter().map(|anomaly| anomaly.kind).collect()
    }
}

fn code_of(answer: &Message) -> u32 {
    answer.unsigned32(id::RESULT_CODE).expect("Result-Code")
}

fn ocs(balance: &str) -> Bench<Ocs> {
    let config = OcsConfig::standard(Currency::EUR).with_account(ANNE, money(balance));
    Bench::new(Ocs::new(config, NOW))
}

fn ocs_of(config: OcsConfig) -> Bench<Ocs> {
    Bench::new(Ocs::new(config, NOW))
}

fn cdf() -> Bench<Cdf> {
    Bench::new(Cdf::new(CdfConfig::default()))
}

fn unit_value(group: &[Avp]) -> (i64, i32, u32) {
    let value = group.group(id::UNIT_VALUE).expect("Unit-Value");
    (
        value.integer64(id::VALUE_DIGITS).expect("Value-Digits"),
        value.integer32(id::EXPONENT).expect("Exponent"),
        group.unsigned32(id::CURRENCY_CODE).expect("Currency-Code"),
    )
}

fn mscc(answer: &Message) -> &[Avp] {
    answer.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC")
}

// ---- sessions ----

#[test]
fn x_05_a_chat_is_reserved_debited_and_settled() {
    let mut bench = ocs("10.00 EUR");
    let answer = bench.ask(&start("s"));
    assert_eq!(code_of(&answer), 2001);
    let granted = mscc(&answer).group(id::GRANTED_SERVICE_UNIT).expect("grant");
    assert_eq!(granted, [seconds(600)]);
    assert_eq!(mscc(&answer).unsigned32(id::RESULT_CODE), Some(2001));
    assert_eq!((bench.balance().as_str(), bench.held()), ("10.00 EUR", money("0.05 EUR")));

    let answer = bench.ask(&update("s", 1, 6));
    let cost = answer.group(id::COST_INFORMATION).expect("cost so far");
    assert_eq!(unit_value(cost), (30, -2, 978));

    let answer = bench.ask(&end("s", 2, 8));
    assert_eq!(code_of(&answer), 2001);
    assert!(mscc(&answer).find(id::GRANTED_SERVICE_UNIT).is_none());
    assert_eq!(unit_value(answer.group(id::COST_INFORMATION).expect("cost")), (70, -2, 978));
    let left = answer.group(id::REMAINING_BALANCE).expect("balance");
    assert_eq!(unit_value(left), (930, -2, 978));
    assert_eq!((bench.balance().as_str(), bench.held()), ("9.30 EUR", Amount::ZERO));
    assert_eq!(bench.charging.ledger().revenue(), money("0.70 EUR"));
    assert_eq!(bench.oddities(), []);
}

#[test]
fn every_debit_says_session_number_units_price_and_both_sides() {
    let mut bench = ocs("10.00 EUR");
    bench.ask(&start("s"));
    bench.ask(&end("s", 1, 14));
    let debits: Vec<_> = bench
        .charging
        .ledger()
        .entries()
        .filter(|entry| entry.movement == Movement::Debit)
        .map(|entry| (entry.from.clone(), entry.to.clone(), entry.amount))
        .collect();
    let anne: Arc<str> = ANNE.into();
    assert_eq!(debits, [(Account::Subscriber(anne), Account::Revenue, money("0.70 EUR"))]);
    let entries: Vec<_> = bench.charging.ledger().entries().collect();
    let debit = entries.iter().find(|entry| entry.movement == Movement::Debit).expect("debit");
    assert_eq!((&*debit.cause.session, debit.cause.request_number), ("s", 1));
    assert_eq!((debit.cause.units, debit.cause.price), (14, money("0.05 EUR")));
    assert_eq!(debit.cause.rating_group, Some(700));
}

#[test]
fn a_copy_gets_the_same_answer_and_is_debited_once() {
    let mut bench = ocs("10.00 EUR");
    bench.ask(&start("s"));
    let first = bench.ask(&end("s", 1, 14));
    let again = bench.ask(&end("s", 1, 14).copy());
    assert_eq!(again.avps, first.avps);
    assert_eq!(bench.balance(), "9.30 EUR");
    assert_eq!(bench.charging.duplicates(), 1);
    assert_eq!(bench.oddities(), []);
}

#[test]
fn h_06_h_16_a_copy_that_is_no_honest_copy_is_noted() {
    let mut bench = ocs("10.00 EUR");
    bench.ask(&event("e", 1));
    bench.ask(&event("e", 1));
    let mut other = event("e", 1).copy();
    other.0.header.end_to_end += 1;
    bench.ask(&other);
    bench.ask(&event("e", 2).copy());
    let moved = event("e", 1).copy();
    bench.ask(&moved.with(Avp::identity(id::DESTINATION_HOST, "judge.sim.example.net")));
    use AnomalyKind::{CopyDiffers, CopyUnmarked, EndToEndChanged};
    assert_eq!(bench.oddities(), [CopyUnmarked, EndToEndChanged, CopyDiffers]);
    assert_eq!(bench.balance(), "9.95 EUR");
}

#[test]
fn f_21_numbers_begin_with_0_and_grow_by_one() {
    let mut bench = ocs("10.00 EUR");
    let check = |bench: &mut Bench<Ocs>, ask: Ask, odd: bool| {
        let before = bench.oddities().len();
        bench.ask(&ask);
        let new = bench.oddities()[before..].contains(&AnomalyKind::Numbering);
        assert_eq!(new, odd, "{:?}", bench.charging.anomalies());
    };
    check(&mut bench, start("a"), false);
    check(&mut bench, update("a", 1, 1), false);
    check(&mut bench, update("a", 3, 1), true);
    check(&mut bench, end("a", 4, 1), false);
    let late = Ask::ccr("b", 1, 1).service(700, Some(vec![seconds(600)]), None);
    check(&mut bench, late, true);
    let one = Ask::ccr("c", 4, 1).action(0).service(701, Some(vec![messages(1)]), None);
    check(&mut bench, one, true);
}

#[test]
fn f_22_a_request_without_a_session_is_5002() {
    let mut bench = ocs("10.00 EUR");
    assert_eq!(bench.code(&end("never", 1, 1)), 5002);
    bench.ask(&start("s"));
    bench.ask(&end("s", 1, 1));
    assert_eq!(bench.code(&update("s", 2, 1)), 5002);
    assert_eq!(bench.oddities(), [AnomalyKind::UnknownSession, AnomalyKind::AfterEnd]);
    assert_eq!(bench.balance(), "9.95 EUR");
}

#[test]
fn c_05_c_11_c_14_the_form_of_reports_is_judged() {
    let mut bench = ocs("10.00 EUR");
    bench.ask(&start("s").without(id::MULTIPLE_SERVICES_INDICATOR));
    bench.ask(&Ask::ccr("s", 3, 1).service(700, Some(vec![]), Some(vec![messages(1)])));
    let said: Vec<String> =
        bench.charging.anomalies().into_iter().map(|anomaly| anomaly.detail).collect();
    for (said, rule) in said.iter().zip(["C-05", "C-14", "C-11"]) {
        assert!(said.contains(rule), "{said}");
    }
    assert_eq!(said.len(), 3);
}

// ---- denial and final units ----

#[test]
fn an_empty_account_is_4012_and_nothing_is_held() {
    let mut bench = ocs("0.04 EUR");
    let answer = bench.ask(&start("s"));
    assert_eq!(code_of(&answer), 4012);
    assert_eq!(mscc(&answer).unsigned32(id::RESULT_CODE), Some(4012));
    assert_eq!(bench.held(), Amount::ZERO);
    // Refused at command level: there is no session to end.
    assert_eq!(bench.code(&end("s", 1, 0)), 5002);
    assert_eq!(bench.balance(), "0.04 EUR");
}

#[test]
fn refusals_inside_mscc_leave_the_session_open() {
    let mut config = OcsConfig::standard(Currency::EUR).with_account(ANNE, money("0.04 EUR"));
    config.refuse_at = RefuseAt::Service;
    let mut bench = ocs_of(config);
    let answer = bench.ask(&start("s"));
    assert_eq!(code_of(&answer), 2001);
    assert_eq!(mscc(&answer).unsigned32(id::RESULT_CODE), Some(4012));
    assert_eq!(bench.code(&end("s", 1, 0)), 2001);
}

#[test]
fn one_service_of_two_can_be_refused() {
    let mut bench = ocs("0.08 EUR");
    let both = start("s").service(701, Some(vec![messages(1)]), None);
    let answer = bench.ask(&both);
    assert_eq!(code_of(&answer), 2001);
    let codes: Vec<Option<u32>> = answer
        .all(id::MULTIPLE_SERVICES_CREDIT_CONTROL)
        .map(|avp| avp.members().expect("group").unsigned32(id::RESULT_CODE))
        .collect();
    assert_eq!(codes, [Some(2001), Some(4012)]);
}

#[test]
fn the_last_units_come_with_final_unit_indication() {
    let mut bench = ocs("0.30 EUR");
    let first = bench.ask(&start("s"));
    assert!(mscc(&first).find(id::FINAL_UNIT_INDICATION).is_none());
    let second = bench.ask(&update("s", 1, 5));
    let last = mscc(&second).group(id::FINAL_UNIT_INDICATION).expect("final");
    assert_eq!(last.enumerated(id::FINAL_UNIT_ACTION), Some(0));
    let granted = mscc(&second).group(id::GRANTED_SERVICE_UNIT).expect("grant");
    // One message is all that 0.05 EUR buys, whatever time was asked for.
    assert_eq!(granted, [seconds(600), messages(1)]);
    let third = bench.ask(&update("s", 2, 1));
    assert_eq!(code_of(&third), 4012);
    assert_eq!(bench.balance(), "0.00 EUR");
}

#[test]
fn used_units_beyond_the_balance_are_deducted_as_far_as_possible() {
    let mut bench = ocs("0.30 EUR");
    bench.ask(&start("s"));
    assert_eq!(bench.code(&end("s", 1, 25)), 4012);
    assert_eq!(bench.balance(), "0.00 EUR");
    assert_eq!(bench.charging.ledger().revenue(), money("0.30 EUR"));
}

#[test]
fn account_states_have_their_codes() {
    let mut config = OcsConfig::standard(Currency::EUR);
    for (id, state) in [
        ("+1", AccountState::Unknown),
        ("+2", AccountState::Blocked),
        ("+3", AccountState::Free),
        ("+4", AccountState::Active),
    ] {
        config.accounts.insert(id.into(), AccountSpec { balance: money("1 EUR"), state });
    }
    let mut bench = ocs_of(config);
    let cases = [("+1", 5030), ("+2", 4010), ("+3", 4011), ("+4", 2001), ("+5", 5030)];
    for (at, (id, code)) in cases.into_iter().enumerate() {
        assert_eq!(bench.code(&start(&format!("s{at}")).subscriber(0, id)), code, "{id}");
        assert_eq!(bench.code(&event(&format!("e{at}"), 1).subscriber(0, id)), code, "{id}");
    }
}

#[test]
fn others_get_the_default_account_at_first_sight() {
    let mut config = OcsConfig::standard(Currency::EUR);
    let state = AccountState::Active;
    config.others = Some(AccountSpec { balance: money("100.00 EUR"), state });
    let mut bench = ocs_of(config);
    assert_eq!(bench.code(&event("e", 2).subscriber(0, "+12025550177")), 2001);
    let account = bench.charging.account("+12025550177").expect("opened");
    assert_eq!(account.balance, money("99.90 EUR"));
}

#[test]
fn a_rating_group_without_tariff_is_5031_with_failed_avp() {
    let mut bench = ocs("10.00 EUR");
    let ask = Ask::ccr("e", 4, 0).action(0).service(999, Some(vec![messages(1)]), None);
    let answer = bench.ask(&ask);
    assert_eq!(code_of(&answer), 5031);
    let failed = answer.group(id::FAILED_AVP).expect("Failed-AVP");
    assert_eq!(failed.unsigned32(id::RATING_GROUP), Some(999));
}

#[test]
fn the_time_tariff_grants_what_the_balance_covers() {
    let mut config = OcsConfig::standard(Currency::EUR).with_account(ANNE, money("0.25 EUR"));
    let tariff = Tariff {
        unit: Unit::Seconds,
        per: 60,
        validity_seconds: Some(900),
        threshold_seconds: Some(30),
        ..Tariff::per_message(money("0.10 EUR"))
    };
    config.tariffs.insert(700, tariff);
    let mut bench = ocs_of(config);
    let answer = bench.ask(&start("s"));
    let granted = mscc(&answer).group(id::GRANTED_SERVICE_UNIT).expect("grant");
    assert_eq!(granted, [seconds(120)]);
    assert_eq!(mscc(&answer).unsigned32(id::VALIDITY_TIME), Some(900));
    assert_eq!(mscc(&answer).unsigned32(id::TIME_QUOTA_THRESHOLD), Some(30));
    assert!(mscc(&answer).find(id::FINAL_UNIT_INDICATION).is_some());
    assert_eq!(bench.held(), money("0.20 EUR"));
    let report = Some(vec![seconds(61)]);
    assert_eq!(bench.code(&Ask::ccr("s", 3, 1).service(700, None, report)), 2001);
    assert_eq!(bench.balance(), "0.05 EUR");
}

#[test]
fn a_step_is_paid_once_over_several_reports() {
    let mut config = OcsConfig::standard(Currency::EUR).with_account(ANNE, money("1.00 EUR"));
    let tariff = Tariff { unit: Unit::Seconds, per: 60, ..Tariff::per_message(money("0.10 EUR")) };
    config.tariffs.insert(700, tariff);
    let mut bench = ocs_of(config);
    bench.ask(&start("s"));
    let report = |kind, number, secs| {
        Ask::ccr("s", kind, number).service(700, None, Some(vec![seconds(secs)]))
    };
    bench.ask(&report(2, 1, 30));
    // What is reported is settled, and without a request nothing is held.
    assert_eq!((bench.balance().as_str(), bench.held()), ("0.90 EUR", Amount::ZERO));
    bench.ask(&report(2, 2, 30));
    assert_eq!(bench.balance(), "0.90 EUR");
    bench.ask(&report(3, 3, 1));
    assert_eq!(bench.balance(), "0.80 EUR");
}

#[test]
fn tcc_ends_a_silent_session_and_releases_what_it_holds() {
    let mut config = OcsConfig::standard(Currency::EUR).with_account(ANNE, money("1 EUR"));
    config.tcc = Some(Duration::from_secs(60));
    let mut bench = ocs_of(config);
    bench.ask(&start("s"));
    assert_eq!(bench.charging.expire(NOW + Duration::from_secs(59)), 0);
    assert_eq!(bench.charging.expire(NOW + Duration::from_secs(60)), 1);
    assert_eq!(bench.held(), Amount::ZERO);
    assert_eq!(bench.code(&end("s", 1, 1)), 5002);
}

// ---- events ----

#[test]
fn c_53_events_are_debited_exactly() {
    let mut bench = ocs("1.00 EUR");
    let answer = bench.ask(&event("e", 3));
    assert_eq!(code_of(&answer), 2001);
    assert_eq!(unit_value(answer.group(id::COST_INFORMATION).expect("cost")), (15, -2, 978));
    let granted = mscc(&answer).group(id::GRANTED_SERVICE_UNIT).expect("grant");
    assert_eq!(granted, [messages(3)]);
    assert_eq!(bench.balance(), "0.85 EUR");
    assert_eq!(bench.code(&event("f", 18)), 4012);
    assert_eq!(bench.balance(), "0.85 EUR");
    assert_eq!(bench.code(&event("g", 17)), 2001);
    assert_eq!(bench.balance(), "0.00 EUR");
}

#[test]
fn a_refund_pays_the_debit_back_once() {
    let mut bench = ocs("1.00 EUR");
    let debit = bench.ask(&event("e", 3));
    let reference = mscc(&debit).octets(id::REFUND_INFORMATION).expect("reference").to_vec();
    let refund = |session: &str| {
        let members = vec![
            Avp::u32(id::RATING_GROUP, 701),
            Avp::octets(id::REFUND_INFORMATION, reference.clone()),
        ];
        Ask::ccr(session, 4, 0)
            .action(1)
            .with(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, members))
    };
    assert_eq!(bench.code(&refund("r")), 2001);
    assert_eq!(bench.balance(), "1.00 EUR");
    assert_eq!(bench.code(&refund("r").copy()), 2001);
    assert_eq!(bench.code(&refund("r2")), 5031);
    assert_eq!(bench.balance(), "1.00 EUR");
    let by_units = Ask::ccr("u", 4, 0).action(1).service(701, Some(vec![messages(2)]), None);
    assert_eq!(bench.code(&by_units), 2001);
    assert_eq!(bench.balance(), "1.10 EUR");
}

#[test]
fn balance_and_price_touch_no_money() {
    let mut bench = ocs("0.10 EUR");
    let check = |sent| Ask::ccr("b", 4, 0).action(2).service(701, Some(vec![messages(sent)]), None);
    let mut enough = |session: &str, sent| {
        let mut ask = check(sent);
        ask.0.avps[0] = Avp::text(id::SESSION_ID, session);
        bench.ask(&ask).enumerated(id::CHECK_BALANCE_RESULT)
    };
    assert_eq!(enough("b1", 2), Some(0));
    assert_eq!(enough("b2", 3), Some(1));
    let price = Ask::ccr("p", 4, 0).action(3).service(701, Some(vec![messages(7)]), None);
    let answer = bench.ask(&price);
    assert_eq!(unit_value(answer.group(id::COST_INFORMATION).expect("cost")), (35, -2, 978));
    assert_eq!(bench.balance(), "0.10 EUR");
    let none = Ask::ccr("n", 4, 0).service(701, Some(vec![messages(7)]), None);
    let answer = bench.ask(&none);
    assert_eq!(code_of(&answer), 5005);
    let failed = answer.group(id::FAILED_AVP).expect("Failed-AVP");
    assert!(failed.find(id::REQUESTED_ACTION).is_some());
}

#[test]
fn c_53_decentralised_money_must_be_exact_and_in_the_account_s_currency() {
    let mut config = OcsConfig::standard(Currency::EUR).with_account(ANNE, money("1.00 EUR"));
    let tariff = Tariff { unit: Unit::Money, ..Tariff::per_message(Amount::ZERO) };
    config.tariffs.insert(701, tariff);
    let mut bench = ocs_of(config);
    let pay = |session: &str, digits: i64, exponent: Option<i32>, currency: u32| {
        let mut value = vec![Avp::new(id::VALUE_DIGITS, Value::Integer64(digits))];
        value.extend(exponent.map(|exponent| Avp::i32(id::EXPONENT, exponent)));
        let members =
            vec![Avp::group(id::UNIT_VALUE, value), Avp::u32(id::CURRENCY_CODE, currency)];
        let units = vec![Avp::group(id::CC_MONEY, members)];
        Ask::ccr(session, 4, 0).action(0).service(701, Some(units), None)
    };
    assert_eq!(bench.code(&pay("a", 25, Some(-2), 978)), 2001);
    assert_eq!(bench.balance(), "0.75 EUR");
    assert_eq!(bench.code(&pay("b", 1, None, 978)), 4012);
    assert_eq!(bench.code(&pay("c", 1, Some(-7), 978)), 5031);
    assert_eq!(bench.code(&pay("d", 1, Some(-2), 840)), 5031);
    assert_eq!(bench.code(&pay("e", -5, Some(-2), 978)), 5031);
    assert_eq!(bench.balance(), "0.75 EUR");
}

// ---- form ----

#[test]
fn h_25_r_grammar_and_destination_are_refused_before_money() {
    let mut bench = ocs("1.00 EUR");
    let unknown = AvpId { code: 4711, vendor: 99 };
    let stranger =
        Avp { id: unknown, flags: AvpFlags::mandatory_for(unknown), value: Value::Unsigned32(1) };
    let twice = event("a", 1).with(Avp::u32(id::CC_REQUEST_NUMBER, 0));
    let mut wrong_application = event("a", 1);
    wrong_application.0.header.application = application::ACCOUNTING;
    let cases = [
        (event("a", 1).with(stranger), 5001, Some(unknown)),
        (event("a", 1).without(id::SERVICE_CONTEXT_ID), 5005, Some(id::SERVICE_CONTEXT_ID)),
        (twice, 5009, Some(id::CC_REQUEST_NUMBER)),
        (Ask::ccr("a", 9, 0), 5004, Some(id::CC_REQUEST_TYPE)),
        (
            event("a", 1).with(Avp::identity(id::DESTINATION_HOST, "other.sim.example.net")),
            3002,
            None,
        ),
        (wrong_application, 3007, None),
        (
            event("a", 1)
                .without(id::DESTINATION_REALM)
                .with(Avp::identity(id::DESTINATION_REALM, "elsewhere.net")),
            3003,
            None,
        ),
    ];
    for (ask, code, failed) in cases {
        let acts = bench.acts(&ask);
        let [Act::Send { bytes, .. }] = acts.as_slice() else { panic!("{acts:?}") };
        let (answer, _) = decode(bytes, Dictionary::builtin(), &Limits::default());
        assert_eq!(code_of(&answer), code);
        assert_eq!(answer.header.flags.is_error(), code < 4000, "{code}");
        let named = answer.group(id::FAILED_AVP).and_then(|members| members.first());
        assert_eq!(named.map(|avp| avp.id), failed, "{code}");
    }
    assert_eq!(bench.balance(), "1.00 EUR");
    assert_eq!(bench.charging.ledger().revenue(), Amount::ZERO);
}

#[test]
fn a_wrong_server_says_so() {
    let mut bench = cdf();
    assert_eq!(bench.code(&event("a", 1)), 3001);
}

// ---- random histories ----

#[derive(Clone, Debug)]
enum Step {
    Start(u8),
    Update(u8, u64),
    End(u8, u64),
    Event(u64),
    Refund(u64),
    Repeat,
    TopUp(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..4).prop_map(Step::Start),
        (0u8..4, 0u64..40).prop_map(|(s, n)| Step::Update(s, n)),
        (0u8..4, 0u64..40).prop_map(|(s, n)| Step::End(s, n)),
        (1u64..30).prop_map(Step::Event),
        (1u64..5).prop_map(Step::Refund),
        Just(Step::Repeat),
        (0u32..3_000_000).prop_map(Step::TopUp),
    ]
}

proptest! {
    /// A second, simpler model of one account: one number.
    #[test]
    fn the_books_balance_after_every_history(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = ocs("1.00 EUR");
        let anne: Arc<str> = ANNE.into();
        let mut model = money("1.00 EUR");
        let mut life = [0u32; 4];
        let mut numbers = [0u32; 4];
        let mut open = [false; 4];
        let mut events = 0;
        let mut last: Option<Ask> = None;
        for step in steps {
            let name = |s: u8, life: &[u32; 4]| format!("s{s};{}", life[usize::from(s)]);
            let price = |n: u64| money("0.05 EUR").times(n).expect("small");
            let ask = match step {
                Step::Start(s) => {
                    let at = usize::from(s);
                    life[at] += u32::from(!open[at]);
                    if open[at] { continue }
                    numbers[at] = 0;
                    let ask = start(&name(s, &life));
                    open[at] = bench.code(&ask) == 2001;
                    ask
                }
                Step::Update(s, n) | Step::End(s, n) if open[usize::from(s)] => {
                    let at = usize::from(s);
                    numbers[at] += 1;
                    let goes_on = matches!(step, Step::Update(..));
                    let ask = match goes_on {
                        true => update(&name(s, &life), numbers[at], n),
                        false => end(&name(s, &life), numbers[at], n),
                    };
                    // Other sessions' reservations are not this session's to spend.
                    let others = bench.held() - bench.charging.ledger().reservation(
                        &name(s, &life).as_str().into(), Some(700));
                    let due = price(n).min(model - others);
                    let code = bench.code(&ask);
                    model = model - due;
                    open[at] = goes_on && code == 2001;
                    ask
                }
                Step::Update(..) | Step::End(..) => continue,
                Step::Event(n) => {
                    events += 1;
                    let ask = event(&format!("e{events}"), n);
                    let covered = price(n) <= model - bench.held();
                    let code = bench.code(&ask);
                    prop_assert_eq!(code == 2001, covered);
                    if covered { model = model - price(n) }
                    ask
                }
                Step::Refund(n) => {
                    events += 1;
                    let ask = Ask::ccr(&format!("e{events}"), 4, 0).action(1)
                        .service(701, Some(vec![messages(n)]), None);
                    prop_assert_eq!(bench.code(&ask), 2001);
                    model = model + price(n);
                    ask
                }
                Step::Repeat => {
                    if let Some(ask) = last.clone() { bench.ask(&ask.copy()); }
                    continue
                }
                Step::TopUp(micros) => {
                    model = bench.held() + Amount(i128::from(micros));
                    bench.charging.set_account(ANNE, Some(model), None, NOW);
                    continue
                }
            };
            last = Some(ask);
            prop_assert_eq!(bench.charging.ledger().check(), Ok(()));
            prop_assert_eq!(bench.charging.ledger().balance(&anne), model);
            prop_assert!(bench.charging.ledger().available(&anne) >= Amount::ZERO);
        }
        for s in 0u8..4 {
            let at = usize::from(s);
            if open[at] {
                let name = format!("s{s};{}", life[at]);
                bench.ask(&end(&name, numbers[at] + 1, 0));
            }
        }
        prop_assert_eq!(bench.held(), Amount::ZERO);
        prop_assert_eq!(bench.charging.ledger().balance(&anne), model);
        prop_assert_eq!(bench.oddities(), []);
    }
}

// ---- CDF ----

fn stop(session: &str, number: u32) -> Ask {
    let info = vec![
        Avp::u32(id::SERVICE_SPECIFIC_TYPE, 1),
        Avp::text(id::SERVICE_SPECIFIC_DATA, "farebox-backup;ccr=x;n=2;rg=700;messages=14"),
    ];
    let stamps = vec![
        Avp::time(id::SIP_REQUEST_TIMESTAMP, 1_765_535_000),
        Avp::u32(id::SIP_REQUEST_TIMESTAMP_FRACTION, 412),
    ];
    let ims = vec![
        Avp::group(id::EVENT_TYPE, vec![Avp::text(id::SIP_METHOD, "BYE")]),
        Avp::enumerated(id::NODE_FUNCTIONALITY, 6),
        Avp::group(id::TIME_STAMPS, stamps),
        Avp::i32(id::CAUSE_CODE, 408),
        Avp::group(id::SERVICE_SPECIFIC_INFO, info),
    ];
    let im = vec![
        Avp::u32(id::TOTAL_NUMBER_OF_MESSAGES_SENT, 14),
        Avp::u32(id::NUMBER_OF_MESSAGES_SUCCESSFULLY_SENT, 13),
    ];
    let subscriber = vec![
        Avp::enumerated(id::SUBSCRIPTION_ID_TYPE, 0),
        Avp::text(id::SUBSCRIPTION_ID_DATA, "12025550123"),
    ];
    let service = vec![
        Avp::group(id::SUBSCRIPTION_ID, subscriber),
        Avp::group(id::IMS_INFORMATION, ims),
        Avp::group(id::IM_INFORMATION, im),
    ];
    Ask::acr(session, 4, number)
        .with(Avp::time(id::EVENT_TIMESTAMP, 1_765_535_000))
        .with(Avp::group(id::SERVICE_INFORMATION, service))
}

#[test]
fn records_of_a_session_correlate() {
    let mut bench = cdf();
    assert_eq!(bench.code(&Ask::acr("s", 2, 0)), 2001);
    assert_eq!(bench.code(&Ask::acr("s", 3, 1)), 2001);
    let complete = |bench: &Bench<Cdf>| bench.charging.sessions().all(|s| s.is_complete());
    assert!(!complete(&bench));
    let answer = bench.ask(&stop("s", 2));
    assert_eq!(answer.enumerated(id::ACCOUNTING_RECORD_TYPE), Some(4));
    assert_eq!(answer.unsigned32(id::ACCOUNTING_RECORD_NUMBER), Some(2));
    assert!(complete(&bench));
    let last = bench.charging.records().next_back().expect("a record");
    assert_eq!((last.record_type, last.ims.cause_code), (RecordType::Stop, Some(408)));
    assert_eq!((last.im.sent, last.im.delivered), (Some(14), Some(13)));
    assert_eq!(last.ims.request_at, Some(Wall(1_765_535_000_412)));
    assert_eq!(bench.charging.anomalies(), []);
}

#[test]
fn a_record_is_one_line_of_json() {
    let mut bench = cdf();
    bench.ask(&stop("cg1;1;1;abc", 1).copy());
    let lines = bench.charging.take_lines();
    assert_eq!(lines.len(), 1);
    for part in [
        r#""record":"STOP_RECORD","number":1,"sessionId":"cg1;1;1;abc""#,
        r#""eventTimestamp":"2025-12-12T10:23:20Z","retransmission":true"#,
        r#""subscriber":[{"type":0,"data":"12025550123"}],"causeCode":408"#,
        r#""ims":{"sipMethod":"BYE","nodeFunctionality":6,"requestAt":"2025-12-12T10:23:20.412Z"}"#,
        r#""im":{"sent":14,"delivered":13}"#,
        r#""serviceSpecific":[{"type":1,"data":"farebox-backup;ccr=x;n=2;rg=700;messages=14"}]"#,
        r#""raw":"01"#,
    ] {
        assert!(lines[0].contains(part), "{part}\n{}", lines[0]);
    }
    assert_eq!(bench.charging.take_lines(), Vec::<String>::new());
}

#[test]
fn s_32_a_marked_copy_is_discarded_and_a_marked_stranger_is_used() {
    let mut bench = cdf();
    bench.ask(&Ask::acr("s", 2, 0));
    assert_eq!(bench.code(&Ask::acr("s", 2, 0).copy()), 2001);
    assert_eq!((bench.charging.accepted(), bench.charging.duplicates()), (1, 1));
    // The original of this one was lost on the way.
    assert_eq!(bench.code(&stop("s", 1).copy()), 2001);
    assert_eq!((bench.charging.accepted(), bench.charging.duplicates()), (2, 1));
    let last = bench.charging.records().next_back().expect("used");
    assert!(last.retransmit);
    assert_eq!(bench.charging.anomalies(), []);
    assert_eq!(bench.charging.take_lines().len(), 2);
}

#[test]
fn i_07_numbers_of_records_are_judged() {
    let mut bench = cdf();
    use AnomalyKind::{AfterEnd, Numbering};
    for (ask, odd) in [
        (Ask::acr("e", 1, 0), None),
        (Ask::acr("f", 1, 1), Some(Numbering)),
        (Ask::acr("s", 2, 0), None),
        (Ask::acr("s", 3, 3), None),
        (Ask::acr("s", 3, 2), Some(Numbering)),
        (stop("s", 4), None),
        (Ask::acr("s", 3, 5), Some(AfterEnd)),
        // The STOP of an orphan: 0 stays with the START that nobody saw.
        (stop("o", 1), None),
    ] {
        let before = bench.charging.anomalies().len();
        assert_eq!(bench.code(&ask), 2001);
        let new: Vec<_> =
            bench.charging.anomalies()[before..].iter().map(|anomaly| anomaly.kind).collect();
        assert_eq!(new, odd.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn s_33_a_session_without_records_is_closed() {
    let supervision = Some(Duration::from_secs(30));
    let mut bench = Bench::new(Cdf::new(CdfConfig { supervision, ..CdfConfig::default() }));
    bench.ask(&Ask::acr("open", 2, 0));
    bench.ask(&Ask::acr("done", 2, 0));
    bench.ask(&stop("done", 1));
    bench.charging.take_lines();
    assert_eq!(bench.charging.expire(NOW + Duration::from_secs(29)), 0);
    assert_eq!(bench.charging.expire(NOW + Duration::from_secs(30)), 1);
    assert_eq!(bench.charging.expire(NOW + Duration::from_secs(99)), 0);
    let lines = bench.charging.take_lines();
    assert!(lines[0].contains(r#""record":"CLOSED","number":0,"sessionId":"open""#), "{lines:?}");
}

// ---- faults ----

fn on(command: &str) -> When {
    When { command: Some(command.into()), ..When::default() }
}

#[test]
fn an_answer_code_changes_nothing_unless_the_code_says_so() {
    for (verb, balance, next) in [(5012, "10.00 EUR", 2001), (3004, "10.00 EUR", 2001)] {
        let mut bench = ocs("10.00 EUR");
        bench.ask(&start("s"));
        let when = When { nth: Some(1), ..on("CCR-T") };
        bench.fault(when, vec![Verb::Answer(verb), Verb::ErrorMessage("down".into())]);
        let answer = bench.ask(&end("s", 1, 14));
        assert_eq!((code_of(&answer), answer.text(id::ERROR_MESSAGE)), (verb, Some("down")));
        assert_eq!(bench.balance(), balance);
        // After an error the copy is new, and has no T.
        assert_eq!(bench.code(&end("s", 1, 14)), next);
        assert_eq!(bench.balance(), "9.30 EUR");
        assert_eq!(bench.oddities(), []);
    }
}

#[test]
fn a_4012_on_update_deducts_and_ends_the_session() {
    let mut bench = ocs("10.00 EUR");
    let when = When { nth: Some(2), ..on("CCR-U") };
    let verbs = vec![Verb::Answer(4012), Verb::FinalUnit(FinalUnitAction::Terminate)];
    bench.fault(when, verbs);
    bench.ask(&start("s"));
    assert_eq!(bench.code(&update("s", 1, 2)), 2001);
    let answer = bench.ask(&update("s", 2, 2));
    assert_eq!(code_of(&answer), 4012);
    assert!(mscc(&answer).find(id::FINAL_UNIT_INDICATION).is_some());
    assert_eq!((bench.balance().as_str(), bench.held()), ("9.80 EUR", Amount::ZERO));
    assert_eq!(bench.code(&end("s", 3, 0)), 5002);
}

#[test]
fn fa_01_a_lost_answer_is_debited_once() {
    let mut bench = ocs("10.00 EUR");
    bench.fault(When { nth: Some(1), ..on("CCR-E") }, vec![Verb::Drop(Lost::Answer)]);
    assert_eq!(bench.acts(&event("e", 2)), []);
    assert_eq!(bench.balance(), "9.90 EUR");
    assert_eq!(bench.code(&event("e", 2).copy()), 2001);
    assert_eq!(bench.balance(), "9.90 EUR");
}

#[test]
fn a_forgotten_record_is_acknowledged_and_missing() {
    let mut bench = cdf();
    bench.fault(When { nth: Some(2), ..on("ACR") }, vec![Verb::Forget]);
    assert_eq!(bench.code(&Ask::acr("s", 2, 0)), 2001);
    assert_eq!(bench.code(&stop("s", 1)), 2001);
    assert_eq!(bench.charging.accepted(), 1);
    assert!(!bench.charging.sessions().all(|session| session.is_complete()));
}

#[test]
fn a_lost_request_never_happened() {
    let mut bench = ocs("10.00 EUR");
    bench.fault(When { nth: Some(1), ..on("CCR-E") }, vec![Verb::Drop(Lost::Request)]);
    assert_eq!(bench.acts(&event("e", 2)), []);
    assert_eq!(bench.balance(), "10.00 EUR");
    assert_eq!(bench.code(&event("e", 2).copy()), 2001);
    assert_eq!((bench.balance().as_str(), bench.charging.duplicates()), ("9.90 EUR", 0));
}

#[test]
fn answers_are_spoiled_as_ordered() {
    fn spoiled(verb: Verb) -> (Bytes, Vec<Act>) {
        let mut bench = ocs("10.00 EUR");
        bench.fault(When::default(), vec![verb]);
        let acts = bench.acts(&event("e", 1));
        match acts.first() {
            Some(Act::Send { bytes, .. }) => (bytes.clone(), acts),
            _ => (Bytes::new(), acts),
        }
    }
    let read = |bytes: &Bytes| decode(bytes, Dictionary::builtin(), &Limits::default());
    let codes = |bytes: &Bytes| -> Vec<u32> {
        let (message, mut problems) = read(bytes);
        problems.extend(check_grammar(&message, Dictionary::builtin()));
        problems.iter().map(|problem| problem.result_code).collect()
    };
    let (right, _) = spoiled(Verb::Delay(Duration::ZERO));
    assert!(codes(&right).is_empty());

    assert_eq!(codes(&spoiled(Verb::MissingAvp(id::RESULT_CODE)).0), [5005]);
    assert_eq!(codes(&spoiled(Verb::WrongType(id::RESULT_CODE)).0)[0], 5014);
    assert_eq!(codes(&spoiled(Verb::UnknownMandatoryAvp).0), [5001]);
    let (extra, _) = spoiled(Verb::ExtraAvp(Avp::u32(id::CC_REQUEST_NUMBER, 5)));
    assert_eq!(codes(&extra), [5009]);

    let (flag, _) = spoiled(Verb::WrongFlag(id::RESULT_CODE));
    let result = read(&flag).0.find(id::RESULT_CODE).expect("still there").flags;
    assert!(!result.mandatory());

    let (ids, _) = spoiled(Verb::WrongEndToEnd);
    assert_ne!(read(&ids).0.header.end_to_end, read(&right).0.header.end_to_end);

    let (experimental, _) = spoiled(Verb::ExperimentalResult(10415, 5653));
    let (message, _) = read(&experimental);
    assert!(message.find(id::RESULT_CODE).is_none());
    let group = message.group(id::EXPERIMENTAL_RESULT).expect("group");
    assert_eq!(group.unsigned32(id::EXPERIMENTAL_RESULT_CODE), Some(5653));

    let (cut, acts) = spoiled(Verb::Truncate(Some(30)));
    assert_eq!(cut, right.slice(..30));
    assert!(matches!(acts[1], Act::End { how: End::Close, .. }));
    assert!(!spoiled(Verb::Garbage).0.starts_with(&[1]));

    let (_, acts) = spoiled(Verb::Duplicate(2));
    assert_eq!(acts.len(), 3);
    let (_, acts) = spoiled(Verb::Delay(Duration::from_millis(2500)));
    assert!(matches!(acts[0], Act::Send { after, .. } if after.as_millis() == 2500));
}

#[test]
fn reorder_puts_an_answer_behind_the_next_one() {
    let mut bench = ocs("10.00 EUR");
    bench.fault(When { nth: Some(1), ..on("CCR-E") }, vec![Verb::Reorder]);
    assert_eq!(bench.acts(&event("e1", 1)), []);
    let acts = bench.acts(&event("e2", 1));
    let sessions: Vec<String> = acts
        .iter()
        .map(|act| match act {
            Act::Send { bytes, .. } => {
                let (message, _) = decode(bytes, Dictionary::builtin(), &Limits::default());
                message.text(id::SESSION_ID).expect("Session-Id").to_owned()
            }
            Act::End { .. } => "end".to_owned(),
        })
        .collect();
    assert_eq!(sessions, ["e2", "e1"]);
}

#[test]
fn close_and_reset_lose_the_answer_after_the_work() {
    let mut bench = ocs("10.00 EUR");
    bench.fault(When { nth: Some(1), ..on("CCR-E") }, vec![Verb::Reset]);
    let acts = bench.acts(&event("e", 1));
    assert_eq!(acts, [Act::End { after: Duration::ZERO, how: End::Reset }]);
    assert_eq!(bench.balance(), "9.95 EUR");
}

#[test]
fn c_22_rar_and_asr_name_the_session_and_its_client() {
    let mut bench = ocs("10.00 EUR");
    bench.ask(&start("s1"));
    bench.ask(&start("s2"));
    bench.ask(&update("s1", 1, 1));
    let any = bench.charging.pick(&Sessions::Any);
    assert_eq!(any.iter().map(|s| &*s.id).collect::<Vec<_>>(), ["s1"]);
    assert_eq!(bench.charging.pick(&Sessions::Like("s*".into())).len(), 2);
    for (bytes, code) in [
        (bench.server.rar(&any[0], Some(700)), command::RE_AUTH),
        (bench.server.asr(&any[0]), command::ABORT_SESSION),
    ] {
        let (request, problems) = decode(&bytes, Dictionary::builtin(), &Limits::default());
        assert_eq!(problems, []);
        assert_eq!(check_grammar(&request, Dictionary::builtin()), []);
        assert_eq!(request.header.code, code);
        assert!(request.header.flags.is_request() && request.header.flags.is_proxiable());
        assert_eq!(request.text(id::DESTINATION_HOST), Some("cg1.ims.example.net"));
    }
}
