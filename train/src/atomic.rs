//! Files that are either the former one or the new one, whole, whenever the machine stops.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rewind::error::{Error, Result};

/// What a write is worth when the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The file is on the disk.
    Synced,
    /// The file system knows no fsync, as some shared ones: the file is there, but a power cut may bring back the former one, or none.
    Unsynced,
}

/// Writes `path` by way of a new file beside it, whose name no other process has: write, flush, fsync, rename, fsync of the folder.
///
/// The writer can seek, so a header may be completed after the data.
///
/// # Errors
/// [`Error::Io`] if a step fails; the new file is then removed and a former file at `path` is as it was.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<Durability> {
    let (file, temporary) = new_beside(path).map_err(Error::io("write", path))?;
    write_and_rename(path, file, &temporary, write).map_err(Error::io("write", path))
}

fn write_and_rename(
    path: &Path,
    file: File,
    temporary: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<Durability> {
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    let written = write(&mut writer).and_then(|()| writer.flush()).and_then(|()| judged(writer.get_ref().sync_all()));
    drop(writer);
    let renamed = written.and_then(|durability| fs::rename(temporary, path).map(|()| durability));
    match renamed {
        Ok(Durability::Synced) => sync_folder_of(path),
        Ok(Durability::Unsynced) => Ok(Durability::Unsynced),
        Err(e) => {
            // nothing more can be done if this fails too
            let _ = fs::remove_file(temporary);
            Err(e)
        }
    }
}

/// Gives the file at `path` a second name, `kept`, in the place of what had it: nothing that happens to `path` later changes it. Where
/// the file system knows no second names, it is a copy.
///
/// # Errors
/// [`Error::Io`] if neither can be made; what had the name is then as it was.
pub fn keep_as(path: &Path, kept: &Path) -> Result<()> {
    let linked = || -> io::Result<()> {
        let (_, temporary) = new_beside(kept)?;
        fs::remove_file(&temporary)?;
        fs::hard_link(path, &temporary)?;
        let renamed = fs::rename(&temporary, kept);
        // still there after a failure, and where both were names of the same file
        let _ = fs::remove_file(&temporary);
        renamed?;
        sync_folder_of(kept).map(drop)
    };
    if linked().is_ok() {
        return Ok(());
    }
    write_atomically(kept, |to| io::copy(&mut File::open(path)?, to).map(drop)).map(drop)
}

/// Puts what was added to a file on the disk, as far as its file system syncs.
pub(crate) fn sync(file: &File, path: &Path) -> Result<()> {
    judged(file.sync_data()).map(drop).map_err(Error::io("write", path))
}

/// A file that was not there, `<name>.<process>-<number>.tmp`. Process numbers repeat, in containers and on machines that share a disk: the
/// file system decides whether a name is free.
fn new_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let mut name = path.file_name().map(OsString::from).unwrap_or_default();
        // of one length, so that what a write allocates does not depend on how many there were
        name.push(format!(".{}-{:06}.tmp", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        let temporary = path.with_file_name(name);
        match File::options().write(true).create_new(true).open(&temporary) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (file, temporary)),
        }
    }
}

/// Removes the files that writers which were killed left in `folder`. To be called by who alone writes there.
pub fn remove_left_over(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_temporary) {
            // one that cannot be removed does no harm
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether [`new_beside`] makes such names.
fn is_temporary(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let middle = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once('.'));
    let numbers = middle.and_then(|(of, numbers)| if of.is_empty() { None } else { numbers.split_once('-') });
    numbers.is_some_and(|(process, number)| digits(process) && digits(number))
}

