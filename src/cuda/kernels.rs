//! The kernels, by name: looked up once when the device opens.

use cudarc::driver::CudaFunction;

use super::images::Images;
use crate::code::Bits;
use crate::device::Math;
use crate::error::Result;

macro_rules! kernels {
    ($($file:literal: $($name:ident)+;)+) => {
        /// Every kernel that stands alone.
        pub struct Kernels {
            $($(pub $name: CudaFunction,)+)+
            pub conv: ByTile,
            pub conv_any: ByAny,
            pub norm_relu_conv: ByTile,
            pub conv_grad_x: ByTile,
            pub conv_grad_x_any: ByMath,
            pub conv_grad_w: ByTile,
            pub conv_grad_w_any: ByAny,
            pub norm_relu_conv_step: ByTile,
            pub norm_relu_conv_sums: ByTile,
            pub bn_grad_conv_relu: ByTile,
            pub bn_grad_conv_acc: ByTile,
            pub conv_half: ByShort,
            pub norm_relu_conv_half: ByShort,
            pub norm_relu_conv_step_half: ByShort,
            pub norm_relu_conv_sums_half: ByShort,
            pub bn_grad_conv_relu_half: ByShort,
            pub bn_grad_conv_acc_half: ByShort,
            pub grad_w_half: ByShort,
            pub encode: ByBits,
            pub norm_encode: ByBits,
            pub decode: ByBits,
            pub euler_step: ByBlock,
            pub code_step: ByBlock,
            pub inverse_vjp: ByBlock,
            pub decode_vjp: ByBlock,
        }

        impl Kernels {
            /// Looks every kernel up.
            ///
            /// # Errors
            /// A kernel that is missing, by name.
            pub fn find(images: &Images) -> Result<Kernels> {
                let family = |file, name, list| -> Result<Vec<CudaFunction>> {
                    instances(list).map(|form| images.find(file, &format!("{name}_{form}"))).collect()
                };
                Ok(Kernels {
                    $($($name: images.find($file, stringify!($name))?,)+)+
                    conv: ByTile(family("conv", "conv", "TILE")?),
                    conv_any: ByAny(family("conv", "conv", "ANY")?),
                    norm_relu_conv: ByTile(family("conv", "norm_relu_conv", "TILE")?),
                    conv_grad_x: ByTile(family("conv", "conv_grad_x", "TILE")?),
                    conv_grad_x_any: ByMath(family("conv", "conv_grad_x", "MATH")?),
                    conv_grad_w: ByTile(family("conv_grad_w", "conv_grad_w", "TILE")?),
                    conv_grad_w_any: ByAny(family("conv_grad_w", "conv_grad_w", "ANY")?),
                    norm_relu_conv_step: ByTile(family("conv_block", "norm_relu_conv_step", "TILE")?),
                    norm_relu_conv_sums: ByTile(family("conv_block", "norm_relu_conv_sums", "TILE")?),
                    bn_grad_conv_relu: ByTile(family("conv_block", "bn_grad_conv_relu", "TILE")?),
                    bn_grad_conv_acc: ByTile(family("conv_block", "bn_grad_conv_acc", "TILE")?),
                    conv_half: ByShort(family("conv_half", "conv", "SHORT")?),
                    norm_relu_conv_half: ByShort(family("conv_half", "norm_relu_conv", "SHORT")?),
                    norm_relu_conv_step_half: ByShort(family("conv_half", "norm_relu_conv_step", "SHORT")?),
                    norm_relu_conv_sums_half: ByShort(family("conv_half", "norm_relu_conv_sums", "SHORT")?),
                    bn_grad_conv_relu_half: ByShort(family("conv_half", "bn_grad_conv_relu", "SHORT")?),
                    bn_grad_conv_acc_half: ByShort(family("conv_half", "bn_grad_conv_acc", "SHORT")?),
                    grad_w_half: ByShort(family("grad_w_half", "grad_w", "SHORT")?),
                    encode: ByBits(family("code", "encode", "CODE")?),
                    norm_encode: ByBits(family("code", "norm_encode", "CODE")?),
                    decode: ByBits(family("code", "decode", "CODE")?),
                    euler_step: ByBlock(family("small_block", "euler_step", "BLOCK")?),
                    code_step: ByBlock(family("small_block", "code_step", "BLOCK")?),
                    inverse_vjp: ByBlock(family("small_block", "inverse_vjp", "BLOCK")?),
                    decode_vjp: ByBlock(family("small_block", "decode_vjp", "BLOCK")?),
                })
            }
        }
    };
}

kernels! {
    "adamw": count_step adamw_block;
    "elementwise": fill copy axpby relu relu_grad activate activate_grad squared_distance any_not_finite sgd sgd_block;
    "gradients": squares_block clip_block average_block;
    "batch_norm": bn_stats bn_running_stats bn_apply norm_relu norm_step bn_grad_sums norm_relu_grad_sums bn_grad_z;
    "grad_w_half": grad_w_total;
    "code": code_start code_round code_scale judge;
    "draw_batch": draw_batch;
    "head": avg_pool avg_pool_grad linear linear_grad_x linear_grad_w softmax_cross_entropy head_loss head_grads;
    "max_pool": max_pool max_pool_grad;
    "mask": relu_mask relu_replay;
    "record_step": record_step;
}

