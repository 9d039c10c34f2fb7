//! What `train_cifar` says of a GPU that it cannot use, with the emulator posing as one.
#![cfg(all(feature = "cuda", target_os = "linux"))]

#[path = "../../tests/support/cli.rs"]
mod cli;
#[path = "../../tests/support/driver.rs"]
mod driver;

use cli::{Ended, Place};
use driver::with_emulator;

const SMALL: &str = "--data digits --depth 2 --channels 4 --batch 100 --max-steps 1";
/// Images to train on and to test on.
const IMAGES: [u32; 2] = [200, 100];

fn run(place: &Place, line: &str, variables: &[(&str, &str)]) -> Ended {
    let mut command = with_emulator(place, place.command(line), variables);
    Ended::of(line, command.spawn().expect("train_cifar starts"))
}

/// `--device cuda` fails with these words, `--device auto` says them in one line and trains on the CPU, and the doctor tells.
fn refused(variables: &[(&str, &str)], words: &[&str]) {
    let place = Place::with_digits(IMAGES);
    let ended = run(&place, &format!("{SMALL} --device cuda"), variables);
    assert_eq!(ended.code, Some(1), "{ended}");
    let auto = run(&place, &format!("{SMALL} --device auto --out auto"), variables);
    assert_eq!(auto.code, Some(0), "{auto}");
    assert!(place.summary("auto")["device"].as_str().expect("a name").starts_with("cpu"), "{auto}");
    let said: Vec<&str> = auto.stderr.lines().filter(|line| line.contains("on the CPU (")).collect();
    assert_eq!(said.len(), 1, "{auto}");
    let doctor = run(&place, "--doctor", variables);
    assert_eq!(doctor.code, Some(0), "{doctor}");
    for word in words {
        assert!(ended.error().contains(word), "no {word:?} in the error of {ended}");
        assert!(said[0].contains(word), "no {word:?} in the notice of {auto}");
    }
}

#[test]
fn a_driver_without_a_gpu() {
    refused(&[("REWIND_EMULATOR_DEVICES", "0")], &["the driver lists no GPU"]);
}

#[test]
fn a_driver_that_is_too_old() {
    refused(
        &[("REWIND_EMULATOR_DRIVER", "11.8")],
        &["the driver supports CUDA 11.8 and the kernels need 12.0: install driver 525 or newer"],
    );
}

#[test]
fn the_oldest_driver_that_is_promised() {
    let place = Place::with_digits(IMAGES);
    // the emulator then refuses PTX that such a driver does not read
    let ended = run(&place, &format!("{SMALL} --device cuda"), &[("REWIND_EMULATOR_DRIVER", "12.0")]);
    assert_eq!(ended.code, Some(0), "{ended}");
}

#[test]
fn a_gpu_that_is_too_old() {
    refused(
        &[("REWIND_EMULATOR_CAPABILITY", "7.5")],
        &["rewind PTX emulator (h100-sxm) has compute capability 7.5, and the kernels need 8.0 (Ampere) or newer"],
    );
}

#[test]
fn a_gpu_that_refuses_cooperative_launches_takes_a_chain() {
    let place = Place::with_digits(IMAGES);
    let line = "--data digits --depth 2 --batch 8 --max-steps 1 --device cuda";
    let refusing = [("REWIND_EMULATOR_COOPERATION", "0")];
    let ended = run(&place, &format!("{line} --out chain"), &refusing);
    assert_eq!(ended.code, Some(0), "{ended}");
    let words = "a chain of launches since it refuses a cooperative launch, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE";
    assert_eq!(ended.stderr.matches(words).count(), 1, "{ended}");
    let doctor = run(&place, "--doctor", &refusing);
    assert!(doctor.stdout.contains(words), "{doctor}");
    let willing = run(&place, "--doctor", &[]);
    assert!(!willing.stdout.contains("chain"), "{willing}");
}

