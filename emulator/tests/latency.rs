//! The longest chains of dependent instructions, on kernels whose chains are known by hand.

mod support;

use rewind_emulator::counters::{Chain, LaunchCounts};
use rewind_emulator::exec::Launch;
use rewind_emulator::machine::Options;
use rewind_emulator::profile::H100_SXM;
use rewind_emulator::report::{Resource, bounds};
use support::bench::Bench;

/// The counts of a kernel with these lines as its body: `%t` is the thread's number, `%x` points to `words` zeroed words, `tile` is
/// 4 KiB of shared memory.
fn counted(code: &str, grid: u32, threads: u32, cooperative: bool, options: Options) -> LaunchCounts {
    let text = format!(
        ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 x)\n{{\n\
         .reg .pred %p<8>; .reg .b32 %r<16>; .reg .b64 %d<16>; .reg .f32 %f<16>; .reg .b64 %x; .reg .b64 %o; .reg .b32 %t;\n\
         .shared .align 16 .b8 tile[4096];\n\
         ld.param.u64 %x, [x]; mov.u32 %t, %tid.x;\n{code}\nret;\n}}\n"
    );
    let mut bench = Bench::from_text(&text, options);
    let x = bench.put(&vec![0u32; 1 << 14]);
    let launch = Launch { grid: [grid, 1, 1], block: [threads, 1, 1], dynamic_shared: 0, cooperative };
    bench.launch("k", launch, &[x]).unwrap_or_else(|e| panic!("{e}"));
    bench.machine.counts()[0].clone()
}

/// Clocks of one warp's chain: the same in every order, and with checks.
fn clocks(code: &str, threads: u32) -> u64 {
    let found = [(true, None), (false, Some(1)), (false, Some(2))].map(|(checks, shuffle)| {
        let options = Options { checks, shuffle, threads: 1, ..Options::default() };
        counted(code, 1, threads, false, options).chain.expect("counters are on").longest
    });
    assert!(found.iter().all(|clocks| *clocks == found[0]), "{found:?}");
    found[0]
}

/// What the kernel takes that has no code: it ends.
fn empty() -> u64 {
    clocks("", 32)
}

#[test]
fn dependent_products_wait_for_each_other_and_independent_ones_do_not() {
    let arithmetic = u64::from(H100_SXM.latencies.arithmetic);
    // an instruction issues in the clock after the one before it, or when the latest result that it needs is there
    let chain = |n: usize| "fma.rn.f32 %f1, %f1, %f1, %f1;\n".repeat(n) + "st.global.f32 [%x], %f1;";
    for n in [1, 2, 10, 100] {
        assert_eq!(clocks(&chain(n), 1) - empty(), n as u64 * arithmetic + 1, "{n}");
    }
    let apart = |n: usize| (0..n).map(|i| format!("fma.rn.f32 %f{i}, %f15, %f15, %f15;\n")).collect::<String>();
    for n in [1, 4, 15] {
        assert_eq!(clocks(&apart(n), 1) - empty(), n as u64, "{n}");
    }
    // a move costs nothing and passes the time on
    let moved = chain(3).replace("st.global.f32", "mov.f32 %f2, %f1; mov.f32 %f1, %f2; st.global.f32");
    assert_eq!(clocks(&moved, 1), clocks(&chain(3), 1));
    // in order: what needs the short chain's result alone still issues behind the long one's last product
    let two = "fma.rn.f32 %f2, %f3, %f3, %f3;\n".to_string() + &chain(5).replace("], %f1", "], %f2");
    assert_eq!(clocks(&two, 1) - empty(), 1 + 4 * arithmetic + 2);
}

#[test]
fn each_kind_of_instruction_has_its_own_latency() {
    let l = H100_SXM.latencies;
    let product = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0, %f1, %f2, %f3}, {%r0, %r1, %r2, %r3}, \
                   {%r4, %r5}, {%f0, %f1, %f2, %f3};";
    let short = product
        .replace("m16n8k8", "m16n8k4")
        .replace("{%r0, %r1, %r2, %r3}", "{%r0, %r1}")
        .replace("{%r4, %r5}", "{%r4}");
    for (what, latency) in [
        ("rcp.approx.f32 %f0, %f0;", l.special),
        ("ex2.approx.f32 %f0, %f0;", l.special),
        ("shfl.sync.bfly.b32 %f0, %f0, 1, 31, -1;", l.shuffle),
        (product, l.product),
        (&short, l.short_product),
        ("setp.gt.f32 %p1, %f0, 0f00000000; selp.f32 %f0, %f0, %f1, %p1;", 2 * l.arithmetic),
        ("cvt.rna.tf32.f32 %r0, %f0; mov.b32 %f0, %r0;", l.arithmetic),
    ] {
        let run = |n: usize| clocks(&(format!("{what}\n").repeat(n) + "abs.f32 %f4, %f0;"), 32);
        assert_eq!(run(5) - run(1), 4 * u64::from(latency), "{what}");
    }
}

