//! What tables and pictures say of runs that diverged.

/// What counts as diverged.
pub const DIVERGED: &str = "left the finite numbers or could not rebuild a block";

/// What a curve's name says of so many runs that diverged.
pub fn of_diverged(runs: usize) -> String {
    if runs > 0 { format!(", diverged: {runs}") } else { String::new() }
}

/// What a picture's titles say of such runs, if there are any.
pub const fn as_guessing(any: bool) -> &'static str {
    if any { "; diverged runs count as guessing" } else { "" }
}
