//! Every kind of finding, and beside it a sequence that nearly gives one and must stay silent.

mod checking;

use checking::{FULL, Grid, With, each, read, row, write};
use rewind_emulator::check::{Access, Kind, What};

#[test]
fn two_warps_write_one_word() {
    let mut grid = Grid::new(1, 2);
    grid.shared(0, write(0), row(0)).unwrap();
    let finding = grid.shared(0, write(1).line(20), row(0)).unwrap_err();
    assert_eq!(finding.what, What::SharedRace);
    assert_eq!((finding.lane, finding.address), (0, 0));
    let other = finding.other.unwrap();
    assert_eq!((other.block, other.warp, other.lane, other.line, other.kind), (0, 0, 0, 1, Kind::Write));
    assert_eq!(
        finding.text,
        "data race in shared memory: 4-byte write of 0x0 at line 20 by warp 1 lane 0 is not ordered after the write at \
         line 1 by block 0 warp 0 lane 0"
    );
}

#[test]
fn two_warps_write_one_word_with_a_barrier_between() {
    let mut grid = Grid::new(1, 2);
    grid.shared(0, write(0), row(0)).unwrap();
    grid.barrier(0);
    grid.shared(0, write(1), row(0)).unwrap();
}

#[test]
fn a_read_before_the_barrier_after_a_write() {
    let mut grid = Grid::new(1, 2);
    grid.shared(0, write(0), row(0)).unwrap();
    let finding = grid.shared(0, read(1), each(|lane| 4 * (31 - lane))).unwrap_err();
    assert_eq!(finding.what, What::SharedRace);
    assert_eq!((finding.lane, finding.address, finding.other.unwrap().lane), (0, 124, 31));
}

#[test]
fn a_tile_overwritten_while_others_read_it() {
    // The second barrier of a tiled loop is missing; the writer has read as well.
    for writer in 0..4 {
        let mut grid = Grid::new(1, 4);
        grid.shared(0, write(0), row(0)).unwrap();
        grid.barrier(0);
        for warp in 0..4 {
            grid.shared(0, read(warp), row(0)).unwrap();
        }
        let finding = grid.shared(0, write(writer), row(0)).unwrap_err();
        assert_eq!(finding.what, What::SharedRace, "writer {writer}");
        let other = finding.other.unwrap();
        assert_eq!(other.kind, Kind::Read);
        assert_ne!(other.warp, writer);
    }
}

#[test]
fn a_tile_overwritten_after_the_second_barrier() {
    let mut grid = Grid::new(1, 4);
    for _ in 0..3 {
        grid.shared(0, write(1), row(0)).unwrap();
        grid.barrier(0);
        for warp in 0..4 {
            grid.shared(0, read(warp), row(0)).unwrap();
        }
        grid.barrier(0);
    }
}

#[test]
fn a_broadcast_word_overwritten_by_one_of_its_readers() {
    let mut grid = Grid::new(1, 1);
    grid.shared(0, write(0).lanes(1), row(0)).unwrap();
    grid.warp_sync(0, 0, FULL);
    grid.shared(0, read(0), [0; 32]).unwrap();
    assert_eq!(grid.shared(0, write(0).lanes(1), row(0)).unwrap_err().what, What::SharedRace);
    grid.warp_sync(0, 0, FULL);
    grid.shared(0, write(0).lanes(2), [0; 32]).unwrap();
}

#[test]
fn lockstep_orders_nothing_within_a_warp() {
    let neighbour = each(|lane| 4 * ((lane + 1) % 32));
    let mut grid = Grid::new(1, 1);
    grid.shared(0, write(0), row(0)).unwrap();
    assert_eq!(grid.shared(0, read(0), neighbour).unwrap_err().what, What::SharedRace);

    let mut grid = Grid::new(1, 1);
    grid.shared(0, write(0), row(0)).unwrap();
    grid.shared(0, read(0), row(0)).unwrap();
    grid.warp_sync(0, 0, FULL);
    grid.shared(0, read(0), neighbour).unwrap();
}

#[test]
fn a_warp_barrier_of_some_lanes_orders_those() {
    let mut grid = Grid::new(1, 1);
    grid.shared(0, write(0), row(0)).unwrap();
    grid.warp_sync(0, 0, 0x0f);
    grid.warp_sync(0, 0, 0x30);
    grid.shared(0, read(0).lanes(0x0f), each(|lane| 4 * (3 - lane.min(3)))).unwrap();
    // 4 meets 5, then 3 meets 4: 3 knows 5, and 5 does not know 3.
    grid.warp_sync(0, 0, 0x18);
    grid.shared(0, read(0).lanes(1 << 3), [4 * 5; 32]).unwrap();
    let finding = grid.shared(0, read(0).lanes(1 << 5), [4 * 3; 32]).unwrap_err();
    assert_eq!((finding.what, finding.lane), (What::SharedRace, 5));
}

