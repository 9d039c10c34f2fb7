//! Block barriers that some threads miss, and asynchronous copies that are used too early.

use rewind_emulator::fault::{Fault, FaultKind};
use rewind_emulator::memory::SHARED_WINDOW;

use crate::case::*;

const MISSED: Found = Found {
    kind: FaultKind::Barrier,
    text: "bar.sync",
    who: &[(0, 0, 0)],
    address: nowhere,
    says: nothing,
    unchecked: None,
};
const EARLY: Found = Found {
    kind: FaultKind::AsyncCopy,
    text: "ld.shared.u32",
    who: &[(0, 0, 0), (0, 1, 0)],
    address: |f, _| Some(SHARED_WINDOW + 128 * u64::from(f.warp)),
    says: |f, _| vec!["touches the destination of the cp.async".into(), format!("by block 0 warp {} lane 0", f.warp)],
    unchecked: None,
};

fn barriers(kernel: &'static str, threads: u32, arguments: &[Argument]) -> Case {
    case("faults_barriers", kernel, threads, arguments)
}

#[test]
fn every_thread_comes_to_a_barrier() {
    for (kernel, text) in [("skips", "bar.sync"), ("leaves", "bar.sync"), ("counts", "bar.red.popc.u32")] {
        for from in [32, 40, 8] {
            barriers(kernel, 64, &[Empty(256), Is(from)]).finds(&Found {
                text,
                says: match from {
                    32 => |_, _| {
                        vec![
                            "32 of 64 threads wait at a barrier that the others skip".into(),
                            "thread [32, 0, 0] ended at line".into(),
                        ]
                    },
                    40 => |_, _| vec!["40 of 64 threads wait".into(), "thread [40, 0, 0] ended at line".into()],
                    _ => |_, _| vec!["8 of 64 threads wait".into(), "thread [8, 0, 0] ended at line".into()],
                },
                ..MISSED
            });
        }
        for threads in [64, 40, 7] {
            barriers(kernel, threads, &[Zeros(256), Is(64)]).silent();
        }
    }
    barriers("counts", 50, &[Empty(200), Is(64)]).gives(0, vec![25; 50]);
    barriers("leaves_later", 64, &[Zeros(256), Is(5)]).silent();
}

#[test]
fn every_thread_comes_to_the_same_barrier() {
    // Warps may: a barrier is told by its number.
    for from in [64, 32] {
        let out = (0..64).map(|i| if i < from { 1 } else { 2 }).collect::<Vec<_>>();
        barriers("elsewhere", 64, &[Empty(256), Is(from.into())]).gives(0, out);
    }
    // Threads of one warp may not.
    barriers("elsewhere", 64, &[Empty(256), Is(48)]).finds(&Found {
        who: &[(0, 1, 0), (0, 1, 16)],
        says: |f, _| {
            let other = if f.text.ends_with("// here") { "// there" } else { "// here" };
            vec!["come to the same barrier 0 at different places: warp 1".into(), other.into()]
        },
        ..MISSED
    });
    barriers("rounds", 64, &[Empty(256), Is(64)]).gives(0, vec![1; 64]);
    barriers("rounds", 64, &[Empty(256), Is(32)]).finds(&Found {
        who: &[(0, 1, 0)],
        says: |_, _| vec!["32 of 64 threads wait at a barrier".into(), "thread [0, 0, 0] ended at line".into()],
        ..MISSED
    });
    barriers("unaligned", 64, &[Empty(256)]).gives(0, vec![1; 64]);
}

#[test]
fn named_barriers_count_their_threads() {
    barriers("named", 128, &[Empty(512), Is(64)]).gives(0, (0..128).map(|i| i ^ 32).collect::<Vec<_>>());
    let named = |count| barriers("named", 128, &[Empty(512), Is(count)]);
    named(96).finds(&Found {
        text: "barrier.sync",
        who: &[(0, 0, 0)],
        says: |_, _| vec!["wait at a barrier".into()],
        unchecked: Some(FaultKind::Barrier),
        ..MISSED
    });
    let illegal = |says| Found {
        text: "barrier.sync",
        who: &[(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0)],
        says,
        unchecked: Some(FaultKind::Barrier),
        ..MISSED
    };
    named(33).finds(&illegal(|_, _| vec!["a barrier for 33 threads".into()]));
    named(160).finds(&illegal(|_, _| vec!["a barrier for 160 threads".into()]));
    // Each warp passes on its own, so that nothing orders the two.
    named(32).finds(&Found {
        kind: FaultKind::Uninitialised,
        text: "ld.shared.u32",
        who: &[(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0)],
        address: |f, _| Some(SHARED_WINDOW + 4 * u64::from((32 * f.warp) ^ 32)),
        unchecked: None,
        ..MISSED
    });
    barriers("differing_counts", 64, &[Empty(256), Is(64)]).gives(0, vec![1; 64]);
    barriers("differing_counts", 64, &[Empty(256), Is(32)])
        .finds(&illegal(|_, _| vec!["barrier 4 for".into(), "which others wait at for".into()]));
    barriers("numbered", 64, &[Empty(256), Is(15)]).gives(0, vec![1; 64]);
    barriers("numbered", 64, &[Empty(256), Is(16)]).finds(&illegal(|_, _| vec!["barrier 16, and there are 16".into()]));
}

