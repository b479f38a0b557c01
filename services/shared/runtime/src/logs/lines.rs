//! Lines on their way to standard error. Each write to a pipe wakes its reader, and only one thread
//! can write at a time: a process that answers thousands of requests a second would spend as much
//! on that as on half its work. So lines of workers of the runtime are gathered until the worker has
//! nothing else to do, which under little load is at once, and nobody waits for whoever writes.
//! Warnings and errors, and lines of any other thread, wait for nothing.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that are gathered before they are written in any case.
const GATHERED_BYTES: usize = 8 * 1024;
/// Bytes of lines that wait while somebody else writes; whoever has more to say waits too.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

static STDERR: Lines<fn() -> io::Stderr> = Lines::to(io::stderr);

thread_local! {
    /// Whether this thread tells when it has nothing else to do.
    static PARKS: Cell<bool> = const { Cell::new(false) };
}

/// A worker of the runtime has nothing else to do now.
pub(crate) fn before_park() {
    PARKS.set(true);
    STDERR.write_out();
}

/// Writes what was gathered: the process ends.
pub(crate) fn end() {
    STDERR.write_out();
}

/// Lines that were said, and where they go.
struct Lines<W> {
    waiting: Mutex<Vec<u8>>,
    /// Held by whoever writes: what is being written.
    writing: Mutex<Vec<u8>>,
    to: W,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<O: Write, W: Fn() -> O> Lines<W> {
    const fn to(to: W) -> Self {
        Self { waiting: Mutex::new(Vec::new()), writing: Mutex::new(Vec::new()), to }
    }

    fn say(&self, line: &[u8], at_once: bool) {
        let waiting = {
            let mut waiting = held(&self.waiting);
            waiting.extend_from_slice(line);
            waiting.len()
        };
        if waiting > WAITING_BYTES_MAX {
            self.write_through(held(&self.writing));
        }
        if at_once || waiting > GATHERED_BYTES {
            self.write_out();
        }
    }

    /// Writes everything that waits, unless somebody else does: they look again when they are done.
    fn write_out(&self) {
        while !held(&self.waiting).is_empty() {
            match self.writing.try_lock() {
                Ok(writing) => self.write_through(writing),
                Err(TryLockError::Poisoned(writing)) => self.write_through(writing.into_inner()),
                Err(TryLockError::WouldBlock) => return,
            }
        }
    }

    fn write_through(&self, mut writing: MutexGuard<'_, Vec<u8>>) {
        std::mem::swap(&mut *writing, &mut *held(&self.waiting));
        // there is nobody left to tell that standard error is gone
        let _ = (self.to)().write_all(&writing);
        writing.clear();
    }
}

/// Where log lines are written to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr {
    at_once: bool,
}

impl Stderr {
    pub(super) fn new() -> Self {
        Self { at_once: true }
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Self {
        Self { at_once: *of.level() <= Level::WARN || !PARKS.get() }
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.say(line, self.at_once);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        STDERR.write_out();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// What was written, by write.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            held(&self.0).push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Lines<impl Fn() -> Seen>, Seen) {
        let seen = Seen::default();
        let to = seen.clone();
        (Lines::to(move || to.clone()), seen)
    }

    #[test]
    fn lines_are_gathered_until_somebody_has_time_or_cannot_wait() {
        let (lines, seen) = lines();
        lines.say(b"one\n", false);
        lines.say(b"two\n", false);
        assert!(held(&seen.0).is_empty());
        lines.write_out();
        lines.say(b"three\n", false);
        lines.say(b"bad\n", true);
        lines.write_out();
        assert_eq!(*held(&seen.0), [b"one\ntwo\n".to_vec(), b"three\nbad\n".to_vec()]);
        lines.say(&[b'x'; GATHERED_BYTES + 1], false);
        assert_eq!(held(&seen.0).len(), 3);
    }

    #[test]
    fn what_is_said_while_somebody_writes_is_written_by_them() {
        let (lines, seen) = lines();
        let writing = held(&lines.writing);
        lines.say(b"one\n", true);
        assert!(held(&seen.0).is_empty(), "nobody waits");
        lines.write_through(writing);
        assert_eq!(*held(&seen.0), [b"one\n".to_vec()]);
    }

    #[test]
    fn every_line_of_many_threads_is_written_once_and_whole() {
        let (lines, seen) = lines();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let lines = &lines;
                scope.spawn(move || {
                    for n in 0..1_000 {
                        lines.say(format!("{thread}-{n}\n").as_bytes(), n % 7 == 0);
                    }
                    lines.write_out();
                });
            }
        });
        let text = String::from_utf8(held(&seen.0).concat()).unwrap();
        let mut said: Vec<&str> = text.lines().collect();
        said.sort_unstable();
        said.dedup();
        assert_eq!((text.lines().count(), said.len()), (4_000, 4_000));
    }
}