#[test]
fn two_lanes_write_one_word_in_one_instruction() {
    let mut grid = Grid::new(1, 1);
    let finding = grid.shared(0, write(0), each(|lane| 4 * (lane / 2))).unwrap_err();
    assert_eq!((finding.what, finding.lane, finding.other.unwrap().lane), (What::SameInstructionWrite, 1, 0));
    let finding = grid.global(0, write(0), each(|lane| 4 * (lane / 2))).unwrap_err();
    assert_eq!(finding.what, What::SameInstructionWrite);
    // A caller who saw equal values goes on: everything was written, by the last lane of each two.
    grid.shared(0, read(0).lanes(1 << 31), [60; 32]).unwrap();
    grid.warp_sync(0, 0, FULL);
    grid.shared(0, read(0), each(|lane| 4 * (lane / 2))).unwrap();
}

#[test]
fn a_worse_finding_in_a_row_goes_before_two_writes_in_one_instruction() {
    let mut grid = Grid::new(1, 2);
    grid.shared(0, write(1).lanes(1 << 20), row(0)).unwrap();
    let finding = grid.shared(0, write(0), each(|lane| if lane < 2 { 0 } else { 4 * lane })).unwrap_err();
    assert_eq!((finding.what, finding.lane), (What::SharedRace, 20));
    grid.global(0, write(1).lanes(1 << 20), each(|lane| 8192 + 4 * lane)).unwrap();
    let two_pages = each(|lane| if lane < 2 { 0 } else { 8192 + 4 * lane });
    assert_eq!(grid.global(0, write(0), two_pages).unwrap_err().what, What::GlobalRace);
}

#[test]
fn the_same_write_twice_by_different_lanes_is_no_single_instruction() {
    let mut grid = Grid::new(1, 1);
    grid.shared(0, write(0).lanes(1), [0; 32]).unwrap();
    let finding = grid.shared(0, write(0).lanes(2), [0; 32]).unwrap_err();
    assert_eq!(finding.what, What::SharedRace);
}

#[test]
fn neighbouring_bytes_are_no_race() {
    for bytes in [1, 2] {
        let mut grid = Grid::new(1, 2);
        grid.shared(0, write(0).bytes(bytes), each(|lane| 2 * lane * bytes)).unwrap();
        grid.shared(0, write(1).bytes(bytes), each(|lane| (2 * lane + 1) * bytes)).unwrap();
        grid.shared(0, read(0).bytes(bytes), each(|lane| 2 * lane * bytes)).unwrap();
        grid.global(0, write(0).bytes(bytes), each(|lane| 2 * lane * bytes)).unwrap();
        grid.global(0, write(1).bytes(bytes), each(|lane| (2 * lane + 1) * bytes)).unwrap();
        // Lane 0 of warp 0 reads what it wrote and what warp 1 wrote.
        let finding = grid.shared(0, read(0).bytes(2 * bytes), [0; 32]).unwrap_err();
        assert_eq!((finding.what, finding.address), (What::SharedRace, u64::from(bytes)));
    }
}

#[test]
fn a_word_keeps_its_history_when_bytes_follow() {
    let mut grid = Grid::new(1, 2);
    grid.shared(0, write(0), row(0)).unwrap();
    let finding = grid.shared(0, write(1).bytes(1).lanes(1), [7; 32]).unwrap_err();
    assert_eq!((finding.what, finding.address, finding.other.unwrap().lane), (What::SharedRace, 7, 1));
    grid.shared(0, write(1).bytes(1).lanes(1), [128; 32]).unwrap();
    grid.barrier(0);
    grid.shared(0, write(1).bytes(16), each(|lane| 16 * lane)).unwrap();
    grid.shared(0, read(1).bytes(8).lanes(1), [8; 32]).unwrap();
}

#[test]
fn wide_accesses_touch_all_their_bytes() {
    let mut grid = Grid::new(1, 2);
    grid.shared(0, write(0).bytes(16), each(|lane| 16 * lane)).unwrap();
    let finding = grid.shared(0, read(1).lanes(4), [44; 32]).unwrap_err();
    assert_eq!((finding.what, finding.address, finding.other.unwrap().lane), (What::SharedRace, 44, 2));
}

