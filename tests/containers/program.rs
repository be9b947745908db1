//! The program under test: cargo builds binaries for the tests of their own package only.

fn main() -> std::process::ExitCode {
    nats_serve::cli::main()
}
