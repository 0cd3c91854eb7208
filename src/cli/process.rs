//! What the command sets once for its process: where warnings go, and what Ctrl-C does.

use std::io::IsTerminal;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use indicatif::ProgressBar;
#[cfg(unix)]
use signal_hook::consts::{SIGINT, SIGXFSZ};

use super::failure::CANCELLED;
use crate::cancel::Cancel;

/// Warnings of the library appear on stderr, unless the user wants silence.
pub(super) fn show_warnings(quiet: bool) {
    if quiet {
        return;
    }
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .without_time()
        .finish();
    // The process has no other subscriber unless the caller of `main` set one: that one stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The token that Ctrl-C sets.
pub(super) fn interrupt() -> Cancel {
    static INTERRUPT: OnceLock<Cancel> = OnceLock::new();
    INTERRUPT.get_or_init(Cancel::new).clone()
}

/// From now on the first Ctrl-C sets the token; the second ends the process at once.
pub(super) fn cancel_on_interrupt() -> Cancel {
    static INSTALLED: Once = Once::new();
    let cancel = interrupt();
    INSTALLED.call_once(|| {
        if let Err(error) = listen(&cancel) {
            // Ctrl-C then ends the process at once, as it does without a handler.
            tracing::debug!(%error, "no interrupt handler");
        }
    });
    cancel
}

/// Handlers that need no thread: a process that may start no more of them hears Ctrl-C too.
#[cfg(unix)]
fn listen(cancel: &Cancel) -> std::io::Result<()> {
    let code = i32::from(CANCELLED);
    // In this order: the first Ctrl-C finds the flag as it was before.
    signal_hook::flag::register_conditional_shutdown(SIGINT, code, cancel.flag())?;
    signal_hook::flag::register(SIGINT, cancel.flag()).map(drop)
}

#[cfg(not(unix))]
fn listen(cancel: &Cancel) -> Result<(), ctrlc::Error> {
    let token = cancel.clone();
    ctrlc::set_handler(move || {
        if token.is_cancelled() {
            std::process::exit(i32::from(CANCELLED));
        }
        token.cancel();
    })
}

/// A file that grows beyond the process's limit is an error of its write, as on a full disk, instead of the end of the
/// process by a signal.
pub(super) fn outlive_file_limits() {
    #[cfg(unix)]
    if let Err(error) = signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default()) {
        tracing::debug!(%error, "a file beyond the limit ends the process");
    }
}

/// Lets a bar turn by itself, where a thread for that can be started: one tries it, and has ended before.
pub(super) fn turn(bar: &ProgressBar) {
    if std::thread::Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok()) {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
}
