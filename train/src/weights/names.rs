//! The names and axes that published ResNets have for a staged net's tensors: those of torchvision, which timm has too.

/// The axes of a tensor on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axes {
    /// The same.
    Vector,
    /// Ours `[K, K, C_in, C_out]`, or `[C_in, C_out]` of a 1x1 convolution; theirs `[C_out, C_in, K, K]`.
    Convolution,
    /// Ours `[C_in, C_out]`, theirs `[C_out, C_in]`.
    Linear,
}

/// A tensor of a published net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its name, such as `layer3.4.bn1.running_var`.
    pub name: String,
    axes: Axes,
}

impl Published {
    /// The tensor that ours of this name and saved shape is there; none for one that such nets have not.
    pub fn of(ours: &str, shape: &[usize]) -> Option<Self> {
        let axes = match shape.len() {
            1 => Axes::Vector,
            _ if ours.starts_with("head.") => Axes::Linear,
            _ => Axes::Convolution,
        };
        Some(Self { name: name(ours)?, axes })
    }

    /// Its shape there, where ours is `shape`.
    pub fn shape(&self, shape: &[usize]) -> Vec<usize> {
        match (self.axes, shape) {
            (Axes::Convolution, [k_h, k_w, c_in, c_out]) => vec![*c_out, *c_in, *k_h, *k_w],
            (Axes::Convolution, [c_in, c_out]) => vec![*c_out, *c_in, 1, 1],
            (Axes::Linear, [c_in, c_out]) => vec![*c_out, *c_in],
            _ => shape.to_vec(),
        }
    }

    /// Our values of theirs, where ours has `shape`.
    pub fn to_ours(&self, shape: &[usize], theirs: &[f32]) -> Vec<f32> {
        let (pixels, c_in, c_out) = self.extents(shape);
        let place = |pixel, i, o| theirs[(o * c_in + i) * pixels + pixel];
        (0..pixels).flat_map(|p| (0..c_in).flat_map(move |i| (0..c_out).map(move |o| place(p, i, o)))).collect()
    }

    /// Their values of ours, which has `shape`.
    pub fn to_theirs(&self, shape: &[usize], ours: &[f32]) -> Vec<f32> {
        let (pixels, c_in, c_out) = self.extents(shape);
        let place = |pixel, i, o| ours[(pixel * c_in + i) * c_out + o];
        (0..c_out).flat_map(|o| (0..c_in).flat_map(move |i| (0..pixels).map(move |p| place(p, i, o)))).collect()
    }

    /// Pixels of the kernel, input and output channels; a vector is one of outputs.
    fn extents(&self, shape: &[usize]) -> (usize, usize, usize) {
        match *shape {
            [k_h, k_w, c_in, c_out] => (k_h * k_w, c_in, c_out),
            [c_in, c_out] => (1, c_in, c_out),
            _ => (1, 1, shape.iter().product()),
        }
    }
}

fn name(ours: &str) -> Option<String> {
    if let Some(of_stem) = ours.strip_prefix("stem.") {
        let (layer, tensor) = of_stem.split_once('.')?;
        return Some(format!("{layer}1.{tensor}"));
    }
    if let Some(tensor) = ours.strip_prefix("head.") {
        return Some(format!("fc.{tensor}"));
    }
    let (stage, rest) = ours.strip_prefix("stages.")?.split_once('.')?;
    let (layer, (part, rest)) = (stage.parse::<usize>().ok()? + 1, rest.split_once('.')?);
    Some(match part {
        "first" => format!("layer{layer}.0.{rest}"),
        "shortcut" => {
            let (of, tensor) = rest.split_once('.')?;
            format!("layer{layer}.0.downsample.{}.{tensor}", if of == "conv1" { 0 } else { 1 })
        }
        _ => {
            let (block, tensor) = rest.split_once('.')?;
            format!("layer{layer}.{}.{tensor}", block.parse::<usize>().ok()? + 1)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_have_torchvisions_names() {
        for (ours, theirs) in [
            ("stem.conv.weight", Some("conv1.weight")),
            ("stem.bn.running_mean", Some("bn1.running_mean")),
            ("head.bias", Some("fc.bias")),
            ("stages.0.first.conv1.weight", Some("layer1.0.conv1.weight")),
            ("stages.1.shortcut.conv1.weight", Some("layer2.0.downsample.0.weight")),
            ("stages.1.shortcut.bn1.bias", Some("layer2.0.downsample.1.bias")),
            ("stages.2.blocks.21.bn3.running_var", Some("layer3.22.bn3.running_var")),
            ("blocks.3.conv1.weight", None),
            ("stages.0.blocks.shared.conv1.weight", None),
        ] {
            let found = Published::of(ours, &[4]).map(|published| published.name);
            assert_eq!(found.as_deref(), theirs);
        }
    }

    #[test]
    fn axes_are_exchanged_and_back() {
        let conv = Published::of("stem.conv.weight", &[2, 2, 3, 5]).unwrap();
        let ours: Vec<f32> = (0..60).map(|i| i as f32).collect();
        let theirs = conv.to_theirs(&[2, 2, 3, 5], &ours);
        assert_eq!(conv.shape(&[2, 2, 3, 5]), [5, 3, 2, 2]);
        // [kernel row 1, column 0, input 2, output 4] is [4, 2, 1, 0] there
        assert_eq!(theirs[((4 * 3 + 2) * 2 + 1) * 2], ours[((2 * 3) + 2) * 5 + 4]);
        assert_eq!(conv.to_ours(&[2, 2, 3, 5], &theirs), ours);
        let pointwise = Published::of("stages.0.first.conv1.weight", &[3, 5]).unwrap();
        assert_eq!(pointwise.shape(&[3, 5]), [5, 3, 1, 1]);
        let linear = Published::of("head.weight", &[2, 3]).unwrap();
        assert_eq!(linear.shape(&[2, 3]), [3, 2]);
        assert_eq!(linear.to_theirs(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let vector = Published::of("head.bias", &[3]).unwrap();
        assert_eq!(vector.to_ours(&[3], &[1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]);
    }
}
