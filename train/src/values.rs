//! Values of settings that are this program's own, as a user writes them.

use std::fmt;
use std::str::FromStr;

use rewind::memory::parse_bytes;
use serde::{Deserialize, Deserializer, Serialize};

/// Which net is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NetKind {
    /// The paper's CIFAR net: stem, one residual stack, head.
    Tiny,
    /// Several stages, each with a plain block that changes the map and a residual stack.
    Staged,
    /// [`NetKind::Staged`] with the blocks and widths of ResNet-18; so are the others.
    Resnet18,
    /// ResNet-34.
    Resnet34,
    /// ResNet-50.
    Resnet50,
    /// ResNet-101.
    Resnet101,
    /// ResNet-152.
    Resnet152,
}

/// What a net that goes by a name is made of.
pub struct Preset {
    /// Residual blocks of each stage, the first block not counted.
    pub blocks: [usize; 4],
    /// Channels of each stage.
    pub widths: [usize; 4],
    /// The residual function.
    pub block: Block,
    /// Channels of the stem.
    pub stem_width: usize,
}

impl NetKind {
    /// The parts of a net that goes by a name: of He et al. 2016, table 1, where each stage's first block is the plain one.
    pub fn preset(self) -> Option<Preset> {
        let basic = |blocks| Preset { blocks, widths: [64, 128, 256, 512], block: Block::Basic, stem_width: 64 };
        let bottleneck = |blocks| {
            let widths = [256, 512, 1024, 2048];
            Preset { blocks, widths, block: Block::Bottleneck, stem_width: 64 }
        };
        Some(match self {
            Self::Tiny | Self::Staged => return None,
            Self::Resnet18 => basic([1, 1, 1, 1]),
            Self::Resnet34 => basic([2, 3, 5, 2]),
            Self::Resnet50 => bottleneck([2, 3, 5, 2]),
            Self::Resnet101 => bottleneck([2, 3, 22, 2]),
            Self::Resnet152 => bottleneck([2, 7, 35, 2]),
        })
    }
}

/// What follows the sum of a residual block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Nothing, as a step of an ODE: the paper's form, whose states a sweep can rebuild.
    #[default]
    Ode,
    /// A ReLU, as in the published ResNets.
    Torchvision,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ode => "ode",
            Self::Torchvision => "torchvision",
        })
    }
}

/// How weights move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// Stochastic gradient descent with momentum.
    #[default]
    Sgd,
    /// AdamW.
    #[value(name = "adamw")]
    AdamW,
}

/// How training pictures are cropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CropKind {
    /// The middle of the picture, shifted by up to four pixels: CIFAR's recipe.
    Shift,
    /// A part of 8 to 100 % of the picture, wherever it lies, resized: ImageNet's recipe.
    Random,
}

/// Which mean and deviation pictures are normalised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NormaliseBy {
    /// ImageNet's, which pretrained nets are used to.
    Imagenet,
    /// CIFAR-10's, by the paper's recipe.
    #[serde(rename = "cifar-10")]
    #[value(name = "cifar-10")]
    Cifar10,
    /// Those of the set's own training pictures.
    Auto,
}

/// Where decoded pictures are kept between epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// In memory.
    Ram,
    /// In a file in the set's folder.
    Disk,
    /// Nowhere: each is decoded each time.
    None,
}

impl fmt::Display for NetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            NetKind::Tiny => "tiny",
            NetKind::Staged => "staged",
            NetKind::Resnet18 => "resnet18",
            NetKind::Resnet34 => "resnet34",
            NetKind::Resnet50 => "resnet50",
            NetKind::Resnet101 => "resnet101",
            NetKind::Resnet152 => "resnet152",
        })
    }
}

/// The residual function of all blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// [`rewind::field::Basic`], the paper's.
    #[default]
    Basic,
    /// [`rewind::field::Bottleneck`].
    Bottleneck,
    /// [`rewind::field::PreActivation`].
    #[serde(rename = "pre-activation")]
    PreActivation,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Basic => "basic",
            Self::Bottleneck => "bottleneck",
            Self::PreActivation => "pre-activation",
        })
    }
}

