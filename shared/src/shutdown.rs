//! The request to stop: SIGTERM, Ctrl-C or, with `STOP_WITH_STDIN`, the end of standard input.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Listens from now on, and returns a future that ends when the program is asked to stop.
///
/// With `with_stdin`, the end of standard input is a request to stop, too. So the program that holds the other end may be killed.
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

/// Reads standard input in a thread of its own, because the runtime waits for its own blocking threads when it shuts down.
fn stdin_ended() -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // An error counts as the end.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    });
    receiver
}
