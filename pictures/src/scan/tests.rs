use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const SPLIT: HeldOut = HeldOut::Split { fraction: 0.25, seed: 1 };

/// A folder with these files, all alike: a scan opens none.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "not opened").unwrap();
    }
    dir
}

/// Paths below the folder, with their classes.
fn listed(dir: &Path, items: &[Item]) -> Vec<(String, u16)> {
    items.iter().map(|item| (item.path.strip_prefix(dir).unwrap().display().to_string(), item.class)).collect()
}

/// The sentence, with the folder's own path left out.
fn refusal(dir: &Path, held_out: HeldOut) -> String {
    scan(dir, held_out).unwrap_err().to_string().replace(&dir.display().to_string(), "DIR")
}

#[test]
fn a_folder_in_imagenets_layout() {
    let dir = folder(&[
        "train/b/2.JPG",
        "train/b/10.png",
        "train/a/x.webp",
        "train/a/notes.txt",
        "train/a/z.tif",
        "train/B2/i.gif",
        "train/a/sub/deep.bmp",
        "train/a/sub a/y.jpeg",
        "train/.cache/no.jpg",
        "val/a/v.jpg",
        "val/b/w.jpg",
        "test/a/unused.jpg",
    ]);
    let found = scan(dir.path(), HeldOut::Folder).unwrap();
    assert_eq!(found.classes, ["B2", "a", "b"]);
    let owned = |list: &[(&str, u16)]| list.iter().map(|&(path, class)| (path.to_owned(), class)).collect::<Vec<_>>();
    let train = [
        ("train/B2/i.gif", 0),
        ("train/a/x.webp", 1),
        ("train/a/sub/deep.bmp", 1),
        ("train/a/sub a/y.jpeg", 1),
        ("train/b/10.png", 2),
        ("train/b/2.JPG", 2),
    ];
    assert_eq!(listed(dir.path(), &found.train), owned(&train));
    assert_eq!(listed(dir.path(), &found.held_out), owned(&[("val/a/v.jpg", 1), ("val/b/w.jpg", 2)]));
    assert_eq!(found.others, 1);
    assert_eq!(found.broken.len(), 1);
    assert!(
        found.broken[0].to_string().ends_with("z.tif: is of a kind that is not read here: convert it to JPEG or PNG")
    );
    assert_eq!(found.train[0].bytes, 10);
    assert!(found.train[0].modified.is_some());
}

#[test]
fn valid_or_test_holds_pictures_out_where_val_is_absent() {
    for name in ["valid", "test"] {
        let dir = folder(&["train/a/1.jpg", &format!("{name}/a/2.jpg")]);
        let found = scan(dir.path(), HeldOut::Folder).unwrap();
        assert_eq!(listed(dir.path(), &found.held_out), [(format!("{name}/a/2.jpg"), 0)]);
    }
}

#[test]
fn a_folder_of_classes_alone_is_split() {
    let files: Vec<String> = (0..40).map(|i| format!("{}/{i:02}.jpg", ["x", "y"][i % 2])).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let (dir, reversed) = (folder(&files), folder(&files.iter().rev().copied().collect::<Vec<_>>()));
    let split = |dir: &tempfile::TempDir, seed| {
        let found = scan(dir.path(), HeldOut::Split { fraction: 0.25, seed }).unwrap();
        (listed(dir.path(), &found.train), listed(dir.path(), &found.held_out))
    };
    let (train, held_out) = split(&dir, 1);
    assert_eq!((train.len(), held_out.len()), (30, 10));
    assert_eq!(held_out.iter().filter(|(_, class)| *class == 0).count(), 5);
    let all: BTreeSet<_> = train.iter().chain(&held_out).collect();
    assert_eq!(all.len(), 40);
    assert_eq!(split(&reversed, 1), (train, held_out.clone()), "the order of the file system matters");
    assert_ne!(split(&dir, 2).1, held_out, "the seed does not matter");
    // in a folder `train` too
    let inner = tempfile::tempdir().unwrap();
    fs::rename(dir.path(), inner.path().join("train")).unwrap();
    let found = scan(inner.path(), SPLIT).unwrap();
    assert_eq!(listed(&inner.path().join("train"), &found.held_out), held_out);
}

