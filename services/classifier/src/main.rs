//! The classifier as a process of its own.

fn main() -> std::process::ExitCode {
    meta_runtime::main::<classifier::Classifier>()
}
