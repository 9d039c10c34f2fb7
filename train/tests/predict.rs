//! `predict` with nets that `train` and `train_cifar` trained: it sees a picture as the test of the run does, and says in a sentence what it
//! cannot read.

#[path = "../../tests/support/cli.rs"]
mod cli;
#[allow(dead_code)]
#[path = "program/crafted.rs"]
mod crafted;
#[path = "support/picture_set.rs"]
mod picture_set;

use std::fs;

use cli::{Ended, Place, TINY, program};
use picture_set::{CLASSES, write_set};
use serde_json::Value;

fn start(place: &Place, name: &str, of_this_package: Option<&str>, line: &str) -> Ended {
    let mut command = place.command_of(&program(of_this_package, name), line);
    Ended::of(line, command.spawn().expect("it starts"))
}

fn predict(place: &Place, line: &str) -> Ended {
    start(place, "predict", option_env!("CARGO_BIN_EXE_predict"), &format!("{line} --device cpu --quiet"))
}

const SMALL: &str = "--depth 2 --channels 4";

/// A set whose pictures have many sizes, and a net trained on it with crops of chance: in `run`.
fn trained(normalise: &str, net: &str) -> Place {
    let place = Place::new();
    write_set(&place, 6, |number| (19 + 7 * (number % 5), 45 - 6 * (number % 6)));
    let line = format!(
        "--data set {net} --batch 4 --device cpu --image 24 --resize 28 --crop random --epochs 3 --threads 2 \
         --normalise {normalise} --out run"
    );
    let ended = start(&place, "train", option_env!("CARGO_BIN_EXE_train"), &line);
    assert_eq!(ended.code, Some(0), "{ended}");
    place
}

