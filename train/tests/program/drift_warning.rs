//! `train_cifar` says once when its gradients grow doubtful, and nothing where they do not.

use crate::cli::Place;

#[test]
fn a_net_far_from_an_ode_is_warned_of_once() {
    let place = Place::tiny();
    let line = "--data digits --depth 4 --channels 4 --batch 100 --gradient adjoint --init plain --lr 0.01";
    let ended = place.run(&format!("{line} --max-steps 20 --epochs 2 --out out"));
    assert_eq!(ended.code, Some(0), "{ended}");
    let warnings = |text: &str| text.lines().filter(|line| line.contains("warning: the drift is")).count();
    assert_eq!(warnings(&ended.stderr), 1, "{ended}");
    for advice in ["to step 10, above 0.15:", "of --gradient adjoint", "--gradient auto"] {
        assert!(ended.stderr.contains(advice), "no {advice:?} in {ended}");
    }
    assert!(ended.stdout.contains("first at step 10: see the warning"), "{ended}");
    let warning = &place.summary("out")["drift_warning"];
    let number = |name: &str| warning[name].as_f64().expect(name);
    assert!(warning["step"] == 10 && number("drift") > number("level"), "{warning}");

    let resumed = place.run("--resume out");
    assert_eq!((resumed.code, warnings(&resumed.stderr)), (Some(0), 0), "{resumed}");
    assert_eq!(&place.summary("out")["drift_warning"], warning);
}

#[test]
fn a_net_close_to_an_ode_and_an_exact_gradient_stay_silent() {
    let place = Place::tiny();
    for (name, line) in [
        ("near", "--gradient adjoint --init plain --lr 0.01 --depth 64 --batch 100 --channels 4"),
        ("exact", "--gradient backprop --step-size 1 --init plain --lr 0.01 --depth 2 --batch 100 --channels 4"),
    ] {
        let ended = place.run(&format!("--data digits {line} --max-steps 10 --epochs 1 --out {name}"));
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(!ended.stderr.contains("warning"), "{ended}");
        let summary = place.summary(name);
        assert!(summary["drift_warning"].is_null() && summary["steps"] == 10, "{summary}");
    }
}
