//! The processes of one contender.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::process::Command;

use super::{losses::Losses, process::Process, receiver::Receiver, tools::Tools};

/// Which chain, and what it does beside its work.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    /// As the processes know it: `raw`, `grpc`, `ours`.
    pub(super) kind: &'static str,
    /// Services behind the gateway.
    pub(super) hops: usize,
    /// Processes of each service, which share its work; of gRPC one, for each of its processes knows one next.
    pub(super) replicas: usize,
    /// Arguments beside that.
    pub(super) arguments: &'static [&'static str],
    /// Whether it has a receiver to send spans to, which is no part of it.
    pub(super) sends: bool,
}

impl Chain {
    /// Two services, one process each.
    pub(super) const fn new(kind: &'static str, arguments: &'static [&'static str]) -> Self {
        Self {
            kind,
            hops: 2,
            replicas: 1,
            arguments,
            sends: false,
        }
    }
}

/// A chain that runs.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) url: String,
    members: Vec<Member>,
    program: PathBuf,
    /// Where they write.
    folder: TempDir,
    receiver: Option<Receiver>,
}

/// A process with its place.
#[derive(Debug)]
pub(super) struct Member {
    /// The gateway is 0.
    pub(super) hop: usize,
    pub(super) process: Process,
    arguments: Vec<String>,
}

impl Stack {
    pub(super) async fn start(chain: &Chain, tools: &Tools, nats: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        let receiver = match chain.sends {
            true => Some(Receiver::start(tools).await?),
            false => None,
        };
        let mut members = Vec::new();
        let mut next: Option<String> = None;
        // From the last one, whose address the one before it may need.
        for hop in (0..=chain.hops).rev() {
            let mut arguments: Vec<String> = ["serve", chain.kind].map(str::to_owned).into();
            for (name, value) in [
                ("--hop", hop.to_string()),
                ("--hops", chain.hops.to_string()),
                ("--nats", nats.to_owned()),
            ] {
                arguments.extend([name.to_owned(), value]);
            }
            if let Some(next) = next.take() {
                arguments.extend(["--next".to_owned(), next]);
            }
            arguments.extend(chain.arguments.iter().map(|&word| word.to_owned()));
            let processes = if hop == 0 { 1 } else { chain.replicas };
            for _ in 0..processes {
                let command = command(&tools.contenders, &arguments, receiver.as_ref());
                let (process, at) = begin(command, folder.path()).await?;
                next = Some(at).filter(|at| !at.is_empty());
                members.push(Member {
                    hop,
                    process,
                    arguments: arguments.clone(),
                });
            }
        }
        let address = next.context("the gateway has an address")?;
        Ok(Self {
            url: format!("http://{address}/user/1"),
            members,
            program: tools.contenders.clone(),
            folder,
            receiver,
        })
    }

    /// Who receives its spans, and is no part of it.
    pub(super) fn receiver(&self) -> Option<u32> {
        self.receiver.as_ref().map(Receiver::pid)
    }

    /// From the last service's processes to the gateway.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// In the same order.
    pub(super) fn pids(&self) -> Vec<u32> {
        let members = self.members.iter();
        members.map(|member| member.process.pid()).collect()
    }

    /// Ends a process as its supervisor would, and starts it again at once. Tells whether it left well.
    pub(super) async fn restart(&mut self, at: usize) -> anyhow::Result<bool> {
        let Member {
            hop,
            process,
            arguments,
        } = self.members.remove(at);
        let left = process.leave().await;
        let command = command(&self.program, &arguments, self.receiver.as_ref());
        let (process, _) = begin(command, self.folder.path()).await?;
        let member = Member {
            hop,
            process,
            arguments,
        };
        self.members.insert(at, member);
        Ok(left)
    }

    /// Ends it, and tells which spans were lost.
    pub(super) async fn leave(self) -> Losses {
        let mut unknown = 0;
        for member in self.members.into_iter().rev() {
            unknown += usize::from(!member.process.leave().await);
        }
        // Not before: what they had left was for it.
        drop(self.receiver);
        Losses::told_in(self.folder.path(), unknown)
    }
}

fn command(program: &Path, arguments: &[String], receiver: Option<&Receiver>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(receiver) = receiver {
        command
            .arg("--otlp")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url);
    }
    command
}

/// Starts a process, and waits until it serves. Returns where, if anybody has to know that.
async fn begin(command: Command, folder: &Path) -> anyhow::Result<(Process, String)> {
    let mut process = Process::start(command, folder)?;
    let ready = |line: &str| line.strip_prefix("ready ").map(str::to_owned);
    let at = process.says(ready).await?;
    Ok((process, at))
}
