//! Was a session charged once? Judged by the other side's books, never by the gateway's word.

use serde_json::Value;

use super::args::Flow;
use crate::sim::ledger::Amount;

/// One debit in the OCS simulator's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Debit {
    /// CC-Request-Number of the CCR that reported the units.
    pub(crate) request_number: u32,
    /// Messages paid for.
    pub(crate) units: u64,
    /// What they cost.
    pub(crate) amount: Amount,
}

/// What the OCS and the CDF know about one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// CCR-T that the OCS processed.
    pub(crate) terminations: u64,
    /// Its debits, oldest first.
    pub(crate) debits: Vec<Debit>,
    /// The account before the flow.
    pub(crate) balance_before: Amount,
    /// And after it.
    pub(crate) balance_after: Amount,
    /// Still held for the session: must be nothing.
    pub(crate) reserved: Amount,
    /// The session's lines in the CDF's file.
    pub(crate) cdrs: Vec<Value>,
}

/// The units of a backup record: `farebox-backup;ccr=…;n=2;rg=700;seconds=311;messages=14`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    /// The Ro session whose units it carries.
    pub(crate) session: String,
    /// The messages in it.
    pub(crate) messages: u64,
}

impl Evidence {
    /// Records of this type in the CDF's file.
    pub(crate) fn records(&self, record: &str) -> usize {
        self.cdrs.iter().filter(|cdr| cdr["record"] == record).count()
    }

    /// The backup records in the CDF's file.
    pub(crate) fn backups(&self) -> Vec<Backup> {
        let data = self
            .cdrs
            .iter()
            .filter(|cdr| cdr["record"] == "EVENT_RECORD")
            .flat_map(|cdr| cdr["serviceSpecific"].as_array().cloned().unwrap_or_default());
        data.filter_map(|info| backup(info["data"].as_str()?)).collect()
    }

    /// Messages that the ledger debited.
    pub(crate) fn debited_units(&self) -> u64 {
        self.debits.iter().map(|debit| debit.units).sum()
    }

    /// Money that the ledger debited.
    pub(crate) fn debited(&self) -> Amount {
        self.debits.iter().fold(Amount::ZERO, |sum, debit| sum + debit.amount)
    }

    /// Everything that does not fit a session of `used` messages charged once; empty if it was.
    pub(crate) fn problems(&self, flow: Flow, used: u64) -> Vec<String> {
        let mut problems = Vec::new();
        let mut count = |what: &str, found: u64, wanted: u64| {
            if found != wanted {
                problems.push(format!("{found} {what}, expected {wanted}"));
            }
        };
        let settled_by_backup = flow == Flow::SilentOcs;
        count("START_RECORD in the CDF's file", self.records("START_RECORD") as u64, 1);
        count("STOP_RECORD in the CDF's file", self.records("STOP_RECORD") as u64, 1);
        count("CCR-T at the OCS", self.terminations, u64::from(!settled_by_backup));
        count(
            "backup record in the CDF's file",
            self.backups().len() as u64,
            u64::from(settled_by_backup),
        );
        let backed_up: u64 = self.backups().iter().map(|backup| backup.messages).sum();
        count("messages charged", self.debited_units() + backed_up, used);
        if self.balance_before - self.balance_after != self.debited() {
            problems.push("the balance moved by another amount than was debited".to_owned());
        }
        // The silent OCS never heard of the end; it lets go of the reservation by its own timer.
        if self.reserved != Amount::ZERO && !settled_by_backup {
            problems.push("money is still reserved for the ended session".to_owned());
        }
        problems
    }
}

fn backup(data: &str) -> Option<Backup> {
    let rest = data.strip_prefix("farebox-backup;ccr=")?;
    // A Session-Id contains semicolons: it runs to the last `;n=`.
    let (session, rest) = rest.rsplit_once(";n=")?;
    let messages = rest.split(';').find_map(|part| part.strip_prefix("messages="));
    Some(Backup {
        session: session.to_owned(),
        messages: messages.and_then(|text| text.parse().ok()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CENT: i128 = Amount(0).0 + 10_000;

    fn cdr(record: &str) -> Value {
        json!({"record": record, "number": 0})
    }

    fn charged() -> Evidence {
        Evidence {
            terminations: 1,
            debits: vec![
                Debit { request_number: 1, units: 6, amount: Amount(30 * CENT) },
                Debit { request_number: 2, units: 8, amount: Amount(40 * CENT) },
            ],
            balance_before: Amount(1000 * CENT),
            balance_after: Amount(930 * CENT),
            reserved: Amount::ZERO,
            cdrs: vec![cdr("START_RECORD"), cdr("INTERIM_RECORD"), cdr("STOP_RECORD")],
        }
    }

    #[test]
    fn a_session_charged_once_has_no_problem() {
        assert_eq!(charged().problems(Flow::ClientClose, 14), Vec::<String>::new());
    }

    #[test]
    fn every_way_to_be_wrong_is_noticed() {
        let lost_cdr = Evidence { cdrs: vec![cdr("START_RECORD")], ..charged() };
        let mut doubled_stop = charged();
        doubled_stop.cdrs.push(cdr("STOP_RECORD"));
        let doubled_debit = Evidence {
            debits: [charged().debits, charged().debits].concat(),
            balance_after: Amount(860 * CENT),
            ..charged()
        };
        let no_termination = Evidence { terminations: 0, ..charged() };
        let two_terminations = Evidence { terminations: 2, ..charged() };
        let lost_money = Evidence { balance_after: Amount(900 * CENT), ..charged() };
        let held = Evidence { reserved: Amount(CENT), ..charged() };
        for wrong in [
            lost_cdr,
            doubled_stop,
            doubled_debit,
            no_termination,
            two_terminations,
            lost_money,
            held,
        ] {
            assert!(!wrong.problems(Flow::ServerClose, 14).is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn a_silent_ocs_is_settled_by_one_backup_record() {
        let data = "farebox-backup;ccr=cg1;17;1;9f1c4a7e;n=2;rg=700;seconds=191;messages=8";
        let mut backup = cdr("EVENT_RECORD");
        backup["serviceSpecific"] = json!([{"type": 1, "data": data}]);
        let mut silent = Evidence {
            terminations: 0,
            debits: charged().debits[..1].to_vec(),
            balance_after: Amount(970 * CENT),
            ..charged()
        };
        assert!(!silent.problems(Flow::SilentOcs, 14).is_empty(), "8 messages are nowhere");
        silent.cdrs.push(backup.clone());
        assert_eq!(silent.problems(Flow::SilentOcs, 14), Vec::<String>::new());
        assert_eq!(silent.backups()[0].session, "cg1;17;1;9f1c4a7e");
        silent.cdrs.push(backup);
        assert!(!silent.problems(Flow::SilentOcs, 14).is_empty(), "charged twice");
    }
}
