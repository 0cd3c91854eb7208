//! What the command sets once for its process: where warnings go, and what Ctrl-C does.

use std::io::IsTerminal;

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

/// A token that the first Ctrl-C sets; the second ends the process at once.
pub(super) fn cancel_on_interrupt() -> Cancel {
    let cancel = Cancel::new();
    let token = cancel.clone();
    let installed = ctrlc::set_handler(move || {
        if token.is_cancelled() {
            std::process::exit(i32::from(CANCELLED));
        }
        token.cancel();
    });
    if let Err(error) = installed {
        // Ctrl-C then ends the process at once, as it does without a handler.
        tracing::debug!(%error, "no interrupt handler");
    }
    cancel
}
