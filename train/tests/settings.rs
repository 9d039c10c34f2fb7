//! The table of settings: each is a flag and a key of a config file, and a resume either may change it or is refused.
//!
//! That no field of a config is left out follows from how it is made: `RunConfig` is declared by the table, but for the engine's `SweepSpec`, whose
//! fields are compared with the table here.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{CommandFactory, Parser};
use rewind::scheme::Scheme;
use rewind::sweep::{Gradient, Masks, SweepSpec};
use rewind_train::cli::{Cli, resolve};
use rewind_train::config::RunConfig;
use rewind_train::settings::{Resume, SETTINGS};

/// Of each setting: flags beside which it means something, and its own flag with another value than the default.
const OTHER: [(&str, &str, &str); 67] = [
    ("data", "", "--data synthetic"),
    ("image", "", "--image 64"),
    ("resize", "", "--resize 72"),
    ("crop", "", "--crop random"),
    ("normalise", "", "--normalise auto"),
    ("val_split", "", "--val-split 0.25"),
    ("cache", "", "--cache disk"),
    ("augment", "", "--no-augment"),
    ("rand_augment", "", "--rand-augment 2,9"),
    ("colour_jitter", "", "--colour-jitter 0.4,0.4,0.4,0.1"),
    ("erase", "", "--erase 0.25"),
    ("net", "", "--net staged"),
    ("depth", "", "--depth 9"),
    ("channels", "", "--channels 8"),
    ("stem", "", "--stem 3x3"),
    ("blocks", "--net staged", "--blocks 1,2,3"),
    ("widths", "--net staged", "--widths 8,8,8"),
    ("stem_width", "--net staged", "--stem-width 5"),
    ("block", "", "--block bottleneck"),
    ("form", "--net staged --step-size 1 --init plain --gradient coded", "--form torchvision"),
    ("tied", "", "--tied"),
    ("scheme", "", "--scheme heun"),
    ("step_size", "", "--step-size 1"),
    ("init", "", "--init plain"),
    ("init_from", "", "--init-from a/checkpoint.safetensors"),
    ("gradient", "", "--gradient adjoint"),
    ("sweep_stages", "--net staged", "--sweep-stages 3"),
    ("bits", "", "--bits 2"),
    ("coded_pass", "", "--coded-pass altered"),
    ("code_room", "", "--code-room 3"),
    ("fixed_point", "--gradient corrected", "--fixed-point 2"),
    ("anchors", "--gradient corrected", "--anchors 3"),
    ("checkpoint_every", "--gradient checkpoint", "--checkpoint-every 2"),
    ("bn_stats", "", "--bn-stats batch"),
    ("masks", "", "--masks saved"),
    ("update", "", "--update after"),
    ("epochs", "", "--epochs 3"),
    ("batch", "", "--batch 64"),
    ("optimiser", "--lr 0.05 --weight-decay 0.25", "--optimiser adamw"),
    ("lr", "", "--lr 0.05"),
    ("momentum", "", "--momentum 0.5"),
    ("nesterov", "", "--nesterov"),
    ("betas", "--optimiser adamw", "--betas 0.8,0.95"),
    ("eps", "--optimiser adamw", "--eps 0.001"),
    ("weight_decay", "", "--weight-decay 0.25"),
    ("decay", "", "--decay weights"),
    ("clip", "--update after", "--clip 1.5"),
    ("clip_blocks", "", "--clip-blocks 0.5"),
    ("accumulate", "", "--accumulate 4"),
    ("ema", "", "--ema 0.99"),
    ("lr_schedule", "", "--lr-schedule cosine"),
    ("warmup", "--epochs 9", "--warmup 2"),
    ("lr_drop", "", "--lr-drop 5,7"),
    ("label_smoothing", "", "--label-smoothing 0.1"),
    ("mixup", "", "--mixup 0.2"),
    ("cutmix", "", "--cutmix 0.5"),
    ("seed", "", "--seed 1"),
    ("max_steps", "", "--max-steps 10"),
    ("device", "", "--device cpu"),
    ("math", "", "--math fp32"),
    ("round_as", "", "--round-as fp16"),
    ("threads", "", "--threads 2"),
    ("memory_limit", "", "--memory-limit 512MiB"),
    ("log_steps", "", "--log-steps 50"),
    ("keep_best", "", "--keep-best"),
    ("keep_every", "", "--keep-every 10"),
    ("tensorboard", "", "--tensorboard"),
];

