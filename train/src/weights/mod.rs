//! Weights of published ResNets, in and out: safetensors files with torchvision's names and axes, which timm's ResNets have too.
//!
//! A net of torchvision's form computes with them what torchvision computes. In the paper's form, where a block's step is `h f(x)`, f's last batch
//! norm is given 1/h times their values, so that every step is as long as it was; only the ReLUs behind the sums are missing.

mod export;
mod names;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::field::Field;
use rewind::net::{Net, is_optimisers};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

pub use self::export::{ExportAs, Exported, export};
pub use self::names::Published;
use crate::checkpoint::{Container, saved_shape};
use crate::config::{Block, Form, NetKind, RunConfig};
use crate::plausible::{may_hold, range_of};

/// A file of published weights.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    file: File,
    header: Metadata,
    data_start: u64,
}

impl WeightsFile {
    /// Opens a file of weights that is no checkpoint of this program's; none if it is one.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing, truncated, or no safetensors file.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let problem = |problem| Error::Checkpoint { path: path.into(), problem };
        let advice = "name a checkpoint.safetensors, or weights with torchvision's names as safetensors";
        let Container { file, header, data_start, found } = Container::open(path, advice).map_err(problem)?;
        if header.metadata().as_ref().and_then(|of| of.get("format")).is_some_and(|of| of.starts_with("rewind-")) {
            return Ok(None);
        }
        let expected = data_start.saturating_add(header.data_len() as u64);
        if found != expected {
            return Err(problem(format!("it is damaged: {found} bytes where its header names {expected}")));
        }
        Ok(Some(Self { path: path.into(), file, header, data_start }))
    }

    /// What a person should know before a net starts from them: that its head does not.
    pub fn notice(&self, classes: usize) -> Option<String> {
        let sentence = "the head's weights are drawn anew";
        match self.header.info("fc.weight").map(|info| &info.shape[..]) {
            Some([theirs, _]) if *theirs == classes => None,
            Some([theirs, _]) => {
                Some(format!("{} is of {theirs} classes and the data has {classes}: {sentence}", self.path.display()))
            }
            _ => Some(format!("{} has no head (fc): {sentence}", self.path.display())),
        }
    }

    /// Gives a new net these weights and running statistics, but for a head of other classes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor that is missing or has another shape, or that the net has no place for.
    pub fn start<D: Device<Real = f32>, F: Field<D>>(
        &mut self,
        device: &D,
        config: &RunConfig,
        net: &mut Net<D, F>,
    ) -> Result<()> {
        let refuse = |problem: &str| Err(self.error(problem.into()));
        if config.net == NetKind::Tiny {
            return refuse("it has no weights for --net tiny: give --net resnet18 to resnet152, or --net staged");
        }
        if config.block == Block::PreActivation {
            return refuse("its blocks are no pre-activation blocks: give --block basic or bottleneck");
        }
        if config.tied {
            return refuse("its blocks have weights of their own, and --tied has one set: leave --tied out");
        }
        let own_head = self.notice(net.spec().classes).is_some();
        let mut used = vec![];
        for (ours, tensor) in net.checkpointed_mut() {
            if is_optimisers(&ours) {
                continue;
            }
            let shape = saved_shape(tensor.shape());
            let published = Published::of(&ours, &shape)
                .ok_or_else(|| self.error(format!("published nets have no tensor that {ours} is")))?;
            if !(own_head && ours.starts_with("head.")) {
                let mut values = self.values(&published.name, &published.shape(&shape), &ours)?;
                let factor = 1.0 / step_of(config, &ours);
                values.iter_mut().for_each(|value| *value *= factor as f32);
                device.upload(&published.to_ours(&shape, &values), tensor)?;
            }
            used.push(published.name);
        }
        used.sort();
        let mut left = self.header.offset_keys().into_iter().filter(|name| {
            !name.ends_with("num_batches_tracked") && !name.starts_with("fc.") && used.binary_search(name).is_err()
        });
        match left.next() {
            None => Ok(()),
            Some(name) => Err(self.error(format!(
                "it holds {name}, for which this net, {}, has no place: --net resnet18 to resnet152 name the published ones",
                config.net_flags()
            ))),
        }
    }

    /// A tensor's values.
    fn values(&mut self, name: &str, shape: &[usize], ours: &str) -> Result<Vec<f32>> {
        let info = self.header.info(name).ok_or_else(|| {
            self.error(format!("it holds no tensor {name}: name weights of a ResNet with torchvision's names"))
        })?;
        let size = match info.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            other => return Err(self.error(format!("{name} is {other:?}: F32, F16 and BF16 are read"))),
        };
        if info.shape != shape {
            let advice = match name {
                "conv1.weight" => "; --stem and --stem-width say what is needed",
                _ => "; --net resnet18 to resnet152 name the published nets",
            };
            return Err(self.error(format!("{name} has shape {:?}, and this net needs {shape:?}{advice}", info.shape)));
        }
        let (dtype, offset) = (info.dtype, info.data_offsets.0 as u64);
        let mut bytes = vec![0; size * shape.iter().product::<usize>()];
        (self.file.seek(SeekFrom::Start(self.data_start + offset)))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|e| self.error(format!("{name} cannot be read: {e}")))?;
        let (pairs, _) = bytes.as_chunks::<2>();
        let (fours, _) = bytes.as_chunks::<4>();
        let values: Vec<f32> = match dtype {
            Dtype::F16 => pairs.iter().map(|pair| f16::from_le_bytes(*pair).to_f32()).collect(),
            Dtype::BF16 => pairs.iter().map(|pair| bf16::from_le_bytes(*pair).to_f32()).collect(),
            _ => fours.iter().map(|four| f32::from_le_bytes(*four)).collect(),
        };
        match values.iter().find(|value| !may_hold(ours, **value)) {
            None => Ok(values),
            Some(value) => {
                let range = range_of(ours);
                Err(self.error(format!("{name} holds {value:e}, which is out of range ({range}): use other weights")))
            }
        }
    }

    fn error(&self, problem: String) -> Error {
        Error::Checkpoint { path: self.path.clone(), problem }
    }
}

/// What the values of a tensor of ours stand for one of a published net's by: the step size, for those that scale a block's whole increment.
fn step_of(config: &RunConfig, ours: &str) -> f64 {
    let last = match config.block {
        Block::Basic => ".bn2.",
        Block::Bottleneck => ".bn3.",
        // no published net has it, and none scales with its step
        Block::PreActivation => return 1.0,
    };
    let scales =
        ours.contains(".blocks.") && (ours.ends_with("weight") || ours.ends_with("bias")) && ours.contains(last);
    if config.form == Form::Torchvision || !scales {
        return 1.0;
    }
    blocks_of(config, ours).map_or(1.0, |depth| config.step_size.h(depth))
}

/// Residual blocks of the stage that a tensor of ours belongs to; none of one that there is no stage of.
fn blocks_of(config: &RunConfig, ours: &str) -> Option<usize> {
    let (stage, _) = ours.strip_prefix("stages.")?.split_once('.')?;
    config.blocks.get(stage.parse::<usize>().ok()?).copied()
}
