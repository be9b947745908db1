//! All children: started in one order, stopped in the other.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use super::{
    child::{self, Orders, Report},
    replicas::Replicas,
    screen::Screen,
    spec::Spec,
};
use crate::Shutdown;

/// A child that takes longer to leave is named.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reports that may wait to be shown; a child that writes faster waits.
const REPORTS: usize = 1024;

#[derive(Debug)]
pub(super) struct Team {
    members: Vec<Member>,
    reports: mpsc::Receiver<Report>,
    reporting: mpsc::Sender<Report>,
    replicas: Arc<Replicas>,
    /// Requested by the user, so that what stops now is no accident.
    stopping: Shutdown,
}

#[derive(Debug)]
struct Member {
    name: &'static str,
    is_service: bool,
    orders: Orders,
    keeping: JoinHandle<()>,
}

impl Team {
    pub(super) fn new(stopping: Shutdown) -> Self {
        let (reporting, reports) = mpsc::channel(REPORTS);
        Self {
            members: Vec::new(),
            reports,
            reporting,
            replicas: Arc::default(),
            stopping,
        }
    }

    pub(super) fn replicas(&self) -> Arc<Replicas> {
        Arc::clone(&self.replicas)
    }

    /// Starts a child and keeps it running.
    pub(super) fn start(&mut self, spec: Spec) {
        let orders = Orders {
            stop: Shutdown::new(),
            left: Shutdown::new(),
        };
        let (name, is_service) = (spec.name, spec.is_service);
        if is_service {
            self.replicas.want_one_more();
        }
        let (reporting, replicas) = (self.reporting.clone(), self.replicas());
        let keeping = child::keep(spec, orders.clone(), reporting, replicas);
        self.members.push(Member {
            name,
            is_service,
            orders,
            keeping: tokio::spawn(keeping),
        });
    }

    /// Waits for the next report. Never ends: we hold a sender ourselves.
    pub(super) async fn next(&mut self) -> Report {
        loop {
            if let Some(report) = self.reports.recv().await {
                return report;
            }
        }
    }

    /// Who hurries these ends the grace of all children.
    pub(super) fn children(&self) -> Vec<Shutdown> {
        let members = self.members.iter();
        members.map(|member| member.orders.stop.clone()).collect()
    }

    /// Stops the children, the last to start first: the next one when the last has left, which may still send spans.
    pub(super) async fn stop(mut self, screen: &mut Screen) {
        self.stopping.request();
        let mut ending: Vec<JoinHandle<()>> = Vec::new();
        while let Some(mut member) = self.members.pop() {
            if !member.is_service {
                // A server is there until nobody needs it.
                self.all_end(ending.drain(..), screen).await;
            }
            member.orders.stop.request();
            let left = member.orders.left.clone();
            let gone = async {
                tokio::select! {
                    () = left.requested() => {}
                    _ = &mut member.keeping => {}
                }
            };
            self.wait_for(gone, Some(member.name), screen).await;
            ending.push(member.keeping);
        }
        self.all_end(ending.into_iter(), screen).await;
    }

    async fn all_end(&mut self, ending: impl Iterator<Item = JoinHandle<()>>, screen: &mut Screen) {
        // One that has been seen to end can't be waited for again.
        for keeping in ending.filter(|keeping| !keeping.is_finished()) {
            self.wait_for(keeping, None, screen).await;
        }
    }

    /// Shows what the others say meanwhile; one who takes long is named.
    async fn wait_for<T>(
        &mut self,
        end: impl Future<Output = T>,
        mut name: Option<&str>,
        screen: &mut Screen,
    ) {
        let (mut end, mut patience) = (pin!(end), pin!(sleep(PATIENCE)));
        loop {
            tokio::select! {
                _ = &mut end => break,
                () = &mut patience, if name.is_some() => {
                    let name = name.take().unwrap_or_default();
                    screen.say(&format!(
                        "waiting for {name} to finish what it has accepted; Ctrl-C again stops at once"
                    ));
                }
                report = self.reports.recv() => {
                    if let Some(report @ (Report::Line(..) | Report::Killed(_))) = report {
                        screen.show(&report);
                    }
                }
            }
        }
    }
}
