//! What may look like a fault and is none, each beside the fault that must stay.

mod support;

use rewind_emulator::exec::Launch;
use rewind_emulator::fault::{Fault, FaultKind};
use rewind_emulator::machine::Options;
use support::bench::Bench;

/// A kernel with pointers `%d0` (`out`) and `%d1` (`x`), a number `%r0` (`n`), the thread in `%r1`, and `%d2` and `%d3` at that
/// thread's words of `out` and `x`.
fn text(code: &str) -> String {
    format!(
        ".version 9.0 .target sm_80 .address_size 64\n\
         .visible .entry k(.param .u64 out, .param .u64 x, .param .u32 n)\n{{\n\
         .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<32>; .reg .b64 %d<16>;\n\
         .shared .align 16 .b8 tile[256]; .shared .align 4 .b8 flag[4]; .local .align 16 .b8 stack[16];\n\
         ld.param.u64 %d0, [out]; ld.param.u64 %d1, [x]; ld.param.u32 %r0, [n]; mov.u32 %r1, %tid.x;\n\
         mad.wide.u32 %d2, %r1, 4, %d0; mad.wide.u32 %d3, %r1, 4, %d1;\n\
         mov.u32 %r2, tile; mad.lo.u32 %r2, %r1, 4, %r2;\n{code}\nret;\n}}\n"
    )
}

/// What became of a launch: `out`, and the notes.
type Outcome = Result<(Vec<u32>, Vec<String>), Box<Fault>>;

/// Runs blocks of `threads` on 64 words of `out`, zeros, and of `x`, of which so many are written: word i is 100 + i.
fn run(code: &str, written: usize, n: u32, (blocks, threads): (u32, u32)) -> Vec<Outcome> {
    let text = text(code);
    let orders = [(1, None), (2, None), (1, Some(3)), (2, Some(4))];
    let one = |(threads_of_host, shuffle)| {
        let options = Options { threads: threads_of_host, shuffle, instruction_limit: 1 << 20, ..Options::default() };
        let mut bench = Bench::from_text(&text, options);
        let out = bench.put(&[0u32; 64]);
        let x = bench.empty(256);
        let words: Vec<u32> = (0..written as u32).map(|i| 100 + i).collect();
        bench.machine.memory.write(x, bytemuck::cast_slice(&words)).unwrap();
        let launch =
            Launch { grid: [blocks, 1, 1], block: [threads, 1, 1], dynamic_shared: 0, cooperative: blocks > 1 };
        bench.launch("k", launch, &[out, x, n.into()])?;
        Ok((bench.get(out, 64), bench.machine.take_notes()))
    };
    orders.into_iter().map(one).collect()
}

/// Nothing is found, and `out` starts like that.
fn right(code: &str, written: usize, n: u32, shape: (u32, u32), out: &[u32]) {
    for outcome in run(code, written, n, shape) {
        let (found, notes) = outcome.unwrap_or_else(|e| panic!("{code}: {e}"));
        assert_eq!(&found[..out.len()], out, "{code}");
        assert!(notes.is_empty(), "{code}: {notes:?}");
    }
}

/// A fault is found, at a line that contains `at`, and its sentence contains `says`.
fn wrong(code: &str, written: usize, n: u32, shape: (u32, u32), kind: FaultKind, at: &str, says: &str) {
    for outcome in run(code, written, n, shape) {
        let fault = outcome.expect_err(code);
        assert_eq!(fault.kind, kind, "{code}: {fault}");
        assert!(fault.text.contains(at) && fault.what.contains(says), "{code}: {fault}");
    }
}

fn unwritten(code: &str, written: usize, n: u32, threads: u32, says: &str) {
    wrong(code, written, n, (1, threads), FaultKind::Uninitialised, "ld.", says);
}

#[test]
fn unwritten_values_that_are_dropped_are_no_fault() {
    let choose = "ld.global.u32 %r3, [%d3];\nadd.u32 %r3, %r3, 1;\nsetp.lt.u32 %p1, %r1, %r0;\n\
                  selp.b32 %r4, %r3, 7, %p1;\nst.global.u32 [%d2], %r4;";
    let chosen: Vec<u32> = (0..32).map(|i| if i < 20 { 101 + i } else { 7 }).collect();
    right(choose, 20, 20, (1, 32), &chosen);
    unwritten(choose, 20, 21, 32, "which nobody has written; the value reaches a store at line 13");
    unwritten(choose, 20, 32, 32, "in lane 20");
    // Not stored in those lanes at all.
    let guarded = "ld.global.u32 %r3, [%d3];\nsetp.lt.u32 %p1, %r1, %r0;\n@%p1 st.global.u32 [%d2], %r3;";
    right(guarded, 20, 20, (1, 32), &(0..32).map(|i| if i < 20 { 100 + i } else { 0 }).collect::<Vec<_>>());
    unwritten(guarded, 20, 21, 32, "reaches a store");
    // Overwritten before it is used.
    let replaced = "ld.global.u32 %r3, [%d3];\nmov.u32 %r3, %r1;\nst.global.u32 [%d2], %r3;";
    right(replaced, 0, 0, (1, 32), &(0..32).collect::<Vec<_>>());
}