/// A library whose every call says what the toolkit's stub says.
#[test]
fn the_toolkits_stub_in_place_of_a_driver() {
    let place = Place::with_digits(IMAGES);
    let calls = ["cuDriverGetVersion", "cuInit", "cuGetErrorName", "cuGetErrorString"];
    let source: String = calls.iter().map(|name| format!("int {name}(void) {{ return 34; }}\n")).collect();
    let folder = place.path("stub");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("stub.c"), source).expect("a file");
    let library = folder.join("libcuda.so");
    let made = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &folder.join("stub.c")])
        .status();
    match made {
        Ok(status) => assert!(status.success(), "cc makes the library"),
        Err(reason) => return eprintln!("not run, as this machine has no C compiler: {reason}"),
    }
    std::fs::copy(&library, folder.join("libcuda.so.1")).expect("a copy");
    for (device, code) in [("cuda", 1), ("auto", 0)] {
        let line = format!("{SMALL} --device {device} --out {device}");
        let mut command = place.command(&line);
        command.env("LD_LIBRARY_PATH", &folder);
        let ended = Ended::of(&line, command.spawn().expect("train_cifar starts"));
        assert_eq!(ended.code, Some(code), "{ended}");
        assert_eq!(ended.stderr.matches("is the CUDA toolkit's stub").count(), 1, "{ended}");
    }
}

#[test]
fn a_gpu_that_is_not_there() {
    let place = Place::with_digits(IMAGES);
    let ended = run(&place, &format!("{SMALL} --device cuda:3"), &[]);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.error().contains("there is no device 3: the driver lists cuda:0 alone"), "{ended}");
}

#[test]
fn a_gpu_with_too_little_memory() {
    let place = Place::new();
    let ended = run(&place, "--data synthetic --device cuda", &[("REWIND_EMULATOR_MEMORY", "8000000")]);
    assert!(matches!(ended.code, Some(1 | 2)), "{ended}");
    assert!(ended.stderr.contains("parameters") && ended.stderr.contains("the free memory is"), "{ended}");
}

#[test]
fn a_gpu_without_room_for_a_recorded_step() {
    let place = Place::with_digits(IMAGES);
    let full = [("REWIND_EMULATOR_GRAPH_NODES", "8")];
    let ended = run(&place, &format!("{SMALL} --device cuda"), &full);
    assert_eq!(ended.code, Some(1), "{ended}");
    let sentence = "the GPU has no room for a step recorded as a CUDA graph, which the driver keeps beside what --plan counts: \
                    lower --depth, --batch or --channels, or use --eager, which launches kernel by kernel";
    assert_eq!(ended.error(), sentence, "{ended}");
    // the advice is good
    let ended = run(&place, &format!("{SMALL} --device cuda --eager --out eager"), &full);
    assert_eq!(ended.code, Some(0), "{ended}");
}

#[test]
fn the_doctor_tells_what_is_there() {
    let place = Place::new();
    let needs = [("REWIND_EMULATOR_GPU", "a100-sxm")];
    let ended = run(&place, "--doctor", &needs);
    assert_eq!(ended.code, Some(0), "{ended}");
    for words in [
        rewind::cuda::ORIGIN,
        "the PTX needs a driver for CUDA ",
        "supports CUDA 13.0\n",
        "cuda:0   rewind PTX emulator (a100-sxm), compute capability 8.0, 108 multiprocessors, ",
        " of 40.0 GiB free; usable, with PTX\n",
    ] {
        assert!(ended.stdout.contains(words), "no {words:?} in {ended}");
    }
    let ended = run(&place, "--doctor", &[("REWIND_EMULATOR_CAPABILITY", "7.5")]);
    assert!(ended.stdout.contains("not usable (") && ended.stdout.contains("compute capability 7.5"), "{ended}");
    let ended = run(&place, "--doctor", &[("REWIND_EMULATOR_DEVICES", "0")]);
    assert!(ended.stdout.contains("none that the driver lists"), "{ended}");
}

#[test]
fn the_version_tells_which_kernels_are_embedded() {
    let place = Place::new();
    let ended = place.succeed("--version");
    assert_eq!(
        ended.stdout,
        format!("train_cifar {} (kernels: {})\n", env!("CARGO_PKG_VERSION"), rewind::cuda::ORIGIN)
    );
    assert_eq!(place.succeed("-V").stdout, format!("train_cifar {}\n", env!("CARGO_PKG_VERSION")));
}
