//! What orders accesses and what does not: fences with strong accesses, barriers of some warps, host threads.

mod checking;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

use checking::{GLOBAL, Grid, With, each, read, row, write};
use rewind_emulator::check::{Access, BlockChecks, FenceScope, Kind, What};

const FLAG: [u32; 32] = [1 << 20; 32];

fn atomic(warp: u32) -> Access {
    write(warp).kind(Kind::Atomic).lanes(1)
}

/// Blocks 0 to 2 write their part, meet, and one thread takes a ticket; the last block reads all parts.
fn last_block_done(fence_before: bool, barrier: bool, fence_after: bool) -> Result<(), What> {
    let mut grid = Grid::new(3, 2);
    for block in 0..3 {
        for warp in 0..2 {
            grid.global(block, write(warp), row((block as u32 * 2 + warp) * 128)).map_err(|f| f.what)?;
        }
        if barrier {
            grid.barrier(block);
        }
        if fence_before {
            grid.fence(block, 0);
        }
        grid.global(block, atomic(0), FLAG).map_err(|f| f.what)?;
    }
    if fence_after {
        grid.fence(2, 0);
    }
    grid.barrier(2);
    for part in 0..6 {
        grid.global(2, read(1), row(part * 128)).map_err(|f| f.what)?;
    }
    Ok(())
}

#[test]
fn the_last_block_reads_what_the_others_wrote() {
    assert_eq!(last_block_done(true, true, true), Ok(()));
    // The reader's barrier stands in for its fence: the usual sample leaves that out.
    assert_eq!(last_block_done(true, true, false), Ok(()));
    assert_eq!(last_block_done(false, true, true), Err(What::GlobalRace));
    assert_eq!(last_block_done(false, true, false), Err(What::GlobalRace));
    assert_eq!(last_block_done(true, false, true), Err(What::GlobalRace));
}

#[test]
fn a_fence_by_all_before_the_barrier_is_passed_on_by_one() {
    let mut grid = Grid::new(2, 2);
    grid.global(0, write(1), row(0)).unwrap();
    grid.fence(0, 0);
    grid.fence(0, 1);
    grid.barrier(0);
    grid.global(0, atomic(0), FLAG).unwrap();
    grid.global(1, read(0).strong().lanes(1), FLAG).unwrap();
    grid.fence(1, 0);
    grid.global(1, read(0), row(0)).unwrap();
    assert_eq!(grid.global(1, read(1), row(0)).unwrap_err().what, What::GlobalRace);
}

#[test]
fn a_strong_read_without_fence_or_barrier_acquires_nothing() {
    let mut grid = Grid::new(2, 1);
    grid.global(0, write(0), row(0)).unwrap();
    grid.fence(0, 0);
    grid.global(0, write(0).strong().lanes(1), FLAG).unwrap();
    grid.global(1, read(0).strong().lanes(1), FLAG).unwrap();
    grid.global(1, read(0).strong().lanes(1), FLAG).unwrap();
    assert_eq!(grid.global(1, read(0), row(0)).unwrap_err().what, What::GlobalRace);
}

#[test]
fn what_follows_the_fence_is_not_released() {
    let mut grid = Grid::new(2, 1);
    grid.fence(0, 0);
    grid.global(0, write(0), row(0)).unwrap();
    grid.global(0, write(0).strong().lanes(1), FLAG).unwrap();
    grid.global(1, read(0).strong().lanes(1), FLAG).unwrap();
    grid.fence(1, 0);
    assert_eq!(grid.global(1, read(0), row(0)).unwrap_err().what, What::GlobalRace);
}

#[test]
fn another_flag_orders_nothing() {
    let mut grid = Grid::new(2, 1);
    grid.global(0, write(0), row(0)).unwrap();
    grid.fence(0, 0);
    grid.global(0, write(0).strong().lanes(1), FLAG).unwrap();
    grid.global(1, read(0).strong().lanes(1), FLAG.map(|flag| flag + 8)).unwrap();
    grid.fence(1, 0);
    assert_eq!(grid.global(1, read(0), row(0)).unwrap_err().what, What::GlobalRace);
}

#[test]
fn a_write_after_the_read_that_it_waits_for() {
    // Write-after-read by message: block 1 overwrites what block 0 has read.
    for released in [true, false] {
        let mut grid = Grid::new(2, 1);
        grid.global(0, read(0), row(0)).unwrap();
        if released {
            grid.fence(0, 0);
        }
        grid.global(0, atomic(0), FLAG).unwrap();
        grid.global(1, atomic(0), FLAG).unwrap();
        grid.fence(1, 0);
        assert_eq!(grid.global(1, write(0), row(0)).is_ok(), released);
    }
}

