//! The signals that ask a run to stop: Ctrl-C, a terminal that closes, a system that shuts down.
//!
//! Those that are ignored when the program starts stay so, as `nohup` and a shell's background jobs mean it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The flag that the first signal raises.
static STOP: OnceLock<&'static AtomicBool> = OnceLock::new();
/// The first signal that came; 0 before.
static CAME: AtomicI32 = AtomicI32::new(0);

/// Ctrl-C, the same on every system.
const INTERRUPT: i32 = 2;

/// The exit code of a run that a signal stopped, by the shell's convention: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP; 130 where
/// something else stopped it.
pub(crate) fn exit_code() -> u8 {
    let came = CAME.load(Ordering::Relaxed);
    128 + u8::try_from(came).ok().filter(|signal| (1..=64).contains(signal)).unwrap_or(INTERRUPT as u8)
}

/// Has the first signal raise `stop`; a second one ends the process at once.
///
/// # Errors
/// If the system does not let it.
pub(crate) fn watch(stop: &'static AtomicBool) -> std::io::Result<()> {
    STOP.get_or_init(|| stop);
    system::watch()
}

#[cfg(unix)]
mod system {
    use std::io;
    use std::sync::atomic::Ordering;

    use super::{CAME, INTERRUPT, STOP};

    const HANGUP: i32 = 1;
    const TERMINATE: i32 = 15;
    /// `SIG_IGN`, the same on every Unix, as are the numbers above.
    const IGNORED: usize = 1;
    /// `SIG_ERR`.
    const REFUSED: usize = usize::MAX;

    unsafe extern "C" {
        /// The C library's `signal`, which keeps the handler and restarts interrupted calls.
        fn signal(number: i32, handler: usize) -> usize;
        fn _exit(code: i32) -> !;
    }

    pub(super) fn watch() -> io::Result<()> {
        let handler = on_signal as extern "C" fn(i32) as usize;
        for number in [INTERRUPT, TERMINATE, HANGUP] {
            // SAFETY: the handler may run at any moment: it calls nothing but atomics and `_exit`.
            let before = unsafe { signal(number, handler) };
            if before == REFUSED {
                return Err(io::Error::last_os_error());
            }
            if before == IGNORED {
                // SAFETY: this restores what was.
                unsafe { signal(number, IGNORED) };
            }
        }
        Ok(())
    }

    extern "C" fn on_signal(number: i32) {
        let first = CAME.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
        match (first, STOP.get()) {
            (Ok(_), Some(stop)) => stop.store(true, Ordering::Relaxed),
            // SAFETY: the call that POSIX gives to handlers for this; it does not return.
            _ => unsafe { _exit(128 + number) },
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;
    use std::sync::atomic::Ordering;

    use super::{CAME, INTERRUPT, STOP, exit_code};

    pub(super) fn watch() -> io::Result<()> {
        let handler = || match (CAME.swap(INTERRUPT, Ordering::Relaxed), STOP.get()) {
            (0, Some(stop)) => stop.store(true, Ordering::Relaxed),
            _ => std::process::exit(i32::from(exit_code())),
        };
        ctrlc::set_handler(handler).map_err(io::Error::other)
    }
}