/// Which device computes: `auto`, `cpu`, `cuda` or `cuda:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceChoice {
    /// A GPU where there is a usable one, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.pad("auto"),
            DeviceChoice::Cpu => f.pad("cpu"),
            DeviceChoice::Cuda(ordinal) => f.pad(&format!("cuda:{ordinal}")),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("cuda:").map(str::parse)) {
            ("auto", _) => Ok(DeviceChoice::Auto),
            ("cpu", _) => Ok(DeviceChoice::Cpu),
            ("cuda", _) => Ok(DeviceChoice::Cuda(0)),
            (_, Some(Ok(ordinal))) => Ok(DeviceChoice::Cuda(ordinal)),
            _ => Err(format!("`{text}` is no device: give auto, cpu, cuda, or cuda:1 for the second GPU")),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> String {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Epochs after which the learning rate falls to a tenth: `30,60` or `none`; in a config file `[30, 60]` or `[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LrDrop(pub Vec<usize>);

impl FromStr for LrDrop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        let epochs: Result<_, _> = text.split(',').map(|epoch| epoch.trim().parse()).collect();
        epochs.map(Self).map_err(|_| "write epochs with commas, such as 30,60, or none".into())
    }
}

impl fmt::Display for LrDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.pad("none");
        }
        f.pad(&listed(&self.0))
    }
}

/// Sizes with commas: `4,4,4`; in a config file `[4, 4, 4]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sizes(pub Vec<usize>);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes: Result<_, _> = text.split(',').map(|size| size.trim().parse()).collect();
        sizes.map(Self).map_err(|_| "write whole numbers with commas, such as 4,4,4".into())
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&listed(&self.0))
    }
}

/// Stages of a staged net, counted from 1, by number or as torchvision names them: `3`, `layer3`, `layer3,layer4`; in a config file `[3]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageList(pub Vec<usize>);

impl FromStr for StageList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |name: &str| {
            let name = name.trim();
            name.strip_prefix("layer").unwrap_or(name).parse().ok().filter(|stage| *stage > 0)
        };
        let stages: Option<_> = text.split(',').map(number).collect();
        stages.map(Self).ok_or_else(|| "name stages with commas, such as layer3 or 2,3; the first is 1".into())
    }
}

/// AdamW's betas: `0.9,0.999`; in a config file `[0.9, 0.999]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Betas(pub [f64; 2]);

impl FromStr for Betas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let betas: Vec<_> = text.split(',').map(|beta| beta.trim().parse()).collect();
        match betas[..] {
            [Ok(first), Ok(second)] => Ok(Self([first, second])),
            _ => Err("write two numbers with a comma, such as 0.9,0.999".into()),
        }
    }
}

/// RandAugment's changes and their magnitude: `2,9`; in a config file `[2, 9]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RandAugmentBy(pub [usize; 2]);

impl FromStr for RandAugmentBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<_> = text.split(',').map(|number| number.trim().parse()).collect();
        match numbers[..] {
            [Ok(ops), Ok(magnitude)] => Ok(Self([ops, magnitude])),
            _ => Err("write two whole numbers with a comma, such as 2,9".into()),
        }
    }
}

/// Strengths of brightness, contrast, saturation and hue: `0.4,0.4,0.4,0.1`; in a config file `[0.4, 0.4, 0.4, 0.1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JitterBy(pub [f64; 4]);

impl FromStr for JitterBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let strengths: Result<Vec<_>, _> = text.split(',').map(|strength| strength.trim().parse()).collect();
        let strengths = strengths.ok().and_then(|strengths| strengths.try_into().ok());
        strengths.map(Self).ok_or_else(|| "write four numbers with commas, such as 0.4,0.4,0.4,0.1".into())
    }
}

/// A number of bytes: `512MiB`, `2GiB` or `1000000`; in a config file a string or an integer, written as an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_bytes(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes or a size such as \"512MiB\"")
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom("a size is not negative"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `4,4,4`.
pub fn listed<T: ToString>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(T::to_string).collect();
    values.join(",")
}
