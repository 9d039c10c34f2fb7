//! Pipes, sockets, devices, folders and folders without permission where a file is expected: told at once, and by what they are.
#![cfg(unix)]

use std::fs;
use std::process::Command;

use crate::cli::{Ended, Place, TINY};

fn make_pipe(place: &Place, name: &str) {
    assert!(Command::new("mkfifo").arg(place.path(name)).status().expect("mkfifo can be run").success());
}

fn refused(place: &Place, line: &str, code: i32, phrases: &[&str]) -> Ended {
    let before = place.contents();
    let ended = place.run(line);
    assert_eq!(ended.code, Some(code), "{ended}");
    for phrase in phrases {
        assert!(ended.error().contains(phrase), "no {phrase:?} in {ended}");
    }
    assert!(ended.stdout.is_empty() && place.contents() == before, "{ended}");
    ended
}

#[test]
fn a_pipe_a_socket_or_a_device_is_told_at_once() {
    let place = Place::tiny();
    make_pipe(&place, "pipe");
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    for (name, what) in [("pipe", "pipe"), ("socket", "socket"), ("/dev/zero", "device")] {
        let other = format!("is not a regular file but a {what}");
        refused(&place, &format!("--config {name}"), 2, &[name, &other]);
        refused(&place, &format!("{TINY} --init-from {name}"), 1, &[name, &other, "name a checkpoint.safetensors"]);
    }
    fs::create_dir(place.path("run")).unwrap();
    make_pipe(&place, "run/checkpoint.safetensors");
    for line in ["--resume run", "--resume run --eval-only", "--resume run --plan"] {
        refused(&place, line, 1, &["run/checkpoint.safetensors", "is not a regular file but a pipe"]);
    }
    fs::create_dir(place.path("data")).unwrap();
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        fs::File::create(place.path("data").join(format!("{name}.bin"))).unwrap().set_len(10_000 * 3073).unwrap();
    }
    fs::remove_file(place.path("data/data_batch_2.bin")).unwrap();
    make_pipe(&place, "data/data_batch_2.bin");
    refused(&place, "--data data", 1, &["data_batch_2.bin", "is not a regular file but a pipe"]);
    refused(&place, "--data pipe", 1, &["pipe", "name the folder"]);
    refused(&place, &format!("{TINY} --out pipe"), 2, &["--out pipe is a file"]);
}

#[test]
fn a_folder_or_a_foreign_file_to_start_from_is_named_with_what_would_do() {
    let place = Place::tiny();
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("net.pt"), [&b"PK\x03\x04"[..], &[0; 64]].concat()).unwrap();
    fs::write(place.path("notes.txt"), "these are notes, and rather long ones at that").unwrap();
    for (name, what) in [
        ("folder", "this is a folder"),
        ("net.pt", "a zip archive, as PyTorch saves"),
        ("notes.txt", "not a safetensors file"),
        ("nothing", "there is no such file"),
    ] {
        refused(&place, &format!("{TINY} --init-from {name}"), 1, &[name, what, "name a checkpoint.safetensors"]);
    }
}

#[test]
fn a_folder_without_permission_is_told_as_such() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 1 --out out"));
    fs::create_dir(place.path("data")).unwrap();
    // root may look everywhere: the program runs as another user, in a folder that this one may enter
    let program = crate::cli::program(option_env!("CARGO_BIN_EXE_train_cifar"), "train_cifar");
    let root = String::from_utf8(Command::new("id").arg("-u").output().expect("id").stdout).unwrap().trim() == "0";
    let as_user = |line: &str| {
        if !root {
            return Some(place.run(line));
        }
        let copy = place.path("train_cifar");
        if !copy.exists() {
            fs::copy(&program, &copy).expect("a copy that anyone may run");
        }
        let mut other = place.command_of("setpriv".as_ref(), "--reuid=65534 --regid=65534 --clear-groups");
        let child = other.arg(copy).args(line.split_whitespace()).spawn().ok()?;
        Some(Ended::of(line, child))
    };
    let mode = |name: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(".", 0o777);
    mode("out", 0o000);
    mode("data", 0o000);
    for (line, name) in [
        ("--resume out", "out"),
        ("--resume out --eval-only", "out"),
        ("--data data", "data"),
        ("--out out/run", "out"),
    ] {
        let Some(ended) = as_user(line) else {
            println!("setpriv does not run here: the case of a folder without permission did not run");
            break;
        };
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.error().contains("Permission denied") && ended.error().contains(name), "{ended}");
    }
    mode("out", 0o755);
    mode("data", 0o755);
}
