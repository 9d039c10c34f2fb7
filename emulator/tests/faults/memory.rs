//! Bounds, alignment, unwritten bytes, read-only memory, and what ends a kernel from within.

use rewind_emulator::fault::FaultKind;
use rewind_emulator::memory::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};

use crate::case::*;

fn memory(kernel: &'static str, threads: u32, arguments: &[Argument]) -> Case {
    case("faults_memory", kernel, threads, arguments)
}

/// An access out of bounds, which is found with checks and without.
const OUTSIDE: Found = Found {
    kind: FaultKind::OutOfBounds,
    text: "ld.global.u32",
    who: &[(0, 0, 0)],
    address: nowhere,
    says: nothing,
    unchecked: Some(FaultKind::OutOfBounds),
};
const MISALIGNED: Found = Found { kind: FaultKind::Misaligned, unchecked: Some(FaultKind::Misaligned), ..OUTSIDE };
const UNWRITTEN: Found = Found { kind: FaultKind::Uninitialised, unchecked: None, ..OUTSIDE };
const READ_ONLY: Found = Found { kind: FaultKind::ReadOnly, unchecked: Some(FaultKind::ReadOnly), ..OUTSIDE };

fn words(count: i32) -> Argument {
    Words((0..count).collect())
}

#[test]
fn global_memory_ends_where_its_allocation_does() {
    let read = |x: Argument, at: i64| memory("global_read", 32, &[Empty(128), x, Is(at)]);
    read(words(32), 0).gives(0, (0..32).collect::<Vec<_>>());
    read(words(40), 8).gives(0, (8..40).collect::<Vec<_>>());
    read(words(32), 1).finds(&Found {
        who: &[(0, 0, 31)],
        address: |_, map| Some(map.arguments[1] + 128),
        says: |_, map| vec!["lies 1 bytes after allocation".into(), format!("of 128 bytes at {:#x}", map.arguments[1])],
        ..OUTSIDE
    });
    read(words(32), -1).finds(&Found {
        address: |_, map| Some(map.arguments[1] - 4),
        says: |_, map| {
            vec!["lies 4 bytes before allocation".into(), format!("of 128 bytes at {:#x}", map.arguments[1])]
        },
        ..OUTSIDE
    });
    read(words(32), -(1 << 17)).finds(&Found {
        address: |_, map| Some(map.arguments[1] - (1 << 19)),
        says: |_, map| {
            vec![format!("lies {} bytes before allocation", 1 << 19), format!("at {:#x} (", map.arguments[1])]
        },
        ..OUTSIDE
    });
    read(words(32), 1 << 40).finds(&Found {
        address: |_, map| Some(map.arguments[1] + (1 << 42)),
        says: |_, _| vec!["lies in no allocation".into()],
        ..OUTSIDE
    });
    read(Zeros(126), 0).finds(&Found {
        who: &[(0, 0, 31)],
        address: |_, map| Some(map.arguments[1] + 124),
        says: |_, map| vec!["runs over the end of".into(), format!("of 126 bytes at {:#x}", map.arguments[1])],
        ..OUTSIDE
    });
    read(Freed(128), 0).finds(&Found {
        address: |_, map| Some(map.arguments[1]),
        says: |_, map| vec!["lies in freed memory".into(), format!("of 128 bytes at {:#x}", map.arguments[1])],
        ..OUTSIDE
    });
}

#[test]
fn threads_of_a_block_with_three_dimensions_are_named() {
    let add = |bytes| memory("global_add", 1, &[Zeros(bytes), Is(0)]).block([5, 4, 3]);
    add(20).gives(0, vec![12; 5]);
    // Thread x = 4 is out of bounds in every row; the first of each warp.
    add(16).finds(&Found {
        text: "atom.global.add.u32",
        who: &[(0, 0, 4), (0, 1, 2)],
        address: |_, map| Some(map.arguments[0] + 16),
        ..OUTSIDE
    });
}

