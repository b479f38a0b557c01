//! A sandbox that is made ready ahead of time.

use super::group::Group;
use super::scratch::Corner;
use super::{Jail, Sandbox};
use crate::error::Error;
use crate::exec::{Ended, Event, Held};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A sandbox that is ready, whose command waits.
#[derive(Debug)]
pub struct HeldJail {
    process: Held,
    /// Holds the launch script until the process has ended.
    scratch: Corner,
    group: Option<Group>,
}

impl HeldJail {
    /// Lets the command go on, and follows it to its end.
    ///
    /// # Errors
    /// When it was stopped.
    pub async fn go(
        self,
        limit: Duration,
        stop: &CancellationToken,
        on: impl FnMut(Event<'_>),
    ) -> Result<Ended, Error> {
        let ended = self.process.go(limit, stop, on).await;
        drop(self.scratch);
        drop(self.group);
        ended
    }
}

impl Sandbox {
    /// Makes a sandbox ready for a command that is held.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn hold(&self, jail: Jail) -> Result<HeldJail, Error> {
        let jail = Jail { held: true, ..jail };
        let scratch = self.scratch.corner()?;
        let group = self.limits.as_ref().map(Group::open).transpose()?.flatten();
        let command = self.command(scratch.path(), &jail, group.as_ref())?;
        let process = Held::start(&self.spawner, command).await?;
        Ok(HeldJail { process, scratch, group })
    }
}
