//! Bugs that the universe plants into the engine, to prove that its checkers find them.
//!
//! Without the feature `planted-bugs` no engine has one, and every question is answered with no.

use super::engine::Engine;

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineBug {
    /// The state is read before the previous actions were applied.
    StateReadEarly,
    /// Units that a refused update covered are reported again.
    UnitsReportedAgain,
    /// Units of a failed update are taken for reported.
    UnitsLost,
    /// An interim is accepted after the session was closed.
    InterimAfterStop,
    /// A record that the CDF refused counts as acknowledged.
    DeadAsAcknowledged,
    /// A late success changes nothing.
    LateSuccessIgnored,
    /// A copy of a CCR may go to another dedup domain.
    CopyToOtherDomain,
    /// RAR and ASR of any host are heard.
    AnyHostMayAsk,
}

impl Engine {
    /// Plants a bug.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: EngineBug) {
        self.planted = Some(bug);
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn has_bug(&self, bug: EngineBug) -> bool {
        self.planted == Some(bug)
    }

    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self)] // The same question with and without the feature.
    pub(super) const fn has_bug(&self, _bug: EngineBug) -> bool {
        false
    }
}
