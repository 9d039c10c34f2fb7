//! Writing a checkpoint: the safetensors container, tensor by tensor.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use rewind::error::{Error, Result};
use sha2::{Digest, Sha256};

use super::{CHECKSUM_AT, CHECKSUM_LEN, FORMAT, HEADER_MAX, PREFIX, RunState, Visitor, hex};
use crate::atomic::{Durability, write_atomically};
use crate::config::{CIFAR_EPOCHS, RunConfig};

/// Writes a checkpoint in place of a former one, atomically. `each` shows a visitor every tensor, in the same order whenever
/// it is called; nothing about the tensors is kept, so that a very deep net's checkpoint costs no memory of its own.
///
/// # Errors
/// What `each` reports, or [`Error::Io`]; the former checkpoint is then as it was.
pub fn save(path: &Path, state: &RunState, each: impl Fn(&mut Visitor<'_>) -> Result<()>) -> Result<Durability> {
    let json = |value: serde_json::Result<String>| value.map_err(|e| Error::io("write", path)(e.into()));
    let mut metadata = vec![
        ("format", format!("{}{}", FORMAT.0, FORMAT.1)),
        ("config", state.config.to_toml()),
        ("dataset", json(serde_json::to_string(&state.dataset))?),
        ("progress", json(serde_json::to_string(&state.progress))?),
    ];
    if let Some(pictures) = &state.pictures {
        metadata.push(("pictures", json(serde_json::to_string(pictures))?));
    }
    write_container(path, &metadata, each)
}

/// The safetensors container: the header's length, the header padded to 8 bytes, the data.
pub(super) fn write_container(
    path: &Path,
    metadata: &[(&str, String)],
    each: impl Fn(&mut Visitor<'_>) -> Result<()>,
) -> Result<Durability> {
    let mut unfinished = None;
    let written = write_atomically(path, |file| {
        write_parts(path, file, metadata, &each).map_err(|e| {
            unfinished = Some(e);
            io::Error::other("the checkpoint could not be finished")
        })
    });
    unfinished.map_or(written, Err)
}

fn write_parts(
    path: &Path,
    file: &mut (impl Write + Seek),
    metadata: &[(&str, String)],
    each: &impl Fn(&mut Visitor<'_>) -> Result<()>,
) -> Result<()> {
    let failed = |e: io::Error| Error::io("write", path)(e);
    // once only to count, since the header's length comes before it
    let mut length = Counted::default();
    write_header(path, &mut length, metadata, each)?;
    let padded = length.0.next_multiple_of(8);
    if padded > HEADER_MAX {
        let problem = "the net has more tensors than a safetensors header may name; lower --depth";
        return Err(failed(io::Error::other(problem)));
    }
    let mut hashed = Hashed { hash: Sha256::new(), file: &mut *file };
    hashed.write_all(&(padded as u64).to_le_bytes()).map_err(failed)?;
    write_header(path, &mut hashed, metadata, each)?;
    hashed.write_all(&b"       "[..padded - length.0]).map_err(failed)?;
    let mut values = Vec::new();
    each(&mut |_, shape, fetch| {
        values.clear();
        values.resize(shape.iter().product(), 0.0_f32);
        fetch(&mut values)?;
        for value in &mut values {
            *value = f32::from_bits(value.to_bits().to_le());
        }
        hashed.write_all(bytemuck::cast_slice(&values)).map_err(failed)
    })?;
    let checksum = hex(&hashed.hash.finalize());
    file.seek(SeekFrom::Start(CHECKSUM_AT as u64)).map_err(failed)?;
    file.write_all(checksum.as_bytes()).map_err(failed)
}

/// The header without its padding, its checksum all zeros.
fn write_header(
    path: &Path,
    out: &mut dyn Write,
    metadata: &[(&str, String)],
    each: &impl Fn(&mut Visitor<'_>) -> Result<()>,
) -> Result<()> {
    let failed = |e: io::Error| Error::io("write", path)(e);
    let quoted = |text: &str| serde_json::to_string(text).map_err(|e| failed(e.into()));
    write!(out, "{PREFIX}{}\"", "0".repeat(CHECKSUM_LEN)).map_err(failed)?;
    for (key, value) in metadata {
        write!(out, ",\"{key}\":{}", quoted(value)?).map_err(failed)?;
    }
    out.write_all(b"}").map_err(failed)?;
    let mut start = 0;
    each(&mut |name, shape, _| {
        let end = start + size_of::<f32>() * shape.iter().product::<usize>();
        write_entry(out, name, shape, [start, end]).map_err(failed)?;
        start = end;
        Ok(())
    })?;
    out.write_all(b"}").map_err(failed)
}

/// A tensor's entry, its comma in front.
fn write_entry(out: &mut dyn Write, name: &str, shape: &[usize], [start, end]: [usize; 2]) -> io::Result<()> {
    let name = serde_json::to_string(name)?;
    write!(out, ",{name}:{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}")
}

/// What a header would take, tensor by tensor.
pub(crate) struct HeaderLength {
    bytes: Counted,
    start: usize,
}

impl HeaderLength {
    /// Of a run of `config` with at most so many blocks per stage: no tensor yet, and room for what it says of itself when it is far.
    pub(crate) fn new(config: &RunConfig, blocks: usize) -> Self {
        // a row of history has some 400 bytes, a block's way some 20
        let epochs = config.epochs.unwrap_or(CIFAR_EPOCHS);
        let ways: usize = config.depths().iter().map(|depth| *depth.min(&blocks)).sum();
        Self { bytes: Counted(4096 + 512 * epochs + 24 * ways), start: 0 }
    }

    /// Counts a tensor's entry.
    pub(crate) fn add(&mut self, name: &str, shape: &[usize]) {
        let end = self.start + size_of::<f32>() * shape.iter().product::<usize>();
        write_entry(&mut self.bytes, name, shape, [self.start, end]).expect("counting does not fail");
        self.start = end;
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.0
    }
}

/// Counts the bytes written to it.
#[derive(Default)]
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands on what is written to it, and hashes it.
struct Hashed<'a, W> {
    hash: Sha256,
    file: &'a mut W,
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