#[test]
fn shared_memory_that_nobody_wrote() {
    let mut grid = Grid::new(1, 1);
    grid.shared(0, write(0).lanes(!(1 << 9)), row(0)).unwrap();
    let finding = grid.shared(0, read(0), row(0)).unwrap_err();
    assert_eq!((finding.what, finding.lane, finding.address), (What::UninitialisedShared, 9, 36));
    assert_eq!(finding.other, None);
    grid.shared(0, read(0).lanes(!(1 << 9)), row(0)).unwrap();
    let atomic = read(0).kind(Kind::Atomic).lanes(1 << 9);
    assert_eq!(grid.shared(0, atomic, row(0)).unwrap_err().what, What::UninitialisedShared);
}

#[test]
fn a_word_of_which_three_bytes_were_written() {
    let mut grid = Grid::new(1, 1);
    for byte in [0, 1, 3] {
        grid.shared(0, write(0).bytes(1).lanes(1), [byte; 32]).unwrap();
    }
    let finding = grid.shared(0, read(0).lanes(1), [0; 32]).unwrap_err();
    assert_eq!((finding.what, finding.address), (What::UninitialisedShared, 2));
    grid.shared(0, write(0).bytes(1).lanes(1), [2; 32]).unwrap();
    grid.shared(0, read(0).lanes(1), [0; 32]).unwrap();
}

#[test]
fn each_block_has_its_own_shared_memory() {
    let mut grid = Grid::new(2, 1);
    grid.shared(0, write(0), row(0)).unwrap();
    grid.shared(1, write(0), row(0)).unwrap();
    assert_eq!(grid.shared(1, read(0), row(128)).unwrap_err().what, What::UninitialisedShared);
}

#[test]
fn atomics_and_strong_accesses_do_not_race_with_each_other() {
    let mut grid = Grid::new(2, 2);
    let same = [64; 32];
    let volatile = |access: Access| access.strong();
    for block in 0..2 {
        for warp in 0..2 {
            grid.global(block, write(warp).kind(Kind::Atomic), same).unwrap();
            grid.global(block, volatile(read(warp)), same).unwrap();
            grid.global(block, volatile(write(warp)), same).unwrap();
        }
    }
    assert_eq!(grid.global(0, read(0), same).unwrap_err().what, What::GlobalRace);
    assert_eq!(grid.global(1, write(1).lanes(1), same).unwrap_err().what, What::GlobalRace);
}

#[test]
fn an_atomic_races_with_a_plain_read_before_it() {
    let mut grid = Grid::new(2, 1);
    grid.global(0, read(0), row(0)).unwrap();
    grid.global(0, write(0).kind(Kind::Atomic), row(0)).unwrap();
    let finding = grid.global(1, read(0), row(0)).unwrap_err();
    assert_eq!(finding.other.unwrap().kind, Kind::Atomic);
    let mut grid = Grid::new(2, 1);
    grid.global(0, read(0), row(0)).unwrap();
    assert_eq!(grid.global(1, write(0).kind(Kind::Atomic), row(0)).unwrap_err().other.unwrap().kind, Kind::Read);
}

#[test]
fn blocks_that_write_apart_and_read_together() {
    let mut grid = Grid::new(3, 1);
    for block in 0..3 {
        grid.global(block, read(0), row(1 << 20)).unwrap();
        grid.global(block, write(0), row(block as u32 * 128)).unwrap();
    }
    let finding = grid.global(1, read(0), row(64)).unwrap_err();
    assert_eq!((finding.what, finding.lane, finding.other.unwrap().block), (What::GlobalRace, 0, 0));
    assert_eq!(grid.global(2, write(0), row(1 << 20)).unwrap_err().what, What::GlobalRace);
}

#[test]
fn a_row_over_two_pages() {
    let mut grid = Grid::new(2, 1);
    grid.global(0, write(0), row(4096 - 64)).unwrap();
    let finding = grid.global(1, write(0).lanes(1 << 8), row(4096)).unwrap_err();
    assert_eq!((finding.address & 0xffff, finding.other.unwrap().lane), (4096 + 32, 24));
    grid.global(1, write(0).lanes(1 << 16), row(4096)).unwrap();
}

#[test]
fn launches_come_one_after_the_other() {
    let mut first = Grid::new(1, 1);
    first.global(0, write(0), row(0)).unwrap();
    let mut second = Grid::new(2, 1);
    second.global(1, write(0), row(0)).unwrap();
    assert_eq!(second.global(0, write(0), row(0)).unwrap_err().what, What::GlobalRace);
}
