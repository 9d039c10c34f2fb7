//! A folder of 300 classes with all that people have in theirs, from scan to views, and the memory that it takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rewind_pictures::cache::{Cached, Origin};
use rewind_pictures::crop::RandomCrop;
use rewind_pictures::loader::{Asked, Loader};
use rewind_pictures::resize::{Filter, Prepare, View};
use rewind_pictures::scan::{Folder, HeldOut, Item, scan};
use rewind_pictures::source::{Files, Limits, Source};
use rewind_pictures::statistics::measure;
use rewind_pictures::survey::{Depth, Survey, survey};

/// Counts the bytes in use and the most of them since it was asked last.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time, because all count the same bytes.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most bytes in use during `run` beyond those before it.
fn peak_of<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = run();
    (result, (PEAK.load(Ordering::Relaxed) - before) as u64)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// 300 classes of 3 pictures; among them a broken JPEG and four that are out of the ordinary.
fn folder() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let usual = ["rgb420.jpg", "rgb.png", "lossy.webp", "still.gif", "rgb.bmp", "large.png"];
    for class in 0..300 {
        let place = dir.path().join(format!("class{class:03}"));
        fs::create_dir(&place).unwrap();
        for i in 0..3 {
            let name = usual[(class + i) % usual.len()];
            fs::copy(golden(name), place.join(format!("{i}-{name}"))).unwrap();
        }
    }
    let odd = [("class001", "grey.png"), ("class002", "cmyk.jpg"), ("class003", "exif6.jpg"), ("class004", "one.png")];
    for (class, name) in odd {
        fs::copy(golden(name), dir.path().join(class).join(name)).unwrap();
    }
    let half = fs::read(golden("rgb444.jpg")).unwrap();
    fs::write(dir.path().join("class000/broken.jpg"), &half[..half.len() / 2]).unwrap();
    let found = scan(dir.path(), HeldOut::Split { fraction: 0.1, seed: 3 }).unwrap();
    (dir, found)
}

const PREPARE: Prepare = Prepare { resize: Some(24), filter: Filter::Bilinear };
const IMAGE: u32 = 20;

fn seed(asked: Asked) -> u64 {
    asked.position as u64 * 1000 + asked.index as u64
}

fn crop(asked: Asked) -> View {
    View::Crop(RandomCrop::default().draw(seed(asked), asked.width, asked.height))
}

/// Everything that a consumer sees: the views of every picture in a mixed order, and the reasons of the broken ones.
fn all(source: &Arc<dyn Source>, threads: usize, ahead: usize) -> (Vec<u8>, BTreeMap<usize, String>) {
    let loader = Loader::new(source.clone(), IMAGE, Filter::Bilinear, threads, ahead).unwrap();
    let order: Vec<usize> = (0..source.len()).map(|i| i * 7 % source.len()).collect();
    let mut loading = loader.start(order.clone(), crop).unwrap();
    let (mut views, mut broken) = (Vec::new(), BTreeMap::new());
    let mut count = 0;
    while let Some(loaded) = loading.next() {
        assert_eq!((loaded.position, loaded.index), (count, order[count]));
        match loaded.view {
            Ok(view) => views.extend_from_slice(view),
            Err(why) => drop(broken.insert(loaded.index, why.to_string())),
        }
        count += 1;
    }
    assert_eq!(count, source.len());
    (views, broken)
}

