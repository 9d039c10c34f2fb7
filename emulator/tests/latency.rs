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
    // an instruction issues when the latest result that it needs is there; all together they take a clock each
    let chain = |n: usize| "fma.rn.f32 %f1, %f1, %f1, %f1;\n".repeat(n) + "st.global.f32 [%x], %f1;";
    for n in [1, 2, 10, 100] {
        assert_eq!(clocks(&chain(n), 1) - empty(), n as u64 * arithmetic, "{n}");
    }
    let apart = |n: usize| (0..n).map(|i| format!("fma.rn.f32 %f{i}, %f15, %f15, %f15;\n")).collect::<String>();
    for n in [1, 4, 15] {
        assert_eq!(clocks(&apart(n), 1) - empty(), n as u64, "{n}");
    }
    // a move costs nothing and passes the time on
    let moved = chain(3).replace("st.global.f32", "mov.f32 %f2, %f1; mov.f32 %f1, %f2; st.global.f32");
    assert_eq!(clocks(&moved, 1), clocks(&chain(3), 1));
    // two chains take as long as the longer
    let two = "fma.rn.f32 %f2, %f3, %f3, %f3;\n".to_string() + &chain(5).replace("], %f1", "], %f2");
    assert_eq!(clocks(&two, 1) - empty(), 4 * arithmetic);
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
        let second = format!("cvt.u64.u32 %d1, %r1; add.u64 %d1, %d1, %x; ld.global.u32 %r3, [%d1+{at}];");
        clocks(&format!("ld.global.u32 %r1, [%x]; {second} add.u32 %r4, %r3, 1;"), 1)
    };
    assert_eq!(two(128) - two(64), u64::from(l.l2 - l.l1));
    let stored =
        |at: u32| clocks(&format!("st.global.u32 [%x+{at}], %t; ld.global.u32 %r1, [%x]; add.u32 %r4, %r1, 1;"), 1);
    assert_eq!(stored(256) - stored(4), u64::from(l.l2 - l.l1));
    // atomics are done in L2, in shared memory there; the sum issues when the result is there, in the last clock
    let atomic = clocks("atom.global.add.u32 %r1, [%x], 0; add.u32 %r4, %r1, 1;", 1);
    assert_eq!(atomic, u64::from(l.l2) + 1);
    let shared = "mov.u32 %r9, tile; st.shared.u32 [%r9], %t; atom.shared.add.u32 %r1, [%r9], 0; add.u32 %r4, %r1, 1;";
    assert_eq!(clocks(shared, 1), u64::from(l.shared) + 1);
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

/// Gives each thread a word of shared memory, at `%r1`, and writes it.
const OWN_WORD: &str = "mov.u32 %r1, tile; mad.lo.u32 %r1, %t, 4, %r1; st.shared.f32 [%r1], %f3;\n";

/// Products that wait for each other from `%f1` on, and `%f2` at their end.
fn products(n: usize) -> String {
    "fma.rn.f32 %f1, %f1, %f1, %f1;\n".repeat(n) + "add.f32 %f2, %f1, %f1;\n"
}

#[test]
fn a_barrier_joins_a_slow_warp_and_a_fast_one() {
    let ten = 10 * u64::from(H100_SXM.latencies.arithmetic);
    let split = |warp0: &str, warp1: &str| {
        clocks(
            &format!(
                "{OWN_WORD}setp.lt.u32 %p1, %t, 32;\n@!%p1 bra $other;\n{warp0}\nbra $end;\n$other:\n{warp1}\n$end:\n"
            ),
            64,
        )
    };
    let stores = |n: usize| products(n) + "st.shared.f32 [%r1], %f2;\n";
    let loads = |n: usize| "ld.shared.f32 %f1, [%r1];\n".to_string() + &products(n);
    // warp 0 stores what a chain gives in front of a barrier, warp 1 loads what another starts from behind it
    let joined =
        |n: usize, kind: &str, other: &str| split(&(stores(n) + kind), &(other.to_string() + "\n" + &loads(n)));
    for (kind, other, chains) in [
        ("barrier.sync 1, 64;", "barrier.sync 1, 64;", 2),
        // who only tells that it has come is waited for
        ("barrier.arrive 1, 64;", "barrier.sync 1, 64;", 2),
        ("", "", 1),
    ] {
        assert_eq!(joined(30, kind, other) - joined(20, kind, other), chains * ten, "{kind}");
    }
    // and does not wait
    let early = |n: usize, kind: &str| split(&format!("{kind}\n{}", loads(n)), &(stores(n) + "barrier.sync 1, 64;"));
    for (kind, chains) in [("barrier.sync 1, 64;", 2), ("barrier.arrive 1, 64;", 1)] {
        assert_eq!(early(30, kind) - early(20, kind), chains * ten, "{kind}");
    }
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
    // the sum, the comparison when it is there, the branch when that is, which no round's instructions pass
    let round = 1 + 2 * u64::from(l.arithmetic);
    assert_eq!(clocks(&code(30), 1) - clocks(&code(10), 1), 20 * round);
}

#[test]
fn a_loop_waits_for_the_loads_of_each_round() {
    let (l2, arithmetic) = (u64::from(H100_SXM.latencies.l2), u64::from(H100_SXM.latencies.arithmetic));
    // sums of loads: the assembler may have all of a round under way at once, but not those of the next
    let sum = |at: usize| format!("ld.global.cg.f32 %f2, [%x+{at}]; add.f32 %f1, %f1, %f2;\n");
    let code = |rounds: usize, each: usize| {
        let body: String = (0..each).map(|i| sum(128 * i)).collect();
        format!(
            "mov.u32 %r1, 0;\n$again:\n{body}add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, {rounds};\n@%p1 bra $again;\n\
             add.f32 %f3, %f1, %f1;"
        )
    };
    // a load, the sums one after the other, the last sum's clock and the branch's
    for each in [1, 4] {
        let round = l2 + (each as u64 - 1) * arithmetic + 2;
        assert_eq!(clocks(&code(8, each), 1) - clocks(&code(3, each), 1), 5 * round, "{each}");
    }
}

