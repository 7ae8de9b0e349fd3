//! `policy`, `rating_groups`, `failure`, `termination`: what the engine needs to know.

use std::collections::BTreeMap;
use std::time::Duration;

use super::item::Item;
use super::sections::{DAY, LONGEST};
use crate::charging::event::Interfaces;
use crate::charging::policy::{Ccfh, Ddfh, FailurePolicy, Model, Service, Termination};
use crate::diagnostic::Span;

/// `policy` and `rating_groups`.
pub(super) struct Services {
    pub(super) services: BTreeMap<String, Service>,
    pub(super) default: Interfaces,
    pub(super) rating_groups: BTreeMap<String, u32>,
    /// Who wants which interfaces, and where the file says so.
    pub(super) wanted: Vec<(String, Interfaces, Span)>,
}

const MODELS: &[(&str, Model)] =
    &[("scur", Model::Scur), ("ecur", Model::Ecur), ("iec", Model::Iec)];

/// Reads `policy` and `rating_groups`.
pub(super) fn services(root: &Item<'_>) -> Services {
    let ch1_only = Interfaces { ch1: true, ch2: false };
    let mut read = Services {
        services: BTreeMap::new(),
        default: ch1_only,
        rating_groups: BTreeMap::new(),
        wanted: Vec::new(),
    };
    let mut default_at = root.key_span.clone();
    if let Some(policy) = root.get("policy")
        && policy.keys(&["services", "default"])
    {
        if let Some(item) = policy.get("default") {
            default_at = item.key_span.clone();
            read.default = default_interfaces(&item).unwrap_or(ch1_only);
        }
        for (name, item) in policy.get("services").map(|item| item.entries()).unwrap_or_default() {
            if let Some((service, at)) = service(&item) {
                let wanted = (format!("service `{name}`"), service.interfaces, at);
                read.wanted.push(wanted);
                read.services.insert(name.to_owned(), service);
            }
        }
    }
    read.wanted.push(("`policy.default`".to_owned(), read.default, default_at));
    for (name, item) in root.get("rating_groups").map(|item| item.entries()).unwrap_or_default() {
        if let Some(number) = item.unsigned32() {
            read.rating_groups.insert(name.to_owned(), number);
        }
    }
    read
}

/// `{interfaces: [ch1]}`, or the list alone.
fn default_interfaces(item: &Item<'_>) -> Option<Interfaces> {
    if item.node.list().is_some() {
        return interfaces(item);
    }
    if !item.keys(&["interfaces"]) {
        return None;
    }
    interfaces(&item.required("interfaces")?)
}

fn service(item: &Item<'_>) -> Option<(Service, Span)> {
    if !item.keys(&["interfaces", "model", "rating_group", "service_id"]) {
        return None;
    }
    let list = item.required("interfaces")?;
    let interfaces = interfaces(&list)?;
    let model = item.get("model");
    if model.is_none() && interfaces.ch2 {
        item.required("model");
    }
    let service = Service {
        interfaces,
        model: model.and_then(|item| item.word(MODELS)).unwrap_or(Model::Scur),
        rating_group: item.get("rating_group").and_then(|item| item.unsigned32()),
        service_id: item.get("service_id").and_then(|item| item.unsigned32()),
    };
    Some((service, list.node.span.clone()))
}

fn interfaces(item: &Item<'_>) -> Option<Interfaces> {
    let items = item.list();
    let words = [("ch1", true), ("ch2", false)];
    let pinned: Vec<bool> = items.iter().filter_map(|item| item.word(&words)).collect();
    if items.is_empty() && item.node.list().is_some() {
        item.expected("ch1, ch2 or both");
    }
    (!pinned.is_empty())
        .then(|| Interfaces { ch1: pinned.contains(&true), ch2: pinned.contains(&false) })
}

/// `failure.ch2`.
pub(super) fn failure(root: &Item<'_>) -> FailurePolicy {
    let mut policy = FailurePolicy {
        on_no_answer: Ccfh::Terminate,
        direct_debit: Ddfh::TerminateOrBuffer,
        buffer_for: DAY,
    };
    let Some(section) = root.get("failure").filter(|item| item.keys(&["ch2"])) else {
        return policy;
    };
    let Some(ch2) = section.get("ch2") else { return policy };
    if !ch2.keys(&["on_no_answer", "direct_debit", "buffer_for"]) {
        return policy;
    }
    let on_no_answer = [
        ("terminate", Ccfh::Terminate),
        ("continue", Ccfh::Continue),
        ("retry_and_terminate", Ccfh::RetryAndTerminate),
    ];
    let direct_debit =
        [("terminate_or_buffer", Ddfh::TerminateOrBuffer), ("continue", Ddfh::Continue)];
    if let Some(word) = ch2.get("on_no_answer").and_then(|item| item.word(&on_no_answer)) {
        policy.on_no_answer = word;
    }
    if let Some(word) = ch2.get("direct_debit").and_then(|item| item.word(&direct_debit)) {
        policy.direct_debit = word;
    }
    let buffer_for = ch2.get("buffer_for");
    if let Some(time) = buffer_for.and_then(|item| item.duration(Duration::ZERO..=LONGEST)) {
        policy.buffer_for = time;
    }
    policy
}

/// `termination`.
pub(super) fn termination(root: &Item<'_>) -> Termination {
    let mut termination = Termination {
        ok_timeout: Duration::from_secs(36),
        settle_within: None,
        backup_accounting: true,
        max_session: DAY,
        abort_grace: Duration::from_secs(5),
    };
    let known = ["ok_timeout", "settle_within", "backup_accounting", "max_session", "abort_grace"];
    let Some(section) = root.get("termination").filter(|item| item.keys(&known)) else {
        return termination;
    };
    let least = Duration::from_millis(1);
    let time = |key| section.get(key).and_then(|item| item.duration(least..=LONGEST));
    termination.ok_timeout = time("ok_timeout").unwrap_or(termination.ok_timeout);
    termination.settle_within = time("settle_within");
    termination.max_session = time("max_session").unwrap_or(termination.max_session);
    termination.abort_grace = time("abort_grace").unwrap_or(termination.abort_grace);
    if let Some(backup) = section.get("backup_accounting").and_then(|item| item.boolean()) {
        termination.backup_accounting = backup;
    }
    termination
}