fn resolved(line: &str, checkpoint: Option<&RunConfig>) -> rewind::Result<RunConfig> {
    let cli = Cli::try_parse_from(std::iter::once("train_cifar").chain(line.split_whitespace())).expect(line);
    resolve(&cli, checkpoint)
}

#[test]
fn every_setting_is_a_flag_and_a_key() {
    assert!(SETTINGS.iter().map(|setting| setting.name).eq(OTHER.iter().map(|(name, ..)| *name)));
    for (setting, (_, context, flag)) in SETTINGS.iter().zip(OTHER) {
        let base = resolved(context, None).expect(context);
        let changed = resolved(&format!("{context} {flag}"), None).expect(flag);
        assert_ne!(base, changed, "{flag}");
        // the file of the one with the key of the other is the other
        let table = |config: &RunConfig| config.to_toml().parse::<toml::Table>().expect("TOML");
        let value =
            table(&changed).remove(&setting.key()).unwrap_or_else(|| panic!("no {} in the file", setting.key()));
        let mut with = table(&base);
        with.insert(setting.key(), value);
        // but for what means nothing beside it: sizes of the other net, bits of a mode without codes
        with.retain(|key, _| table(&changed).contains_key(key));
        assert_eq!(RunConfig::from_toml(&with.to_string(), Path::new("config.toml")).expect(flag), changed, "{flag}");
    }
}

#[test]
fn a_resume_changes_what_is_free_and_refuses_the_rest() {
    for (setting, (_, context, flag)) in SETTINGS.iter().zip(OTHER) {
        let held = resolved(context, None).expect(context);
        let line = format!("--resume runs/x {context} {flag}");
        match (setting.resume, resolved(&line, Some(&held))) {
            (Resume::Free, Ok(config)) => {
                assert_eq!(config, resolved(&format!("{context} {flag}"), None).expect(flag), "{flag}");
            }
            (Resume::Fixed, Err(error)) => {
                let text = error.to_string();
                assert!(text.starts_with(&format!("{flag} contradicts the checkpoint")), "{text}");
                assert_eq!(error.exit_code(), 2);
            }
            (resume, outcome) => panic!("{flag} is {resume:?}: {outcome:?}"),
        }
        // what the checkpoint has may be repeated
        let changed = resolved(&format!("{context} {flag}"), None).expect(flag);
        assert_eq!(resolved(&line, Some(&changed)).expect(flag), changed, "{flag}");
    }
}

#[test]
fn every_field_of_the_engines_spec_is_a_setting() {
    // masks are written where they are not the default
    let spec = SweepSpec { masks: Masks::Saved, ..SweepSpec::new(Scheme::Euler, Gradient::Auto) };
    let fields = serde_json::to_value(spec).expect("JSON");
    let names: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    for field in fields.as_object().expect("a struct").keys() {
        assert!(names.contains(field.as_str()), "{field} is no setting");
    }
}

#[test]
fn every_flag_has_its_settings_name() {
    let command = Cli::command();
    for (setting, (_, _, flag)) in SETTINGS.iter().zip(OTHER) {
        let argument = command.get_arguments().find(|argument| argument.get_id() == setting.name).expect(setting.name);
        let long = argument.get_long().expect("a long flag");
        assert_eq!(flag.split_whitespace().next(), Some(format!("--{long}").as_str()));
        assert!([setting.key(), format!("no-{}", setting.key())].contains(&long.to_string()), "{long}");
    }
}

#[test]
fn a_net_that_goes_by_a_name_is_its_parts_and_may_be_named_again() {
    let named = resolved("--net resnet50", None).expect("a net");
    let parts = "--net staged --blocks 2,3,5,2 --widths 256,512,1024,2048 --block bottleneck --stem-width 64";
    assert_eq!(named, resolved(parts, None).expect("its parts"));
    assert_eq!(resolved("--resume runs/x --net resnet50", Some(&named)).expect("the same"), named);
    let text = resolved("--resume runs/x --net resnet101", Some(&named)).expect_err("another").to_string();
    assert!(text.starts_with("--blocks 2,3,22,2 contradicts the checkpoint"), "{text}");
    // what is given beside the name stays
    let deeper = resolved("--net resnet18 --blocks 9,9,9,9", None).expect("a net");
    assert_eq!((deeper.blocks, deeper.widths), (vec![9; 4], vec![64, 128, 256, 512]));
    let from_file = RunConfig::from_toml("net = \"resnet50\"\n", Path::new("config.toml")).expect("a file");
    assert_eq!(from_file, named);
}
