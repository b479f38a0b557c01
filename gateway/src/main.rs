//! The gateway as a process.

/// A request makes and drops some hundred small things on whichever thread has time for it; of
/// what that costs, the system's allocator takes the largest part.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    meta_runtime::main::<gateway::Gateway>()
}
