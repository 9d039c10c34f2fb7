//! `train` on folders of pictures: the same bits wherever decoded pictures are kept, on any number of threads, across a resume, and as
//! the same images have in memory; what cannot be read, and what makes no sense.

#[path = "../../tests/support/cli.rs"]
mod cli;
#[cfg(all(feature = "cuda", target_os = "linux"))]
#[path = "../../tests/support/driver.rs"]
mod driver;
#[path = "support/picture_set.rs"]
mod picture_set;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cli::{Ended, Place, program};
use picture_set::{CLASSES, pixels, write_bmp, write_set};
use rewind::data::{Dataset, Normalise, Split};
use rewind_train::config::{Block, CropKind, DeviceChoice, JitterBy, NormaliseBy, RandAugmentBy, RunConfig};
use rewind_train::training::Training;

/// The same set in memory.
fn in_memory(side: usize, per_class: usize) -> Dataset {
    let split = |first: usize, n: usize| {
        let numbers = first..first + CLASSES.len() * n;
        let labels = numbers.clone().map(|number| ((number - first) / n) as u16).collect();
        Split { side, pixels: numbers.flat_map(|number| pixels(side, side, number)).collect(), labels }
    };
    let (train, test) = (split(0, per_class), split(CLASSES.len() * per_class, 4));
    Dataset {
        name: "set".into(),
        classes: 3,
        normalise: Normalise::CIFAR_10,
        train,
        test,
        fingerprint: None,
        part_of: None,
    }
}

fn train(place: &Place, line: &str) -> Ended {
    let mut command = place.command_of(&program(option_env!("CARGO_BIN_EXE_train"), "train"), line);
    Ended::of(line, command.spawn().expect("train starts"))
}

fn succeed(place: &Place, line: &str) -> Ended {
    let ended = train(place, line);
    assert_eq!(ended.code, Some(0), "{ended}");
    ended
}

const SMALL: &str = "--data set --depth 2 --channels 4 --batch 8 --device cpu --threads 2";

#[test]
fn pictures_train_to_the_bits_of_the_same_images_in_memory_wherever_they_are_kept() {
    let place = Place::new();
    write_set(&place, 7, |_| (32, 32));
    // the second of the two on disk finds the cache of the first
    let runs = [("ram", "ram"), ("disk", "written"), ("disk", "found"), ("none", "none")];
    for (cache, out) in runs {
        let line = format!("{SMALL} --image 32 --normalise cifar-10 --epochs 2 --cache {cache} --out {out}");
        let ended = succeed(&place, &line);
        assert_eq!(ended.stderr.contains("decoded pictures are kept in"), out == "written", "{ended}");
    }
    let base = RunConfig { depth: 2, channels: 4, batch: 8, epochs: Some(2), threads: Some(2), ..RunConfig::default() };
    let config = RunConfig {
        device: DeviceChoice::Cpu,
        image: Some(32),
        resize: Some(32),
        crop: Some(CropKind::Shift),
        normalise: Some(NormaliseBy::Cifar10),
        ..base
    };
    let run = Training::new(config).dataset(Arc::new(in_memory(32, 7))).folder(place.path("memory"));
    run.train().expect("a run in memory");
    for (_, out) in runs {
        place.assert_same_run("memory", out);
    }
    // where pictures are kept may change between sessions
    succeed(&place, "--resume none --epochs 3 --cache ram");
    succeed(&place, "--resume ram --epochs 3 --cache none");
    place.assert_same_run("none", "ram");
    assert!(place.path("set/.rewind-train.cache").exists() && place.path("set/.rewind-test.cache").exists());
}

/// On this machine's GPU, or the emulator.
#[cfg(all(feature = "cuda", target_os = "linux"))]
#[test]
fn a_gpu_gets_a_batch_at_a_time_what_it_would_hold() {
    let place = Place::new();
    write_set(&place, 5, |_| (16, 16));
    let line = "--data set --image 16 --depth 2 --channels 4 --batch 4 --device cuda --math fp32 --epochs 2";
    for cache in ["ram", "none"] {
        let line = format!("{line} --cache {cache} --out {cache}");
        let command = place.command_of(&program(option_env!("CARGO_BIN_EXE_train"), "train"), &line);
        let ended = Ended::of(&line, driver::with_driver(&place, command).spawn().expect("train starts"));
        assert_eq!(ended.code, Some(0), "{ended}");
    }
    place.assert_same_run("ram", "none");
}

