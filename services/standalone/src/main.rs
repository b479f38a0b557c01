//! The command `metabuilder`.

fn main() -> std::process::ExitCode {
    metabuilder::main()
}
