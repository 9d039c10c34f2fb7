//! Occupancy queries.

use std::sync::Arc;

use super::code::{Code, Result};
use super::function::{max_threads, registers};
use super::state::{Find, Handle, in_context};
use crate::exec::Kernel;
use crate::profile::{Profile, blocks_per_sm, max_potential_block_size};

/// `CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE`, the one flag; it has no effect on devices of these profiles.
const ALL_FLAGS: u32 = 1;

fn kernel(function: Handle) -> Result<(Arc<Kernel>, &'static Profile)> {
    in_context(|d, _| Ok((d.functions.find(function)?.kernel.clone(), d.machine.profile)))
}

fn active(out: &Out<i32>, function: Handle, block: i32, dynamic: usize, flags: u32) -> Result<()> {
    let (kernel, profile) = kernel(function)?;
    let threads = u32::try_from(block).ok().filter(|&n| n > 0).ok_or(Code::INVALID_VALUE)?;
    if flags > ALL_FLAGS {
        return Err(Code::INVALID_VALUE);
    }
    let dynamic = u32::try_from(dynamic).unwrap_or(u32::MAX);
    let fits = threads <= max_threads(&kernel, profile);
    let shared = kernel.static_shared.saturating_add(dynamic);
    let blocks = blocks_per_sm(profile, threads, registers(&kernel, profile), shared).blocks;
    out.put(if fits { blocks as i32 } else { 0 })
}

type SharedOfBlock = Option<extern "C" fn(i32) -> usize>;

fn potential(
    grid: &Out<i32>,
    block: &Out<i32>,
    function: Handle,
    of_block: SharedOfBlock,
    dynamic: usize,
    limit: i32,
    flags: u32,
) -> Result<()> {
    // The program's function is called without the lock: it may call the driver.
    let (kernel, profile) = kernel(function)?;
    if limit < 0 || flags > ALL_FLAGS {
        return Err(Code::INVALID_VALUE);
    }
    let own = max_threads(&kernel, profile);
    let limit = if limit == 0 { own } else { own.min(limit as u32) };
    let shared = |threads: u32| {
        let dynamic = of_block.map_or(dynamic, |of_block| of_block(threads as i32));
        kernel.static_shared.saturating_add(u32::try_from(dynamic).unwrap_or(u32::MAX))
    };
    let (blocks, threads) = max_potential_block_size(profile, registers(&kernel, profile), shared, limit);
    grid.put(blocks as i32)?;
    block.put(threads as i32)
}

exports! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: Out<i32>, function: Handle, block: i32, dynamic: usize) {
        active(&out, function, block, dynamic, 0)
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        out: Out<i32>, function: Handle, block: i32, dynamic: usize, flags: u32,
    ) {
        active(&out, function, block, dynamic, flags)
    }
    fn cuOccupancyMaxPotentialBlockSize(
        grid: Out<i32>, block: Out<i32>, function: Handle, of_block: Option<extern "C" fn(i32) -> usize>,
        dynamic: usize, limit: i32,
    ) {
        potential(&grid, &block, function, of_block, dynamic, limit, 0)
    }
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: Out<i32>, block: Out<i32>, function: Handle, of_block: Option<extern "C" fn(i32) -> usize>,
        dynamic: usize, limit: i32, flags: u32,
    ) {
        potential(&grid, &block, function, of_block, dynamic, limit, flags)
    }
    fn cuOccupancyAvailableDynamicSMemPerBlock(out: Out<usize>, function: Handle, blocks: i32, block: i32) {
        let (kernel, profile) = kernel(function)?;
        let blocks = u32::try_from(blocks).ok().filter(|&n| n > 0).ok_or(Code::INVALID_VALUE)?;
        let threads = u32::try_from(block).ok().filter(|&n| n > 0).ok_or(Code::INVALID_VALUE)?;
        // So many blocks must fit in every other respect.
        if blocks_per_sm(profile, threads, registers(&kernel, profile), 0).blocks < blocks {
            return Err(Code::INVALID_VALUE);
        }
        let share = profile.shared_per_sm / blocks / profile.shared_unit * profile.shared_unit;
        let own = profile.shared_reserved_per_block + kernel.static_shared;
        let most = profile.shared_per_block_optin.saturating_sub(kernel.static_shared);
        out.put(share.saturating_sub(own).min(most) as usize)
    }
}
