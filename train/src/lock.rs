//! The lock of a run folder: one session at a time writes into it.
//!
//! The system drops a lock when the process that holds it ends, however it ends, so a lock that is left behind needs no guess. The file
//! itself means nothing; where it can be, it is removed with the lock.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use rewind::error::{Error, Result};

/// The name of the locked file. Not the checkpoint: each save replaces that.
pub(crate) const NAME: &str = ".lock";

/// A folder that no other session of this program writes into, as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// Locked, unless the file system refused for the reason beside it.
    file: File,
    refused: Option<String>,
}

impl Lock {
    /// Locks `folder`; none if another session has it.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be written.
    pub(crate) fn take(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        loop {
            let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let file = open.map_err(Error::io("write", &path))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => return Ok(Some(Self { path, file, refused: None })),
                // the session before this one removed the file between the two calls
                Ok(()) => {}
                Err(refusal) => return Ok(Self::without(path, file, refusal)),
            }
        }
    }

    /// What to do where the file was not locked: nothing may go on beside another session, while a file system that knows no locks has to
    /// do without.
    fn without(path: PathBuf, file: File, refusal: TryLockError) -> Option<Self> {
        match refusal {
            TryLockError::WouldBlock => None,
            TryLockError::Error(e) => Some(Self { path, file, refused: Some(e.to_string()) }),
        }
    }

    /// Whether other sessions are kept out.
    pub(crate) fn holds(&self) -> bool {
        self.refused.is_none()
    }

    /// What the user should know, where the file system refused.
    pub(crate) fn notice(&self) -> Option<String> {
        let folder = self.path.parent().unwrap_or(&self.path).display();
        let reason = self.refused.as_ref()?;
        Some(format!(
            "{folder} cannot be locked ({reason}): start no second session of this run, nothing would stop it"
        ))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is held: who opened the file before finds that it is no longer the folder's, see `take`. Elsewhere than on Unix
        // that cannot be found out, and the file stays.
        if cfg!(unix) && is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `path` still names this file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |metadata: std::io::Result<fs::Metadata>| metadata.map(|m| (m.dev(), m.ino())).ok();
    id(file.metadata()).is_some_and(|own| id(fs::metadata(path)) == Some(own))
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_holds_a_folder_and_the_next_gets_it_after() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::take(folder.path()).unwrap().expect("a free folder");
        assert!(held.holds() && held.notice().is_none());
        assert!(Lock::take(folder.path()).unwrap().is_none());
        drop(held);
        assert!(Lock::take(folder.path()).unwrap().is_some(), "free again");
        // a file that a killed session left
        fs::write(folder.path().join(NAME), "").unwrap();
        assert!(Lock::take(folder.path()).unwrap().is_some());
    }

    #[test]
    fn of_many_that_start_together_one_at_a_time_holds_it() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let Some(lock) = Lock::take(folder.path()).unwrap() else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                        turns.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(turns.load(Ordering::SeqCst) > 0);
    }

    #[test]
    fn a_file_system_without_locks_is_told_of_and_another_session_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let file = || File::create(&path).unwrap();
        let refused = TryLockError::Error(std::io::Error::other("no locks available"));
        let lock = Lock::without(path.clone(), file(), refused).expect("it goes on");
        assert!(!lock.holds() && lock.notice().unwrap().contains("no locks available"));
        assert!(Lock::without(path.clone(), file(), TryLockError::WouldBlock).is_none());
    }
}
