//! The runner as a process of its own.

fn main() -> std::process::ExitCode {
    meta_runtime::main::<runner::Runner>()
}
