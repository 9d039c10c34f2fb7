use std::array::from_fn;

use super::*;
use crate::ptx::Module;

const FULL: u32 = u32::MAX;

fn global(addresses: [u64; WARP], mask: u32, bytes: u32) -> Counters {
    let mut counters = Counters::new(1);
    counters.global(0, AccessKind::Load, &addresses, mask, bytes);
    counters
}

/// Sectors of the one request and of the launch, which are the same then.
fn sectors(addresses: [u64; WARP], mask: u32, bytes: u32) -> u64 {
    let counters = global(addresses, mask, bytes);
    assert_eq!(counters.sectors.unique().loaded, counters.global[0].sectors);
    counters.global[0].sectors
}

fn wavefronts(offsets: [u32; WARP], mask: u32, bytes: u32) -> (u64, u64) {
    let mut counters = Counters::new(1);
    counters.shared(0, AccessKind::Load, &offsets, mask, bytes);
    let w = counters.shared[0];
    assert_eq!(w.conflicts(), bytemuck::cast::<_, Site>(counters.sites[0]).conflicts);
    (w.wavefronts, w.ideal)
}

#[test]
fn a_row_of_words_touches_as_many_sectors_as_it_has_bytes() {
    assert_eq!(sectors(from_fn(|i| 4096 + 4 * i as u64), FULL, 4), 4);
    assert_eq!(sectors(from_fn(|i| 4096 + 8 * i as u64), FULL, 8), 8);
    assert_eq!(sectors(from_fn(|i| 4096 + 16 * i as u64), FULL, 16), 16);
    assert_eq!(sectors(from_fn(|i| 4096 + i as u64), FULL, 1), 1);
}

#[test]
fn a_row_that_starts_within_a_sector_touches_one_more() {
    assert_eq!(sectors(from_fn(|i| 4100 + 4 * i as u64), FULL, 4), 5);
    assert_eq!(sectors(from_fn(|i| 4124 + 4 * i as u64), FULL, 4), 5);
}

#[test]
fn strides_and_broadcasts() {
    assert_eq!(sectors([0x7000_0004; WARP], FULL, 4), 1);
    assert_eq!(sectors(from_fn(|i| 4096 + 8 * i as u64), FULL, 4), 8);
    assert_eq!(sectors(from_fn(|i| 4096 + 32 * i as u64), FULL, 4), 32);
    assert_eq!(sectors(from_fn(|i| 4096 + 8192 * i as u64), FULL, 4), 32);
    // Two rows of sixteen words, far from each other.
    assert_eq!(sectors(from_fn(|i| 4096 + 4 * (i as u64 % 16) + (i as u64 / 16) * (1 << 30)), FULL, 4), 4);
    // Backwards, and every lane twice.
    assert_eq!(sectors(from_fn(|i| 4096 + 4 * (31 - i as u64)), FULL, 4), 4);
    assert_eq!(sectors(from_fn(|i| 4096 + 4 * (i as u64 / 2)), FULL, 4), 2);
    // Sectors met again after others in between count once.
    assert_eq!(sectors(from_fn(|i| 4096 + 64 * (i as u64 % 3)), FULL, 4), 3);
}

#[test]
fn only_active_lanes_count() {
    let row = from_fn(|i| 4096 + 4 * i as u64);
    assert_eq!(sectors(row, 0xff, 4), 1);
    assert_eq!(sectors(row, 0x0101_0101, 4), 4);
    assert_eq!(sectors(row, 1 << 31, 4), 1);
    let mut wild = [u64::MAX; WARP];
    wild[7] = 4096;
    assert_eq!(sectors(wild, 1 << 7, 4), 1);
    let counters = global(row, 0, 4);
    assert_eq!(counters.global[0], Requests::default());
    assert_eq!(global(row, 0x0101_0101, 4).global[0], Requests { requests: 1, sectors: 4, bytes: 16 });
}

