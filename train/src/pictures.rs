//! A folder of pictures as a data set: found, looked at, and held whole in memory or brought a batch at a time.

mod changes;
mod memory;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rewind::data::{Dataset, Normalise, Place, Split, TABLES, Whole, image_len};
use rewind::error::{Error, Result};
use rewind::memory::human;
use rewind_pictures::Broken;
use rewind_pictures::arrays::{self, Arrays, Set};
use rewind_pictures::cache::{Cached, Origin};
use rewind_pictures::loader::Loader;
use rewind_pictures::resize::{Filter, Prepare, View};
use rewind_pictures::scan::{Folder, HeldOut, Item, scan};
use rewind_pictures::source::{Files, Scratch, Source};
use rewind_pictures::statistics::measure;
use rewind_pictures::survey::{Depth, Survey, survey};
use sha2::{Digest, Sha256};

use self::changes::Changes;
pub use self::memory::streamed;
pub use self::stream::Stream;
use crate::config::{CacheKind, CropKind, LARGE, NormaliseBy, RunConfig};
use crate::host_memory::Room;
use crate::settings::with_flags;
use crate::source::Names;

/// Rows and columns of an image, unless they are given.
const SIDE: usize = 224;
/// Pictures that are decoded ahead of the step, for each thread that decodes.
const AHEAD: usize = 8;
/// Names of the cache's files, in the set's folder.
const CACHES: [&str; 2] = [".rewind-train.cache", ".rewind-test.cache"];

/// A set of pictures, opened.
pub struct Pictures {
    /// All of it, or room for a batch.
    pub dataset: Dataset,
    /// Where batches come from if the set does not hold all pictures.
    pub stream: Option<Stream>,
    /// What cannot be read and takes no part, with the reason.
    pub broken: BTreeMap<PathBuf, String>,
    /// What the user should know of it, a sentence each.
    pub notices: Vec<String>,
    /// What its classes and files are called.
    pub names: Names,
}

/// Whether a folder looks like one of pictures by class: it has a folder in it.
pub fn may_be(dir: &Path) -> bool {
    let Ok(entries) = dir.read_dir() else { return false };
    entries.flatten().any(|entry| entry.path().is_dir() && !entry.file_name().to_string_lossy().starts_with('.'))
}

/// Reads MNIST, one of its kin, or SVHN's digits, if `dir` holds their files: whole, and normalised by their own mean and deviation.
///
/// # Errors
/// [`Error::Data`] if a file of such a set is missing or damaged, [`Error::Io`] if the system fails to read.
pub fn open_arrays(dir: &Path) -> Result<Option<Dataset>> {
    let Some(Set { name, classes, train, test }) = arrays::open(dir).map_err(data)? else { return Ok(None) };
    let side = train.height;
    if train.width != side {
        let problem = format!("its pictures are {} x {side}: this program takes square ones", train.width);
        return Err(Error::Data { path: dir.into(), problem });
    }
    let split = |of: Arrays| {
        let pixels = if of.channels == 3 { of.pixels } else { of.pixels.iter().flat_map(|v| [*v; 3]).collect() };
        Split { side: side as usize, pixels, labels: of.labels.into_iter().map(u16::from).collect() }
    };
    let order = (0..train.labels.len()).collect();
    let train = Arc::new(train);
    let loader = Loader::new(train.clone(), side, Filter::Bilinear, 1, 1).map_err(data)?;
    let normalise = measured(&loader, order)?;
    drop(loader);
    let (train, test) = (split(Arc::unwrap_or_clone(train)), split(test));
    Ok(Some(Dataset { name: name.into(), classes, normalise, train, test, fingerprint: None, part_of: None }))
}

/// Mean and deviation of these pictures.
fn measured(loader: &Loader, order: Vec<usize>) -> Result<Normalise> {
    let found = measure(loader, order).map_err(data)?;
    // where all pixels are alike the deviation is 0, and nothing is told apart by it
    let std = found.std.map(|v| if v > 0.0 { v as f32 } else { 1.0 });
    Ok(Normalise { mean: found.mean.map(|v| v as f32), std })
}

