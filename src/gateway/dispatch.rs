//! From a submission to a copy for one peer: who gets it, with which T and Destination-Host.
//!
//! Who may and who should is decided in `peer::router`, T in `peer::pending`; here both meet what
//! the engine knows of the request.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::step::Outgoing;
use crate::charging::engine::Submission;
use crate::charging::policy::Policy;
use crate::charging::policy::SendDestinationHost;
use crate::charging::record::Command;
use crate::clock::Now;
use crate::diameter::Avp;
use crate::diameter::AvpFlags;
use crate::diameter::application;
use crate::diameter::id;
use crate::diameter::put_avp;
use crate::diameter::write;
use crate::peer::Fact;
use crate::peer::PeerConfig;
use crate::peer::notice::Notice;
use crate::peer::overload;
use crate::peer::overload::Rank;
use crate::peer::pending::CopyHistory;
use crate::peer::pending::t_flag;
use crate::peer::router::Choice;
use crate::peer::router::Redirection;
use crate::peer::router::Router;
use crate::peer::router::Wish;
use crate::peer::routing;
use crate::store::Interface;

/// What a peer's entry means for a copy that goes there.
#[derive(Clone, Debug)]
struct Profile {
    host: Option<String>,
    destination_host: Option<SendDestinationHost>,
    t_after_error: bool,
}

/// What is known of a request that has had a copy.
#[derive(Clone, Debug)]
struct Copied {
    command: Command,
    /// Peer of the last copy.
    peer: usize,
    /// That copy went where a redirect led.
    by_redirect: bool,
    /// Where the last redirect leads.
    targets: Vec<usize>,
}

/// Whether a copy leaves.
#[derive(Debug)]
pub(super) enum Dispatched {
    /// It does.
    Copy(Outgoing),
    /// Whoever may get it has no room before this time.
    Full(Now),
    /// Nobody gets it now.
    Nobody,
}

/// Where copies go.
pub(super) struct Dispatch {
    pub(super) router: Router,
    profiles: Vec<Profile>,
    copies: BTreeMap<u64, Copied>,
    /// Data of OC-Supported-Features.
    features: Bytes,
}

impl Dispatch {
    pub(super) fn new(policy: &Policy, routes: routing::Routes, seed: u64) -> Dispatch {
        let candidate = |peer: &crate::charging::policy::PeerProfile| routing::Candidate {
            usable: false,
            draining: false,
            origin_host: peer.host.clone(),
            domain: peer.dedup_domain.clone(),
            ch1: false,
            ch2: false,
        };
        let profile = |peer: &crate::charging::policy::PeerProfile| Profile {
            host: peer.host.clone(),
            destination_host: peer.send_destination_host,
            t_after_error: peer.t_after_error,
        };
        let mut features = BytesMut::new();
        // The loss algorithm and nothing else (RFC 7683, 5.1.1).
        let vector = Avp::u64(id::OC_FEATURE_VECTOR, overload::OLR_DEFAULT_ALGO);
        let flags = AvpFlags::optional_for(id::OC_FEATURE_VECTOR);
        put_avp(&mut features, &Avp { flags, ..vector });
        let candidates = policy.peers.iter().map(candidate).collect();
        Dispatch {
            router: Router::new(routes, candidates, seed),
            profiles: policy.peers.iter().map(profile).collect(),
            copies: BTreeMap::new(),
            features: features.freeze(),
        }
    }

    pub(super) fn configure(&mut self, peers: &[PeerConfig]) {
        self.router.configure(peers);
    }

    /// The command of a request that has had a copy.
    pub(super) fn command(&self, token: u64) -> Option<Command> {
        self.copies.get(&token).map(|copied| copied.command)
    }

    pub(super) fn forget(&mut self, token: u64) {
        self.copies.remove(&token);
    }

    /// Chooses the peer for a copy, by "who may get a copy", and makes the copy.
    pub(super) fn dispatch(&mut self, submission: &Submission, now: Now) -> Dispatched {
        let token = submission.token;
        let before = self.copies.get(&token);
        let by_redirect = match submission.reason {
            "redirect" => true,
            "full" => before.is_some_and(|copied| copied.by_redirect),
            _ => false,
        };
        let targets = match before {
            Some(copied) if by_redirect => copied.targets.clone(),
            _ => Vec::new(),
        };
        let profiles = &self.profiles;
        let host = |peer: usize| destination_host(&profiles[peer], submission);
        let wish = Wish {
            token,
            ask: ask(submission),
            repeat_allowed: submission.repeat_allowed,
            rank: rank(submission.command),
            message: &submission.message,
            application: match submission.command.interface() {
                Interface::Ch1 => application::ACCOUNTING,
                Interface::Ch2 => application::CREDIT_CONTROL,
            },
            redirected: &targets,
            destination_host: &host,
        };
        let peer = match self.router.choose(&wish, now) {
            Choice::To(peer) => peer,
            Choice::Full(at) => return Dispatched::Full(at),
            Choice::Throttled | Choice::Nobody => return Dispatched::Nobody,
        };
        let from = before.map(|copied| copied.peer).filter(|before| *before != peer);
        let by_redirect = by_redirect && targets.contains(&peer);
        let command = submission.command;
        self.copies.insert(token, Copied { command, peer, by_redirect, targets });
        let (bytes, retransmit) = self.copy(submission, peer);
        let reason = submission.reason;
        Dispatched::Copy(Outgoing { peer, token, command, bytes, retransmit, from, reason })
    }

