//! `checkpoint.safetensors`: a run's weights, velocities and running statistics, and where it stood, in one file.
//!
//! The container is safetensors, little-endian f32, so any tool that knows the format reads the weights. Its metadata holds
//! `format`, `config` (the run's TOML), `dataset`, `progress` and `pictures` (JSON), and `checksum`: the SHA-256 of the whole file with
//! the checksum's own 64 digits taken as zeros, so that no changed byte goes unseen. Tensors are written and read one at a
//! time: a checkpoint costs the memory of its largest tensor and of its header.

mod save;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rewind::data::{Dataset, IMAGE, Normalise};
use rewind::error::{Error, Result};
use rewind::net::{AVERAGE, is_optimisers};
use rewind::shape::Shape;
use rewind_pictures::regular;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use self::save::HeaderLength;
pub use self::save::save;
use super::progress::Progress;
use crate::config::RunConfig;
use crate::picture_spec::PictureSpec;
use crate::plausible::{self, may_hold};

/// Versions are `rewind-1`, `rewind-2`, ...; this program writes and reads the first.
const FORMAT: (&str, u32) = ("rewind-", 1);
/// What every file starts with after the header's length; the checksum's digits follow.
const PREFIX: &str = "{\"__metadata__\":{\"checksum\":\"";
/// Where the checksum's digits are in the file.
const CHECKSUM_AT: usize = 8 + PREFIX.len();
const CHECKSUM_LEN: usize = 64;
/// The largest header that safetensors' own readers take.
pub(crate) const HEADER_MAX: usize = 100_000_000;

/// Is shown one tensor: its name, such as `blocks.3.conv1.weight`, its shape, slowest axis first, and a way to its values.
pub type Visitor<'a> = dyn FnMut(&str, &[usize], Fetch<'_>) -> Result<()> + 'a;

/// Fills a slice with a tensor's values.
pub type Fetch<'a> = &'a dyn Fn(&mut [f32]) -> Result<()>;

/// Which data a run was trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetId {
    /// The set's name, such as `cifar10`.
    pub name: String,
    /// A digest of its images and labels, and of how bytes become numbers.
    pub fingerprint: String,
}

impl DatasetId {
    /// That of a data set. The fingerprint is 16 hexadecimal digits that change when any label or pixel does.
    pub fn of(dataset: &Dataset) -> Self {
        let mut hash = Sha256::new();
        if let Some(fingerprint) = &dataset.fingerprint {
            hash.update(fingerprint);
        }
        for split in [&dataset.train, &dataset.test].into_iter().filter(|_| dataset.fingerprint.is_none()) {
            // the length keeps an image that moves from one split to the other from going unseen
            hash.update((split.len() as u64).to_le_bytes());
            // a byte where one will do, as all checkpoints have it that were written before there were more classes
            for label in &split.labels {
                match u8::try_from(*label) {
                    Ok(label) if dataset.classes <= 256 => hash.update([label]),
                    _ => hash.update(label.to_le_bytes()),
                }
            }
            hash.update(&split.pixels);
        }
        // those were all of this size and these numbers
        if (dataset.side(), dataset.normalise) != (IMAGE, Normalise::CIFAR_10) {
            let Normalise { mean, std } = dataset.normalise;
            hash.update((dataset.side() as u64).to_le_bytes());
            mean.into_iter().chain(std).for_each(|value| hash.update(value.to_le_bytes()));
        }
        let fingerprint = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { name: dataset.name.clone(), fingerprint }
    }
}

/// A tensor's shape as a checkpoint names it: vectors and matrices without the leading ones.
pub fn saved_shape(shape: Shape) -> Vec<usize> {
    match shape.0 {
        [1, 1, 1, len] => vec![len],
        [1, 1, rows, columns] => vec![rows, columns],
        all => all.to_vec(),
    }
}

/// What a checkpoint holds beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct RunState {
    /// The run's settings.
    pub config: RunConfig,
    /// Where it stands.
    pub progress: Progress,
    /// What it was trained on.
    pub dataset: DatasetId,
    /// How it sees pictures and what its classes are called; none in a checkpoint of an older version.
    pub pictures: Option<PictureSpec>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}

