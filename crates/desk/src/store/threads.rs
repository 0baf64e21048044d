//! Threads for files: one that writes, some that read. Work goes to them, answers come back; nothing waits for a disk in a
//! task.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{StoreAnswer, StoreError};

/// Jobs that wait for a thread. Beyond it whoever asks is refused: a disk that stalls must not fill the memory.
const QUEUE: usize = 1_024;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Threads that share a queue.
pub(super) struct Threads {
    jobs: mpsc::SyncSender<Job>,
}

impl Threads {
    /// One thread for each connection.
    pub(super) fn start(name: &str, connections: Vec<Connection>) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for mut connection in connections {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        // The handle is gone: nobody waits for an answer.
                        let Ok(job) = job else { break };
                        job(&mut connection);
                    }
                })
                .map_err(|error| StoreError::Failed(error.to_string()))?;
        }
        Ok(Self { jobs })
    }

    /// Has a thread do it.
    pub(super) fn run<'a, T: Send + 'static>(
        &'a self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreAnswer<'a, T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever asked may have gone; what was written stays written.
            let _ = answer.send(work(connection));
        });
        let queued = self.jobs.try_send(job);
        Box::pin(async move {
            match queued {
                Ok(()) => {}
                Err(mpsc::TrySendError::Full(_)) => {
                    return Err(StoreError::Failed("too much waits for the disk".to_owned()));
                }
                Err(mpsc::TrySendError::Disconnected(_)) => {
                    return Err(StoreError::Failed("its thread has ended".to_owned()));
                }
            }
            answered
                .await
                .unwrap_or_else(|_| Err(StoreError::Failed("its thread has ended".to_owned())))
        })
    }
}
