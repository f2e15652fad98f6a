//! Named tasks, one way to stop them, and a report of who is still running.
//!
//! A task that ends before it was told to is a fault: it cancels the others and its error is the
//! result. Why not a bare `JoinSet`: it doesn't know names, and a log line "waiting for writer"
//! is worth sixty lines of code at three in the morning.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks that live and end together.
#[derive(Debug)]
pub struct Supervisor {
    shutdown: CancellationToken,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    running: Vec<&'static str>,
}

impl Supervisor {
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            shutdown,
            tasks: JoinSet::new(),
            running: Vec::new(),
        }
    }

    pub fn token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts a task. It must end soon after the token is cancelled, and not before.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.running.push(name);
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Waits for the shutdown or for a task's unexpected end, then for all tasks.
    ///
    /// # Errors
    /// The first task's error, an unexpected end, a panic, or tasks that were still running
    /// `deadline` after the shutdown and were dropped.
    pub async fn run(mut self, deadline: Duration) -> anyhow::Result<()> {
        let mut first_error = None;
        let stopping = async |token: &CancellationToken| {
            token.cancelled().await;
            tokio::time::sleep(deadline).await;
        };
        let token = self.shutdown.clone();
        let timeout = stopping(&token);
        tokio::pin!(timeout);
        let mut report = tokio::time::interval(Duration::from_secs(5));
        report.tick().await;
        loop {
            tokio::select! {
                joined = self.tasks.join_next() => {
                    let Some(joined) = joined else { break };
                    let result = match joined {
                        Ok((name, result)) => {
                            self.running.retain(|running| *running != name);
                            match result {
                                Ok(()) if self.shutdown.is_cancelled() => Ok(()),
                                Ok(()) => Err(anyhow::anyhow!("{name} ended before it was told to")),
                                Err(error) => Err(error.context(name)),
                            }
                        }
                        Err(error) => Err(anyhow::Error::new(error).context("a task panicked")),
                    };
                    if let Err(error) = result {
                        tracing::error!(error = format!("{error:#}"), "a task failed, stopping the others");
                        first_error.get_or_insert(error);
                        self.shutdown.cancel();
                    }
                }
                () = &mut timeout => {
                    self.tasks.abort_all();
                    let names = self.running.join(", ");
                    return Err(first_error.unwrap_or_else(|| anyhow::anyhow!("did not stop within {deadline:?}: {names}")));
                }
                _ = report.tick(), if self.shutdown.is_cancelled() => {
                    tracing::info!(tasks = self.running.join(", "), "waiting for tasks to stop");
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

/// Cancels `shutdown` on SIGINT or SIGTERM; a second signal ends the process at once.
///
/// # Errors
/// When the signal handlers can't be installed.
pub fn cancel_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for round in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if round > 0 {
                tracing::warn!("second signal, stopping at once");
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the operator asked twice: nothing is to be waited for"
                )]
                std::process::exit(130);
            }
            tracing::info!("stopping");
            shutdown.cancel();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unexpected_end_stops_the_others() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        let token = supervisor.token();
        supervisor.spawn("waits", async move {
            token.cancelled().await;
            Ok(())
        });
        supervisor.spawn("ends", async { Ok(()) });
        let error = supervisor.run(Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(error.to_string(), "ends ended before it was told to");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_named() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new(shutdown.clone());
        supervisor.spawn("stubborn", std::future::pending());
        shutdown.cancel();
        let error = supervisor.run(Duration::from_secs(3)).await.unwrap_err();
        assert!(error.to_string().ends_with("stubborn"), "{error}");
    }
}
