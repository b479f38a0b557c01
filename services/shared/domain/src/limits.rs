//! Every limit has a name and a unit.

/// Steps in one plan.
pub const PLAN_STEPS_MAX: usize = 500;
/// Characters in a step name.
pub const STEP_NAME_CHARS_MAX: usize = 64;
/// Characters in a title.
pub const TITLE_CHARS_MAX: usize = 200;
/// Characters in a description.
pub const DESCRIPTION_CHARS_MAX: usize = 20_000;
/// Bytes of one command line.
pub const COMMAND_BYTES_MAX: usize = 65_536;
/// Entries in a step's `env`, `cache`, `writable` or `needs`.
pub const LIST_ENTRIES_MAX: usize = 200;
/// Bytes of inline files in a spec, together.
pub const INLINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A step's time limit when it names none, in milliseconds.
pub const STEP_TIMEOUT_MS_DEFAULT: u64 = 30 * 60 * 1000;
/// The longest time limit a step may ask for, in milliseconds.
pub const STEP_TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Bytes of log kept of one step attempt.
pub const LOG_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one gRPC message.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of one patch.
pub const PATCH_BYTES_MAX: usize = 1024 * 1024;
/// Lines a patch may change unless the plan says otherwise.
pub const PATCH_LINES_MAX: usize = 500;
/// Files a patch may touch unless the plan says otherwise.
pub const PATCH_FILES_MAX: usize = 50;
/// Characters of a caller's text that an error repeats.
pub const ECHO_CHARS_MAX: usize = 64;

/// Labels that a step asks for or a runner offers.
pub const LABELS_MAX: usize = 16;
/// Characters of a label.
pub const LABEL_CHARS_MAX: usize = 63;
