//! Races in shared and global memory: the fault names both threads.

use rewind_emulator::fault::{Fault, FaultKind};
use rewind_emulator::memory::SHARED_WINDOW;

use crate::case::*;

const RACE: Found =
    Found { kind: FaultKind::Race, text: "ld.shared.u32", who: &[], address: nowhere, says: nothing, unchecked: None };

fn races(kernel: &'static str, threads: u32, arguments: &[Argument]) -> Case {
    case("faults_races", kernel, threads, arguments)
}

fn iota(count: i32) -> Vec<i32> {
    (0..count).collect()
}

/// Generic address of this thread's element moved by `flip`, in shared memory.
fn element(fault: &Fault, flip: u32) -> Option<u64> {
    Some(SHARED_WINDOW + 4 * u64::from((32 * fault.warp + fault.lane) ^ flip))
}

/// The other thread, `flip` away, and what it did.
fn other(fault: &Fault, flip: u32, did: &str) -> Vec<String> {
    let linear = (32 * fault.warp + fault.lane) ^ flip;
    vec![format!("is not ordered after the {did}"), format!("by block 0 warp {} lane {}", linear / 32, linear % 32)]
}

#[test]
fn a_barrier_orders_threads_that_exchange_through_shared_memory() {
    let who = &[(0, 0, 0), (0, 1, 0)];
    races("shared_exchange", 64, &[Empty(256), Is(1)]).gives(0, iota(64).iter().map(|i| i ^ 32).collect::<Vec<_>>());
    races("shared_exchange", 64, &[Empty(256), Is(0)]).finds(&Found {
        who,
        text: "",
        // Either the read comes second, or the write.
        address: |f, _| element(f, if f.text.starts_with("ld") { 32 } else { 0 }),
        says: |f, _| other(f, 32, if f.text.starts_with("ld") { "write" } else { "read" }),
        ..RACE
    });
    races("shared_overwrite", 64, &[Empty(256), Is(1)]).gives(0, iota(64).iter().map(|i| i ^ 32).collect::<Vec<_>>());
    races("shared_overwrite", 64, &[Empty(256), Is(0)]).finds(&Found {
        who,
        text: "",
        address: |f, _| element(f, if f.text.starts_with("ld") { 32 } else { 0 }),
        says: |f, _| other(f, 32, if f.text.starts_with("ld") { "write" } else { "read" }),
        ..RACE
    });
}

#[test]
fn lockstep_orders_nothing_within_a_warp() {
    races("warp_exchange", 64, &[Empty(256), Is(1)]).gives(0, iota(64).iter().map(|i| i ^ 1).collect::<Vec<_>>());
    races("warp_exchange", 64, &[Empty(256), Is(0)]).finds(&Found {
        who: &[(0, 0, 0), (0, 1, 0)],
        address: |f, _| element(f, 1),
        says: |f, _| [other(f, 1, "write"), vec!["data race in shared memory".into()]].concat(),
        ..RACE
    });
    races("pair_exchange", 32, &[Empty(128), Is(1)]).gives(0, iota(32).iter().map(|i| i ^ 1).collect::<Vec<_>>());
    races("pair_exchange", 32, &[Empty(128), Is(2)]).finds(&Found {
        who: &[(0, 0, 0)],
        address: |f, _| element(f, 2),
        says: |f, _| other(f, 2, "write"),
        ..RACE
    });
}

#[test]
fn neighbouring_bytes_belong_to_different_threads() {
    let sums = |i: i32| (63 - i + 1) + ((i ^ 32) + 2);
    races("shared_bytes", 64, &[Empty(256)]).gives(0, iota(64).into_iter().map(sums).collect::<Vec<_>>());
    races("shared_byte_pairs", 64, &[Empty(256)]).finds(&Found {
        text: "ld.volatile.shared.u16",
        who: &[(0, 0, 0), (0, 1, 0)],
        address: |f, _| Some(SHARED_WINDOW + 32 * u64::from(f.warp) + 1),
        says: |f, _| other(f, 1, "write"),
        ..RACE
    });
    races("global_bytes", 33, &[Zeros(132)]).grid(4).gives(0, vec![0x0101_0101; 33]);
}

#[test]
fn atomics_do_not_race_with_each_other() {
    races("shared_atomics", 64, &[Empty(256), Is(1)]).gives(0, vec![64; 64]);
    races("shared_atomics", 64, &[Empty(256), Is(0)]).finds(&Found {
        text: "st.shared.u32",
        who: &[(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)],
        address: |_, _| Some(SHARED_WINDOW),
        says: |_, _| vec!["4-byte write of 0x0".into(), "read at line".into()],
        ..RACE
    });
    races("blocks_write", 32, &[Zeros(4), Is(1)]).grid(5).gives(0, vec![10]);
}