#[test]
fn an_arrival_orders_like_a_wait() {
    let moved = [vec![0; 32], (0..32).collect()].concat();
    barriers("produces", 64, &[Zeros(256), Is(1)]).gives(0, moved);
    barriers("produces", 64, &[Zeros(256), Is(0)]).finds(&Found {
        text: "barrier.sync",
        who: &[(0, 1, 0)],
        says: |_, _| vec!["32 of 64 threads wait at a barrier".into(), "thread [0, 0, 0] ended".into()],
        unchecked: Some(FaultKind::Barrier),
        ..MISSED
    });
}

fn data() -> Argument {
    Words((100..164).collect())
}

#[test]
fn copies_are_waited_for_by_their_thread() {
    for kernel in ["copies", "uncommitted"] {
        barriers(kernel, 64, &[Empty(256), data(), Is(1)]).gives(0, (100..164).collect::<Vec<_>>());
        barriers(kernel, 64, &[Empty(256), data(), Is(0)]).finds(&EARLY);
    }
    barriers("two_groups", 64, &[Empty(256), data(), Is(0)]).gives(0, (100..164).collect::<Vec<_>>());
    barriers("two_groups", 64, &[Empty(256), data(), Is(1)])
        .finds(&Found { address: |f, _| Some(SHARED_WINDOW + 256 + 128 * u64::from(f.warp)), ..EARLY });
    barriers("copies_past_the_end", 64, &[Empty(256), data(), Is(0)]).silent();
    barriers("copies_past_the_end", 64, &[Empty(256), data(), Is(1)]).finds(&Found {
        kind: FaultKind::OutOfBounds,
        text: "cp.async.ca.shared.global",
        who: &[(0, 1, 31)],
        address: |_, map| Some(map.arguments[1] + 256),
        says: |_, _| vec!["lies 1 bytes after allocation".into()],
        unchecked: Some(FaultKind::OutOfBounds),
    });
}

/// The element of the thread across the warps.
fn across(fault: &Fault, _: &Map) -> Option<u64> {
    Some(SHARED_WINDOW + 4 * u64::from((32 * fault.warp + fault.lane) ^ 32))
}

#[test]
fn copies_for_other_threads_need_a_wait_and_a_barrier() {
    let flipped = (0..64).map(|i| 100 + (i ^ 32)).collect::<Vec<_>>();
    let run = |kernel, right| barriers(kernel, 64, &[Empty(256), data(), Is(right)]);
    for kernel in ["copies_for_others", "meets_unwaited"] {
        run(kernel, 1).gives(0, flipped.clone());
    }
    // In whatever order: the reader comes first, or the copy has been waited for.
    run("meets_unwaited", 0).finds(&Found {
        address: across,
        says: |f, _| vec![format!("cp.async write at line"), format!("by block 0 warp {} lane 0", 1 - f.warp)],
        ..EARLY
    });
    run("copies_again", 1).gives(0, flipped.iter().map(|v| 3 * v).collect::<Vec<_>>());
    run("copies_again", 0).finds(&Found {
        kind: FaultKind::Race,
        text: "",
        // The next copy comes second, or the read that it overtakes.
        address: |f, map| {
            if f.text.starts_with("ld") { across(f, map) } else { Some(SHARED_WINDOW + 128 * u64::from(f.warp)) }
        },
        says: |f, _| {
            let did = if f.text.starts_with("ld") { "write at line" } else { "read at line" };
            vec![did.into(), format!("by block 0 warp {} lane 0", 1 - f.warp)]
        },
        ..EARLY
    });
}