#[test]
fn loads_take_as_long_as_the_memory_they_come_from() {
    let l = H100_SXM.latencies;
    // each address is the word before it: zero, so that every load after the first is of the same line
    let chase = |load: &str, n: usize| {
        format!(
            "cvt.u64.u32 %d1, %t; add.u64 %d1, %x, 0;\n{}",
            "LOAD %d2, [%d1]; add.u64 %d1, %d1, %d2;\n".replace("LOAD", load).repeat(n)
        ) + "add.u64 %d1, %d1, 1;"
    };
    for (load, first, again) in [
        ("ld.global.u64", l.l2, l.l1),
        ("ld.global.nc.u64", l.l2, l.l1),
        ("ld.global.cg.u64", l.l2, l.l2),
        ("ld.volatile.global.u64", l.l2, l.l2),
        ("ld.relaxed.cta.global.u64", l.l2, l.l1),
    ] {
        let run = |n: usize| clocks(&chase(load, n), 1);
        let each = |latency: u32| u64::from(latency + l.arithmetic);
        assert_eq!(run(1) - run(0), each(first), "{load}");
        assert_eq!(run(4) - run(1), 3 * each(again), "{load}");
    }
    // another line, 128 bytes on, is new again; a store brings a line too
    let two = |at: u32| {
        clocks(
            &format!(
                "ld.global.u32 %r1, [%x]; add.u32 %r2, %r1, 1; ld.global.u32 %r3, [%x+{at}]; add.u32 %r4, %r3, 1;"
            ),
            1,
        )
    };
    assert_eq!(two(128) - two(64), u64::from(l.l2 - l.l1));
    let stored =
        |at: u32| clocks(&format!("st.global.u32 [%x+{at}], %t; ld.global.u32 %r1, [%x]; add.u32 %r4, %r1, 1;"), 1);
    assert_eq!(stored(256) - stored(4), u64::from(l.l2 - l.l1));
    // atomics are done in L2, in shared memory there
    let atomic =
        |space: &str, at: &str| clocks(&format!("atom.{space}.add.u32 %r1, [{at}], 0; add.u32 %r4, %r1, 1;"), 1);
    let tile = "mov.u32 %r9, tile; st.shared.u32 [%r9], %t;";
    assert_eq!(atomic("global", "%x") - empty(), u64::from(l.l2) + 1);
    let shared = clocks(&format!("{tile} atom.shared.add.u32 %r1, [%r9], 0; add.u32 %r4, %r1, 1;"), 1);
    assert_eq!(shared - clocks(tile, 1), u64::from(l.shared) + 1);
}

#[test]
fn a_round_trip_through_shared_memory_waits_at_the_barrier() {
    let l = H100_SXM.latencies;
    let trip = "mov.u32 %r1, tile; st.shared.f32 [%r1], %f1; bar.sync 0; ld.shared.f32 %f1, [%r1]; bar.sync 0;\n";
    // thread 0 alone writes; all read
    let one = trip.replace("st.shared", "@%p1 st.shared");
    let run = |n: usize| clocks(&format!("setp.eq.u32 %p1, %t, 0; {} add.f32 %f2, %f1, %f1;", one.repeat(n)), 64);
    // store, barrier, load, and the second barrier while the load is on its way, whose value the next store needs
    let after_load = u64::from(l.shared).max(1 + u64::from(l.barrier));
    assert_eq!(run(4) - run(3), 1 + u64::from(l.barrier) + after_load);
}

#[test]
fn a_barrier_joins_a_slow_warp_and_a_fast_one() {
    let l = H100_SXM.latencies;
    // warp 0 has a chain in front of the barrier, warp 1 the same behind it
    let chain = |n: usize| "fma.rn.f32 %f1, %f1, %f1, %f1;\n".repeat(n);
    let code = |n: usize, barrier: &str| {
        format!(
            "setp.lt.u32 %p1, %t, 32;\n@!%p1 bra $behind;\n{}add.f32 %f2, %f1, %f1;\n$behind:\n{barrier}\n@%p1 bra $end;\n{}add.f32 %f2, %f1, %f1;\n$end:\n",
            chain(n),
            chain(n)
        )
    };
    let per_product = u64::from(l.arithmetic);
    let (with, without) = (|n| clocks(&code(n, "bar.sync 0;"), 64), |n| clocks(&code(n, ""), 64));
    assert_eq!(with(30) - with(20), 2 * 10 * per_product);
    assert_eq!(without(30) - without(20), 10 * per_product);
    // one that only tells the others that it has come does not wait
    let arrives = |n: usize| {
        let first = format!("bar.arrive 1, 64; {} bra $end;", chain(n));
        clocks(&format!("setp.lt.u32 %p1, %t, 32;\n@!%p1 bra $other;\n{first}\n$other:\nbar.sync 1, 64;\n$end:\n"), 64)
    };
    assert_eq!(arrives(40) - arrives(30), 10 * per_product);
}