    /// The octets for this peer, and T.
    fn copy(&self, submission: &Submission, peer: usize) -> (Bytes, bool) {
        let profile = &self.profiles[peer];
        let history = CopyHistory {
            error_mark: submission.error_mark,
            unanswered_copy: submission.unanswered,
            recovered: submission.recovered,
            after_error_t: profile.t_after_error && submission.earlier_copies > 0,
        };
        let features = self.router.asks_for_overload(peer).then_some(&self.features);
        let host = destination_host(profile, submission);
        let bytes = match (features, host) {
            (None, None) => submission.message.clone(),
            _ => {
                let mut message = BytesMut::with_capacity(submission.message.len() + 96);
                message.extend_from_slice(&submission.message);
                if let Some(features) = features {
                    let flags = AvpFlags::optional_for(id::OC_SUPPORTED_FEATURES);
                    write::append_avp(&mut message, id::OC_SUPPORTED_FEATURES, flags, features);
                }
                if let Some(host) = host {
                    let flags = AvpFlags::mandatory_for(id::DESTINATION_HOST);
                    write::append_avp(&mut message, id::DESTINATION_HOST, flags, host.as_bytes());
                }
                message.freeze()
            }
        };
        (bytes, t_flag(history))
    }

    /// An answer came: tells the router, and whether the request goes where the answer redirects.
    ///
    /// `submission` is the request as it would leave now, if it still waits.
    pub(super) fn answered(
        &mut self,
        (token, peer): (u64, usize),
        notice: &Notice<'_>,
        round_trip: Duration,
        submission: Option<Submission>,
        now: Now,
    ) -> bool {
        let interface = match notice.application {
            application::ACCOUNTING => routing::Interface::Ch1,
            _ => routing::Interface::Ch2,
        };
        self.router.answered((token, peer), interface, notice, round_trip, now);
        let Some(copied) = self.copies.get_mut(&token) else { return false };
        let Some(indication) = &notice.redirect else { return false };
        let Some(submission) = submission else { return false };
        if copied.by_redirect && copied.peer == peer {
            // Depth 1: a second redirect of the same copy is an error like any other.
            self.router.refuse_redirect(peer, "", "it was redirected before");
            return false;
        }
        let message = &submission.message;
        let ask = ask(&submission);
        match self.router.redirect(indication, peer, message, &ask, now) {
            Redirection::To(targets) => {
                copied.targets = targets;
                true
            }
            Redirection::Refused => false,
        }
    }

    /// Tx ran out on a copy of this command.
    pub(super) fn unanswered(&mut self, peer: usize, command: &str, now: Now) {
        let interface = match command.starts_with("ACR") {
            true => routing::Interface::Ch1,
            false => routing::Interface::Ch2,
        };
        self.router.unanswered(peer, interface, now);
    }

    /// What is worth telling, each with its peer.
    pub(super) fn facts(&mut self) -> Vec<(usize, Fact)> {
        self.router.facts().collect()
    }
}

/// What is shed first and what last (O-07): accounting records wait in the spool, and a CCR-T
/// settles units that were used.
pub(super) fn rank(command: Command) -> Rank {
    match command {
        Command::CcrTermination => Rank::Termination,
        Command::CcrUpdate => Rank::Update,
        _ => Rank::First,
    }
}

fn interface(command: Command) -> routing::Interface {
    match command.interface() {
        Interface::Ch1 => routing::Interface::Ch1,
        Interface::Ch2 => routing::Interface::Ch2,
    }
}

fn ask(submission: &Submission) -> routing::Ask<'_> {
    let interface = interface(submission.command);
    let online = interface == routing::Interface::Ch2;
    routing::Ask {
        interface,
        route: submission.route,
        domain: submission.domain.as_deref(),
        exclude: &submission.exclude,
        only: None,
        server: submission.server.as_deref().filter(|_| online),
        via: submission.via,
        failover_supported: submission.failover && !submission.same_server,
    }
}

/// Destination-Host of a copy for a peer of this profile.
fn destination_host<'a>(profile: &'a Profile, submission: &'a Submission) -> Option<&'a str> {
    let default = match submission.command.interface() {
        Interface::Ch2 => SendDestinationHost::AfterInitial,
        Interface::Ch1 => SendDestinationHost::Never,
    };
    let server = submission.server.as_deref();
    match profile.destination_host.unwrap_or(default) {
        SendDestinationHost::Never => None,
        SendDestinationHost::AfterInitial if submission.initial => None,
        SendDestinationHost::AfterInitial => server,
        SendDestinationHost::Always => server.or(profile.host.as_deref()),
    }
}