#[test]
fn blocks_that_write_one_place_race() {
    let all = &[(0, 0, 3), (1, 0, 3)];
    races("blocks_write", 32, &[Zeros(4), Is(0)]).grid(2).finds(&Found {
        text: "st.global.u32",
        who: all,
        address: |_, map| Some(map.arguments[0]),
        says: |f, map| {
            vec![
                format!("by block {} warp 0 lane 3", 1 - f.block[0]),
                "data race in global memory".into(),
                format!("of 4 bytes at {:#x}", map.arguments[0]),
            ]
        },
        ..RACE
    });
    races("blocks_write", 32, &[Zeros(4), Is(0)]).silent();
}

#[test]
fn threads_of_a_block_exchange_through_global_memory_behind_a_barrier() {
    let flipped = iota(64).iter().map(|i| i ^ 32).collect::<Vec<_>>();
    races("global_exchange", 64, &[Empty(256), Zeros(256), Is(1)]).gives(0, flipped);
    races("global_exchange", 64, &[Empty(256), Zeros(256), Is(0)]).finds(&Found {
        text: "",
        who: &[(0, 0, 0), (0, 1, 0)],
        address: |f, map| {
            let flip = if f.text.starts_with("ld") { 32 } else { 0 };
            Some(map.arguments[1] + 4 * u64::from((32 * f.warp + f.lane) ^ flip))
        },
        says: |f, map| {
            let did = if f.text.starts_with("ld") { "write" } else { "read" };
            [other(f, 32, did), vec![format!("of 256 bytes at {:#x}", map.arguments[1])]].concat()
        },
        ..RACE
    });
}

#[test]
fn the_last_block_needs_fences() {
    races("last_block", 64, &[Empty(4), Empty(20), Is(1)]).grid(5).gives(0, vec![15]);
    races("last_block", 64, &[Empty(4), Empty(20), Is(0)]).grid(5).finds(&Found {
        text: "ld.global.u32",
        who: &[(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0)],
        // The first element that another block wrote.
        address: |f, map| Some(map.arguments[1] + if f.block[0] == 0 { 4 } else { 0 }),
        says: |f, _| vec![format!("by block {} warp 0 lane 0", u32::from(f.block[0] == 0))],
        ..RACE
    });
}

#[test]
fn a_grid_wide_barrier_orders_blocks() {
    let run = |safe| races("grid_exchange", 64, &[Empty(768), Zeros(768), Is(safe)]).grid(3).cooperative();
    run(1).gives(0, iota(192).iter().map(|i| (i + 64) % 192).collect::<Vec<_>>());
    run(0).finds(&Found {
        text: "",
        who: &[(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (1, 1, 0), (2, 1, 0)],
        address: |f, map| {
            let next = if f.text.starts_with("ld") { f.block[0] + 1 } else { f.block[0] } % 3;
            Some(map.arguments[1] + u64::from(4 * (64 * next + 32 * f.warp)))
        },
        says: |f, _| {
            let them = if f.text.starts_with("ld") { f.block[0] + 1 } else { f.block[0] + 2 } % 3;
            vec![format!("by block {them} warp {} lane 0", f.warp)]
        },
        ..RACE
    });
}

#[test]
fn a_grid_wide_barrier_that_a_block_skips_never_opens() {
    let run = |skip| races("grid_skipped", 32, &[Empty(12), Is(skip)]).grid(3).cooperative();
    run(7).gives(0, vec![1; 3]);
    run(1).finds(&Found {
        kind: FaultKind::Stuck,
        text: "",
        who: &[(0, 0, 0), (2, 0, 0)],
        says: |_, _| vec!["a wait for something that never comes".into()],
        unchecked: Some(FaultKind::Stuck),
        ..RACE
    });
}

#[test]
fn a_flag_behind_a_fence_passes_data_on() {
    // A block that waits gives way to the next one only after some millions of instructions.
    races("flag_passed", 1, &[Empty(4), Zeros(4), Zeros(4)]).grid(2).limit(1 << 24).gives(0, vec![42]);
}

#[test]
fn one_instruction_may_write_one_value_to_one_place() {
    races("one_place_global", 32, &[Empty(8), Is(0)]).grid(2).gives(0, vec![5; 2]);
    races("one_place_global", 32, &[Empty(8), Is(1)]).grid(2).finds(&Found {
        text: "st.global.u32",
        who: &[(0, 0, 2), (1, 0, 2)],
        address: |f, map| Some(map.arguments[0] + 4 * u64::from(f.block[0])),
        says: |f, _| vec![format!("block {} warp 0 lane 0", f.block[0]), "two lanes write one place".into()],
        ..RACE
    });
    races("one_place_shared", 32, &[Empty(128), Is(0)]).gives(0, vec![5; 32]);
    races("one_place_shared", 32, &[Empty(128), Is(1)]).finds(&Found {
        text: "st.shared.u32",
        who: &[(0, 0, 2)],
        address: |_, _| Some(SHARED_WINDOW),
        says: |_, _| vec!["two lanes write one place".into(), "warp 0 lane 0".into()],
        ..RACE
    });
}
