//! Published ResNets with weights drawn by name, and what torchvision answers with them: `tests/golden/make_logits.py` draws the same.
#![allow(dead_code)]

use std::path::Path;

use rewind::device::Device;
use rewind::field::{Basic, Bottleneck, Field};
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::tensor::Real;
use rewind_train::checkpoint::saved_shape;
use rewind_train::config::{Block, Form, NetKind, RunConfig};
use rewind_train::settings::Settings;
use rewind_train::weights::{Published, WeightsFile};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Those that there are answers of.
pub const NETS: [NetKind; 5] =
    [NetKind::Resnet18, NetKind::Resnet34, NetKind::Resnet50, NetKind::Resnet101, NetKind::Resnet152];
const CLASSES: usize = 12;
const SIDE: usize = 64;

/// The settings of such a net in torchvision's form.
pub fn config(net: NetKind) -> RunConfig {
    let form = Some(Form::Torchvision);
    Settings { net: Some(net), form, image: Some(SIDE), ..Settings::default() }.expanded().over(RunConfig::default())
}

/// Its net, for so many images.
pub fn spec(config: &RunConfig, batch: usize) -> NetSpec {
    NetSpec {
        batch,
        stem: config.stem(),
        image: SIDE,
        classes: CLASSES,
        step_size: config.step_size,
        sweep: config.sweep,
        body: config.body().expect("a body"),
        ..NetSpec::default()
    }
}

/// Numbers from -1 up to 1 by a tensor's name: splitmix64 from the FNV-1a of the name.
pub fn uniform(name: &str, count: usize) -> Vec<f32> {
    let start = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |value, byte| (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let number = |place: u64| {
        let z = start.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((((z ^ (z >> 31)) >> 40) as f64) / f64::from(1 << 23) - 1.0) as f32
    };
    (1..=count as u64).map(number).collect()
}

/// A tensor's values by its name and shape in torchvision.
fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let drawn = uniform(name, shape.iter().product());
    let (scale, shift) = match shape.len() {
        4 => ((6.0 / shape[1..].iter().product::<usize>() as f32).sqrt(), 0.0),
        2 => ((3.0 / shape[1] as f32).sqrt(), 0.0),
        _ if name.ends_with("running_var") => (0.5, 1.0),
        _ if name.ends_with("running_mean") || name.ends_with("bias") => (0.1, 0.0),
        _ => (0.2, 0.5),
    };
    drawn.into_iter().map(|u| shift + scale * u).collect()
}

/// Writes the drawn weights of a net as torchvision would save them, with numbers by `bytes`.
pub fn write_weights<D: Device, F: Field<D>>(
    d: &D,
    spec: &NetSpec,
    to: &Path,
    dtype: Dtype,
    bytes: impl Fn(f32) -> Vec<u8>,
) {
    let mut tensors = Vec::new();
    Net::<D, F>::each_planned(d, spec, &mut |name, shape| {
        let shape = saved_shape(shape);
        if let Some(published) = Published::of(name, &shape) {
            let theirs = published.shape(&shape);
            let data: Vec<u8> = values(&published.name, &theirs).into_iter().flat_map(&bytes).collect();
            tensors.push((published.name, theirs, data));
        }
        Ok(())
    })
    .expect("a plan");
    let counted = 7_i64.to_le_bytes();
    let views = tensors.iter().map(|(name, shape, data)| {
        (name.clone(), TensorView::new(dtype, shape.clone(), data).expect("as many bytes as the shape says"))
    });
    // what torchvision's files hold besides, and nobody needs
    let batches =
        ("bn1.num_batches_tracked".to_string(), TensorView::new(Dtype::I64, vec![], &counted).expect("a number"));
    let metadata = [("format".to_string(), "pt".to_string())].into();
    std::fs::write(to, safetensors::serialize(views.chain([batches]), Some(metadata)).expect("a file"))
        .expect("written");
}

/// The logits of so many of the images, `[N, K]`, by a net that starts from those weights.
pub fn logits<D: Device<Real = f32>>(d: &D, net: NetKind, images: usize, folder: &Path) -> Vec<Vec<f64>> {
    match config(net).block {
        Block::Basic => logits_of::<D, Basic>(d, net, images, folder),
        Block::Bottleneck => logits_of::<D, Bottleneck>(d, net, images, folder),
        Block::PreActivation => unreachable!("no published net has it"),
    }
}

fn logits_of<D: Device<Real = f32>, F: Field<D>>(d: &D, kind: NetKind, images: usize, folder: &Path) -> Vec<Vec<f64>> {
    let (config, file) = (config(kind), folder.join(format!("{kind}.safetensors")));
    config.validate().expect("settings");
    let spec = spec(&config, images);
    write_weights::<D, F>(d, &spec, &file, Dtype::F32, |value| value.to_le_bytes().to_vec());
    let mut net = Net::<D, F>::build(d, spec, Init::Plain, 0).expect("a net");
    let mut weights = WeightsFile::open(&file).expect("weights").expect("no checkpoint");
    assert_eq!(weights.notice(CLASSES), None);
    weights.start(d, &config, &mut net).expect("a start");
    std::fs::remove_file(file).expect("removed");
    // [N, C, H, W] there
    let drawn = uniform("images", images * 3 * SIDE * SIDE);
    let pixel = |n: usize, p: usize, c: usize| drawn[(n * 3 + c) * SIDE * SIDE + p];
    let ours: Vec<f32> =
        (0..images).flat_map(|n| (0..SIDE * SIDE).flat_map(move |p| (0..3).map(move |c| pixel(n, p, c)))).collect();
    net.load(d, &ours, &vec![0.0; images]).expect("a batch");
    net.evaluate(d).expect("a test");
    let mut found = vec![0.0_f32; images * CLASSES];
    d.download(net.logits(), &mut found).expect("logits");
    found.chunks_exact(CLASSES).map(|row| row.iter().map(|value| value.to_f64()).collect()).collect()
}

/// What torchvision answers.
pub fn golden(net: NetKind) -> Vec<Vec<f64>> {
    let text = include_str!("../golden/torchvision_logits.json");
    let all: serde_json::Value = serde_json::from_str(text).expect("JSON");
    serde_json::from_value(all["logits"][net.to_string()].clone()).expect("logits")
}

/// The largest distance of logits.
pub fn distance(found: &[Vec<f64>], golden: &[Vec<f64>]) -> f64 {
    let pairs = found.iter().zip(golden).flat_map(|(found, golden)| found.iter().zip(golden));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