#[test]
fn unwritten_values_are_followed_to_their_use() {
    let uses = [
        ("cvt.u64.u32 %d4, %r3;\nadd.u64 %d4, %d4, %d0;\nld.global.u32 %r4, [%d4];", "an address"),
        ("setp.gt.u32 %p2, %r3, 5;\n@%p2 bra L;\nadd.u32 %r4, %r4, 1;\nL:", "a branch"),
        ("setp.gt.u32 %p2, %r3, 5;\n@%p2 mov.u32 %r4, 1;", "a branch"),
        ("atom.global.add.u32 %r4, [%d0], %r3;", "a store"),
        ("red.global.add.u32 [%d0], %r3;", "a store"),
        ("add.cc.u32 %r4, %r3, 1;\naddc.u32 %r5, 0, 0;\nst.global.u32 [%d2], %r5;", "a store"),
        ("shfl.sync.bfly.b32 %r4, %r3, 1, 31, -1;\nst.global.u32 [%d2], %r4;", "a store"),
        ("redux.sync.add.u32 %r4, %r3, -1;\nst.global.u32 [%d2], %r4;", "a store"),
        ("setp.gt.u32 %p2, %r3, 5;\nvote.sync.any.pred %p3, %p2, -1;\n@%p3 ret;", "a branch"),
        ("mov.b64 %d4, {%r1, %r3};\nmov.b64 {%r4, %r5}, %d4;\nst.global.u32 [%d2], %r5;", "a store"),
        ("st.shared.u32 [%r2], %r3;", "a store"),
    ];
    for (code, by) in uses {
        let code = format!("ld.global.u32 %r3, [%d3];\nmov.u32 %r4, 0;\n{code}");
        unwritten(&code, 0, 0, 32, &format!("; the value reaches {by} at line"));
    }
    // Through local memory, where a value may be put aside.
    let aside = |load: &str| format!("ld.global.u32 %r3, [%d3];\nst.local.u32 [stack], %r3;\n{load}");
    right(&aside("ld.local.u32 %r4, [stack];"), 0, 0, (1, 32), &[0; 32]);
    unwritten(&aside("ld.local.u32 %r4, [stack];\nst.global.u32 [%d2], %r4;"), 0, 0, 32, "local memory");
    // A shuffle from a lane that has a value.
    let first = "ld.global.u32 %r3, [%d3];\nshfl.sync.idx.b32 %r4, %r3, 0, 31, -1;\nst.global.u32 [%d2], %r4;";
    right(first, 1, 0, (1, 32), &[100; 32]);
}

#[test]
fn parts_of_a_vector_and_of_a_tile_may_be_unwritten() {
    let vector = |part: &str| {
        format!(
            "setp.ne.u32 %p1, %r1, 0;\n@%p1 ret;\nld.global.v4.u32 {{%r4,%r5,%r6,%r7}}, [%d1];\n\
             st.global.v2.u32 [%d0], {{%r4,%r5}};\nst.global.u32 [%d0+8], {part};"
        )
    };
    right(&vector("%r6"), 3, 0, (1, 32), &[100, 101, 102]);
    unwritten(&vector("%r7"), 3, 0, 32, "reaches a store");
    let tile = "setp.lt.u32 %p1, %r1, 40;\n@%p1 st.shared.u32 [%r2], %r1;\nbar.sync 0;\nld.shared.u32 %r3, [%r2];\n\
                setp.lt.u32 %p1, %r1, %r0;\nselp.b32 %r3, %r3, 9, %p1;\nst.global.u32 [%d2], %r3;";
    right(tile, 0, 40, (1, 64), &(0..64).map(|i| if i < 40 { i } else { 9 }).collect::<Vec<_>>());
    unwritten(tile, 0, 41, 64, "uninitialised shared memory");
}

/// Adds 1 to a word by compare-and-swap; what the first guess does besides.
fn swap_loop(besides: &str) -> String {
    format!(
        "ld.global.u32 %r3, [%d0];\n{besides}\ncvta.to.global.u64 %d5, %d0;\nL:\nmov.u32 %r4, %r3;\nadd.u32 %r5, %r4, 1;\n\
         atom.global.cas.b32 %r3, [%d5], %r4, %r5;\nsetp.ne.u32 %p1, %r3, %r4;\n@%p1 bra L;"
    )
}

