//! A channel that is opened when it is first used, and anew after each loss.

use std::sync::Arc;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};

use super::{Result, bounded};

/// A channel for publishing, kept from one publish to the next.
pub(super) struct KeptChannel {
    confirms: bool,
    open: Option<(Arc<Connection>, Channel)>,
}

impl KeptChannel {
    /// On it the broker confirms each publish.
    pub(super) fn with_confirms() -> Self {
        Self { confirms: true, open: None }
    }

    pub(super) fn without_confirms() -> Self {
        Self { confirms: false, open: None }
    }

    /// The channel on this connection.
    pub(super) async fn on(&mut self, connection: &Arc<Connection>) -> Result<Channel> {
        if let Some((of, channel)) = &self.open
            && Arc::ptr_eq(of, connection)
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = bounded(connection.create_channel()).await?;
        if self.confirms {
            bounded(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        }
        self.open = Some((Arc::clone(connection), channel.clone()));
        Ok(channel)
    }

    /// Closes the channel that is open: what it holds unacknowledged goes back to its queue.
    pub(super) async fn close(&mut self) {
        if let Some((_, channel)) = self.open.take()
            && let Err(error) = bounded(channel.close(200, "given back".into())).await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "the channel was closed already");
        }
    }
}