/// The lists of forms that the kernels are made from.
const INSTANCES: &str = include_str!("../../kernels/instances.cuh");

/// The names of a list of instances.cuh, in order: what `MAKE(name, ..)` begins with.
fn instances(list: &str) -> impl Iterator<Item = &'static str> {
    let head = format!("#define FOR_EACH_{list}(MAKE)");
    let lines = INSTANCES.lines().skip_while(move |line| !line.starts_with(&head)).skip(1);
    let made = lines.map_while(|line| line.trim_start().strip_prefix("MAKE("));
    made.filter_map(|rest| rest.split([',', ')']).next())
}

/// The place of an arithmetic's form among [TF32, full f32]: what has no form in 16 bits takes TF32's.
const fn form(math: Math) -> usize {
    match math {
        Math::Tf32 | Math::Fp16 | Math::Bf16 => 0,
        Math::Fp32 => 1,
    }
}

/// A kernel's forms by arithmetic.
pub struct ByMath(Vec<CudaFunction>);

impl ByMath {
    /// The form for an arithmetic.
    pub fn of(&self, math: Math) -> &CudaFunction {
        &self.0[form(math)]
    }
}

/// A convolution kernel's forms for any channels, by arithmetic and tile.
pub struct ByAny(Vec<CudaFunction>);

impl ByAny {
    /// The form with tiles of 16 channels, or of 64.
    pub fn of(&self, math: Math, wide: bool) -> &CudaFunction {
        &self.0[2 * form(math) + usize::from(wide)]
    }
}

/// A convolution kernel's forms, by arithmetic and tile.
pub struct ByTile(Vec<CudaFunction>);

/// Channels of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 16.
    By16,
    /// 32.
    By32,
    /// 64.
    By64,
}

impl Tile {
    /// The largest tile that divides `channels`, if any does.
    pub fn of(channels: usize) -> Option<Tile> {
        [Tile::By64, Tile::By32, Tile::By16].into_iter().find(|tile| channels.is_multiple_of(tile.channels()))
    }

    /// Channels.
    pub const fn channels(self) -> usize {
        match self {
            Tile::By16 => 16,
            Tile::By32 => 32,
            Tile::By64 => 64,
        }
    }
}

impl ByTile {
    /// The form for a tile.
    pub fn of(&self, math: Math, tile: Tile) -> &CudaFunction {
        &self.0[3 * form(math) + tile as usize]
    }
}

/// A kernel of blocks on small maps, by arithmetic and its 16 or 32 channels.
pub struct ByBlock(Vec<CudaFunction>);

impl ByBlock {
    /// The form for 16 channels, or for 32.
    pub fn of(&self, math: Math, wide: bool) -> &CudaFunction {
        &self.0[2 * math as usize + usize::from(wide)]
    }

    /// All forms.
    pub fn all(&self) -> impl Iterator<Item = &CudaFunction> {
        self.0.iter()
    }
}

/// A kernel's forms by what its factors' 16 bits are, f16 or bf16, and tile.
pub struct ByShort(Vec<CudaFunction>);

impl ByShort {
    /// The form for an arithmetic and a tile.
    pub fn of(&self, math: Math, tile: Tile) -> &CudaFunction {
        &self.0[3 * usize::from(math == Math::Bf16) + tile as usize]
    }

    /// All forms.
    pub fn all(&self) -> impl Iterator<Item = &CudaFunction> {
        self.0.iter()
    }
}

/// A kernel's forms by bits of a code, in the order of [`Bits::ALL`].
pub struct ByBits(Vec<CudaFunction>);

impl ByBits {
    /// The form for that many bits.
    pub fn of(&self, bits: Bits) -> &CudaFunction {
        &self.0[bits as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_have_the_order_of_the_tables() {
        let of = |list| instances(list).collect::<Vec<_>>();
        let maths = [Math::Tf32, Math::Fp32, Math::Fp16, Math::Bf16];
        assert_eq!(maths.map(|math| math as usize), [0, 1, 2, 3]);
        let tiles = [Tile::By16, Tile::By32, Tile::By64];
        let by = |maths: &[Math], tails: &[&str]| -> Vec<String> {
            maths.iter().flat_map(|math| tails.iter().map(move |tail| format!("{math}_{tail}"))).collect()
        };
        assert_eq!(tiles.map(|tile| (tile as usize, tile.channels())), [(0, 16), (1, 32), (2, 64)]);
        assert_eq!(of("TILE"), by(&maths[..2], &["16", "32", "64"]));
        assert_eq!(of("ANY"), by(&maths[..2], &["any", "any_64"]));
        assert_eq!(of("MATH"), by(&maths[..2], &["any"]));
        assert_eq!(of("BLOCK"), by(&maths, &["16", "32"]));
        let short = by(&maths[2..], &["16", "32", "64"]).into_iter().map(|form| format!("half_{form}"));
        assert_eq!(of("SHORT"), short.collect::<Vec<_>>());
        assert_eq!(of("CODE"), Bits::ALL.map(|bits| bits.to_string()));
    }
}
