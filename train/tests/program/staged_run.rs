//! Runs of staged and tied nets by `train_cifar`: resumed to the same bits, refused in a sentence, untied without a change.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use crate::cli::Place;
use rewind::cpu::Cpu;
use rewind::data::{Dataset, IMAGE_LEN};
use rewind::field::{Basic, Bottleneck, Field};
use rewind::scheme::Scheme;
use rewind::sweep::{Gradient, SweepSpec};
use rewind_train::config::Block;
use rewind_train::config::{NetKind, RunConfig};
use rewind_train::folder::RunFolder;
use rewind_train::log::{Log, LogKind};
use rewind_train::run::{Run, Test};
use rewind_train::synthetic;

/// A net of a few channels; its maps are those of a ResNet for [`IMAGES`], 28 x 28 and 14 x 14.
const STAGED: &str = "--data digits --net staged --blocks 2,3 --widths 4,8 --batch 100 --threads 2";
/// How many images those runs train on, and how many they test.
const IMAGES: [u32; 2] = [400, 200];

#[test]
fn a_cut_run_goes_on_to_the_same_bits() {
    let place = Place::with_digits(IMAGES);
    for (name, more) in [
        ("basic", "--scheme heun --gradient adjoint"),
        ("tied", "--tied --block bottleneck --anchors 1"),
        ("backprop", "--block bottleneck --gradient backprop --update after"),
        ("swept", "--sweep layer2"),
    ] {
        let (whole, cut) = (format!("{name}-whole"), format!("{name}-cut"));
        place.succeed(&format!("{STAGED} {more} --max-steps 3 --out {whole}"));
        place.succeed(&format!("{STAGED} {more} --max-steps 2 --out {cut}"));
        place.succeed(&format!("--resume {cut} --max-steps 3 --threads 1"));
        place.assert_same_run(&whole, &cut);
        let summary = place.summary(&whole);
        assert_eq!(summary["depth"].as_u64(), Some(5));
        assert!(
            summary["net"].as_str().is_some_and(|net| net.starts_with("stages of 2,3 residual blocks, 4,8 channels"))
        );
        assert_eq!(summary["planned_peak_bytes"], summary["peak_bytes"]);
        assert_eq!(summary["drift"].is_null(), name == "backprop");
        // the run's config replays it
        place.succeed(&format!("--config {whole}/config.toml --max-steps 3 --out {name}-again"));
        place.assert_same_run(&whole, &format!("{name}-again"));
    }
    assert!(place.tensors("tied-whole").contains_key("stages.1.blocks.shared.conv3.weight"));
    let plan = place.succeed(&format!("{STAGED} --plan"));
    assert!(plan.stdout.starts_with("memory plan: stages of 2,3 residual blocks, 4,8 channels, batch 100"), "{plan}");
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let place = Place::with_digits(IMAGES);
    place.succeed(&format!("{STAGED} --max-steps 1 --out held"));
    place.succeed(&format!("{STAGED} --max-steps 1 --tied --out tied"));
    for (line, code, expected) in [
        ("--net staged --depth 8", 2, "--depth belongs to --net tiny: give --blocks and --widths"),
        ("--lr-schedule cosine --lr-drop 3", 2, "--lr-drop belongs to --lr-schedule step"),
        ("--blocks 4,4", 2, "--blocks belongs to --net staged"),
        ("--net staged --blocks 4,4", 2, "--blocks names 2 stages and --widths names 3"),
        ("--net staged --blocks 4,x,4", 2, "such as 4,4,4"),
        ("--net staged --blocks 4,0,4", 2, "--blocks 4,0,4 leaves a stage without a residual block"),
        ("--net staged --blocks 4,1,4 --scheme heun", 2, "--blocks 4,1,4 must be 2 or more each"),
        ("--net staged --blocks 5,4,3 --scheme rk4", 2, "--blocks 5,4,3 must be 3, 5, 7 and so on each"),
        ("--net staged --sweep layer4", 2, "--sweep-stages names stage 4 of a net that has 3: give 1 to 3"),
        ("--net staged --sweep layer0", 2, "such as layer3 or 2,3; the first is 1"),
        ("--net staged --sweep layerlayer3", 2, "such as layer3 or 2,3; the first is 1"),
        ("--sweep layer1", 2, "--sweep-stages belongs to --net staged"),
        ("--net staged --widths 4,0,4", 2, "--widths 4,0,4 leaves nothing to compute"),
        ("--net staged --block bottleneck --widths 4,6,8", 2, "--widths 4,6,8 must be multiples of 4"),
        ("--block bottleneck --channels 6", 2, "--channels 6 must be multiples of 4"),
        ("--net staged --blocks 1,1,1,1,1,1,1,1,1 --widths 4,4,4,4,4,4,4,4,4", 2, "give 1 to 8"),
        ("--resume held --blocks 2,4", 2, "--blocks 2,4 contradicts the checkpoint, which was trained --blocks 2,3"),
        ("--resume held --tied", 2, "--tied contradicts the checkpoint, which was trained without --tied"),
        ("--data synthetic --init-from none.safetensors", 1, "there is no such file"),
        ("--data synthetic --init-from held/checkpoint.safetensors", 1, "this run's net is --depth 8"),
        (&format!("{STAGED} --tied --init-from held/checkpoint.safetensors"), 1, "--widths 4,8 --tied"),
        (&format!("{STAGED} --scheme heun --init-from tied/checkpoint.safetensors"), 1, "--scheme heun"),
    ] {
        let ended = place.run(line);
        assert!(ended.code == Some(code) && ended.error().contains(expected), "{line}: {ended}");
    }
}