/// Threads that a machine computes on at a time.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The set `base` with room for a batch, and the stream that brings one after the other. `held`: bytes of pictures that are kept.
fn brought(
    base: Dataset,
    train: stream::Part,
    test: stream::Part,
    held: u64,
    crop: CropKind,
    changes: Changes,
    batch: usize,
) -> (Dataset, Stream) {
    let side = base.side();
    let window = |images: usize| Split {
        side,
        pixels: vec![0; batch.min(images) * image_len(side)],
        labels: vec![0; batch.min(images)],
    };
    let (n, m) = (train.usable.len(), test.usable.len());
    // one of the two loads at a time; the batch that is put together, and the places of an epoch
    let own = (batch * (image_len(side) + 2) + n * (size_of::<Place>() + size_of::<usize>()) * TABLES) as u64;
    let bytes = held + train.loader.bytes().max(test.loader.bytes()) + own;
    let part_of = Some(Whole { train: n, test: m, bytes });
    let dataset = Dataset { train: window(n), test: window(m), part_of, ..base };
    (dataset, Stream::new(train, test, side, crop, changes, batch))
}

/// Fixes what the config leaves open about pictures.
fn settle(config: &mut RunConfig) {
    let side = *config.image.get_or_insert(SIDE);
    let larger = if side < LARGE { side } else { (side * 8).div_ceil(7) };
    config.resize.get_or_insert(larger);
    config.crop.get_or_insert(if side < LARGE { CropKind::Shift } else { CropKind::Random });
    config.normalise.get_or_insert(NormaliseBy::Imagenet);
}

/// Who is told how far a long look at many pictures is, in a sentence.
pub type Tell<'a> = &'a mut dyn FnMut(&str);

/// Tells every few seconds how many pictures of `all` are done.
fn counting<'a>(done: &'static str, all: usize, tell: &'a mut dyn FnMut(&str)) -> impl FnMut(usize) + 'a {
    const APART: Duration = Duration::from_secs(5);
    let mut last = Instant::now();
    move |n| {
        if last.elapsed() >= APART {
            last = Instant::now();
            tell(&format!("{done} {n} of {all} pictures"));
        }
    }
}

/// Opens a folder of pictures. What the config leaves open about them is fixed in it.
///
/// # Errors
/// [`Error::Data`] if the folder is no set of pictures, [`Error::Usage`] if what was asked for makes no sense, [`Error::Io`] if the system fails to read or
/// to write a cache.
pub fn open(dir: &Path, config: &mut RunConfig, tell: Tell<'_>) -> Result<Pictures> {
    settle(config);
    let held_out = match config.val_split {
        None => HeldOut::Folder,
        Some(fraction) => HeldOut::Split { fraction, seed: config.seed },
    };
    let folder = scan(dir, held_out).map_err(data)?;
    Opening::new(dir, config, &folder)?.open(folder, tell)
}

/// A refusal of the pictures' in the engine's words.
pub(crate) fn data(error: rewind_pictures::Error) -> Error {
    match error {
        rewind_pictures::Error::Set { path, problem } => Error::Data { path, problem: with_flags(&problem) },
        rewind_pictures::Error::Usage(sentence) => Error::Usage(sentence),
        rewind_pictures::Error::Io { action, path, source } => Error::io(action, &path)(source),
    }
}

/// What is known before a picture is opened.
struct Opening<'a> {
    dir: &'a Path,
    side: usize,
    prepare: Prepare,
    crop: CropKind,
    normalise: NormaliseBy,
    config: &'a RunConfig,
    cache: Option<CacheKind>,
    limit: Option<u64>,
    threads: usize,
    batch: usize,
    name: String,
    classes: Vec<String>,
    notices: Vec<String>,
    /// What is left out, and why.
    broken: BTreeMap<PathBuf, String>,
}

impl<'a> Opening<'a> {
    fn new(dir: &'a Path, config: &'a RunConfig, folder: &Folder) -> Result<Self> {
        let known = "what was open is settled";
        let (side, resize) = (config.image.expect(known), config.resize.expect(known));
        if folder.classes.len() < 2 {
            let problem = "it holds one class: a net learns to tell two or more apart".into();
            return Err(Error::Data { path: dir.into(), problem });
        }
        let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
        let name = absolute.file_name().map_or("pictures".into(), |name| name.to_string_lossy().into_owned());
        Ok(Self {
            dir,
            side,
            prepare: Prepare { resize: Some(resize as u32), filter: Filter::Bilinear },
            crop: config.crop.expect(known),
            normalise: config.normalise.expect(known),
            config,
            cache: config.cache,
            limit: config.memory_limit,
            threads: config.threads.unwrap_or_else(cores),
            batch: config.batch,
            name,
            classes: folder.classes.clone(),
            notices: Vec::new(),
            broken: folder.broken.iter().map(|broken| (broken.path.clone(), broken.reason.clone())).collect(),
        })
    }

