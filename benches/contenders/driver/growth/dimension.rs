//! What grows, and through which sizes.

/// Where a chain is measured: all but one figure are those of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    /// Processes of each service.
    pub(super) replicas: usize,
    pub(super) connections: u32,
    /// Of the reply's text.
    pub(super) bytes: usize,
    /// Services behind the gateway.
    pub(super) hops: usize,
}

impl Setting {
    pub(super) const BASE: Self = Self {
        replicas: 1,
        connections: 64,
        bytes: 64,
        hops: 2,
    };
}

#[derive(Debug)]
pub(super) struct Dimension {
    pub(super) name: &'static str,
    grows: Grows,
    sizes: &'static [usize],
    /// Whether ours is measured with its spans, too: what they cost depends on processes and hops.
    pub(super) traced: bool,
}

#[derive(Debug, Clone, Copy)]
enum Grows {
    Replicas,
    Connections,
    Bytes,
    Hops,
}

pub(super) const ALL: [Dimension; 4] = [
    Dimension {
        name: "replicas of each service",
        grows: Grows::Replicas,
        sizes: &[1, 2, 4],
        traced: true,
    },
    Dimension {
        name: "connections",
        grows: Grows::Connections,
        sizes: &[1, 4, 16, 64, 256],
        traced: false,
    },
    Dimension {
        name: "bytes of text",
        grows: Grows::Bytes,
        sizes: &[64, 1024, 8 * 1024, 32 * 1024],
        traced: false,
    },
    Dimension {
        name: "hops",
        grows: Grows::Hops,
        sizes: &[1, 2, 3, 4],
        traced: true,
    },
];

impl Dimension {
    pub(super) fn settings(&self) -> impl Iterator<Item = Setting> {
        self.sizes.iter().map(|&size| {
            let mut setting = Setting::BASE;
            match self.grows {
                Grows::Replicas => setting.replicas = size,
                Grows::Connections => setting.connections = u32::try_from(size).unwrap_or(u32::MAX),
                Grows::Bytes => setting.bytes = size,
                Grows::Hops => setting.hops = size,
            }
            setting
        })
    }

    pub(super) fn size(&self, setting: Setting) -> usize {
        match self.grows {
            Grows::Replicas => setting.replicas,
            Grows::Connections => setting.connections as usize,
            Grows::Bytes => setting.bytes,
            Grows::Hops => setting.hops,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_figure_grows_and_the_others_stay() {
        for dimension in ALL {
            let settings: Vec<_> = dimension.settings().collect();
            let sizes = settings.iter().map(|setting| dimension.size(*setting));
            assert_eq!(dimension.sizes, sizes.collect::<Vec<_>>());
            assert!(settings.contains(&Setting::BASE), "{}", dimension.name);
        }
    }
}