#[test]
fn copies_are_waited_for_by_group() {
    let l = H100_SXM.latencies;
    let copy =
        |from: &str, at: u32| format!("cp.async.cg.shared.global [%r1+{at}], [{from}], 16; cp.async.commit_group;\n");
    // the second copy's address comes out of a chain of ten sums
    let later = "mov.u64 %d1, %x;\n".to_string() + &"add.u64 %d1, %d1, 0;\n".repeat(10);
    let code = |wait: &str| {
        let copies = format!("{}{later}{}", copy("%x", 0), copy("%d1", 16));
        let load = "ld.shared.u32 %r2, [%r1+32]; add.u32 %r3, %r2, 1;";
        clocks(&format!("mov.u32 %r1, tile; st.shared.u32 [%r1+32], %t;\n{copies}{wait}\n{load}"), 1)
    };
    // a load behind the wait, and what needs it
    let loaded = |from: u64| from + u64::from(l.shared) + 1;
    let second = 10 * u64::from(l.arithmetic);
    // no access moves across a wait, which is an instruction of its own behind the second copy
    assert_eq!(code("cp.async.wait_group 2;"), loaded(second + 2));
    assert_eq!(code("cp.async.wait_group 1;"), loaded(l.l2.into()));
    assert_eq!(code("cp.async.wait_group 0;"), loaded(second + u64::from(l.l2)));
    assert_eq!(code("cp.async.wait_all;"), loaded(second + u64::from(l.l2)));
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
    // block 1 has a chain in front of the barrier whose result it stores, block 0 loads what one starts from behind it
    let code = |n: usize, barrier: &str| {
        format!(
            "{OWN_WORD}mov.u32 %r8, %ctaid.x; mov.u32 %r9, %r1; setp.ne.u32 %p1, %r8, 1;\n@%p1 bra $barrier;\n{}\
             st.shared.f32 [%r9], %f2;\n$barrier:\n{barrier}setp.ne.u32 %p1, %r8, 0;\n@%p1 bra $end;\n\
             ld.shared.f32 %f1, [%r9];\n{}$end:\n",
            products(n),
            products(n)
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
        for shuffle in [Some(1), Some(2)] {
            assert_eq!(run(300, barrier, 1, shuffle), natural, "{shuffle:?}");
        }
        // On several host threads a block may look while the others' additions are under way. Whether the lanes that do not look come to
        // the block's barrier in between is then up to the host: that ends one look and begins another, whose three instructions count.
        for (threads, shuffle) in [(3, None), (3, Some(3)), (6, None)] {
            let found = run(300, barrier, threads, shuffle);
            assert!(found.abs_diff(natural) <= 3, "{threads} threads, {shuffle:?}: {found} for {natural}");
        }
        // one chain alone, the way to L2 and back for the look, and for the addition where its result is needed
        let least = run(300, "", 1, None) + 300 * u64::from(l.arithmetic) + u64::from(l.l2);
        assert!((least..least + 2 * u64::from(l.l2)).contains(&natural), "{natural} against {least}");
    }
}

#[test]
fn a_wait_for_another_warp_counts_as_one_look() {
    // warp 1 looks at a word of shared memory until warp 0 has written it, after a chain of its own
    let code = |n: usize, pause: &str| {
        let chain = "fma.rn.f32 %f1, %f1, %f1, %f1;\n".repeat(n);
        format!(
            "mov.u32 %r1, tile; setp.ne.u32 %p1, %t, 0; @!%p1 st.volatile.shared.u32 [%r1], 0; bar.sync 0;\n\
             setp.lt.u32 %p1, %t, 32;\n@!%p1 bra $wait;\n{chain}setp.ne.u32 %p2, %t, 0; mov.u32 %r2, 1;\n\
             @!%p2 st.volatile.shared.u32 [%r1], %r2;\nbra $end;\n$wait:\nld.volatile.shared.u32 %r3, [%r1];\n\
             add.u32 %r4, %r4, 1;\n{pause}\nsetp.eq.u32 %p3, %r3, 0;\n@%p3 bra $wait;\n$end:\n"
        )
    };
    let l = H100_SXM.latencies;
    // between two looks it may write its registers more often than there are any
    let pause = "mov.u32 %r5, 0;\n$pause:\nadd.u32 %r5, %r5, 1;\nadd.u32 %r6, %r5, %r4;\nadd.u32 %r7, %r6, %r5;\n\
                 setp.lt.u32 %p4, %r5, 60;\n@%p4 bra $pause;";
    let run = |n: usize, pause, shuffle| {
        let options = Options { checks: false, shuffle, threads: 1, ..Options::default() };
        counted(&code(n, pause), 1, 64, false, options).chain.expect("counters are on").longest
    };
    // in shuffled orders the second warp looks hundreds of times while the first one's chain runs
    for shuffle in [None, Some(1), Some(2), Some(3)] {
        assert_eq!(run(600, "", shuffle) - run(500, "", shuffle), 100 * u64::from(l.arithmetic), "{shuffle:?}");
        assert_eq!(run(500, "", shuffle), run(500, "", None), "{shuffle:?}");
        assert_eq!(run(500, pause, shuffle), run(500, pause, None), "{shuffle:?}");
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
    let round = 1 + 2 * u64::from(H100_SXM.latencies.arithmetic);
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
