//! The public images that the tests and the Dockerfile stand on.

use std::{process::Command, sync::OnceLock};

use crate::engine::{docker, must, repository};

pub(crate) const NATS: &str = "nats:2.15-alpine";
pub(crate) const POSTGRES: &str = "postgres:17-alpine";
pub(crate) const JAEGER: &str = "jaegertracing/jaeger:2.10.0";

/// Sees that every image is there: pulled, or where none can be pulled, a stand-in.
pub(crate) fn provide() {
    static PROVIDED: OnceLock<()> = OnceLock::new();
    PROVIDED.get_or_init(|| {
        // It fails at once, and with good words, where there is no engine.
        docker(&["version", "--format", "{{.Server.Version}}"]);
        let script = repository().join("tests/containers/images/provide");
        println!("{}", must(&mut Command::new(script)));
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
fn compose_dockerfile_and_tests_name_the_images_that_are_provided() {
    let text = |file: &str| std::fs::read_to_string(repository().join(file)).unwrap();
    let files = text("docker-compose.yml") + &text("Dockerfile");
    let make = repository().join("tests/containers/images/make");
    let tags = must(Command::new(make).arg("--tags"));
    let tags: Vec<&str> = tags
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    for tag in &tags {
        assert!(
            tag.starts_with("debian:") || files.contains(tag),
            "{tag} is used nowhere"
        );
    }
    let named = files.lines().filter_map(|line| {
        let line = line.trim();
        let image = line
            .strip_prefix("image: ")
            .or(line.strip_prefix("FROM "))?;
        let image = image.split(' ').next().unwrap();
        // `${NATS_IMAGE:-nats:2.15-alpine}`
        let default = image.rsplit_once(":-");
        Some(default.map_or(image, |(_, named)| named.trim_end_matches('}')))
    });
    for image in named.chain([NATS, POSTGRES, JAEGER]) {
        assert!(
            tags.contains(&image) || image.contains("nats-serve:"),
            "{image}"
        );
    }
}
