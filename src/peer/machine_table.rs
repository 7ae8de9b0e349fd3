//! The table of the peer state machine: RFC 6733, 5.6, spelled as the RFC spells it.
//!
//! [`ROWS`] is the RFC's table in the RFC's order; [`DEPARTURES`] are rows it lacks; [`IMPOSSIBLE`]
//! are the pairs left, each with its reason.

use self::Event::*;
use self::State::*;
use self::Step::*;

/// A state, spelled as RFC 6733, 5.6 spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No connection.
    Closed,
    /// We dialled and wait for the transport.
    WaitConnAck,
    /// Our CER is out.
    WaitICea,
    /// We dialled, and the peer's own connection came with a CER.
    WaitConnAckElect,
    /// Two connections, both with a CER; the election is lost or not yet answered.
    WaitReturns,
    /// Open on the connection the peer made.
    ROpen,
    /// Open on the connection we made.
    IOpen,
    /// A DPR was sent or answered.
    Closing,
}

impl State {
    /// Every state, in the order of the RFC's table.
    pub const ALL: &[State] =
        &[Closed, WaitConnAck, WaitICea, WaitConnAckElect, WaitReturns, ROpen, IOpen, Closing];

    /// The state as the RFC prints it.
    pub fn name(self) -> &'static str {
        match self {
            Closed => "Closed",
            WaitConnAck => "Wait-Conn-Ack",
            WaitICea => "Wait-I-CEA",
            WaitConnAckElect => "Wait-Conn-Ack/Elect",
            WaitReturns => "Wait-Returns",
            ROpen => "R-Open",
            IOpen => "I-Open",
            Closing => "Closing",
        }
    }

    /// Messages of the application may pass.
    pub fn is_open(self) -> bool {
        matches!(self, ROpen | IOpen)
    }
}

/// An event of RFC 6733, 5.6.2, with the prefix of the connection where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A connection should be initiated.
    Start,
    /// A new connection came, with an acceptable CER of this peer.
    RConnCer,
    /// Our transport connection is established.
    IRcvConnAck,
    /// Our transport connection could not be established.
    IRcvConnNack,
    /// A CEA that agrees with us.
    IRcvCea,
    /// A CEA that refuses us, or that we must refuse. Not in the RFC's list.
    IRcvBadCea,
    /// Anything but a CEA on our connection while a CEA is due.
    IRcvNonCea,
    /// Our connection is gone.
    IPeerDisc,
    /// The peer's connection is gone.
    RPeerDisc,
    /// A message on the peer's connection before its CER was answered. Not in the RFC's list.
    RRcvEarly,
    /// The election was held and the local node won.
    WinElection,
    /// The timer of the state expired.
    Timeout,
    /// A message is to be sent.
    SendMessage,
    /// The connection should be terminated.
    Stop,
    /// Message other than CER, CEA, DPR, DPA, DWR, DWA, on the peer's connection.
    RRcvMessage,
    /// DWR on the peer's connection.
    RRcvDwr,
    /// DWA on the peer's connection.
    RRcvDwa,
    /// DPR on the peer's connection.
    RRcvDpr,
    /// DPA on the peer's connection.
    RRcvDpa,
    /// CER on the peer's connection, which is open already.
    RRcvCer,
    /// CEA on the peer's connection.
    RRcvCea,
    /// Message other than CER, CEA, DPR, DPA, DWR, DWA, on our connection.
    IRcvMessage,
    /// DWR on our connection.
    IRcvDwr,
    /// DWA on our connection.
    IRcvDwa,
    /// DPR on our connection.
    IRcvDpr,
    /// DPA on our connection.
    IRcvDpa,
    /// CER on our connection.
    IRcvCer,
}

