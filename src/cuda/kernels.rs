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
            pub conv_any: ByMath,
            pub conv_any_64: ByMath,
            pub norm_relu_conv: ByTile,
            pub conv_grad_x: ByTile,
            pub conv_grad_x_any: ByMath,
            pub conv_grad_w: ByTile,
            pub conv_grad_w_any: ByMath,
            pub conv_grad_w_any_64: ByMath,
            pub norm_relu_conv_step: ByTile,
            pub norm_relu_conv_sums: ByTile,
            pub bn_grad_conv_relu: ByTile,
            pub bn_grad_conv_acc: ByTile,
            pub encode: ByBits,
            pub norm_encode: ByBits,
            pub decode: ByBits,
            pub euler_step: ByChannels,
            pub code_step: ByChannels,
            pub inverse_vjp: ByChannels,
            pub decode_vjp: ByChannels,
        }

        impl Kernels {
            /// Looks every kernel up.
            ///
            /// # Errors
            /// A kernel that is missing, by name.
            pub fn find(images: &Images) -> Result<Kernels> {
                Ok(Kernels {
                    $($($name: images.find($file, stringify!($name))?,)+)+
                    conv: ByTile::find(images, "conv", "conv")?,
                    conv_any: ByMath::find(images, "conv", "conv", "any")?,
                    conv_any_64: ByMath::find(images, "conv", "conv", "any_64")?,
                    norm_relu_conv: ByTile::find(images, "conv", "norm_relu_conv")?,
                    conv_grad_x: ByTile::find(images, "conv", "conv_grad_x")?,
                    conv_grad_x_any: ByMath::find(images, "conv", "conv_grad_x", "any")?,
                    conv_grad_w: ByTile::find(images, "conv_grad_w", "conv_grad_w")?,
                    conv_grad_w_any: ByMath::find(images, "conv_grad_w", "conv_grad_w", "any")?,
                    conv_grad_w_any_64: ByMath::find(images, "conv_grad_w", "conv_grad_w", "any_64")?,
                    norm_relu_conv_step: ByTile::find(images, "conv_block", "norm_relu_conv_step")?,
                    norm_relu_conv_sums: ByTile::find(images, "conv_block", "norm_relu_conv_sums")?,
                    bn_grad_conv_relu: ByTile::find(images, "conv_block", "bn_grad_conv_relu")?,
                    bn_grad_conv_acc: ByTile::find(images, "conv_block", "bn_grad_conv_acc")?,
                    encode: ByBits::find(images, "encode")?,
                    norm_encode: ByBits::find(images, "norm_encode")?,
                    decode: ByBits::find(images, "decode")?,
                    euler_step: ByChannels::find(images, "small_block", "euler_step")?,
                    code_step: ByChannels::find(images, "small_block", "code_step")?,
                    inverse_vjp: ByChannels::find(images, "small_block", "inverse_vjp")?,
                    decode_vjp: ByChannels::find(images, "small_block", "decode_vjp")?,
                })
            }
        }
    };
}

kernels! {
    "elementwise": fill copy axpby relu relu_grad activate activate_grad squared_distance any_not_finite sgd sgd_block;
    "batch_norm": bn_stats bn_running_stats bn_apply norm_relu norm_step bn_grad_sums norm_relu_grad_sums bn_grad_z;
    "conv_half": conv_half norm_relu_conv_half norm_relu_conv_step_half norm_relu_conv_sums_half bn_grad_conv_relu_half
        bn_grad_conv_acc_half;
    "grad_w_half": grad_w_half grad_w_total;
    "code": code_start code_round code_scale judge;
    "draw_batch": draw_batch;
    "head": avg_pool avg_pool_grad linear linear_grad_x linear_grad_w softmax_cross_entropy head_loss head_grads;
    "mask": relu_mask relu_replay;
    "record_step": record_step;
}

/// The place of an arithmetic's form among [TF32, full f32]: what has no form in f16 takes TF32's.
const fn form(math: Math) -> usize {
    match math {
        Math::Tf32 | Math::Fp16 => 0,
        Math::Fp32 => 1,
    }
}

/// A kernel's forms by arithmetic.
pub struct ByMath([CudaFunction; 2]);

impl ByMath {
    fn find(images: &Images, file: &str, name: &str, tile: &str) -> Result<ByMath> {
        let of = |math: &str| images.find(file, &format!("{name}_{math}_{tile}"));
        Ok(ByMath([of("tf32")?, of("fp32")?]))
    }

    /// The form for an arithmetic.
    pub fn of(&self, math: Math) -> &CudaFunction {
        &self.0[form(math)]
    }
}

/// A convolution kernel's forms, by tile and arithmetic.
pub struct ByTile([ByMath; 3]);

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
    fn find(images: &Images, file: &str, name: &str) -> Result<ByTile> {
        let of = |tile: &str| ByMath::find(images, file, name, tile);
        Ok(ByTile([of("16")?, of("32")?, of("64")?]))
    }

    /// The form for a tile.
    pub fn of(&self, math: Math, tile: Tile) -> &CudaFunction {
        self.0[tile as usize].of(math)
    }
}

/// A kernel of a whole block, by arithmetic, in the order of [`Math`], and its 16 or 32 channels.
pub struct ByChannels([[CudaFunction; 2]; 3]);

impl ByChannels {
    fn find(images: &Images, file: &str, name: &str) -> Result<ByChannels> {
        let of = |math: &str| -> Result<[CudaFunction; 2]> {
            let one = |channels: &str| images.find(file, &format!("{name}_{math}_{channels}"));
            Ok([one("16")?, one("32")?])
        };
        Ok(ByChannels([of("tf32")?, of("fp32")?, of("fp16")?]))
    }

    /// The form for 16 channels, or for 32.
    pub fn of(&self, math: Math, wide: bool) -> &CudaFunction {
        &self.0[math as usize][usize::from(wide)]
    }

    /// All forms.
    pub fn all(&self) -> impl Iterator<Item = &CudaFunction> {
        self.0.iter().flatten()
    }
}

/// A kernel's forms by bits of a code, in the order of [`Bits::ALL`].
pub struct ByBits([CudaFunction; 4]);

impl ByBits {
    fn find(images: &Images, name: &str) -> Result<ByBits> {
        let [one, two, four, eight] = Bits::ALL.map(|bits| images.find("code", &format!("{name}_{bits}")));
        Ok(ByBits([one?, two?, four?, eight?]))
    }

    /// The form for that many bits.
    pub fn of(&self, bits: Bits) -> &CudaFunction {
        &self.0[bits as usize]
    }
}
