//! One-time events at the simulated OCS: direct debit, refund, balance check, price (RFC 8506, 6).

use std::sync::Arc;

use crate::clock::Wall;
use crate::diameter::Avp;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::sim::answer::Refusal;
use crate::sim::cca::Outcome;
use crate::sim::cca::Verdict;
use crate::sim::ccr::Ccr;
use crate::sim::ccr::Service;
use crate::sim::ledger::Amount;
use crate::sim::ocs::Ocs;
use crate::sim::ocs::cause;
use crate::sim::ocs::unrated;
use crate::sim::rating::Tariff;
use crate::sim::rating::Units;

/// Debits that can still be paid back by their Refund-Information; the oldest go first.
const REFUNDABLE_MAX: usize = 100_000;

/// A service of an event with its price.
struct Priced {
    service: Service,
    tariff: Tariff,
    units: Units,
    count: u64,
    cost: Amount,
}

impl Ocs {
    /// What an event comes to.
    pub(super) fn event(&mut self, ccr: &Ccr, now: Wall, forced: Option<u32>) -> Outcome {
        let action = match ccr.action {
            Some(action @ 0..=3) => action,
            Some(other) => {
                let failed = Avp::enumerated(id::REQUESTED_ACTION, other);
                let code = result_code::INVALID_AVP_VALUE;
                return Outcome::refused(Refusal::of(code, failed, "no such Requested-Action"));
            }
            None => {
                let failed = Avp::enumerated(id::REQUESTED_ACTION, 0);
                let detail = "EVENT_REQUEST needs Requested-Action (RFC 8506, 8.3)";
                return Outcome::refused(Refusal::of(result_code::MISSING_AVP, failed, detail));
            }
        };
        let priced = match self.priced(ccr) {
            Ok(priced) => priced,
            Err(refusal) => return Outcome::refused(refusal),
        };
        let total = priced.iter().fold(Amount::ZERO, |sum, row| sum + row.cost);
        if action == 3 {
            return Outcome { cost: Some(total), ..Outcome::default() };
        }
        let subscriber = match self.subscriber(ccr, now) {
            Ok(subscriber) => subscriber,
            Err(refusal) => return Outcome::refused(refusal),
        };
        let outcome = Outcome { subscriber: Some(subscriber.clone()), ..Outcome::default() };
        if let Some(code) = forced.or_else(|| self.state_code(&subscriber)) {
            return Outcome { refusal: Some(Refusal::new(code, "")), ..outcome };
        }
        match action {
            0 => self.direct_debit(ccr, now, &subscriber, priced, total),
            1 => self.pay_back(ccr, now, &subscriber, priced),
            _ => {
                let enough = self.ledger.available(&subscriber) >= total;
                Outcome { enough: Some(enough), ..outcome }
            }
        }
    }

    fn direct_debit(
        &mut self,
        ccr: &Ccr,
        now: Wall,
        subscriber: &Arc<str>,
        priced: Vec<Priced>,
        total: Amount,
    ) -> Outcome {
        let subscriber = subscriber.clone();
        if self.ledger.available(&subscriber) < total {
            let detail = "the account cannot cover the service";
            let refusal = Refusal::new(result_code::CREDIT_LIMIT_REACHED, detail);
            return Outcome {
                refusal: Some(refusal),
                subscriber: Some(subscriber),
                ..Outcome::default()
            };
        }
        let mut verdicts = Vec::new();
        for row in priced {
            let cause = cause(ccr, &row.service, &row.tariff, row.count, now);
            self.ledger.debit(cause, &subscriber, row.cost);
            verdicts.push((row.service, Verdict::Rated(row.units)));
        }
        let reference = format!("{};{}", ccr.session, ccr.number);
        if self.refundable_order.len() == REFUNDABLE_MAX
            && let Some(oldest) = self.refundable_order.pop_front()
        {
            self.refundable.remove(&oldest);
        }
        self.refundable.insert(reference.clone(), (subscriber.clone(), total));
        self.refundable_order.push_back(reference.clone());
        Outcome {
            verdicts,
            cost: Some(total),
            subscriber: Some(subscriber),
            refund_reference: Some(reference),
            ..Outcome::default()
        }
    }

    /// A refund by Refund-Information pays back that debit, once; one without it pays the price.
    fn pay_back(
        &mut self,
        ccr: &Ccr,
        now: Wall,
        subscriber: &Arc<str>,
        priced: Vec<Priced>,
    ) -> Outcome {
        let mut paid = Amount::ZERO;
        let mut verdicts = Vec::new();
        for row in priced {
            let amount = match &row.service.refund {
                None => row.cost,
                Some(reference) => {
                    let key = String::from_utf8_lossy(reference).into_owned();
                    match self.refundable.remove(&key) {
                        Some((whose, amount)) if whose == *subscriber => amount,
                        _ => {
                            let failed = Avp::octets(id::REFUND_INFORMATION, reference.clone());
                            let detail = "no debit of this subscriber, or paid back already";
                            let code = result_code::RATING_FAILED;
                            return Outcome::refused(Refusal::of(code, failed, detail));
                        }
                    }
                }
            };
            let cause = cause(ccr, &row.service, &row.tariff, row.count, now);
            self.ledger.refund(cause, subscriber, amount);
            paid = paid + amount;
            verdicts.push((row.service, Verdict::Rated(row.units)));
        }
        Outcome {
            verdicts,
            cost: Some(paid),
            subscriber: Some(subscriber.clone()),
            ..Outcome::default()
        }
    }

    /// Every service of an event with its price.
    fn priced(&self, ccr: &Ccr) -> Result<Vec<Priced>, Refusal> {
        ccr.services.iter().map(|service| self.price(service)).collect()
    }

    fn price(&self, service: &Service) -> Result<Priced, Refusal> {
        let tariff = self.tariff(service.rating_group).ok_or_else(|| unrated(service))?.clone();
        let asked = service.requested.as_ref().or(service.used.as_ref());
        let mut units = asked.cloned().unwrap_or_default();
        let count = units.counted(tariff.unit).unwrap_or(1);
        if units.is_empty() {
            units.set_counted(tariff.unit, count);
        }
        let cost = tariff.cost(0, count).ok_or_else(|| unrated(service))?;
        Ok(Priced { service: service.clone(), tariff, units, count, cost })
    }
}
