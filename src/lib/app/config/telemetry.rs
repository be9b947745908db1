//! What is recorded, and where it goes.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::{state, switch};
use crate::telemetry::{self, MIN_SPANS_MAX_BYTES, SPANS_MAX_BYTES, names::ACCESS_LOG};

/// Where span files lie; whoever writes and whoever reads them share this.
#[derive(Debug, Clone, Args)]
pub(crate) struct SpansDir {
    /// Folder of the span files [default: that of the last `up` in this folder, else .nats-serve/spans]
    #[arg(long, env = "SPANS_DIR", value_name = "DIR")]
    spans_dir: Option<PathBuf>,
}

impl SpansDir {
    /// Returns the folder, for who joins a running system or looks at what it wrote.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        state::place(self.spans_dir.as_ref(), |run| run.spans_dir, state::SPANS)
    }

    /// Returns the folder of a system that is about to start.
    pub(crate) fn path_of_new_system(&self) -> PathBuf {
        self.spans_dir
            .clone()
            .unwrap_or_else(|| state::SPANS.into())
    }
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traces and logs")]
pub(crate) struct Telemetry {
    #[command(flatten)]
    pub(crate) spans: SpansDir,
    /// What the span files of all processes together may have, in bytes; the oldest are removed.
    #[arg(
        long,
        env = "SPANS_MAX_BYTES",
        value_name = "BYTES",
        default_value_t = SPANS_MAX_BYTES,
        value_parser = bytes
    )]
    spans_max_bytes: u64,
    /// Whether traces are recorded. Set, it wins over OTEL_SDK_DISABLED [default: true].
    #[arg(long, env = "TRACING_ENABLED", value_name = "BOOL", value_parser = switch)]
    tracing_enabled: Option<bool>,
    /// Share of new traces that is recorded, 0 to 1. Set, it wins over OTEL_TRACES_SAMPLER [default: 1].
    #[arg(long, env = "TRACING_SAMPLING_RATIO", value_name = "RATIO", value_parser = ratio)]
    tracing_sampling_ratio: Option<f64>,
    /// How much of a request its trace tells: the hops, or also each SQL statement, without its values, the steps of a
    /// mail, and what is noted after the answer.
    #[arg(
        long,
        env = "TRACING_DETAIL",
        value_name = "DETAIL",
        default_value = "hops"
    )]
    tracing_detail: Detail,
    /// Which log lines are written [default: info, without the chatter of dependencies].
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", value_parser = filter)]
    rust_log: Option<String>,
    #[arg(long, env = "OTEL_SDK_DISABLED", hide = true, value_parser = switch)]
    otel_sdk_disabled: Option<bool>,
    #[arg(long, env = "OTEL_TRACES_EXPORTER", hide = true)]
    otel_traces_exporter: Option<String>,
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide = true,
        hide_env_values = true
    )]
    otlp_endpoint: Option<String>,
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        hide = true,
        hide_env_values = true
    )]
    otlp_traces_endpoint: Option<String>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", hide = true)]
    otlp_protocol: Option<String>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", hide = true)]
    otlp_traces_protocol: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Detail {
    Hops,
    Full,
}

impl Telemetry {
    /// Returns what to record; `supervised` keeps the line of each request in the log, for `up` to show.
    pub(crate) fn config(&self, supervised: bool) -> anyhow::Result<telemetry::Config> {
        let disabled = self.otel_sdk_disabled.unwrap_or(false);
        let shown = |filter: &String| format!("{filter},{ACCESS_LOG}=info");
        let filter = self.rust_log.as_ref().filter(|_| supervised).map(shown);
        let enabled = self.tracing_enabled.unwrap_or(!disabled);
        let spans_dir = self.spans.path()?;
        if enabled {
            // Where it can't be made, the spans are missed, and that is said when they are written.
            let _ = state::make_for(&spans_dir);
        }
        Ok(telemetry::Config {
            enabled,
            sampling_ratio: self.tracing_sampling_ratio,
            spans_dir: Some(spans_dir),
            spans_max_bytes: self.spans_max_bytes,
            otlp: self.otlp()?,
            log_filter: filter.or(self.rust_log.clone()),
            detail: match self.tracing_detail {
                Detail::Hops => telemetry::Detail::Hops,
                Detail::Full => telemetry::Detail::Full,
            },
        })
    }

    /// Tells whether somebody chose which log lines to see.
    pub(crate) fn filter_is_set(&self) -> bool {
        self.rust_log.is_some()
    }

    /// An endpoint turns OTLP on; the exporter reads it, and its kin, by itself.
    fn otlp(&self) -> anyhow::Result<Option<telemetry::Protocol>> {
        let endpoint = self
            .otlp_traces_endpoint
            .as_ref()
            .or(self.otlp_endpoint.as_ref());
        if endpoint.is_none() || self.otel_traces_exporter.as_deref() == Some("none") {
            return Ok(None);
        }
        let protocol = self
            .otlp_traces_protocol
            .as_ref()
            .or(self.otlp_protocol.as_ref());
        match protocol.map(String::as_str) {
            Some("grpc") => Ok(Some(telemetry::Protocol::Grpc)),
            Some("http/protobuf") | None => Ok(Some(telemetry::Protocol::HttpProtobuf)),
            Some(other) => bail!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is `{other}`; `grpc` and `http/protobuf` are supported"
            ),
        }
    }
}

/// Sees that a filter can be read before anything starts with it.
fn filter(text: &str) -> Result<String, String> {
    let read = tracing_subscriber::EnvFilter::builder().parse(text);
    read.map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

fn bytes(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(bytes) if bytes >= MIN_SPANS_MAX_BYTES => Ok(bytes),
        _ => Err(format!(
            "write a number of bytes, {MIN_SPANS_MAX_BYTES} (16 MiB) at least"
        )),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("write a number from 0 to 1".to_owned()),
    }
}
