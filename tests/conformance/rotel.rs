//! An OTLP receiver that prints what it understood, read back as spans.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    time::Instant,
};

use nats_serve::traces::{Attributes, Event, Kind, Span, Status, Trace, Value};

use crate::{
    python::{evaluate, python},
    support::{PATIENCE, Process, eventually},
};

#[derive(Debug)]
pub(crate) struct Rotel {
    process: Process,
    _folder: tempfile::TempDir,
    grpc: u16,
    http: u16,
}

impl Rotel {
    /// It takes no port 0, and between our choice and its start a port may be taken.
    pub(crate) async fn start() -> Self {
        eventually("a receiver on two free ports", async || {
            Self::try_start().await
        })
        .await
    }

    async fn try_start() -> Option<Self> {
        let agent = "import os, rotel; print(os.path.dirname(rotel.__file__) + '/rotel-agent')";
        let libraries = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))";
        let agent = PathBuf::from(evaluate(python(), agent));
        let libraries = evaluate(python(), libraries);
        let folder = tempfile::tempdir().unwrap();
        let [grpc, http] = free_ports();
        let (grpc_address, http_address) = (address(grpc), address(http));
        let arguments = [
            "--log-format",
            "json",
            "start",
            "--otlp-grpc-endpoint",
            &grpc_address,
            "--otlp-http-endpoint",
            &http_address,
            "--exporter",
            "blackhole",
            "--debug-log",
            "traces",
            "--debug-log-verbosity",
            "detailed",
            "--disable-batching",
        ];
        // It links the interpreter's library, which often lies where no loader looks.
        let variables = [("LD_LIBRARY_PATH", libraries.as_str())];
        let process = Process::start_program(&agent, folder.path(), &arguments, &variables);
        // It says that it starts once it has both ports; somebody else may answer on them before.
        let listening = eventually("a receiver that listens", async || {
            let said = process.output();
            if said.contains("unable to bind") {
                return Some(false);
            }
            let answers = |address: &String| TcpStream::connect(address).is_ok();
            let started = said.contains("Starting Rotel");
            (started && answers(&grpc_address) && answers(&http_address)).then_some(true)
        })
        .await;
        listening.then_some(Self {
            process,
            _folder: folder,
            grpc,
            http,
        })
    }

    pub(crate) fn grpc(&self) -> String {
        format!("http://{}", address(self.grpc))
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", address(self.http))
    }

    /// All that it has understood.
    pub(crate) fn printed(&self) -> String {
        self.process.output()
    }

    /// Waits until it has printed just these spans of a trace, each whole, and returns them as a trace.
    pub(crate) async fn has(&self, expected: &Trace) -> Trace {
        let id = expected.id();
        let expected = sorted(expected.rows().map(|row| row.span.clone()).collect());
        // It prints in pieces, so half a span may be there; at last the difference is shown.
        let until = Instant::now() + PATIENCE / 2;
        let received = eventually("what was received", async || {
            let mut spans = spans(&self.process.output());
            spans.retain(|span| span.trace_id == id);
            let spans = sorted(spans);
            (spans == expected || Instant::now() > until).then_some(spans)
        })
        .await;
        pretty_assertions::assert_eq!(expected, received);
        Trace::new(id, received, 0, 0)
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn free_ports() -> [u16; 2] {
    // Both are held at once, so they differ.
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

fn sorted(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| span.span_id);
    spans
}

/// Which of its lists a line `     -> key: value` belongs to.
#[derive(Clone, Copy, PartialEq)]
enum List {
    Resource,
    Span,
    Event,
    EventsOwn,
    Other,
}

/// Reads its output. Ids and times come through the same types that our own reader uses, the text
/// through none of its code.
fn spans(output: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut resource = Attributes::new();
    let mut list = List::Other;
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if let Some(item) = trimmed.strip_prefix("-> ") {
            note(item, list, &mut resource, spans.last_mut());
            if item == "Attributes::" && list == List::EventsOwn {
                list = List::Event;
            }
            continue;
        }
        list = match trimmed.split('#').next().unwrap() {
            "ResourceSpans " => {
                resource.clear();
                List::Other
            }
            "Resource attributes:" => List::Resource,
            "Attributes:" => List::Span,
            "SpanEvent " => {
                let event = Event {
                    time: 0,
                    name: String::new(),
                    attributes: Attributes::new(),
                };
                spans.last_mut().unwrap().events.push(event);
                List::EventsOwn
            }
            "Span " => {
                let head = std::iter::from_fn(|| lines.next_if(|line| is_head(line)));
                let Some(span) = span(&head.collect::<Vec<_>>(), &resource) else {
                    // The rest isn't printed yet.
                    return spans;
                };
                spans.push(span);
                List::Other
            }
            _ => List::Other,
        };
    }
    spans
}

fn is_head(line: &str) -> bool {
    line.starts_with("    ") || line.starts_with("Start time: ") || line.starts_with("End time: ")
}

fn span(head: &[&str], resource: &Attributes) -> Option<Span> {
    let field = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then_some(value.trim())
        })
    };
    let text = |name: &str| resource.get(name).map(ToString::to_string);
    let parent = field("Parent ID")?;
    let message = field("Status message").unwrap_or_default().to_owned();
    Some(Span {
        trace_id: field("Trace ID")?.parse().unwrap(),
        span_id: field("ID")?.parse().unwrap(),
        parent_span_id: (!parent.is_empty()).then(|| parent.parse().unwrap()),
        name: field("Name")?.to_owned(),
        kind: match field("Kind")? {
            "SPAN_KIND_INTERNAL" => Kind::Internal,
            "SPAN_KIND_SERVER" => Kind::Server,
            "SPAN_KIND_CLIENT" => Kind::Client,
            _ => Kind::Unspecified,
        },
        start: field("Start time")?.parse().unwrap(),
        end: field("End time")?.parse().unwrap(),
        attributes: Attributes::new(),
        events: Vec::new(),
        status: match field("Status code").unwrap_or("STATUS_CODE_UNSET") {
            "STATUS_CODE_ERROR" => Status::Error(message),
            "STATUS_CODE_OK" => Status::Ok,
            _ => Status::Unset,
        },
        service: text("service.name").unwrap_or_default(),
        instance: text("service.instance.id"),
    })
}

fn note(item: &str, list: List, resource: &mut Attributes, span: Option<&mut Span>) {
    let Some((key, value)) = item.split_once(": ") else {
        return;
    };
    let (key, value) = (key.to_owned(), value.to_owned());
    match (list, span) {
        (List::Resource, _) => drop(resource.insert(key, typed(&value))),
        (List::Span, Some(span)) => drop(span.attributes.insert(key, typed(&value))),
        (List::Event | List::EventsOwn, Some(span)) => {
            let event = span.events.last_mut().unwrap();
            match key.as_str() {
                _ if list == List::Event => drop(event.attributes.insert(key, typed(&value))),
                "Name" => event.name = value,
                "Timestamp" => event.time = value.parse().unwrap(),
                _ => {}
            }
        }
        _ => {}
    }
}

fn typed(text: &str) -> Value {
    let (kind, rest) = text.split_once('(').unwrap_or(("", text));
    let inner = rest.strip_suffix(')').unwrap_or(rest);
    match kind {
        "Int" => Value::Int(inner.parse().unwrap()),
        "Double" => Value::Double(inner.parse().unwrap()),
        "Bool" => Value::Bool(inner.parse().unwrap()),
        _ => Value::String(inner.to_owned()),
    }
}