/// A checkpoint that was opened and found whole.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// Threads that read tensors at the same time would move each other's place in it.
    file: Mutex<File>,
    header: Metadata,
    data_start: u64,
    state: RunState,
}

impl Checkpoint {
    /// Opens a checkpoint and verifies every byte of it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing, truncated, damaged, of a newer format, or not a checkpoint of this program.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_or_say(path).map_err(|problem| Error::Checkpoint { path: path.into(), problem })
    }

    fn open_or_say(path: &Path) -> std::result::Result<Self, String> {
        let advice = "name a checkpoint.safetensors, which every run leaves in its folder";
        let Container { mut file, header, data_start, found } = Container::open(path, advice)?;
        let unreadable = |e: io::Error| format!("the checkpoint cannot be read: {e}");
        let expected = data_start.saturating_add(header.data_len() as u64);
        if found < expected {
            return Err(truncated(found, expected));
        }
        let empty = HashMap::new();
        let metadata = header.metadata().as_ref().unwrap_or(&empty);
        check_format(metadata)?;
        if found > expected {
            return Err(format!("it is damaged: {found} bytes where {expected} were written; use another checkpoint"));
        }
        check_checksum(&mut file, metadata).map_err(unreadable)??;
        let state = parse_state(metadata, path)?;
        let problem = plausible::problem_of_depth(&state.config, &header);
        if let Some(problem) = problem.or_else(|| plausible::problem_of_progress(&state)) {
            return Err(implausible(&problem));
        }
        Ok(Self { path: path.into(), file: Mutex::new(file), header, data_start, state })
    }

    /// Names and shapes of its weights and running statistics, as saved: all but what belongs to training.
    pub fn weights(&self) -> Vec<(String, Vec<usize>)> {
        let names = self.header.offset_keys().into_iter().filter(|name| !is_optimisers(name));
        names.filter_map(|name| self.header.info(&name).map(|info| (name.clone(), info.shape.clone()))).collect()
    }

    /// The settings, the progress and the data set of the run that wrote it.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The SHA-256 of its bytes, which tells it from every other: hexadecimal digits.
    pub fn checksum(&self) -> &str {
        let held = self.header.metadata().as_ref().and_then(|metadata| metadata.get("checksum"));
        held.expect("a checkpoint without one is not opened")
    }

    /// Refuses to go on with a net of other blocks, scheme or step size.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming both nets.
    pub fn check_net(&self, config: &RunConfig) -> Result<()> {
        let net = |config: &RunConfig| {
            let RunConfig { step_size, sweep, .. } = config;
            format!("{} --scheme {} --step-size {step_size}", config.net_flags(), sweep.scheme)
        };
        let (held, wanted) = (net(&self.state.config), net(config));
        if held != wanted {
            return Err(self.error(format!("it holds a net of {held}, and this run's net is {wanted}")));
        }
        Ok(())
    }

    /// Refuses the config's rates if no net can be trained with them: see [`RunConfig::validate_rates`].
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the setting.
    pub fn check_rates(&self) -> Result<()> {
        self.state.config.validate_rates().map_err(|e| self.error(senseless("config", &e)))
    }

    /// Refuses a place in the run that cannot be, with so many steps per epoch.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the number.
    pub fn check_steps(&self, steps_in_epoch: usize) -> Result<()> {
        let problem = plausible::problem_of_steps(&self.state.progress, steps_in_epoch);
        problem.map_or(Ok(()), |problem| Err(self.error(implausible(&problem))))
    }

    /// Refuses to go on with a net one of whose tensors, `name` of `shape`, this has not. Nothing but the header is looked at.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor.
    pub fn check_tensor(&self, name: &str, shape: &[usize]) -> Result<()> {
        let info = self.header.info(name).ok_or_else(|| self.error(format!("it holds no tensor {name}")))?;
        if info.dtype != Dtype::F32 || info.shape != shape {
            let (held, dtype) = (&info.shape, info.dtype);
            let problem = format!("{name} is {dtype:?} of shape {held:?}, and this net needs F32 of shape {shape:?}");
            return Err(self.error(problem));
        }
        Ok(())
    }

    /// The shape of the tensor of this name, if there is one.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|info| &info.shape[..])
    }

    /// The name of the tensor that the run's tests went by in the place of this weight or running statistic: its average over steps, if there
    /// is one.
    pub fn answering(&self, name: &str) -> String {
        let average = format!("{AVERAGE}{name}");
        if self.holds(&average) { average } else { name.into() }
    }

    /// Whether there is a tensor of this name.
    pub fn holds(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// Refuses to go on with other data.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming both sets.
    pub fn check_dataset(&self, dataset: &DatasetId) -> Result<()> {
        let held = &self.state.dataset;
        if held == dataset {
            return Ok(());
        }
        let name = |id: &DatasetId| format!("{} ({})", id.name, id.fingerprint);
        let (held, found) = (name(held), name(dataset));
        Err(self.error(format!("it was trained on {held} and the data here is {found}: name the former with --data")))
    }

    /// The values of a tensor.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is none of this name, if its shape is another, if a value is of no use, or if the file cannot be read.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.check_tensor(name, shape)?;
        let info = self.header.info(name).expect("it was found just now");
        let mut values = vec![0.0_f32; shape.iter().product()];
        self.read_at(info.data_offsets.0 as u64, bytemuck::cast_slice_mut(&mut values))
            .map_err(|e| self.error(format!("{name} cannot be read: {e}")))?;
        for value in &mut values {
            *value = f32::from_bits(u32::from_le(value.to_bits()));
        }
        if let Some(value) = values.iter().find(|value| !may_hold(name, **value)) {
            let range = plausible::range_of(name);
            return Err(
                self.error(format!("{name} holds {value:e}, which is out of range ({range}): use another checkpoint"))
            );
        }
        Ok(values)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        // whoever panicked left no place that matters: it is set anew
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.data_start + offset))?;
        file.read_exact(bytes)
    }

    pub(crate) fn error(&self, problem: String) -> Error {
        Error::Checkpoint { path: self.path.clone(), problem }
    }
}

