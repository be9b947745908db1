//! Span files: OTLP JSON lines, one file a process.
//!
//! Each line is a `TracesData` object with one batch, so any reader of OTLP JSON takes the file:
//! <https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/>.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use opentelemetry::{KeyValue, Value};
use opentelemetry_proto::{
    tonic::trace::v1::TracesData,
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{Resource, trace::SpanData};

use super::trouble::Trouble;
use crate::Instance;

/// Appends batches to `<service>-<instance>.jsonl`; a failure costs spans, never a request.
#[derive(Debug)]
pub(super) struct SpanFile {
    path: PathBuf,
    resource: ResourceAttributesWithSchema,
    open: Option<File>,
    /// The last write stopped midway, so the next one starts a line of its own.
    torn: bool,
    line: Vec<u8>,
    trouble: Trouble,
}

impl SpanFile {
    pub(super) fn new(dir: &Path, instance: &Instance, resource: &Resource) -> Self {
        let name = format!("{}-{}.jsonl", instance.service().name(), instance.id());
        Self {
            path: dir.join(name),
            resource: resource.into(),
            open: None,
            torn: false,
            line: Vec::new(),
            trouble: Trouble::default(),
        }
    }

    pub(super) fn write(&mut self, mut batch: Vec<SpanData>) {
        batch.iter_mut().for_each(make_encodable);
        let data = TracesData {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        self.line.clear();
        if self.torn {
            self.line.push(b'\n');
        }
        let written = serde_json::to_writer(&mut self.line, &data)
            .map_err(io::Error::from)
            .and_then(|()| self.append());
        let what = format!("writing spans to {}", self.path.display());
        self.trouble.note(&what, written);
    }

    /// Writes the line at once, so that other processes read whole lines.
    fn append(&mut self) -> io::Result<()> {
        self.line.push(b'\n');
        let mut file = match self.open.take() {
            // Somebody may have cleaned up; what went on into a deleted file would be lost.
            Some(file) if self.path.exists() => file,
            _ => self.create()?,
        };
        self.torn = true;
        file.write_all(&self.line)?;
        self.torn = false;
        self.open = Some(file);
        Ok(())
    }

    fn create(&self) -> io::Result<File> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
    }
}

/// JSON has no NaN and no infinity; as `null` they would cost the reader the whole line.
fn make_encodable(span: &mut SpanData) {
    let in_events = span
        .events
        .events
        .iter_mut()
        .flat_map(|event| &mut event.attributes);
    for KeyValue { value, .. } in span.attributes.iter_mut().chain(in_events) {
        if let Value::F64(number) = value
            && !number.is_finite()
        {
            *value = Value::String(number.to_string().into());
        }
    }
}
