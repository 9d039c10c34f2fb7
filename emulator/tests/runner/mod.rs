//! Runs one instruction on rows of registers, at every SIMD level that this machine has.

// Each test file uses a part of this.
#![allow(dead_code)]

use rewind_emulator::lanes::{Lane, Lanes, Slot, WARP, Width};
use rewind_emulator::ptx::Module;
use rewind_emulator::row::{Level, Selected, select};

/// Values of an operand: bits in the width of its register, predicates as 0 and 1.
pub type Values = [u64; WARP];

/// An instruction, selected for each level.
pub struct Runner {
    text: String,
    levels: Vec<(Level, Selected)>,
}

impl Runner {
    /// Operands are registers `%h` of 16 bits, `%r` of 32, `%d` of 64, `%p` predicates, numbered from 0 to 31.
    pub fn new(text: &str) -> Runner {
        let source = format!(
            ".version 9.0 .target sm_90 .address_size 64 .visible .entry k() {{ .reg .b16 %h<32>; .reg .b32 %r<32>; \
             .reg .b64 %d<32>; .reg .pred %p<32>; {text}; ret; }}"
        );
        let module = Module::parse(&source).unwrap_or_else(|e| panic!("{text}: {e}"));
        let instruction = &module.functions[0].body.as_ref().unwrap().instructions[0];
        let best = Level::detect();
        let levels = [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|&level| level <= best);
        let selected = |level| select(instruction, level).unwrap_or_else(|| panic!("no row function for {text}"));
        Runner { text: text.into(), levels: levels.map(|level| (level, selected(level))).collect() }
    }

    /// How each operand lies.
    pub fn operands(&self) -> &[Width] {
        &self.levels[0].1.operands
    }

    /// Runs it with `sources` in the last operands and all bits set in the first `results`, in the lanes of `mask`;
    /// gives the results, which must be the same at every level.
    pub fn run(&self, results: usize, sources: &[Values], mask: u32) -> Vec<Values> {
        let outcomes: Vec<_> = self.levels.iter().map(|(_, s)| self.run_selected(s, results, sources, mask)).collect();
        for ((level, _), outcome) in self.levels.iter().zip(&outcomes) {
            assert_eq!(outcome, &outcomes[0], "{}: {level:?} against {:?}", self.text, self.levels[0].0);
        }
        outcomes.into_iter().next().unwrap()
    }

    fn run_selected(&self, selected: &Selected, results: usize, sources: &[Values], mask: u32) -> Vec<Values> {
        assert_eq!(selected.operands.len(), results + sources.len(), "{}: number of operands", self.text);
        let (mut rows, mut predicates) = (0, 0);
        let place = |&width: &Width| {
            let next = if width == Width::Pred { &mut predicates } else { &mut rows };
            let slot = Slot::register(*next);
            *next += width.rows().max(1);
            slot
        };
        let slots: Vec<Slot> = selected.operands.iter().map(place).collect();
        let mut lanes = Lanes::new(rows as usize, predicates as usize, [].into());
        let initial = vec![[u64::MAX; WARP]; results];
        for ((&slot, &width), values) in slots.iter().zip(&selected.operands).zip(initial.iter().chain(sources)) {
            match width {
                Width::Pred => bool::store(&mut lanes, slot, values.map(|v| v & 1 == 1), u32::MAX),
                Width::W16 => u16::store(&mut lanes, slot, values.map(|v| v as u16), u32::MAX),
                Width::W32 => u32::store(&mut lanes, slot, values.map(|v| v as u32), u32::MAX),
                Width::W64 => u64::store(&mut lanes, slot, *values, u32::MAX),
                Width::W128 => panic!("{}: 128 bits", self.text),
            }
        }
        #[allow(unsafe_code)]
        // SAFETY: only levels up to the detected one are selected.
        unsafe {
            (selected.run)(&mut lanes, &slots, mask);
        }
        let read = |(&slot, &width): (&Slot, &Width)| match width {
            Width::Pred => bool::load(&lanes, slot).map(u64::from),
            // As a whole row, to see that the upper halves stay zero.
            Width::W16 | Width::W32 => u32::load(&lanes, slot).map(u64::from),
            _ => u64::load(&lanes, slot),
        };
        slots.iter().zip(&selected.operands).take(results).map(read).collect()
    }

    /// Runs it on each tuple of sources, 32 at a time, and compares its only result with what `expected` says.
    pub fn check<const N: usize>(
        &self,
        inputs: impl IntoIterator<Item = [u64; N]>,
        expected: impl Fn([u64; N]) -> u64,
    ) {
        let inputs: Vec<[u64; N]> = inputs.into_iter().collect();
        for chunk in inputs.chunks(WARP) {
            let sources: [Values; N] =
                std::array::from_fn(|i| std::array::from_fn(|lane| chunk[lane.min(chunk.len() - 1)][i]));
            let d = self.run(1, &sources, u32::MAX)[0];
            for (lane, &input) in chunk.iter().enumerate() {
                let want = expected(input);
                assert_eq!(d[lane], want, "{}: of {input:x?} is {:#x}, expected {want:#x}", self.text, d[lane]);
            }
        }
    }
}

/// A fixed sequence of numbers that look random (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