/// The pictures to test on, with their classes.
fn test_pictures() -> Vec<(&'static str, String)> {
    let of = |class: &'static str| (0..4).map(move |i| (class, format!("set/val/{class}/{i:02}.bmp")));
    CLASSES.into_iter().flat_map(of).collect()
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn pictures_are_seen_as_the_test_of_the_run_sees_them() {
    let published = "--net staged --blocks 1,1 --widths 4,8 --block bottleneck --form torchvision --lr 0.01";
    for (normalise, net) in [("auto", SMALL), ("imagenet", "--scheme heun --depth 3 --channels 4"), ("auto", published)]
    {
        let place = trained(normalise, net);
        let pictures = test_pictures();
        let files: Vec<&str> = pictures.iter().map(|(_, file)| &file[..]).collect();
        let files = files.join(" ");
        let ended = predict(&place, &format!("{files} --checkpoint run --json --threads 1"));
        assert_eq!(ended.code, Some(0), "{ended}");
        let lines = json(&ended.stdout);
        assert_eq!(lines.len(), pictures.len(), "{ended}");
        let (mut right, mut loss) = (0, 0.0);
        for (line, (class, file)) in lines.iter().zip(&pictures) {
            assert_eq!(line["image"], file[..], "in the order that was given");
            let classes = line["classes"].as_array().expect("classes");
            assert_eq!(classes.len(), CLASSES.len(), "no more than there are");
            let probability = |guess: &Value| guess["probability"].as_f64().expect("a number");
            assert!(classes.is_sorted_by(|a, b| probability(a) >= probability(b)), "{line}");
            let sum: f64 = classes.iter().map(probability).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{line}");
            for guess in classes {
                let number = guess["class"].as_u64().expect("a number") as usize;
                assert_eq!(guess["name"], CLASSES[number]);
            }
            right += u32::from(classes[0]["name"] == *class);
            let true_class = classes.iter().find(|guess| guess["name"] == *class).expect("it is among them");
            loss -= probability(true_class).ln() / pictures.len() as f64;
        }
        let summary = place.summary("run");
        let accuracy = summary["test_accuracy"].as_f64().expect("a number");
        assert_eq!(f64::from(right) / pictures.len() as f64, accuracy, "{ended}");
        let expected = summary["test_loss"].as_f64().expect("a number");
        assert!((loss - expected).abs() < 1e-5 * (1.0 + expected), "{loss} and {expected}");
        // by its file, on more threads, elsewhere than the run
        fs::copy(place.path("run/checkpoint.safetensors"), place.path("net.safetensors")).expect("copied");
        let alone = predict(&place, &format!("{files} --checkpoint net.safetensors --json --threads 3"));
        assert_eq!(alone.stdout, ended.stdout);
    }
}

#[test]
fn bars_and_names_are_printed_and_what_cannot_be_read_stops_no_other() {
    let place = trained("auto", SMALL);
    fs::write(place.path("notes.jpg"), "no picture at all").expect("written");
    let whole = fs::read(place.path("set/val/ant/00.bmp")).expect("a picture");
    fs::write(place.path("cut.bmp"), &whole[..whole.len() / 2]).expect("written");
    let mut named = vec!["notes.jpg", "set", "set/val/ant/00.bmp", "cut.bmp", "nowhere.png", "set/val/bee/01.bmp"];
    if cfg!(unix) {
        named.push("pipe");
        let made = std::process::Command::new("mkfifo").arg(place.path("pipe")).status();
        assert!(made.expect("mkfifo can be run").success());
    }
    let ended = predict(&place, &format!("{} --checkpoint run --top 2", named.join(" ")));
    assert_eq!(ended.code, Some(1), "{ended}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{ended}");
    assert_eq!((lines[0], lines[3]), ("set/val/ant/00.bmp", "set/val/bee/01.bmp"));
    for line in [1, 2, 4, 5].map(|n| lines[n]) {
        assert!(line.contains(" %  ") && CLASSES.iter().any(|class| line.ends_with(class)), "{line}");
    }
    let errors: Vec<&str> = ended.stderr.lines().collect();
    let mut expected = vec![
        ("notes.jpg: ", "this is no picture"),
        ("set: ", "is a folder"),
        ("cut.bmp: ", "truncated"),
        ("nowhere.png: ", "No such file"),
    ];
    if cfg!(unix) {
        expected.push(("pipe: ", "is not a regular file but a pipe"));
    }
    assert_eq!(errors.len(), expected.len(), "{ended}");
    for (error, (start, part)) in errors.iter().zip(expected) {
        assert!(error.starts_with(&format!("error: {start}")) && error.contains(part), "{error}");
    }
    // a line of JSON for each of them
    let ended = predict(&place, &format!("{} --checkpoint run --json", named.join(" ")));
    let lines = json(&ended.stdout);
    assert_eq!((ended.code, lines.len()), (Some(1), named.len()), "{ended}");
    assert!(lines[0]["error"].is_string() && lines[2]["classes"].is_array(), "{ended}");
}

#[test]
fn a_net_of_the_built_in_set_knows_its_classes_and_an_old_checkpoint_their_numbers() {
    let place = Place::new();
    write_set(&place, 1, |_| (50, 40));
    let net = "--net staged --blocks 1,1 --widths 4,8 --block bottleneck";
    place.succeed(&format!("--data synthetic {net} --batch 1000 --max-steps 2 --out run"));
    let line = "set/train/ant/00.bmp --checkpoint run --top 10";
    let ended = predict(&place, line);
    assert!(ended.code == Some(0) && ended.stdout.contains("horizontal stripes"), "{ended}");
    without_pictures(&place, "run");
    let old = predict(&place, line);
    assert_eq!((old.code, &old.stdout), (Some(0), &ended.stdout), "the built-in set is known: {old}");
    let place = trained("auto", SMALL);
    without_pictures(&place, "run");
    let ended = predict(&place, "set/train/ant/00.bmp --checkpoint run");
    assert!(ended.code == Some(1) && ended.error().contains("kept no mean and deviation"), "{ended}");
    let place = trained("imagenet", SMALL);
    without_pictures(&place, "run");
    let ended = predict(&place, "set/train/ant/00.bmp --checkpoint run --json");
    assert_eq!(ended.code, Some(0), "{ended}");
    let names = |line: &Value| {
        let classes = line["classes"].as_array().expect("classes");
        let mut names: Vec<String> = classes.iter().map(|guess| guess["name"].to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&json(&ended.stdout)[0]), ["\"0\"", "\"1\"", "\"2\""]);
}

/// Makes of a checkpoint what versions before this one wrote.
fn without_pictures(place: &Place, run: &str) {
    crafted::without(&place.path(&format!("{run}/checkpoint.safetensors")), "pictures");
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let place = Place::tiny();
    write_set(&place, 1, |_| (8, 8));
    place.succeed(&format!("{TINY} --max-steps 1 --out run"));
    fs::create_dir(place.path("empty")).expect("a folder");
    let picture = "set/val/ant/00.bmp";
    for (line, code, expected) in [
        (picture.to_string(), 2, "--checkpoint <RUN>"),
        ("--checkpoint run".into(), 2, "<IMAGE>..."),
        (format!("{picture} --checkpoint empty"), 2, "holds no checkpoint.safetensors: name the folder of a run"),
        (format!("{picture} --checkpoint nowhere"), 1, "there is no such file"),
        (format!("{picture} --checkpoint {picture}"), 1, "not a safetensors file"),
        (format!("{picture} --checkpoint run --top 0"), 2, "--top 0 prints no class"),
        (format!("{picture} --checkpoint run --threads 0"), 2, "--threads 0 computes nothing"),
        (format!("{picture} --checkpoint run --depth 3"), 2, "--depth"),
    ] {
        let ended = predict(&place, &line);
        assert!(ended.code == Some(code) && ended.error().contains(expected), "{expected}: {ended}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
    }
    #[cfg(unix)]
    {
        let made = std::process::Command::new("mkfifo").arg(place.path("pipe")).status();
        assert!(made.expect("mkfifo can be run").success());
        let ended = predict(&place, &format!("{picture} --checkpoint pipe"));
        assert!(ended.code == Some(1) && ended.error().contains("this is not a regular file but a pipe"), "{ended}");
    }
}
