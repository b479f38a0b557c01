//! The flag-resolver as a process.

fn main() -> std::process::ExitCode {
    meta_runtime::main::<flag_resolver::FlagResolver>()
}
