//! `farebox proof`: the promise put to the test, on this machine, with simulators only.

use super::args::Proof;
use super::exit::Outcome;
use super::proof_kill9;
use super::proof_ledger;
use super::terminal::Terminal;

/// Runs one proof.
pub(crate) fn run(proof: &Proof, terminal: &mut Terminal) -> Outcome {
    match proof {
        Proof::Kill9(args) => proof_kill9::run(args, terminal),
        Proof::Ledger(args) => proof_ledger::run(args, terminal),
        Proof::Spool(args) => super::proof_spool::run(args, terminal),
        Proof::Check(args) => proof_kill9::check(args, terminal),
    }
}
