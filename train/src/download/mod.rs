//! Gets CIFAR from its home page: download, resumed if it was cut; checksum; unpacking.
//!
//! Every step leaves either what was there before or its complete result: bytes go to `NAME.part` until the checksum is
//! right, files to a folder of their own until all are there.

mod progress;
mod transfer;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use md5::{Digest, Md5};

pub use progress::Progress;

use crate::cifar::{CIFAR_10, CIFAR_100};
use progress::Display;
use rewind::error::{Error, Result};
use rewind_pictures::regular;
use transfer::Failure;

/// Where both data sets are published.
pub const HOME: &str = "https://www.cs.toronto.edu/~kriz/";

/// Attempts at one file. Only an attempt that gained bytes is followed by another one.
const ATTEMPTS: usize = 5;

/// A data set to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// 10 classes, 170 MB to download.
    Cifar10,
    /// 100 classes, 169 MB to download.
    Cifar100,
}

/// An archive on a server and what it should be.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its address.
    pub url: String,
    /// MD5 of the archive, 32 hexadecimal digits in lower case.
    pub md5: String,
    /// The folder that it unpacks to.
    pub folder: String,
    /// The files that the folder must hold, with their sizes in bytes.
    pub files: Vec<(String, u64)>,
    /// How long the server may be silent.
    pub patience: Duration,
}

impl Archive {
    /// The binary version of a data set, from its home page or from `base_url` (which ends in a slash).
    pub fn cifar(which: Which, base_url: Option<&str>) -> Self {
        let (format, name, md5) = match which {
            Which::Cifar10 => (&CIFAR_10, "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
            Which::Cifar100 => (&CIFAR_100, "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
        };
        Self {
            url: format!("{}{name}", base_url.unwrap_or(HOME)),
            md5: md5.into(),
            folder: format.folder.into(),
            files: format.files().map(|(name, records)| (name.into(), (records * format.record()) as u64)).collect(),
            patience: Duration::from_secs(20),
        }
    }

    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(&self.url)
    }

    fn is_complete(&self, folder: &Path) -> bool {
        self.files.iter().all(|(name, bytes)| {
            folder.join(name).metadata().is_ok_and(|found| found.is_file() && found.len() == *bytes)
        })
    }

    fn error(&self, problem: String) -> Error {
        Error::Download { url: self.url.clone(), problem }
    }
}

/// Downloads a CIFAR data set into the folder `into` and unpacks it there; returns the folder of its files, which
/// [`cifar::open`](crate::cifar::open) reads. Nothing is done when that is complete already. `base_url` replaces the home page.
///
/// # Errors
/// [`Error::Download`] if the server cannot be reached, refuses, or sends something else than the published archive;
/// [`Error::Io`] if a file cannot be written.
pub fn fetch(which: Which, base_url: Option<&str>, into: &Path, progress: Progress) -> Result<PathBuf> {
    fetch_archive(&Archive::cifar(which, base_url), into, progress)
}

/// [`fetch`] for any archive. An archive that already lies in `into` under its own name is used if its checksum is right.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_archive(archive: &Archive, into: &Path, progress: Progress) -> Result<PathBuf> {
    let folder = into.join(&archive.folder);
    if archive.is_complete(&folder) {
        return Ok(folder);
    }
    let created = !into.exists();
    fs::create_dir_all(into).map_err(Error::io("create", into))?;
    let result = obtain(archive, into, &folder, progress);
    if created && result.is_err() {
        // Only an empty folder can be removed this way: it would look like a data set gone missing.
        let _ = fs::remove_dir(into);
    }
    result.map(|()| folder)
}

/// Makes `folder` complete, from the archive on disk or on the server.
fn obtain(archive: &Archive, into: &Path, folder: &Path, progress: Progress) -> Result<()> {
    let mut display = Display::new(progress, archive.name());
    let whole = into.join(archive.name());
    let by_hand = whole.exists();
    if by_hand {
        display.stage("checking the archive found on disk");
        let found = md5_of(&whole)?;
        if found != archive.md5 {
            return Err(archive.error(format!(
                "{} lies there already, but its MD5 is {found}, expected {}: delete it and try again",
                whole.display(),
                archive.md5
            )));
        }
    } else {
        download(archive, into, &whole, &mut display)?;
    }
    display.stage("unpacking");
    unpack(archive, &whole, into, folder)?;
    if !by_hand {
        fs::remove_file(&whole).map_err(Error::io("remove", &whole))?;
    }
    Ok(())
}

