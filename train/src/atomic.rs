//! Files that are either the former one or the new one, whole, whenever the machine stops.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rewind::error::{Error, Result};

/// Writes `path` by way of `<name>.tmp` beside it: write, flush, fsync, rename, fsync of the folder.
///
/// The writer can seek, so a header may be completed after the data. Only one process may write a path at a time.
///
/// # Errors
/// [`Error::Io`] if a step fails; the temporary file is then removed and a former file at `path` is as it was.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let temporary = temporary_beside(path);
    let written = write_and_rename(path, &temporary, write);
    if written.is_err() {
        // Nothing more can be done if this fails too; the next write overwrites it.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(Error::io("write", path))
}

fn write_and_rename(
    path: &Path,
    temporary: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 16, File::create(temporary)?);
    write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    drop(writer);
    fs::rename(temporary, path)?;
    sync_folder_of(path)
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Makes a rename in the folder of `path` last. Only Unix can open a folder for that; elsewhere the system sees to it.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
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
        fs::write(folder.path().join("a.csv.tmp"), "stale and much longer than what follows").unwrap();
        for text in ["first", "second"] {
            write_atomically(&path, |w| w.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(folder.path()), ["a.csv"]);
        }
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
        let path = folder.path().join("a.csv");
        fs::write(&path, "former").unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("a.csv.tmp")).unwrap();
        // Small enough for the buffer, so that only the flush meets the full disk.
        let error = write_atomically(&path, |w| w.write_all(b"new")).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "former");
        assert_eq!(names(folder.path()), ["a.csv"]);
        write_atomically(&path, |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        let error = write_atomically(Path::new("no/such/folder/a.csv"), |w| w.write_all(b"x")).unwrap_err();
        assert!(error.to_string().starts_with("cannot write no/such/folder/a.csv: "), "{error}");
    }
}
