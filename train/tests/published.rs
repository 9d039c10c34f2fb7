//! Weights of published ResNets: read as torchvision and timm save them, written so that torchvision takes them.

#[path = "../../tests/support/cli.rs"]
mod cli;
#[path = "../../tests/support/published.rs"]
mod published;

use std::collections::BTreeMap;
use std::fs;

use cli::{Ended, Place, program};
use half::{bf16, f16};
use published::{NETS, config, distance, golden, logits, spec, write_weights};
use rewind::cpu::Cpu;
use rewind::field::Basic;
use rewind::init::Init;
use rewind::net::Net;
use rewind_train::config::{Form, NetKind, RunConfig};
use rewind_train::weights::WeightsFile;
use safetensors::{Dtype, SafeTensors};

#[test]
fn the_published_nets_answer_as_torchvision_does() {
    let (cpu, place) = (Cpu::new(Some(2)).expect("cpu"), Place::new());
    for net in NETS {
        let off = distance(&logits(&cpu, net, 2, &place.path("")), &golden(net));
        println!("{net}: {off:e}");
        // logits of about 0.3 behind 20 to 155 convolutions in f32, each of which leaves some 1e-7 of what it is given
        assert!(off < 1e-5, "{net}: {off:e}");
    }
}

/// The tensors of a file: name, shape, bytes.
fn tensors(bytes: &[u8]) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    file.iter().map(|(name, view)| (name.to_string(), (view.shape().to_vec(), view.data().to_vec()))).collect()
}

fn export(place: &Place, line: &str) -> Ended {
    let mut command = place.command_of(&program(option_env!("CARGO_BIN_EXE_export"), "export"), line);
    Ended::of(line, command.spawn().expect("export starts"))
}

/// A small net in torchvision's form.
const SMALL: &str = "--data synthetic --net staged --blocks 1,2 --widths 8,16 --form torchvision --batch 50 --quiet";

#[test]
fn what_is_exported_comes_back_to_the_bit_and_has_torchvisions_tensors() {
    let place = Place::new();
    for more in ["", "--block bottleneck --stem 7x7 --stem-width 4", "--gradient backprop --update after"] {
        let line = format!("{SMALL} {more}");
        for folder in ["run", "again"] {
            let _ = fs::remove_dir_all(place.path(folder));
        }
        let _ = fs::remove_file(place.path("model.safetensors"));
        place.succeed(&format!("{line} --max-steps 2 --out run"));
        let ended = export(&place, "run");
        assert!(ended.code == Some(0) && ended.stdout.contains("model.safetensors: "), "{ended}");
        let exported = tensors(&fs::read(place.path("model.safetensors")).expect("a file"));
        let shape = |name: &str| exported.get(name).map(|(shape, _)| &shape[..]);
        assert_eq!(shape("fc.weight"), Some(&[10, 16][..]));
        assert_eq!(shape("layer2.2.bn1.running_var").map(<[_]>::len), Some(1));
        assert_eq!(shape("layer2.0.downsample.0.weight"), Some(&[16, 8, 1, 1][..]));
        match more.contains("bottleneck") {
            true => assert_eq!(shape("conv1.weight"), Some(&[4, 3, 7, 7][..])),
            false => assert_eq!(shape("layer1.1.conv2.weight"), Some(&[8, 8, 3, 3][..])),
        }
        // a run of one step at a rate of 0 keeps the weights that it starts from
        let start = "--init-from model.safetensors --lr 0 --max-steps 1 --out again";
        place.succeed(&format!("{line} {start}"));
        let [first, second] = ["run", "again"].map(|folder| {
            let mut all = tensors(&fs::read(place.path(&format!("{folder}/checkpoint.safetensors"))).expect("a file"));
            all.retain(|name, _| !name.starts_with("velocity") && !name.contains("running"));
            all
        });
        assert!(first == second && first.len() > 20, "{line}");
    }
    let ended = export(&place, "run");
    assert!(ended.code == Some(2) && ended.error().contains("model.safetensors is there already"), "{ended}");
}

#[test]
fn sixteen_bits_are_written_and_read() {
    let place = Place::new();
    place.succeed(&format!("{SMALL} --max-steps 1 --out run"));
    let full = export(&place, "run --out full.safetensors");
    assert_eq!(full.code, Some(0), "{full}");
    let full = tensors(&fs::read(place.path("full.safetensors")).expect("a file"));
    for (dtype, epsilon) in [("f16", f32::from(f16::EPSILON)), ("bf16", f32::from(bf16::EPSILON))] {
        let ended = export(&place, &format!("run --dtype {dtype} --out {dtype}.safetensors"));
        assert_eq!(ended.code, Some(0), "{ended}");
        place.succeed(&format!("{SMALL} --init-from {dtype}.safetensors --lr 0 --max-steps 1 --out {dtype}"));
        let short = tensors(&fs::read(place.path(&format!("{dtype}.safetensors"))).expect("a file"));
        assert_eq!(short.len(), full.len());
        for (name, (shape, bytes)) in &short {
            let (of_full, exact) = &full[name];
            assert_eq!((shape, 2 * bytes.len()), (of_full, exact.len()));
            let pairs = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
            let read: Vec<f32> = match dtype {
                "f16" => pairs.map(|b| f16::from_le_bytes(b).to_f32()).collect(),
                _ => pairs.map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            };
            let exact = exact.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            // to nearest, of normal numbers; f16's smallest are 6e-8 apart
            assert!(read.iter().zip(exact).all(|(a, b)| (a - b).abs() <= 0.5 * epsilon * b.abs() + 6e-8), "{name}");
        }
    }
}

