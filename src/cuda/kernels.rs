//! The kernels, by name: looked up once when the device opens.

use cudarc::driver::CudaFunction;

use super::images::Images;
use crate::config::Math;
use crate::error::Result;

macro_rules! kernels {
    ($($file:literal: $($name:ident)+;)+) => {
        /// Every kernel that stands alone.
        pub struct Kernels {
            $($(pub $name: CudaFunction,)+)+
            pub conv: ByTile,
            pub conv_grad_x: ByTile,
            pub norm_relu_conv: ByTile,
            pub conv_grad_w: ByTile,
            pub euler_step: ByChannels,
            pub inverse_vjp: ByChannels,
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
                    conv_grad_x: ByTile::find(images, "conv", "conv_grad_x")?,
                    norm_relu_conv: ByTile::find(images, "conv", "norm_relu_conv")?,
                    conv_grad_w: ByTile::find(images, "conv_grad_w", "conv_grad_w")?,
                    euler_step: ByChannels::find(images, "small_block", "euler_step")?,
                    inverse_vjp: ByChannels::find(images, "small_block", "inverse_vjp")?,
                })
            }
        }
    };
}

kernels! {
    "elementwise": fill copy axpby relu relu_grad squared_distance_partial squared_distance_total any_not_finite sgd
        sgd_block;
    "batch_norm": bn_moments bn_finalize bn_running_stats bn_apply norm_relu norm_step bn_grad_sums_partial
        bn_grad_sums_total bn_grad_z;
    "conv_grad_w": conv_grad_w_total;
    "draw_batch": draw_batch;
    "head": avg_pool avg_pool_grad linear linear_grad_x linear_grad_w softmax_cross_entropy;
    "record_step": record_step;
}

/// A convolution kernel's forms, by arithmetic and tile: output channels in tiles of 16, 32 or 64, or whatever comes.
pub struct ByTile([[CudaFunction; 4]; 2]);

/// Channels of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 16, and every channel count a multiple of 16.
    By16,
    /// 32.
    By32,
    /// 64.
    By64,
    /// 16, and channel counts that need not fit.
    Any,
}

impl Tile {
    /// The largest tile that fits `made` output channels where `vector` copies are possible.
    pub fn of(made: usize, vector: bool) -> Tile {
        match made {
            _ if !vector || !made.is_multiple_of(16) => Tile::Any,
            _ if made.is_multiple_of(64) => Tile::By64,
            _ if made.is_multiple_of(32) => Tile::By32,
            _ => Tile::By16,
        }
    }

    /// Channels.
    pub const fn channels(self) -> usize {
        match self {
            Tile::By16 | Tile::Any => 16,
            Tile::By32 => 32,
            Tile::By64 => 64,
        }
    }
}

impl ByTile {
    fn find(images: &Images, file: &str, name: &str) -> Result<ByTile> {
        let of = |math: &str| -> Result<[CudaFunction; 4]> {
            let one = |tile: &str| images.find(file, &format!("{name}_{math}_{tile}"));
            Ok([one("16")?, one("32")?, one("64")?, one("any")?])
        };
        Ok(ByTile([of("tf32")?, of("fp32")?]))
    }

    /// The form for a tile.
    pub fn of(&self, math: Math, tile: Tile) -> &CudaFunction {
        &self.0[math as usize][tile as usize]
    }
}

/// A kernel of a whole block, by arithmetic and its 16 or 32 channels.
pub struct ByChannels([[CudaFunction; 2]; 2]);

impl ByChannels {
    fn find(images: &Images, file: &str, name: &str) -> Result<ByChannels> {
        let of = |math: &str| -> Result<[CudaFunction; 2]> {
            let one = |channels: &str| images.find(file, &format!("{name}_{math}_{channels}"));
            Ok([one("16")?, one("32")?])
        };
        Ok(ByChannels([of("tf32")?, of("fp32")?]))
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
