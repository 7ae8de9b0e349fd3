//! Faults begin and end in the world.

use crate::peer::DisconnectCause;
use crate::peer::control_block::Input;
use crate::sim::fault::Verb;

use super::nemesis::Death;
use super::nemesis::LinkFault;
use super::nemesis::Strike;
use super::world::Event;
use super::world::PEERS;
use super::world::Tripwire;
use super::world::World;

/// The peers of a mask.
fn peers(mask: u8) -> impl Iterator<Item = usize> {
    (0..PEERS).filter(move |peer| mask & (1 << peer) != 0)
}

impl World {
    pub(super) fn strike(&mut self, index: usize) {
        if self.healed {
            return;
        }
        let event = self.plan.events[index].clone();
        self.trace(60, index as u64, 0, || format!("nemesis {index}: {:?}", event.what));
        for id in event.what.ids() {
            self.coverage.hit(id);
        }
        self.at(self.now + event.lasts, Event::Relief(index));
        match event.what {
            Strike::Crash { death: Death::Term, .. } => self.terminate(),
            Strike::Crash { death, down, wall_step_millis, again } => {
                if self.node.is_some() {
                    self.again = again;
                    self.die(death, down, wall_step_millis);
                }
            }
            Strike::CrashAt { boundary, nth, death, down } => {
                self.tripwires.push(Tripwire { boundary, left: nth, death, down });
            }
            Strike::Freeze => {
                let until = self.now + event.lasts;
                self.frozen_until = self.frozen_until.max(Some(until));
            }
            Strike::WallStep { millis } => self.skew_millis += millis,
            Strike::Disk(fault) => self.disk.fault(fault, true),
            Strike::Link { peers: mask, fault } => {
                for peer in peers(mask) {
                    self.link_fault(peer, fault, true);
                }
            }
            Strike::Flap { .. } => self.flap(index, false),
            Strike::Serve { peers: mask, fault, .. } => {
                for peer in peers(mask) {
                    match fault.verbs.first() {
                        Some(Verb::Dpr(cause)) => self.say_goodbye(peer, *cause),
                        _ => {
                            let now = self.now;
                            let id = self.stations[peer].server.add_fault(fault.clone(), now);
                            self.served_faults.extend(id.map(|id| (index, peer, id)));
                        }
                    }
                }
            }
            Strike::Reboot { peers: mask } => peers(mask).for_each(|peer| self.reboot(peer)),
            Strike::AnswersLost => self.players.deaf += 1,
            Strike::Ask { abort } => self.ask(abort),
        }
    }

    pub(super) fn relieve(&mut self, index: usize) {
        if self.healed {
            return;
        }
        self.trace(61, index as u64, 0, || format!("nemesis {index} is over"));
        match self.plan.events[index].what.clone() {
            Strike::WallStep { millis } => self.skew_millis -= millis,
            Strike::Disk(fault) => self.disk.fault(fault, false),
            Strike::Link { peers: mask, fault } => {
                for peer in peers(mask) {
                    self.link_fault(peer, fault, false);
                }
            }
            Strike::Serve { .. } => {
                let (mine, others) = std::mem::take(&mut self.served_faults)
                    .into_iter()
                    .partition(|(event, _, _)| *event == index);
                self.served_faults = others;
                let mine: Vec<(usize, usize, u64)> = mine;
                for (_, peer, id) in mine {
                    self.stations[peer].server.remove_fault(Some(id));
                }
            }
            Strike::AnswersLost => self.players.deaf = self.players.deaf.saturating_sub(1),
            Strike::Crash { .. }
            | Strike::CrashAt { .. }
            | Strike::Freeze
            | Strike::Flap { .. }
            | Strike::Ask { .. }
            | Strike::Reboot { .. } => {}
        }
    }

    /// Down, then up, until it is over.
    pub(super) fn flap(&mut self, index: usize, up: bool) {
        let event = &self.plan.events[index];
        let Strike::Flap { peers: mask, turn } = event.what else { return };
        let end = crate::clock::Now::ZERO + event.at + event.lasts;
        if self.healed {
            return;
        }
        for peer in peers(mask) {
            self.link_fault(peer, LinkFault::Refuse, !up);
            if !up {
                self.link_fault(peer, LinkFault::Reset, true);
            }
        }
        if !up || self.now < end {
            self.after(turn, Event::Flap(index, !up));
        }
    }

    /// DPR from a server.
    fn say_goodbye(&mut self, peer: usize, cause: i32) {
        let cause = DisconnectCause::from_value(cause);
        self.station_give(peer, Input::Stop(cause));
    }

    /// Every fault is over; only the calls go on.
    pub(super) fn heal(&mut self) {
        self.trace(62, 0, 0, || "everything heals".to_owned());
        self.healed = true;
        self.tripwires.clear();
        self.again = 0;
        self.frozen_until = None;
        self.skew_millis = 0;
        self.players.deaf = 0;
        for fault in self.disk.faults.clone() {
            self.disk.fault(fault, false);
        }
        for station in &mut self.stations {
            station.server.remove_fault(None);
        }
        self.heal_network();
    }
}