/// Accesses across sectors are misaligned, which hardware refuses; they count both sectors, and never panic.
#[test]
fn an_access_across_sectors_touches_both() {
    assert_eq!(sectors([4096 + 30; WARP], 1, 4), 2);
    assert_eq!(sectors(from_fn(|i| 4096 + 30 + 64 * i as u64), FULL, 4), 64);
    assert_eq!(sectors(from_fn(|i| 4096 + 30 + 32 * (i as u64 % 2)), FULL, 4), 3);
    assert_eq!(sectors([u64::MAX - 1; WARP], FULL, 16), 1);
    sectors(from_fn(|i| (u64::MAX - 40).wrapping_add(4 * i as u64)), FULL, 4);
}

#[test]
fn the_launch_counts_each_sector_once_and_loads_and_stores_apart() {
    let mut counters = Counters::new(1);
    let row = |first: u64| from_fn(|i| first + 4 * i as u64);
    for _ in 0..3 {
        counters.global(0, AccessKind::Load, &row(0), FULL, 4);
        counters.global(0, AccessKind::Load, &row(64), FULL, 4);
    }
    counters.global(0, AccessKind::Store, &row(128), FULL, 4);
    counters.global(0, AccessKind::Atomic, &[1 << 40; WARP], FULL, 4);
    let summary = counters.summary(&[], &Launch::default());
    // Loads: bytes 0 to 191; stores: 128 to 255; the atomic's sector belongs to both.
    assert_eq!(summary.global.unique_load_bytes, 192 + 32);
    assert_eq!(summary.global.unique_store_bytes, 128 + 32);
    assert_eq!(summary.global.unique_bytes, 256 + 32);
    assert_eq!(summary.global.load, Requests { requests: 6, sectors: 24, bytes: 768 });
    assert_eq!(summary.global.atomic, Requests { requests: 1, sectors: 1, bytes: 128 });
    assert_eq!((summary.global.requests(), summary.global.sectors()), (8, 29));
}

/// More chunks than the cache of recent ones holds, some of them sharing its places.
#[test]
fn the_table_of_chunks_forgets_nothing() {
    let mut counters = Counters::new(1);
    for _ in 0..2 {
        for chunk in 0..1000u64 {
            let address = chunk * 7 * 32 * 1024 + 96;
            counters.global(0, AccessKind::Load, &[address; WARP], FULL, 4);
        }
    }
    assert_eq!(counters.sectors.unique().loaded, 1000);
}

#[test]
fn words_in_different_banks_or_the_same_word_go_together() {
    assert_eq!(wavefronts(from_fn(|i| 4 * i as u32), FULL, 4), (1, 1));
    assert_eq!(wavefronts(from_fn(|i| 400 + 4 * i as u32), FULL, 4), (1, 1));
    assert_eq!(wavefronts([44; WARP], FULL, 4), (1, 1));
    assert_eq!(wavefronts(from_fn(|i| 4 * (i as u32 / 2)), FULL, 4), (1, 1));
    assert_eq!(wavefronts(from_fn(|i| 4 * (i as u32 * 5 % 32)), FULL, 4), (1, 1));
    // A column of a tile padded to 33 words.
    assert_eq!(wavefronts(from_fn(|i| 4 * 33 * i as u32), FULL, 4), (1, 1));
    // Bytes of a word, and bytes over eight words.
    assert_eq!(wavefronts(from_fn(|i| i as u32), FULL, 1), (1, 1));
    assert_eq!(wavefronts(from_fn(|i| 2 * (31 - i as u32)), FULL, 2), (1, 1));
}

#[test]
fn conflicts_of_every_degree() {
    for degree in [2, 4, 8, 16, 32] {
        let w = wavefronts(from_fn(|i| 4 * degree * i as u32), FULL, 4);
        assert_eq!(w, (u64::from(degree), 1), "stride {degree}");
    }
    // Bank 0 has three words asked of it, by 1, 2 and 29 lanes.
    assert_eq!(wavefronts(from_fn(|i| [0, 128, 128, 256][i.min(3)]), FULL, 4), (3, 1));
    // Stride 3 meets every bank once, stride 6 every second one twice.
    assert_eq!(wavefronts(from_fn(|i| 12 * i as u32), FULL, 4), (1, 1));
    assert_eq!(wavefronts(from_fn(|i| 24 * i as u32), FULL, 4), (2, 1));
}