    fn open(mut self, folder: Folder, tell: Tell<'_>) -> Result<Pictures> {
        // a picture that is kept decoded is read to its end before the run begins, so that its header is enough here
        let depth = if self.cache == Some(CacheKind::None) { Depth::Whole } else { Depth::Header };
        let [train, test] = [folder.train, folder.held_out];
        let (prepare, threads) = (self.prepare, self.threads);
        let mut look = |depth| {
            [&train, &test]
                .map(|items| survey(items, prepare, depth, threads, counting("looked at", items.len(), tell)))
        };
        let surveys = look(depth);
        let fingerprint = self.fingerprint(&train, &test);
        // a crop that is drawn from the whole picture needs the whole picture
        let whole = self.crop == CropKind::Shift;
        let bytes = if whole {
            ((train.len() + test.len()) * image_len(self.side)) as u64
        } else {
            let of = |items: &[Item], survey: &Survey| Cached::bytes(&self.files(items, survey), survey);
            of(&train, &surveys[0]) + of(&test, &surveys[1])
        };
        let cache = self.cache.unwrap_or_else(|| if self.has_room(bytes) { CacheKind::Ram } else { CacheKind::None });
        let surveys = if cache == CacheKind::None && depth == Depth::Header { look(Depth::Whole) } else { surveys };
        let [of_train, of_test] = &surveys;
        let train = self.part(&train, of_train, cache, whole, 0, tell)?;
        let test = self.part(&test, of_test, cache, whole, 1, tell)?;
        let Self { side, batch, name, classes, crop, notices, mut broken, dir, config, .. } = self;
        for (part, what) in [(&train, "to train on"), (&test, "to test on")] {
            if part.usable.is_empty() {
                let problem = format!("none of its pictures {what} can be read");
                return Err(Error::Data { path: dir.into(), problem });
            }
        }
        let normalise = match self.normalise {
            NormaliseBy::Imagenet => Normalise::IMAGENET,
            NormaliseBy::Cifar10 => Normalise::CIFAR_10,
            NormaliseBy::Auto => measured(&train.loader, train.usable.clone())?,
        };
        let base = Dataset {
            name,
            classes: classes.len(),
            normalise,
            train: Split::with_capacity(side, 0),
            test: Split::with_capacity(side, 0),
            fingerprint: Some(fingerprint),
            part_of: None,
        };
        if whole && cache == CacheKind::Ram {
            let ((train, _), (test, test_files)) =
                (hold(train, side, &mut broken, tell)?, hold(test, side, &mut broken, tell)?);
            let names = Names { classes, test_files };
            return Ok(Pictures { dataset: Dataset { train, test, ..base }, stream: None, broken, notices, names });
        }
        let held = train.held + test.held;
        let changes = Changes::of(config, base.normalise);
        let ((train, _), (test, test_files)) = (train.into_part(), test.into_part());
        let (dataset, stream) = brought(base, train, test, held, crop, changes, batch);
        let names = Names { classes, test_files };
        Ok(Pictures { dataset, stream: Some(stream), broken, notices, names })
    }

    /// Whether so many bytes may be held: half of what the machine has free, a quarter of a limit.
    fn has_room(&self, bytes: u64) -> bool {
        let free = Room::of_host().map_or(u64::MAX, |free| free.bytes / 2);
        bytes <= self.limit.map_or(free, |limit| free.min(limit / 4))
    }

    fn files(&self, items: &[Item], survey: &Survey) -> Files {
        Files::new(items.to_vec(), self.prepare, survey.limits)
    }