#[test]
fn small_classes_give_a_held_out_picture_now_and_then_and_keep_one() {
    let files: Vec<String> = (0..100).map(|i| format!("class{:02}/{i}.jpg", i / 2)).collect();
    let dir = folder(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let count = |fraction| scan(dir.path(), HeldOut::Split { fraction, seed: 0 }).unwrap().held_out.len();
    assert_eq!((count(0.1), count(0.25), count(0.9)), (10, 25, 50));
    assert_eq!(
        refusal(dir.path(), HeldOut::Split { fraction: 0.001, seed: 0 }),
        "DIR: a validation split of 0.001 of 100 pictures in 50 classes holds out none: ask for more"
    );
}

#[test]
fn a_class_may_be_called_train() {
    let dir = folder(&["bus/1.jpg", "bus/2.jpg", "train/1.jpg", "train/2.jpg"]);
    assert_eq!(scan(dir.path(), SPLIT).unwrap().classes, ["bus", "train"]);
}

#[test]
fn each_refusal_is_one_sentence() {
    let dir = folder(&["train/a/1.jpg", "train/b/1.txt", "val/a/1.jpg"]);
    assert_eq!(
        refusal(dir.path(), HeldOut::Folder),
        "DIR/train/b: this class has no pictures: no file in it ends in .jpg, .jpeg, .png, .webp, .bmp, .gif; put some in it or remove the folder"
    );
    let dir = folder(&["cat/1.jpg", "Cat/1.jpg"]);
    assert_eq!(
        refusal(dir.path(), SPLIT),
        r#"DIR: the classes "Cat" and "cat" differ only by case, which not every system tells apart: rename one"#
    );
    let dir = folder(&["train/a/1.jpg", "val/a/1.jpg", "val/b/1.jpg"]);
    assert_eq!(
        refusal(dir.path(), HeldOut::Folder),
        r#"DIR/val/b: the class "b" is held out and never trained on: rename it as in train, or remove it"#
    );
    assert_eq!(
        refusal(dir.path(), SPLIT),
        "DIR/val: this folder holds pictures to validate on, and `val_split` was given too: leave it out, or name DIR/train as the set"
    );
    let dir = folder(&["a/1.jpg"]);
    assert_eq!(
        refusal(dir.path(), HeldOut::Folder),
        "DIR: no pictures are held out to validate on: put them in a folder val beside train, or give `val_split`, such as 0.1"
    );
    assert_eq!(
        refusal(&dir.path().join("a/1.jpg"), SPLIT),
        "DIR: this is no folder: name one that holds a folder of pictures for each class"
    );
    assert_eq!(
        refusal(&dir.path().join("none"), SPLIT),
        "DIR: there is no such folder: name one that holds a folder of pictures for each class"
    );
    for fraction in [0.0, 1.0, -0.5, f64::NAN] {
        let error = scan(dir.path(), HeldOut::Split { fraction, seed: 0 }).unwrap_err().to_string();
        assert_eq!(error, format!("a validation split of {fraction} was asked for: it lies above 0 and below 1"));
    }
    let dir = folder(&["1.jpg"]);
    assert_eq!(
        refusal(dir.path(), SPLIT),
        "DIR: this folder holds no folder: one is expected for each class, with its pictures in it"
    );
    let dir = folder(&["train/a/1.jpg", "val/a/1.txt"]);
    assert_eq!(
        refusal(dir.path(), HeldOut::Folder),
        "DIR/val: no class has a picture here: put pictures to validate on in it, or remove it"
    );
}

#[test]
fn links_are_followed_and_a_loop_is_named() {
    let dir = folder(&["a/1.jpg", "a/2.jpg", "elsewhere/in/3.jpg"]);
    symlink(dir.path().join("elsewhere/in"), dir.path().join("a/linked")).unwrap();
    symlink(dir.path().join("nowhere"), dir.path().join("a/4.png")).unwrap();
    let found = scan(dir.path(), SPLIT).unwrap();
    assert_eq!(found.train.len() + found.held_out.len(), 4);
    assert!(found.broken[0].to_string().ends_with("a/4.png: is a link to a file that is not there"));
    symlink(dir.path().join("a"), dir.path().join("a/linked/back")).unwrap();
    assert_eq!(
        refusal(dir.path(), SPLIT),
        "DIR/a/linked/back: this link leads back to DIR/a, which it lies in: remove it"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn names_that_are_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"caf\xE9.jpg");
    let dir = folder(&["a/1.jpg"]);
    fs::write(dir.path().join("a").join(odd), "x").unwrap();
    let found = scan(dir.path(), SPLIT).unwrap();
    // a picture's name may be anything; it is shown with a mark where it is no text
    let all = listed(dir.path(), &[found.train, found.held_out].concat());
    assert!(all.contains(&("a/caf\u{FFFD}.jpg".into(), 0)), "{all:?}");
    fs::create_dir(dir.path().join(odd)).unwrap();
    assert_eq!(
        refusal(dir.path(), SPLIT),
        "DIR/caf\u{FFFD}.jpg: the name of this class is not UTF-8, and results are written by it: rename the folder"
    );
}

#[test]
fn pipes_and_sockets_are_listed_and_never_opened() {
    let dir = folder(&["a/1.jpg", "a/2.jpg"]);
    assert!(std::process::Command::new("mkfifo").arg(dir.path().join("a/3.jpg")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("a/4.jpg")).unwrap();
    let found = scan(dir.path(), SPLIT).unwrap();
    let reasons: Vec<_> = found.broken.iter().map(|broken| broken.reason.as_str()).collect();
    assert_eq!(reasons, ["is not a regular file but a pipe", "is not a regular file but a socket"]);
}

#[test]
fn a_folder_without_permission_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder(&["a/1.jpg", "a/shut/2.jpg"]);
    let shut = dir.path().join("a/shut");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
    // the superuser is let in everywhere
    let may = fs::read_dir(&shut).is_ok();
    let found = scan(dir.path(), SPLIT);
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).unwrap();
    match found {
        Ok(_) => assert!(may),
        Err(e) => assert!(e.to_string().ends_with("a/shut: Permission denied (os error 13)"), "{e}"),
    }
}

#[test]
fn too_many_classes_are_counted() {
    // counted before any class is walked, so that one empty folder linked often will do
    let dir = folder(&["a/1.jpg"]);
    for class in 0..MAX_CLASSES {
        symlink("a", dir.path().join(format!("c{class}"))).unwrap();
    }
    assert_eq!(
        refusal(dir.path(), SPLIT),
        "DIR: this folder holds 65537 classes, more than the 65536 that are known apart"
    );
}
