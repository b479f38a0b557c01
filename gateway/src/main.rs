//! The gateway as a process.

fn main() -> std::process::ExitCode {
    meta_runtime::main::<gateway::Gateway>()
}
