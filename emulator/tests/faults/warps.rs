//! Shuffles, votes and matrices in which some lanes do not take part as they should.

use rewind_emulator::fault::FaultKind;
use rewind_emulator::memory::SHARED_WINDOW;

use crate::case::*;

const MISSING: Found = Found {
    kind: FaultKind::Shuffle,
    text: "shfl.sync",
    who: &[(0, 0, 0)],
    address: nowhere,
    says: nothing,
    unchecked: None,
};
const PART: Found = Found { kind: FaultKind::Convergence, unchecked: Some(FaultKind::Convergence), ..MISSING };

fn warps(kernel: &'static str, threads: u32, arguments: &[Argument]) -> Case {
    case("faults_warps", kernel, threads, arguments)
}

#[test]
fn shuffles_read_lanes_that_take_part() {
    let half = |from| warps("half_shuffles", 32, &[Empty(128), Is(from)]);
    half(15).gives(0, (0..32).map(|i| if i < 16 { 15 } else { i }).collect::<Vec<_>>());
    half(16).finds(&Found {
        text: "shfl.sync.idx.b32",
        says: |_, _| vec!["reads lane 16, which takes no part (lanes 0x0000ffff do)".into()],
        ..MISSING
    });
    warps("partial_down", 64, &[Empty(256), Is(8)]).silent();
    // Eight lanes in the second warp.
    warps("partial_down", 40, &[Empty(256), Is(8)]).finds(&Found {
        text: "shfl.sync.down.b32",
        who: &[(0, 1, 0)],
        says: |_, _| vec!["reads lane 8, which takes no part (lanes 0x000000ff do)".into()],
        ..MISSING
    });
    warps("partial_down", 40, &[Empty(256), Is(5)]).finds(&Found { who: &[(0, 1, 3)], ..MISSING });
}

#[test]
fn masks_may_name_lanes_that_have_ended() {
    let sum = |i: i32| i + (i ^ 8) + 0xffff;
    let expected = (0..16).map(sum).collect::<Vec<_>>();
    warps("ended_lanes", 32, &[Empty(64), Is(16), Is(8)]).gives(0, expected.clone());
    warps("ended_lanes", 16, &[Empty(64), Is(16), Is(8)]).gives(0, expected);
    warps("ended_lanes", 32, &[Empty(64), Is(16), Is(16)]).finds(&Found {
        text: "shfl.sync.bfly.b32",
        says: |_, _| vec!["reads lane 16".into()],
        ..MISSING
    });
    let votes = |mask: u32, lanes: u32, any: u32| mask.wrapping_add(2 * lanes + any + 1) as i32;
    let all = (0..40).map(|i| if i < 32 { votes(!0, 32, 0) } else { votes(0xff, 8, 1) });
    warps("partial_votes", 40, &[Empty(160)]).gives(0, all.collect::<Vec<_>>());
}

#[test]
fn segments_end_where_they_end() {
    for width in [2usize, 8, 16, 32] {
        let mut v: Vec<i32> = (0..64).collect();
        let mut step = width / 2;
        while step > 0 {
            v = (0..64).map(|i| v[i] + if i % width + step < width { v[i + step] } else { v[i] }).collect();
            step /= 2;
        }
        let up = |i: usize| if i % width >= 3 { v[i - 3] } else { v[i] };
        let all = (0..64).map(|i| v[i] + up(i) + v[i / width * width + 9 % width]);
        warps("segments", 64, &[Empty(256), Is(width as i64)]).gives(0, all.collect::<Vec<_>>());
    }
}

#[test]
fn masks_name_their_own_lane() {
    for (kernel, text, value) in
        [("masked", "shfl.sync.idx.b32", 5), ("masked_vote", "vote.sync.any", 1), ("masked_sync", "bar.warp.sync", 1)]
    {
        warps(kernel, 32, &[Empty(128), Is(0xffff_ffff)]).gives(0, vec![value; 32]);
        warps(kernel, 16, &[Empty(64), Is(0xffff)]).gives(0, vec![value; 16]);
        warps(kernel, 16, &[Empty(64), Is(0xffff_ffff)]).gives(0, vec![value; 16]);
        warps(kernel, 32, &[Empty(128), Is(0xffff_fdff)]).finds(&Found {
            text,
            who: &[(0, 0, 9)],
            says: |_, _| vec!["the mask 0xfffffdff of a warp operation does not name its own lane".into()],
            ..MISSING
        });
    }
}

#[test]
fn lanes_of_a_mask_come_to_one_operation() {
    let swapped = (0..32).map(|i| if i < 16 { i ^ 1 } else { i }).collect::<Vec<_>>();
    warps("crossed", 32, &[Empty(128), Is(0xffff)]).gives(0, swapped);
    warps("crossed", 32, &[Empty(128), Is(0xffff_ffff)]).finds(&Found {
        text: "",
        kind: FaultKind::Shuffle,
        who: &[(0, 0, 0), (0, 0, 16)],
        says: |_, _| vec!["of their warp, which do not come".into(), "waits at line".into()],
        unchecked: Some(FaultKind::Shuffle),
        ..MISSING
    });
    let both = (0..32).map(|i| (i ^ 1) + if i < 16 { 16 } else { 32 }).collect::<Vec<_>>();
    warps("two_masks", 32, &[Empty(128)]).gives(0, both);
    warps("meets", 32, &[Empty(128)]).gives(0, (0..32).map(|i| 2 - i % 2).collect::<Vec<_>>());
}

#[test]
fn matrices_need_the_whole_warp() {
    // A row of eight ones times a column of eight ones.
    warps("brings_matrices", 32, &[Empty(128), Is(32)]).gives(0, vec![8f32.to_bits() as i32; 32]);
    let part = |lanes, threads| warps("brings_matrices", threads, &[Empty(128), Is(lanes)]);
    let found = |says| Found { text: "mma.sync.aligned", says, ..PART };
    for (lanes, threads) in [(16, 32), (32, 16)] {
        part(lanes, threads).finds(&found(|_, _| vec!["only part of the warp".into()]));
    }
    part(0, 32).gives(0, vec![0; 32]);
    let load = |lanes, at| warps("loads_matrices", 32, &[Empty(128), Is(lanes), Is(at)]);
    load(32, 0).gives(0, (0..32).map(|i| (2 * i % 32) | ((2 * i % 32 + 1) << 16)).collect::<Vec<_>>());
    load(8, 0).finds(&Found {
        text: "ldmatrix.sync.aligned",
        says: |_, _| vec!["only part of the warp".into()],
        ..PART
    });
    load(32, 8).finds(&Found {
        kind: FaultKind::Misaligned,
        text: "ldmatrix.sync.aligned",
        address: |_, _| Some(SHARED_WINDOW + 8),
        unchecked: Some(FaultKind::Misaligned),
        ..MISSING
    });
    load(32, 16).finds(&Found {
        kind: FaultKind::OutOfBounds,
        text: "ldmatrix.sync.aligned",
        who: &[(0, 0, 7)],
        address: |_, _| Some(SHARED_WINDOW + 128),
        unchecked: Some(FaultKind::OutOfBounds),
        ..MISSING
    });
}

#[test]
fn lanes_of_one_warp_take_a_lock_in_turn() {
    warps("locks", 64, &[Zeros(4), Zeros(4)]).grid(2).gives(0, vec![128]);
}
