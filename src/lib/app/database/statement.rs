//! Statements of either store, which a trace tells of where it tells of all: by what they do, to which table, and
//! their text. The text holds no values; those are bound to it.
//!
//! Names are those of <https://opentelemetry.io/docs/specs/semconv/db/database-spans/>.

mod failure;
mod summary;

use std::sync::Arc;

use opentelemetry::{Context, KeyValue, trace::SpanKind};
use sqlx::{Database, Encode, Executor, IntoArguments, Type, query::Query};

use crate::telemetry::{
    names::{self, steps},
    spans::{Step, What, parent_of_steps},
};
pub(super) use failure::failed;
use summary::operations;

/// Where statements go, as spans have it; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Vec<KeyValue>>);

impl Place {
    /// `system` is the database's kind, `name` what one of them is called.
    pub(super) fn new(system: &'static str, name: Option<String>) -> Self {
        let mut attributes = vec![KeyValue::new(steps::DB_SYSTEM_NAME, system)];
        attributes.extend(name.map(|name| KeyValue::new(steps::DB_NAMESPACE, name)));
        Self(Arc::new(attributes))
    }

    pub(super) fn at(self, host: String, port: u16) -> Self {
        let mut attributes = (*self.0).clone();
        attributes.push(KeyValue::new(names::SERVER_ADDRESS, host));
        attributes.push(KeyValue::new(names::SERVER_PORT, i64::from(port)));
        Self(Arc::new(attributes))
    }

    /// Begins the step of waiting for a connection.
    pub(super) fn connecting(&self) -> Step {
        Step::below(parent_of_steps(), || What {
            name: "take connection".into(),
            kind: SpanKind::Internal,
            attributes: (*self.0).clone(),
        })
    }

    /// Begins the step of a statement.
    pub(super) fn asking(
        &self,
        text: &'static str,
        parents: impl IntoIterator<Item = Context>,
    ) -> Step {
        Step::below(parents, || self.told(text))
    }

    fn told(&self, text: &'static str) -> What {
        let operations = operations(text);
        let names: Vec<String> = operations.iter().map(ToString::to_string).collect();
        let summary = names.join(" ");
        let mut attributes = (*self.0).clone();
        if let [only] = &*operations {
            attributes.push(KeyValue::new(steps::DB_OPERATION_NAME, only.name));
            let table = only.table;
            attributes.extend(table.map(|table| KeyValue::new(steps::DB_COLLECTION_NAME, table)));
        }
        attributes.push(KeyValue::new(steps::DB_QUERY_SUMMARY, summary.clone()));
        // As it stands in our source, without its indentation.
        let words: Vec<&str> = text.split_whitespace().collect();
        attributes.push(KeyValue::new(steps::DB_QUERY_TEXT, words.join(" ")));
        What {
            name: summary.into(),
            kind: SpanKind::Client,
            attributes,
        }
    }
}

/// A connection, and where it goes.
#[derive(Debug)]
pub(super) struct Connection<'a, DB: Database> {
    inner: &'a mut DB::Connection,
    place: &'a Place,
}

impl<'a, DB: Database> Connection<'a, DB> {
    pub(super) fn new(inner: &'a mut DB::Connection, place: &'a Place) -> Self {
        Self { inner, place }
    }
}

/// One statement with its values.
pub(super) struct Statement<'q, DB: Database> {
    text: &'static str,
    query: Query<'q, DB, DB::Arguments>,
}

/// Begins a statement, as sqlx does.
pub(super) fn statement<'q, DB: Database>(text: &'static str) -> Statement<'q, DB> {
    Statement {
        text,
        query: sqlx::query(text),
    }
}

impl<DB: Database> Statement<'_, DB>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    pub(super) fn bind<'t, T: Encode<'t, DB> + Type<DB>>(self, value: T) -> Self {
        Self {
            text: self.text,
            query: self.query.bind(value),
        }
    }

    pub(super) async fn execute(
        self,
        on: &mut Connection<'_, DB>,
    ) -> Result<DB::QueryResult, sqlx::Error> {
        let step = on.place.asking(self.text, parent_of_steps());
        step.around(self.query.execute(&mut *on.inner), failed)
            .await
    }

    pub(super) async fn fetch_all(
        self,
        on: &mut Connection<'_, DB>,
    ) -> Result<Vec<DB::Row>, sqlx::Error> {
        let step = on.place.asking(self.text, parent_of_steps());
        step.around(self.query.fetch_all(&mut *on.inner), failed)
            .await
    }

    pub(super) async fn fetch_one(
        self,
        on: &mut Connection<'_, DB>,
    ) -> Result<DB::Row, sqlx::Error> {
        let step = on.place.asking(self.text, parent_of_steps());
        step.around(self.query.fetch_one(&mut *on.inner), failed)
            .await
    }

    pub(super) async fn fetch_optional(
        self,
        on: &mut Connection<'_, DB>,
    ) -> Result<Option<DB::Row>, sqlx::Error> {
        let step = on.place.asking(self.text, parent_of_steps());
        step.around(self.query.fetch_optional(&mut *on.inner), failed)
            .await
    }
}
