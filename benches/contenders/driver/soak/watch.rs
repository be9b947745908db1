//! Looks at all processes every ten seconds, and restarts one each minute.

use std::{convert::Infallible, fs, time::Duration};

use anyhow::bail;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::trend::slope;
use crate::driver::{process::resident, stack::Stack, table::markdown};

const EVERY: Duration = Duration::from_secs(10);
/// Looks between two restarts, and before the first.
const MINUTE: usize = 6;
const HALF: usize = 3;

/// By hop.
const NAMES: [&str; 3] = ["gateway", "first service", "second service"];
/// Which replica of each service is restarted; the other lives on, or there would be no service meanwhile.
const RESTARTED: usize = 2;

#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    nats: u32,
    /// As the stack has its processes, and then NATS.
    pub(super) watched: Vec<Watched>,
    pub(super) restarts: usize,
    /// Restarts of which the old one did not leave by itself, and well.
    pub(super) unclean: usize,
}

/// A process, or all that were in one place.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) is_ours: bool,
    pub(super) is_restarted: bool,
    samples: Vec<Sample>,
}

/// What a process has at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: Duration,
    /// In megabytes.
    resident: f64,
    pub(super) descriptors: usize,
    pub(super) threads: usize,
}

impl Watch {
    pub(super) fn of(stack: &Stack, nats: u32) -> Self {
        let mut watched: Vec<Watched> = Vec::new();
        for member in stack.members() {
            let service = NAMES[member.hop];
            let before = watched.iter().filter(|it| it.name.starts_with(service));
            let replica = before.count() + 1;
            watched.push(Watched {
                name: match member.hop {
                    0 => service.to_owned(),
                    _ => format!("{service} {replica}"),
                },
                is_ours: true,
                is_restarted: replica == RESTARTED,
                samples: Vec::new(),
            });
        }
        watched.push(Watched {
            name: "nats-server".to_owned(),
            is_ours: false,
            is_restarted: false,
            samples: Vec::new(),
        });
        Self {
            began: Instant::now(),
            nats,
            watched,
            restarts: 0,
            unclean: 0,
        }
    }

    /// Goes on until something is wrong.
    pub(super) async fn tend(&mut self, stack: &mut Stack) -> anyhow::Result<Infallible> {
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let restarted = self.watched.iter().enumerate();
        let restarted = restarted.filter(|(_, it)| it.is_restarted);
        let restarted: Vec<usize> = restarted.map(|(at, _)| at).collect();
        let mut look = 0;
        loop {
            looks.tick().await;
            self.look(stack)?;
            // In the middle of a minute's load.
            if look % MINUTE == HALF {
                let left = stack.restart(restarted[self.restarts % restarted.len()]);
                self.unclean += usize::from(!left.await?);
                self.restarts += 1;
            }
            look += 1;
        }
    }

    fn look(&mut self, stack: &Stack) -> anyhow::Result<()> {
        let at = self.began.elapsed();
        let pids = stack.pids().into_iter().chain([self.nats]);
        for (watched, pid) in self.watched.iter_mut().zip(pids) {
            let sample = Sample::of(pid, at);
            if sample.resident == 0.0 {
                let log = stack.members().first().map(|it| it.process.log());
                let log = log.unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let name = &watched.name;
                bail!("{name} has ended by itself; the last lines of the chain's log: {last:#?}");
            }
            watched.samples.push(sample);
        }
        Ok(())
    }

    pub(super) fn shown(&self, warm: Duration) -> String {
        let head = [
            "process",
            "MB when warm",
            "at the end",
            "most",
            "MB in 10 minutes",
            "descriptors when warm",
            "at the end",
            "most",
            "threads",
        ];
        let rows = self.watched.iter().map(|it| it.row(warm));
        let rows: Vec<_> = rows.collect();
        markdown(&head, &rows)
    }
}

impl Sample {
    fn of(pid: u32, at: Duration) -> Self {
        let count =
            |folder| fs::read_dir(format!("/proc/{pid}/{folder}")).map_or(0, Iterator::count);
        Self {
            at,
            resident: resident(pid) as f64 / 1e6,
            descriptors: count("fd"),
            threads: count("task"),
        }
    }
}

impl Watched {
    /// What was seen once it was warm; of one that is restarted, all.
    fn warm(&self, warm: Duration) -> impl Iterator<Item = &Sample> {
        let is_warm = move |sample: &&Sample| self.is_restarted || sample.at >= warm;
        self.samples.iter().filter(is_warm)
    }

    /// What it was given more of in memory, in megabytes in ten minutes.
    pub(super) fn growth(&self, warm: Duration) -> f64 {
        let points = self.warm(warm);
        let points: Vec<_> = points
            .map(|sample| (sample.at.as_secs_f64() / 600.0, sample.resident))
            .collect();
        slope(&points)
    }

    /// The most of something before it was warm, and at the end.
    pub(super) fn before_and_after(
        &self,
        warm: Duration,
        of: fn(&Sample) -> usize,
    ) -> (usize, usize) {
        let before = self.samples.iter().filter(|sample| sample.at < warm);
        let last = self.samples.last().map_or(0, of);
        (before.map(of).max().unwrap_or_default(), last)
    }

    fn row(&self, warm: Duration) -> Vec<String> {
        let most = |of: fn(&Sample) -> f64| self.samples.iter().map(of).fold(0.0, f64::max);
        let at = |sample: Option<&Sample>, of: fn(&Sample) -> f64, digits: usize| match sample {
            // It is another process at each look.
            Some(sample) if !self.is_restarted => format!("{:.digits$}", of(sample)),
            _ => "–".to_owned(),
        };
        let (first, last) = (self.warm(warm).next(), self.samples.last());
        let resident = |it: &Sample| it.resident;
        let descriptors = |it: &Sample| it.descriptors as f64;
        let growth = self.growth(warm);
        let growth = Some(format!("{growth:+.2}")).filter(|_| !self.is_restarted);
        vec![
            match self.is_restarted {
                true => format!("{}, restarted", self.name),
                false => self.name.clone(),
            },
            at(first, resident, 1),
            at(last, resident, 1),
            format!("{:.1}", most(resident)),
            growth.unwrap_or_else(|| "–".to_owned()),
            at(first, descriptors, 0),
            at(last, descriptors, 0),
            format!("{:.0}", most(descriptors)),
            format!("{:.0}", most(|it| it.threads as f64)),
        ]
    }
}
