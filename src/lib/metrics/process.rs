//! What the operating system knows of the process, by the names that all Prometheus clients use.
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::fmt;

use procfs::{
    WithCurrentSystemInfo,
    process::{LimitValue, Process},
};
use prometheus_client::metrics::MetricType::{Counter, Gauge};

use super::Figures;

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and ticks are far below 2^53"
)]
pub(super) fn collect(figures: &mut Figures<'_>) -> fmt::Result {
    // Where /proc is not to be read these figures are missing, and no others.
    let Ok(process) = Process::myself() else {
        return Ok(());
    };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        let busy = (stat.utime + stat.stime) as f64 / ticks;
        figures.common(
            "process_cpu_seconds",
            "CPU time spent, in seconds",
            Counter,
            busy,
        )?;
        let resident = stat.rss_bytes().get() as f64;
        figures.common(
            "process_resident_memory_bytes",
            "Memory in use",
            Gauge,
            resident,
        )?;
        let virtually = stat.vsize as f64;
        figures.common(
            "process_virtual_memory_bytes",
            "Address space in use",
            Gauge,
            virtually,
        )?;
        if let Ok(boot) = procfs::boot_time_secs() {
            let started = boot as f64 + stat.starttime as f64 / ticks;
            figures.common(
                "process_start_time_seconds",
                "When it started, in seconds since 1970",
                Gauge,
                started,
            )?;
        }
    }
    if let Ok(open) = process.fd_count() {
        figures.common(
            "process_open_fds",
            "Files and sockets open",
            Gauge,
            open as f64,
        )?;
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        figures.common(
            "process_max_fds",
            "Files and sockets that may be open",
            Gauge,
            most as f64,
        )?;
    }
    Ok(())
}
