//! The database-service as a program of its own; the same as `nats-serve database-service`.

fn main() -> std::process::ExitCode {
    nats_serve::cli::main_of("database-service")
}