/// A safetensors file whose header was read.
pub(crate) struct Container {
    pub file: File,
    pub header: Metadata,
    /// Where the tensors' bytes begin.
    pub data_start: u64,
    /// Bytes of the file.
    pub found: u64,
}

impl Container {
    /// Opens it; what is wrong with it is said with `advice`.
    pub fn open(path: &Path, advice: &str) -> std::result::Result<Self, String> {
        let mut file = regular::open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => format!("there is no such file: {advice}"),
            // what it is, in words
            io::ErrorKind::InvalidInput => format!("this {e}: {advice}"),
            _ => format!("the checkpoint cannot be opened: {e}"),
        })?;
        let unreadable = |e: io::Error| format!("the checkpoint cannot be read: {e}");
        let found = file.metadata().map_err(unreadable)?.len();
        let header_len = header_len(&mut file, found)?;
        let mut bytes = vec![0; header_len];
        file.read_exact(&mut bytes).map_err(unreadable)?;
        let header = serde_json::from_slice(&bytes)
            .map_err(|e| format!("its safetensors header is damaged ({e}): use another checkpoint"))?;
        Ok(Self { file, header, data_start: 8 + header_len as u64, found })
    }
}

fn implausible(problem: &str) -> String {
    format!("{problem}: use another checkpoint")
}

fn truncated(found: u64, expected: u64) -> String {
    format!("it is truncated: {found} bytes where {expected} were written; use another checkpoint")
}

