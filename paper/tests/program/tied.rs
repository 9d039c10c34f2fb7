//! `paper tied` and `paper untie`, as a person uses them.

use crate::cli::Place;
use serde_json::Value;

const NET: &str =
    "--quick --data synthetic --images 256 --batch 64 --widths 2,4 --seeds 1 --threads 2 --quiet --out out";

fn spread(value: &Value) -> f64 {
    value["mean"].as_f64().expect("a mean")
}

#[test]
fn tied_trains_each_depth_in_each_way() {
    let place = Place::new();
    let line = format!("tied {NET} --blocks 2,1 --epochs 2");
    let ended = place.paper(&line);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(place.names("out/tied"), ["cells", "summary.json", "tied.csv", "tied.png", "tied.svg"]);
    assert_eq!(place.names("out/tied/cells").len(), 8 + 1, "and the lock");
    assert_eq!(place.text("out/tied/tied.csv").lines().count(), 1 + 8 * 2);
    let curves = &place.summary("out/tied")["curves"];
    for curve in curves.as_array().expect("curves") {
        let points = curve["test_accuracy_last_epoch"].as_array().expect("points");
        assert!(points.len() == 2 && points[0]["blocks_a_stage"] == 1, "{curve}");
    }
    let before = place.contents();
    assert_eq!(place.paper(&line).stdout, ended.stdout);
    assert!(place.contents() == before);
}

#[test]
fn untying_changes_nothing_by_itself_and_fine_tuning_does() {
    let place = Place::new();
    let line = format!("untie {NET} --blocks 1,3 --epochs 2 --tune-epochs 1 --tune-lr-drop none --tune-lr 0.01");
    let ended = place.paper(&line);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(place.names("out/untie"), ["cells", "summary.json", "untie.csv", "untie.png", "untie.svg"]);
    let summary = place.summary("out/untie");
    let rows = summary["rows"].as_array().expect("rows");
    let names: Vec<&str> = rows.iter().map(|row| row["run"].as_str().expect("a name")).collect();
    let ways = ["untied-corrected", "untied-coded-2", "untied-auto", "untied-backprop"];
    assert_eq!(names, [&["tied", "still-tied-corrected"], &ways[..]].concat());
    for row in &rows[1..] {
        // what untying starts from is what tied training reached
        let (before, reached) = (spread(&row["test_accuracy_before"]), spread(&rows[0]["test_accuracy_after"]));
        assert!((before - reached).abs() < 1e-9, "{row}");
    }
    let csv = place.text("out/untie/untie.csv");
    let fields = |run: &str| -> Vec<&str> {
        let line =
            csv.lines().find(|line| line.starts_with(&format!("{run},0,1,"))).unwrap_or_else(|| panic!("no {run}"));
        line.split(',').collect()
    };
    let losses = ["still-tied-corrected", "untied-corrected", "untied-backprop"].map(|run| fields(run)[4]);
    assert!(losses[0] != losses[1] && losses[1] != losses[2], "{losses:?}");
    let drift = |run: &str| fields(run)[7].parse::<f64>().expect("a drift");
    assert!(drift("untied-corrected") > 0.0);
    // no carry is left at x_0, and auto starts a shallow net coded
    assert!(drift("untied-coded-2") < 1e-5 && drift("untied-auto") < 1e-5);

    // a run that is missing is trained again to the same bits, and what it starts from too
    let before = place.contents();
    std::fs::remove_file(place.path("out/untie/cells/seed0-untied-backprop.json")).expect("a cell");
    assert_eq!(place.paper(&line).stdout, ended.stdout);
    let tables =
        place.contents().into_iter().filter(|(name, _)| name.extension().is_some_and(|ending| ending == "csv"));
    for (name, bytes) in tables {
        assert!(before.get(&name) == Some(&bytes), "{}", name.display());
    }
}

#[test]
fn pictures_tell_of_runs_that_diverged() {
    let place = Place::new();
    let tied = place.paper(&format!("tied {NET} --blocks 1 --epochs 1 --modes backprop --lr 1e6"));
    assert_eq!(tied.code, Some(0), "{tied}");
    let tune = "--tune-epochs 1 --tune-lr-drop none --tune-lr 1e6";
    let untie = place.paper(&format!("untie {NET} --blocks 1,3 --epochs 1 {tune}"));
    assert_eq!(untie.code, Some(0), "{untie}");
    for (svg, name) in [("out/tied/tied.svg", "backprop"), ("out/untie/untie.svg", "untied, backprop")] {
        let svg = place.text(svg);
        assert!(svg.contains(&format!("{name}, diverged: 1")), "{svg}");
        assert!(svg.contains("diverged runs count as guessing"), "{svg}");
    }
    // a tenth, as there are 10 classes
    let summary = place.summary("out/untie");
    let row = &summary["rows"][2];
    assert_eq!(row["diverged"], 1, "{row}");
    assert!((spread(&row["test_accuracy_after"]) - 10.0).abs() < 1e-9, "{row}");
}

#[test]
fn senseless_requests_exit_2() {
    let place = Place::new();
    for (line, phrase) in [
        ("tied --blocks 0", "'0' for '--blocks"),
        ("tied --images 0", "--images 0"),
        ("tied --widths 8,x", "--widths"),
        ("tied --epochs 0", "--epochs 0"),
        ("untie --blocks 1,2,3,4,5", "--blocks names 5"),
        ("untie --tune-lr -1", "--lr must"),
        ("untie --images 100 --batch 101", "--batch 101"),
    ] {
        let ended = place.paper(&format!("{line} --data synthetic"));
        assert_eq!(ended.code, Some(2), "{ended}");
        assert!(ended.error().contains(phrase), "no {phrase:?} in the error of {ended}");
    }
    assert!(place.contents().is_empty());
}
