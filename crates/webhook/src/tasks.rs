//! One task for each receiver, and their end.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

/// Tasks that end when they are told to.
pub(crate) struct Tasks {
    closing: watch::Sender<bool>,
    // Held only to put tasks in, and to take them out.
    running: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// None.
    pub(crate) fn new() -> Self {
        Self {
            closing: watch::Sender::new(false),
            running: Mutex::default(),
        }
    }

    /// Starts one. What it is given becomes `true` when it is to end, and is closed if the tasks' handle is dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn spawn<F>(&self, task: impl FnOnce(watch::Receiver<bool>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task(self.closing.subscribe());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.spawn(task);
    }

    /// Tells all to end, and waits until they did.
    pub(crate) async fn shutdown(&self) {
        self.closing.send_replace(true);
        let mut running = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running)
        };
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "delivery of events ended early");
            }
        }
    }
}