/// Makes `whole` the archive with the right checksum.
fn download(archive: &Archive, into: &Path, whole: &Path, display: &mut Display) -> Result<()> {
    let part = into.join(format!("{}.part", archive.name()));
    let client = transfer::client(&archive.url, archive.patience)?;
    let size = || part.metadata().map_or(0, |m| m.len());
    let mut attempt = 1;
    loop {
        let before = size();
        let resumed = match transfer::fetch(&client, &archive.url, &part, display) {
            Ok(resumed) => resumed,
            Err(Failure::Local(error)) => return Err(error),
            Err(Failure::Remote(_)) if attempt < ATTEMPTS && size() > before => {
                attempt += 1;
                continue;
            }
            Err(Failure::Remote(problem)) => {
                let kept = match size() {
                    0 => String::new(),
                    bytes => format!("; the {bytes} bytes that came are kept for the next attempt"),
                };
                return Err(archive.error(format!(
                    "{problem}{kept}; try again later, or get the file by hand on any machine and put it into {}",
                    into.display()
                )));
            }
        };
        display.stage("checking");
        let found = md5_of(&part)?;
        if found == archive.md5 {
            return fs::rename(&part, whole).map_err(Error::io("rename", &part));
        }
        fs::remove_file(&part).map_err(Error::io("remove", &part))?;
        // What was kept from an earlier attempt may be of another version of the file: start anew, once per attempt.
        if !resumed || attempt == ATTEMPTS {
            return Err(archive.error(format!(
                "what came has the MD5 {found}, expected {}, and was deleted: try again, or get the file by hand and \
                 put it into {}",
                archive.md5,
                into.display()
            )));
        }
        attempt += 1;
    }
}

fn md5_of(path: &Path) -> Result<String> {
    let mut file = regular::open(path).map_err(Error::io("open", path))?;
    let mut hash = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Unpacks to a folder of its own first, so that `folder` never holds half a data set. `tar` leaves out entries that would
/// land outside.
fn unpack(archive: &Archive, whole: &Path, into: &Path, folder: &Path) -> Result<()> {
    let stage = into.join(format!("{}.unpacking", archive.folder));
    if stage.exists() {
        fs::remove_dir_all(&stage).map_err(Error::io("remove", &stage))?;
    }
    let result = unpack_to(archive, whole, &stage).and_then(|()| settle(&stage.join(&archive.folder), folder));
    let cleared = fs::remove_dir_all(&stage).map_err(Error::io("remove", &stage));
    result.and(cleared)
}

fn unpack_to(archive: &Archive, whole: &Path, stage: &Path) -> Result<()> {
    fs::create_dir_all(stage).map_err(Error::io("create", stage))?;
    let mut tar = tar::Archive::new(GzDecoder::new(File::open(whole).map_err(Error::io("open", whole))?));
    tar.set_preserve_permissions(false);
    tar.set_preserve_mtime(false);
    tar.unpack(stage).map_err(Error::io("unpack", whole))?;
    if archive.is_complete(&stage.join(&archive.folder)) {
        return Ok(());
    }
    Err(archive.error(format!("{} does not hold the files of the data set in {}", archive.name(), archive.folder)))
}

/// Moves the unpacked folder to its place; into a folder that is there already, file by file.
fn settle(unpacked: &Path, folder: &Path) -> Result<()> {
    if !folder.exists() {
        return fs::rename(unpacked, folder).map_err(Error::io("create", folder));
    }
    for entry in fs::read_dir(unpacked).map_err(Error::io("read", unpacked))? {
        let entry = entry.map_err(Error::io("read", unpacked))?;
        let target = folder.join(entry.file_name());
        fs::rename(entry.path(), &target).map_err(Error::io("replace", &target))?;
    }
    Ok(())
}
