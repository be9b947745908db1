//! The columns of a trace: number, name, process, duration, and a bar on one time axis for all.

use crate::traces::{Row, Span, Trace};

use super::{
    Options,
    duration::show_nanos,
    text::{clean, fit},
};

/// From here on there is room to say which process wrote a span.
const WIDE: usize = 120;
/// Fewer cells tell nothing about time.
const SHORTEST_BAR: usize = 10;
/// The column of the time that a span did not spend in those below it.
const SELF: &str = "self";
const MISSING_PARENT: &str = " (parent missing)";

/// Holds the widths of all columns and what the time axis spans.
#[derive(Debug)]
pub(super) struct Layout {
    ascii: bool,
    number: usize,
    indent: usize,
    name: usize,
    process: usize,
    duration: usize,
    self_time: usize,
    bar: usize,
    start: u64,
    extent: u64,
}

impl Layout {
    /// Chooses the widths: names are shown whole where a useful bar is left, with less indent first.
    pub(super) fn of(trace: &Trace, options: &Options) -> Self {
        let widest =
            |measure: &dyn Fn(Row<'_>) -> usize| trace.rows().map(measure).max().unwrap_or(0);
        let ascii = options.ascii;
        let mut layout = Self {
            ascii,
            number: trace.rows().len().to_string().len().max(2),
            indent: 2,
            name: 0,
            process: 0,
            duration: widest(&|row| show_nanos(row.span.duration()).chars().count()),
            self_time: widest(&|row| show_nanos(row.self_time).chars().count()).max(SELF.len()),
            bar: 0,
            start: trace.start(),
            extent: end(trace).saturating_sub(trace.start()).max(1),
        };
        if names_processes(*options) {
            // A third at most, so that a long name of a process can't take the others' room.
            layout.process =
                widest(&|row| process(row.span, ascii).chars().count()).min(options.width / 3);
        }
        // Point and blank of the number, blanks before duration and self time, blank and ends of the bar.
        let process = if layout.process > 0 {
            layout.process + 1
        } else {
            0
        };
        let times = 1 + layout.duration + 1 + layout.self_time;
        let fixed = layout.number + 2 + process + times + 3;
        let room = options.width.saturating_sub(fixed);
        let longest = |indent: usize| {
            widest(&|row| {
                row.depth.saturating_mul(indent)
                    + label(&row, ascii).chars().count()
                    + suffix(&row).len()
            })
        };
        if longest(2) > room.saturating_sub(options.width / 5) {
            layout.indent = 1;
        }
        let longest = longest(layout.indent);
        if room < 2 * SHORTEST_BAR {
            layout.name = longest.min(room + 3);
        } else {
            layout.name = longest.min(room - SHORTEST_BAR);
            layout.bar = room - layout.name;
        }
        layout
    }

    /// Returns the column where a span's text begins; deep spans keep half the name's column.
    pub(super) fn text_start(&self, depth: usize) -> usize {
        self.number + 2 + self.indented(depth)
    }

    fn indented(&self, depth: usize) -> usize {
        depth.saturating_mul(self.indent).min(self.name / 2)
    }

    pub(super) fn number(&self, number: usize) -> String {
        format!("{number:>width$}. ", width = self.number)
    }

    /// Returns the span's name at its depth; only the name is cut, not what is said about it.
    pub(super) fn label(&self, row: &Row<'_>) -> String {
        let indent = self.indented(row.depth);
        let suffix = suffix(row);
        let room = self.name.saturating_sub(indent + suffix.len());
        let label = fitting_label(row, room, self.ascii);
        let text = format!("{}{label}{suffix}", " ".repeat(indent));
        pad(&text, self.name)
    }

    /// Returns process and duration, each with the blank before it.
    pub(super) fn columns(&self, row: &Row<'_>) -> String {
        let mut text = String::new();
        if self.process > 0 {
            let process = fit(&process(row.span, self.ascii), self.process, self.ascii);
            text.push(' ');
            text.push_str(&pad(&process, self.process));
        }
        let (duration, own) = (show_nanos(row.span.duration()), show_nanos(row.self_time));
        let (width, own_width) = (self.duration, self.self_time);
        format!("{text} {duration:>width$} {own:>own_width$}")
    }

    /// Returns the names of the columns, each above its own.
    pub(super) fn head(&self) -> String {
        let before = self.number + 2 + self.name;
        let process = match self.process {
            0 => String::new(),
            width => format!(" {:<width$}", "replica"),
        };
        let (width, own_width) = (self.duration, self.self_time);
        format!(
            "{:before$}{process} {:>width$} {SELF:>own_width$}",
            "", "all"
        )
    }

    /// Returns the bar with what is before and after it; a span is at least one cell long. The border of one that goes on
    /// behind the axis is an arrow.
    pub(super) fn bar(&self, row: &Row<'_>) -> [String; 3] {
        if self.bar == 0 {
            return [String::new(), String::new(), String::new()];
        }
        let (full, light, empty) = cells(self.ascii);
        let full = if row.is_critical { full } else { light };
        let span = row.span;
        let start = self.cell(span.start, false).min(self.bar - 1);
        let ends = self.cell(span.end, true);
        let end = ends.clamp(start + 1, self.bar);
        let border = if ends > self.bar { '>' } else { '|' };
        [
            format!(" |{}", empty.repeat(start)),
            full.repeat(end - start),
            format!("{}{border}", empty.repeat(self.bar - end)),
        ]
    }

    /// Returns how many cells lie before a time.
    fn cell(&self, time: u64, round_up: bool) -> usize {
        let scaled = u128::from(time.saturating_sub(self.start)) * self.bar as u128;
        let extent = u128::from(self.extent);
        let cells = if round_up {
            scaled.div_ceil(extent)
        } else {
            scaled / extent
        };
        usize::try_from(cells).unwrap_or(usize::MAX)
    }
}

/// Where the axis ends: at the last answer. What goes on behind it may take a thousand times as long.
fn end(trace: &Trace) -> u64 {
    let answered = trace.answered();
    answered
        .filter(|end| *end > trace.start())
        .unwrap_or_else(|| trace.end())
}

/// Cuts the span's name before the service's: the name is one of three, the service is what one looks for.
fn fitting_label(row: &Row<'_>, room: usize, ascii: bool) -> String {
    const SHORTEST_NAME: usize = 6;
    let whole = label(row, ascii);
    let (Some((name, service)), true) = (whole.split_once(" ("), whole.chars().count() > room)
    else {
        return fit(&whole, room, ascii);
    };
    let left = room.saturating_sub(service.chars().count() + 2);
    let name = fit(name, left.max(SHORTEST_NAME), ascii);
    fit(&format!("{name} ({service}"), room, ascii)
}

fn label(row: &Row<'_>, ascii: bool) -> String {
    let mark = match (row.span.is_error(), ascii) {
        (false, _) => "",
        (true, false) => "✗ ",
        (true, true) => "! ",
    };
    let name = clean(&row.span.name, ascii);
    match row.span.text("deployment") {
        Some(deployment) => format!("{mark}{name} ({})", clean(deployment, ascii)),
        None => format!("{mark}{name}"),
    }
}

const fn suffix(row: &Row<'_>) -> &'static str {
    if row.missing_parent {
        MISSING_PARENT
    } else {
        ""
    }
}

/// How a bar looks on the critical path, beside it, and where there is none.
pub(super) const fn cells(ascii: bool) -> (&'static str, &'static str, &'static str) {
    if ascii {
        ("#", "=", "-")
    } else {
        ("█", "▒", " ")
    }
}

/// Tells whether there is room to name the process of each span.
pub(super) const fn names_processes(options: Options) -> bool {
    options.width >= WIDE
}

/// Names the process that wrote a span: `user-service/k3x9q0v7ab`.
pub(super) fn process(span: &Span, ascii: bool) -> String {
    match &span.instance {
        Some(instance) => clean(&format!("{}/{instance}", span.service), ascii),
        None => clean(&span.service, ascii),
    }
}

fn pad(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}