#[test]
fn inactive_lanes_conflict_with_nobody() {
    let column = from_fn(|i| 128 * i as u32);
    assert_eq!(wavefronts(column, 1, 4), (1, 1));
    assert_eq!(wavefronts(column, 0x8000_0001, 4), (2, 1));
    assert_eq!(wavefronts(column, 0x00ff_0000, 4), (8, 1));
    let mut counters = Counters::new(1);
    counters.shared(0, AccessKind::Store, &column, 0, 4);
    assert_eq!(counters.shared, [Wavefronts::default(); 3]);
}

/// 64 bits go by half-warps, 128 bits by quarters.
#[test]
fn wide_accesses_go_in_phases() {
    assert_eq!(wavefronts(from_fn(|i| 8 * i as u32), FULL, 8), (2, 2));
    assert_eq!(wavefronts(from_fn(|i| 16 * i as u32), FULL, 16), (4, 4));
    assert_eq!(wavefronts([64; WARP], FULL, 16), (4, 4));
    // Only the first half-warp and only the third quarter are there.
    assert_eq!(wavefronts(from_fn(|i| 8 * i as u32), 0xffff, 8), (1, 1));
    assert_eq!(wavefronts(from_fn(|i| 16 * i as u32), 0x00ff_0000, 16), (1, 1));
    // Twice the width apart: within each phase two lanes to a bank.
    assert_eq!(wavefronts(from_fn(|i| 16 * i as u32), FULL, 8), (4, 2));
    assert_eq!(wavefronts(from_fn(|i| 32 * i as u32), FULL, 16), (8, 4));
    // A column of 128-byte rows: all of a phase in the same banks.
    assert_eq!(wavefronts(from_fn(|i| 128 * i as u32), FULL, 8), (32, 2));
    assert_eq!(wavefronts(from_fn(|i| 128 * i as u32), FULL, 16), (32, 4));
    // Lanes of different phases in the same place do not meet.
    assert_eq!(wavefronts(from_fn(|i| 16 * (i as u32 % 8)), FULL, 16), (4, 4));
    // Rows of 80 bytes, as ldmatrix likes them: 20 words apart, eight rows meet eight groups of banks.
    assert_eq!(wavefronts(from_fn(|i| 80 * i as u32), FULL, 16), (4, 4));
}

/// A pattern that an instruction made before is known again elsewhere, and no other one is taken for it.
#[test]
fn remembered_conflicts_are_those_of_the_pattern() {
    type Pattern = fn(u32) -> u32;
    let patterns: [(Pattern, u32); 6] = [
        (|i| 8 * (i % 4) + 128 * (i / 4), 4),
        (|i| 8 * (i % 4) + 256 * (i / 4), 4),
        (|i| 128 * i, 8),
        (|i| 2 * (i * 37 % 64), 2),
        (|i| 48 * (i % 8) + 16 * (i / 8), 16),
        (|i| 128 * i, 16),
    ];
    let mut counters = Counters::new(100);
    let mut total = Wavefronts::default();
    for round in 0..3u32 {
        // Instructions 64 apart share a place among those remembered.
        for (at, &(offset, bytes)) in (0..100).zip(patterns.iter().cycle()) {
            for (mask, base) in [(FULL, round * bytes), (0x00ff_fff0, 64 * round + 6 * bytes), (FULL, 4 * round + 2)] {
                let base = if bytes > 2 { base & !(bytes - 1) } else { base };
                let offsets = from_fn(|i| base + offset(i as u32));
                let (wavefronts, ideal) = wavefronts(offsets, mask, bytes);
                counters.shared(at, AccessKind::Load, &offsets, mask, bytes);
                total.requests += 1;
                total.wavefronts += wavefronts;
                total.ideal += ideal;
                assert_eq!(counters.shared[0], total, "instruction {at}, round {round}, {bytes} bytes");
            }
        }
    }
}

