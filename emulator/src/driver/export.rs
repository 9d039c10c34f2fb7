//! How safe functions become exports of the library.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::code::{Code, Result};

/// The driver's functions as C sees them: each body gives a `Result<(), Code>`. Also makes the file's `EXPORTS`, from
/// which `cuGetProcAddress` answers.
macro_rules! exports {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {
        #[allow(unused_imports)]
        use $crate::driver::{export::guard, foreign::{Host, In, Out, Text}};
        #[allow(unused_imports)]
        use std::ffi::{c_char, c_void};

        $(
            #[allow(unsafe_code, non_snake_case)]
            // SAFETY: nothing else in a library or program that contains this is called so, except a real driver,
            // which is never linked against but opened by name.
            #[unsafe(no_mangle)]
            extern "C" fn $name($($arg: $ty),*) -> u32 {
                guard(stringify!($name), move || $body)
            }
        )*

        pub(super) const EXPORTS: &[(&str, *const ())] = &[$((stringify!($name), $name as *const ())),*];
    };
}

/// Runs the body of an export. Panics end here: unwinding into C would abort the caller's process.
pub fn guard(name: &str, body: impl FnOnce() -> Result<()>) -> u32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(code)) => code.0,
        Err(_) => {
            say(name, "the emulator panicked; this is a bug in it");
            Code::UNKNOWN.0
        }
    }
}

/// Tells the user on stderr what a bare error code cannot.
pub fn say(call: &str, what: impl std::fmt::Display) {
    eprintln!("rewind-emulator: {call}: {what}");
}
