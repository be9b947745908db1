//! The public images that the tests and the Dockerfile stand on.

use std::{process::Command, sync::OnceLock};

use crate::engine::{docker, must, repository};

/// By the names that images/make has for them.
const IMAGES: [(&str, &str); 7] = [
    ("debian", "debian:bookworm-slim"),
    ("rust", "rust:1.95-slim-bookworm"),
    ("distroless", "gcr.io/distroless/cc-debian12:nonroot"),
    ("nats", NATS),
    ("postgres", POSTGRES),
    ("mailpit", "axllent/mailpit:v1.27"),
    ("jaeger", "jaegertracing/jaeger:2.10.0"),
];
pub(crate) const NATS: &str = "nats:2.15-alpine";
pub(crate) const POSTGRES: &str = "postgres:17-alpine";

/// Sees that every image is there: pulled, or where none can be pulled, a stand-in.
pub(crate) fn provide() {
    static PROVIDED: OnceLock<()> = OnceLock::new();
    PROVIDED.get_or_init(|| {
        // It fails at once, and with good words, where there is no engine.
        docker(&["version", "--format", "{{.Server.Version}}"]);
        let is_missing = |tag: &str| docker(&["image", "ls", "--quiet", tag]).is_empty();
        let pull = |tag: &str| {
            Command::new("docker")
                .args(["pull", "--quiet", tag])
                .status()
        };
        let cant_be_had = |tag: &str| is_missing(tag) && !pull(tag).is_ok_and(|s| s.success());
        let missing: Vec<&str> = (IMAGES.iter())
            .filter(|(_, tag)| cant_be_had(tag))
            .map(|(name, _)| *name)
            .collect();
        if !missing.is_empty() {
            println!("no registry has {missing:?}: making stand-ins, which takes some minutes");
            let make = repository().join("tests/containers/images/make");
            must(Command::new(make).args(&missing));
        }
    });
}

/// Tells whether an image was made here in place of the real one, which can do more.
pub(crate) fn is_stand_in(tag: &str) -> bool {
    let label = r#"{{index .Config.Labels "stand-in"}}"#;
    !docker(&["image", "inspect", "--format", label, tag])
        .trim()
        .is_empty()
}

#[test]
fn compose_and_dockerfile_name_the_images_that_are_made_here() {
    let text = |file: &str| std::fs::read_to_string(repository().join(file)).unwrap();
    let files = text("docker-compose.yml") + &text("Dockerfile");
    let make = text("tests/containers/images/make");
    for (name, tag) in IMAGES {
        assert!(name == "debian" || files.contains(tag), "{tag}");
        assert!(make.contains(&format!(":-{tag}}}")), "{tag}");
    }
}
