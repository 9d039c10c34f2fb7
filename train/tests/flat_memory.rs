//! The program's own figures, and the system's, at depth 8, 64 and 512: activations flat to the byte, and a process that
//! grows by what the plan says must grow and little else.

#[path = "../../tests/support/cli.rs"]
mod cli;

use cli::Place;
use serde_json::Value;

fn summary(place: &Place, gradient: &str, depth: usize) -> Value {
    let out = format!("{gradient}-{depth}");
    let line = "--data digits --quiet --max-steps 2 --threads 2";
    place.succeed(&format!("{line} --gradient {gradient} --depth {depth} --out {out}"));
    place.summary(&out)
}

fn bytes(summary: &Value, key: &str) -> u64 {
    summary[key].as_u64().unwrap_or_else(|| panic!("{key} in {summary}"))
}

#[test]
fn activations_are_flat_and_the_process_grows_as_planned() {
    // two batches to train on
    let place = Place::with_digits([512, 64]);
    for gradient in ["adjoint", "corrected"] {
        let [shallow, middle, deep] = [8, 64, 512].map(|depth| summary(&place, gradient, depth));
        for run in [&shallow, &middle, &deep] {
            assert_eq!(bytes(run, "planned_peak_bytes"), bytes(run, "peak_bytes"), "{gradient}");
            let parts = ["state", "scratch", "saved"].map(|part| bytes(&run["memory"], part));
            assert_eq!(bytes(run, "activation_peak_bytes"), parts.iter().sum::<u64>(), "{gradient}");
        }
        let activations = [&shallow, &middle, &deep].map(|run| bytes(run, "activation_peak_bytes"));
        assert_eq!(activations, [activations[0]; 3], "{gradient}");

        let depth_dependent = ["parameters", "gradients", "optimiser", "statistics"];
        let growth = |part: &str| bytes(&deep["memory"], part) - bytes(&shallow["memory"], part);
        let planned: u64 = depth_dependent.iter().map(|part| growth(part)).sum();
        if deep["rss_peak_bytes"].is_null() {
            println!("the process's size was not checked: this system does not tell it");
            continue;
        }
        let grown = bytes(&deep, "rss_peak_bytes").saturating_sub(bytes(&shallow, "rss_peak_bytes"));
        println!("{gradient}: the process grew by {grown} bytes, the plan by {planned}");
        // the rest is the allocator's and the system's rounding
        assert!(grown as f64 <= 1.1 * planned as f64, "{gradient}: grew by {grown} bytes, planned {planned}");
    }
}
