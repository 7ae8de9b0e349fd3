//! The Credit-Control-Answer of the simulated OCS (RFC 8506, 3.2).

use std::sync::Arc;

use crate::diameter::Avp;
use crate::diameter::Message;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::sim::answer::Identity;
use crate::sim::answer::Refusal;
use crate::sim::answer::answer;
use crate::sim::answer::refusal;
use crate::sim::ccr::Service;
use crate::sim::ledger::Amount;
use crate::sim::ocs::Ocs;
use crate::sim::rating::Units;
use crate::sim::rating::money_avp;

/// What one service of a request comes to.
pub(super) enum Verdict {
    /// A grant of a session; `last` if the balance covers no more.
    Granted { units: Units, last: bool },
    /// Units of an event that were debited or paid back.
    Rated(Units),
    /// Nothing to say but success.
    Settled,
    /// Not this service.
    Refused(Refusal),
}

/// What a request comes to.
#[derive(Default)]
pub(super) struct Outcome {
    /// The command level's refusal.
    pub(super) refusal: Option<Refusal>,
    /// The services in the order of the request.
    pub(super) verdicts: Vec<(Service, Verdict)>,
    /// For Cost-Information.
    pub(super) cost: Option<Amount>,
    /// Whose balance to show.
    pub(super) subscriber: Option<Arc<str>>,
    /// For Check-Balance-Result.
    pub(super) enough: Option<bool>,
    /// For Refund-Information.
    pub(super) refund_reference: Option<String>,
}

impl Outcome {
    /// Nothing but a refusal.
    pub(super) fn refused(refusal: Refusal) -> Outcome {
        Outcome { refusal: Some(refusal), ..Outcome::default() }
    }
}

impl Ocs {
    /// The answer.
    pub(super) fn build(&self, me: &Identity, request: &Message, outcome: Outcome) -> Message {
        let mut answer = match &outcome.refusal {
            Some(found) => refusal(me, request, found),
            None => answer(me, request, result_code::SUCCESS),
        };
        if outcome.refusal.is_none() {
            self.push_failure_rules(&mut answer);
        }
        for (service, verdict) in &outcome.verdicts {
            self.push_service(&mut answer, service, verdict, &outcome);
        }
        if let Some(enough) = outcome.enough {
            answer.push(Avp::enumerated(id::CHECK_BALANCE_RESULT, i32::from(!enough)));
        }
        if self.config.shows_money {
            self.push_money(&mut answer, &outcome);
        }
        answer
    }

    fn push_failure_rules(&self, answer: &mut Message) {
        let failover = self.config.session_failover.map(i32::from);
        let rules = [
            (id::CC_SESSION_FAILOVER, failover),
            (id::CREDIT_CONTROL_FAILURE_HANDLING, self.config.failure_handling),
            (id::DIRECT_DEBITING_FAILURE_HANDLING, self.config.direct_debiting_failure_handling),
        ];
        for (id, value) in rules {
            if let Some(value) = value {
                answer.push(Avp::enumerated(id, value));
            }
        }
    }

    fn push_service(
        &self,
        answer: &mut Message,
        service: &Service,
        verdict: &Verdict,
        outcome: &Outcome,
    ) {
        let mut members = Vec::new();
        if let Verdict::Granted { units, .. } | Verdict::Rated(units) = verdict {
            members.push(units.granted_avp(self.config.currency));
        }
        let tariff = self.tariff(service.rating_group);
        let last = matches!(verdict, Verdict::Granted { last: true, .. });
        let final_unit = tariff.filter(|_| last).map(|tariff| tariff.final_unit.avp());
        if service.at_command {
            answer.avps.extend(members.into_iter().chain(final_unit));
            return;
        }
        let ids = service.service_ids.iter();
        members.extend(ids.map(|service| Avp::u32(id::SERVICE_IDENTIFIER, *service)));
        members.extend(service.rating_group.map(|group| Avp::u32(id::RATING_GROUP, group)));
        let code = match verdict {
            Verdict::Refused(refusal) => refusal.code,
            _ => result_code::SUCCESS,
        };
        members.push(Avp::u32(id::RESULT_CODE, code));
        members.extend(final_unit);
        if let (Verdict::Granted { .. }, Some(tariff)) = (verdict, tariff) {
            members.extend(tariff.conditions());
        }
        if let Some(reference) = &outcome.refund_reference {
            let reference = reference.clone().into_bytes();
            members.push(Avp::octets(id::REFUND_INFORMATION, reference));
        }
        answer.push(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, members));
    }

    fn push_money(&self, answer: &mut Message, outcome: &Outcome) {
        let currency = self.config.currency;
        if let Some(cost) = outcome.cost {
            answer.push(money_avp(id::COST_INFORMATION, cost, currency));
        }
        let Some(subscriber) = &outcome.subscriber else { return };
        answer.push(money_avp(id::REMAINING_BALANCE, self.ledger.balance(subscriber), currency));
        if let Some(limit) = self.config.low_balance {
            let low = self.ledger.balance(subscriber) < limit;
            answer.push(Avp::enumerated(id::LOW_BALANCE_INDICATION, i32::from(low)));
        }
    }
}