    /// A part of the set as it is kept.
    fn part(
        &mut self,
        items: &[Item],
        survey: &Survey,
        cache: CacheKind,
        whole: bool,
        number: usize,
        tell: Tell<'_>,
    ) -> Result<Opened> {
        let files = self.files(items, survey);
        let count = counting("read", items.len(), tell);
        let source: Arc<dyn Source> = match cache {
            CacheKind::None => Arc::new(files),
            // what is held whole needs no other copy
            CacheKind::Ram if whole => Arc::new(files),
            CacheKind::Ram => {
                let cached = Cached::ram(files, survey, self.threads, count).map_err(data)?;
                self.leave_out_broken_of(&cached);
                Arc::new(cached)
            }
            CacheKind::Disk => {
                let path = self.dir.join(CACHES[number]);
                let (cached, origin) = Cached::disk(files, &path, self.threads, count).map_err(data)?;
                match origin {
                    Origin::Found => {}
                    Origin::New => self.notices.push(format!("decoded pictures are kept in {}", path.display())),
                    Origin::Anew(reason) => self.notices.push(format!("{} is made anew: {reason}", path.display())),
                }
                self.leave_out_broken_of(&cached);
                Arc::new(cached)
            }
        };
        survey.broken.iter().for_each(|(_, broken)| self.leave_out(broken.clone()));
        let usable: Vec<usize> = (0..items.len()).filter(|i| !self.broken.contains_key(&items[*i].path)).collect();
        let labels = usable.iter().map(|i| items[*i].class).collect();
        // those to train on are asked for by nobody
        let named = if number == 1 { &usable[..] } else { &[] };
        let file = |path: &Path| path.strip_prefix(self.dir).unwrap_or(path).to_path_buf();
        let files = named.iter().map(|i| file(&items[*i].path)).collect();
        let held = source.held_bytes();
        let ahead = AHEAD * self.threads;
        let loader = Loader::new(source, self.side as u32, self.prepare.filter, self.threads, ahead).map_err(data)?;
        Ok(Opened { loader, usable, labels, files, held })
    }

    fn leave_out(&mut self, Broken { path, reason }: Broken) {
        self.broken.entry(path).or_insert(reason);
    }

    /// Takes in which pictures turned out broken when they were decoded.
    fn leave_out_broken_of(&mut self, cached: &Cached) {
        let mut scratch = Scratch::default();
        let found = cached.broken().filter_map(|index| cached.picture(index, &mut scratch).err()).collect::<Vec<_>>();
        found.into_iter().for_each(|broken| self.leave_out(broken));
    }

    /// What tells these pictures, seen so, from all others: names, sizes and classes, wherever the folder lies.
    fn fingerprint(&self, train: &[Item], test: &[Item]) -> String {
        let mut hash = Sha256::new();
        let number = |hash: &mut Sha256, n: u64| hash.update(n.to_le_bytes());
        for items in [train, test] {
            number(&mut hash, items.len() as u64);
            for Item { path, class, bytes, .. } in items {
                let name = path.strip_prefix(self.dir).unwrap_or(path).as_os_str().as_encoded_bytes();
                number(&mut hash, name.len() as u64);
                hash.update(name);
                number(&mut hash, u64::from(*class));
                number(&mut hash, *bytes);
            }
        }
        number(&mut hash, self.prepare.resize.map_or(0, u64::from));
        hash.update([self.crop as u8]);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A part of a set as it was found.
struct Opened {
    loader: Loader,
    usable: Vec<usize>,
    labels: Vec<u16>,
    /// The files of the usable ones, of a part to test on.
    files: Vec<PathBuf>,
    /// Bytes of pictures that are kept.
    held: u64,
}

impl Opened {
    fn into_part(self) -> (stream::Part, Vec<PathBuf>) {
        (stream::Part { loader: self.loader, usable: self.usable, labels: self.labels }, self.files)
    }
}

/// Decodes all pictures of a part, the middle of each, and gives the files of those that are there. Those that turn out broken are left
/// out and listed.
fn hold(
    part: Opened,
    side: usize,
    broken: &mut BTreeMap<PathBuf, String>,
    tell: Tell<'_>,
) -> Result<(Split, Vec<PathBuf>)> {
    let Opened { loader, usable, labels, files, .. } = part;
    let mut there = Vec::with_capacity(files.len());
    let (len, n) = (image_len(side), usable.len());
    let mut split = Split { side, pixels: Vec::new(), labels: Vec::with_capacity(n) };
    split.pixels.try_reserve_exact(n * len).map_err(|_| {
        let bytes = human((n * len) as u64);
        Error::Usage(format!(
            "this machine has no room for {bytes} of pictures: give --cache none, or a smaller --image"
        ))
    })?;
    let mut loading = loader.start(usable, |_| View::Centre).map_err(data)?;
    let mut count = counting("read", n, tell);
    while let Some(loaded) = loading.next() {
        count(loaded.position);
        match loaded.view {
            Ok(view) => {
                split.pixels.extend_from_slice(view);
                split.labels.push(labels[loaded.position]);
                there.extend(files.get(loaded.position).cloned());
            }
            Err(Broken { path, reason }) => {
                broken.insert(path.clone(), reason.clone());
            }
        }
    }
    Ok((split, there))
}
