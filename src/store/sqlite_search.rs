//! A search for records as SQL: the given fields only, in order of creation.

use rusqlite::ToSql;

use super::sqlite_rows::{RECORD_COLUMNS, interface_number, state_number};
use super::{Query, RecordId};
use crate::clock::Wall;

/// Ids begin with their time of creation; a clock that was set back moves them by less than this.
const ID_SLACK_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// Conditions and their values, in step.
pub(super) struct Search {
    by_subscriber: bool,
    conditions: Vec<&'static str>,
    values: Vec<Box<dyn ToSql>>,
}

impl Search {
    pub(super) fn new(query: &Query) -> Search {
        let mut search = Search {
            by_subscriber: query.subscriber.is_some(),
            conditions: Vec::new(),
            values: Vec::new(),
        };
        search.add("s.subscriber = ?", query.subscriber.clone());
        search.add("r.subject = ?", query.subject.clone());
        search.add("r.diameter_session_id = ?", query.diameter_session_id.clone());
        search.add("r.interface = ?", query.interface.map(interface_number));
        if query.state.is_some_and(super::RecordState::unacknowledged) {
            // Said as the partial index says it, so that it is used.
            search.conditions.push("r.state IN (0, 3)");
        }
        search.add("r.state = ?", query.state.map(state_number));
        search.add("r.created_at >= ?", query.since.map(|at| at.0));
        search.add("r.created_at < ?", query.until.map(|at| at.0));
        let near = |at: Wall, slack| RecordId::new(Wall(at.0.saturating_add(slack)), 0).0;
        search.add("r.id >= ?", query.since.map(|at| near(at, -ID_SLACK_MILLIS)));
        search.add("r.id < ?", query.until.map(|at| near(at, ID_SLACK_MILLIS)));
        search.add("r.id > ?", query.after.map(|id| id.0));
        search.values.push(Box::new(query.limit.clamp(1, 1000)));
        search
    }

    fn add(&mut self, condition: &'static str, value: Option<impl ToSql + 'static>) {
        if let Some(value) = value {
            self.conditions.push(condition);
            self.values.push(Box::new(value));
        }
    }

    pub(super) fn sql(&self) -> String {
        let from = if self.by_subscriber {
            "record_subscriber s JOIN record r ON r.n = s.record"
        } else {
            "record r"
        };
        let conditions = match self.conditions.join(" AND ") {
            none if none.is_empty() => "1".to_owned(),
            some => some,
        };
        format!("SELECT {RECORD_COLUMNS} FROM {from} WHERE {conditions} ORDER BY r.id LIMIT ?")
    }

    pub(super) fn params(&self) -> Vec<&dyn ToSql> {
        self.values.iter().map(AsRef::as_ref).collect()
    }
}
