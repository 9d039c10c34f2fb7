//! What sm_90 has besides: electing a lane, registers given back, the fence behind `mbarrier.init`.

mod support;

use rewind_emulator::fault::FaultKind;
use rewind_emulator::machine::Options;
use rewind_emulator::ptx::Module;
use support::bench::Bench;
use support::{kernel, refusal};

/// Stores in `out`, by thread, what the code leaves in `%r9`.
fn run(code: &str, threads: u32) -> Vec<u32> {
    let text = format!(
        ".version 8.0 .target sm_90a .address_size 64\n.visible .entry k(.param .u64 out)\n{{\n\
         .reg .pred %p<4>; .reg .b32 %r<12>; .reg .b64 %d<4>; .shared .align 8 .b64 bar;\n\
         ld.param.u64 %d0, [out]; mov.u32 %r1, %tid.x; mad.wide.u32 %d1, %r1, 4, %d0; mov.u32 %r9, 0;\n\
         {code}\nst.global.u32 [%d1], %r9;\nret;\n}}\n"
    );
    let mut bench = Bench::from_text(&text, Options::default());
    let out = bench.put(&vec![7u32; threads as usize]);
    bench.run("k", [1; 3], [threads, 1, 1], &[out]).unwrap_or_else(|e| panic!("{code}: {e}"));
    bench.get(out, threads as usize)
}

#[test]
fn one_lane_of_those_in_the_mask_is_elected() {
    let code = "elect.sync _|%p1, -1;\n@%p1 mov.u32 %r9, 1;";
    assert_eq!(run(code, 96), (0..96).map(|t| u32::from(t % 32 == 0)).collect::<Vec<_>>());
    // All learn who it is; lanes outside take no part.
    let some =
        "setp.lt.u32 %p2, %r1, 9;\n@%p2 bra L;\nelect.sync %r9|%p1, 0xfffffe00;\n@%p1 add.u32 %r9, %r9, 100;\nL:";
    let expected = |t| match t {
        0..9 => 0,
        9 => 109,
        _ => 9,
    };
    assert_eq!(run(some, 32), (0..32).map(expected).collect::<Vec<_>>());
    assert_eq!(refusal("elect.sync %r1|%p1;"), "has 1 operands where 2 are expected");
}

#[test]
fn a_mask_without_the_own_lane_is_a_fault() {
    let text = kernel("elect.sync _|%p1, 1; ret;");
    let mut bench = Bench::from_text(&text, Options::default());
    assert_eq!(bench.run("k", [1; 3], [32, 1, 1], &[0, 0]).unwrap_err().kind, FaultKind::Shuffle);
}

#[test]
fn registers_are_given_back_and_barriers_made_known() {
    let code = "setp.ne.u32 %p1, %r1, 0;\n@%p1 bra L;\nmbarrier.init.shared.b64 [bar], 1;\n\
                fence.mbarrier_init.release.cluster;\nL:\nbar.sync 0;\nsetmaxnreg.dec.sync.aligned.u32 40;\n\
                mov.u32 %r9, 3;\nsetmaxnreg.inc.sync.aligned.u32 232;";
    assert_eq!(run(code, 64), vec![3; 64]);
    for registers in [16, 41, 264] {
        let what = refusal(&format!("setmaxnreg.inc.sync.aligned.u32 {registers};"));
        assert!(what.starts_with("needs one of the constants [24, 32,"), "{what}");
    }
    let older = support::kernel_for(80, "fence.mbarrier_init.release.cluster;");
    assert!(Module::parse(&older).is_err());
}
