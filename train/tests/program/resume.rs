//! A run that was cut goes on to the same bits: by a limit, by Ctrl-C, by kill -9, and with another number of threads.

use std::fs;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

#[cfg(unix)]
use crate::cli::interrupt;
use crate::cli::{Ended, Place, TINY};
use rewind_train::checkpoint::Checkpoint;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Waits until a file exists.
pub fn wait_for(place: &Place, name: &str) {
    let start = Instant::now();
    while !place.path(name).exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "{name} never came");
        sleep(millis(2));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let place = Place::tiny();
    for (scheme, gradient, steps) in [
        ("euler", "auto", 20),
        ("heun", "coded", 6),
        ("euler", "corrected", 20),
        ("heun", "adjoint", 6),
        ("rk4", "auto", 6),
        ("rk4", "corrected", 6),
        ("euler", "backprop", 6),
    ] {
        let run = format!(
            "--data digits --depth 3 --channels 5 --batch 100 --scheme {scheme} --gradient {gradient} --max-steps {steps}"
        );
        let name = |threads: usize| format!("{scheme}-{gradient}-{threads}");
        for threads in [1, 2] {
            place.succeed(&format!("{run} --threads {threads} --out {}", name(threads)));
        }
        place.assert_same_run(&name(1), &name(2));
    }
}

#[test]
fn a_rounded_run_goes_on_rounded() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 20 --out plain"));
    place.succeed(&format!("{TINY} --max-steps 20 --round-as fp16 --out whole"));
    place.succeed(&format!("{TINY} --max-steps 7 --round-as fp16 --out cut"));
    let ended = place.succeed("--resume cut --max-steps 20");
    assert!(ended.stderr.contains("convolutions in fp16"), "{ended}");
    place.assert_same_run("whole", "cut");
    assert_ne!(place.rows("plain"), place.rows("whole"));
    let ended = place.run("--resume cut --round-as tf32");
    assert!(ended.code == Some(2) && ended.error().contains("--round-as tf32 contradicts the checkpoint"), "{ended}");
}

#[test]
fn a_run_cut_in_mid_epoch_goes_on_to_the_same_bits_with_other_threads() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 3 --lr-drop 1 --threads 2 --out whole"));
    // 27 is in the second epoch, 40 at the end of it
    place.succeed(&format!("{TINY} --epochs 3 --lr-drop 1 --threads 2 --max-steps 27 --out cut"));
    place.succeed("--resume cut --threads 1 --max-steps 40");
    place.succeed("--resume cut --threads 2");
    place.assert_same_run("whole", "cut");
    assert_eq!(place.names("whole"), place.names("cut"));
    let row = |folder: &str, key: &str| place.summary(folder)[key].clone();
    for key in ["epochs", "steps", "test_accuracy", "best_test_accuracy", "train_loss", "drift", "memory", "peak_bytes"]
    {
        assert_eq!(row("whole", key), row("cut", key), "{key}");
    }
}

#[test]
fn a_run_with_the_3x3_stem_goes_on_to_the_same_bits() {
    let place = Place::new();
    let run = "--data synthetic --depth 2 --channels 2 --batch 100 --stem 3x3 --threads 2";
    place.succeed(&format!("{run} --max-steps 4 --out whole"));
    place.succeed(&format!("{run} --max-steps 2 --out cut"));
    place.succeed("--resume cut --max-steps 4");
    place.assert_same_run("whole", "cut");
    assert!(place.text("cut/config.toml").contains("stem = \"3x3\""));
    let refused = place.run("--resume cut --stem 5x5");
    assert!(refused.code == Some(2) && refused.stderr.contains("which was trained --stem 3x3"), "{refused}");
}

#[test]
fn runs_of_other_optimisers_go_on_to_the_same_bits() {
    let place = Place::tiny();
    for (name, flags) in [
        ("adamw", "--optimiser adamw --betas 0.8,0.99 --eps 1e-6 --decay weights"),
        ("after", "--optimiser adamw --update after --gradient coded"),
        ("nesterov", "--nesterov --decay weights"),
    ] {
        let (whole, cut) = (format!("{name}-whole"), format!("{name}-cut"));
        place.succeed(&format!("{TINY} {flags} --max-steps 20 --out {whole}"));
        place.succeed(&format!("{TINY} {flags} --max-steps 7 --out {cut}"));
        place.succeed(&format!("--resume {cut} --max-steps 20"));
        place.assert_same_run(&whole, &cut);
    }
    let checkpoint = Checkpoint::open(&place.path("adamw-whole/checkpoint.safetensors")).unwrap();
    assert_eq!(checkpoint.tensor("optimiser.count", &[3]).unwrap()[0], 20.0);
    assert!(place.text("adamw-whole/config.toml").contains("betas = [0.8, 0.99]"));
    assert!(!place.text("adamw-whole/config.toml").contains("momentum"));
    let refused = place.run("--resume adamw-cut --optimiser sgd");
    assert!(refused.code == Some(2) && refused.stderr.contains("which was trained --optimiser adamw"), "{refused}");
    let refused = place.run("--resume nesterov-cut --optimiser adamw");
    assert!(refused.code == Some(2) && refused.stderr.contains("which was trained --optimiser sgd"), "{refused}");
}