#[test]
fn stores_and_atomics_have_bounds_too() {
    for (kernel, text) in [("global_write", "st.global.u32"), ("global_add", "atom.global.add.u32")] {
        memory(kernel, 32, &[Zeros(132), Is(1)]).silent();
        memory(kernel, 32, &[Zeros(128), Is(1)]).finds(&Found {
            text,
            who: &[(0, 0, 31)],
            address: |_, map| Some(map.arguments[0] + 128),
            says: |_, map| vec![format!("lies 1 bytes after allocation"), format!("{:#x}", map.arguments[0])],
            ..OUTSIDE
        });
        memory(kernel, 32, &[Freed(128), Is(0)]).finds(&Found {
            text,
            address: |_, map| Some(map.arguments[0]),
            says: |_, _| vec!["freed memory".into()],
            ..OUTSIDE
        });
    }
    memory("read_16", 32, &[Empty(512), Zeros(528), Is(16)]).silent();
    memory("read_16", 32, &[Empty(512), Zeros(520), Is(16)]).finds(&Found {
        text: "ld.global.v4.u32",
        who: &[(0, 0, 31)],
        address: |_, map| Some(map.arguments[1] + 512),
        says: |_, _| vec!["loads 16 bytes".into(), "runs over the end of".into()],
        ..OUTSIDE
    });
}

#[test]
fn accesses_are_aligned_to_their_size() {
    for (kernel, text, bytes, at) in [
        ("read_4", "ld.global.u32", 4, 2),
        ("read_4", "ld.global.u32", 4, 1),
        ("read_8", "ld.global.u64", 8, 4),
        ("read_16", "ld.global.v4.u32", 16, 8),
    ] {
        let read = |at| memory(kernel, 32, &[Empty(512), Zeros(1024), Is(at)]);
        read(bytes).silent();
        read(at).finds(&Found {
            text,
            address: |f, map| f.address.filter(|a| (1..=8).contains(&(a - map.arguments[1]))),
            says: |f, _| vec![format!("at {:#x}, which is no multiple of", f.address.unwrap_or(0))],
            ..MISALIGNED
        });
    }
    memory("write_8", 32, &[Zeros(512), Is(8)]).silent();
    memory("write_8", 32, &[Zeros(512), Is(12)]).finds(&Found {
        text: "st.global.u64",
        address: |_, map| Some(map.arguments[0] + 12),
        says: |_, _| vec!["stores 8 bytes".into(), "no multiple of 8".into()],
        ..MISALIGNED
    });
    memory("shared_wide", 32, &[Empty(512), Is(16)]).silent();
    memory("shared_wide", 32, &[Empty(512), Is(8)]).finds(&Found {
        text: "ld.shared.v4.u32",
        address: |_, _| Some(SHARED_WINDOW + 8),
        says: |_, _| vec!["loads 16 bytes at 0x8".into(), "shared memory".into()],
        ..MISALIGNED
    });
    memory("shared_wide", 32, &[Empty(512), Is(32)]).finds(&Found {
        text: "ld.shared.v4.u32",
        who: &[(0, 0, 31)],
        address: |_, _| Some(SHARED_WINDOW + 528),
        says: |_, _| vec!["the block's 528 bytes of shared memory".into()],
        ..OUTSIDE
    });
}

#[test]
fn unwritten_global_memory_is_not_read() {
    let read = |x: Argument| memory("global_read", 32, &[Empty(128), x, Is(0)]);
    read(Partly(256, 128)).silent();
    read(Partly(128, 66)).finds(&Found {
        who: &[(0, 0, 16)],
        address: |_, map| Some(map.arguments[1] + 66),
        says: |_, map| vec!["byte 66 of allocation".into(), format!("of 128 bytes at {:#x}", map.arguments[1])],
        ..UNWRITTEN
    });
    memory("read_byte", 32, &[Empty(32), Partly(33, 32), Is(0)]).silent();
    memory("read_byte", 32, &[Empty(32), Partly(33, 31), Is(0)]).finds(&Found {
        text: "ld.global.u8",
        who: &[(0, 0, 31)],
        address: |_, map| Some(map.arguments[1] + 31),
        ..UNWRITTEN
    });
    memory("read_16", 32, &[Empty(512), Partly(600, 512), Is(0)]).silent();
    memory("read_16", 32, &[Empty(512), Partly(600, 511), Is(0)]).finds(&Found {
        text: "ld.global.v4.u32",
        who: &[(0, 0, 31)],
        address: |_, map| Some(map.arguments[1] + 511),
        ..UNWRITTEN
    });
    memory("write_then_read", 32, &[Empty(128), Empty(128)]).gives(0, vec![5; 32]);
}

