//! Memory of each process, before any load and after the full one, all requests traced to files.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use crate::driver::{
    Args,
    application::{Application, registering},
    compare::CONNECTIONS,
    nats::Nats,
    oha::Load,
    process::{peak, resident},
    receiver::{self, Receiver},
    stack::{Chain, Stack},
    table::{Spread, markdown},
    tools::Tools,
};

/// Time to come to rest after the start, and after a load.
const REST: Duration = Duration::from_secs(2);

/// Megabytes of each process, of all rounds, in the order in which they are shown.
#[derive(Debug, Default)]
struct Seen {
    names: Vec<String>,
    idle: BTreeMap<String, Vec<f64>>,
    loaded: BTreeMap<String, Vec<f64>>,
    most: BTreeMap<String, Vec<f64>>,
}

pub(super) async fn run(args: &Args, tools: &Tools) -> anyhow::Result<()> {
    let mut seen = Seen::default();
    let without = receiver::missing(tools).await;
    if let Some(missing) = &without {
        println!("Without a receiver of spans: {missing}\n");
    }
    for round in 0..args.rounds() {
        eprintln!("round {round}: memory");
        application(args, tools, None, &mut seen).await?;
        if without.is_none() {
            let receiver = Receiver::start(tools).await?;
            application(args, tools, Some(&receiver.url), &mut seen).await?;
        }
        chain(args, tools, &mut seen).await?;
    }
    println!("{}", seen.shown());
    Ok(())
}

/// To files, or to a collector as well.
async fn application(
    args: &Args,
    tools: &Tools,
    collector: Option<&str>,
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let application = Application::start(tools, None, collector).await?;
    let mut processes: Vec<_> = application.named().collect();
    if collector.is_some() {
        for (name, _) in &mut processes {
            name.insert_str(0, "with a collector: ");
        }
    }
    sleep(REST).await;
    seen.note(&processes, false);
    full(application.url(), args, tools).await?;
    registering::load(application.address(), CONNECTIONS, args.load(), None).await?;
    sleep(REST).await;
    seen.note(&processes, true);
    application.leave().await.say("the application");
    Ok(())
}

/// What our library takes by itself: the same without a database and mails.
async fn chain(args: &Args, tools: &Tools, seen: &mut Seen) -> anyhow::Result<()> {
    let nats = Nats::start(tools).await?;
    let traced = &["--ratio", "1", "--spans-dir", "spans", "--access-log"];
    let chain = Chain::new("ours", traced);
    let stack = Stack::start(&chain, tools, &nats.url).await?;
    let names = ["last service", "service in the middle", "gateway"];
    let names = names.map(|name| format!("chain: {name}"));
    let processes: Vec<_> = names.into_iter().zip(stack.pids()).rev().collect();
    sleep(REST).await;
    seen.note(&processes, false);
    full(stack.url.clone(), args, tools).await?;
    sleep(REST).await;
    seen.note(&processes, true);
    stack.leave().await.say("the chain");
    Ok(())
}

async fn full(url: String, args: &Args, tools: &Tools) -> anyhow::Result<()> {
    let load = Load {
        url,
        connections: CONNECTIONS,
        duration: args.load(),
        rate: None,
    };
    load.run(&tools.oha).await?;
    Ok(())
}

impl Seen {
    fn note(&mut self, processes: &[(String, u32)], after_load: bool) {
        for (name, pid) in processes {
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
            let note = |figures: &mut BTreeMap<String, Vec<f64>>, bytes: u64| {
                let megabytes = bytes as f64 / 1e6;
                figures.entry(name.clone()).or_default().push(megabytes);
            };
            match after_load {
                false => note(&mut self.idle, resident(*pid)),
                true => {
                    note(&mut self.loaded, resident(*pid));
                    note(&mut self.most, peak(*pid));
                }
            }
        }
    }

    fn shown(&self) -> String {
        let head = ["process", "MB idle", "MB after the full load", "MB at most"];
        let spread = |of: &BTreeMap<String, Vec<f64>>, name: &String| {
            let figures = of.get(name).cloned().unwrap_or_default();
            Spread::of(figures).shown(1)
        };
        let row = |name: &String| {
            let figures = [&self.idle, &self.loaded, &self.most];
            let figures = figures.map(|of| spread(of, name));
            [name.clone()].into_iter().chain(figures).collect()
        };
        let rows: Vec<_> = self.names.iter().map(row).collect();
        markdown(&head, &rows)
    }
}
