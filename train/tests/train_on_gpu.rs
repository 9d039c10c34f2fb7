//! `train_cifar --device cuda` from the command line: on this machine's GPU, or with the emulator as the driver's library.
#![cfg(all(feature = "cuda", target_os = "linux"))]

#[path = "../../tests/support/cli.rs"]
mod cli;
#[path = "../../tests/support/driver.rs"]
mod driver;

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cli::{Ended, Place};
use driver::{has_gpu, with_driver};
use rewind_train::checkpoint::Checkpoint;

const SMALL: &str = "--data digits --depth 2 --channels 4 --batch 100 --max-steps 3 --quiet";

/// Images to train on and to test on.
const IMAGES: [u32; 2] = [700, 400];

#[test]
fn a_run_on_the_gpu_ends_where_one_on_the_cpu_does() {
    let place = Place::with_digits(IMAGES);
    place.succeed(&format!("{SMALL} --device cpu --out cpu"));
    let line = format!("{SMALL} --device cuda --math fp32 --out gpu");
    let command = with_driver(&place, place.command(&line));
    let ended = Ended::of(&line, { command }.spawn().expect("train_cifar starts"));
    assert_eq!(ended.code, Some(0), "{ended}");
    let (cpu, gpu) = (place.summary("cpu"), place.summary("gpu"));
    assert!(gpu["device"].as_str().expect("a name").starts_with("cuda:0 ("), "{}", gpu["device"]);
    assert_eq!(gpu["steps"], cpu["steps"]);
    // the scratch is each device's own; all else is the net's
    for category in ["parameters", "gradients", "optimiser", "statistics", "state", "saved", "data"] {
        assert_eq!(gpu["memory"][category], cpu["memory"][category], "{category}");
    }
    assert_eq!(gpu["peak_bytes"], gpu["planned_peak_bytes"]);
    assert!(cpu["device_memory"].is_null());
    let device = &gpu["device_memory"];
    let bytes = |key: &str| device[key].as_u64().expect("a number");
    let taken = bytes("free_at_open_bytes").saturating_sub(bytes("free_at_end_bytes"));
    assert_eq!(bytes("taken_bytes"), taken);
    // on a GPU the other tests' processes take and give memory meanwhile
    assert!(has_gpu() || taken > gpu["activation_peak_bytes"].as_u64().expect("a number"), "{device}");
    assert!(ended.in_table("  device").contains("as its driver counts, of"), "{ended}");
    // three steps in f32 from the same weights and batches: of 400 test images a few lie at the border
    let accuracy = |s: &serde_json::Value| s["test_accuracy"].as_f64().expect("a number");
    assert!((accuracy(&cpu) - accuracy(&gpu)).abs() < 0.01, "{} and {}", accuracy(&cpu), accuracy(&gpu));
}

/// Runs a line on the GPU.
fn on_gpu(place: &Place, line: &str) -> Ended {
    let line = if line.contains("--resume") { line.to_string() } else { format!("{line} --device cuda --math fp32") };
    let command = with_driver(place, place.command(&line));
    Ended::of(&line, { command }.spawn().expect("train_cifar starts"))
}

#[test]
fn a_run_cut_and_resumed_has_the_bits_of_a_whole_one_and_of_an_eager_one() {
    let place = Place::with_digits(IMAGES);
    let line = SMALL.replace("--max-steps 3", "--epochs 1");
    for line in [
        format!("{line} --max-steps 5 --out whole"),
        format!("{line} --max-steps 5 --out eager --eager"),
        format!("{line} --max-steps 2 --out cut"),
        "--resume cut --max-steps 5 --quiet".to_string(),
    ] {
        let ended = on_gpu(&place, &line);
        assert_eq!(ended.code, Some(0), "{ended}");
    }
    for other in ["eager", "cut"] {
        place.assert_same_weights("whole", other);
        for key in ["steps", "test_accuracy", "train_loss", "drift", "memory", "peak_bytes"] {
            assert_eq!(place.summary("whole")[key], place.summary(other)[key], "{key} of {other}");
        }
        assert_eq!(place.names("whole"), place.names(other));
    }
}

#[test]
fn ctrl_c_saves_what_was_trained() {
    let place = Place::with_digits(IMAGES);
    let line = SMALL.replace("--max-steps 3", "--epochs 500 --device cuda --math fp32 --out out");
    let child = { with_driver(&place, place.command(&line)) }.spawn().expect("train_cifar starts");
    let start = Instant::now();
    while !place.path("out/metrics.csv").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the run never began");
        sleep(Duration::from_millis(2));
    }
    sleep(Duration::from_millis(500));
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill can be run").success());
    let ended = Ended::of(&line, child);
    assert_eq!(ended.code, Some(130), "{ended}");
    let steps = place.summary("out")["steps"].as_u64().expect("a number");
    let checkpoint = Checkpoint::open(&place.path("out/checkpoint.safetensors")).expect("whole");
    assert_eq!(checkpoint.state().progress.global_step, steps);
    let resumed = on_gpu(&place, &format!("--resume out --max-steps {} --quiet", steps + 1));
    assert_eq!(resumed.code, Some(0), "{resumed}");
    assert_eq!(place.summary("out")["steps"], steps + 1);
}

#[test]
fn the_doctor_tells_what_it_found() {
    let place = Place::new();
    let ended = place.succeed("--doctor");
    assert!(ended.stdout.contains("cpu ") && ended.stdout.contains("kernels "), "{ended}");
    assert!(has_gpu() || ended.stdout.contains("no NVIDIA driver (no libcuda)"), "{ended}");
    let command = with_driver(&place, place.command("--doctor"));
    let ended = Ended::of("--doctor", { command }.spawn().expect("train_cifar starts"));
    assert_eq!(ended.code, Some(0), "{ended}");
    let device = ended.stdout.lines().find(|l| l.starts_with("cuda:0")).expect("a device");
    assert!(device.contains("compute capability") && device.contains("; usable, with "), "{ended}");
}

#[test]
fn a_plan_larger_than_the_card_is_refused_with_its_table() {
    let place = Place::new();
    // some 900 GB of weights and velocities: more than any card holds
    let line = "--data synthetic --depth 24000 --channels 512 --device cuda";
    let command = with_driver(&place, place.command(line));
    let ended = Ended::of(line, { command }.spawn().expect("train_cifar starts"));
    assert!(matches!(ended.code, Some(1 | 2)), "{ended}");
    assert!(ended.stderr.contains("parameters") && ended.stderr.contains("largest depth that fits"), "{ended}");
}

#[test]
fn a_missing_driver_or_device_is_said_in_one_sentence() {
    let place = Place::with_digits(IMAGES);
    let refused = |ended: &Ended, phrase: &str| {
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.error().contains(phrase), "no {phrase:?} in the error of {ended}");
    };
    if !has_gpu() {
        refused(&place.run(&format!("{SMALL} --device cuda")), "no NVIDIA driver");
        let ended = place.succeed(&format!("{} --device auto --out auto", SMALL.replace(" --quiet", "")));
        assert!(ended.stderr.contains("on the CPU (") && ended.stderr.contains("no NVIDIA driver"), "{ended}");
        assert!(place.summary("auto")["device"].as_str().expect("a name").starts_with("cpu"));
    }
    let line = format!("{SMALL} --device cuda:97");
    let command = with_driver(&place, place.command(&line));
    refused(&Ended::of(&line, { command }.spawn().expect("train_cifar starts")), "there is no device 97");
}