#[test]
fn messages_pass_through_a_third_block() {
    let mut grid = Grid::new(3, 1);
    let second = FLAG.map(|flag| flag + 64);
    grid.global(0, write(0), row(0)).unwrap();
    grid.fence(0, 0);
    grid.global(0, atomic(0), FLAG).unwrap();
    grid.global(1, atomic(0), FLAG).unwrap();
    grid.fence(1, 0);
    grid.global(1, write(0).strong().lanes(2), second).unwrap();
    grid.global(2, read(0).strong().lanes(8), second).unwrap();
    grid.fence(2, 0);
    grid.global(2, read(0), row(0)).unwrap();
}

#[test]
fn a_message_comes_back_through_another_block() {
    let mut grid = Grid::new(2, 2);
    let second = FLAG.map(|flag| flag + 64);
    grid.global(0, write(0), row(0)).unwrap();
    grid.fence(0, 0);
    grid.global(0, atomic(0), FLAG).unwrap();
    grid.global(1, atomic(0), FLAG).unwrap();
    grid.fence(1, 0);
    grid.global(1, atomic(0), second).unwrap();
    grid.global(0, atomic(1), second).unwrap();
    grid.fence(0, 1);
    grid.global(0, read(1), row(0)).unwrap();
}

#[test]
fn a_block_fence_before_a_barrier_is_passed_on_by_another_warp() {
    let mut grid = Grid::new(1, 3);
    grid.shared(0, write(0), row(0)).unwrap();
    grid.blocks[0].fence(0, FenceScope::Block);
    grid.blocks[0].barrier(1, &[0, 1]);
    grid.shared(0, write(1).strong().lanes(1), [512; 32]).unwrap();
    grid.shared(0, read(2).strong().lanes(1), [512; 32]).unwrap();
    grid.blocks[0].fence(2, FenceScope::Block);
    grid.shared(0, read(2), row(0)).unwrap();
}

#[test]
fn a_block_fence_orders_within_its_block() {
    for (reader, silent) in [((0, 1), true), ((1, 0), false)] {
        let mut grid = Grid::new(2, 2);
        grid.global(0, write(0), row(0)).unwrap();
        grid.blocks[0].fence(0, FenceScope::Block);
        grid.global(0, write(0).strong().lanes(1), FLAG).unwrap();
        let (block, warp) = reader;
        grid.global(block, read(warp).strong().lanes(1), FLAG).unwrap();
        grid.fence(block, warp);
        assert_eq!(grid.global(block, read(warp), row(0)).is_ok(), silent);
    }
}

#[test]
fn a_flag_in_shared_memory_orders_warps() {
    for fenced in [true, false] {
        let mut grid = Grid::new(1, 2);
        grid.shared(0, write(0), row(0)).unwrap();
        if fenced {
            grid.blocks[0].fence(0, FenceScope::Block);
        }
        grid.shared(0, write(0).strong().lanes(1), [512; 32]).unwrap();
        grid.shared(0, read(1).strong().lanes(1), [512; 32]).unwrap();
        grid.blocks[0].fence(1, FenceScope::Block);
        assert_eq!(grid.shared(0, read(1), row(0)).is_ok(), fenced);
    }
}

#[test]
fn messages_within_a_warp() {
    let mut grid = Grid::new(1, 1);
    grid.shared(0, write(0).lanes(1), row(0)).unwrap();
    grid.blocks[0].fence(0, FenceScope::Block);
    grid.shared(0, write(0).strong().lanes(1), [512; 32]).unwrap();
    grid.shared(0, read(0).strong().lanes(2), [512; 32]).unwrap();
    grid.blocks[0].fence(0, FenceScope::Block);
    grid.shared(0, read(0).lanes(2), [0; 32]).unwrap();
}

/// What cooperative groups compile to: barrier, `atom.add.release`, `ld.acquire` until all have come, barrier.
fn grid_barrier(grid: &mut Grid) {
    for block in 0..grid.blocks.len() {
        grid.barrier(block);
        grid.fence(block, 0);
        grid.global(block, atomic(0), FLAG).unwrap();
    }
    for block in 0..grid.blocks.len() {
        for _ in 0..3 {
            grid.global(block, read(0).strong().lanes(1), FLAG).unwrap();
            grid.fence(block, 0);
        }
        grid.barrier(block);
    }
}

