//! The whole system in one program: `up`, its tools, and each service as a command.

fn main() -> std::process::ExitCode {
    nats_serve::cli::main()
}
