//! Prepared pictures kept, in memory or in one file, so that each is decoded once.
//!
//! What is seen of a picture is the same bytes with a cache and without one. A file holds, all numbers little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `rewindpx` |
//! | 4 | version of this format, 1 |
//! | 32 | SHA-256 of the files' paths, sizes and times, and of what is done to each |
//! | ... | the pictures' bytes, one after another |
//! | 16 each | a picture's width, height, the CRC-32 of its bytes, and 0; width 0 for a broken one |
//! | 4 | CRC-32 of the header and this table |
//!
//! One that was made of other files, is cut, or has a damaged table is made anew. A picture whose bytes are damaged is decoded
//! from its file. A new cache comes into its place whole or not at all; of two runs that make the same one, the second waits.

mod file;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ahead::Ahead;
use crate::error::{Broken, Error, Result};
use crate::resize::Seen;
use crate::source::{Files, Scratch, Source};
use crate::survey::Survey;

/// Pictures kept. Those that are broken are asked of their files each time, which say why.
pub struct Cached {
    files: Files,
    entries: Vec<Entry>,
    kept: Kept,
    damaged: AtomicU64,
}

/// Where a picture lies among the others' bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    width: u32,
    height: u32,
    crc: u32,
    offset: u64,
}

impl Entry {
    fn len(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

enum Kept {
    Ram(Vec<u8>),
    Disk(file::Reader),
}

/// How a cache file came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Found,
    /// There was none.
    New,
    /// There was one that could not be used, for this reason.
    Anew(&'static str),
}

impl Cached {
    /// The bytes that [`Cached::ram`] will hold of pictures of these sizes, or [`Cached::disk`] will write.
    pub fn bytes(files: &Files, survey: &Survey) -> u64 {
        let size = |&(w, h): &(u32, u32)| files.prepare().size(w, h);
        survey.sizes.iter().flatten().filter_map(size).map(|(w, h)| u64::from(w) * u64::from(h) * 3).sum()
    }

    /// Decodes all pictures into memory, on `threads` threads. `survey` is that of the same files. `progress` hears how many are
    /// done.
    ///
    /// # Errors
    /// [`Error::Usage`] if the machine has no room for the pictures or no more threads.
    pub fn ram(files: Files, survey: &Survey, threads: usize, progress: impl FnMut(usize)) -> Result<Self> {
        let bytes = Self::bytes(&files, survey);
        let mut kept = Vec::new();
        let room = usize::try_from(bytes).map_err(|_| ()).and_then(|len| kept.try_reserve_exact(len).map_err(|_| ()));
        room.map_err(|()| {
            Error::Usage(format!(
                "this machine has no room for {bytes} bytes of pictures: keep them on disk, or resize them"
            ))
        })?;
        let entries = decode_all(&files, threads, progress, |pixels| {
            kept.extend_from_slice(pixels);
            Ok(())
        })?;
        Ok(Self::of(files, entries, Kept::Ram(kept)))
    }

    /// Opens the cache file at `path`, or makes it, on `threads` threads. Beside it a file `.lock` stays.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written, locked or read; [`Error::Usage`] if the machine has no more threads.
    pub fn disk(files: Files, path: &Path, threads: usize, progress: impl FnMut(usize)) -> Result<(Self, Origin)> {
        let key = file::key(&files);
        let beside = |ending: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(ending);
            path.with_file_name(name)
        };
        let lock = beside(".lock");
        let locked =
            File::options().create(true).truncate(false).write(true).open(&lock).and_then(|f| f.lock().map(|()| f));
        // until it is dropped
        let _locked = locked.map_err(Error::io("lock", &lock))?;
        let origin = match file::Reader::open(path, &key, files.len()) {
            Ok((reader, entries)) => return Ok((Self::of(files, entries, Kept::Disk(reader)), Origin::Found)),
            Err(file::Unusable::Absent) => Origin::New,
            Err(file::Unusable::Reason(reason)) => Origin::Anew(reason),
            Err(file::Unusable::Io(e)) => return Err(Error::io("read", path)(e)),
        };
        // of one name, so that what a killed run left is written over
        let temporary = beside(".tmp");
        let made = (|| {
            let mut writer = file::Writer::create(&temporary, &key).map_err(Error::io("write", &temporary))?;
            let entries = decode_all(&files, threads, progress, |pixels| {
                writer.pixels(pixels).map_err(Error::io("write", &temporary))
            })?;
            writer.finish(&entries).map_err(Error::io("write", &temporary))?;
            std::fs::rename(&temporary, path).map_err(Error::io("write", path))
        })();
        if let Err(e) = made {
            // nothing more can be done if this fails too
            let _ = std::fs::remove_file(&temporary);
            return Err(e);
        }
        match file::Reader::open(path, &key, files.len()) {
            Ok((reader, entries)) => Ok((Self::of(files, entries, Kept::Disk(reader)), origin)),
            Err(file::Unusable::Io(e)) => Err(Error::io("read", path)(e)),
            Err(_) => {
                Err(Error::set(path, "this cache was just written and cannot be read back: the disk may be failing"))
            }
        }
    }

    fn of(files: Files, entries: Vec<Entry>, kept: Kept) -> Self {
        Self { files, entries, kept, damaged: AtomicU64::new(0) }
    }

    /// Indices of the pictures that could not be decoded.
    pub fn broken(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.width == 0).map(|(index, _)| index)
    }

