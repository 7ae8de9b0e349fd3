//! From a Result-Code to what it means for money: the table of api.md section 3, once.

use super::outcome::Outcome;

/// The class that a result falls into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// 2001, 2002.
    Success,
    /// 4011: free of charge, no more credit control.
    Free,
    /// 4010, 4012, 5003, 5030, 5031: denied by the OCS, under every CCFH.
    Denied,
    /// 3002, 3004, 3005: another peer may know better.
    Temporary,
    /// 5002 on U or T: the leg is lost.
    UnknownSession,
    /// 5001, 5004, 5005, 5008, 5009, 5014: our message is wrong.
    MappingDefect,
    /// 3001, 3003, 3007, 3008, 3009, 3010: the configuration is wrong.
    ConfigurationDefect,
    /// Everything else, by CCFH.
    Failed,
}

/// One row: codes, class, SIP status for a denied user, covered.
struct Row {
    codes: &'static [u32],
    verdict: Verdict,
    sip_status: Option<u16>,
    /// The OCS has deducted what it could: the units are never reported again.
    covered: bool,
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { codes: &[2001, 2002],                         verdict: Verdict::Success,             sip_status: None,      covered: true },
    Row { codes: &[4011],                               verdict: Verdict::Free,                sip_status: None,      covered: true },
    Row { codes: &[4012],                               verdict: Verdict::Denied,              sip_status: Some(402), covered: true },
    Row { codes: &[4010],                               verdict: Verdict::Denied,              sip_status: Some(403), covered: true },
    Row { codes: &[5003],                               verdict: Verdict::Denied,              sip_status: Some(403), covered: false },
    Row { codes: &[5030],                               verdict: Verdict::Denied,              sip_status: Some(404), covered: false },
    Row { codes: &[5031],                               verdict: Verdict::Denied,              sip_status: Some(403), covered: false },
    Row { codes: &[3002, 3004, 3005],                   verdict: Verdict::Temporary,           sip_status: None,      covered: false },
    Row { codes: &[5002],                               verdict: Verdict::UnknownSession,      sip_status: None,      covered: false },
    Row { codes: &[5001, 5004, 5005, 5008, 5009, 5014], verdict: Verdict::MappingDefect,       sip_status: None,      covered: false },
    Row { codes: &[3001, 3003, 3007, 3008, 3009, 3010], verdict: Verdict::ConfigurationDefect, sip_status: None,      covered: false },
];

fn row(code: u32) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.codes.contains(&code))
}

/// The class of a Result-Code; `None` (no Result-Code, or an Experimental-Result) is `Failed`.
pub fn verdict(code: Option<u32>) -> Verdict {
    match code {
        // an unknown class, or 1xxx, is a permanent failure.
        Some(code) if (2000..3000).contains(&code) => Verdict::Success,
        Some(code) => row(code).map_or(Verdict::Failed, |row| row.verdict),
        None => Verdict::Failed,
    }
}

/// SIP status for the user of a denied service.
pub fn sip_status(code: Option<u32>) -> Option<u16> {
    code.and_then(row).and_then(|row| row.sip_status)
}

/// May the units of this report never be reported again (api.md section 1)?
pub fn covered(code: Option<u32>) -> bool {
    match code {
        Some(code) if (2000..3000).contains(&code) => true,
        Some(code) => row(code).is_some_and(|row| row.covered),
        None => false,
    }
}

/// On CH-1: what an ACA's result does with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountingVerdict {
    /// 2001, 2002.
    Acknowledged,
    /// 3002, 3004, 3005, 4002: failure to send; on to the next CDF.
    FailureToSend,
    /// Any other: dead letter.
    Failed,
}

/// S-26: the class of an ACA's result.
pub fn accounting_verdict(code: Option<u32>) -> AccountingVerdict {
    match code {
        Some(code) if (2000..3000).contains(&code) => AccountingVerdict::Acknowledged,
        Some(3002 | 3004 | 3005 | 4002) => AccountingVerdict::FailureToSend,
        _ => AccountingVerdict::Failed,
    }
}

/// The worse of two outcomes.
pub fn worst(a: Outcome, b: Outcome) -> Outcome {
    a.max(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fa_13_every_code_from_1000_to_5999_has_a_verdict_by_the_table_or_its_class() {
        for code in 1000..6000 {
            let expected = match code {
                2000..=2999 => Verdict::Success,
                3002 | 3004 | 3005 => Verdict::Temporary,
                3001 | 3003 | 3007..=3010 => Verdict::ConfigurationDefect,
                4011 => Verdict::Free,
                4010 | 4012 | 5003 | 5030 | 5031 => Verdict::Denied,
                5002 => Verdict::UnknownSession,
                5001 | 5004 | 5005 | 5008 | 5009 | 5014 => Verdict::MappingDefect,
                _ => Verdict::Failed,
            };
            assert_eq!(verdict(Some(code)), expected, "{code}");
            assert_eq!(
                covered(Some(code)),
                matches!(code, 2000..=2999 | 4010 | 4011 | 4012),
                "{code}"
            );
        }
        assert_eq!(verdict(None), Verdict::Failed);
    }

    #[test]
    fn s_26_failure_to_send_is_four_codes() {
        for code in 1000..6000 {
            let verdict = accounting_verdict(Some(code));
            let failure_to_send = matches!(code, 3002 | 3004 | 3005 | 4002);
            assert_eq!(verdict == AccountingVerdict::FailureToSend, failure_to_send, "{code}");
        }
    }
}
