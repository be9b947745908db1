//! Shows a trace in a terminal: what was done, in which order, for how long, and what is missing.
//!
//! Pure, so that the command `nats-serve trace` only chooses the options and prints. Span names and
//! messages come out of files, so control characters never reach the terminal.

mod details;
mod duration;
mod layout;
mod line;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeSet;

use crate::{
    telemetry::names,
    traces::{Gaps, Row, Span, Trace},
};

use self::{
    details::{failure, notes},
    layout::Layout,
    line::{Page, Style},
    text::wrap,
};
pub(super) use self::{
    duration::show_nanos,
    text::{clean, count, fit},
};

/// Chooses how a trace is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options {
    /// Limits every line, in characters.
    pub(super) width: usize,
    /// Allows ANSI colours.
    pub(super) color: bool,
    /// Keeps to ASCII, for terminals and logs without Unicode.
    pub(super) ascii: bool,
}

/// Renders a trace as lines of text, each with its newline.
#[must_use]
pub(super) fn render(trace: &Trace, options: &Options) -> String {
    let mut page = Page::new(*options);
    head(trace, &mut page);
    let layout = Layout::of(trace, options);
    page.line([(Style::Dim, layout.head())]);
    for row in trace.rows() {
        span_line(&row, &layout, &mut page);
        let below = |style: Style, text: &str, page: &mut Page| {
            let indent = layout.text_start(row.depth);
            let room = options.width.saturating_sub(indent);
            for line in wrap(&clean(text, options.ascii), room) {
                let line = fit(&line, room, options.ascii);
                page.line([(Style::Plain, " ".repeat(indent)), (style, line)]);
            }
        };
        if let Some(failure) = failure(row.span) {
            below(Style::Error, &failure, &mut page);
        }
        for note in notes(row.span, trace.start()) {
            below(Style::Dim, &note, &mut page);
        }
    }
    foot(trace, &mut page);
    page.into_text()
}

/// Writes id, request, duration and size: on one line, or on two where one is too narrow.
fn head(trace: &Trace, page: &mut Page) {
    let Options { width, ascii, .. } = page.options();
    let id = format!("trace {}", trace.id());
    let spans = count(trace.rows().len(), "span", "spans");
    let services = count(trace.services().len(), "service", "services");
    let in_all = if trace.gaps().roots > 1 {
        " in all"
    } else {
        ""
    };
    let took = show_nanos(trace.duration());
    let facts = format!("  {took}{in_all}  {spans}, {services}");
    let (request, outcome) = title(trace);
    let (request, rest) = (clean(&request, ascii), clean(&outcome, ascii) + &facts);
    let [id_length, length, rest_length] = [&id, &request, &rest].map(|text| text.chars().count());
    if id_length + 2 + length + rest_length <= width {
        page.line([
            (Style::Bold, id),
            (Style::Plain, format!("  {request}{rest}")),
        ]);
    } else {
        page.line([(Style::Bold, id)]);
        let request = fit(&request, width.saturating_sub(rest_length), ascii);
        page.line([(Style::Plain, request + &rest)]);
    }
}

/// Names the request, which may be cut, and what came of it, which may not: `POST /register`, ` -> 201`.
fn title(trace: &Trace) -> (String, String) {
    let top = || trace.rows().next().map(|row| row.span);
    let Some(last) = trace.roots().last().or_else(top) else {
        return Default::default();
    };
    let (request, outcome) = request(last);
    match trace.gaps().roots {
        0 | 1 => (request, outcome),
        // A caller may send many under one trace id; the last one is the nearest to the prompt.
        many => (format!("{many} requests, the last {request}"), outcome),
    }
}

/// Names the request that a root answered, and its status.
fn request(root: &Span) -> (String, String) {
    let path = root.text(names::URL_PATH).or(root.text(names::HTTP_ROUTE));
    let (Some(method), Some(path)) = (root.text(names::HTTP_REQUEST_METHOD), path) else {
        return (root.name.clone(), String::new());
    };
    let status = root.attributes.get(names::HTTP_RESPONSE_STATUS_CODE);
    let outcome = status.map_or_else(String::new, |status| format!(" -> {status}"));
    (format!("{method} {path}"), outcome)
}

fn span_line(row: &Row<'_>, layout: &Layout, page: &mut Page) {
    let (name, failed) = (layout.label(row), row.span.is_error());
    let [before, bar, after] = layout.bar(row);
    let name_style = if failed { Style::Error } else { Style::Plain };
    let bar_style = match (failed, row.is_critical) {
        (true, _) => Style::Error,
        (false, true) => Style::Plain,
        (false, false) => Style::Dim,
    };
    page.line([
        (Style::Plain, layout.number(row.number)),
        (name_style, name),
        (Style::Plain, layout.columns(row)),
        (Style::Dim, before),
        (bar_style, bar),
        (Style::Dim, after),
    ]);
}

fn foot(trace: &Trace, page: &mut Page) {
    let options = page.options();
    let sentences = [
        beside(trace, options),
        behind(trace),
        replicas(trace, options),
        missing(trace),
        unread(trace),
    ];
    for sentence in sentences.into_iter().flatten() {
        for line in wrap(&sentence, page.options().width) {
            page.line([(Style::Plain, line)]);
        }
    }
}

/// Says which bars nobody waited for, if there are such.
fn beside(trace: &Trace, options: Options) -> Option<String> {
    let (full, light, _) = layout::cells(options.ascii);
    let some = trace.rows().any(|row| !row.is_critical);
    some.then(|| format!("{full} the answer waited for, {light} beside that"))
}

/// Says what an arrow is, if there is one.
fn behind(trace: &Trace) -> Option<String> {
    let later = trace.end().saturating_sub(trace.answered()?);
    if later == 0 {
        return None;
    }
    Some(format!(
        "> goes on behind the answer, for {} at most",
        show_nanos(later)
    ))
}

/// Names who did the work, where no column does.
fn replicas(trace: &Trace, options: Options) -> Option<String> {
    if layout::names_processes(options) {
        return None;
    }
    let all: BTreeSet<String> = trace
        .rows()
        .map(|row| layout::process(row.span, options.ascii))
        .collect();
    let all: Vec<String> = all.into_iter().collect();
    Some(format!("replicas: {}", all.join(" ")))
}

fn missing(trace: &Trace) -> Option<String> {
    if trace.is_complete() {
        return None;
    }
    let Gaps {
        roots,
        missing_parents,
        one_sided_calls,
    } = trace.gaps();
    let mut parts = Vec::new();
    if roots == 0 {
        parts.push("the root span is missing".to_owned());
    }
    match missing_parents {
        0 => {}
        1 => parts.push("1 span's parent is missing".to_owned()),
        more => parts.push(format!("the parents of {more} spans are missing")),
    }
    match one_sided_calls {
        0 => {}
        1 => parts.push("1 call's other side is missing".to_owned()),
        more => parts.push(format!("the other sides of {more} calls are missing")),
    }
    Some(format!(
        "incomplete: {}; a process may not have written its spans yet",
        parts.join(", ")
    ))
}

fn unread(trace: &Trace) -> Option<String> {
    let damaged = count(trace.skipped_lines, "damaged line", "damaged lines");
    let torn = count(trace.torn_lines, "half-written line", "half-written lines");
    match (trace.skipped_lines, trace.torn_lines) {
        (0, 0) => None,
        (_, 0) => Some(format!("skipped: {damaged}")),
        (0, _) => Some(format!("skipped: {torn}")),
        _ => Some(format!("skipped: {damaged}, {torn}")),
    }
}
