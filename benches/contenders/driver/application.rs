//! The application as it is shipped, beside the same without a database, and beside its stores alone.
//!
//! Nobody limits its clients unless `RATE_LIMIT` is set, so a load of one address is served whole. What stores make
//! durable lies in the folder of temporary files, the bare stores' too.

mod bare;
mod postgres;
pub(super) mod registering;
mod report;
mod running;
mod subject;

pub(super) use self::running::{Application, SERVICES};

use self::{
    bare::Bare,
    postgres::Postgres,
    report::shown,
    subject::{Contender, Group, Subject},
};
use super::{
    Args,
    nats::Nats,
    stack::{Chain, Stack},
    tools::{self, Tools},
};

pub(super) async fn run(args: &Args, tools: &Tools) -> anyhow::Result<()> {
    tools::build(args)?;
    println!("Stores lie on {}.\n", tools::file_system());
    let postgres = match Postgres::start().await? {
        Ok(postgres) => Some(postgres),
        Err(missing) => {
            println!("Without PostgreSQL: {missing}.\n");
            None
        }
    };
    let mut contenders = contenders(args, tools, postgres.as_ref()).await?;
    let measured = rounds(&mut contenders, args, tools).await;
    // Also what there is of a run that broke off.
    if contenders.iter().any(|one| !one.turns.is_empty()) {
        println!("{}", shown(&contenders));
    }
    measured?;
    for contender in contenders {
        contender.leave().await;
    }
    if let Some(postgres) = postgres {
        postgres.leave().await;
    }
    Ok(())
}

async fn rounds(contenders: &mut [Contender], args: &Args, tools: &Tools) -> anyhow::Result<()> {
    // One turn to warm up.
    for round in 0..=args.rounds() {
        for contender in &mut *contenders {
            let turn = contender.turn(args, tools).await?;
            eprintln!("round {round}, {}: {turn:?}", contender.name);
            if round > 0 {
                contender.turns.push(turn);
            }
        }
    }
    Ok(())
}

async fn contenders(
    args: &Args,
    tools: &Tools,
    postgres: Option<&Postgres>,
) -> anyhow::Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    let mut add = |name: &str, group, subject| {
        contenders.push(Contender {
            name: name.to_owned(),
            group,
            subject,
            turns: Vec::new(),
        });
    };
    // Traces and lines as the application has them unless it is told otherwise.
    let ours = &["--ratio", "1", "--spans-dir", "spans", "--access-log"];
    for (name, chain) in [
        (report::RAW, Chain::new("raw", &[])),
        (report::MEMORY, Chain::new("ours", ours)),
    ] {
        let nats = Nats::start(tools).await?;
        let stack = Stack::start(&chain, tools, &nats.url).await?;
        add(name, Group::Get, Subject::Chain(Box::new((stack, nats))));
    }
    let sqlite = Some(("SQLite", None));
    for (store, server) in sqlite
        .into_iter()
        .chain(postgres.map(|it| ("PostgreSQL", Some(it))))
    {
        for group in [Group::Get, Group::Register(store)] {
            let name = format!("the application on {store}");
            if args.wants(&name) {
                let database = match server {
                    Some(server) => Some(server.database().await?),
                    None => None,
                };
                let application = Application::start(tools, database.as_deref(), None).await?;
                let pid = server.map(Postgres::pid);
                add(
                    &name,
                    group,
                    Subject::Application(Box::new(application), pid),
                );
            }
        }
        for bare in Bare::all(server).await? {
            let name = bare.to_string();
            if !args.wants(&name) {
                continue;
            }
            add(&name, Group::Register(store), Subject::Store(bare));
        }
    }
    Ok(contenders)
}
