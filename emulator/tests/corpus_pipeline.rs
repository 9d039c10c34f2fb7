//! Copies that overlap with work: by groups, by pipelines, by barriers in shared memory, in bulk on sm_90.

mod support;

use rewind_emulator::fault::FaultKind;
use rewind_emulator::machine::Options;
use support::bench::Bench;
use support::corpus::{Random, same_everywhere};
use support::kernel_for;

#[test]
fn tiles_pass_through_buffers() {
    for kernel in ["primitives", "group_copies", "thread_pipeline", "block_pipeline", "barriers"] {
        for tiles in [1usize, 2, 7] {
            let x = Random(1).whole(128 * tiles);
            let sums = same_everywhere("pipeline", |bench| {
                let (px, out) = (bench.put(&x), bench.zeros(4 * tiles));
                bench.go(kernel, (1, 128), &[out, px, tiles as u64]);
                bench.get::<f32>(out, tiles)
            });
            let tile_sum = |(t, tile): (usize, &[f32])| tile.iter().sum::<f32>() * (t + 1) as f32;
            let expected: Vec<f32> = x.chunks(128).enumerate().map(tile_sum).collect();
            assert_eq!(sums, expected, "{kernel}");
        }
    }
}

/// Runs a few lines by one warp; `%r1` is the address of a barrier, `%r10` the lane.
fn ran(code: &str, threads: u32) -> Result<Vec<u32>, (FaultKind, String)> {
    let text =
        kernel_for(90, &format!("mov.u32 %r1, tile; mov.u32 %r10, %tid.x; setp.eq.u32 %p1, %r10, 0; {code}\nret;"));
    let mut bench = Bench::from_text(&text, Options { threads: 1, ..Options::default() });
    let out = bench.zeros(256);
    bench.run("k", [1, 1, 1], [threads, 1, 1], &[out, 0]).map_err(|e| (e.kind, e.what.clone()))?;
    Ok(bench.get(out, 64))
}

const INIT: &str = "@%p1 mbarrier.init.shared.b64 [%r1], 3; bar.sync 0;";

#[test]
fn a_phase_ends_with_the_last_arrival_and_the_last_byte() {
    // Each line writes what it asks to the next word of the output.
    let code = format!(
        "{INIT} ld.param.u64 %d1, [x]; @!%p1 ret;\n\
         mbarrier.arrive.shared.b64 %d2, [%r1]; mbarrier.pending_count.b64 %r2, %d2; st.global.u32 [%d1], %r2;\n\
         mbarrier.test_wait.shared.b64 %p2, [%r1], %d2; selp.u32 %r2, 1, 0, %p2; st.global.u32 [%d1+4], %r2;\n\
         mbarrier.arrive.expect_tx.shared.b64 _, [%r1], 32; mbarrier.arrive.shared.b64 _, [%r1];\n\
         mbarrier.test_wait.parity.shared.b64 %p2, [%r1], 0; selp.u32 %r2, 1, 0, %p2; st.global.u32 [%d1+8], %r2;\n\
         mbarrier.complete_tx.shared.b64 [%r1], 32;\n\
         mbarrier.try_wait.parity.shared.b64 %p2, [%r1], 0, 100; selp.u32 %r2, 1, 0, %p2; st.global.u32 [%d1+12], %r2;\n\
         mbarrier.test_wait.shared.b64 %p2, [%r1], %d2; selp.u32 %r2, 1, 0, %p2; st.global.u32 [%d1+16], %r2;\n\
         mbarrier.arrive_drop.shared.b64 %d2, [%r1]; mbarrier.arrive.shared.b64 _, [%r1], 2;\n\
         mbarrier.arrive.shared.b64 %d2, [%r1]; mbarrier.pending_count.b64 %r2, %d2; st.global.u32 [%d1+20], %r2;"
    );
    assert_eq!(ran(&code, 32).unwrap()[..6], [3, 0, 0, 1, 1, 2]);
}

#[test]
fn misuse_of_a_barrier_is_a_fault() {
    for (code, kind, what) in [
        (format!("{INIT} @%p1 mbarrier.arrive.shared.b64 _, [%r1], 4;"), FaultKind::Barrier, "4 arrivals"),
        (
            format!("{INIT} @%p1 mbarrier.arrive.noComplete.shared.b64 _, [%r1], 3;"),
            FaultKind::Barrier,
            "ends the phase",
        ),
        ("@%p1 mbarrier.init.shared.b64 [%r1], 0;".into(), FaultKind::Barrier, "for 0 arrivals"),
        ("@%p1 mbarrier.arrive.shared.b64 _, [%r1];".into(), FaultKind::Uninitialised, "uninitialised"),
        (
            format!("{INIT} @%p1 st.shared.u64 [%r1], 5; @%p1 mbarrier.inval.shared.b64 [%r1];"),
            FaultKind::Barrier,
            "overwritten",
        ),
        ("@%p1 mbarrier.init.shared.b64 [%r1+4], 1;".into(), FaultKind::Misaligned, "no multiple of 8"),
        (
            format!(
                "@%p1 st.shared.u32 [%r1+8], 0; {INIT} mbarrier.test_wait.parity.shared.b64 %p2, [%r1], 0; @%p1 st.shared.u32 [%r1+8], 1; ld.shared.u32 %r3, [%r1+8];"
            ),
            FaultKind::Race,
            "data race",
        ),
    ] {
        let (found, text) = ran(&code, 64).unwrap_err();
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(what), "{text}");
    }
}
