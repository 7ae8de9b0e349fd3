//! The network: connections as two ordered pipes of octets with latency, pieces, clogs and ends.
//!
//! As TCP does: what waits behind a clog arrives late and in order; what the sender's buffer holds
//! has not left; a write to an end that is gone comes back as a reset.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;

use crate::clock::Now;
use crate::diameter::Deframer;
use crate::diameter::Limits;
use crate::peer::control_block::Input;

use super::nemesis::LinkFault;
use super::world::Event;
use super::world::NAMES;
use super::world::World;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The gateway's.
    Gateway,
    /// The server's.
    Server,
}

impl End {
    pub(super) fn other(self) -> End {
        match self {
            End::Gateway => End::Server,
            End::Server => End::Gateway,
        }
    }
}

/// What is on its way in one direction.
enum Parcel {
    Octets(Bytes),
    End(&'static str),
}

/// One direction.
#[derive(Default)]
struct Pipe {
    /// Nothing arrives before this.
    ready: Now,
    /// Waits behind a clog.
    held: VecDeque<Parcel>,
}

/// One connection.
pub(super) struct Connection {
    pub(super) peer: usize,
    /// Is the end there still open?
    gateway_open: bool,
    server_open: bool,
    /// Nothing arrives any more, and nobody is told.
    silent: bool,
    /// What was on its way is lost.
    reset: bool,
    to_server: Pipe,
    to_gateway: Pipe,
    /// Octets that the gateway's end has not handed on, with the request they are.
    unwritten: VecDeque<(Option<u64>, Bytes)>,
    pub(super) read_by_gateway: Deframer,
    pub(super) read_by_server: Deframer,
}

impl Connection {
    fn new(peer: usize) -> Connection {
        Connection {
            peer,
            gateway_open: true,
            server_open: true,
            silent: false,
            reset: false,
            to_server: Pipe::default(),
            to_gateway: Pipe::default(),
            unwritten: VecDeque::new(),
            read_by_gateway: Deframer::new(Limits::default()),
            read_by_server: Deframer::new(Limits::default()),
        }
    }

    pub(super) fn is_open(&self, end: End) -> bool {
        match end {
            End::Gateway => self.gateway_open,
            End::Server => self.server_open,
        }
    }

    fn close(&mut self, end: End) {
        match end {
            End::Gateway => self.gateway_open = false,
            End::Server => self.server_open = false,
        }
    }

    fn pipe(&mut self, to: End) -> &mut Pipe {
        match to {
            End::Gateway => &mut self.to_gateway,
            End::Server => &mut self.to_server,
        }
    }
}

/// The way to one peer, with what is wrong with it now.
#[derive(Default)]
pub(super) struct Link {
    clogged_forth: u32,
    clogged_back: u32,
    refused: u32,
    unanswered: u32,
    stalled: u32,
    pieces: u32,
    slow: Vec<Duration>,
    cut_forth: Option<usize>,
    cut_back: Option<usize>,
}

impl World {
    fn latency(&mut self, peer: usize) -> Duration {
        let base = self.plan.setup.latency;
        let extra: Duration = self.links[peer].slow.iter().sum();
        base / 2 + self.network_random.duration(Duration::ZERO, base) + extra
    }

    /// The gateway dials.
    pub(super) fn dial(&mut self, life: u32, peer: usize, attempt: u64) {
        let delay = self.latency(peer);
        let link = &self.links[peer];
        if link.unanswered > 0 || link.clogged_forth > 0 || link.clogged_back > 0 {
            return;
        }
        if link.refused > 0 {
            self.after(delay, Event::NotDialled(life, peer, attempt));
            return;
        }
        let connection = attempt;
        self.connections.insert(connection, Connection::new(peer));
        self.after(delay * 2, Event::Dialled(life, peer, connection));
    }

    pub(super) fn next_connection(&mut self) -> u64 {
        self.next_connection += 1;
        self.next_connection
    }

    /// Hands octets to a connection; a request of the gateway's comes with its token.
    pub(super) fn write(&mut self, id: u64, from: End, octets: Bytes, token: Option<u64>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.is_open(from) {
            return;
        }
        let link = &self.links[connection.peer];
        if from == End::Gateway && (link.stalled > 0 || !connection.unwritten.is_empty()) {
            connection.unwritten.push_back((token, octets));
            return;
        }
        self.put(id, from, octets);
    }

    /// The octets leave.
    fn put(&mut self, id: u64, from: End, octets: Bytes) {
        let Some(connection) = self.connections.get(&id) else { return };
        let peer = connection.peer;
        let cut = match from {
            End::Gateway => self.links[peer].cut_forth.take(),
            End::Server => self.links[peer].cut_back.take(),
        };
        match cut.filter(|cut| *cut < octets.len()) {
            Some(cut) => {
                self.sometimes("message cut");
                self.send_octets(id, from.other(), octets.slice(..cut));
                self.reset_after(id);
            }
            None => self.send_octets(id, from.other(), octets),
        }
    }