#[test]
fn atomics_read_and_an_exchange_for_its_store_alone_does_not() {
    let found = Found { address: |_, map| Some(map.arguments[0]), ..UNWRITTEN };
    memory("global_add", 32, &[Empty(128), Is(0)]).finds(&Found { text: "atom.global.add.u32", ..found });
    let found = Found { address: |_, map| Some(map.arguments[1]), ..UNWRITTEN };
    memory("global_exchange", 32, &[Empty(128), Zeros(128), Is(0)]).gives(0, vec![0; 32]);
    memory("global_exchange", 32, &[Empty(128), Empty(128), Is(0)])
        .finds(&Found { text: "atom.global.exch.b32", ..found });
    memory("exchange_sets", 32, &[Empty(128)]).gives(0, vec![3; 32]);
}

#[test]
fn shared_memory_ends_where_the_block_s_does() {
    for (kernel, dynamic) in [("static_read", 0), ("dynamic_read", 256)] {
        let read = |at| memory(kernel, 64, &[Empty(256), Is(at)]).dynamic(dynamic);
        read(0).gives(0, (0..64).collect::<Vec<_>>());
        read(1).finds(&Found {
            text: "ld.shared.u32",
            who: &[(0, 1, 31)],
            address: |_, _| Some(SHARED_WINDOW + 256),
            says: |_, _| vec!["loads 4 bytes at 0x100, out of bounds of the block's 256 bytes of shared memory".into()],
            ..OUTSIDE
        });
        read(-1).finds(&Found { text: "ld.shared.u32", address: |_, _| Some(SHARED_WINDOW + 0xffff_fffc), ..OUTSIDE });
    }
    memory("shared_write", 64, &[Empty(256), Is(0)]).silent();
    memory("shared_write", 64, &[Empty(256), Is(1)]).finds(&Found {
        text: "st.volatile.shared.u32",
        who: &[(0, 1, 31)],
        address: |_, _| Some(SHARED_WINDOW + 256),
        says: |_, _| vec!["stores 4 bytes at 0x100, out of bounds".into()],
        ..OUTSIDE
    });
    memory("shared_from_below", 64, &[Empty(256)]).gives(0, (0..64).collect::<Vec<_>>());
}

#[test]
fn unwritten_shared_memory_is_not_read() {
    memory("shared_unwritten", 64, &[Empty(256), Is(64)]).gives(0, vec![1; 64]);
    memory("shared_unwritten", 64, &[Empty(256), Is(63)]).finds(&Found {
        text: "ld.shared.u32",
        who: &[(0, 1, 31)],
        address: |_, _| Some(SHARED_WINDOW + 252),
        says: |_, _| vec!["uninitialised shared memory".into(), "0xfc".into()],
        ..UNWRITTEN
    });
}

#[test]
fn lanes_may_point_into_different_spaces() {
    let read = |at| memory("generic_read", 32, &[Empty(128), words(33), Is(at)]);
    read(0).gives(0, (0..32).map(|i| [i + 100, i, i][i as usize % 3]).collect::<Vec<_>>());
    read(1).gives(0, (0..32).map(|i| [i + 101, i + 1, 1][i as usize % 3]).collect::<Vec<_>>());
    read(2).finds(&Found {
        text: "ld.volatile.u32",
        who: &[(0, 0, 2)],
        address: |_, _| Some(LOCAL_WINDOW + 8),
        says: |_, _| vec!["out of bounds of 8 bytes of local memory".into()],
        ..OUTSIDE
    });
}

#[test]
fn local_memory_has_bounds_and_is_written_first() {
    let read = |written, at| memory("local_read", 40, &[Empty(160), Is(written), Is(at)]);
    read(8, 7).gives(0, (7..47).collect::<Vec<_>>());
    read(7, 7).finds(&Found {
        text: "ld.local.u32",
        who: &[(0, 0, 0), (0, 1, 0)],
        address: |_, _| Some(LOCAL_WINDOW + 28),
        says: |_, _| vec!["local memory, not all of which it has written".into()],
        ..UNWRITTEN
    });
    for (at, address) in [(8, (|_, _| Some(LOCAL_WINDOW + 32)) as fn(&_, &_) -> _), (-1, |_, _| Some(LOCAL_WINDOW - 4))]
    {
        let found = Found { who: &[(0, 0, 0), (0, 1, 0)], address, ..OUTSIDE };
        read(8, at).finds(&Found { text: "ld.local.u32", ..found });
        let found = Found { who: &[(0, 0, 0), (0, 1, 0)], address, ..OUTSIDE };
        memory("local_write", 40, &[Empty(160), Is(at)]).finds(&Found { text: "st.local.u32", ..found });
    }
    memory("local_write", 40, &[Empty(160), Is(7)]).silent();
}

