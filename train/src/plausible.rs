//! Whether what a checkpoint says of a run can be true. A checksum tells that the bytes are those that were written, not who wrote them: each
//! number is held to its range before anything is built from it, and the sizes to the tensors that are there.

use std::collections::BTreeMap;

use safetensors::tensor::Metadata;

use crate::checkpoint::RunState;
use crate::config::{NetKind, RunConfig};
use crate::progress::{EpochRow, EpochSums, Progress};

/// The largest value of a weight, a running mean or a velocity. No trained net comes near it, and the squares of so large values still have a
/// sum in f32: that of a hundred million of them is 1e38.
pub(crate) const LARGEST: f32 = 1e15;
/// The largest running variance or mean of squared gradients, its square.
const LARGEST_VARIANCE: f32 = 1e30;

/// Whether a tensor of this name holds means of squares, or counts.
fn is_of_squares(name: &str) -> bool {
    name.ends_with("running_var") || name.starts_with("second_moment.") || name == "optimiser.count"
}

/// Whether a tensor of this name may hold `value`: what is larger in amount than [`LARGEST`] trains no net, nor does a mean of squares or a count below 0.
pub(crate) fn may_hold(name: &str, value: f32) -> bool {
    if is_of_squares(name) {
        return (0.0..=LARGEST_VARIANCE).contains(&value);
    }
    value.abs() <= LARGEST
}

/// What a tensor may hold, in words.
pub(crate) fn range_of(name: &str) -> String {
    if is_of_squares(name) {
        return format!("0 to {LARGEST_VARIANCE:e}");
    }
    format!("at most {LARGEST:e} in amount")
}

/// What is wrong with the depth that the config names: the blocks that the tensors' names number are others.
pub(crate) fn problem_of_depth(config: &RunConfig, header: &Metadata) -> Option<String> {
    let mut blocks = BTreeMap::<usize, usize>::new();
    for name in header.offset_keys() {
        if let Some((stage, block)) = place_of(&name) {
            let most = blocks.entry(stage).or_default();
            *most = (*most).max(block.saturating_add(1));
        }
    }
    let staged = config.net != NetKind::Tiny;
    for (stage, depth) in config.depths().iter().enumerate() {
        let held = blocks.get(&stage).copied().unwrap_or(0);
        if held != *depth {
            let of_stage = if staged { format!(" in stage {stage}") } else { String::new() };
            return Some(format!("its config says {depth} blocks{of_stage} and it holds tensors of {held}"));
        }
    }
    None
}

/// Stage and block in the name of a tensor of a block: `stages.1.blocks.3.bn1.running_mean`, or `blocks.3....` of a net of one stack.
fn place_of(name: &str) -> Option<(usize, usize)> {
    let (stage, block) = match name.strip_prefix("stages.") {
        Some(rest) => {
            let (stage, rest) = rest.split_once('.')?;
            (stage.parse().ok()?, rest.strip_prefix("blocks.")?)
        }
        None => (0, name.strip_prefix("blocks.")?),
    };
    let (block, _) = block.split_once('.')?;
    Some((stage, block.parse().ok()?))
}

/// What is wrong with the progress, whatever the data: a number outside of its range, by name.
pub(crate) fn problem_of_progress(state: &RunState) -> Option<String> {
    let RunState { progress, config, .. } = state;
    let Progress {
        epoch,
        step_in_epoch,
        global_step,
        sums,
        window,
        failed_in_a_row,
        failed_sweeps,
        drift,
        history,
        ..
    } = progress;
    let (epoch, steps) = (*epoch as u64, *step_in_epoch as u64);
    let epochs = config.epochs.unwrap_or(0) as u64;
    let EpochSums { images, correct, loss, failed, seconds, .. } = *sums;
    let drifts = sums.drift;
    let warned = drift.warning.map_or(0, |warning| warning.step);
    within("epoch", epoch, epochs)
        .or_else(|| within("step_in_epoch", steps, *global_step))
        .or_else(|| equal("number of rows of history", history.len() as u64, "epoch", epoch))
        .or_else(|| equal("sums.steps", sums.steps, "step_in_epoch", steps))
        .or_else(|| within("sums.images", images, steps.saturating_mul(config.batch as u64)))
        .or_else(|| within("sums.correct", correct, images))
        .or_else(|| within("sums.failed", failed, steps))
        .or_else(|| (!loss.is_finite()).then(|| format!("its sums.loss is {loss}, which is no finite number")))
        .or_else(|| measure("sums.drift", drifts))
        .or_else(|| measure("sums.seconds", seconds))
        .or_else(|| within("window.steps", window.steps, *global_step))
        .or_else(|| within("window.images", window.images, window.steps.saturating_mul(config.batch as u64)))
        .or_else(|| within("window.correct", window.correct, window.images))
        .or_else(|| within("window.failed", window.failed, window.steps))
        .or_else(|| {
            (!window.loss.is_finite()).then(|| format!("its window.loss is {}, which is no finite number", window.loss))
        })
        .or_else(|| measure("window.drift", window.drift))
        .or_else(|| measure("window.seconds", window.seconds))
        .or_else(|| within("failed_sweeps", *failed_sweeps, *global_step))
        .or_else(|| within("failed_in_a_row", *failed_in_a_row, *failed_sweeps))
        .or_else(|| within("drift.warning.step", warned, *global_step))
        .or_else(|| history.iter().zip(1..).find_map(|(row, number)| problem_of_row(row, number)))
}

