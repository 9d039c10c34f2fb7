//! The bytes of a cache file.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use flate2::Crc;
use sha2::{Digest, Sha256};

use super::Entry;
use crate::decode::MAX_PIXELS;
use crate::regular;
use crate::resize::Filter;
use crate::source::Files;

const MAGIC: &[u8; 8] = b"rewindpx";
/// Changes with the layout, and whenever decoding or resizing gives other bytes.
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 32;
const ENTRY: usize = 16;

/// What the pictures' bytes follow from.
pub(super) fn key(files: &Files) -> [u8; 32] {
    let mut hash = Sha256::new();
    let prepare = files.prepare();
    let filter = match prepare.filter {
        Filter::Bilinear => 0,
        Filter::Bicubic => 1,
    };
    // no length is 0, so that 0 may stand for none
    hash.update([filter]);
    hash.update(prepare.resize.unwrap_or(0).to_le_bytes());
    hash.update(files.limits_as_bytes());
    for item in files.items() {
        let path = item.path.as_os_str().as_encoded_bytes();
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        hash.update(item.bytes.to_le_bytes());
        let modified = item.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        hash.update(modified.map_or(0, |time| time.as_nanos()).to_le_bytes());
    }
    hash.finalize().into()
}

fn header(key: &[u8; 32]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..].copy_from_slice(key);
    header
}

pub(super) struct Writer {
    file: BufWriter<File>,
    crc: Crc,
}

impl Writer {
    pub fn create(path: &Path, key: &[u8; 32]) -> io::Result<Self> {
        let mut writer = Self { file: BufWriter::with_capacity(1 << 20, File::create(path)?), crc: Crc::new() };
        writer.counted(&header(key))?;
        Ok(writer)
    }

    pub fn pixels(&mut self, pixels: &[u8]) -> io::Result<()> {
        self.file.write_all(pixels)
    }

    pub fn finish(mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            for part in [entry.width, entry.height, entry.crc, 0] {
                self.counted(&part.to_le_bytes())?;
            }
        }
        let crc = self.crc.sum();
        self.file.write_all(&crc.to_le_bytes())?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn counted(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.file.write_all(bytes)
    }
}

pub(super) enum Unusable {
    Absent,
    Reason(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            ErrorKind::NotFound => Self::Absent,
            ErrorKind::UnexpectedEof => Self::Reason("it is cut short"),
            _ => Self::Io(e),
        }
    }
}

pub(super) struct Reader {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
}

impl Reader {
    /// Opens the cache of `count` pictures with this key.
    pub fn open(path: &Path, key: &[u8; 32], count: usize) -> Result<(Self, Vec<Entry>), Unusable> {
        let mut file = regular::open(path)?;
        let len = file.metadata()?.len();
        let mut found = [0; HEADER];
        file.read_exact(&mut found)?;
        if found[..12] != header(key)[..12] {
            return Err(Unusable::Reason("it is no cache of this version"));
        }
        if found != header(key) {
            return Err(Unusable::Reason("the files, their times or the resize are not those it was made of"));
        }
        let table_len = count * ENTRY + 4;
        // checked before memory is taken: the count is the set's own and no number of the file's
        let Some(table_at) = len.checked_sub(table_len as u64).filter(|&at| at >= HEADER as u64) else {
            return Err(Unusable::Reason("it is cut short"));
        };
        file.seek(SeekFrom::Start(table_at))?;
        let mut table = vec![0; table_len];
        file.read_exact(&mut table)?;
        let (table, sum) = table.split_at(count * ENTRY);
        let mut crc = Crc::new();
        crc.update(&found);
        crc.update(table);
        if crc.sum().to_le_bytes() != sum {
            return Err(Unusable::Reason("its table is damaged, or it is cut short"));
        }
        let mut offset = HEADER as u64;
        let mut entries = Vec::with_capacity(count);
        for entry in table.as_chunks::<ENTRY>().0 {
            let part = |i: usize| u32::from_le_bytes([entry[i], entry[i + 1], entry[i + 2], entry[i + 3]]);
            let (width, height) = (part(0), part(4));
            let pixels = u64::from(width) * u64::from(height);
            if pixels > MAX_PIXELS {
                return Err(Unusable::Reason("its table is damaged"));
            }
            entries.push(Entry { width, height, crc: part(8), offset });
            offset += pixels * 3;
        }
        if offset != table_at {
            return Err(Unusable::Reason("its length is not what its table says"));
        }
        #[cfg(not(unix))]
        let file = std::sync::Mutex::new(file);
        Ok((Self { file }, entries))
    }

    /// Fills `bytes` from `offset` on. Several threads may read at a time.
    #[cfg(unix)]
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, offset)
    }

    /// Fills `bytes` from `offset` on.
    #[cfg(not(unix))]
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(bytes)
    }
}
