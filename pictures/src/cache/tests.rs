use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::*;
use crate::resize::Prepare;
use crate::scan::Item;
use crate::source::Limits;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Three pictures of a folder, the second broken.
fn files(folder: &Path, resize: Option<u32>) -> Files {
    let mut items = Vec::new();
    for name in ["rgb.png", "broken.png", "rgb420.jpg"] {
        let path = folder.join(name);
        if name == "broken.png" {
            fs::write(&path, "no picture").unwrap();
        } else if !path.exists() {
            fs::copy(golden(name), &path).unwrap();
        }
        let metadata = path.metadata().unwrap();
        let modified = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(items.len() as u64));
        items.push(Item { path, class: 0, bytes: metadata.len(), modified });
    }
    Files::new(items, Prepare { resize, ..Prepare::default() }, Limits::default())
}

fn contents(source: &dyn Source) -> Vec<Option<(u32, u32, Vec<u8>)>> {
    let mut scratch = Scratch::default();
    let see = |i| source.picture(i, &mut scratch).ok().map(|s| (s.width, s.height, s.pixels.to_vec()));
    (0..source.len()).map(see).collect()
}

#[test]
fn a_cache_is_found_again_and_made_anew_when_anything_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pictures");
    let open = |files: &Files| Cached::disk(files.clone(), &path, 2, |_| {}).unwrap();
    let usual = files(folder.path(), Some(16));
    let expected = contents(&usual);
    let (made, origin) = open(&usual);
    assert_eq!((origin, made.broken().collect::<Vec<_>>()), (Origin::New, vec![1]));
    assert_eq!((contents(&made), made.damaged()), (expected.clone(), 0));
    assert_eq!(open(&usual).1, Origin::Found);
    let stale = Origin::Anew("the files, their times or the resize are not those it was made of");
    // another resize, then a file that was touched, then one less
    assert_eq!(open(&files(folder.path(), None)).1, stale);
    let with = |change: fn(&mut Vec<Item>)| {
        let mut items = usual.items().to_vec();
        change(&mut items);
        Files::new(items, usual.prepare(), Limits::default())
    };
    assert_eq!(
        open(&with(|items| items[0].modified = Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(1)))).1,
        stale
    );
    assert_eq!(open(&with(|items| items[2].bytes += 1)).1, stale);
    assert_eq!(open(&with(|items| drop(items.pop()))).1, stale);
    assert_eq!(open(&usual).1, stale);
    assert_eq!(contents(&open(&usual).0), expected);
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a.pictures", "a.pictures.lock", "broken.png", "rgb.png", "rgb420.jpg"]);
}

#[test]
fn damage_anywhere_is_found_and_changes_no_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pictures");
    let files = files(folder.path(), Some(16));
    let expected = contents(&files);
    let open = || Cached::disk(files.clone(), &path, 1, |_| {}).unwrap();
    drop(open());
    let whole = fs::read(&path).unwrap();
    let (mut anew, mut damaged) = (0, 0);
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let (cached, origin) = open();
        assert!(contents(&cached) == expected, "byte {at}");
        anew += usize::from(matches!(origin, Origin::Anew(_)));
        damaged += cached.damaged();
    }
    // 44 bytes of header, 16 for each picture's entry, 4 for the sum; all others are pixels
    let others = (44 + 3 * 16 + 4) / 7;
    assert!((others..=others + 2).contains(&anew), "{anew}");
    assert_eq!(anew + damaged as usize, whole.len().div_ceil(7));
    for len in [0, 7, 43, 44, 60, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        let (cached, origin) = open();
        assert!(matches!(origin, Origin::Anew(_)), "cut to {len}");
        assert!(contents(&cached) == expected, "cut to {len}");
    }
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn what_a_killed_run_left_is_written_over_and_a_second_run_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pictures");
    fs::write(folder.path().join("a.pictures.tmp"), vec![7; 1 << 16]).unwrap();
    let files = files(folder.path(), None);
    let origins: Vec<Origin> = std::thread::scope(|scope| {
        let open = || Cached::disk(files.clone(), &path, 1, |_| {}).unwrap().1;
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::New).count(), 1);
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::Found).count(), 3);
    assert!(!folder.path().join("a.pictures.tmp").exists());
}

#[test]
fn a_place_that_cannot_be_written_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none/a.pictures");
    let error = Cached::disk(files(folder.path(), None), &path, 1, |_| {}).err().unwrap().to_string();
    assert!(error.starts_with("cannot lock ") && error.ends_with("No such file or directory (os error 2)"), "{error}");
}
