//! The user-service as a program of its own; the same as `nats-serve user-service`.

fn main() -> std::process::ExitCode {
    nats_serve::cli::main_of("user-service")
}
