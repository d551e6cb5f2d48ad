//! The binary: wires the command line to the library and sets the exit code.
fn main() -> std::process::ExitCode {
    wasmill::cli::main()
}
