//! What the CPM server is told without having asked: RAR, ASR, dead letters, and outcomes that
//! were pending when their caller was answered.

use super::commit::{Change, Effect};
use super::engine::{Action, Engine};
use super::outcome::{Answer, Ch2State, Outcome, RecordView, SessionState, Subject};
use super::session::{Brief, Call, Decision, Session};
use crate::clock::Wall;
use crate::store::{RecordId, RecordState};

/// The four notifications of api.md section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// `farebox.reauthorize`: a RAR came, a CCR-U follows.
    Reauthorize,
    /// `farebox.abort`: an ASR came.
    Abort,
    /// `farebox.record.dead`.
    RecordDead(RecordId),
    /// `farebox.outcome`: a result that the caller was not told; `None`: no request was made for it.
    Outcome(Option<RecordId>),
}

impl NoticeKind {
    /// The CloudEvents `type`.
    pub fn name(self) -> &'static str {
        match self {
            NoticeKind::Reauthorize => "farebox.reauthorize",
            NoticeKind::Abort => "farebox.abort",
            NoticeKind::RecordDead(_) => "farebox.record.dead",
            NoticeKind::Outcome(_) => "farebox.outcome",
        }
    }
}

/// What the CPM server has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MustDo {
    /// Send an interim with the usage so far.
    Report,
    /// End the session and send its terminate.
    Stop,
}

/// Something the CPM server should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Differs from every other one's; sorts by time.
    pub id: RecordId,
    /// What.
    pub kind: NoticeKind,
    /// The session or event.
    pub subject: Subject,
    /// When it happened.
    pub at: Wall,
    /// What to do; `None`: nothing.
    pub must_do: Option<MustDo>,
    /// By when.
    pub by: Option<Wall>,
    /// State of the session now.
    pub state: SessionState,
    /// The money, where it is decided.
    pub decision: Option<Decision>,
    /// The record it is about.
    pub record: Option<RecordView>,
    /// Where it asked to be told.
    pub notify_uri: Option<String>,
}

impl Engine {
    /// Tells the CPM server when the change is on disk.
    pub(super) fn notify(change: &mut Change, kind: NoticeKind, by: Option<Wall>) {
        change.effects.push(Effect::Notify(kind, by));
        change.dirty = true;
    }

    /// A record is final: whoever was told `pending` is told the rest, and so is a person.
    pub(super) fn notify_final(change: &mut Change, id: RecordId, state: RecordState) {
        if state == RecordState::Dead {
            Engine::notify(change, NoticeKind::RecordDead(id), None);
        }
        let told = change.slot.session.brief_mut(id).map(|brief| &mut brief.told_pending);
        if told.is_some_and(std::mem::take) {
            Engine::notify(change, NoticeKind::Outcome(Some(id)), None);
        }
    }

    /// A caller is answered before its request is settled.
    pub(super) fn owe_outcome(change: &mut Change, call: &Call, answer: &Answer) {
        if answer.outcome != Outcome::Pending && answer.ch2.state != Ch2State::Pending {
            return;
        }
        let session = &mut change.slot.session;
        match call.ccr {
            Some(id) => {
                let waiting = |brief: &&mut Brief| brief.state == RecordState::Waiting;
                if let Some(brief) = session.brief_mut(id).filter(waiting) {
                    brief.told_pending = true;
                }
            }
            None if call.queued => {
                if let Some(ro) = session.ro.as_mut() {
                    ro.told_pending = true;
                }
            }
            None => {}
        }
    }

    /// What waited behind another request is on its way: its record owes the outcome now.
    pub(super) fn owe_by_record(change: &mut Change, id: RecordId) {
        let told = change.slot.session.ro.as_mut().map(|ro| &mut ro.told_pending);
        let told = told.is_some_and(std::mem::take);
        if let Some(brief) = change.slot.session.brief_mut(id) {
            brief.told_pending |= told;
        }
    }

    /// What waited behind another request will never be sent.
    pub(super) fn owe_nothing(change: &mut Change) {
        let told = change.slot.session.ro.as_mut().map(|ro| &mut ro.told_pending);
        if told.is_some_and(std::mem::take) {
            Engine::notify(change, NoticeKind::Outcome(None), None);
        }
    }

    /// The effect of a durable commit becomes a notice: the session is as it is now.
    pub(super) fn notified(&mut self, key: &str, kind: NoticeKind, by: Option<Wall>) {
        let (id, at) = (self.record_id(), self.wall);
        let Some(slot) = self.sessions.get(key) else { return };
        let session = &slot.session;
        let (record, decided) = match kind {
            NoticeKind::Reauthorize | NoticeKind::Abort => (None, false),
            NoticeKind::RecordDead(record) => (Some(record), false),
            NoticeKind::Outcome(record) => (record, true),
        };
        let brief = record.and_then(|id| session.brief(id));
        let decision = decided.then(|| decision(session, brief));
        let notice = Notice {
            id,
            kind,
            subject: session.subject.clone(),
            at,
            must_do: must_do(kind, session, decision.as_ref()),
            by,
            state: session.state(),
            decision,
            record: brief.map(Brief::view),
            notify_uri: session.notify_uri.clone(),
        };
        self.out.push(Action::Notify(Box::new(notice)));
    }
}

/// What became of a request: its own decision; the session's, once a backup record settled it.
fn decision(session: &Session, brief: Option<&Brief>) -> Decision {
    let own = brief.filter(|brief| !brief.failed).and_then(|brief| brief.decision.clone());
    own.unwrap_or_else(|| session.decision.clone())
}

/// A denied user whose session still runs has to be stopped.
fn must_do(kind: NoticeKind, session: &Session, decision: Option<&Decision>) -> Option<MustDo> {
    match kind {
        NoticeKind::Reauthorize => Some(MustDo::Report),
        NoticeKind::Abort => Some(MustDo::Stop),
        NoticeKind::RecordDead(_) => None,
        NoticeKind::Outcome(_) => {
            let denied = decision.is_some_and(|d| d.outcome == Outcome::Denied);
            let runs = session.event.is_none() && session.state() == SessionState::Open;
            (denied && runs).then_some(MustDo::Stop)
        }
    }
}