/// The scratch table is clean after each request, whatever came before.
#[test]
fn requests_do_not_remember_each_other() {
    let mut counters = Counters::new(1);
    for _ in 0..2 {
        counters.shared(0, AccessKind::Load, &from_fn(|i| 256 * i as u32), FULL, 8);
        counters.shared(0, AccessKind::Load, &from_fn(|i| 128 * i as u32), FULL, 4);
        counters.global(0, AccessKind::Load, &from_fn(|i| 30 + 64 * i as u64), FULL, 4);
        counters.global(0, AccessKind::Load, &from_fn(|i| 64 * i as u64), FULL, 4);
    }
    assert_eq!(counters.shared[0].wavefronts, 2 * (32 + 32));
    assert_eq!(counters.global[0].sectors, 2 * (64 + 32));
}

/// Against plain sets, on addresses of every regularity.
#[test]
fn fast_paths_and_tables_agree_with_sets() {
    use std::collections::BTreeSet;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut counters = Counters::new(1);
    let (mut sectors, mut passes) = (0, 0);
    let mut all = BTreeSet::new();
    for round in 0..2000 {
        let bytes = 1u32 << random(5);
        let base = random(1 << 20) * 16;
        let stride = u64::from(bytes) * random(40);
        let mask = if round % 3 == 0 { FULL } else { random(1 << 32) as u32 };
        let spread = [1, 4, 1 << 14][random(3) as usize];
        let addresses: [u64; WARP] =
            from_fn(|i| base + stride * i as u64 + u64::from(bytes) * if round % 2 == 0 { 0 } else { random(spread) });
        counters.global(0, AccessKind::Load, &addresses, mask, bytes);
        let active: Vec<usize> = (0..WARP).filter(|i| mask >> i & 1 == 1).collect();
        let request: BTreeSet<u64> = active.iter().map(|&i| addresses[i] / SECTOR).collect();
        sectors += request.len() as u64;
        all.extend(request);

        let offsets: [u32; WARP] = addresses.map(|a| (a % (1 << 17)) as u32);
        counters.shared(0, AccessKind::Load, &offsets, mask, bytes);
        let group = (128 / bytes.max(4)) as usize;
        for phase in (0..WARP).step_by(group) {
            let mut banks = vec![BTreeSet::new(); 32];
            for &lane in active.iter().filter(|&&i| i / group == phase / group) {
                for byte in 0..bytes {
                    let word = (offsets[lane] + byte) / 4;
                    banks[word as usize % 32].insert(word);
                }
            }
            passes += banks.iter().map(|b| b.len() as u64).max().unwrap_or(0);
        }
    }
    assert_eq!(counters.global[0].sectors, sectors);
    assert_eq!(counters.sectors.unique().loaded, all.len() as u64);
    assert_eq!(counters.shared[0].wavefronts, passes);
}

