//! The least time that a block-step's products and bytes take, whatever the kernels.

use super::GPU;
use super::case::{Block, Case};
use super::form::Way;
use rewind::device::Math;

/// The formulas, for the file's header.
pub const FORMULAS: [&str; 8] = [
    "floor_tensor_us = evaluations x FLOP of an evaluation / (dense peak of the arithmetic x what mma.sync reaches of it);",
    "  evaluations: 5 reconstructed (one forward, two to rebuild the state, two for the VJP), 4 coded, 3 stored;",
    "  FLOP: 2 per multiply-add of the block's convolutions, padding counted.",
    "floor_bytes_us = bytes read and written by a chain of fused kernels / bandwidth: L2's where the working set fits into L2, else DRAM's;",
    "  basic: 7 + 20 passes over the state x in f32 (reconstructed), 9 + 15 (coded);",
    "  bottleneck: 5 + 15 passes over x and 4 + 22 over maps of a quarter of its channels;",
    "  first block: 7 passes over its input, 16 over its output, 9 over what conv1 makes and 9 over what conv2 makes.",
    "The floor of a block-step is the larger of both; binding says which.",
];

/// Maps that a block's backward step works on: x, x~, z1, z2, g, and the cotangent between the convolutions.
const WORKING_SET: u64 = 6;

/// The floor.
pub struct Floor {
    pub tensor_us: f64,
    pub bytes_us: f64,
    /// Bytes that it stands for.
    pub bytes: u64,
    /// Whether the working set fits into L2.
    pub in_cache: bool,
}

impl Floor {
    pub fn of(case: &Case, way: Way, math: Math) -> Floor {
        let layouts = case.layouts();
        let map_bytes = |len: usize| (size_of::<f32>() * len) as u64;
        let x = map_bytes(case.map.len());
        let y = map_bytes(layouts[0].output().len());
        let inner = |l: usize| map_bytes(layouts[0].layers[l].output().len());
        let bytes = match (case.block, way) {
            (Block::Basic, Way::Coded) => (9 + 15) * x,
            (Block::Basic, _) => (7 + 20) * x,
            (Block::Bottleneck, _) => (5 + 15) * x + (4 + 22) * inner(1),
            (Block::First { .. }, _) => 7 * x + 16 * y + 9 * (inner(0) + inner(1)),
        };
        let in_cache = x + (WORKING_SET - 1) * y <= u64::from(GPU.l2_bytes);
        let bandwidth = if in_cache { GPU.l2_bandwidth } else { GPU.dram_bandwidth() };
        let layers = layouts.iter().flat_map(|layout| &layout.layers);
        let evaluation: u64 = layers.map(|layer| layer.conv.flop(layer.input, layer.channels)).sum();
        let peak = if math == Math::Fp16 { GPU.tensor.f16 } else { GPU.tensor.tf32 };
        let tensor_us = (way.evaluations() * evaluation) as f64 / (peak * GPU.mma_sync) * 1e6;
        Floor { tensor_us, bytes_us: bytes as f64 / bandwidth * 1e6, bytes, in_cache }
    }

    pub fn us(&self) -> f64 {
        self.tensor_us.max(self.bytes_us)
    }

    /// What the floor is short of.
    pub fn binding(&self) -> &'static str {
        match (self.tensor_us > self.bytes_us, self.in_cache) {
            (true, _) => "tensor",
            (false, true) => "L2",
            (false, false) => "DRAM",
        }
    }
}