impl Event {
    /// Every event.
    pub const ALL: &[Event] = &[
        Start,
        RConnCer,
        IRcvConnAck,
        IRcvConnNack,
        IRcvCea,
        IRcvBadCea,
        IRcvNonCea,
        IPeerDisc,
        RPeerDisc,
        RRcvEarly,
        WinElection,
        Timeout,
        SendMessage,
        Stop,
        RRcvMessage,
        RRcvDwr,
        RRcvDwa,
        RRcvDpr,
        RRcvDpa,
        RRcvCer,
        RRcvCea,
        IRcvMessage,
        IRcvDwr,
        IRcvDwa,
        IRcvDpr,
        IRcvDpa,
        IRcvCer,
    ];

    /// The event as the RFC prints it.
    pub fn name(self) -> &'static str {
        match self {
            Start => "Start",
            RConnCer => "R-Conn-CER",
            IRcvConnAck => "I-Rcv-Conn-Ack",
            IRcvConnNack => "I-Rcv-Conn-Nack",
            IRcvCea => "I-Rcv-CEA",
            IRcvBadCea => "I-Rcv-Bad-CEA",
            IRcvNonCea => "I-Rcv-Non-CEA",
            IPeerDisc => "I-Peer-Disc",
            RPeerDisc => "R-Peer-Disc",
            RRcvEarly => "R-Rcv-Early",
            WinElection => "Win-Election",
            Timeout => "Timeout",
            SendMessage => "Send-Message",
            Stop => "Stop",
            RRcvMessage => "R-Rcv-Message",
            RRcvDwr => "R-Rcv-DWR",
            RRcvDwa => "R-Rcv-DWA",
            RRcvDpr => "R-Rcv-DPR",
            RRcvDpa => "R-Rcv-DPA",
            RRcvCer => "R-Rcv-CER",
            RRcvCea => "R-Rcv-CEA",
            IRcvMessage => "I-Rcv-Message",
            IRcvDwr => "I-Rcv-DWR",
            IRcvDwa => "I-Rcv-DWA",
            IRcvDpr => "I-Rcv-DPR",
            IRcvDpa => "I-Rcv-DPA",
            IRcvCer => "I-Rcv-CER",
        }
    }
}

/// A step of a row: the RFC's actions (5.6.3) with the prefix of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Dial.
    ISndConnReq,
    /// Take the new connection as the responder connection.
    RAccept,
    /// Service the CER.
    ProcessCer,
    /// Answer the CER.
    RSndCea,
    /// Send our CER.
    ISndCer,
    /// Free what the attempt held.
    Cleanup,
    /// Disconnect whatever there is, for an error.
    Error,
    /// Service the CEA.
    ProcessCea,
    /// Hold the election (5.6.4).
    Elect,
    /// Disconnect our connection.
    IDisc,
    /// Disconnect the peer's connection.
    RDisc,
    /// Disconnect the newcomer.
    RReject,
    /// Send the message on the peer's connection.
    RSndMessage,
    /// Send the message on our connection.
    ISndMessage,
    /// Service the message.
    Process,
    /// Service the DWR.
    ProcessDwr,
    /// Answer the DWR on the peer's connection.
    RSndDwa,
    /// Answer the DWR on our connection.
    ISndDwa,
    /// Service the DWA.
    ProcessDwa,
    /// Send a DPR on the peer's connection.
    RSndDpr,
    /// Send a DPR on our connection.
    ISndDpr,
    /// Answer the DPR on the peer's connection.
    RSndDpa,
    /// Answer the DPR on our connection.
    ISndDpa,
    /// Answer a CER that has no place here. Not in the RFC's list.
    RefuseCer,
    /// Count it and forget it. Not in the RFC's list.
    Discard,
}

