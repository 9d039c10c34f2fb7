//! Files that are not what they should be: data sets, checkpoints, a full disk, a server that is not there.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};

use crate::cli::{Ended, Place, TINY};

const RECORD: u64 = 3073;
const FILE: u64 = 10_000 * RECORD;

/// Runs a line that must exit 1, say all `phrases` in one sentence, print no result and write nothing.
fn refused(place: &Place, line: &str, phrases: &[&str]) -> Ended {
    let before = place.contents();
    let ended = place.run(line);
    assert_eq!(ended.code, Some(1), "{ended}");
    for phrase in phrases {
        assert!(ended.error().contains(phrase), "no {phrase:?} in the error of {ended}");
    }
    assert_eq!(ended.stdout, "", "{ended}");
    assert!(place.contents() == before, "files changed: {ended}");
    ended
}

/// CIFAR-10 of the right size, all zeros: black images of class 0 that take no room on disk.
fn black_cifar(place: &Place) {
    fs::create_dir(place.path("cifar")).unwrap();
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        File::create(place.path("cifar").join(format!("{name}.bin"))).unwrap().set_len(FILE).unwrap();
    }
}

#[test]
fn a_missing_or_empty_data_folder_is_named() {
    let place = Place::new();
    refused(&place, "--data no/where", &["no/where", "no such folder", "--download"]);
    refused(&place, "--data no/where --out out", &["no/where"]);
    fs::create_dir(place.path("empty")).unwrap();
    refused(&place, "--data empty", &["empty", "the folder is empty", "--download"]);
    fs::write(place.path("empty/readme.txt"), "").unwrap();
    refused(&place, "--data empty", &["no CIFAR file in this folder", "data_batch_1.bin"]);
    refused(&place, "--data empty/readme.txt", &["readme.txt", "this is a file"]);
    // what lies in the default folder is never passed over for the built-in set
    fs::create_dir(place.path("datasets")).unwrap();
    fs::write(place.path("datasets/test_batch.bin"), "").unwrap();
    refused(&place, "", &["datasets", "missing"]);
}

#[test]
fn a_cifar_file_of_another_size_or_with_a_wrong_label_is_named() {
    let place = Place::new();
    black_cifar(&place);
    let third = place.path("cifar/data_batch_3.bin");
    let resize = |bytes: u64| File::options().write(true).open(&third).unwrap().set_len(bytes).unwrap();
    for (bytes, phrases) in [
        (FILE - RECORD, &["data_batch_3.bin", "truncated"][..]),
        (FILE - 1, &["data_batch_3.bin", "truncated", "not a multiple", "3073"]),
        (FILE + RECORD, &["data_batch_3.bin", "larger"]),
        (FILE + 7, &["data_batch_3.bin", "larger", "not a multiple", "3073"]),
        (0, &["data_batch_3.bin", "truncated", "found 0 bytes"]),
    ] {
        resize(bytes);
        let ended = refused(&place, "--data cifar --out out", phrases);
        assert!(ended.error().contains(&format!("found {bytes} bytes, expected {FILE}")), "{ended}");
    }
    resize(FILE);
    let mut test = File::options().write(true).open(place.path("cifar/test_batch.bin")).unwrap();
    test.seek(SeekFrom::Start(4321 * RECORD)).unwrap();
    test.write_all(&[10]).unwrap();
    refused(&place, "--data cifar --out out", &["test_batch.bin", "record 4321", "label 10", "0 to 9"]);
    fs::remove_file(&third).unwrap();
    refused(&place, "--data cifar", &["data_batch_3.bin", "missing"]);
}

#[test]
fn a_damaged_checkpoint_is_refused_and_left_as_it_is() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 1 --out out"));
    let path = place.path("out/checkpoint.safetensors");
    let whole = fs::read(&path).unwrap();
    let at = |text: &str| whole.windows(text.len()).position(|bytes| bytes == text.as_bytes()).expect(text);
    let changed = |place: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[place] = byte;
        bytes
    };
    let last = whole.len() - 1;
    let longer = [&whole[..], b"x"].concat();
    for (bytes, phrases) in [
        (whole[..last].to_vec(), &["truncated"][..]),
        (whole[..300].to_vec(), &["truncated"]),
        (whole[..5].to_vec(), &["truncated"]),
        (vec![], &["truncated"]),
        (longer, &["damaged"]),
        (changed(last, whole[last] ^ 1), &["damaged", "checksum"]),
        (changed(at("depth = ") + 8, b'3'), &["damaged", "checksum"]),
        (changed(at("rewind-1") + 7, b'2'), &["rewind-2", "reads rewind-1", "update the program"]),
        (b"not a checkpoint at all, but long enough to be one".to_vec(), &["not a safetensors file"]),
    ] {
        fs::write(&path, bytes).unwrap();
        for line in ["--resume out", "--resume out --eval-only", "--resume out --plan"] {
            refused(&place, line, phrases).error().contains("out/checkpoint.safetensors");
        }
    }
    fs::write(&path, &whole).unwrap();
    place.succeed("--resume out --max-steps 2");
}

/// The program in a shell that lets no file grow past some 2 KiB, as a disk that is full after them.
#[cfg(unix)]
fn on_a_full_disk(place: &Place, line: &str) -> Ended {
    let program = crate::cli::program(option_env!("CARGO_BIN_EXE_train_cifar"), "train_cifar");
    let mut shell = place.command_of("sh".as_ref(), "");
    // not killed, but told
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f 4; exec {} {line}", program.display())]);
    Ended::of(line, shell.spawn().expect("sh starts"))
}

#[test]
#[cfg(unix)]
fn a_full_disk_leaves_the_former_checkpoint() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 1 --out out"));
    let before = place.contents();
    let ended = on_a_full_disk(&place, "--resume out --epochs 2");
    assert_eq!(ended.code, Some(1), "{ended}");
    for phrase in ["cannot write out/checkpoint.safetensors", "File too large"] {
        assert!(ended.error().contains(phrase), "{ended}");
    }
    assert!(place.contents() == before, "the run is as it was");
    place.succeed("--resume out --epochs 2");

    // a new run that cannot write its first file leaves no folder
    let ended = on_a_full_disk(&place, &format!("{TINY} --out full"));
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(!place.path("full").exists(), "{ended}");
    fs::create_dir(place.path("full")).unwrap();
    on_a_full_disk(&place, &format!("{TINY} --out full"));
    assert!(place.names("full").is_empty(), "a folder that was there is left as it was");
}

#[test]
#[cfg(feature = "download")]
fn a_download_without_a_network_fails_in_seconds_and_leaves_nothing() {
    let place = Place::new();
    let start = std::time::Instant::now();
    for line in ["--download", "--download cifar-100 --quiet"] {
        let ended = refused(
            &place,
            &format!("{line} --download-from http://127.0.0.1:1/"),
            &["cannot download http://127.0.0.1:1/cifar-", "no connection", "by hand"],
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "it took {:?}", start.elapsed());
    assert!(place.contents().is_empty());
}