#[test]
fn random_crops_are_the_same_on_any_number_of_threads_and_across_a_resume() {
    let place = Place::new();
    // tall ones, wide ones, and some that are smaller than what is asked for
    write_set(&place, 6, |number| (19 + 7 * (number % 5), 45 - 6 * (number % 6)));
    let line =
        "--data set --depth 2 --channels 4 --batch 4 --device cpu --image 24 --resize 28 --crop random --epochs 3";
    succeed(&place, &format!("{line} --threads 1 --out one"));
    succeed(&place, &format!("{line} --threads 3 --cache none --out three"));
    place.assert_same_run("one", "three");
    // in the middle of the second epoch
    succeed(&place, &format!("{line} --threads 2 --max-steps 7 --out cut"));
    succeed(&place, "--resume cut --cache disk --threads 3");
    place.assert_same_run("one", "cut");
    // another seed sees other parts
    succeed(&place, &format!("{line} --threads 2 --seed 1 --init smooth --out other"));
    assert!(place.tensors("one") != place.tensors("other"));
    let tested = succeed(&place, "--resume one --eval-only");
    assert!(tested.stdout.contains("on 12 images"), "{tested}");
    // a file that is renamed makes another set of it
    fs::rename(place.path("set/train/ant/00.bmp"), place.path("set/train/ant/99.bmp")).expect("renamed");
    let refused = train(&place, "--resume one --epochs 4");
    assert!(refused.error().contains("was trained on set"), "{refused}");
}

#[test]
fn pictures_that_cannot_be_read_are_left_out_told_and_listed() {
    let place = Place::new();
    write_set(&place, 6, |_| (40, 36));
    let whole = fs::read(place.path("set/train/bee/03.bmp")).expect("a picture");
    fs::write(place.path("set/train/bee/03.bmp"), &whole[..1000]).expect("cut");
    fs::write(place.path("set/val/cat/00.jpg"), b"no picture at all").expect("written");
    fs::write(place.path("set/train/bee/notes.txt"), b"no picture, and not said to be one").expect("written");
    for cache in ["ram", "disk", "none"] {
        for crop in ["shift", "random"] {
            let line = format!("{SMALL} --image 32 --crop {crop} --epochs 1 --cache {cache} --out {cache}-{crop}");
            let ended = succeed(&place, &line);
            assert!(ended.stderr.contains("2 pictures are left out"), "{ended}");
            let listed = place.text(&format!("{cache}-{crop}/broken.txt"));
            let mut lines: Vec<&str> = listed.lines().collect();
            lines.sort_unstable();
            assert!(lines.len() == 2, "{listed}");
            assert!(
                lines[0].starts_with("set/train/bee/03.bmp: ") && lines[1].starts_with("set/val/cat/00.jpg: "),
                "{listed}"
            );
        }
        place.assert_same_weights(&format!("{cache}-shift"), "ram-shift");
        place.assert_same_weights(&format!("{cache}-random"), "ram-random");
    }
}