/// Makes a rename in the folder of `path` last. Only Unix can open a folder for that; elsewhere the system sees to it.
fn sync_folder_of(path: &Path) -> io::Result<Durability> {
    if !cfg!(unix) {
        return Ok(Durability::Synced);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    judged(File::open(folder).and_then(|folder| folder.sync_all()))
}

/// A file system that refuses to sync has lost nothing; one whose disk fails has.
fn judged(synced: io::Result<()>) -> io::Result<Durability> {
    match synced {
        Ok(()) => Ok(Durability::Synced),
        // the last is of a folder that may be written and not read
        Err(e)
            if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied) =>
        {
            Ok(Durability::Unsynced)
        }
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn writes_then_replaces_and_leaves_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        for text in ["first", "second"] {
            write_atomically(&path, |w| w.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(folder.path()), ["a.csv"]);
        }
    }

    #[test]
    fn what_was_kept_stays_when_its_file_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, kept) = (folder.path().join("a.csv"), folder.path().join("kept.csv"));
        for text in ["first", "second"] {
            write_atomically(&path, |w| w.write_all(text.as_bytes())).unwrap();
            // twice: the second time both are names of one file already
            keep_as(&path, &kept).unwrap();
            keep_as(&path, &kept).unwrap();
            write_atomically(&path, |w| w.write_all(b"later")).unwrap();
            assert_eq!(fs::read_to_string(&kept).unwrap(), text);
            assert_eq!(names(folder.path()), ["a.csv", "kept.csv"]);
        }
        let error = keep_as(&folder.path().join("none.csv"), &kept).unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "second");
        assert_eq!(names(folder.path()), ["a.csv", "kept.csv"]);
    }

    #[test]
    fn a_writer_that_fails_halfway_keeps_the_former_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        fs::write(&path, "former").unwrap();
        let error = write_atomically(&path, |w| {
            w.write_all(&[b'x'; 1 << 20])?;
            Err(io::Error::other("the pencil broke"))
        })
        .unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        assert!(error.to_string().ends_with("a.csv: the pencil broke"), "{error}");
        assert_eq!(error.exit_code(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "former");
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_keeps_the_former_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temporary) = (folder.path().join("a.csv"), folder.path().join("a.csv.1-1.tmp"));
        fs::write(&path, "former").unwrap();
        std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
        let full = File::options().write(true).open(&temporary).unwrap();
        // Small enough for the buffer, so that only the flush meets the full disk.
        let error = write_and_rename(&path, full, &temporary, |w| w.write_all(b"new")).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "former");
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    fn writers_of_one_path_at_the_same_time_leave_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let texts: Vec<String> = (0..8).map(|n| n.to_string().repeat(100_000)).collect();
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| {
                    (0..20).for_each(|_| {
                        write_atomically(&path, |w| w.write_all(text.as_bytes())).unwrap();
                    })
                });
            }
        });
        assert!(texts.contains(&fs::read_to_string(&path).unwrap()));
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    fn what_a_killed_writer_left_is_known_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (file, left) = new_beside(&folder.path().join("checkpoint.safetensors")).unwrap();
        drop(file);
        for name in ["a.csv", "notes.tmp", "a.1-x.tmp", "a.1.tmp", ".1-2.tmp", "a.1-2.tmp.csv"] {
            fs::write(folder.path().join(name), "kept").unwrap();
        }
        assert!(left.exists());
        remove_left_over(folder.path());
        assert_eq!(names(folder.path()), [".1-2.tmp", "a.1-2.tmp.csv", "a.1-x.tmp", "a.1.tmp", "a.csv", "notes.tmp"]);
    }

    #[test]
    fn a_refused_sync_is_no_failure_and_a_failing_disk_is() {
        let of = |kind: ErrorKind| judged(Err(kind.into())).map_err(|e| e.kind());
        assert_eq!(judged(Ok(())).unwrap(), Durability::Synced);
        assert_eq!(of(ErrorKind::InvalidInput), Ok(Durability::Unsynced));
        assert_eq!(of(ErrorKind::Unsupported), Ok(Durability::Unsynced));
        assert_eq!(of(ErrorKind::StorageFull), Err(ErrorKind::StorageFull));
        assert_eq!(of(ErrorKind::Other), Err(ErrorKind::Other));
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        let error = write_atomically(Path::new("no/such/folder/a.csv"), |w| w.write_all(b"x")).unwrap_err();
        assert!(error.to_string().starts_with("cannot write no/such/folder/a.csv: "), "{error}");
    }
}