#[test]
fn a_loop_repeats_its_chain() {
    let l = H100_SXM.latencies;
    let code = |n: usize| {
        format!(
            "mov.u32 %r1, 0;\n$again:\nfma.rn.f32 %f1, %f1, %f1, %f1;\nadd.u32 %r1, %r1, 1;\nsetp.lt.u32 %p1, %r1, {n};\n\
             @%p1 bra $again;\nadd.f32 %f2, %f1, %f1;"
        )
    };
    // in order: the sum, the comparison when it is there, the branch when that is, and the next round's product
    let round = 2 + 2 * u64::from(l.arithmetic);
    assert_eq!(clocks(&code(30), 1) - clocks(&code(10), 1), 20 * round);
}

#[test]
fn copies_are_waited_for_by_group() {
    let l = H100_SXM.latencies;
    let copy = |at: u32| format!("cp.async.cg.shared.global [%r1+{at}], [%x+{at}], 16; cp.async.commit_group;\n");
    let code = |wait: &str| {
        let idle = "fma.rn.f32 %f1, %f1, %f1, %f1;\n".repeat(10) + "add.f32 %f2, %f1, %f1;\n";
        clocks(&format!("mov.u32 %r1, tile;\n{}{idle}{}{wait}\nadd.u32 %r2, %r1, 1;", copy(0), copy(16)), 1)
    };
    let none = code("");
    // the first group has been on its way for the idle chain, two instructions for each group and the wait's own
    let waited = u64::from(l.l2) - 10 * u64::from(l.arithmetic) - 4;
    assert_eq!(code("cp.async.wait_group 2;") - none, 1);
    assert_eq!(code("cp.async.wait_group 1;") - none, waited - 1);
    assert_eq!(code("cp.async.wait_group 0;") - none, u64::from(l.l2) - 2);
    assert_eq!(code("cp.async.wait_all;"), code("cp.async.wait_group 0;"));
}

/// The barrier of cooperative groups: an addition, and looks at the word until its upper bit has turned.
const GRID_BARRIER: &str = "bar.sync 0;\nsetp.ne.u32 %p2, %t, 0;\n@%p2 bra $past;\nmov.u32 %r1, %ctaid.x; setp.eq.u32 %p3, %r1, 0;\n\
     mov.u32 %r2, %nctaid.x; sub.u32 %r3, 0x80000001, %r2; selp.b32 %r4, %r3, 1, %p3;\n\
     atom.add.release.gpu.u32 %r5, [%x], %r4;\n$wait:\nld.acquire.gpu.u32 %r6, [%x];\nxor.b32 %r7, %r6, %r5;\n\
     setp.gt.s32 %p4, %r7, -1;\n@%p4 bra $wait;\n$past:\nbar.sync 0;\n";

/// Another one: a count that blocks wait for. No result depends on their order, so that several host threads run them.
const GRID_COUNT: &str = "bar.sync 0;\nsetp.ne.u32 %p2, %t, 0;\n@%p2 bra $past;\nmov.u32 %r2, %nctaid.x;\n\
     red.release.gpu.global.add.u32 [%x], 1;\n$wait:\nld.acquire.gpu.global.u32 %r6, [%x];\n\
     setp.lt.u32 %p4, %r6, %r2;\n@%p4 bra $wait;\n$past:\nbar.sync 0;\n";