    /// How often kept bytes were found damaged, and the picture was decoded from its file instead.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }
}

/// Hands the bytes of every picture on in order, and tells where they lie one after another.
fn decode_all(
    files: &Files,
    threads: usize,
    mut progress: impl FnMut(usize),
    mut keep: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Vec<Entry>> {
    // two for each thread: one in work, one that waits for its turn
    let slots = vec![(0, 0, Vec::new()); 2 * threads.max(1)];
    let mut ahead = Ahead::start(files.len(), slots, threads, || {
        let (files, mut scratch) = (files.clone(), Scratch::default());
        Box::new(move |index, slot: &mut (u32, u32, Vec<u8>)| {
            slot.2.clear();
            (slot.0, slot.1) = match files.picture(index, &mut scratch) {
                Ok(seen) => {
                    slot.2.reserve_exact(seen.pixels.len());
                    slot.2.extend_from_slice(seen.pixels);
                    (seen.width, seen.height)
                }
                Err(_) => (0, 0),
            };
        })
    })
    .map_err(|e| Error::Usage(format!("cannot start the threads that decode pictures ({e}): give fewer --threads")))?;
    let (mut entries, mut offset) = (Vec::with_capacity(files.len()), 0);
    while let Some(slot) = ahead.next() {
        let (width, height, pixels) = &slot;
        entries.push(Entry { width: *width, height: *height, crc: crc(pixels), offset });
        offset += pixels.len() as u64;
        keep(pixels)?;
        ahead.give_back(slot);
        progress(entries.len());
    }
    Ok(entries)
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

impl Source for Cached {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn picture<'a>(&'a self, index: usize, scratch: &'a mut Scratch) -> std::result::Result<Seen<'a>, Broken> {
        let entry = &self.entries[index];
        let seen = |pixels| Seen { width: entry.width, height: entry.height, pixels };
        if entry.width == 0 {
            return self.files.picture(index, scratch);
        }
        match &self.kept {
            Kept::Ram(kept) => Ok(seen(&kept[entry.offset as usize..][..entry.len()])),
            Kept::Disk(reader) => {
                scratch.picture.clear();
                scratch.picture.reserve_exact(entry.len());
                scratch.picture.resize(entry.len(), 0);
                if reader.read(entry.offset, &mut scratch.picture).is_ok() && crc(&scratch.picture) == entry.crc {
                    return Ok(seen(&scratch.picture));
                }
                self.damaged.fetch_add(1, Ordering::Relaxed);
                self.files.picture(index, scratch)
            }
        }
    }

    fn bytes_per_thread(&self, image: u32) -> u64 {
        // a damaged or broken picture takes what its file does
        self.files.bytes_per_thread(image)
    }

    fn held_bytes(&self) -> u64 {
        let table = (self.entries.len() * size_of::<Entry>()) as u64;
        match &self.kept {
            Kept::Ram(kept) => table + kept.capacity() as u64,
            Kept::Disk(_) => table,
        }
    }
}

#[cfg(test)]
mod tests;
