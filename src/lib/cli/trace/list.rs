//! Many requests, a line each: `list`, `slow`, `errors`, and `--follow`.

use std::{
    collections::VecDeque,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;

use super::render::{clean, count, fit, show_nanos};
use crate::{
    cli::out,
    traces::{Filter, Request, Requests, Selector, Tail, requests, services},
};

/// How often files are looked at for what is new.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A trace is on disk within this time of its answer.
const ALL_HAVE_WRITTEN: Duration = Duration::from_secs(1);
/// Characters of an id that tell traces apart.
const SHORT_ID: usize = 8;

/// Which requests, and how they are printed.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) filter: Filter,
    /// The slowest first, and not the oldest.
    pub(super) by_duration: bool,
    pub(super) limit: usize,
    pub(super) json: bool,
    pub(super) width: usize,
    pub(super) ascii: bool,
}

/// Prints those that are there.
pub(super) fn print(dir: &Path, wanted: &Wanted) -> anyhow::Result<()> {
    let Requests {
        requests: mut found,
        skipped_lines,
    } = requests(dir, &wanted.filter)?;
    if wanted.by_duration {
        found.sort_by_key(|request| std::cmp::Reverse(request.duration));
        found.truncate(wanted.limit);
    } else {
        // The last ones, nearest to the prompt.
        found.drain(..found.len().saturating_sub(wanted.limit));
    }
    let mut text = String::new();
    if found.is_empty() && !wanted.json {
        text = nothing(dir, &wanted.filter)?;
    } else if !wanted.json {
        text.push_str(&line(
            ["TIME (UTC)", "TRACE", "TOOK", "STATUS", "REQUEST"].map(str::to_owned),
            wanted,
        ));
    }
    for request in &found {
        text.push_str(&shown(request, wanted)?);
    }
    out::print(&text)?;
    if skipped_lines > 0 {
        eprintln!(
            "skipped: {}",
            count(
                skipped_lines,
                "line that can't be read",
                "lines that can't be read"
            )
        );
    }
    Ok(())
}

/// Chooses the last of them: what was answered last, as without a filter, and no work of a process's own if there is any
/// request.
pub(super) fn last(dir: &Path, filter: &Filter) -> anyhow::Result<Selector> {
    let found = requests(dir, filter)?.requests;
    let rank = |one: &Request| {
        (
            !one.method.is_empty(),
            one.start.saturating_add(one.duration),
        )
    };
    match found.into_iter().max_by_key(rank) {
        Some(request) => Ok(request.trace_id.into()),
        None => bail!("{}", nothing(dir, filter)?.trim_end()),
    }
}

/// Says that there is none; a name that nobody bears is the likeliest reason.
fn nothing(dir: &Path, filter: &Filter) -> anyhow::Result<String> {
    let known = services(dir)?;
    Ok(match &filter.service {
        Some(name) if !known.contains(name) => {
            let known: Vec<String> = known.into_iter().collect();
            format!(
                "no request fits: `{name}` has written no span, only {} have\n",
                known.join(", ")
            )
        }
        _ => "no request fits\n".to_owned(),
    })
}

/// Prints each one as it is written, until there were so many, the process is told to end, or nobody reads on.
pub(super) fn follow(dir: &Path, wanted: &Wanted) -> anyhow::Result<()> {
    let mut tail = Tail::of(dir, wanted.filter.service.as_deref())?;
    if !dir.is_dir() {
        eprintln!(
            "waiting for a first request: there is no `{}` yet",
            dir.display()
        );
    }
    let mut held = VecDeque::new();
    let mut left = wanted.limit;
    while left > 0 {
        let now = Instant::now();
        held.extend(tail.next(&wanted.filter)?.into_iter().map(|one| (now, one)));
        while let Some((_, request)) = held.pop_front_if(|(since, _)| is_told(*since, wanted)) {
            let is_wanted = wanted.filter.service.is_none() || tail.took_part(request.trace_id);
            if !is_wanted {
                continue;
            }
            left -= 1;
            if !out::print_while_read(&shown(&request, wanted)?)? || left == 0 {
                return Ok(());
            }
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Who took part is known when all have written.
fn is_told(since: Instant, wanted: &Wanted) -> bool {
    wanted.filter.service.is_none() || since.elapsed() >= ALL_HAVE_WRITTEN
}

fn shown(request: &Request, wanted: &Wanted) -> anyhow::Result<String> {
    if wanted.json {
        return Ok(serde_json::to_string(request)? + "\n");
    }
    let status = request
        .status
        .map_or("-".to_owned(), |status| status.to_string());
    let (ascii, path) = (wanted.ascii, format!("{} {}", request.method, request.path));
    let mut id = request.trace_id.to_string();
    id.truncate(SHORT_ID);
    let cells = [
        moment(request.start),
        id,
        show_nanos(request.duration),
        status,
        clean(&path, ascii),
    ];
    Ok(line(cells, wanted))
}

fn line([time, id, took, status, request]: [String; 5], wanted: &Wanted) -> String {
    let line = format!("{time:<18}  {id:<SHORT_ID$}  {took:>9}  {status:>6}  {request}");
    fit(&line, wanted.width, wanted.ascii) + "\n"
}

/// `11-25 16:31:07.123`.
fn moment(nanos: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_nanos(nanos);
    let text = humantime::format_rfc3339_millis(at).to_string();
    let (_, date_and_time) = text.split_once('-').unwrap_or_default();
    date_and_time.trim_end_matches('Z').replace('T', " ")
}

/// The moment so long ago, in nanoseconds since 1970.
pub(super) fn ago(duration: Duration) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.saturating_sub(duration).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::fixtures::{GET_USER, REGISTER, get_user, register, write};

    #[test]
    fn the_last_of_some_is_the_request_that_was_answered_last() {
        let dir = tempfile::tempdir().unwrap();
        // It begins with the other one, and takes longer.
        write(dir.path(), REGISTER, &register());
        write(dir.path(), GET_USER, &get_user());
        let mut relay = get_user()[0].clone();
        relay.name = "outbox_relay";
        relay.times.1 = 900_000_000;
        relay.attributes.clear();
        write(dir.path(), "4bf9bbbb77b34da6a3ce929d0e0e4736", &[relay]);
        let all = Filter::default();
        let last = last(dir.path(), &all).unwrap();
        assert_eq!(REGISTER, last.to_string());
    }

    #[test]
    fn a_request_is_a_line_that_fits() {
        let request = Request {
            trace_id: "51ba02253eb7433403385d8be2408e69".parse().unwrap(),
            start: 1_693_310_400_456_000_000,
            duration: 207_800_000,
            method: "POST".to_owned(),
            path: format!("/register\u{1b}[2J{}", "x".repeat(100)),
            route: None,
            status: Some(201),
            error: false,
            service: "gateway".to_owned(),
            instance: None,
        };
        let wanted = Wanted {
            filter: Filter::default(),
            by_duration: false,
            limit: 1,
            json: false,
            width: 80,
            ascii: true,
        };
        let text = shown(&request, &wanted).unwrap();
        assert!(
            text.starts_with(
                "08-29 12:00:00.456  51ba0225   207.8 ms     201  POST /register?[2Jxxx"
            ),
            "{text}"
        );
        assert_eq!(81, text.len(), "{text}");
        let json = shown(
            &request,
            &Wanted {
                json: true,
                ..wanted
            },
        )
        .unwrap();
        assert!(
            json.starts_with(
                r#"{"trace_id":"51ba02253eb7433403385d8be2408e69","start_unix_nano":"#
            ),
            "{json}"
        );
    }
}