#[test]
fn a_guess_for_a_swap_may_race_with_it() {
    right(&swap_loop(""), 64, 0, (4, 64), &[256]);
    // A read that is no guess.
    let other = "ld.global.u32 %r9, [%d0];\nst.global.u32 [%d3], %r9;\natom.global.cas.b32 %r3, [%d0], 0, 1;";
    wrong(other, 64, 0, (1, 64), FaultKind::Race, "", "data race in global memory");
    // And a plain write.
    let written = swap_loop("st.global.u32 [%d0], %r1;");
    wrong(&written, 64, 0, (1, 64), FaultKind::Race, "", "data race in global memory");
}

#[test]
fn several_threads_may_write_the_same_value() {
    for code in ["st.global.u32 [%d0], %r0;", "st.shared.u32 [flag], %r0;\nbar.sync 0;\nst.global.u32 [%d2], %r0;"] {
        for outcome in run(code, 0, 5, (1, 64)) {
            let (out, notes) = outcome.unwrap();
            assert_eq!(out[0], 5);
            assert!(notes.len() == 1 && notes[0].contains("write the same value"), "{notes:?}");
        }
    }
    // Threads of two warps, each its own in its warp.
    let pairs = "and.b32 %r3, %r1, 31;\nmad.wide.u32 %d4, %r3, 4, %d0;\nst.global.u32 [%d4], %r0;";
    for outcome in run(pairs, 0, 5, (1, 64)) {
        let (out, notes) = outcome.unwrap();
        assert_eq!(out[..33], [vec![5; 32], vec![0]].concat());
        assert!(notes.len() == 1 && notes[0].contains("several threads write the same value"), "{notes:?}");
    }
    for outcome in run("mov.u32 %r3, 8;\nst.global.v2.u32 [%d0], {%r3, %r0};", 0, 5, (8, 32)) {
        assert_eq!(outcome.unwrap().0[..2], [8, 5], "of several blocks");
    }
    wrong("shr.u32 %r3, %r1, 5;\nst.global.u32 [%d0], %r3;", 0, 0, (1, 64), FaultKind::Race, "st.global", "data race");
    // A reader between them.
    let read = "st.global.u32 [%d0], %r0;\nld.global.u32 %r3, [%d0];\nst.global.u32 [%d2+4], %r3;";
    wrong(read, 0, 5, (1, 64), FaultKind::Race, "", "data race");
}

#[test]
fn a_volatile_tile_needs_its_barrier() {
    let tile = |barrier: &str, across: u32| {
        format!(
            "st.volatile.shared.u32 [%r2], %r1;\n{barrier}\nxor.b32 %r3, %r1, {across};\nmov.u32 %r4, tile;\n\
             mad.lo.u32 %r4, %r3, 4, %r4;\nld.volatile.shared.u32 %r5, [%r4];\nadd.u32 %r5, %r5, 1;\n\
             st.global.u32 [%d2], %r5;"
        )
    };
    right(&tile("bar.sync 0;", 32), 0, 0, (1, 64), &(0..64).map(|i| (i ^ 32) + 1).collect::<Vec<_>>());
    for outcome in run(&tile("", 32), 0, 0, (1, 64)) {
        let fault = outcome.expect_err("the barrier is missing");
        assert!(matches!(fault.kind, FaultKind::Race | FaultKind::Uninitialised), "{fault}");
    }
    let twice = format!("st.volatile.shared.u32 [%r2], 0;\nbar.sync 0;\n{}", tile("", 32));
    wrong(&twice, 0, 0, (1, 64), FaultKind::Race, "volatile.shared", "data race in shared memory");
    // Old code relies on the lockstep of a warp.
    right(&tile("", 1), 0, 0, (1, 32), &(0..32).map(|i| (i ^ 1) + 1).collect::<Vec<_>>());
}

#[test]
fn a_volatile_flag_is_waited_for() {
    // Warp 0 sets a flag behind its data, warp 1 waits for it.
    let code = |fence: &str| {
        format!(
            "setp.eq.u32 %p1, %r1, 0;\n@%p1 st.shared.u32 [flag], 0;\nbar.sync 0;\nsetp.ge.u32 %p2, %r1, 32;\n\
             @%p2 bra W;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 ret;\nst.shared.u32 [tile], 42;\n{fence}\n\
             st.volatile.shared.u32 [flag], 1;\nret;\nW: ld.volatile.shared.u32 %r3, [flag];\n\
             setp.eq.u32 %p3, %r3, 0;\n@%p3 bra W;\n{fence}\nld.shared.u32 %r4, [tile];\nst.global.u32 [%d2], %r4;"
        )
    };
    right(&code("membar.cta;"), 0, 0, (1, 64), &[vec![0; 32], vec![42; 32]].concat());
    wrong(&code(""), 0, 0, (1, 64), FaultKind::Race, "ld.shared", "data race in shared memory");
}
