//! When a program is to end: SIGTERM, Ctrl-C, or the end of its standard input, if it was told so.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Listens from now on, and returns what ends when the program is asked to stop.
///
/// With `with_stdin`, the end of standard input asks as well: the program that holds the other end then need not live to ask.
///
/// # Errors
/// When signals cannot be received.
pub fn requested(with_stdin: bool) -> std::io::Result<impl Future<Output = ()> + Send> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stdin_ended = with_stdin.then(stdin_ended);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = or_never(stdin_ended) => {}
        }
    })
}

async fn or_never(ended: Option<oneshot::Receiver<()>>) {
    match ended {
        // The thread drops its end when standard input ends.
        Some(ended) => drop(ended.await),
        None => std::future::pending().await,
    }
}

/// A thread of its own, because the runtime would wait for one of its own to end.
fn stdin_ended() -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // An error is an end as well.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    });
    receiver
}