impl Step {
    /// The action as the RFC prints it.
    pub fn name(self) -> &'static str {
        match self {
            ISndConnReq => "I-Snd-Conn-Req",
            RAccept => "R-Accept",
            ProcessCer => "Process-CER",
            RSndCea => "R-Snd-CEA",
            ISndCer => "I-Snd-CER",
            Cleanup => "Cleanup",
            Error => "Error",
            ProcessCea => "Process-CEA",
            Elect => "Elect",
            IDisc => "I-Disc",
            RDisc => "R-Disc",
            RReject => "R-Reject",
            RSndMessage => "R-Snd-Message",
            ISndMessage => "I-Snd-Message",
            Process => "Process",
            ProcessDwr => "Process-DWR",
            RSndDwa => "R-Snd-DWA",
            ISndDwa => "I-Snd-DWA",
            ProcessDwa => "Process-DWA",
            RSndDpr => "R-Snd-DPR",
            ISndDpr => "I-Snd-DPR",
            RSndDpa => "R-Snd-DPA",
            ISndDpa => "I-Snd-DPA",
            RefuseCer => "Refuse-CER",
            Discard => "Discard",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `PSM-01` to `PSM-43`; a row the RFC lacks ends in `x`.
    pub id: &'static str,
    /// State before.
    pub state: State,
    /// What happened.
    pub event: Event,
    /// What to do, in order.
    pub steps: &'static [Step],
    /// State after.
    pub next: State,
}

const fn row(
    id: &'static str,
    state: State,
    event: Event,
    steps: &'static [Step],
    next: State,
) -> Row {
    Row { id, state, event, steps, next }
}

/// RFC 6733, 5.6, every row in the RFC's order.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("PSM-01", Closed,           Start,        &[ISndConnReq],                    WaitConnAck),
    row("PSM-02", Closed,           RConnCer,     &[RAccept, ProcessCer, RSndCea],   ROpen),

    row("PSM-03", WaitConnAck,      IRcvConnAck,  &[ISndCer],                        WaitICea),
    row("PSM-04", WaitConnAck,      IRcvConnNack, &[Cleanup],                        Closed),
    row("PSM-05", WaitConnAck,      RConnCer,     &[RAccept, ProcessCer],            WaitConnAckElect),
    row("PSM-06", WaitConnAck,      Timeout,      &[Error],                          Closed),

    row("PSM-07", WaitICea,         IRcvCea,      &[ProcessCea],                     IOpen),
    row("PSM-08", WaitICea,         RConnCer,     &[RAccept, ProcessCer, Elect],     WaitReturns),
    row("PSM-09", WaitICea,         IPeerDisc,    &[IDisc],                          Closed),
    row("PSM-10", WaitICea,         IRcvNonCea,   &[Error],                          Closed),
    row("PSM-11", WaitICea,         Timeout,      &[Error],                          Closed),

    row("PSM-12", WaitConnAckElect, IRcvConnAck,  &[ISndCer, Elect],                 WaitReturns),
    row("PSM-13", WaitConnAckElect, IRcvConnNack, &[RSndCea],                        ROpen),
    row("PSM-14", WaitConnAckElect, RPeerDisc,    &[RDisc],                          WaitConnAck),
    row("PSM-15", WaitConnAckElect, RConnCer,     &[RReject],                        WaitConnAckElect),
    row("PSM-16", WaitConnAckElect, Timeout,      &[Error],                          Closed),

    row("PSM-17", WaitReturns,      WinElection,  &[IDisc, RSndCea],                 ROpen),
    row("PSM-18", WaitReturns,      IPeerDisc,    &[IDisc, RSndCea],                 ROpen),
    row("PSM-19", WaitReturns,      IRcvCea,      &[RDisc],                          IOpen),
    row("PSM-20", WaitReturns,      RPeerDisc,    &[RDisc],                          WaitICea),
    row("PSM-21", WaitReturns,      RConnCer,     &[RReject],                        WaitReturns),
    row("PSM-22", WaitReturns,      Timeout,      &[Error],                          Closed),

