//! One story for each row of the closing table: what is sent when a SIP moment is reported.

use farebox::charging::event::CloseTrigger::{self, Aborted, ByeOkReceived, ByeReceived, ByeSent};
use farebox::charging::event::Units;
use farebox::charging::outcome::{Ch1State, SessionState};
use farebox::charging::record::Command;

use crate::gateway_world::{World, seconds};

/// Where the session stands before the trigger.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// Both interfaces, granted.
    Open,
    /// Both, a CCR-U unanswered.
    Pending,
    /// Both, free of charge: nothing open at the OCS.
    Idle,
    /// CH-1 alone.
    Ch1,
    /// CH-2 alone, granted.
    OnlineOpen,
    /// CH-2 alone, a CCR-U unanswered.
    OnlinePending,
    /// CH-2 alone, free of charge.
    OnlineIdle,
    /// Both, `bye-sent` came first.
    Armed,
    /// Both, `bye-received` came first.
    Closed,
    /// Never started.
    Orphan,
}

/// What must follow.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Stop {
    Now,
    Armed,
    None,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Termination {
    Now,
    Queued,
    None,
}

fn prepare(before: Before) -> World {
    let mut world = World::new();
    let service = match before {
        Before::Ch1 => "offline-only",
        Before::OnlineOpen | Before::OnlinePending | Before::OnlineIdle => "online-only",
        _ => "chat",
    };
    if before == Before::Orphan {
        return world;
    }
    world.start("s1", service);
    match before {
        Before::Ch1 => {}
        Before::Idle | Before::OnlineIdle => world.cca(4011),
        _ => world.cca(2001),
    }
    if service != "online-only" {
        world.aca(2001);
    }
    match before {
        Before::Pending | Before::OnlinePending => {
            world.interim("s1", 1, seconds(120));
            if before == Before::Pending {
                world.aca(2001);
            }
        }
        Before::Armed | Before::Closed => {
            let trigger = if before == Before::Armed { ByeSent } else { ByeReceived };
            world.terminate("s1", trigger, seconds(311));
            world.cca(2001);
        }
        _ => {}
    }
    world.sent.retain(|sent| !sent.answered);
    world
}

fn story(row: &str, before: Before, trigger: CloseTrigger, stop: Stop, termination: Termination) {
    let mut world = prepare(before);
    let earlier_stops = world.of(Command::AcrStop).len();
    let units = if before == Before::Orphan { Units::default() } else { seconds(311) };
    let caller = world.terminate("s1", trigger, units);
    assert!(world.took(row), "{row} was not taken");
    let stops = world.of(Command::AcrStop).len() - earlier_stops;
    assert_eq!(stops, usize::from(stop == Stop::Now), "{row}: {:?}", world.sent_words());
    let now = world.of(Command::CcrTermination).len();
    assert_eq!(now, usize::from(termination == Termination::Now), "{row}");
    if termination == Termination::Queued {
        assert!(world.waits(caller), "{row}");
        world.cca(2001);
        assert_eq!(world.of(Command::CcrTermination).len(), 1, "{row}: follows the CCA");
    }
    if termination != Termination::None {
        world.cca(2001);
    }
    let view = world.session("s1");
    let armed = stop == Stop::Armed || (before == Before::Armed && trigger == ByeSent);
    let expected = if armed { SessionState::Ending } else { SessionState::Ended };
    assert_eq!((view.state, view.ch1.state == Ch1State::Armed), (expected, armed), "{row}");
    assert_eq!(world.answer(caller).state, expected, "{row}");
    world.conserved();
}

macro_rules! stories {
    ($($name:ident $row:literal $before:ident $trigger:ident $stop:ident $termination:ident;)*) => {
        $(#[test]
        fn $name() {
            story($row, Before::$before, $trigger, Stop::$stop, Termination::$termination);
        })*
    };
}

