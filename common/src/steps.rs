//! Named places on an order's path where a test may stop or kill a program, by its will rather than by luck. The programs
//! that ship pass [`Steps::none`], which costs nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A place on the path of an order, in the order they are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// api: the broker has confirmed the command, the client has not been answered.
    Published,
    /// consumer: a batch is gathered, its transaction has not begun.
    Gathered,
    /// consumer: the batch's stock rows are locked.
    Locked,
    /// consumer: everything is written, nothing is committed.
    Saved,
    /// consumer: committed, not acknowledged.
    Committed,
    /// consumer: acknowledged, nobody has been told.
    Acknowledged,
}

type Hook = dyn Fn(Step) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// What happens at each step. The program waits for it.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Hook>>);

impl Steps {
    /// Nothing happens.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    pub fn new<F, Fut>(hook: F) -> Self
    where
        F: Fn(Step) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Some(Arc::new(move |step| Box::pin(hook(step)))))
    }

    pub async fn reached(&self, step: Step) {
        if let Some(hook) = &self.0 {
            hook(step).await;
        }
    }
}