#[test]
fn a_folder_of_all_kinds_gives_the_same_bytes_for_any_threads_and_caches() {
    let _alone = alone();
    let (dir, found) = folder();
    assert_eq!((found.classes.len(), found.train.len(), found.held_out.len()), (300, 814, 91));
    let items: Arc<[Item]> = [found.train, found.held_out].concat().into();
    let mut heard = Vec::new();
    let whole = survey(&items, PREPARE, Depth::Whole, 2, |done| heard.push(done));
    assert_eq!(heard, (1..=905).collect::<Vec<_>>());
    let broken = items.iter().position(|item| item.path.ends_with("broken.jpg")).unwrap();
    assert_eq!(whole.broken.len(), 1);
    assert_eq!(whole.broken[0].0, broken);
    assert!(whole.broken[0].1.to_string().ends_with("broken.jpg: the picture is truncated: its end marker is missing"));
    let size_of = |name: &str| whole.sizes[items.iter().position(|item| item.path.ends_with(name)).unwrap()];
    assert_eq!((size_of("exif6.jpg"), size_of("one.png"), size_of("broken.jpg")), (Some((14, 21)), Some((1, 1)), None));
    assert_eq!((whole.limits.pixels, whole.limits.side), (97 * 71, 97));
    // a header tells as much, but of damage behind it nothing
    let headers = survey(&items, PREPARE, Depth::Header, 3, |_| {});
    assert_eq!((headers.broken.len(), headers.sizes[broken]), (0, Some((37, 26))));

    let files = Files::new(items.clone(), PREPARE, whole.limits);
    let source: Arc<dyn Source> = Arc::new(files.clone());
    let (views, reasons) = all(&source, 1, 1);
    assert_eq!(views.len(), 904 * (IMAGE * IMAGE * 3) as usize);
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), [(broken, whole.broken[0].1.to_string())]);
    for (threads, ahead) in [(2, 3), (5, 16)] {
        assert!(all(&source, threads, ahead).0 == views, "{threads} threads");
    }
    let ram = Cached::ram(files.clone(), &whole, 2, |_| {}).unwrap();
    assert_eq!(ram.broken().collect::<Vec<_>>(), [broken]);
    assert!(all(&(Arc::new(ram) as Arc<dyn Source>), 2, 4).0 == views);
    let path = dir.path().join("prepared.pictures");
    for origin in [Origin::New, Origin::Found] {
        let (disk, found) = Cached::disk(files.clone(), &path, 2, |_| {}).unwrap();
        assert_eq!(found, origin);
        assert!(all(&(Arc::new(disk) as Arc<dyn Source>), 2, 4).0 == views);
    }
}

#[test]
fn mean_and_deviation_are_the_same_bits_for_any_threads_and_right() {
    let _alone = alone();
    let (_dir, found) = folder();
    let source: Arc<dyn Source> = Arc::new(Files::new(found.train, PREPARE, Limits::default()));
    let loader = |threads| Loader::new(source.clone(), IMAGE, Filter::Bilinear, threads, 4).unwrap();
    let order: Vec<usize> = (0..source.len()).collect();
    let one = measure(&loader(1), order.clone()).unwrap();
    for threads in [2, 5] {
        let many = measure(&loader(threads), order.iter().rev().copied().collect()).unwrap();
        assert_eq!(many, one);
    }
    // in two passes, in f64
    let mut values = [vec![], vec![], vec![]];
    let mut loading = loader(1).start(order, |_| View::Centre).unwrap();
    while let Some(loaded) = loading.next() {
        for (i, &v) in loaded.view.into_iter().flatten().enumerate() {
            values[i % 3].push(f64::from(v) / 255.0);
        }
    }
    for (c, values) in values.iter().enumerate() {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
        // a sum of 3e5 rounded numbers: 3e5 times 1e-16
        assert!((one.mean[c] - mean).abs() < 1e-10 && (one.std[c] - std).abs() < 1e-10, "{one:?} {mean} {std}");
    }
    assert_eq!(one.pictures, values[0].len() / (IMAGE * IMAGE) as usize);
}

