//! Where a process tells how it fares.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::bail;
use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Health and metrics")]
pub(crate) struct Admin {
    /// Address that answers /livez, /readyz and /metrics; port 0 takes a free one.
    #[arg(
        id = "admin_addr",
        long = "admin-addr",
        env = "ADMIN_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:0"
    )]
    pub(crate) addr: SocketAddr,
}

impl Admin {
    /// Sees that several processes on one host can share the setting.
    pub(crate) fn for_several(&self) -> anyhow::Result<()> {
        if self.addr.port() != 0 {
            bail!(
                "ADMIN_ADDR is {}, which one process can have, and `up` starts several; leave it unset, or set its port to 0",
                self.addr
            );
        }
        Ok(())
    }

    /// Returns where to ask the process that was given this setting, on the same host.
    pub(crate) fn target(&self) -> anyhow::Result<SocketAddr> {
        let mut target = self.addr;
        if target.port() == 0 {
            bail!(
                "which process? Set ADMIN_ADDR (or --admin-addr) for it and for the check to the same address with a port, like 127.0.0.1:9000"
            );
        }
        if target.ip().is_unspecified() {
            target.set_ip(match target {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(addr: &str) -> Admin {
        Admin {
            addr: addr.parse().unwrap(),
        }
    }

    #[test]
    fn a_wildcard_is_asked_on_loopback() {
        for (set, asked) in [
            ("0.0.0.0:9000", "127.0.0.1:9000"),
            ("[::]:9000", "[::1]:9000"),
            ("10.0.0.7:9000", "10.0.0.7:9000"),
        ] {
            assert_eq!(asked, admin(set).target().unwrap().to_string());
        }
        assert!(admin("127.0.0.1:0").target().is_err());
    }

    #[test]
    fn several_processes_need_several_ports() {
        assert!(admin("0.0.0.0:0").for_several().is_ok());
        assert!(admin("127.0.0.1:9000").for_several().is_err());
    }
}
