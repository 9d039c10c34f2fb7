//! Opens files that a user named, and nothing else: opening a pipe would wait for its writer, and reading a device may never end.

use std::fs::{self, File, FileType};
use std::io;
use std::path::Path;

/// Opens a regular file for reading.
///
/// # Errors
/// The system's, or in words that it is another thing: "is a folder", "is not a regular file but a pipe".
pub fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    match other_than_file(kind) {
        None => File::open(path),
        Some(problem) => Err(io::Error::new(io::ErrorKind::InvalidInput, problem)),
    }
}

/// What a thing is that is no regular file: a verb and its object.
pub fn other_than_file(kind: FileType) -> Option<String> {
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => None,
        (_, true) => Some("is a folder".into()),
        _ => Some(format!("is not a regular file but a {}", special(kind))),
    }
}

#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match () {
        () if kind.is_fifo() => "pipe",
        () if kind.is_socket() => "socket",
        () => "device",
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "device"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let problem = |path: &Path| open(path).map(drop).unwrap_err().to_string();
        let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(problem(&pipe), "is not a regular file but a pipe");
        assert_eq!(problem(&socket), "is not a regular file but a socket");
        assert_eq!(problem(Path::new("/dev/null")), "is not a regular file but a device");
        assert_eq!(problem(folder.path()), "is a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(open(&file).is_ok() && open(&link).is_ok());
        assert_eq!(open(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
