//! The notification-service as a program of its own; the same as `nats-serve notification-service`.

fn main() -> std::process::ExitCode {
    nats_serve::cli::main_of("notification-service")
}
