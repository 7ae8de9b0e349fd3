//! Bugs that are planted into the gateway, to prove that the checkers find them (proof.md, 5.6).
//!
//! Those of the engine sit in the engine (`charging::planted`, feature `planted-bugs`); those of the
//! shell around it, and those that an encoder could have, sit in the played shell.

use bytes::Bytes;
use bytes::BytesMut;

use crate::charging::planted::EngineBug;
use crate::diameter::Header;
use crate::diameter::Limits;
use crate::diameter::View;
use crate::diameter::id;
use crate::gateway::step::Core;

use super::world::World;

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlantedBug {
    /// A batch is reported durable before it is flushed.
    AckBeforeSync,
    /// What is written now is flushed with the next commit only.
    SyncBeforeWrite,
    /// T is clear on the copies of a new life.
    NoTAfterRestart,
    /// T is set after 3002 and 3004, too.
    TAfterError,
    /// A copy has a new End-to-End id.
    EndToEndNewOnCopy,
    /// A CCR-U or CCR-T has the number of the request before.
    NumberReused,
    /// A copy has the next number.
    NumberAdvancedOnCopy,
    /// A duplicate after a restart charges again.
    DuplicateAfterRestart,
    /// Hop-by-Hop ids come back after four requests.
    HopByHopWrap,
    /// Timers run on the wall clock.
    WallClockInTimers,
    /// A commit whose end is unknown is taken for one that failed.
    UnknownAsFailed,
    /// In the engine itself.
    Engine(EngineBug),
}

/// All of them, with the words of the catalogue.
pub const BUGS: &[(&str, PlantedBug)] = &[
    ("ack before sync", PlantedBug::AckBeforeSync),
    ("sync before write", PlantedBug::SyncBeforeWrite),
    ("no T after restart", PlantedBug::NoTAfterRestart),
    ("T after 3004", PlantedBug::TAfterError),
    ("End-to-End id new on copy", PlantedBug::EndToEndNewOnCopy),
    ("number reused", PlantedBug::NumberReused),
    ("number advanced on copy", PlantedBug::NumberAdvancedOnCopy),
    (
        "state read before the previous actions were applied",
        PlantedBug::Engine(EngineBug::StateReadEarly),
    ),
    ("units re-reported after failed U", PlantedBug::Engine(EngineBug::UnitsReportedAgain)),
    ("units lost after failed U", PlantedBug::Engine(EngineBug::UnitsLost)),
    ("interim after STOP", PlantedBug::Engine(EngineBug::InterimAfterStop)),
    ("dead letter counted as acked", PlantedBug::Engine(EngineBug::DeadAsAcknowledged)),
    ("copy to other domain", PlantedBug::Engine(EngineBug::CopyToOtherDomain)),
    ("late 2001 ignored", PlantedBug::Engine(EngineBug::LateSuccessIgnored)),
    ("duplicate POST charges twice after restart", PlantedBug::DuplicateAfterRestart),
    ("Hop-by-Hop wrap", PlantedBug::HopByHopWrap),
    ("wall clock in timers", PlantedBug::WallClockInTimers),
    ("unknown commit treated as failed", PlantedBug::UnknownAsFailed),
    ("RAR accepted from another host", PlantedBug::Engine(EngineBug::AnyHostMayAsk)),
];

/// Those that cannot be planted here, with the reason.
pub const ELSEWHERE: &[(&str, &str)] = &[(
    "row checksum ignored",
    "the store in memory has no octets to damage; FD-05 flips bits of the real one",
)];

impl PlantedBug {
    /// It sits in the engine, and this build's engine can have none.
    pub fn is_absent(self) -> bool {
        matches!(self, PlantedBug::Engine(_)) && !cfg!(feature = "planted-bugs")
    }
}

impl World {
    /// Plants an engine's bug into a new life of the gateway.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn plant(&self, core: &mut Core) {
        if let Some(PlantedBug::Engine(bug)) = self.options.bug {
            core.engine_mut().plant(bug);
        }
    }

    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self)] // The same call with and without the feature.
    pub(super) fn plant(&self, _core: &mut Core) {}

    /// A copy as a gateway with a bug would hand it to its peer.
    pub(super) fn spoil_copy(&mut self, token: u64, bytes: Bytes, marked: bool) -> (Bytes, bool) {
        let Some(header) = Header::parse(&bytes) else { return (bytes, marked) };
        let life = *self.first_copies.entry(header.end_to_end).or_insert(self.life);
        let copies = self.copies_of.entry(token).or_default();
        *copies += 1;
        let again = *copies > 1;
        match self.options.bug {
            Some(PlantedBug::NoTAfterRestart) if life < self.life => (bytes, false),
            Some(PlantedBug::EndToEndNewOnCopy) if again => {
                let mut copy = BytesMut::from(bytes.as_ref());
                copy[16..20].copy_from_slice(&(!header.end_to_end).to_be_bytes());
                (copy.freeze(), marked)
            }
            Some(PlantedBug::NumberReused) => (self.renumber(token, &bytes, -1), marked),
            Some(PlantedBug::NumberAdvancedOnCopy) if again => {
                (self.renumber(token, &bytes, 1), marked)
            }
            _ => (bytes, marked),
        }
    }

    /// Changes the number of a CCR (and, by [`World::mend_answer`], that of its answer back).
    fn renumber(&mut self, token: u64, bytes: &Bytes, by: i64) -> Bytes {
        let Some((at, number)) = number_of(bytes) else { return bytes.clone() };
        let wrong = u32::try_from(i64::from(number) + by).unwrap_or(number);
        if by < 0 && number == 0 {
            return bytes.clone();
        }
        self.renumbered.insert(token, number);
        let mut copy = BytesMut::from(bytes.as_ref());
        copy[at..at + 4].copy_from_slice(&wrong.to_be_bytes());
        copy.freeze()
    }

    /// The id that the control block gave.
    pub(super) fn unwrap_ids(&self, connection: u64, message: Bytes) -> Bytes {
        let Some(header) = Header::parse(&message) else { return message };
        match self.wrapped.get(&(connection, header.hop_by_hop)) {
            Some(real) if !header.flags.is_request() => {
                let mut answer = BytesMut::from(message.as_ref());
                crate::diameter::patch_hop_by_hop(&mut answer, *real);
                answer.freeze()
            }
            _ => message,
        }
    }

    /// The number that the engine expects.
    pub(super) fn mend_answer(&self, token: u64, bytes: Bytes) -> Bytes {
        let Some(number) = self.renumbered.get(&token) else { return bytes };
        let Some((at, _)) = number_of(&bytes) else { return bytes };
        let mut answer = BytesMut::from(bytes.as_ref());
        answer[at..at + 4].copy_from_slice(&number.to_be_bytes());
        answer.freeze()
    }
}

/// Where the CC-Request-Number stands, and what it is.
fn number_of(bytes: &Bytes) -> Option<(usize, u32)> {
    let limits = Limits::default();
    let view = View::new(bytes, &limits).ok()?;
    let avp = view.find(id::CC_REQUEST_NUMBER)?;
    let number = avp.unsigned32()?;
    let at = avp.data.as_ptr() as usize - bytes.as_ptr() as usize;
    (at + 4 <= bytes.len()).then_some((at, number))
}