    row("PSM-23", ROpen,            SendMessage,  &[RSndMessage],                    ROpen),
    row("PSM-24", ROpen,            RRcvMessage,  &[Process],                        ROpen),
    row("PSM-25", ROpen,            RRcvDwr,      &[ProcessDwr, RSndDwa],            ROpen),
    row("PSM-26", ROpen,            RRcvDwa,      &[ProcessDwa],                     ROpen),
    row("PSM-27", ROpen,            RConnCer,     &[RReject],                        ROpen),
    row("PSM-28", ROpen,            Stop,         &[RSndDpr],                        Closing),
    row("PSM-29", ROpen,            RRcvDpr,      &[RSndDpa],                        Closing),
    row("PSM-30", ROpen,            RPeerDisc,    &[RDisc],                          Closed),

    row("PSM-31", IOpen,            SendMessage,  &[ISndMessage],                    IOpen),
    row("PSM-32", IOpen,            IRcvMessage,  &[Process],                        IOpen),
    row("PSM-33", IOpen,            IRcvDwr,      &[ProcessDwr, ISndDwa],            IOpen),
    row("PSM-34", IOpen,            IRcvDwa,      &[ProcessDwa],                     IOpen),
    row("PSM-35", IOpen,            RConnCer,     &[RReject],                        IOpen),
    row("PSM-36", IOpen,            Stop,         &[ISndDpr],                        Closing),
    row("PSM-37", IOpen,            IRcvDpr,      &[ISndDpa],                        Closing),
    row("PSM-38", IOpen,            IPeerDisc,    &[IDisc],                          Closed),

    row("PSM-39", Closing,          IRcvDpa,      &[IDisc],                          Closed),
    row("PSM-40", Closing,          RRcvDpa,      &[RDisc],                          Closed),
    row("PSM-41", Closing,          Timeout,      &[Error],                          Closed),
    row("PSM-42", Closing,          IPeerDisc,    &[IDisc],                          Closed),
    row("PSM-43", Closing,          RPeerDisc,    &[RDisc],                          Closed),
];

