//! A trained net's weights as a file that others read.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::path::Path;

use half::{bf16, f16};
use rewind::error::{Error, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};

use super::names::Published;
use super::{blocks_of, step_of};
use crate::atomic::write_atomically;
use crate::checkpoint::Checkpoint;
use crate::config::{Block, Form, NetKind};

/// The numbers of an exported file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportAs {
    /// 32 bits, as trained.
    #[default]
    F32,
    /// 16 bits with a mantissa of 10.
    F16,
    /// 16 bits with the range of 32.
    Bf16,
}

impl fmt::Display for ExportAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl ExportAs {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        }
    }
}

/// What was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Tensors.
    pub tensors: usize,
    /// Bytes of the file.
    pub bytes: usize,
    /// Whether a net of torchvision's computes the same with them: it has ReLUs that one of the paper's form has not.
    pub same: bool,
}

/// Writes a checkpoint's weights and running statistics with torchvision's names and axes: `load_state_dict` takes them strictly.
///
/// # Errors
/// [`Error::Checkpoint`] if its net is of a kind that torchvision has not, [`Error::Usage`] if a value is too large for 16 bits,
/// [`Error::Io`].
pub fn export(checkpoint: &Checkpoint, to: &Path, numbers: ExportAs) -> Result<Exported> {
    let config = &checkpoint.state().config;
    if config.net == NetKind::Tiny || config.block == Block::PreActivation {
        return Err(checkpoint.error(format!(
            "its net, {}, is none that torchvision has: the README says how PyTorch reads it",
            config.net_flags()
        )));
    }
    let mut tensors = Vec::new();
    for (name, shape) in checkpoint.weights() {
        let values = checkpoint.tensor(&checkpoint.answering(&name), &shape)?;
        let factor = step_of(config, &name) as f32;
        let scaled: Vec<f32> = values.iter().map(|value| value * factor).collect();
        // what all blocks of a stage share is written for each
        let names = match (name.contains(".blocks.shared."), blocks_of(config, &name)) {
            (true, Some(blocks)) => (0..blocks).map(|n| name.replace(".shared.", &format!(".{n}."))).collect(),
            _ => vec![name],
        };
        for name in names {
            let published = Published::of(&name, &shape)
                .ok_or_else(|| checkpoint.error(format!("torchvision has no tensor that {name} is")))?;
            let theirs = published.to_theirs(&shape, &scaled);
            if numbers == ExportAs::F16 && theirs.iter().any(|value| f16::from_f32(*value).is_infinite()) {
                return Err(Error::Usage(format!(
                    "--dtype f16 cannot hold {name}, whose largest value is beyond 65504: give bf16"
                )));
            }
            tensors.push((published.name.clone(), published.shape(&shape), numbers.bytes(&theirs)));
        }
    }
    let failed = |e: safetensors::SafeTensorError| Error::io("write", to)(std::io::Error::other(e.to_string()));
    let views = (tensors.iter())
        .map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(numbers.dtype(), shape.clone(), bytes).map_err(failed)?))
        })
        .collect::<Result<Vec<_>>>()?;
    // what loaders of PyTorch's look for
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let file = serialize(views, Some(metadata)).map_err(failed)?;
    write_atomically(to, |out| out.write_all(&file))?;
    Ok(Exported { tensors: tensors.len(), bytes: file.len(), same: config.form == Form::Torchvision })
}