stories! {
    trg_01_client_bye_sends_stop_and_termination "TRG-01" Open ByeReceived Now Now;
    trg_02_server_bye_arms_the_stop_and_sends_termination "TRG-02" Open ByeSent Armed Now;
    trg_03_ok_without_bye_sends_both "TRG-03" Open ByeOkReceived Now Now;
    trg_04_abort_sends_both "TRG-04" Open Aborted Now Now;
    trg_05_client_bye_behind_an_update "TRG-05" Pending ByeReceived Now Queued;
    trg_06_server_bye_behind_an_update "TRG-06" Pending ByeSent Armed Queued;
    trg_07_ok_behind_an_update "TRG-07" Pending ByeOkReceived Now Queued;
    trg_08_abort_behind_an_update "TRG-08" Pending Aborted Now Queued;
    trg_09_client_bye_with_an_idle_leg "TRG-09" Idle ByeReceived Now None;
    trg_10_server_bye_with_an_idle_leg "TRG-10" Idle ByeSent Armed None;
    trg_11_ok_with_an_idle_leg "TRG-11" Idle ByeOkReceived Now None;
    trg_12_abort_with_an_idle_leg "TRG-12" Idle Aborted Now None;
    trg_13_client_bye_offline "TRG-13" Ch1 ByeReceived Now None;
    trg_14_server_bye_offline "TRG-14" Ch1 ByeSent Armed None;
    trg_15_ok_offline "TRG-15" Ch1 ByeOkReceived Now None;
    trg_16_abort_offline "TRG-16" Ch1 Aborted Now None;
    trg_17_client_bye_online "TRG-17" OnlineOpen ByeReceived None Now;
    trg_18_server_bye_online_ends_the_session "TRG-18" OnlineOpen ByeSent None Now;
    trg_19_ok_online "TRG-19" OnlineOpen ByeOkReceived None Now;
    trg_20_abort_online "TRG-20" OnlineOpen Aborted None Now;
    trg_21_client_bye_online_behind_an_update "TRG-21" OnlinePending ByeReceived None Queued;
    trg_22_server_bye_online_behind_an_update "TRG-22" OnlinePending ByeSent None Queued;
    trg_23_ok_online_behind_an_update "TRG-23" OnlinePending ByeOkReceived None Queued;
    trg_24_abort_online_behind_an_update "TRG-24" OnlinePending Aborted None Queued;
    trg_25_client_bye_online_idle "TRG-25" OnlineIdle ByeReceived None None;
    trg_26_server_bye_online_idle "TRG-26" OnlineIdle ByeSent None None;
    trg_27_ok_online_idle "TRG-27" OnlineIdle ByeOkReceived None None;
    trg_28_abort_online_idle "TRG-28" OnlineIdle Aborted None None;
    trg_29_client_bye_releases_the_armed_stop "TRG-29" Armed ByeReceived Now None;
    trg_30_a_second_server_bye_changes_nothing "TRG-30" Armed ByeSent None None;
    trg_31_ok_releases_the_armed_stop "TRG-31" Armed ByeOkReceived Now None;
    trg_32_abort_releases_the_armed_stop "TRG-32" Armed Aborted Now None;
    trg_33_a_second_client_bye_changes_nothing "TRG-33" Closed ByeReceived None None;
    trg_34_a_crossing_server_bye_changes_nothing "TRG-34" Closed ByeSent None None;
    trg_35_a_late_ok_changes_nothing "TRG-35" Closed ByeOkReceived None None;
    trg_36_a_late_abort_changes_nothing "TRG-36" Closed Aborted None None;
    trg_37_orphan_client_bye "TRG-37" Orphan ByeReceived Now None;
    trg_38_orphan_server_bye "TRG-38" Orphan ByeSent Armed None;
    trg_39_orphan_ok "TRG-39" Orphan ByeOkReceived Now None;
    trg_40_orphan_abort "TRG-40" Orphan Aborted Now None;
}