/// What happens on the wire and has no row in the RFC.
#[rustfmt::skip]
pub const DEPARTURES: &[Row] = &[
    // Departs from RFC 6733, 5.6: it has no row for a CEA that says no. 5.3 forbids using the
    // connection, so it ends as for any other error; the CEA is still serviced, for its reason.
    row("PSM-44x", WaitICea,         IRcvBadCea,  &[ProcessCea, Error],              Closed),
    // Departs from RFC 6733, 5.6: as PSM-18, our connection is lost and the peer's is left.
    row("PSM-45x", WaitReturns,      IRcvBadCea,  &[ProcessCea, IDisc, RSndCea],     ROpen),
    row("PSM-46x", WaitReturns,      IRcvNonCea,  &[IDisc, RSndCea],                 ROpen),
    // Departs from RFC 6733, 5.6: nothing may follow a CER before its CEA; as R-Peer-Disc.
    row("PSM-47x", WaitConnAckElect, RRcvEarly,   &[RDisc],                          WaitConnAck),
    row("PSM-48x", WaitReturns,      RRcvEarly,   &[RDisc],                          WaitICea),
    // Departs from RFC 6733, 5.6: Stop has rows in the open states only. Before that there is
    // nobody to tell, so what exists is dropped.
    row("PSM-49x", Closed,           Stop,        &[],                               Closed),
    row("PSM-50x", WaitConnAck,      Stop,        &[Cleanup],                        Closed),
    row("PSM-51x", WaitICea,         Stop,        &[Error],                          Closed),
    row("PSM-52x", WaitConnAckElect, Stop,        &[Error],                          Closed),
    row("PSM-53x", WaitReturns,      Stop,        &[Error],                          Closed),
    // Departs from RFC 6733, 5.6: a CER on an open connection is answered 5012, not serviced
    // (freeDiameter does the same); a stray CEA or DPA is counted only.
    row("PSM-54x", ROpen,            RRcvCer,     &[RefuseCer],                      ROpen),
    row("PSM-55x", IOpen,            IRcvCer,     &[RefuseCer],                      IOpen),
    row("PSM-56x", ROpen,            RRcvCea,     &[Discard],                        ROpen),
    row("PSM-57x", IOpen,            IRcvCea,     &[Discard],                        IOpen),
    row("PSM-58x", ROpen,            RRcvDpa,     &[Discard],                        ROpen),
    row("PSM-59x", IOpen,            IRcvDpa,     &[Discard],                        IOpen),
    // Departs from RFC 6733, 5.6: Closing has no row for messages, yet answers to what was sent
    // before the DPR are still on their way, and each of them is money.
    row("PSM-60x", Closing,          RRcvMessage, &[Process],                        Closing),
    row("PSM-61x", Closing,          IRcvMessage, &[Process],                        Closing),
    row("PSM-62x", Closing,          RRcvDwr,     &[ProcessDwr, RSndDwa],            Closing),
    row("PSM-63x", Closing,          IRcvDwr,     &[ProcessDwr, ISndDwa],            Closing),
    row("PSM-64x", Closing,          RRcvDwa,     &[ProcessDwa],                     Closing),
    row("PSM-65x", Closing,          IRcvDwa,     &[ProcessDwa],                     Closing),
    // Departs from RFC 6733, 5.6: both ends may send a DPR at the same time, and each waits for
    // its DPA.
    row("PSM-66x", Closing,          RRcvDpr,     &[RSndDpa],                        Closing),
    row("PSM-67x", Closing,          IRcvDpr,     &[ISndDpa],                        Closing),
    row("PSM-68x", Closing,          RRcvCer,     &[Discard],                        Closing),
    row("PSM-69x", Closing,          IRcvCer,     &[Discard],                        Closing),
    row("PSM-70x", Closing,          RRcvCea,     &[Discard],                        Closing),
    row("PSM-71x", Closing,          IRcvCea,     &[Discard],                        Closing),
    // Departs from RFC 6733, 5.6: one connection per peer (2.1) holds while it is closing, too.
    row("PSM-72x", Closing,          RConnCer,    &[RReject],                        Closing),
    row("PSM-73x", Closing,          Stop,        &[],                               Closing),
];

/// Events that only our connection makes.
const INITIATOR: &[Event] = &[
    IRcvConnAck,
    IRcvConnNack,
    IRcvCea,
    IRcvBadCea,
    IRcvNonCea,
    IPeerDisc,
    IRcvMessage,
    IRcvDwr,
    IRcvDwa,
    IRcvDpr,
    IRcvDpa,
    IRcvCer,
];

/// Events that only the peer's connection makes.
const RESPONDER: &[Event] =
    &[RPeerDisc, RRcvEarly, RRcvMessage, RRcvDwr, RRcvDwa, RRcvDpr, RRcvDpa, RRcvCer, RRcvCea];

/// Messages on our connection while a CEA is due arrive as I-Rcv-CEA, -Bad-CEA or -Non-CEA.
const I_BY_NAME: &[Event] = &[IRcvMessage, IRcvDwr, IRcvDwa, IRcvDpr, IRcvDpa, IRcvCer];

/// Messages on the peer's connection before our CEA arrive as R-Rcv-Early.
const R_BY_NAME: &[Event] = &[RRcvMessage, RRcvDwr, RRcvDwa, RRcvDpr, RRcvDpa, RRcvCer, RRcvCea];

const NO_I: &str = "there is no initiator connection in this state";
const NO_R: &str = "there is no responder connection in this state";
const NO_ELECTION: &str = "an election is held only where both connections have a CER";
const NO_TIMER: &str = "the state has no timer";
const NOT_OPEN: &str = "whoever drives the machine refuses messages before Open";
const CONNECTED: &str = "our connection is established already";
const STARTED: &str = "Start is given in Closed only";
const AS_NON_CEA: &str = "while a CEA is due it arrives as I-Rcv-Non-CEA";
const AS_EARLY: &str = "before our CEA it arrives as R-Rcv-Early";
const CEA_SETTLED: &str = "after the capabilities exchange it arrives under its own name";