#[test]
fn a_barrier_of_the_grid_joins_all_blocks_however_often_they_look() {
    let l = H100_SXM.latencies;
    let chain = |n: usize| "fma.rn.f32 %f1, %f1, %f1, %f1;\n".repeat(n) + "add.f32 %f2, %f1, %f1;\n";
    // block 1 has a chain in front of the barrier, block 0 one behind it
    let code = |n: usize, barrier: &str| {
        format!(
            "mov.u32 %r8, %ctaid.x; setp.ne.u32 %p1, %r8, 1;\n@%p1 bra $barrier;\n{}$barrier:\n{barrier}\
             setp.ne.u32 %p1, %r8, 0;\n@%p1 bra $end;\n{}$end:\n",
            chain(n),
            chain(n)
        )
    };
    let run = |n, barrier, threads, shuffle| {
        let options = Options { threads, shuffle, checks: false, ..Options::default() };
        counted(&code(n, barrier), 6, 64, true, options).chain.expect("counters are on").longest
    };
    for barrier in [GRID_BARRIER, GRID_COUNT] {
        let natural = run(300, barrier, 1, None);
        assert_eq!(natural - run(200, barrier, 1, None), 2 * 100 * u64::from(l.arithmetic));
        // how often blocks look depends on the order in which they run here; the chain does not
        for (threads, shuffle) in [(1, Some(1)), (1, Some(2)), (3, None), (3, Some(3)), (6, None)] {
            assert_eq!(run(300, barrier, threads, shuffle), natural, "{threads} threads, {shuffle:?}");
        }
        // one chain alone, the way to L2 and back for the look, and for the addition where its result is needed
        let least = run(300, "", 1, None) + 300 * u64::from(l.arithmetic) + u64::from(l.l2);
        assert!((least..least + 2 * u64::from(l.l2)).contains(&natural), "{natural} against {least}");
    }
}

#[test]
fn a_wait_for_another_warp_counts_as_one_look() {
    // warp 1 looks at a word of shared memory until warp 0 has written it, after a chain of its own
    let code = |n: usize| {
        let chain = "fma.rn.f32 %f1, %f1, %f1, %f1;\n".repeat(n);
        format!(
            "mov.u32 %r1, tile; setp.ne.u32 %p1, %t, 0; @!%p1 st.volatile.shared.u32 [%r1], 0; bar.sync 0;\n\
             setp.lt.u32 %p1, %t, 32;\n@!%p1 bra $wait;\n{chain}setp.ne.u32 %p2, %t, 0; mov.u32 %r2, 1;\n\
             @!%p2 st.volatile.shared.u32 [%r1], %r2;\nbra $end;\n$wait:\nld.volatile.shared.u32 %r3, [%r1];\n\
             add.u32 %r4, %r4, 1;\nsetp.eq.u32 %p3, %r3, 0;\n@%p3 bra $wait;\n$end:\n"
        )
    };
    let l = H100_SXM.latencies;
    let run = |n: usize, shuffle| {
        let options = Options { checks: false, shuffle, threads: 1, ..Options::default() };
        counted(&code(n), 1, 64, false, options).chain.expect("counters are on").longest
    };
    // in shuffled orders the second warp looks hundreds of times while the first one's chain runs
    for shuffle in [None, Some(1), Some(2), Some(3)] {
        assert_eq!(run(600, shuffle) - run(500, shuffle), 100 * u64::from(l.arithmetic), "{shuffle:?}");
        assert_eq!(run(500, shuffle), run(500, None), "{shuffle:?}");
    }
}

#[test]
fn the_bound_is_that_of_the_longest_block_and_only_where_latencies_were_followed() {
    // block b runs b rounds
    let code = "mov.u32 %r1, %ctaid.x;\n$again:\nfma.rn.f32 %f1, %f1, %f1, %f1;\nsub.u32 %r1, %r1, 1;\nsetp.ge.s32 %p1, %r1, 0;\n\
                @%p1 bra $again;";
    let options = |threads| Options { threads, ..Options::default() };
    let counts = counted(code, 40, 32, false, options(1));
    let chain = counts.chain.clone().expect("counters are on");
    assert_eq!(chain.gpu, "h100-sxm");
    let round = 2 + 2 * u64::from(H100_SXM.latencies.arithmetic);
    assert_eq!(chain.longest - chain.shortest, 39 * round);
    assert_eq!(counted(code, 40, 32, false, options(3)).chain, Some(chain.clone()));
    let bound = bounds(&counts, &H100_SXM);
    let us = chain.longest as f64 / H100_SXM.clock_hz() * 1e6;
    assert!((bound.microseconds[&Resource::Latency] / us - 1.0).abs() < 1e-12);
    assert_eq!(bound.binding, Resource::Latency);
    // a kernel that reads a clock may wait for it
    let clock = counted(&format!("mov.u64 %d1, %clock64;\n{code}"), 2, 32, false, options(1));
    assert_eq!(clock.chain, None);
    // counts survive their file, also files from before there were chains
    let text = serde_json::to_string(&counts).expect("numbers");
    assert_eq!(serde_json::from_str::<LaunchCounts>(&text).expect("ours").chain, Some(chain));
    let older = text.replace("\"chain\"", "\"unknown\"");
    assert_eq!(serde_json::from_str::<LaunchCounts>(&older).expect("ours").chain, None::<Chain>);
}
