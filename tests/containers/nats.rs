//! NATS as its image has it, with the configuration of this repository mounted as compose mounts it.

use std::fs;

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    core::{Mount, WaitFor, ports::IntoContainerPort},
    runners::AsyncRunner,
};

use crate::{
    engine::repository,
    images::{self, NATS},
    support::{Stack, process},
};

async fn server(keys: &std::path::Path) -> ContainerAsync<GenericImage> {
    let (name, tag) = NATS.split_once(':').unwrap();
    let mut image = GenericImage::new(name, tag)
        .with_exposed_port(4222.tcp())
        .with_wait_for(WaitFor::message_on_stderr("Server is ready"))
        .with_cmd([
            "--config",
            "/etc/nats-serve/container.conf",
            "--addr",
            "0.0.0.0",
        ]);
    for file in ["container.conf", "nats-server.conf", "limits.conf"] {
        let source = repository().join("nats").join(file);
        let target = format!("/etc/nats-serve/{file}");
        image = image.with_mount(Mount::bind_mount(source.to_str().unwrap(), target));
    }
    let nkeys = Mount::bind_mount(keys.to_str().unwrap(), "/etc/nats-serve/nkeys");
    image.with_mount(nkeys).start().await.unwrap()
}

#[tokio::test]
async fn the_application_works_on_the_image_of_nats_with_our_permissions() {
    images::provide();
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["keys", "--dir", "keys", "--for-containers"];
    let (good, said) = process::run(folder.path(), &arguments, &[]);
    assert!(good, "{said}");
    let keys = folder.path().join("keys");
    // Whoever runs the server in there is none of us.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(keys.join("nats"), fs::Permissions::from_mode(0o755)).unwrap();
    let nats = server(&keys.join("nats")).await;
    let port = nats.get_host_port_ipv4(4222).await.unwrap();

    let url = format!("nats://127.0.0.1:{port}");
    let mut stack = Stack::at(&[("NATS_URL", &url)]);
    let services = [
        ("database-service", "database"),
        ("notification-service", "notification"),
        ("user-service", "user"),
        ("gateway", "gateway"),
    ];
    for (service, folder) in services {
        let key = keys.join(folder);
        stack.add_with(
            service,
            service,
            &[("NATS_NKEY_FILE", key.to_str().unwrap())],
        );
    }
    for (service, _) in services {
        stack.ready(service).await;
    }
    let registered = stack.register("David", "david@example.com").await;
    assert_eq!(201, registered.status, "{}", registered.body);
    stack.trace(&registered, 9).await;
    // Each has its own key, and nobody is let in without.
    let stranger = async_nats::connect(&url).await.unwrap_err();
    assert_eq!(
        async_nats::ConnectErrorKind::AuthorizationViolation,
        stranger.kind()
    );
    let tools = keys.join("tools").display().to_string();
    let variables = [("NATS_URL", &*url), ("NATS_NKEY_FILE", &*tools)];
    let (good, status) = process::run(folder.path(), &["status"], &variables);
    assert!(good && status.lines().count() == 5, "{status}");
}