#[test]
fn a_grid_barrier_orders_all_blocks() {
    let mut grid = Grid::new(4, 3);
    for round in 0..4u32 {
        for block in 0..4u32 {
            for warp in 0..3 {
                let part = (block + round) % 4 * 3 + (warp + round) % 3;
                grid.global(block as usize, write(warp), row(part * 128)).unwrap();
            }
        }
        grid_barrier(&mut grid);
        for block in 0..4 {
            for warp in 0..3 {
                for part in 0..12 {
                    grid.global(block, read(warp), row(part * 128)).unwrap();
                }
            }
        }
        if round < 3 {
            grid_barrier(&mut grid);
        }
    }
    // The last round was read and no barrier followed.
    assert_eq!(grid.global(2, write(1), row(0)).unwrap_err().what, What::GlobalRace);
}

#[test]
fn a_named_barrier_orders_those_who_wait_there() {
    let mut grid = Grid::new(1, 4);
    grid.shared(0, write(0), row(0)).unwrap();
    grid.blocks[0].barrier(1, &[0, 1]);
    grid.blocks[0].barrier(2, &[2, 3]);
    grid.shared(0, read(1), row(0)).unwrap();
    assert_eq!(grid.shared(0, read(2), row(0)).unwrap_err().what, What::SharedRace);
    grid.blocks[0].barrier(3, &[1, 2]);
    grid.shared(0, read(2), row(0)).unwrap();
    assert_eq!(grid.shared(0, read(3), row(0)).unwrap_err().what, What::SharedRace);
}

#[test]
fn who_arrives_releases_and_does_not_acquire() {
    let mut grid = Grid::new(1, 3);
    grid.shared(0, write(0), row(0)).unwrap();
    grid.shared(0, write(1), row(128)).unwrap();
    grid.blocks[0].arrive(1, 0);
    grid.shared(0, write(0), row(256)).unwrap();
    grid.blocks[0].barrier(1, &[1]);
    grid.shared(0, read(1), row(0)).unwrap();
    assert_eq!(grid.shared(0, read(1), row(256)).unwrap_err().what, What::SharedRace, "written after the arrival");
    assert_eq!(grid.shared(0, read(0), row(128)).unwrap_err().what, What::SharedRace, "the arriver does not wait");
    // An arrival counts for one phase of one barrier.
    grid.blocks[0].barrier(2, &[2]);
    grid.blocks[0].barrier(1, &[2]);
    assert_eq!(grid.shared(0, read(2), row(0)).unwrap_err().what, What::SharedRace);
}

/// Block `index` of a grid on a host thread of its own; real atomics stand for the kernel's memory.
fn run_block(block: &mut BlockChecks, index: u32, blocks: u32, count: &AtomicU32, fenced: bool) -> Result<(), What> {
    let at = |base: u32| each(|lane| base + 4 * lane).map(|offset| GLOBAL + u64::from(offset));
    let flag = FLAG.map(|offset| GLOBAL + u64::from(offset));
    let what = |finding: rewind_emulator::check::Finding| finding.what;
    for round in 0..20 {
        let mine = (index + round) % blocks;
        block.global(&write(1), &at(mine * 128)).map_err(what)?;
        block.barrier(0, &[0, 1]);
        for half in 1..=2 {
            if fenced {
                block.fence(0, FenceScope::Gpu);
            }
            block.global(&atomic(0), &flag).map_err(what)?;
            count.fetch_add(1, Ordering::Relaxed);
            loop {
                block.global(&read(0).strong().lanes(1), &flag).map_err(what)?;
                let seen = count.load(Ordering::Relaxed);
                if fenced {
                    block.fence(0, FenceScope::Gpu);
                }
                if seen >= (2 * round + half) * blocks {
                    break;
                }
                std::thread::yield_now();
            }
            block.barrier(0, &[0, 1]);
            if half == 1 {
                for part in 0..blocks {
                    block.global(&read(0), &at(part * 128)).map_err(what)?;
                }
                block.barrier(0, &[0, 1]);
            }
        }
    }
    Ok(())
}

#[test]
fn blocks_on_several_host_threads_pass_grid_barriers() {
    let mut grid = Grid::new(4, 2);
    let count = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for (index, block) in grid.blocks.iter_mut().enumerate() {
            let count = &count;
            scope.spawn(move || assert_eq!(run_block(block, index as u32, 4, count, true), Ok(())));
        }
    });
}

#[test]
fn blocks_on_several_host_threads_race() {
    let mut grid = Grid::new(4, 1);
    let start = Barrier::new(4);
    let found = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for block in &mut grid.blocks {
            scope.spawn(|| {
                start.wait();
                let result = block.global(&write(0), &each(|lane| 4 * lane).map(u64::from));
                found.fetch_add(u32::from(result.is_err()), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(found.into_inner(), 3, "all but the first");
}