/// A small net of this kind.
fn config(net: NetKind, block: Block, scheme: Scheme) -> RunConfig {
    RunConfig {
        net,
        depth: 3,
        channels: 4,
        blocks: vec![2, 3],
        widths: vec![4, 8],
        block,
        tied: true,
        batch: 250,
        lr: 0.02,
        epochs: Some(1),
        max_steps: Some(3),
        sweep: SweepSpec::new(scheme, Gradient::Corrected),
        ..RunConfig::default()
    }
}

/// Tests the net that `train` steps from the config's start leave.
fn tested<F: Field<Cpu>>(cpu: &Cpu, config: &RunConfig, train: Option<&Path>) -> Test {
    static STOP: AtomicBool = AtomicBool::new(false);
    static DATASET: LazyLock<Arc<Dataset>> = LazyLock::new(|| {
        let mut dataset = synthetic::generate(0);
        dataset.test.pixels.truncate(250 * IMAGE_LEN);
        dataset.test.labels.truncate(250);
        Arc::new(dataset)
    });
    let mut run = Run::<Cpu, F>::build(cpu, config.clone(), DATASET.clone(), None, &STOP).expect("run");
    if let Some(folder) = train {
        let folder = RunFolder::claim(Some(folder), "run").expect("a new folder");
        run.train(&folder, &mut Log::new(LogKind::Quiet)).expect("training");
    }
    run.test().expect("test").expect("nobody stops it")
}

fn unties<F: Field<Cpu>>(block: Block) {
    let (place, cpu) = (tempfile::tempdir().expect("a folder"), Cpu::new(Some(2)).expect("cpu"));
    for net in [NetKind::Tiny, NetKind::Staged] {
        for scheme in [Scheme::Euler, Scheme::Heun] {
            let tied = config(net, block, scheme);
            let folder = place.path().join(format!("{net}-{scheme}"));
            let expected = tested::<F>(&cpu, &tied, Some(&folder));
            let init_from = Some(folder.join("checkpoint.safetensors").display().to_string());
            for tied_again in [false, true] {
                let start = RunConfig { tied: tied_again, init_from: init_from.clone(), ..tied.clone() };
                // another seed: nothing drawn is left
                let start = RunConfig { seed: 9, ..start };
                assert_eq!(tested::<F>(&cpu, &start, None), expected, "{block} {net} {scheme}, tied {tied_again}");
            }
            let fresh = RunConfig { init_from: None, tied: false, ..tied };
            assert_ne!(tested::<F>(&cpu, &fresh, None), expected, "training changed the net");
        }
    }
}

#[test]
fn untying_a_trained_net_changes_no_bit_of_its_output() {
    unties::<Basic>(Block::Basic);
    unties::<Bottleneck>(Block::Bottleneck);
}

#[test]
fn pre_activation_blocks_train_resume_and_answer_and_are_no_published_nets() {
    let place = Place::with_digits(IMAGES);
    let run = "--data digits --net staged --blocks 2,2 --widths 4,8 --block pre-activation --batch 100 --lr 0.05";
    for gradient in ["auto", "corrected", "backprop"] {
        let line = format!("{run} --gradient {gradient}");
        place.succeed(&format!("{line} --threads 1 --max-steps 4 --out whole"));
        place.succeed(&format!("{line} --threads 2 --max-steps 2 --out cut"));
        place.succeed("--resume cut --max-steps 4");
        place.assert_same_weights("whole", "cut");
        let summary = place.summary("whole");
        assert_eq!(summary["peak_bytes"], summary["planned_peak_bytes"], "{gradient}");
        for folder in ["whole", "cut"] {
            std::fs::remove_dir_all(place.path(folder)).unwrap();
        }
    }
    let ended = place.run(&format!("{run} --form torchvision"));
    assert!(ended.code == Some(2) && ended.error().contains("--block pre-activation begins with one"), "{ended}");
}

#[test]
fn an_untied_net_goes_its_own_way_from_the_tied_one() {
    let place = Place::with_digits(IMAGES);
    place.succeed(&format!("{STAGED} --tied --max-steps 2 --out tied"));
    place.succeed(&format!("{STAGED} --init-from tied/checkpoint.safetensors --max-steps 2 --out free"));
    let (tied, free) = (place.tensors("tied"), place.tensors("free"));
    let blocks = |n| &free[&format!("stages.1.blocks.{n}.conv1.weight")];
    assert!(blocks(0) != blocks(1) && blocks(1) != blocks(2), "each block has been trained on its own");
    assert!(!free.contains_key("stages.1.blocks.shared.conv1.weight") && tied.len() < free.len());
    assert_eq!(place.summary("free")["steps"].as_u64(), Some(2), "the epochs start anew");
    assert!(place.text("free/config.toml").contains("init-from = \"tied/checkpoint.safetensors\""));
    // it starts once: a resumed run goes on from its own checkpoint
    std::fs::remove_dir_all(place.path("tied")).expect("removed");
    place.succeed("--resume free --max-steps 3");
}
