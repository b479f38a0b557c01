//! The orchestrator as a process of its own.

fn main() -> std::process::ExitCode {
    meta_runtime::main::<orchestrator::Orchestrator>()
}
