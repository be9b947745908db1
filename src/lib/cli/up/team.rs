//! All children: started in one order, stopped in the other.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use super::{
    child::{self, Report},
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
    members: Vec<(&'static str, Shutdown, JoinHandle<()>)>,
    reports: mpsc::Receiver<Report>,
    reporting: mpsc::Sender<Report>,
    replicas: Arc<Replicas>,
    /// Requested by the user, so that what stops now is no accident.
    stopping: Shutdown,
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
        let stop = Shutdown::new();
        let name = spec.name;
        if spec.is_service {
            self.replicas.want_one_more();
        }
        let (reporting, replicas) = (self.reporting.clone(), self.replicas());
        let keeping = child::keep(spec, stop.clone(), reporting, replicas);
        self.members.push((name, stop, tokio::spawn(keeping)));
    }

    /// Waits for the next report. Never ends: we hold a sender ourselves.
    pub(super) async fn next(&mut self) -> Report {
        loop {
            if let Some(report) = self.reports.recv().await {
                return report;
            }
        }
    }

    /// Stops the children, the last to start first.
    pub(super) async fn stop(mut self, screen: &mut Screen) {
        self.stopping.request();
        while let Some((name, stop, mut keeping)) = self.members.pop() {
            stop.request();
            let mut patience = pin!(sleep(PATIENCE));
            let mut told = false;
            loop {
                tokio::select! {
                    _ = &mut keeping => break,
                    () = &mut patience, if !told => {
                        told = true;
                        screen.say(&format!(
                            "waiting for {name} to finish what it has accepted; Ctrl-C again stops at once"
                        ));
                    }
                    report = self.reports.recv() => {
                        if let Some(report @ Report::Line(..)) = report {
                            screen.show(&report);
                        }
                    }
                }
            }
        }
    }
}