    fn send_octets(&mut self, id: u64, to: End, octets: Bytes) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.silent || octets.is_empty() {
            return;
        }
        if !connection.is_open(to) {
            // Nobody is there: a reset comes back.
            self.parcel(id, to.other(), Parcel::End("reset by the peer"));
            return;
        }
        let peer = connection.peer;
        let cut = self.links[peer].pieces > 0 || self.network_random.chance(50);
        if cut && octets.len() > 1 {
            let at = 1 + self.network_random.index(octets.len() - 1);
            self.parcel(id, to, Parcel::Octets(octets.slice(..at)));
            self.parcel(id, to, Parcel::Octets(octets.slice(at..)));
        } else {
            self.parcel(id, to, Parcel::Octets(octets));
        }
    }

    fn parcel(&mut self, id: u64, to: End, parcel: Parcel) {
        let Some(peer) = self.connections.get(&id).map(|connection| connection.peer) else {
            return;
        };
        let latency = self.latency(peer);
        let now = self.now;
        let link = &self.links[peer];
        let clogged = match to {
            End::Server => link.clogged_forth > 0,
            End::Gateway => link.clogged_back > 0,
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = connection.pipe(to);
        if clogged {
            pipe.held.push_back(parcel);
            return;
        }
        let due = pipe.ready.max(now + latency);
        pipe.ready = due;
        let event = match parcel {
            Parcel::Octets(octets) => Event::Arrive(id, to, octets),
            Parcel::End(reason) => Event::Ended(id, to, reason),
        };
        self.at(due, event);
    }

    /// One end closes; the other is told behind what is on its way.
    pub(super) fn close(&mut self, id: u64, from: End, reason: &'static str) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.is_open(from) {
            return;
        }
        connection.close(from);
        let silent = connection.silent;
        if from == End::Gateway {
            connection.unwritten.clear();
        }
        if !silent && connection.is_open(from.other()) {
            self.parcel(id, from.other(), Parcel::End(reason));
        }
        self.tidy(id);
    }

