//! What the executor does with accesses of every width, atomics of every type and lanes that part: by the PTX ISA.

mod support;

use rewind_emulator::exec::Launch;
use rewind_emulator::machine::Options;
use support::bench::Bench;

/// Runs the code of a kernel with one block; `%x` is its argument, `%t` the thread's number, `%o` the thread's own
/// 64 bytes of the result. Gives the result's words, the same under every order and with and without checks.
fn run(threads: u32, code: &str) -> Vec<u32> {
    let text = format!(
        ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 x)\n{{\n\
         .reg .pred %p<8>; .reg .b16 %h<16>; .reg .b32 %r<16>; .reg .b64 %d<16>; .reg .f32 %f<4>; .reg .f64 %g<4>;\n\
         .reg .b64 %x; .reg .b64 %o; .reg .b32 %t; .shared .align 16 .b8 tile[128]; .local .align 16 .b8 stack[20];\n\
         ld.param.u64 %x, [x]; mov.u32 %t, %tid.x; mad.wide.u32 %o, %t, 64, %x;\n{code}\nret;\n}}\n"
    );
    let launch = Launch { grid: [1; 3], block: [threads, 1, 1], dynamic_shared: 0, cooperative: false };
    let results = [(true, None), (true, Some(3)), (false, None)].map(|(checks, shuffle)| {
        let options = Options { checks, shuffle, threads: 1, instruction_limit: 1 << 20, ..Options::default() };
        let mut bench = Bench::from_text(&text, options);
        let x = bench.put(&vec![0u32; 16 * threads as usize]);
        bench.launch("k", launch, &[x]).unwrap_or_else(|e| panic!("{e}"));
        bench.get::<u32>(x, 16 * threads as usize)
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    results[0].clone()
}

/// One word of every thread.
fn word(all: &[u32], at: usize) -> Vec<u32> {
    all.chunks(16).map(|c| c[at]).collect()
}

#[test]
fn local_memory_of_any_size_is_aligned_in_every_lane() {
    // 20 bytes a lane: the next lane's must not start at byte 20.
    let all = run(
        33,
        "cvt.u64.u32 %d0, %t; add.u64 %d1, %d0, 7; st.local.v2.u64 [stack], {%d0, %d1}; st.local.u32 [stack+16], %t;\n\
         ld.local.v2.u64 {%d2, %d3}, [stack]; ld.local.u32 %r0, [stack+16]; st.global.v2.u64 [%o], {%d2, %d3};\n\
         st.global.u32 [%o+16], %r0;",
    );
    assert_eq!(word(&all, 0), (0..33).collect::<Vec<_>>());
    assert_eq!(word(&all, 2), (7..40).collect::<Vec<_>>());
    assert_eq!(word(&all, 4), (0..33).collect::<Vec<_>>());
}

#[test]
fn narrow_loads_extend_into_wide_registers_and_narrow_stores_cut() {
    // Bytes f0 e1 d2 c3 of a constant, read as every type into wider registers (PTX ISA section 9.4.1).
    let all = run(
        1,
        "mov.u32 %r0, 0xc3d2e1f0; st.shared.u32 [tile], %r0; mov.u64 %d0, 0x1122334455667788; st.shared.u64 [tile+8], %d0;\n\
         ld.shared.u8 %r1, [tile]; ld.shared.s8 %r2, [tile+1]; ld.shared.u16 %r3, [tile+2]; ld.shared.s16 %r4, [tile+2];\n\
         ld.shared.s8 %d1, [tile+3]; ld.shared.s32 %d2, [tile]; ld.shared.u32 %d3, [tile]; ld.shared.s8 %h0, [tile];\n\
         st.global.v4.u32 [%o], {%r1, %r2, %r3, %r4}; st.global.v2.u64 [%o+16], {%d1, %d2}; st.global.u64 [%o+32], %d3;\n\
         cvt.u32.u16 %r5, %h0; st.global.u32 [%o+40], %r5; st.global.u8 [%o+44], %d0; st.global.u16 [%o+46], %r0;\n\
         ld.shared.v4.u8 {%r6, %r7, %r8, %r9}, [tile]; st.global.v4.u8 [%o+48], {%r9, %r8, %r7, %r6};\n\
         ld.shared.v2.u16 {%h1, %h2}, [tile+8]; st.global.v2.u16 [%o+52], {%h2, %h1};",
    );
    assert_eq!(all[..4], [0xf0, 0xffff_ffe1, 0xc3d2, 0xffff_c3d2]);
    assert_eq!(all[4..10], [0xffff_ffc3, u32::MAX, 0xc3d2_e1f0, u32::MAX, 0xc3d2_e1f0, 0]);
    assert_eq!(all[10..14], [0xfff0, 0xe1f0_0088, 0xf0e1_d2c3, 0x7788_5566]);
}

#[test]
fn atomics_of_every_type_leave_and_return_what_they_should() {
    // Each case: memory before, the instruction on a 32-bit word, memory after; once in shared and once in global memory.
    let cases: [(u32, &str, u32); 17] = [
        (5, "add.u32 %r1, [A], 7;", 12),
        (u32::MAX, "add.s32 %r1, [A], 2;", 1),
        (5, "min.s32 %r1, [A], -3;", -3i32 as u32),
        (5, "min.u32 %r1, [A], -3;", 5),
        (5, "max.s32 %r1, [A], -3;", 5),
        (5, "max.u32 %r1, [A], -3;", -3i32 as u32),
        (5, "inc.u32 %r1, [A], 5;", 0),
        (4, "inc.u32 %r1, [A], 5;", 5),
        (0, "dec.u32 %r1, [A], 9;", 9),
        (10, "dec.u32 %r1, [A], 9;", 9),
        (9, "dec.u32 %r1, [A], 9;", 8),
        (0b1100, "and.b32 %r1, [A], 10;", 0b1000),
        (0b1100, "or.b32 %r1, [A], 10;", 0b1110),
        (0b1100, "xor.b32 %r1, [A], 10;", 0b0110),
        (3, "exch.b32 %r1, [A], 8;", 8),
        (3, "cas.b32 %r1, [A], 3, 8;", 8),
        (3, "cas.b32 %r1, [A], 4, 8;", 3),
    ];
    for (before, instruction, after) in cases {
        for (space, address) in [("shared", "tile+4"), ("global", "%o+32")] {
            let atom = format!("atom.{space}.{}", instruction.replace('A', address));
            let code = format!(
                "mov.u32 %r0, {before}; st.{space}.u32 [{address}], %r0; {atom} ld.{space}.u32 %r2, [{address}];\n\
                 st.global.v2.u32 [%o], {{%r1, %r2}};"
            );
            assert_eq!(run(1, &code)[..2], [before, after], "{atom}");
        }
    }
    // Two halves, each rounded on its own: 1 + 2^-11 is a tie and goes to even; 65504 + 32 overflows.
    for space in ["shared", "global"] {
        let address = if space == "shared" { "tile" } else { "%o+32" };
        let code = format!(
            "mov.u32 %r0, 0x7bff3c00; st.{space}.u32 [{address}], %r0; mov.u32 %r3, 0x50001000;\n\
             atom.{space}.add.noftz.f16x2 %r1, [{address}], %r3; ld.{space}.u32 %r2, [{address}];\n\
             st.global.v2.u32 [%o], {{%r1, %r2}};"
        );
        assert_eq!(run(1, &code)[..2], [0x7bff_3c00, 0x7c00_3c00], "{space}");
    }
    // Subnormals survive in shared memory and not in global memory: 2^-127 + 2^-127, then -2^-126 + 2^-127.
    for (space, address, after) in
        [("shared", "tile", [0x0080_0000, 0x8040_0000]), ("global", "%o+32", [0, 0x8080_0000])]
    {
        for (before, after) in [0x0040_0000u32, 0x8080_0000].into_iter().zip(after) {
            let code = format!(
                "mov.u32 %r0, {before}; st.{space}.u32 [{address}], %r0; mov.f32 %f0, 0f00400000;\n\
                 red.{space}.add.f32 [{address}], %f0; ld.{space}.u32 %r2, [{address}]; st.global.u32 [%o], %r2;"
            );
            assert_eq!(run(1, &code)[0], after, "{space} {before:#x}");
        }
    }
    // NaNs are the canonical one.
    let code = "mov.u32 %r0, 0x7fa00001; st.shared.u32 [tile], %r0; mov.f32 %f0, 0f3f800000;\n\
                red.shared.add.f32 [tile], %f0; ld.shared.u32 %r2, [tile]; st.global.u32 [%o], %r2;";
    assert_eq!(run(1, code)[0], 0x7fff_ffff);
}

#[test]
fn lanes_that_part_meet_again() {
    // A table of branches by the thread's number, with one case that leaves in the middle of the warp.
    let all = run(
        32,
        "rem.u32 %r0, %t, 4; mov.u32 %r1, 0;\nbranches: .branchtargets zero, one, two, three;\nbrx.idx %r0, branches;\n\
         zero: add.u32 %r1, %r1, 1;\none: add.u32 %r1, %r1, 10;\ntwo: add.u32 %r1, %r1, 100; bra join;\n\
         three: setp.gt.u32 %p0, %t, 16; @%p0 exit; mov.u32 %r1, 7;\n\
         join: activemask.b32 %r2; vote.sync.ballot.b32 %r3, %p0, 0xffffffff;\n st.global.v2.u32 [%o], {%r1, %r2};",
    );
    let gone = |i: u32| i % 4 == 3 && i > 16;
    let stays = (0..32).filter(|&i| !gone(i)).fold(0, |m, i| m | 1 << i);
    let values = |i: u32| if gone(i) { 0 } else { [111, 110, 100, 7][i as usize % 4] };
    assert_eq!(word(&all, 0), (0..32).map(values).collect::<Vec<_>>());
    assert_eq!(word(&all, 1), (0..32).map(|i| if gone(i) { 0 } else { stays }).collect::<Vec<_>>());
}

#[test]
fn guards_hold_for_every_kind_of_instruction() {
    // Odd threads do nothing at all, also where the address would be wild.
    let all = run(
        32,
        "and.b32 %r0, %t, 1; setp.eq.u32 %p0, %r0, 0; mov.u64 %d0, %o; @!%p0 mov.u64 %d0, 3;\n\
         mov.u32 %r1, 5; mov.u32 %r2, 9; @%p0 st.global.u32 [%d0], %r1; @%p0 atom.global.add.u32 %r2, [%d0], 1;\n\
         @%p0 ld.global.u32 %r1, [%d0]; @%p0 red.global.add.u32 [%d0], 2; mov.u32 %r3, 0x55555555;\n\
         @%p0 shfl.sync.idx.b32 %r4|%p1, %t, 30, 31, 0x55555555; @!%p0 mov.u32 %r4, 1;\n\
         @%p0 redux.sync.add.u32 %r5, %t, 0x55555555; @!%p0 mov.u32 %r5, 2;\n\
         @!%p0 bra end; setp.ne.u32 %p2, %r1, 6; @%p2 trap;\nend:\n",
    );
    assert_eq!(word(&all, 0), (0..32).map(|i| if i % 2 == 0 { 8 } else { 0 }).collect::<Vec<_>>());
}
