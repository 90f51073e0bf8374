//! Waiting for a signer that is another process, perhaps with a person behind it.
//!
//! The ledger asks for a signature and goes on when it has it; meanwhile nothing else runs in that task. So the waiting is
//! done on a thread of its own, with a limit, and a signal ends it as it ends everything else.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The system has no thread or no signals to give.
    #[error("it cannot be waited for")]
    System(#[source] std::io::Error),
    /// It took too long.
    #[error("no answer within {} seconds", patience.as_secs())]
    Patience {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The user has had enough.
    #[error("interrupted")]
    Interrupted,
}

/// Runs `work` to its end, for `patience` at most.
pub fn wait<T: Send>(patience: Duration, work: impl Future<Output = T> + Send) -> Result<T, WaitError> {
    std::thread::scope(|scope| match scope.spawn(|| run(patience, work)).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn run<T>(patience: Duration, work: impl Future<Output = T>) -> Result<T, WaitError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(WaitError::System)?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(WaitError::System)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(WaitError::System)?;
        tokio::select! {
            result = work => Ok(result),
            () = tokio::time::sleep(patience) => Err(WaitError::Patience { patience }),
            _ = interrupt.recv() => Err(WaitError::Interrupted),
            _ = terminate.recv() => Err(WaitError::Interrupted),
        }
    })
}