#[test]
fn what_makes_no_sense_is_refused_in_one_sentence() {
    let _alone = alone();
    let (items, found) = copies("rgba.png", 3);
    let source: Arc<dyn Source> = Arc::new(Files::new(items.clone(), Prepare::default(), found.limits));
    for (image, threads, ahead) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
        let error = Loader::new(source.clone(), image, Filter::Bilinear, threads, ahead).err().unwrap().to_string();
        let asked =
            format!("pictures of {image} pixels a side, {threads} threads and {ahead} pictures ahead were asked for");
        assert_eq!(error, format!("{asked}: each is at least 1"));
    }
    let loader = Loader::new(source, 8, Filter::Bilinear, 1, 2).unwrap();
    let error = loader.start(vec![0, 3], crop).err().unwrap().to_string();
    assert_eq!(error, "picture 3 was asked for of 3");
    let error = measure(&loader, vec![]).unwrap_err().to_string();
    assert_eq!(error, "mean and deviation cannot be measured: none of 0 pictures can be read");
    // a picture beyond the limits that memory was planned by is broken
    for (limits, reason) in [
        (
            Limits { pixels: 640 * 480 - 1, ..found.limits },
            "its header says 640 x 480 pixels, more than the 307199 allowed",
        ),
        (Limits { file_bytes: 9, ..found.limits }, "the file has 1944 bytes, more than the 9 allowed"),
        (
            Limits { side: 639, ..found.limits },
            "640 x 480 pixels are more than the 307200 pixels and 639 a side planned for",
        ),
        (
            Limits { prepared_pixels: 9, ..found.limits },
            "640 x 480 pixels are resized to 298 x 224, more than the 9 pixels and 640 a side planned for",
        ),
    ] {
        let prepare = Prepare { resize: Some(224), ..Prepare::default() };
        let source = Arc::new(Files::new(items.clone(), prepare, limits));
        let mut loading = Loader::new(source, 8, Filter::Bilinear, 1, 2).unwrap().start(vec![1], crop).unwrap();
        assert_eq!(loading.next().unwrap().view.unwrap_err().reason, reason);
        assert!(loading.next().is_none());
    }
}

/// A set of large pictures of one kind.
fn copies(name: &str, count: usize) -> (Vec<Item>, Survey) {
    let path = golden("flat").join(name);
    let bytes = path.metadata().unwrap().len();
    let items = vec![Item { path, class: 0, bytes, modified: None }; count];
    let found = survey(&items, Prepare { resize: Some(224), ..Prepare::default() }, Depth::Header, 1, |_| {});
    assert_eq!(found.broken, []);
    (items, found)
}

#[test]
fn loading_takes_no_more_memory_than_said_before() {
    let _alone = alone();
    println!("{:24} {:>12} {:>12} {:>12} {:>12}", "picture", "bytes/pixel", "one thread", "peak", "said");
    for entry in fs::read_dir(golden("flat")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (items, found) = copies(&name, 24);
        let pixels = found.limits.pixels;
        let (_, decoding) = peak_of(|| rewind_pictures::decode::decode(&items[0].path, pixels).unwrap());
        for (resize, image) in [(None, 64), (Some(224), 224)] {
            let prepare = Prepare { resize, ..Prepare::default() };
            let limits = survey(&items, prepare, Depth::Header, 1, |_| {}).limits;
            let source: Arc<dyn Source> = Arc::new(Files::new(items.clone(), prepare, limits));
            let loader = Loader::new(source.clone(), image, Filter::Bilinear, 2, 5).unwrap();
            let (_, peak) = peak_of(|| {
                let mut loading = loader.start((0..24).collect::<Vec<_>>(), crop).unwrap();
                while let Some(loaded) = loading.next() {
                    assert!(loaded.view.is_ok());
                }
            });
            let (each, said) = (decoding as f64 / pixels as f64, loader.bytes());
            let thread = source.bytes_per_thread(image);
            println!("{name:24} {each:12.1} {thread:12} {peak:12} {said:12}");
            assert!(peak <= said, "{name}: {peak} bytes, said {said}");
        }
    }
}

#[test]
fn a_cache_in_memory_holds_what_was_said_before() {
    let _alone = alone();
    let (items, found) = copies("rgba.png", 40);
    let prepare = Prepare { resize: Some(224), ..Prepare::default() };
    let files = Files::new(items, prepare, found.limits);
    let said = Cached::bytes(&files, &found);
    assert_eq!(said, 40 * 224 * 298 * 3);
    let (cached, peak) = peak_of(|| Cached::ram(files.clone(), &found, 2, |_| {}).unwrap());
    // while it is made, two threads and four pictures that wait
    let most = said + 2 * files.bytes_per_thread(0) + 4 * 224 * 298 * 3 + (1 << 16);
    assert!(peak <= most, "{peak} bytes, said {most}");
    assert!((said..said + (1 << 12)).contains(&cached.held_bytes()), "{}", cached.held_bytes());
}
