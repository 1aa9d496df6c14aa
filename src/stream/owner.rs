//! Whose key it is: one that was replaced may be another organization's.
//!
//! # Invariants
//! Nothing that a key has shown is taken in before the key is known to be this stream's organization's.

use crate::ledger::Cause;
use crate::source::Class;

use super::{Error, Reading, Turn, causes};

impl Reading<'_> {
    /// Whether the key was replaced since it was last known to be this organization's: what it has shown must not fill this
    /// ledger.
    pub(super) fn may_be_anothers(&self) -> bool {
        self.stream.client.key_changes() != self.key_changes
    }

    /// An answer that may be another organization's, which nobody has looked into: what was asked is asked again.
    pub(super) fn leave_out(&mut self) -> Turn {
        self.plan.abandon_read(self.now());
        Turn::Next
    }

    /// Waits until the key is known to be this organization's.
    pub(super) async fn check_owner(&mut self) -> Result<Turn, Error> {
        let stream = self.stream.clone();
        loop {
            let changes = stream.client.key_changes();
            let asked = stream.client.is_anothers(&stream.key.organization, stream.organization());
            let Some(is_anothers) = stream.until_shutdown(asked).await else { return Ok(Turn::End) };
            let is_refused = is_anothers.as_ref().is_err_and(|error| error.class() == Class::Credential);
            match is_anothers {
                Ok(true) => {
                    self.hindered(Cause::KeyRefused).await?;
                    self.report.foreign_key();
                }
                Ok(false) => {
                    self.key_changes = changes;
                    self.schedule.reset();
                    return Ok(Turn::Next);
                }
                Err(error) => {
                    self.report.trouble(&error);
                    self.hindered(causes::cause(&error)).await?;
                }
            }
            let pause = async {
                tokio::select! {
                    () = tokio::time::sleep(self.schedule.pause()) => {}
                    () = stream.client.credential_changed(), if is_refused => {}
                }
            };
            if stream.until_shutdown(pause).await.is_none() {
                return Ok(Turn::End);
            }
        }
    }
}
