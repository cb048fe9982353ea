//! When a program is to end: SIGTERM, or Ctrl-C.

use tokio::signal::unix::{SignalKind, signal};

/// Listens from now on, and answers what ends when the program is asked to stop.
///
/// # Errors
/// When signals cannot be received.
pub fn requested() -> std::io::Result<impl Future<Output = ()> + Send> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