#[test]
fn parameters_have_bounds_and_are_not_written() {
    let numbers = Struct([10, 11, 12, 13]);
    let read = |at| memory("parameter_read", 32, &[Empty(128), numbers.clone(), Is(at)]);
    read(2).gives(0, (0..32).map(|i| 12 + i % 2).collect::<Vec<_>>());
    read(5).finds(&Found {
        text: "ld.param.u32",
        address: |_, _| Some(PARAMETER_WINDOW + 28),
        says: |_, _| vec!["out of bounds of 28 bytes of parameters".into()],
        ..OUTSIDE
    });
    let write = |at| memory("parameter_write", 32, &[Empty(128), numbers.clone(), Is(at)]);
    write(99).silent();
    write(3).finds(&Found {
        text: "st.u32",
        who: &[(0, 0, 3)],
        address: |_, _| Some(PARAMETER_WINDOW + 20),
        says: |_, _| vec!["which lies in the kernel's parameters".into()],
        ..READ_ONLY
    });
}

#[test]
fn constants_have_bounds_and_are_not_written() {
    let read = |at| memory("constant_read", 32, &[Empty(128), Is(at)]);
    read(2).gives(0, (0..32).map(|i| 3 + i % 2).collect::<Vec<_>>());
    read(3).finds(&Found {
        text: "ld.const.u32",
        who: &[(0, 0, 1)],
        address: |_, map| Some(map.variables["fixed"].0 + 16),
        says: |_, _| vec!["lies 1 bytes after allocation".into(), "(constant `fixed`)".into()],
        ..OUTSIDE
    });
    let write = |at| memory("constant_write", 32, &[Empty(128), Is(at)]);
    write(99).silent();
    let found = || Found {
        text: "st.u32",
        who: &[(0, 0, 3)],
        address: |_, map| Some(map.variables["fixed"].0 + 12),
        says: |_, _| vec!["which lies in constant memory".into()],
        ..READ_ONLY
    };
    write(3).finds(&found());
    memory("constant_add", 32, &[Is(99)]).silent();
    memory("constant_add", 32, &[Is(3)]).finds(&Found { text: "atom", ..found() });
}

#[test]
fn traps_and_assertions_name_their_thread() {
    let mut data = vec![0; 64];
    data[37] = 7;
    for kernel in ["traps", "asserts"] {
        memory(kernel, 64, &[Zeros(256)]).silent();
    }
    let who = &[(0, 1, 5)];
    let kind = FaultKind::Trap;
    let trap = Found { kind, text: "trap", who, unchecked: Some(kind), ..OUTSIDE };
    memory("traps", 64, &[Words(data.clone())]).finds(&trap);
    let kind = FaultKind::Assert;
    memory("asserts", 64, &[Words(data)]).finds(&Found {
        kind,
        text: "call.uni",
        who,
        says: |_, _| vec!["assertion `x[threadIdx.x] != 7` failed".into(), "faults_memory.cu:".into()],
        unchecked: Some(kind),
        ..OUTSIDE
    });
}

#[test]
fn endless_loops_end() {
    for (kernel, threads) in [("spins", 1), ("spins", 64), ("spins_at_barriers", 32), ("spins_at_barriers", 96)] {
        memory(kernel, threads, &[Words(vec![1])]).silent();
        memory(kernel, threads, &[Zeros(4)]).finds(&Found {
            kind: FaultKind::Stuck,
            text: "",
            who: &[(0, 0, 0), (0, 1, 0), (0, 2, 0)],
            says: |_, _| vec!["still does not end".into()],
            unchecked: Some(FaultKind::Stuck),
            ..OUTSIDE
        });
    }
}