#[test]
fn more_epochs_may_be_asked_for() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --lr-drop 1 --epochs 2 --out whole"));
    place.succeed(&format!("{TINY} --lr-drop 1 --epochs 1 --out longer"));
    let longer = place.succeed("--resume longer --epochs 2");
    assert!(longer.stderr.contains("the learning rate falls after epochs 1, as when this run was begun"), "{longer}");
    place.assert_same_run("whole", "longer");
    assert_eq!(place.text("whole/config.toml"), place.text("longer/config.toml"));
}

#[test]
fn a_finished_run_says_so_and_is_left_as_it_is() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 1 --out out"));
    let (before, written) = (place.contents(), modified(&place, "out"));
    for line in ["--resume out", "--resume out --threads 1", "--resume out --max-steps 20"] {
        let again = place.succeed(line);
        assert!(
            again.stderr.contains("this run is finished: 1 of 1 epochs are done; give more with --epochs"),
            "{again}"
        );
        assert!(again.in_table("test accuracy").contains("epoch 1"), "{again}");
    }
    assert!(place.contents() == before && modified(&place, "out") == written, "no file is written anew");
    // what a session that was killed after its last checkpoint did not come to write
    let files = place.names("out");
    for name in ["metrics.csv", "curves.svg", "summary.json", "confusion.csv", "classes.csv"] {
        fs::remove_file(place.path("out").join(name)).unwrap();
    }
    place.succeed("--resume out");
    assert_eq!(place.names("out"), files);
    place.succeed(&format!("{TINY} --max-steps 3 --out cut"));
    let again = place.succeed("--resume cut --max-steps 3");
    assert!(again.stderr.contains("this run is finished: 3 steps are done; give more with --max-steps"), "{again}");
}

/// When each file of a folder was written last.
fn modified(place: &Place, folder: &str) -> Vec<std::time::SystemTime> {
    let time = |name: &String| place.path(folder).join(name).metadata().and_then(|m| m.modified()).expect("a time");
    place.names(folder).iter().map(time).collect()
}

#[test]
fn a_cosine_goes_on_to_the_same_bits_and_another_one_is_asked_for() {
    let place = Place::tiny();
    let run = format!("{TINY} --epochs 3 --lr-schedule cosine");
    place.succeed(&format!("{run} --out whole"));
    place.succeed(&format!("{run} --max-steps 27 --out cut"));
    place.succeed("--resume cut");
    place.assert_same_run("whole", "cut");
    let refused = place.run("--resume cut --epochs 4");
    assert!(refused.code == Some(2) && refused.error().contains("its learning rate would jump"), "{refused}");
    place.succeed("--resume cut --epochs 4 --lr-schedule cosine");
    assert_eq!(place.rows("cut").len(), 4);
}

#[test]
#[cfg(unix)]
fn ctrl_c_finishes_the_step_and_saves() {
    let place = Place::tiny();
    let line = format!("{TINY} --epochs 500 --out out");
    let child = place.command(&line).spawn().expect("it starts");
    // the second epoch is under way
    wait_for(&place, "out/summary.json");
    sleep(millis(60));
    interrupt(&child);
    let ended = Ended::of(&line, child);
    assert_eq!(ended.code, Some(130), "{ended}");
    assert!(ended.stderr.ends_with("stopped; continue with --resume out\n"), "{ended}");
    ended.in_table("net");

    let progress = Checkpoint::open(&place.path("out/checkpoint.safetensors")).expect("whole").state().progress.clone();
    let summary = place.summary("out");
    assert_eq!(summary["steps"].as_u64(), Some(progress.global_step));
    assert_eq!(place.rows("out").len(), progress.epoch);
    assert_eq!(progress.global_step, (progress.epoch * 20 + progress.step_in_epoch) as u64);

    let limit = progress.global_step + 25;
    place.succeed(&format!("--resume out --threads 1 --max-steps {limit}"));
    place.succeed(&format!("{TINY} --epochs 500 --max-steps {limit} --out whole"));
    place.assert_same_run("whole", "out");
    let rows = place.rows("out");
    let epochs: Vec<&str> = rows.iter().filter_map(|row| row.split(',').next()).collect();
    let expected: Vec<String> = (1..=limit / 20).map(|epoch| epoch.to_string()).collect();
    assert_eq!(epochs, expected, "each epoch once");
}

