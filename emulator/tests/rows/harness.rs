//! Runs single instructions on rows, at every SIMD level of this machine.

use rewind_emulator::lanes::{Lanes, Row, Slot, WARP, Width};
use rewind_emulator::ptx::{Guard, Instruction, Operand};
use rewind_emulator::row::{Level, select};

use crate::support::decoded;

/// The lanes of one operand; of a predicate 0 or 1.
pub type Values = [u64; WARP];

/// The levels that this machine has.
pub fn levels() -> impl Iterator<Item = Level> {
    [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|&level| level <= Level::detect())
}

/// An instruction as the executor would hold it: constants in rows, registers in slots of their own.
pub struct Bench {
    code: String,
    instruction: Instruction,
    operands: Vec<Flat>,
}

/// One flattened operand.
#[derive(Clone, Copy)]
enum Flat {
    Register,
    Predicate { negated: bool },
    Constant(u64),
}

fn flatten(operand: &Operand, into: &mut Vec<Flat>) {
    match operand {
        Operand::Register(_) | Operand::Sink => into.push(Flat::Register),
        Operand::Predicate(Guard { negated, .. }) => into.push(Flat::Predicate { negated: *negated }),
        Operand::Immediate(bits) => into.push(Flat::Constant(*bits)),
        Operand::Vector(all) => all.iter().for_each(|each| flatten(each, into)),
        Operand::Pair(..) => into.extend([Flat::Register; 2]),
        other => panic!("{other:?} is no operand of a row"),
    }
}

fn write(lanes: &mut Lanes, slot: Slot, width: Width, values: &Values) {
    match width {
        Width::Pred => {
            let bits = (0..WARP).fold(0, |bits, i| bits | (values[i] as u32 & 1) << i);
            lanes.set_predicate(slot, bits, u32::MAX);
        }
        Width::W16 => *lanes.row_mut(slot) = values.map(|v| v as u32 & 0xffff),
        Width::W32 => *lanes.row_mut(slot) = values.map(|v| v as u32),
        Width::W64 => *lanes.wide_mut(slot) = *values,
        Width::W128 => panic!("no operand here has 128 bits"),
    }
}

fn read(lanes: &Lanes, slot: Slot, width: Width) -> Values {
    match width {
        Width::Pred => std::array::from_fn(|i| u64::from(lanes.predicate(slot) >> i & 1)),
        Width::W16 | Width::W32 => lanes.row(slot).map(u64::from),
        Width::W64 => *lanes.wide(slot),
        Width::W128 => panic!("no operand here has 128 bits"),
    }
}

impl Bench {
    /// Decodes the instruction.
    pub fn new(code: &str) -> Bench {
        let instruction = decoded(code);
        let mut operands = Vec::new();
        instruction.operands.iter().for_each(|operand| flatten(operand, &mut operands));
        Bench { code: code.into(), instruction, operands }
    }

    /// How many of the operands are registers that are read, if the first `results` are written.
    pub fn sources(&self, results: usize) -> usize {
        self.operands[results..].iter().filter(|o| !matches!(o, Flat::Constant(_))).count()
    }

    /// The first `results` operands after a run on these sources, and the carry flags; the same at every level. Before
    /// it, destinations hold ones.
    pub fn run(&self, results: usize, sources: &[Values], mask: u32, carry: u32) -> (Vec<Values>, u32) {
        let mut found = None;
        for level in levels() {
            let this = self.run_at(level, results, sources, mask, carry);
            let first = found.get_or_insert_with(|| this.clone());
            assert_eq!(*first, this, "`{}` differs at {level:?}, for {sources:x?}", self.code);
        }
        found.expect("the portable level is everywhere")
    }

    fn run_at(&self, level: Level, results: usize, sources: &[Values], mask: u32, carry: u32) -> (Vec<Values>, u32) {
        let Bench { code, instruction, operands } = self;
        let selected = select(instruction, level).unwrap_or_else(|| panic!("`{code}` has no row function"));
        assert_eq!(selected.operands.len(), operands.len(), "`{code}`");
        // Constants lie in pairs of rows, so that either width fits.
        let constants: Vec<Row> = operands
            .iter()
            .zip(&selected.operands)
            .flat_map(|(flat, width)| {
                let bits = if let Flat::Constant(bits) = flat { *bits } else { 0 };
                match width {
                    Width::W64 => bytemuck::cast::<[u64; WARP], [Row; 2]>([bits; WARP]),
                    _ => [Row([bits as u32; WARP]); 2],
                }
            })
            .collect();
        let mut lanes = Lanes::new(2 * operands.len(), operands.len(), constants.into());
        lanes.carry = carry;
        let mut given = sources.iter();
        let slots: Vec<Slot> = operands
            .iter()
            .zip(&selected.operands)
            .enumerate()
            .map(|(n, (flat, &width))| {
                let at = n as u32 * if width == Width::Pred { 1 } else { 2 };
                let slot = Slot::register(at);
                match flat {
                    Flat::Constant(_) => return Slot::constant(at),
                    _ if n < results => write(&mut lanes, slot, width, &[u64::MAX; WARP]),
                    _ => write(&mut lanes, slot, width, given.next().expect("values for each source")),
                }
                if matches!(flat, Flat::Predicate { negated: true }) { slot.negated() } else { slot }
            })
            .collect();
        #[allow(unsafe_code)]
        // SAFETY: the level is one that was detected on this machine.
        unsafe {
            (selected.run)(&mut lanes, &slots, mask);
        }
        let out = (0..results).map(|n| read(&lanes, slots[n], selected.operands[n])).collect();
        (out, lanes.carry)
    }
}

/// Runs `code`, which has one result, on every tuple of `inputs`, and compares with `expected`.
pub fn check_with(code: &str, inputs: &[Vec<u64>], same: impl Fn(&[u64], u64) -> Result<(), String>) {
    let bench = Bench::new(code);
    let sources = bench.sources(1);
    for chunk in inputs.chunks(WARP) {
        let rows: Vec<Values> =
            (0..sources).map(|s| std::array::from_fn(|i| chunk[i.min(chunk.len() - 1)][s])).collect();
        let (out, _) = bench.run(1, &rows, u32::MAX, 0);
        for (i, tuple) in chunk.iter().enumerate() {
            if let Err(why) = same(tuple, out[0][i]) {
                panic!("`{code}` of {tuple:x?} gave {:x}: {why}", out[0][i]);
            }
        }
    }
}

/// As [`check_with`], bit for bit.
pub fn check(code: &str, inputs: &[Vec<u64>], expected: impl Fn(&[u64]) -> u64) {
    check_with(code, inputs, |tuple, found| {
        let expected = expected(tuple);
        if expected == found { Ok(()) } else { Err(format!("{expected:x} expected")) }
    });
}

/// Numbers that look random, the same in every run (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// All tuples of `n` values, and as many more that `random` makes.
pub fn inputs(n: usize, values: &[u64], more: usize, mut random: impl FnMut() -> u64) -> Vec<Vec<u64>> {
    let mut all = vec![vec![]];
    for _ in 0..n {
        all = all.iter().flat_map(|t| values.iter().map(|&v| [&t[..], &[v]].concat())).collect();
    }
    all.extend((0..more).map(|_| (0..n).map(|_| random()).collect()));
    all
}
