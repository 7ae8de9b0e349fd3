//! What waited for a peer goes out when one opens: oldest first, a few at a time.
//!
//! A CDF that comes back finds a spool of any length. All of it at once would hold up new triggers
//! and only stand in line for the peer's window; so what leaves is what may soon have an answer.

use super::engine::{Engine, Timer, Work};
use crate::store::{Interface, RecordId};

/// ACRs of the backlog that are on their way at a time: half a window of the default size, so that
/// new ones find room beside them.
const LET_GO_MAX: usize = 250;
/// ACRs that one input of the engine lets go, so that other work gets between.
const LET_GO_STEP: usize = 16;

impl Engine {
    /// A peer opened: requests of the routes that lead there are tried again, CCRs at once.
    pub(super) fn unpark(&mut self, peer: usize) {
        // Only those: a request for which still no peer is open would be given up, although a copy
        // of before a restart may have been served.
        let leads_there = |id: &RecordId| {
            let record = self.records.get(id)?;
            let route = self.policy.routes.get(record.route)?;
            route.peers.contains(&peer).then(|| record.command.interface())
        };
        let parked: Vec<(RecordId, Interface)> =
            self.parked.iter().filter_map(|id| Some((*id, leads_there(id)?))).collect();
        for (id, interface) in parked {
            match interface {
                Interface::Ch2 => self.for_record_id(id, Work::Retry(id)),
                Interface::Ch1 => drop(self.backlog.insert(id)),
            }
        }
        self.let_go();
    }

    /// As many of the backlog as may go now.
    pub(super) fn let_go(&mut self) {
        self.backlog_timer = false;
        for _ in 0..LET_GO_STEP {
            if self.leaving.len() >= LET_GO_MAX {
                return;
            }
            let Some(id) = self.backlog.pop_first() else { return };
            let route = self.records.get(&id).map(|record| record.route);
            let may = self.parked.contains(&id) && route.is_some_and(|r| self.route_usable(r));
            if may {
                self.leaving.insert(id);
                self.for_record_id(id, Work::Retry(id));
                // It waits behind another record of its session, which takes it along.
                if self.parked.contains(&id) {
                    self.leaving.remove(&id);
                }
            }
        }
        self.go_on();
    }

    /// A record has an answer, or is parked again: another one may go.
    pub(super) fn has_left(&mut self, id: RecordId) {
        self.leaving.remove(&id);
    }

    /// After every input: more may go, at a tick, so that whoever stands in line already gets the
    /// place that an answer has just made.
    pub(super) fn go_on(&mut self) {
        if !self.backlog.is_empty() && !self.backlog_timer && self.leaving.len() < LET_GO_MAX {
            self.backlog_timer = true;
            self.at(self.now, Timer::Backlog);
        }
    }
}
