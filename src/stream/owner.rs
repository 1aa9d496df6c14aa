//! Whose key it is: one that was replaced may be another organization's.
//!
//! # Invariants
//! Nothing that a key has shown is taken in before the key is known to be this stream's organization's.

use crate::source::Class;

use super::{Reading, Turn};

impl Reading<'_> {
    /// Whether the key was replaced since it was last known to be this organization's: what it has shown must not fill this
    /// ledger. Where requests name the organization, the API refuses a key that doesn't see it.
    pub(super) fn may_be_anothers(&self) -> bool {
        !self.stream.names_organization && self.stream.client.key_changes() != self.key_changes
    }

    /// An answer that may be another organization's, which nobody has looked into: what was asked is asked again.
    pub(super) fn leave_out(&mut self) -> Turn {
        self.plan.abandon_read(self.now());
        Turn::Next
    }

    /// Waits until the key is known to be this organization's.
    pub(super) async fn check_owner(&mut self) -> Turn {
        let stream = self.stream.clone();
        loop {
            let changes = stream.client.key_changes();
            let Some(owner) = stream.until_shutdown(stream.client.owner()).await else { return Turn::End };
            let is_refused = owner.as_ref().is_err_and(|error| error.class() == Class::Credential);
            match owner {
                Ok(Some(owner)) if owner != stream.key.organization => self.report.foreign_key(),
                // Where nothing tells there is nothing to fill the ledger with either.
                Ok(_) => {
                    self.key_changes = changes;
                    self.schedule.reset();
                    return Turn::Next;
                }
                Err(error) => self.report.trouble(&error),
            }
            let pause = async {
                tokio::select! {
                    () = tokio::time::sleep(self.schedule.pause()) => {}
                    () = stream.client.credential_changed(), if is_refused => {}
                }
            };
            if stream.until_shutdown(pause).await.is_none() {
                return Turn::End;
            }
        }
    }
}
