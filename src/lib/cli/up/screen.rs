//! What `up` prints: the banner once, then a line a request, and what needs attention; on a terminal a status
//! line below them.
//!
//! Nothing here waits for whoever reads it; the children's requests would wait as well.

use std::{fs::File, io, net::SocketAddr, os::fd::AsFd, sync::Arc, time::Duration};

use super::{
    Args, child::Report, lines::Line, nats::Nats, places::Places, redraw::Redraw,
    replicas::Replicas, status_line::StatusLine,
};
use crate::{
    app::config::Terminal, cli::keys, client::without_credentials, telemetry::lines::Lines,
};

/// Standard output, for people.
#[derive(Debug)]
pub(super) struct Screen {
    lines: Lines,
    status: Option<Arc<StatusLine>>,
    /// Show each line of the log, not only what needs attention.
    all: bool,
    gateway: Option<SocketAddr>,
}

impl Screen {
    pub(super) fn new(all: bool, terminal: &Terminal, replicas: Arc<Replicas>) -> io::Result<Self> {
        let status = terminal
            .can_redraw()
            .then(|| Arc::new(StatusLine::new(terminal.clone(), replicas)));
        let lines = match status.clone() {
            Some(status) => {
                // Without the buffer of `stdout`, which writes a line at a time.
                let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                let redraw = Redraw::new(output, move || status.text());
                Lines::start_with(|commands| redraw.run(commands, note))?
            }
            None => Lines::start(io::stdout(), note)?,
        };
        Ok(Self {
            lines,
            status,
            all,
            gateway: None,
        })
    }

    /// Prints a line of our own.
    pub(super) fn say(&self, text: &str) {
        self.print(format!("{text}\n"));
    }

    /// Takes the status line away; from here there are lines only.
    pub(super) fn end_status(&self) {
        if let Some(status) = &self.status {
            status.end();
        }
    }

    /// Prints how to use the system. Fits on one screen.
    pub(super) fn banner(
        &mut self,
        args: &Args,
        gateway: Option<SocketAddr>,
        nats: &Nats,
        places: &Places,
    ) {
        self.gateway = gateway;
        let base = gateway.map(|gateway| format!("http://{gateway}"));
        let base = base.unwrap_or_default();
        let program = args.system.program();
        let keys = nats.nkeys.as_deref().filter(|keys| keys.is_dir());
        let tool = keys.map(|keys| format!("\n            {}", keys::nats_tool(&nats.url, keys)));
        let pad = program.len() + 15;
        self.print(format!(
            r#"
nats-serve is up at {base}

  curl {base}/
  curl {base}/user/1
  curl -X POST {base}/register -H 'Content-Type: application/json' -d '{{"name":"David","email":"david@example.com"}}'
  curl {base}/health

  {last:<pad$}  the journey of the last request
  {status:<pad$}  which replicas run
  {another:<pad$}  another replica, in a second terminal here

  spans     {spans}
  mails     {mails}
  database  {database}
  nats      {nats_url}{tool}

Ctrl-C stops everything. From here one line a request.
"#,
            last = format!("{program} trace last"),
            status = format!("{program} status"),
            another = format!("{program} user-service"),
            spans = places.spans.display(),
            mails = places.mail,
            database = places.database,
            nats_url = without_credentials(&nats.url),
            tool = tool.unwrap_or_default(),
        ));
    }

    /// Prints a report, if it is worth a line.
    pub(super) fn show(&mut self, report: &Report) {
        let text = match report {
            Report::Line(name, line) => self.line(name, line),
            Report::Died {
                name,
                how,
                last_words,
                again_in,
            } => {
                let said = match last_words.as_str() {
                    "" => String::new(),
                    words => format!("; its last words: {words}"),
                };
                Some(format!(
                    "{name} died ({how}){said}; starting it again in {again_in:?}"
                ))
            }
            Report::Killed(name) => Some(format!(
                "{name} was killed: it did not leave, and what it had not done or written is lost"
            )),
            Report::NeverReady { name, last_words } => {
                Some(format!("{name} can't start: {last_words}"))
            }
            Report::Ready(_, ready) => self.moved(ready.http),
        };
        self.count(report);
        if let Some(text) = text {
            self.say(&printable(&text));
        }
    }

    /// Counts a request for the status line.
    fn count(&self, report: &Report) {
        let Report::Line(_, line) = report else {
            return;
        };
        if let (
            Some(counting),
            Line::Request {
                status,
                milliseconds,
                ..
            },
        ) = (&self.status, line)
        {
            let took = Duration::try_from_secs_f64(milliseconds / 1_000.0);
            counting.record(*status, took.unwrap_or_default());
        }
    }

    fn line(&self, name: &str, line: &Line) -> Option<String> {
        match line {
            Line::Request {
                method,
                path,
                status,
                milliseconds,
                trace_id,
            } => {
                let trace_id = trace_id.as_deref().unwrap_or("-");
                Some(format!(
                    "{method:<4} {path}  {status}  {milliseconds:.1} ms  {trace_id}"
                ))
            }
            Line::Log { level, words, .. } if self.all || line.needs_attention() => {
                Some(format!("{name} {level}: {words}"))
            }
            Line::Log { .. } | Line::Raw(_) => None,
        }
    }

    /// A gateway that took any free port may have another after a restart.
    fn moved(&mut self, http: Option<SocketAddr>) -> Option<String> {
        let now = http?;
        let before = self.gateway.replace(now);
        before
            .is_some_and(|before| before != now)
            .then(|| format!("the gateway is at http://{now} now"))
    }

    fn print(&self, text: String) {
        self.lines.send(text.into_bytes());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end_status();
        self.lines.flush();
    }
}

fn note(dropped: u64) -> String {
    format!("({dropped} lines are missing here: nobody read them in time)")
}

/// Paths come from strangers, and a terminal obeys control characters.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_reaches_the_terminals_controls() {
        assert_eq!(
            "/x\\u{9b}31m\\u{1b}[2J ü",
            printable("/x\u{9b}31m\u{1b}[2J ü")
        );
    }
}
