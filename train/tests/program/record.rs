//! What is written while a run trains: `--log-steps` and `--tensorboard`.

use std::fs;

use crate::cli::{Place, TINY};

/// The rows of steps.csv without the column that a clock decides.
fn rows(place: &Place, folder: &str) -> Vec<String> {
    let text = place.text(&format!("{folder}/steps.csv"));
    assert!(text.ends_with('\n') && text.starts_with("epoch,step,images,"), "{text}");
    text.lines().map(|line| line.rsplit_once(',').expect("a last column").0.to_string()).collect()
}

fn numbers(row: &str) -> Vec<f64> {
    row.split(',').map(|field| field.parse().unwrap_or(f64::NAN)).collect()
}

#[test]
fn rows_of_a_run_that_was_cut_are_those_of_one_that_was_not() {
    let place = Place::tiny();
    let run = format!("{TINY} --epochs 2 --gradient corrected --lr 0.01 --lr-drop 1 --log-steps 3");
    place.succeed(&format!("{run} --out whole"));
    place.succeed(&format!("{run} --max-steps 8 --out cut"));
    assert_eq!(rows(&place, "cut").len(), 1 + 2);
    // a session that was killed after more steps than its checkpoint knows, in the middle of a row
    let path = place.path("cut/steps.csv");
    let text = fs::read_to_string(&path).expect("rows");
    fs::write(&path, format!("{text}1,9,900,1,1,1,1,1\n1,12,1200,2,")).expect("written");
    place.succeed("--resume cut --max-steps 25 --threads 1");
    place.succeed("--resume cut");
    let (whole, cut) = (rows(&place, "whole"), rows(&place, "cut"));
    assert_eq!(whole, cut);
    place.assert_same_run("whole", "cut");
    assert_eq!(whole.len(), 1 + 13, "40 steps");
    for (n, row) in whole.iter().skip(1).enumerate() {
        let row = numbers(row);
        let step = 3 * (n + 1);
        assert_eq!(row[..3], [1.0 + ((step - 1) / 20) as f64, step as f64, 100.0 * step as f64], "{row:?}");
        assert!(row[3] > 0.0 && (0.0..=1.0).contains(&row[4]) && row[6] > 0.0, "{row:?}");
        assert_eq!(row[5] as f32, if step <= 20 { 0.01 } else { 0.001 });
    }
}

#[test]
fn rows_of_single_steps_have_the_mean_of_their_epoch_and_change_no_bit() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 1 --out plain"));
    place.succeed(&format!("{TINY} --epochs 1 --log-steps 1 --tensorboard --out logged"));
    place.assert_same_run("plain", "logged");
    assert!(!place.path("plain/steps.csv").exists());
    let rows: Vec<_> = rows(&place, "logged").iter().skip(1).map(|row| numbers(row)).collect();
    let metrics = numbers(place.rows("logged")[0].as_str());
    for column in [3, 4] {
        let mean = rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64;
        assert!((mean - metrics[column - 2]).abs() < 1e-12, "{mean} and {metrics:?}");
    }
}

#[test]
fn tensorboard_hears_of_every_epoch_once() {
    let place = Place::tiny();
    let run = format!("{TINY} --epochs 3");
    let file = "out/events.out.tfevents.rewind";
    place.succeed(&format!("{run} --log-steps 10 --max-steps 25 --out out"));
    assert!(!place.path(file).exists());
    // asked for later, it hears of the first epoch too
    place.succeed("--resume out --tensorboard --max-steps 45");
    place.succeed("--resume out");
    let bytes = fs::read(place.path(file)).expect("events");
    let count = |tag: &str| bytes.windows(tag.len()).filter(|part| *part == tag.as_bytes()).count();
    assert_eq!((count("brain.Event:2"), count("loss/test"), count("accuracy/train")), (1, 3, 3));
    // of steps 30, 40, 50 and 60
    assert_eq!((count("steps/loss"), rows(&place, "out").len()), (4, 1 + 6));
    place.succeed(&format!("{run} --out whole"));
    place.assert_same_run("whole", "out");
}

#[test]
fn files_of_another_kind_are_named_and_left_alone() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 2 --out out"));
    for (flag, name) in [("--log-steps 1", "steps.csv"), ("--tensorboard", "events.out.tfevents.rewind")] {
        fs::write(place.path("out").join(name), "somebody's own notes").expect("written");
        let refused = place.run(&format!("--resume out --max-steps 3 {flag}"));
        assert!(refused.code == Some(1) && refused.error().contains("move it away"), "{refused}");
        assert!(refused.error().contains(name), "{refused}");
        assert_eq!(place.text(&format!("out/{name}")), "somebody's own notes");
        fs::remove_file(place.path("out").join(name)).expect("removed");
        place.succeed(&format!("--resume out --max-steps 2 {flag}"));
    }
    let refused = place.run(&format!("{TINY} --log-steps 0 --out other"));
    assert!(refused.code == Some(2) && refused.error().contains("--log-steps 0 counts no step"), "{refused}");
}

#[test]
fn a_warm_up_trains_at_the_rates_that_it_names_and_across_a_cut() {
    let place = Place::tiny();
    let run = format!("{TINY} --epochs 3 --lr 0.2 --warmup 1 --log-steps 1");
    // the first of twenty steps
    place.succeed(&format!("{run} --max-steps 1 --out warm"));
    place.succeed(&format!("{TINY} --epochs 3 --lr 0.01 --max-steps 1 --out slow"));
    place.assert_same_weights("warm", "slow");
    for schedule in ["step", "cosine-steps", "one-cycle"] {
        let run = format!("{run} --lr-schedule {schedule}");
        place.succeed(&format!("{run} --max-steps 25 --out {schedule}-whole"));
        place.succeed(&format!("{run} --max-steps 7 --out {schedule}-cut"));
        place.succeed(&format!("--resume {schedule}-cut --max-steps 25 --threads 1"));
        place.assert_same_run(&format!("{schedule}-whole"), &format!("{schedule}-cut"));
        let rates: Vec<f64> =
            rows(&place, &format!("{schedule}-whole")).iter().skip(1).map(|row| numbers(row)[5]).collect();
        assert!(rates[..19].is_sorted_by(|a, b| a < b), "{schedule}: {rates:?}");
    }
    // the built-in set has five epochs
    let refused = place.run("--data synthetic --warmup 5 --out none");
    let told = "--warmup 5 leaves no epoch at the whole rate of --epochs 5";
    assert!(refused.code == Some(2) && refused.error().contains(told), "{refused}");
    assert!(!place.path("none").exists());
}