/// Grey, CMYK, turned by EXIF, of 16 bits, of one pixel, animated, transparent, and one that is cut, among 300 classes.
#[test]
fn three_hundred_classes_with_odd_pictures_train() {
    let place = Place::new();
    for class in 0..300 {
        for part in ["train", "val"] {
            let folder = place.path(&format!("set/{part}/{class:03}"));
            fs::create_dir_all(&folder).expect("a folder");
            write_bmp(&folder.join("a.bmp"), 9 + class % 5, 12, &pixels(9 + class % 5, 12, class));
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pictures/tests/golden");
    let mut odd = 0;
    for (class, entry) in fs::read_dir(golden).expect("golden pictures").enumerate() {
        let from = entry.expect("an entry").path();
        let ending = from.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if ["jpg", "png", "webp", "bmp", "gif"].contains(&ending) {
            let name = from.file_name().expect("a name").to_owned();
            fs::copy(&from, place.path(&format!("set/train/{class:03}")).join(name)).expect("copied");
            odd += 1;
        }
    }
    assert!(odd > 20, "{odd} golden pictures");
    let cut = fs::read(place.path("set/train/007/a.bmp")).expect("a picture");
    fs::write(place.path("set/train/007/b.bmp"), &cut[..60]).expect("written");
    let line = "--data set --image 16 --depth 2 --channels 4 --batch 64 --epochs 1 --device cpu --threads 2 --out run";
    let ended = succeed(&place, line);
    assert!(ended.stderr.contains("a picture is left out"), "{ended}");
    assert_eq!(place.summary("run")["steps"], (300 + odd as u64).div_ceil(64), "{ended}");
    assert_eq!(place.tensors("run")["head.bias"].len(), 300 * 4);
}

/// RandAugment, other colours and boxes, for crops of both kinds.
#[test]
fn changed_pictures_are_the_same_wherever_they_are_kept_and_across_a_resume() {
    let place = Place::new();
    write_set(&place, 6, |number| (24 + 3 * (number % 5), 40 - 3 * (number % 6)));
    for crop in ["shift", "random"] {
        let line = format!(
            "--data set --depth 2 --channels 4 --batch 4 --device cpu --image 24 --resize 28 --crop {crop} --epochs 3"
        );
        let changes = "--rand-augment 2,9 --colour-jitter 0.4,0.4,0.4,0.1 --erase 0.25";
        succeed(&place, &format!("{line} --threads 2 --out {crop}-plain"));
        succeed(&place, &format!("{line} {changes} --threads 1 --out {crop}-one"));
        succeed(&place, &format!("{line} {changes} --threads 3 --cache none --out {crop}-three"));
        place.assert_same_run(&format!("{crop}-one"), &format!("{crop}-three"));
        // in the middle of the second epoch
        succeed(&place, &format!("{line} {changes} --threads 2 --max-steps 7 --out {crop}-cut"));
        succeed(&place, &format!("--resume {crop}-cut --cache none --threads 3 --max-steps 100"));
        place.assert_same_run(&format!("{crop}-one"), &format!("{crop}-cut"));
        for change in ["--rand-augment 2,9", "--colour-jitter 0.4,0.4,0.4,0.1", "--erase 0.25"] {
            succeed(&place, &format!("{line} {change} --threads 2 --out {crop}-{}", &change[2..6]));
            assert!(place.tensors(&format!("{crop}-plain")) != place.tensors(&format!("{crop}-{}", &change[2..6])));
        }
        // a test sees pictures as they are
        let tested = succeed(&place, &format!("--resume {crop}-one --eval-only"));
        assert!(tested.stdout.contains("on 12 images"), "{tested}");
    }
}

/// Asked for and then applied to no picture, the changes leave the bits of the run that holds its images whole.
#[test]
fn images_in_memory_train_to_the_same_bits_a_batch_at_a_time() {
    let place = Place::new();
    let dataset = Arc::new(in_memory(32, 7));
    for augment in [true, false] {
        let base =
            RunConfig { depth: 2, channels: 4, batch: 8, epochs: Some(2), threads: Some(2), ..RunConfig::default() };
        let whole = RunConfig { device: DeviceChoice::Cpu, augment, ..base };
        let none = RunConfig {
            rand_augment: Some(RandAugmentBy([0, 9])),
            colour_jitter: Some(JitterBy([0.0; 4])),
            erase: Some(0.0),
            ..whole.clone()
        };
        let all = RunConfig { erase: Some(1.0), ..none.clone() };
        for (name, config) in [("whole", whole), ("none", none), ("all", all)] {
            let folder = place.path(&format!("{name}-{augment}"));
            Training::new(config).dataset(dataset.clone()).folder(folder).train().expect("a run in memory");
        }
        place.assert_same_run(&format!("whole-{augment}"), &format!("none-{augment}"));
        // without augmentation nothing is changed
        let same = place.tensors(&format!("whole-{augment}")) == place.tensors(&format!("all-{augment}"));
        assert_eq!(same, !augment);
    }
}

#[test]
fn the_built_in_set_may_be_changed() {
    let place = Place::new();
    let line = "--data synthetic --depth 1 --channels 2 --batch 64 --device cpu --threads 2 --max-steps 2";
    succeed(&place, &format!("{line} --out plain"));
    succeed(&place, &format!("{line} --erase 0.25 --rand-augment 1,9 --out changed"));
    assert_eq!(place.summary("changed")["dataset"], "synthetic");
    assert!(place.tensors("plain") != place.tensors("changed"));
    let tested = succeed(&place, "--resume changed --eval-only");
    assert!(tested.stdout.contains("on 4000 images") || tested.stdout.contains("on 4,000 images"), "{tested}");
}

/// Pictures half black and half white: mean and deviation are 1/2, whatever the order of a sum. Their images in memory, normalised by
/// that, train to the same bits, with crops and without.
#[test]
fn mean_and_deviation_of_the_set_are_measured() {
    let place = Place::new();
    write_set(&place, 5, |_| (16, 16));
    let halves = |number: usize| -> Vec<u8> {
        (0..16 * 16 * 3).map(|i| if (i / 3 + number).is_multiple_of(2) { 255 } else { 0 }).collect()
    };
    let mut number = 0;
    for (part, n) in [("train", 5), ("val", 4)] {
        for class in CLASSES {
            for i in 0..n {
                write_bmp(&place.path(&format!("set/{part}/{class}/{i:02}.bmp")), 16, 16, &halves(number));
                number += 1;
            }
        }
    }
    let base = in_memory(16, 5);
    let split = |split: &Split, first: usize| Split {
        pixels: (first..first + split.len()).flat_map(halves).collect(),
        ..split.clone()
    };
    let normalise = Normalise { mean: [0.5; 3], std: [0.5; 3] };
    let dataset = Dataset { normalise, train: split(&base.train, 0), test: split(&base.test, 15), ..base };
    let dataset = Arc::new(dataset);
    for (augment, flag) in [(true, ""), (false, "--no-augment")] {
        let out = format!("auto-{augment}");
        let line = format!("{SMALL} --image 16 --normalise auto --epochs 1 --cache none {flag} --out {out}");
        succeed(&place, &line);
        let base =
            RunConfig { depth: 2, channels: 4, batch: 8, epochs: Some(1), threads: Some(2), ..RunConfig::default() };
        let config = RunConfig { device: DeviceChoice::Cpu, image: Some(16), augment, ..base };
        let memory = format!("memory-{augment}");
        Training::new(config).dataset(dataset.clone()).folder(place.path(&memory)).train().expect("a run in memory");
        place.assert_same_run(&memory, &out);
    }
    assert!(place.tensors("auto-true") != place.tensors("auto-false"));
}

#[test]
fn a_part_of_each_class_is_held_out_where_there_is_no_folder_for_it() {
    let place = Place::new();
    write_set(&place, 10, |_| (32, 32));
    fs::remove_dir_all(place.path("set/val")).expect("removed");
    let refused = train(&place, &format!("{SMALL} --image 32 --epochs 1"));
    assert!(refused.code == Some(1) && refused.error().contains("--val-split"), "{refused}");
    let line = format!("{SMALL} --image 32 --epochs 1 --val-split 0.2");
    let ended = succeed(&place, &format!("{line} --out a"));
    // ten of each class, two of which are held out
    assert_eq!(place.summary("a")["steps"], 3, "{ended}");
    succeed(&place, &format!("{line} --out b"));
    place.assert_same_run("a", "b");
    let tested = succeed(&place, "--resume a --eval-only");
    assert!(tested.stdout.contains("on 6 images"), "{tested}");
}

#[test]
fn a_resnet_by_its_name_has_the_stem_that_fits_its_images() {
    let place = Place::new();
    write_set(&place, 3, |_| (70, 64));
    let line = "--data set --batch 3 --device cpu --threads 2 --max-steps 1 --epochs 1";
    for (image, kernel) in [(32, 3), (64, 7)] {
        let out = format!("of{image}");
        succeed(&place, &format!("{line} --net resnet18 --image {image} --out {out}"));
        let stem = &place.tensors(&out)["stem.conv.weight"];
        assert_eq!(stem.len(), kernel * kernel * 3 * 64 * 4);
        let config = RunConfig::from_toml_file(&place.path(&format!("{out}/config.toml"))).expect("a config");
        assert_eq!(
            (config.block, &config.blocks[..], &config.widths[..]),
            (Block::Basic, &[1; 4][..], &[64, 128, 256, 512][..])
        );
    }
    // the bottleneck's widths, from the plan alone
    let plan = succeed(&place, &format!("{line} --net resnet50 --image 64 --plan"));
    assert!(
        plan.stdout.contains("stages of 2,3,5,2 residual blocks, 256,512,1024,2048 channels, bottleneck"),
        "{plan}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let place = Place::new();
    write_set(&place, 2, |_| (8, 8));
    fs::create_dir_all(place.path("one/train/only")).expect("a folder");
    fs::create_dir_all(place.path("one/val/only")).expect("a folder");
    for part in ["train", "val"] {
        write_bmp(&place.path(&format!("one/{part}/only/a.bmp")), 8, 8, &pixels(8, 8, 1));
    }
    for (line, code, expected) in [
        ("", 2, "--data names what to train on"),
        ("--data synthetic --crop random", 2, "--crop is for folders of pictures"),
        ("--data synthetic --rand-augment 2", 2, "write two whole numbers with a comma, such as 2,9"),
        ("--data synthetic --rand-augment 15,9", 2, "--rand-augment takes 0 to 14 changes"),
        ("--data synthetic --colour-jitter 0.4,0.4", 2, "write four numbers with commas, such as 0.4,0.4,0.4,0.1"),
        ("--data synthetic --erase -0.1", 2, "--erase must be a part from 0 to 1, such as 0.25, not -0.1"),
        (
            "--data synthetic --no-augment --erase 0.1",
            2,
            "--erase changes training images, and --no-augment leaves them",
        ),
        ("--data synthetic --image 64", 2, "--image is for folders of pictures"),
        ("--data set --image 0", 2, "--image 0 is no side of an image"),
        ("--data set --val-split 1.5", 2, "--val-split must be a part between 0 and 1"),
        ("--data set --image 32 --val-split 0.5 --batch 2", 1, "--val-split was given too: leave it out"),
        ("--data set --image 8 --batch 2", 2, "images of 8 x 8 are too small for --stem 5x5"),
        ("--data set --image 32 --batch 100", 2, "--batch 100 is larger than the training set of 6 images"),
        ("--data one --image 32 --batch 1", 1, "it holds one class"),
        ("--data nowhere", 1, "there is no such folder"),
    ] {
        let refused = train(&place, line);
        assert!(refused.code == Some(code) && refused.error().contains(expected), "{expected}: {refused}");
    }
    let help = succeed(&place, "--help");
    assert!(help.stdout.contains("Usage: train ") && help.stdout.contains("your own pictures"), "{help}");
}

#[test]
fn digits_in_idx_files_train() {
    let place = Place::new();
    place.digits("digits", [40, 12]);
    let line = "--data digits --depth 2 --channels 4 --batch 8 --device cpu --threads 2 --epochs 1 --no-augment";
    let ended = succeed(&place, &format!("{line} --out run"));
    assert_eq!(
        (place.summary("run")["dataset"].as_str(), &place.summary("run")["steps"]),
        (Some("mnist"), &5.into()),
        "{ended}"
    );
    fs::remove_file(place.path("digits/t10k-labels-idx1-ubyte")).expect("removed");
    let refused = train(&place, line);
    assert!(refused.code == Some(1) && refused.error().contains("t10k-labels"), "{refused}");
}