/// The same once the steps of an epoch are known, which follow from the data: all that are done have to add up.
pub(crate) fn problem_of_steps(progress: &Progress, steps_in_epoch: usize) -> Option<String> {
    let Progress { epoch, step_in_epoch, global_step, .. } = *progress;
    let done = (epoch as u64).checked_mul(steps_in_epoch as u64).and_then(|all| all.checked_add(step_in_epoch as u64));
    within("step_in_epoch", step_in_epoch as u64, steps_in_epoch as u64).or_else(|| match done {
        Some(done) if done == global_step => None,
        _ => Some(format!(
            "its global_step is {global_step}, where {epoch} epochs of {steps_in_epoch} steps and {step_in_epoch} more were done"
        )),
    })
}

fn problem_of_row(row: &EpochRow, number: usize) -> Option<String> {
    let EpochRow { epoch, train_accuracy, test_accuracy, learning_rate, epoch_seconds, .. } = *row;
    let fraction = |name: &str, value: f64| {
        let holds = (0.0..=1.0).contains(&value);
        (!holds).then(|| format!("its {name} of epoch {number} is {value}, and an accuracy is from 0 to 1"))
    };
    equal("epoch in history", epoch as u64, "place there", number as u64)
        .or_else(|| fraction("train_accuracy", train_accuracy))
        .or_else(|| fraction("test_accuracy", test_accuracy))
        .or_else(|| measure("learning_rate", learning_rate))
        .or_else(|| measure("epoch_seconds", epoch_seconds))
}

fn within(name: &str, value: u64, most: u64) -> Option<String> {
    (value > most).then(|| format!("its {name} is {value}, and it can be {most} at most"))
}

fn equal(name: &str, value: u64, other: &str, expected: u64) -> Option<String> {
    (value != expected)
        .then(|| format!("its {name} is {value} and its {other} is {expected}, which do not go together"))
}

