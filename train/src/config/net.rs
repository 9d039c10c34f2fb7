//! What a run's settings say of its net: which of the two it is, whether its sizes make sense, and how it is named.

use rewind::data::{CHANNELS, IMAGE};
use rewind::error::{Error, Result};
use rewind::field::bottleneck::EXPANSION;
use rewind::net::{Body, Stages};
use rewind::shape::Shape;

use crate::settings::{RunConfig, flagged};
use crate::values::{Block, NetKind, listed};

/// Bounds far above any machine, so that no size overflows.
const DEPTH_MAX: usize = 1_000_000;
const CHANNELS_MAX: usize = 65_536;

impl RunConfig {
    pub(super) fn validate_net(&self) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Usage(sentence));
        let Self { net, channels, blocks, widths, block, .. } = self;
        let staged = *net == NetKind::Staged;
        let (depths, channels, names) = match net {
            NetKind::Tiny => (self.depths(), std::slice::from_ref(channels), ["--depth", "--channels"]),
            NetKind::Staged => (self.depths(), &widths[..], ["--blocks", "--widths"]),
        };
        let given = names.map(|name| if name == names[0] { listed(depths) } else { listed(channels) });
        let [(depth_flag, of_depth), (width_flag, of_width)] = [(names[0], &given[0]), (names[1], &given[1])];
        if staged {
            Stages::new(blocks, widths).map_err(flagged)?;
            if depths.contains(&0) {
                return refuse(format!(
                    "{depth_flag} {of_depth} leaves a stage without a residual block: give 1 or more"
                ));
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
            NetKind::Staged => Some(Stages::new(&self.blocks, &self.widths).map_err(flagged)?),
        };
        Ok(Body { tied: self.tied, stages })
    }

    /// The net as a person names it: `depth 8, 16 channels`.
    pub fn net_name(&self) -> String {
        let Self { net, depth, channels, blocks, widths, block, tied, .. } = self;
        let mut name = match net {
            NetKind::Tiny => format!("depth {depth}, {channels} channels"),
            NetKind::Staged => format!("stages of {} residual blocks, {} channels", listed(blocks), listed(widths)),
        };
        if *block != Block::Basic {
            name += &format!(", {block}");
        }
        if *tied {
            name += ", tied";
        }
        name
    }

    /// The net by the flags that make it: `--depth 8 --channels 16 --stem 5x5`.
    pub fn net_flags(&self) -> String {
        let Self { net, depth, channels, stem, blocks, widths, block, tied, .. } = self;
        let mut flags = match net {
            NetKind::Tiny => format!("--depth {depth} --channels {channels} --stem {stem}"),
            NetKind::Staged => format!("--net staged --blocks {} --widths {}", listed(blocks), listed(widths)),
        };
        if *block != Block::Basic {
            flags += &format!(" --block {block}");
        }
        if *tied {
            flags += " --tied";
        }
        flags
    }

    /// Rows and columns of the smallest map on which batch norm works: each stage but the first halves them.
    pub(super) fn last_side(&self) -> usize {
        match self.net {
            NetKind::Tiny => self.stem.conv().output(Shape::map(1, IMAGE, IMAGE, CHANNELS), 1).h(),
            NetKind::Staged => (1..self.blocks.len()).fold(IMAGE, |side, _| side.div_ceil(2)),
        }
    }

    /// Residual functions of each stage.
    pub fn depths(&self) -> &[usize] {
        match self.net {
            NetKind::Tiny => std::slice::from_ref(&self.depth),
            NetKind::Staged => &self.blocks,
        }
    }

    /// Residual functions in all, and channels of the widest stage.
    pub fn extent(&self) -> (usize, usize) {
        let channels = match self.net {
            NetKind::Tiny => self.channels,
            NetKind::Staged => self.widths.iter().copied().max().unwrap_or(0),
        };
        (self.depths().iter().sum(), channels)
    }
}