/// The header's length, if the file of `found` bytes can be a safetensors file.
fn header_len(file: &mut File, found: u64) -> std::result::Result<usize, String> {
    let mut start = [0; 9];
    if file.read_exact(&mut start).and_then(|()| file.seek(SeekFrom::Start(8))).is_err() {
        return Err(format!("it is truncated: {found} bytes cannot be a checkpoint; use another one"));
    }
    let [length @ .., first] = start;
    let length = u64::from_le_bytes(length);
    if first != b'{' || length > HEADER_MAX as u64 {
        let found = known_by([start[0], start[1]]).unwrap_or("not a safetensors file");
        let python = matches!(start, [b'P', b'K', ..] | [0x80, 2..=5, ..]);
        let other = if python { TO_SAFETENSORS } else { "" };
        return Err(format!("it is {found}: name a checkpoint.safetensors that train_cifar wrote{other}"));
    }
    if length > found - 8 {
        return Err(truncated(found, length + 8));
    }
    Ok(length as usize)
}

/// How a file of PyTorch's becomes one that this program reads.
const TO_SAFETENSORS: &str = "; in Python, `import torch, safetensors.torch` and then \
    `safetensors.torch.save_file(torch.load('FILE', weights_only=True), 'FILE.safetensors')` makes weights of it that --init-from reads";

/// What files of other programs start with.
fn known_by(start: [u8; 2]) -> Option<&'static str> {
    match start {
        [b'P', b'K'] => Some("a zip archive, as PyTorch saves, and not a safetensors file"),
        [0x80, 2..=5] => Some("a Python pickle, and not a safetensors file"),
        [0x89, b'H'] => Some("an HDF5 file, as Keras saves, and not a safetensors file"),
        [0x1f, 0x8b] => Some("a gzip archive, and not a safetensors file"),
        _ => None,
    }
}

fn check_format(metadata: &HashMap<String, String>) -> std::result::Result<(), String> {
    let foreign = || "it is a safetensors file of another program: name one that train_cifar wrote".to_string();
    let format = metadata.get("format").ok_or_else(foreign)?;
    let version: u32 = format.strip_prefix(FORMAT.0).and_then(|v| v.parse().ok()).ok_or_else(foreign)?;
    if version > FORMAT.1 {
        let (stem, own) = FORMAT;
        return Err(format!("it has format {format} and this program reads {stem}{own}: update the program"));
    }
    Ok(())
}

/// Reads the whole file again and compares; leaves the file at its end.
fn check_checksum(file: &mut File, metadata: &HashMap<String, String>) -> io::Result<std::result::Result<(), String>> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 18, &*file);
    let mut head = [0; CHECKSUM_AT];
    let mut digits = [0; CHECKSUM_LEN];
    reader.read_exact(&mut head)?;
    reader.read_exact(&mut digits)?;
    let mut hash = Sha256::new();
    hash.update(head);
    hash.update([b'0'; CHECKSUM_LEN]);
    while let chunk @ [_, ..] = reader.fill_buf()? {
        hash.update(chunk);
        let len = chunk.len();
        reader.consume(len);
    }
    let sum = hex(&hash.finalize());
    let whole = head[8..] == *PREFIX.as_bytes()
        && digits == *sum.as_bytes()
        && metadata.get("checksum").is_some_and(|held| *held == sum);
    Ok(match whole {
        true => Ok(()),
        false => Err("it is damaged: its checksum does not fit its bytes; use another checkpoint".into()),
    })
}

fn senseless(key: &str, e: &dyn std::fmt::Display) -> String {
    format!("its {key} makes no sense ({e}): use another checkpoint")
}

fn parse_state(metadata: &HashMap<String, String>, path: &Path) -> std::result::Result<RunState, String> {
    let text =
        |key: &str| metadata.get(key).ok_or_else(|| format!("its metadata lacks {key:?}: use another checkpoint"));
    let config = RunConfig::from_toml(text("config")?, path)
        .and_then(|config| config.validate().map(|()| config))
        .map_err(|e| senseless("config", &e))?;
    let progress = serde_json::from_str(text("progress")?).map_err(|e| senseless("progress", &e))?;
    let dataset = serde_json::from_str(text("dataset")?).map_err(|e| senseless("dataset", &e))?;
    let pictures = metadata.get("pictures").map(|held| serde_json::from_str(held)).transpose();
    let pictures = pictures.map_err(|e| senseless("pictures", &e))?;
    Ok(RunState { config, progress, dataset, pictures })
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