/// Pairs without a row, and why each cannot happen.
#[rustfmt::skip]
pub const IMPOSSIBLE: &[(State, &[Event], &str)] = &[
    (Closed,           INITIATOR,                                NO_I),
    (Closed,           RESPONDER,                                NO_R),
    (Closed,           &[WinElection],                           NO_ELECTION),
    (Closed,           &[Timeout],                               NO_TIMER),
    (Closed,           &[SendMessage],                           NOT_OPEN),

    (WaitConnAck,      &[Start],                                 STARTED),
    (WaitConnAck,      &[IRcvCea, IRcvBadCea, IRcvNonCea, IPeerDisc], NO_I),
    (WaitConnAck,      I_BY_NAME,                                NO_I),
    (WaitConnAck,      RESPONDER,                                NO_R),
    (WaitConnAck,      &[WinElection],                           NO_ELECTION),
    (WaitConnAck,      &[SendMessage],                           NOT_OPEN),

    (WaitICea,         &[Start],                                 STARTED),
    (WaitICea,         &[IRcvConnAck, IRcvConnNack],             CONNECTED),
    (WaitICea,         I_BY_NAME,                                AS_NON_CEA),
    (WaitICea,         RESPONDER,                                NO_R),
    (WaitICea,         &[WinElection],                           NO_ELECTION),
    (WaitICea,         &[SendMessage],                           NOT_OPEN),

    (WaitConnAckElect, &[Start],                                 STARTED),
    (WaitConnAckElect, &[IRcvCea, IRcvBadCea, IRcvNonCea, IPeerDisc], NO_I),
    (WaitConnAckElect, I_BY_NAME,                                NO_I),
    (WaitConnAckElect, R_BY_NAME,                                AS_EARLY),
    (WaitConnAckElect, &[WinElection],                           NO_ELECTION),
    (WaitConnAckElect, &[SendMessage],                           NOT_OPEN),

    (WaitReturns,      &[Start],                                 STARTED),
    (WaitReturns,      &[IRcvConnAck, IRcvConnNack],             CONNECTED),
    (WaitReturns,      I_BY_NAME,                                AS_NON_CEA),
    (WaitReturns,      R_BY_NAME,                                AS_EARLY),
    (WaitReturns,      &[SendMessage],                           NOT_OPEN),

    (ROpen,            &[Start],                                 STARTED),
    (ROpen,            INITIATOR,                                NO_I),
    (ROpen,            &[WinElection],                           NO_ELECTION),
    (ROpen,            &[Timeout],                               NO_TIMER),
    (ROpen,            &[RRcvEarly],                             CEA_SETTLED),

    (IOpen,            &[Start],                                 STARTED),
    (IOpen,            RESPONDER,                                NO_R),
    (IOpen,            &[WinElection],                           NO_ELECTION),
    (IOpen,            &[Timeout],                               NO_TIMER),
    (IOpen,            &[IRcvConnAck, IRcvConnNack],             CONNECTED),
    (IOpen,            &[IRcvBadCea, IRcvNonCea],                CEA_SETTLED),

    (Closing,          &[Start],                                 STARTED),
    (Closing,          &[IRcvConnAck, IRcvConnNack],             CONNECTED),
    (Closing,          &[IRcvBadCea, IRcvNonCea, RRcvEarly],     CEA_SETTLED),
    (Closing,          &[WinElection],                           NO_ELECTION),
    (Closing,          &[SendMessage],                           NOT_OPEN),
];

/// The row of a pair.
pub fn find(state: State, event: Event) -> Option<&'static Row> {
    ROWS.iter().chain(DEPARTURES).find(|row| row.state == state && row.event == event)
}
