//! The gateway as a program of its own; the same as `nats-serve gateway`.

fn main() -> std::process::ExitCode {
    nats_serve::cli::main_of("gateway")
}
