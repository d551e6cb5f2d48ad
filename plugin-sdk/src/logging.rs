//! Log macros that ask for the level once a call, and format only what is kept.

use std::cell::Cell;

use crate::contract::Level;
use crate::host;

thread_local! {
    static LEVEL: Cell<Option<Level>> = const { Cell::new(None) };
}

/// Asked anew at the next message: the operator may have changed it between two calls.
pub(crate) fn forget_level() {
    LEVEL.set(None);
}

/// Whether messages of this level are kept.
pub fn log_enabled(level: Level) -> bool {
    let least = LEVEL.get().unwrap_or_else(|| {
        let least = host::log_level();
        LEVEL.set(Some(least));
        least
    });
    level >= least
}

/// Logs at a [`Level`](crate::contract::Level): `log!(Level::Info, "{n} flights")`.
#[macro_export]
macro_rules! log {
    ($level:expr, $($message:tt)+) => {{
        let level = $level;
        if $crate::log_enabled(level) {
            $crate::host::log(level, &::std::format!($($message)+));
        }
    }};
}

/// Logs at level debug.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log!($crate::contract::Level::Debug, $($message)+) };
}

/// Logs at level info.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log!($crate::contract::Level::Info, $($message)+) };
}

/// Logs at level warn.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log!($crate::contract::Level::Warn, $($message)+) };
}

/// Logs at level error.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log!($crate::contract::Level::Error, $($message)+) };
}