#[test]
#[cfg(unix)]
fn a_second_ctrl_c_stops_at_once() {
    let place = Place::new();
    // one step of this takes many seconds
    let line = "--data synthetic --depth 256 --channels 16 --batch 4000 --epochs 1 --out out";
    let mut child = place.command(line).spawn().expect("it starts");
    wait_for(&place, "out/metrics.csv");
    let before = fs::read(place.path("out/checkpoint.safetensors")).unwrap();
    sleep(millis(200));
    interrupt(&child);
    sleep(millis(200));
    assert!(child.try_wait().expect("it can be asked").is_none(), "the first Ctrl-C lets the step finish");
    interrupt(&child);
    let ended = Ended::of(line, child);
    assert_eq!(ended.code, Some(130), "{ended}");
    // a step that was let finish would have been saved and shown
    assert_eq!(ended.stdout, "", "no table: {ended}");
    assert!(fs::read(place.path("out/checkpoint.safetensors")).unwrap() == before);
    assert!(Checkpoint::open(&place.path("out/checkpoint.safetensors")).is_ok());
}

#[test]
fn kill_9_at_any_moment_costs_at_most_an_epoch() {
    let place = Place::tiny();
    let run = format!("{TINY} --epochs 12");
    place.succeed(&format!("{run} --out whole"));
    let checkpoint = place.path("out/checkpoint.safetensors");
    let kill = |mut child: Child, line: &str, delay: u64| {
        sleep(millis(delay));
        child.kill().expect("it can be killed, even when it is over");
        let ended = Ended::of(line, child);
        assert!(ended.code.is_none_or(|code| code == 0), "{ended}");
        let names = if place.path("out").exists() { place.names("out") } else { vec![] };
        assert!(
            names.iter().all(|name| name.ends_with(".tmp") || name == ".lock") || checkpoint.exists(),
            "the checkpoint is first: {names:?}"
        );
    };
    // around the first checkpoint: until it exists, the folder holds no run and may be used again
    let line = format!("{run} --out out");
    for delay in [1, 50, 100, 150, 200] {
        if !checkpoint.exists() {
            kill(place.command(&line).spawn().expect("it starts"), &line, delay);
        }
    }
    if !checkpoint.exists() {
        let child = place.command(&line).spawn().expect("it starts");
        wait_for(&place, "out/checkpoint.safetensors");
        kill(child, &line, 0);
    }
    for (session, delay) in [0, 1, 3, 8, 20, 60, 150, 300].into_iter().enumerate() {
        // the other number of threads is in the checkpoint, so a session's first one differs from the last
        let line = format!("--resume out --threads {}", 1 + session % 2);
        let before = fs::read(&checkpoint).unwrap();
        let mut child = place.command(&line).spawn().expect("it starts");
        while fs::read(&checkpoint).unwrap() == before && child.try_wait().expect("it can be asked").is_none() {
            sleep(millis(1));
        }
        kill(child, &line, delay);
    }
    place.succeed("--resume out");
    place.assert_same_run("whole", "out");
    assert_eq!(place.names("out"), place.names("whole"), "nothing that a killed session left");
}

#[test]
fn a_checkpoint_of_a_version_that_kept_no_names_of_classes_goes_on_to_the_same_bits() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 2 --out out"));
    crate::crafted::without(&place.path("out/checkpoint.safetensors"), "pictures");
    place.succeed("--resume out --max-steps 4");
    place.succeed(&format!("{TINY} --max-steps 4 --out whole"));
    place.assert_same_run("whole", "out");
}

#[test]
fn data_that_is_elsewhere_now_is_to_be_named() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 1 --out out"));
    crate::crafted::config(&place.path("out/checkpoint.safetensors"), "data = \"digits\"", "data = \"elsewhere\"");
    let ended = place.run("--resume out");
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(
        ended.error().contains("elsewhere: there is no such folder") && ended.error().contains("--data"),
        "{ended}"
    );
    place.succeed("--resume out --data digits --max-steps 2");
}

#[test]
fn other_data_is_refused() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 1 --out out"));
    // zeros: every label is 0, every pixel black
    for file in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        let folder = place.path("cifar");
        fs::create_dir_all(&folder).unwrap();
        fs::File::create(folder.join(format!("{file}.bin"))).unwrap().set_len(10_000 * 3073).unwrap();
    }
    let before = place.contents();
    let ended = place.run("--resume out --seed 1");
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.error().contains("--seed 1 contradicts the checkpoint, which was trained --seed 0"), "{ended}");
    for line in ["--resume out --data cifar", "--resume out --data cifar --eval-only"] {
        let ended = place.run(line);
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.error().contains("was trained on mnist (") && ended.error().contains("--data"), "{ended}");
    }
    assert!(place.contents() == before);
}
