//! What can go wrong, in one sentence each: what, where, what was expected, what to do.

use std::fmt;
use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What stops a set from being used at all. A single picture that cannot be read is no such thing: see [`Broken`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder or a file of a set is not what it should be.
    #[error("{}: {problem}", path.display())]
    Set {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it, what was expected, what to do.
        problem: String,
    },

    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),

    /// The system failed to read or write.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// A verb: read, write, look into.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn set(path: &Path, problem: impl Into<String>) -> Self {
        Self::Set { path: path.into(), problem: problem.into() }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }
}

/// A picture that cannot be read. Whoever meets one skips it, counts it and lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// Why, in words that follow the path and a colon.
    pub reason: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}
