//! Wakes the writer when a wait is over, to a tenth of a millisecond: the runtime's own timers are
//! one to two milliseconds late, which every retry would pay.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The end of a wait that the thread looks after: more than the runtime's timers are late.
const FINE: Duration = Duration::from_millis(4);

/// A thread that waits.
#[derive(Debug)]
pub(super) struct Alarm {
    set: Sender<Instant>,
    rang: Arc<Notify>,
}

impl Alarm {
    /// A thread with nothing to wait for; it ends with this.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(super) fn new() -> io::Result<Self> {
        let ((set, times), rang) = (channel(), Arc::new(Notify::new()));
        let ringing = Arc::clone(&rang);
        std::thread::Builder::new()
            .name("alarm".to_owned())
            .spawn(move || wait_and_ring(&times, &ringing))?;
        Ok(Self { set, rang })
    }

    /// Waits until an instant.
    pub(super) async fn until(&self, at: Instant) {
        if let Some(early) = at.checked_sub(FINE) {
            sleep_until(early).await;
        }
        while Instant::now() < at {
            if self.set.send(at).is_err() {
                return sleep_until(at).await;
            }
            self.rang.notified().await;
        }
    }
}

/// Rings at the time that was set last.
fn wait_and_ring(times: &Receiver<Instant>, rang: &Notify) {
    while let Ok(mut at) = times.recv() {
        loop {
            match times.recv_timeout(at.saturating_duration_since(Instant::now())) {
                Ok(next) => at = next,
                Err(RecvTimeoutError::Timeout) => break rang.notify_one(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_when_the_time_has_come_and_can_be_set_again() {
        let alarm = Alarm::new().expect("a thread starts");
        for wait in [5, 1, 0, 3] {
            let at = Instant::now() + Duration::from_millis(wait);
            alarm.until(at).await;
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_disturbs_no_later_one() {
        let alarm = Alarm::new().expect("a thread starts");
        for far in [Duration::from_hours(1), FINE / 2] {
            let long = Instant::now() + far;
            tokio::select! {
                biased;
                () = alarm.until(long) => panic!("{far:?} is not over"),
                () = tokio::task::yield_now() => {}
            }
            let soon = Instant::now() + Duration::from_millis(2);
            alarm.until(soon).await;
            assert!(Instant::now() >= soon);
        }
    }
}
