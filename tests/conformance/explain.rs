//! Records as they are looked for, where their AVPs came from, and why they ended as they did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::explain::{Stored, owner};
use farebox::charging::outcome::Outcome;
use farebox::charging::provenance::{AvpNode, record_tree};
use farebox::charging::request::Library;
use farebox::diameter::Dictionary;
use farebox::mapping::{Interface as MappingInterface, Mapping};
use farebox::store::{RecordState, Store};

use crate::gateway_world::*;

fn stored(world: &mut World, command: &str) -> Stored {
    let row = world.store.records().find(|row| row.command == command).expect("stored").clone();
    let session = world.store.session(&owner(&row).expect("readable")).expect("readable");
    Stored::read(&row, session.as_ref()).expect("decoded")
}

fn charged() -> World {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.aca(2001);
    world.terminate("s1", ByeReceived, used(311, 14));
    world
}

fn library() -> Library {
    let mappings = BTreeMap::from([
        ("ch1".to_owned(), Mapping::default_of(MappingInterface::Ch1).clone()),
        ("ch2".to_owned(), Mapping::default_of(MappingInterface::Ch2).clone()),
    ]);
    Library { dictionary: Arc::new(Dictionary::builtin().clone()), mappings: Arc::new(mappings) }
}

fn find<'n>(nodes: &'n [AvpNode], path: &[&str]) -> &'n AvpNode {
    let node = nodes.iter().find(|node| node.name == path[0]).expect(path[0]);
    if path.len() == 1 { node } else { find(&node.children, &path[1..]) }
}

fn leaves<'n>(nodes: &'n [AvpNode], out: &mut Vec<&'n AvpNode>) {
    for node in nodes {
        if node.value.is_some() {
            out.push(node);
        }
        leaves(&node.children, out);
    }
}

#[test]
fn every_avp_of_a_stored_request_says_where_it_came_from() {
    let mut world = charged();
    world.cca(2001);
    for command in ["CCR-I", "CCR-T", "ACR-START", "ACR-STOP"] {
        let stored = stored(&mut world, command);
        let tree = record_tree(&library(), &world.policy, &stored.record, stored.session.as_ref());
        let mut all = Vec::new();
        leaves(&tree.avps, &mut all);
        let unknown: Vec<_> =
            all.iter().filter(|leaf| leaf.from.is_none()).map(|leaf| &leaf.name).collect();
        assert!(unknown.is_empty(), "{command}: {unknown:?}");
    }
    let stored = stored(&mut world, "CCR-T");
    let tree = record_tree(&library(), &world.policy, &stored.record, stored.session.as_ref());
    let path = ["Multiple-Services-Credit-Control", "Used-Service-Unit", "CC-Time"];
    let time = find(&tree.avps, &path);
    assert_eq!(time.value.as_deref(), Some("311"));
    assert!(time.from.as_ref().is_some_and(|from| from.contains("seconds")), "{time:?}");
    assert_eq!(find(&tree.avps, &["Origin-Host"]).from.as_deref(), Some("identity.host"));
}

#[test]
fn an_avp_that_cannot_be_recomputed_says_nothing() {
    let mut world = charged();
    world.cca(2001);
    let mut stored = stored(&mut world, "CCR-T");
    let session = stored.session.as_mut().expect("a session");
    session.content.node = Some("as9.cpm.example.net".to_owned());
    let tree = record_tree(&library(), &world.policy, &stored.record, stored.session.as_ref());
    let mut all = Vec::new();
    leaves(&tree.avps, &mut all);
    let node = all.iter().find(|leaf| leaf.value.as_deref() == Some("as1.cpm.example.net"));
    assert_eq!(node.expect("sent").from, None);
    let alone = record_tree(&library(), &world.policy, &stored.record, None);
    assert_eq!(alone.bytes, stored.record.message);
    let units = find(&alone.avps, &["Multiple-Services-Credit-Control", "Rating-Group"]);
    assert_eq!(units.from, None);
}

#[test]
fn why_tells_of_a_denied_termination_what_is_known() {
    let mut world = charged();
    world.answer_with(farebox::store::Interface::Ch2, |message| {
        use farebox::diameter::{Avp, id};
        message.push(Avp::u32(id::RESULT_CODE, 5002));
        message.push(Avp::text(id::ERROR_MESSAGE, "no such credit session"));
    });
    let stored = stored(&mut world, "CCR-T");
    let item = stored.item();
    assert_eq!((item.state, item.attempts), (RecordState::Answered, 1));
    assert_eq!(item.outcome, Some(Outcome::Unverified));
    let why = stored.why();
    assert_eq!(why.summary, "CCR-T number 1 of session s1 was answered; outcome unverified.");
    let meaning = why.meaning.expect("a known code");
    assert!(meaning.starts_with("5002 DIAMETER_UNKNOWN_SESSION_ID:"), "{meaning}");
    let text = why.happened.join("\n");
    assert!(text.contains("One copy was sent, to ocs-a."), "{text}");
    assert!(text.contains("Error-Message \"no such credit session\""), "{text}");
    let money = why.money.join("\n");
    assert!(money.contains("seconds 311, messages 14"), "{money}");
    assert!(money.contains("backup record"), "{money}");
    assert!(why.look_at.join("\n").contains(&item.diameter_session_id));
}

#[test]
fn why_does_not_guess_what_is_not_stored() {
    let mut world = charged();
    world.pass(Duration::from_secs(10));
    let mut stored = stored(&mut world, "CCR-T");
    assert!(stored.record.attempts > 1);
    let why = stored.why();
    let text = why.happened.join("\n");
    assert!(text.contains("the last copy's result only"), "{text}");
    assert!(text.contains("No answer is stored."), "{text}");
    assert_eq!(why.meaning, None);
    stored.session = None;
    let why = stored.why();
    assert!(why.money.join("\n").contains("no longer stored"));
    assert!(why.happened.join("\n").contains("to whom is not known"));
}
