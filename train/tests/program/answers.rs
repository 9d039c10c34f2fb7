//! What a run leaves of its last test: which classes are confused, how each fares, and the images that the net gets most wrong.

use std::fs;

use crate::cli::{Place, TINY};

/// The rows of a table without its header, field by field. No name in it has a comma.
fn rows(place: &Place, name: &str) -> Vec<Vec<String>> {
    place.text(name).lines().skip(1).map(|line| line.split(',').map(String::from).collect()).collect()
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

#[test]
fn confusion_adds_up_to_the_test_and_its_accuracy() {
    let place = Place::new();
    // the last batch of the test is smaller
    place.succeed("--data synthetic --depth 2 --channels 4 --batch 300 --epochs 1 --out out");
    let confusion = rows(&place, "out/confusion.csv");
    assert_eq!(confusion.len(), 10);
    let count = |class: usize, answer: usize| number::<u64>(&confusion[class][1 + answer]);
    let all: u64 = (0..100).map(|k| count(k / 10, k % 10)).sum();
    let right: u64 = (0..10).map(|class| count(class, class)).sum();
    assert_eq!(all, 4000);
    let summary = place.summary("out");
    assert_eq!(Some(right as f64 / all as f64), summary["test_accuracy"].as_f64());
    let classes = rows(&place, "out/classes.csv");
    for (class, row) in classes.iter().enumerate() {
        assert_eq!((&row[0], &row[1]), (&class.to_string(), &confusion[class][0]));
        let images: u64 = (0..10).map(|answer| count(class, answer)).sum();
        let answers: u64 = (0..10).map(|of| count(of, class)).sum();
        assert_eq!([2, 3, 5].map(|k| number::<u64>(&row[k])), [images, count(class, class), answers], "{row:?}");
        assert_eq!(number::<f64>(&row[4]), count(class, class) as f64 / images as f64);
    }
    assert_eq!(classes[0][1], "horizontal stripes");
    assert_eq!(place.text("out/confusion.csv").lines().next().map(|line| line.split(',').count()), Some(11));
    let worst = rows(&place, "out/worst.csv");
    assert_eq!(worst.len(), 64);
    assert!(worst.is_sorted_by(|a, b| number::<f64>(&a[6]) >= number::<f64>(&b[6])));
    // the built-in set has its classes in turn
    assert!(worst.iter().all(|row| row[4] == classes[number::<usize>(&row[2]) % 10][1] && row[3].is_empty()));
    let svg = place.text("out/confusion.svg");
    assert!(svg.contains("blobs") && svg.contains("of 4000 test images"), "{svg}");
    assert!(fs::read(place.path("out/worst.png")).expect("a picture").starts_with(b"\x89PNG"));
}

#[test]
fn a_report_of_a_checkpoint_is_left_where_it_is_asked_for() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 2 --max-steps 25 --out out"));
    assert!(!place.path("out/classes.csv").exists(), "the run is not at its end");
    let checkpoint = fs::read(place.path("out/checkpoint.safetensors")).expect("a checkpoint");
    let plain = place.succeed("--resume out --eval-only");
    assert!(!place.path("out/classes.csv").exists());
    let ended = place.succeed("--resume out --eval-only --report --threads 1");
    assert_eq!(ended.stdout, plain.stdout);
    assert!(fs::read(place.path("out/checkpoint.safetensors")).expect("a checkpoint") == checkpoint);
    let confusion = rows(&place, "out/confusion.csv");
    let right: u64 = confusion.iter().enumerate().map(|(class, row)| number::<u64>(&row[1 + class])).sum();
    assert!(ended.stdout.contains(&format!("accuracy {:.2} % on 500 images", right as f64 / 5.0)), "{ended}");
    // the run goes on to the bits of one that was not looked at
    place.succeed("--resume out --max-steps 40");
    place.succeed(&format!("{TINY} --epochs 2 --out whole"));
    place.assert_same_run("whole", "out");
    for name in ["classes.csv", "confusion.csv", "worst.csv", "confusion.svg"] {
        assert_eq!(place.text(&format!("out/{name}")), place.text(&format!("whole/{name}")), "{name}");
    }
    let refused = place.run("--resume out --report");
    assert!(refused.code == Some(2) && refused.error().contains("--eval-only"), "{refused}");
}