#[test]
fn merging_in_any_order_gives_the_same() {
    let part = |seed: u64| {
        let mut counters = Counters::new(3);
        for n in 0..10 + seed {
            counters.executed((n % 3) as u32, 1 + (seed as u32 + n as u32) % 32);
            counters.global(1, AccessKind::Load, &from_fn(|i| seed * 100_000 + n * 40 * i as u64), FULL, 4);
            counters.global(2, AccessKind::Store, &from_fn(|i| n * 4 * i as u64), 0xffff, 4);
            counters.shared(2, AccessKind::Load, &from_fn(|i| n as u32 * 8 * i as u32), FULL, 8);
        }
        counters.barrier();
        counters.divergent_branch(0);
        counters
    };
    let code = [class(""), class(""), class("")];
    let merged = |order: [u64; 3]| {
        let mut sum = Counters::new(0);
        for seed in order {
            sum.merge(&part(seed));
        }
        sum.summary(&code, &Launch::default())
    };
    let one = merged([1, 2, 3]);
    assert!(one.global.unique_bytes > 0 && one.divergent_branches == 3 && one.barriers == 3);
    for order in [[1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        assert_eq!(merged(order), one);
    }
}

/// The class of one instruction with whatever registers it needs; `ret` for none.
fn class(text: &str) -> Class {
    let registers = ".reg .pred %p<4>; .reg .b16 %h<8>; .reg .b32 %r<32>; .reg .f32 %f<32>; .reg .b64 %d<8>; \
                     .reg .f64 %x<8>; .shared .align 16 .b8 tile[64];";
    let source = format!(
        ".version 9.0 .target sm_90 .address_size 64 .visible .entry k(.param .u64 a) {{ {registers} {text} ret; }}"
    );
    let module = Module::parse(&source).unwrap();
    class_of(&module.functions[0].body.as_ref().unwrap().instructions[0])
}

#[test]
fn flop_by_lane_and_by_warp() {
    let flop = |text: &str| {
        let c = class(text);
        (c.category, c.pipe, c.flop_per_lane, c.flop_per_warp, c.special_per_lane)
    };
    use Category as C;
    assert_eq!(flop("add.f32 %f0, %f1, %f2;"), (C::Fp32, Some(Pipe::Fp32), 1, 0, 0));
    assert_eq!(flop("fma.rn.f32 %f0, %f1, %f2, %f3;"), (C::Fp32, Some(Pipe::Fp32), 2, 0, 0));
    assert_eq!(flop("fma.rn.f64 %x0, %x1, %x2, %x3;"), (C::Fp64, Some(Pipe::Fp64), 2, 0, 0));
    assert_eq!(flop("fma.rn.f16x2 %r0, %r1, %r2, %r3;"), (C::Half, Some(Pipe::Half), 4, 0, 0));
    assert_eq!(flop("fma.rn.bf16 %h0, %h1, %h2, %h3;"), (C::Half, Some(Pipe::Half), 2, 0, 0));
    assert_eq!(flop("div.rn.f32 %f0, %f1, %f2;"), (C::Fp32, Some(Pipe::Fp32), 1, 0, 1));
    assert_eq!(flop("mad.lo.s32 %r0, %r1, %r2, %r3;"), (C::Integer, None, 0, 0, 0));
    assert_eq!(flop("div.u32 %r0, %r1, %r2;"), (C::Integer, None, 0, 0, 0));
    assert_eq!(flop("max.f32 %f0, %f1, %f2;"), (C::Logic, None, 0, 0, 0));
    assert_eq!(flop("max.s32 %r0, %r1, %r2;"), (C::Integer, None, 0, 0, 0));
    assert_eq!(flop("ex2.approx.ftz.f32 %f0, %f1;"), (C::Special, None, 0, 0, 1));
    assert_eq!(flop("ex2.approx.f16x2 %r0, %r1;"), (C::Special, None, 0, 0, 2));
    let tf32 = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 \
                {%f0,%f1,%f2,%f3},{%r0,%r1,%r2,%r3},{%r4,%r5},{%f4,%f5,%f6,%f7};";
    assert_eq!(flop(tf32), (C::TensorTf32, Some(Pipe::TensorTf32), 0, 2 * 16 * 8 * 8, 0));
    let bf16 = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 \
                {%f0,%f1,%f2,%f3},{%r0,%r1,%r2,%r3},{%r4,%r5},{%f4,%f5,%f6,%f7};";
    assert_eq!(flop(bf16), (C::TensorBf16, Some(Pipe::TensorBf16), 0, 2 * 16 * 8 * 16, 0));
    let f16 = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 \
               {%f0,%f1,%f2,%f3},{%r0,%r1,%r2,%r3},{%r4,%r5},{%f4,%f5,%f6,%f7};";
    assert_eq!(flop(f16), (C::TensorF16, Some(Pipe::TensorF16), 0, 4096, 0));
    let short = "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r0,%r1},{%r2,%r3},{%r4},{%r5,%r6};";
    assert_eq!(flop(short), (C::TensorF16, Some(Pipe::TensorF16SumF16), 0, 2048, 0));
}

#[test]
fn memory_and_control_have_their_categories() {
    let category = |text: &str| class(text).category;
    assert_eq!(category("ld.global.nc.v4.f32 {%f0,%f1,%f2,%f3}, [%d0];"), Category::LoadGlobal);
    assert_eq!(category("ld.param.u64 %d0, [a];"), Category::Parameter);
    assert_eq!(category("ld.f32 %f0, [%d0];"), Category::LoadGeneric);
    assert_eq!(category("st.shared.f32 [tile], %f0;"), Category::StoreShared);
    assert_eq!(category("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%r1];"), Category::LoadShared);
    assert_eq!(category("cp.async.cg.shared.global [%r0], [%d0], 16;"), Category::AsyncCopy);
    assert_eq!(category("cp.async.wait_group 0;"), Category::Synchronize);
    assert_eq!(category("bar.sync 0;"), Category::Synchronize);
    assert_eq!(category("red.global.add.u32 [%d0], %r0;"), Category::Atomic);
    assert_eq!(category("shfl.sync.bfly.b32 %r0, %r1, 1, 31, -1;"), Category::Warp);
    assert_eq!(category("setp.lt.f32 %p0, %f0, %f1;"), Category::Logic);
    assert_eq!(category("cvt.rn.f32.s32 %f0, %r0;"), Category::Convert);
    assert_eq!(category("mov.u32 %r0, %tid.x;"), Category::Move);
    assert_eq!(category(""), Category::Control);
    let issued = [Category::Parameter, Category::Move, Category::Control, Category::ConvertTf32].map(Category::issued);
    assert_eq!(issued, [0, 0, 1, 2]);
}

#[test]
fn the_summary_adds_up_by_class_and_by_line() {
    let mut counters = Counters::new(3);
    let mut code = [class("fma.rn.f32 %f0, %f1, %f2, %f3;"), class("ld.global.f32 %f0, [%d0];"), class("")];
    (code[0].line, code[1].line, code[2].line) = (10, 12, 10);
    for _ in 0..5 {
        counters.executed(0, 32);
        counters.executed(1, 8);
    }
    counters.executed(2, 1);
    counters.global(1, AccessKind::Load, &from_fn(|i| 4096 + 64 * i as u64), 0xff, 4);
    counters.shared(2, AccessKind::Load, &from_fn(|i| 8 * i as u32), FULL, 4);
    counters.divergent_branch(2);
    let launch = Launch { kernel: "k".into(), grid: [2, 3, 1], block: [32, 2, 1], ..Launch::default() };
    let counts = counters.summary(&code, &launch);
    assert_eq!((launch.blocks(), launch.threads()), (6, 64));
    assert_eq!(counts.flop, Flop { fp32: 5 * 32 * 2, ..Flop::default() });
    assert_eq!(counts.all_warp_instructions(), 11);
    assert_eq!(counts.warp_instructions[&Category::LoadGlobal], 5);
    assert_eq!(counts.lane_instructions, 5 * 32 + 5 * 8 + 1);
    assert!((counts.active_lane_ratio() - 201.0 / 352.0).abs() < 1e-12);
    let first = HotSpot { line: 10, warp_instructions: 6, sectors: 0, conflicts: 1, divergent: 1 };
    let second = HotSpot { line: 12, warp_instructions: 5, sectors: 8, ..HotSpot::default() };
    assert_eq!(counts.hot_spots, [first, second]);
    let access = Requests { requests: 1, sectors: 8, bytes: 32 };
    assert_eq!(counts.accesses, [(12, access)].into());
    let json = serde_json::to_string(&counts).unwrap();
    assert!(json.contains(r#""load_global":5"#), "{json}");
    assert_eq!(serde_json::from_str::<LaunchCounts>(&json).unwrap(), counts);
}