/// A sum of what is never negative.
fn measure(name: &str, value: f64) -> Option<String> {
    let holds = value.is_finite() && value >= 0.0;
    (!holds).then(|| format!("its {name} is {value}, and it can only be a finite number from 0 on"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::DatasetId;
    use crate::drift::DriftWarning;
    use crate::progress::tests::row;

    /// A number's name, and what sets it.
    type Setter<N> = (&'static str, fn(&mut Progress, N));

    /// A run of 20 steps per epoch, in its third.
    fn state() -> RunState {
        let mut progress = Progress { epoch: 2, global_step: 40, history: vec![row(1), row(2)], ..Progress::default() };
        for _ in 0..5 {
            progress.sums.add(256, 2.0, 100, Some(0.1), 0.1);
            progress.step_in_epoch += 1;
            progress.global_step += 1;
        }
        let mut config = RunConfig::default();
        config.settle("synthetic");
        let dataset = DatasetId { name: "a".into(), fingerprint: "b".into() };
        RunState { config, progress, dataset, pictures: None }
    }

    #[test]
    fn what_a_run_saves_is_plausible() {
        assert_eq!(problem_of_progress(&state()), None);
        assert_eq!(problem_of_steps(&state().progress, 20), None);
        let fresh = RunState { progress: Progress::default(), ..state() };
        assert_eq!((problem_of_progress(&fresh), problem_of_steps(&fresh.progress, 20)), (None, None));
        // stopped between the last step of an epoch and the end of its test
        let mut ended = Progress { step_in_epoch: 20, global_step: 60, ..state().progress };
        ended.sums.steps = 20;
        assert_eq!(problem_of_progress(&RunState { progress: ended.clone(), ..state() }), None);
        assert_eq!(problem_of_steps(&ended, 20), None);
    }

    #[test]
    fn every_number_has_a_range() {
        let edges = [u64::MAX, 1 << 40];
        let set: [Setter<u64>; 13] = [
            ("epoch", |p, n| p.epoch = n as usize),
            ("step_in_epoch", |p, n| p.step_in_epoch = n as usize),
            ("sums.steps", |p, n| p.sums.steps = n),
            ("sums.images", |p, n| p.sums.images = n),
            ("sums.correct", |p, n| p.sums.correct = n),
            ("sums.failed", |p, n| p.sums.failed = n),
            ("window.steps", |p, n| p.window.steps = n),
            ("window.images", |p, n| p.window.images = n),
            ("window.correct", |p, n| p.window.correct = n),
            ("window.failed", |p, n| p.window.failed = n),
            ("failed_in_a_row", |p, n| p.failed_in_a_row = n),
            ("failed_sweeps", |p, n| p.failed_sweeps = n),
            ("history", |p, n| p.history[1].epoch = n as usize),
        ];
        for (name, set) in set {
            for edge in edges {
                let mut state = state();
                set(&mut state.progress, edge);
                let problem = problem_of_progress(&state).unwrap_or_else(|| panic!("{name} = {edge}"));
                assert!(problem.contains(name), "{name}: {problem}");
            }
        }
        let floats: [Setter<f64>; 10] = [
            ("sums.loss", |p, x| p.sums.loss = x),
            ("sums.drift", |p, x| p.sums.drift = x),
            ("sums.seconds", |p, x| p.sums.seconds = x),
            ("window.loss", |p, x| p.window.loss = x),
            ("window.drift", |p, x| p.window.drift = x),
            ("window.seconds", |p, x| p.window.seconds = x),
            ("train_accuracy", |p, x| p.history[0].train_accuracy = x),
            ("test_accuracy", |p, x| p.history[1].test_accuracy = x),
            ("learning_rate", |p, x| p.history[1].learning_rate = x),
            ("epoch_seconds", |p, x| p.history[1].epoch_seconds = x),
        ];
        for (name, set) in floats {
            for edge in [-1.0, f64::NAN, f64::INFINITY] {
                if name.ends_with(".loss") && edge == -1.0 {
                    // a sum of rounded losses may be on either side of 0
                    continue;
                }
                let mut state = state();
                set(&mut state.progress, edge);
                assert!(problem_of_progress(&state).is_some_and(|problem| problem.contains(name)), "{name} = {edge}");
            }
        }
        let mut warned = state();
        warned.progress.drift.warning = Some(DriftWarning { step: 46, drift: 1.0, level: 0.15 });
        assert!(problem_of_progress(&warned).is_some_and(|problem| problem.contains("drift.warning.step is 46")));
    }

    #[test]
    fn steps_have_to_add_up() {
        for (step_in_epoch, global_step) in [(21, 61), (1 << 40, 45), (usize::MAX, 45), (5, 46), (5, u64::MAX)] {
            let progress = Progress { step_in_epoch, global_step, ..state().progress };
            assert!(problem_of_steps(&progress, 20).is_some(), "{step_in_epoch} {global_step}");
        }
        let progress = Progress { epoch: usize::MAX, ..state().progress };
        assert!(problem_of_steps(&progress, 20).is_some_and(|problem| problem.contains("global_step")));
    }

    #[test]
    fn names_tell_the_stage_and_the_block() {
        assert_eq!(place_of("blocks.3.conv1.weight"), Some((0, 3)));
        assert_eq!(place_of("stages.2.blocks.11.bn1.running_var"), Some((2, 11)));
        for name in [
            "blocks.shared.conv1.weight",
            "stem.bn.weight",
            "stages.0.first.conv1.weight",
            "blocks.3",
            "velocity.blocks.3.x",
        ] {
            assert_eq!(place_of(name), None, "{name}");
        }
    }

    #[test]
    fn values_are_held_to_what_trains() {
        assert!([0.0, -1e15, 1e15].iter().all(|value| may_hold("blocks.0.conv1.weight", *value)));
        assert!([3e38, -2e15, f32::NAN, f32::INFINITY].iter().all(|value| !may_hold("blocks.0.conv1.weight", *value)));
        assert!([0.0, 1e15, 1e30].iter().all(|value| may_hold("stem.bn.running_var", *value)));
        assert!([-1e-9, 2e30, f32::NAN].iter().all(|value| !may_hold("stem.bn.running_var", *value)));
        assert!(range_of("a.running_var").starts_with("0 to 1e30") && range_of("a.weight") == "at most 1e15 in amount");
    }
}
