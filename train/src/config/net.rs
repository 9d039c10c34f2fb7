//! What a run's settings say of its net: which of the two it is, whether its sizes make sense, and how it is named.

use rewind::error::{Error, Result};
use rewind::field::bottleneck::EXPANSION;
use rewind::net::{Body, POOL, Stages, Stem};
use rewind::scheme::StepSize;

use crate::settings::{RunConfig, flagged};
use crate::values::{Block, Form, NetKind, Preset, StageList, listed};

/// Bounds far above any machine, so that no size overflows.
const DEPTH_MAX: usize = 1_000_000;
const CHANNELS_MAX: usize = 65_536;
/// Images of so many rows and columns, and larger ones, are treated as ImageNet's, and smaller ones as CIFAR's.
pub(crate) const LARGE: usize = 64;

impl RunConfig {
    pub(super) fn validate_net(&self) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Usage(sentence));
        let Self { net, channels, blocks, widths, block, stem_width, .. } = self;
        let staged = *net != NetKind::Tiny;
        let (depths, channels, names) = match staged {
            false => (self.depths(), std::slice::from_ref(channels), ["--depth", "--channels"]),
            true => (self.depths(), &widths[..], ["--blocks", "--widths"]),
        };
        if let Some(preset) = net.preset() {
            let Preset { blocks, widths, .. } = preset;
            return refuse(format!(
                "the net {net} is a name for others: give --net staged --blocks {} --widths {}",
                listed(&blocks),
                listed(&widths)
            ));
        }
        let given = names.map(|name| if name == names[0] { listed(depths) } else { listed(channels) });
        let [(depth_flag, of_depth), (width_flag, of_width)] = [(names[0], &given[0]), (names[1], &given[1])];
        if staged {
            Stages::new(blocks, widths).map_err(flagged)?;
            if depths.contains(&0) {
                return refuse(format!(
                    "{depth_flag} {of_depth} leaves a stage without a residual block: give 1 or more"
                ));
            }
            if let Some(StageList(swept)) = &self.sweep_stages {
                let stages = blocks.len();
                if let Some(stage) = swept.iter().find(|stage| !(1..=stages).contains(*stage)) {
                    return refuse(format!(
                        "--sweep-stages names stage {stage} of a net that has {stages}: give 1 to {stages}"
                    ));
                }
            }
            let scheme = self.sweep.scheme;
            if !depths.iter().all(|depth| scheme.takes(*depth)) {
                let (span, taken) = (scheme.span(), scheme.depths());
                return refuse(format!(
                    "--scheme {scheme} uses {span} neighbouring blocks per step: {depth_flag} {of_depth} must be {taken} each"
                ));
            }
        }
        depths.iter().try_for_each(|depth| self.sweep.validate(*depth)).map_err(flagged)?;
        if self.form == Form::Torchvision {
            if self.step_size != StepSize::One {
                return refuse(format!(
                    "--form torchvision adds whole blocks, so that --step-size must be 1, not {}",
                    self.step_size
                ));
            }
            self.sweep.check_post_activation().map_err(flagged)?;
            if *block == Block::PreActivation {
                return refuse(
                    "--form torchvision has a ReLU behind the sum, and --block pre-activation begins with one: leave one out".into(),
                );
            }
        }
        if channels.contains(&0) {
            return refuse(format!("{width_flag} {of_width} leaves nothing to compute: give 1 or more"));
        }
        for (flag, of, values, largest) in
            [(depth_flag, of_depth, depths, DEPTH_MAX), (width_flag, of_width, channels, CHANNELS_MAX)]
        {
            if values.iter().any(|value| *value > largest) {
                return refuse(format!("{flag} {of} is more than this program takes: give {largest} or less"));
            }
        }
        if let Some(width) = stem_width.filter(|width| !(1..=CHANNELS_MAX).contains(width)) {
            return refuse(format!("--stem-width {width} is no width of a stem: give 1 to {CHANNELS_MAX}"));
        }
        if *block == Block::Bottleneck && channels.iter().any(|channels| !channels.is_multiple_of(EXPANSION)) {
            return refuse(format!(
                "--block bottleneck narrows to a quarter of the channels: {width_flag} {of_width} must be multiples of {EXPANSION}"
            ));
        }
        if self.init_from.as_deref() == Some("") {
            return refuse("--init-from is empty: name a checkpoint.safetensors".into());
        }
        Ok(())
    }

    /// What the net is made of between stem and head.
    ///
    /// # Errors
    /// As [`RunConfig::validate`].
    pub fn body(&self) -> Result<Body> {
        let stages = match self.net {
            NetKind::Tiny => None,
            _ => Some(Stages::new(&self.blocks, &self.widths).map_err(flagged)?),
        };
        let post_activation = self.form == Form::Torchvision;
        let swept =
            self.sweep_stages.as_ref().map(|StageList(swept)| std::array::from_fn(|s| swept.contains(&(s + 1))));
        Ok(Body { tied: self.tied, stages, stem_width: self.stem_width, post_activation, swept })
    }

    /// The net as a person names it: `depth 8, 16 channels`.
    pub fn net_name(&self) -> String {
        let Self { net, depth, channels, blocks, widths, block, form, tied, .. } = self;
        let mut name = match net {
            NetKind::Tiny => format!("depth {depth}, {channels} channels"),
            _ => format!("stages of {} residual blocks, {} channels", listed(blocks), listed(widths)),
        };
        if *block != Block::Basic {
            name += &format!(", {block}");
        }
        if *form == Form::Torchvision {
            name += ", torchvision's form";
        }
        if *tied {
            name += ", tied";
        }
        name
    }

    /// The net by the flags that make it: `--depth 8 --channels 16 --stem 5x5`.
    pub fn net_flags(&self) -> String {
        let Self { net, depth, channels, blocks, widths, stem_width, block, form, tied, .. } = self;
        let stem = self.stem();
        let mut flags = match net {
            NetKind::Tiny => format!("--depth {depth} --channels {channels} --stem {stem}"),
            _ => format!("--net staged --blocks {} --widths {}", listed(blocks), listed(widths)),
        };
        // as all checkpoints have it that were written before staged nets had a choice
        if *net != NetKind::Tiny && stem != Stem::Same3x3 {
            flags += &format!(" --stem {stem}");
        }
        if let Some(width) = stem_width {
            flags += &format!(" --stem-width {width}");
        }
        if *block != Block::Basic {
            flags += &format!(" --block {block}");
        }
        if *form != Form::Ode {
            flags += &format!(" --form {form}");
        }
        if *tied {
            flags += " --tied";
        }
        flags
    }

    /// The stem that was given, or else that of the kind of net, on such images.
    pub fn stem(&self) -> Stem {
        self.stem.unwrap_or(match (self.net, self.image) {
            (NetKind::Tiny, _) => Stem::Strided5x5,
            (_, Some(LARGE..)) => Stem::Pooled7x7,
            _ => Stem::Same3x3,
        })
    }

    /// Refuses images of `side` rows and columns if they are too small for the net.
    pub(super) fn validate_side(&self, side: usize) -> Result<()> {
        let stem = self.stem();
        let conv = stem.conv();
        // a tiny net's head takes windows of the stem's map
        let least = if self.net == NetKind::Tiny { POOL } else { 1 };
        if side + 2 * conv.padding >= conv.kernel && stem.out(side) >= least {
            return Ok(());
        }
        let needed = (1..).find(|side| side + 2 * conv.padding >= conv.kernel && stem.out(*side) >= least);
        Err(Error::Usage(format!(
            "images of {side} x {side} are too small for --stem {stem}: give {} or more (--image), or another stem",
            needed.unwrap_or(side)
        )))
    }

    /// Rows and columns of the smallest map on which batch norm works, of images of `side`: each stage but the first halves them.
    pub(super) fn last_side(&self, side: usize) -> usize {
        let of_stem = self.stem().out(side);
        match self.net {
            NetKind::Tiny => of_stem,
            _ => (1..self.blocks.len()).fold(of_stem, |side, _| side.div_ceil(2)),
        }
    }

    /// Residual functions of each stage.
    pub fn depths(&self) -> &[usize] {
        match self.net {
            NetKind::Tiny => std::slice::from_ref(&self.depth),
            _ => &self.blocks,
        }
    }

    /// Residual functions in all, and channels of the widest stage.
    pub fn extent(&self) -> (usize, usize) {
        let channels = match self.net {
            NetKind::Tiny => self.channels,
            _ => self.widths.iter().copied().max().unwrap_or(0),
        };
        (self.depths().iter().sum(), channels)
    }
}