#[test]
fn a_net_of_the_papers_form_steps_as_far_with_published_weights() {
    let (cpu, place) = (Cpu::new(Some(2)).expect("cpu"), Place::new());
    let published = config(NetKind::Resnet18);
    let file = place.path("resnet18.safetensors");
    let bytes = |value: f32| value.to_le_bytes().to_vec();
    write_weights::<Cpu, Basic>(&cpu, &spec(&published, 2), &file, Dtype::F32, bytes);
    let starting = |config: &RunConfig| {
        let mut net = Net::<Cpu, Basic>::build(&cpu, spec(config, 2), Init::Plain, 0).expect("a net");
        WeightsFile::open(&file).expect("weights").expect("no checkpoint").start(&cpu, config, &mut net).map(|()| net)
    };
    // two residual blocks, so that h is 1/2
    let ode = RunConfig {
        form: Form::Ode,
        step_size: rewind::scheme::StepSize::OverDepth,
        blocks: vec![1, 1, 1, 1],
        ..published.clone()
    };
    let two = RunConfig { blocks: vec![1, 2, 1, 1], ..ode.clone() };
    let sentence = starting(&two).err().expect("a refusal").to_string();
    assert!(sentence.contains("it holds no tensor layer2.2."), "{sentence}");
    let whole = starting(&ode).expect("a net");
    assert_eq!(whole.stages[0].stack.h, 1.0);
    // exported from steps of half the length, increments are what they were
    place.succeed("--data synthetic --net staged --blocks 2,2 --widths 4,8 --batch 50 --quiet --max-steps 1 --out ode");
    let ended = export(&place, "ode --out ode.safetensors");
    assert!(ended.code == Some(0) && ended.stdout.contains("its answers differ"), "{ended}");
    let line = "--data synthetic --net staged --blocks 2,2 --widths 4,8 --batch 50 --quiet --lr 0 --max-steps 1";
    place.succeed(&format!("{line} --init-from ode.safetensors --out again"));
    let [first, second, whole] = ["ode/checkpoint", "again/checkpoint", "ode"]
        .map(|name| tensors(&fs::read(place.path(&format!("{name}.safetensors"))).expect("a file")));
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let gamma = "stages.1.blocks.1.bn2.weight";
    assert_eq!(first[gamma], second[gamma]);
    let halved: Vec<f32> = floats(&first[gamma].1).iter().map(|value| value / 2.0).collect();
    assert_eq!(floats(&whole["layer2.2.bn2.weight"].1), halved);
    assert_eq!(floats(&first["stages.1.first.bn2.weight"].1), floats(&whole["layer2.0.bn2.weight"].1));
}

#[test]
fn weights_of_another_net_are_refused_in_a_sentence() {
    let place = Place::new();
    place.succeed(&format!("{SMALL} --max-steps 1 --out run"));
    assert_eq!(export(&place, "run").code, Some(0));
    let from = "--init-from model.safetensors --max-steps 1";
    let other = |sizes: &str| format!("--data synthetic --net staged {sizes} --form torchvision --batch 50 {from}");
    for (line, expected) in [
        (other("--blocks 1,1 --widths 8,16"), "it holds layer2.2."),
        (other("--blocks 1,3 --widths 8,16"), "it holds no tensor layer2.3."),
        (other("--blocks 1,2 --widths 8,12"), "fc.weight has shape [10, 16], and this net needs [10, 12]"),
        (other("--blocks 1,2 --widths 8,16 --stem 7x7"), "--stem and --stem-width say what is needed"),
        (other("--blocks 1,2 --widths 8,16 --tied"), "leave --tied out"),
        (format!("--data synthetic {from}"), "it has no weights for --net tiny"),
    ] {
        let ended = place.run(&line);
        assert!(ended.code == Some(1) && ended.error().contains(expected), "{line}: {ended}");
    }
    for (line, expected) in [
        (
            format!("{SMALL} --gradient corrected"),
            "no reverse step undoes a ReLU behind the sum, and --gradient corrected needs one",
        ),
        (format!("{SMALL} --step-size 1/N"), "--form torchvision adds whole blocks"),
        (format!("{SMALL} --scheme heun"), "--scheme heun"),
        ("--data synthetic --form torchvision".into(), "--form belongs to --net staged"),
    ] {
        let ended = place.run(&line);
        assert!(ended.code == Some(2) && ended.error().contains(expected), "{line}: {ended}");
    }
    place.succeed("--data synthetic --max-steps 1 --depth 2 --channels 4 --out tiny");
    let ended = export(&place, "tiny --out tiny.safetensors");
    assert!(ended.code == Some(1) && ended.error().contains("is none that torchvision has"), "{ended}");
    fs::write(place.path("net.pth"), b"PK\x03\x04 and so on").expect("a file");
    let ended = place.run(&format!("{SMALL} --init-from net.pth"));
    assert!(ended.code == Some(1) && ended.error().contains("weights_only=True"), "{ended}");
    // another number of classes: the head is drawn anew, and the run says so
    let mut classes = tensors(&fs::read(place.path("model.safetensors")).expect("a file"));
    for name in ["fc.weight", "fc.bias"] {
        let (shape, bytes) = classes.get_mut(name).expect("a head");
        shape[0] = 7;
        bytes.truncate(4 * shape.iter().product::<usize>());
    }
    let views = classes.iter().map(|(name, (shape, bytes))| {
        (name, safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    fs::write(place.path("seven.safetensors"), safetensors::serialize(views, None).expect("a file")).expect("written");
    let line = SMALL.replace(" --quiet", "");
    let ended = place.run(&format!("{line} --init-from seven.safetensors --max-steps 1 --out seven"));
    assert!(ended.code == Some(0) && ended.stderr.contains("is of 7 classes and the data has 10"), "{ended}");
}