    /// One end is gone without a word.
    pub(super) fn vanish(&mut self, id: u64, end: End) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.close(end);
        }
        self.tidy(id);
    }

    /// RST: what is on its way is lost, both ends are told.
    pub(super) fn reset(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.reset = true;
        connection.to_server.held.clear();
        connection.to_gateway.held.clear();
        for end in [End::Gateway, End::Server] {
            if self.connections.get(&id).is_some_and(|connection| connection.is_open(end)) {
                self.at(self.now, Event::Ended(id, end, "reset by the peer"));
            }
        }
    }

    /// RST behind what is on its way already.
    fn reset_after(&mut self, id: u64) {
        for end in [End::Gateway, End::Server] {
            self.parcel(id, end, Parcel::End("reset by the peer"));
        }
    }

    /// Tokens of requests of which not one octet has left.
    pub(super) fn unwritten(&self, id: u64) -> Vec<u64> {
        let connection = self.connections.get(&id);
        let queued = connection.map(|c| c.unwritten.iter().filter_map(|(token, _)| *token));
        queued.into_iter().flatten().collect()
    }

    pub(super) fn arrive(&mut self, id: u64, end: End, octets: &Bytes) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.reset || connection.silent {
            return;
        }
        if !connection.is_open(end) {
            if connection.is_open(end.other()) {
                self.parcel(id, end.other(), Parcel::End("reset by the peer"));
            }
            return;
        }
        let peer = connection.peer;
        match end {
            End::Gateway => connection.read_by_gateway.push(octets),
            End::Server => connection.read_by_server.push(octets),
        }
        while let Some(connection) = self.connections.get_mut(&id) {
            if !connection.is_open(end) {
                return;
            }
            let next = match end {
                End::Gateway => connection.read_by_gateway.next(),
                End::Server => connection.read_by_server.next(),
            };
            match next {
                None => return,
                Some(Ok(message)) => match end {
                    End::Gateway => self.gateway_receives(peer, id, message),
                    End::Server => self.server_receives(peer, id, message),
                },
                Some(Err(_)) => {
                    self.sometimes("octets that are no Diameter");
                    self.ended(id, end, "bad length");
                    return;
                }
            }
        }
    }

    /// An end notices that the connection is over.
    pub(super) fn ended(&mut self, id: u64, end: End, reason: &'static str) {
        let Some(connection) = self.connections.get(&id) else { return };
        if !connection.is_open(end) {
            return;
        }
        let peer = connection.peer;
        self.trace(10, id, peer as u64, || {
            format!("{} connection {id} ends at {end:?}: {reason}", NAMES[peer])
        });
        match end {
            End::Gateway => self.lose(peer, id, reason),
            End::Server => self.station_loses(peer, id, reason),
        }
        self.close(id, end, "closed by the peer");
    }

    fn tidy(&mut self, id: u64) {
        let gone = self
            .connections
            .get(&id)
            .is_some_and(|connection| !connection.gateway_open && !connection.server_open);
        if gone {
            self.connections.remove(&id);
        }
    }

    // Faults.

    pub(super) fn link_fault(&mut self, peer: usize, fault: LinkFault, on: bool) {
        let link = &mut self.links[peer];
        let count = |counter: &mut u32| {
            *counter = if on { *counter + 1 } else { counter.saturating_sub(1) };
        };
        match fault {
            LinkFault::Clog => {
                count(&mut link.clogged_forth);
                count(&mut link.clogged_back);
            }
            LinkFault::ClogForth => count(&mut link.clogged_forth),
            LinkFault::ClogBack => count(&mut link.clogged_back),
            LinkFault::Refuse => count(&mut link.refused),
            LinkFault::NoAnswer => count(&mut link.unanswered),
            LinkFault::Stall => count(&mut link.stalled),
            LinkFault::Pieces => count(&mut link.pieces),
            LinkFault::Slow(extra) if on => link.slow.push(extra),
            LinkFault::Slow(extra) => {
                if let Some(at) = link.slow.iter().position(|slow| *slow == extra) {
                    link.slow.remove(at);
                }
            }
            LinkFault::CutForth(octets) => {
                link.cut_forth = on.then(|| usize::try_from(octets).unwrap_or(0));
            }
            LinkFault::CutBack(octets) => {
                link.cut_back = on.then(|| usize::try_from(octets).unwrap_or(0));
            }
            LinkFault::Reset | LinkFault::Fin | LinkFault::HalfOpen => {}
        }
        match (fault, on) {
            (LinkFault::Reset, true) => self.each_connection(peer, World::reset),
            (LinkFault::Fin, true) => self.each_connection(peer, |world, id| {
                world.ended(id, End::Server, "closed by the nemesis");
            }),
            (LinkFault::HalfOpen, true) => self.each_connection(peer, |world, id| {
                if let Some(connection) = world.connections.get_mut(&id) {
                    connection.silent = true;
                }
            }),
            // The way is there again, and nobody remembers the connection.
            (LinkFault::HalfOpen, false) => self.each_connection(peer, |world, id| {
                if world.connections.get(&id).is_some_and(|connection| connection.silent) {
                    world.reset(id);
                }
            }),
            (LinkFault::Clog | LinkFault::ClogForth | LinkFault::ClogBack, false) => {
                self.each_connection(peer, World::unclog);
            }
            (LinkFault::Stall, false) => self.each_connection(peer, World::unstall),
            _ => {}
        }
    }

    fn each_connection(&mut self, peer: usize, what: fn(&mut World, u64)) {
        let of_peer = self.connections.iter().filter(|(_, c)| c.peer == peer).map(|(id, _)| *id);
        for id in of_peer.collect::<Vec<_>>() {
            what(self, id);
        }
    }

    fn unclog(&mut self, id: u64) {
        for to in [End::Server, End::Gateway] {
            let held = match self.connections.get_mut(&id) {
                Some(connection) => std::mem::take(&mut connection.pipe(to).held),
                None => return,
            };
            // What is still clogged by another fault goes back to its place.
            for parcel in held {
                self.parcel(id, to, parcel);
            }
        }
    }

    fn unstall(&mut self, id: u64) {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            if self.links[connection.peer].stalled > 0 || !connection.gateway_open {
                return;
            }
            let Some((_, octets)) = connection.unwritten.pop_front() else { return };
            self.put(id, End::Gateway, octets);
        }
    }

    /// Every fault of the network is over.
    pub(super) fn heal_network(&mut self) {
        for peer in 0..self.links.len() {
            self.links[peer] = Link::default();
            self.each_connection(peer, |world, id| {
                if world.connections.get(&id).is_some_and(|connection| connection.silent) {
                    world.reset(id);
                }
                world.unclog(id);
                world.unstall(id);
            });
        }
    }
}

/// A request with its Hop-by-Hop id and T, as it goes on the wire.
pub(super) fn on_the_wire(message: &Bytes, hop_by_hop: u32, retransmit: bool) -> Bytes {
    let mut copy = BytesMut::from(message.as_ref());
    crate::diameter::patch_hop_by_hop(&mut copy, hop_by_hop);
    crate::diameter::patch_retransmit(&mut copy, retransmit);
    copy.freeze()
}

/// For the control blocks: nobody looks at the address.
pub(super) fn connected() -> Input {
    Input::Connected(vec![crate::diameter::Address::Ipv4([127, 0, 0, 1])])
}
