//! Asynchronous copies: what may be touched when.

mod checking;

use checking::{FULL, Grid, With, each, read, row, write};
use rewind_emulator::check::{Access, Finding, What};

impl Grid {
    fn copy(&mut self, access: Access, offsets: [u32; 32]) -> Result<(), Finding> {
        self.blocks[0].cp_async(&access, &offsets)
    }

    fn commit(&mut self, warp: u32) {
        self.blocks[0].cp_async_commit(warp, FULL);
    }

    fn wait(&mut self, warp: u32, pending: Option<u32>) {
        self.blocks[0].cp_async_wait(warp, FULL, pending);
    }
}

#[test]
fn the_destination_is_read_before_the_wait() {
    let mut grid = Grid::new(1, 2);
    grid.copy(write(0).line(7), row(0)).unwrap();
    grid.commit(0);
    let finding = grid.shared(0, read(0).lanes(2), row(0)).unwrap_err();
    assert_eq!((finding.what, finding.lane, finding.address), (What::AsyncCopyNotWaited, 1, 4));
    assert_eq!(finding.other.map(|other| (other.warp, other.lane, other.line)), Some((0, 1, 7)));
    assert_eq!(grid.shared(0, write(0), row(0)).unwrap_err().what, What::AsyncCopyNotWaited);
    grid.barrier(0);
    assert_eq!(grid.shared(0, read(1), row(0)).unwrap_err().what, What::AsyncCopyNotWaited);
    grid.wait(0, Some(0));
    grid.shared(0, read(0), row(0)).unwrap();
}

#[test]
fn after_the_wait_others_need_a_barrier() {
    let mut grid = Grid::new(1, 2);
    grid.copy(write(0).bytes(16), each(|lane| 16 * lane)).unwrap();
    grid.commit(0);
    grid.wait(0, Some(0));
    assert_eq!(grid.shared(0, read(1), row(0)).unwrap_err().what, What::SharedRace);
    assert_eq!(grid.shared(0, read(0), row(0)).unwrap_err().what, What::SharedRace, "another lane copied it");
    grid.barrier(0);
    grid.shared(0, read(1), row(0)).unwrap();
}

#[test]
fn a_barrier_before_the_wait_orders_no_copy() {
    let mut grid = Grid::new(1, 2);
    grid.copy(write(0), row(0)).unwrap();
    grid.commit(0);
    grid.barrier(0);
    grid.wait(0, Some(0));
    assert_eq!(grid.shared(0, read(1), row(0)).unwrap_err().what, What::SharedRace);
}

#[test]
fn a_pipeline_of_two_stages() {
    let stage = |step: u32| row(step % 2 * 128);
    for (pending, barriers, expected) in
        [(1, true, None), (2, true, Some(What::AsyncCopyNotWaited)), (1, false, Some(What::SharedRace))]
    {
        let mut grid = Grid::new(1, 2);
        let mut run = || {
            grid.copy(write(0), stage(0))?;
            grid.commit(0);
            for step in 0..5 {
                grid.copy(write(0), stage(step + 1))?;
                grid.commit(0);
                grid.wait(0, Some(pending));
                grid.barrier(0);
                grid.shared(0, read(1), stage(step))?;
                if barriers {
                    grid.barrier(0);
                }
            }
            Ok(())
        };
        assert_eq!(run().err().map(|finding: Finding| finding.what), expected, "{pending} {barriers}");
    }
}

#[test]
fn what_was_not_committed_is_no_group() {
    let mut grid = Grid::new(1, 1);
    grid.copy(write(0), row(0)).unwrap();
    grid.wait(0, Some(0));
    assert_eq!(grid.shared(0, read(0), row(0)).unwrap_err().what, What::AsyncCopyNotWaited);
    grid.wait(0, None);
    grid.shared(0, read(0), row(0)).unwrap();
}

#[test]
fn empty_groups_count() {
    let mut grid = Grid::new(1, 1);
    grid.copy(write(0), row(0)).unwrap();
    grid.commit(0);
    grid.wait(0, Some(1));
    assert_eq!(grid.shared(0, read(0), row(0)).unwrap_err().what, What::AsyncCopyNotWaited);
    grid.commit(0);
    grid.wait(0, Some(1));
    grid.shared(0, read(0), row(0)).unwrap();
}

#[test]
fn each_lane_waits_for_itself() {
    let mut grid = Grid::new(1, 1);
    grid.copy(write(0), row(0)).unwrap();
    grid.commit(0);
    grid.blocks[0].cp_async_wait(0, 0xff, Some(0));
    grid.shared(0, read(0).lanes(0xff), row(0)).unwrap();
    let finding = grid.shared(0, read(0), row(0)).unwrap_err();
    assert_eq!((finding.what, finding.lane), (What::AsyncCopyNotWaited, 8));
}

#[test]
fn copies_that_overlap() {
    let mut grid = Grid::new(1, 2);
    grid.copy(write(0), row(0)).unwrap();
    assert_eq!(grid.copy(write(0), row(0)).unwrap_err().what, What::AsyncCopyNotWaited);
    assert_eq!(grid.copy(write(1), row(124)).unwrap_err().what, What::AsyncCopyNotWaited);
    grid.copy(write(1), row(128)).unwrap();
    assert_eq!(grid.copy(write(1), [512; 32]).unwrap_err().what, What::SameInstructionWrite);
}

#[test]
fn a_copy_into_what_others_still_read() {
    for barrier in [true, false] {
        let mut grid = Grid::new(1, 2);
        grid.shared(0, write(0), row(0)).unwrap();
        grid.barrier(0);
        grid.shared(0, read(1), row(0)).unwrap();
        if barrier {
            grid.barrier(0);
        }
        let result = grid.copy(write(0), row(0)).map_err(|finding| finding.what);
        assert_eq!(result, if barrier { Ok(()) } else { Err(What::SharedRace) });
    }
}

#[test]
fn a_copy_initialises_what_it_reaches() {
    let mut grid = Grid::new(1, 1);
    grid.copy(write(0).lanes(0xffff), row(0)).unwrap();
    grid.wait(0, None);
    let finding = grid.shared(0, read(0), row(0)).unwrap_err();
    assert_eq!((finding.what, finding.lane), (What::UninitialisedShared, 16));
}
