//! A warp's registers: one row of 32 lanes each, so that an instruction is a loop over a row that SIMD can take.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

/// Lanes of a warp.
pub const WARP: usize = 32;

/// 32 lanes of 32 bits. A 64-bit register takes two rows, read as 32 lanes of 64 bits; one of 16 bits takes a whole row
/// and keeps the upper half of each lane zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Row(pub [u32; WARP]);

/// How a register lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// A mask with a bit for each lane.
    Pred,
    /// One row, upper halves zero.
    W16,
    /// One row.
    W32,
    /// Two rows.
    W64,
    /// Four rows.
    W128,
}

impl Width {
    /// Rows that a register of this width takes; predicates lie elsewhere.
    pub const fn rows(self) -> u32 {
        match self {
            Width::Pred => 0,
            Width::W16 | Width::W32 => 1,
            Width::W64 => 2,
            Width::W128 => 4,
        }
    }
}

/// Where an operand lies: a row of the warp's registers or of the launch's constants, or a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    const CONSTANT: u32 = 1 << 31;
    const NEGATED: u32 = 1 << 30;
    /// The rows that it takes, as a power of two; or that it is a predicate.
    const ROWS_SHIFT: u32 = 28;
    const PREDICATE: u32 = 3;
    const INDEX: u32 = (1 << Self::ROWS_SHIFT) - 1;

    /// The register whose first row is this one, or the predicate of this number.
    pub const fn register(index: u32) -> Slot {
        Slot(index & Self::INDEX)
    }

    /// The same register, as one of so many rows: 1, 2 or 4.
    pub const fn of_rows(self, rows: u32) -> Slot {
        Slot(self.0 & !(3 << Self::ROWS_SHIFT) | rows.trailing_zeros() << Self::ROWS_SHIFT)
    }

    /// The predicate of this number.
    pub const fn predicate(index: u32) -> Slot {
        Slot(index & Self::INDEX | Self::PREDICATE << Self::ROWS_SHIFT)
    }

    /// Whether it was made as a predicate.
    pub const fn is_predicate(self) -> bool {
        self.0 >> Self::ROWS_SHIFT & 3 == Self::PREDICATE
    }

    /// The rows that it takes.
    pub const fn rows(self) -> u32 {
        1 << (self.0 >> Self::ROWS_SHIFT & 3)
    }

    /// The constant whose first row is this one.
    pub const fn constant(index: u32) -> Slot {
        Slot(index & Self::INDEX | Self::CONSTANT)
    }

    /// The same predicate, read inverted.
    pub const fn negated(self) -> Slot {
        Slot(self.0 | Self::NEGATED)
    }

    /// Whether it is a constant.
    pub const fn is_constant(self) -> bool {
        self.0 & Self::CONSTANT != 0
    }

    /// The number that it was made with.
    pub const fn number(self) -> u32 {
        self.0 & Self::INDEX
    }

    const fn index(self) -> usize {
        (self.0 & Self::INDEX) as usize
    }
}

/// The registers of one warp.
#[derive(Debug, Clone)]
pub struct Lanes {
    rows: Box<[Row]>,
    predicates: Box<[u32]>,
    constants: Arc<[Row]>,
    /// The carry flag of `add.cc` and its kin, a bit for each lane.
    pub carry: u32,
}

impl Lanes {
    /// Zeroed registers.
    pub fn new(rows: usize, predicates: usize, constants: Arc<[Row]>) -> Lanes {
        Lanes { rows: vec![Row([0; WARP]); rows].into(), predicates: vec![0; predicates].into(), constants, carry: 0 }
    }

    /// Zeroes every register, for the next warp.
    pub fn reset(&mut self) {
        self.rows.fill(Row([0; WARP]));
        self.predicates.fill(0);
        self.carry = 0;
    }

    /// A row of 32-bit lanes.
    #[inline(always)]
    pub fn row(&self, slot: Slot) -> &[u32; WARP] {
        let from = if slot.0 & Slot::CONSTANT == 0 { &self.rows } else { &self.constants[..] };
        &from[slot.index()].0
    }

    /// Two rows as 64-bit lanes.
    #[inline(always)]
    pub fn wide(&self, slot: Slot) -> &[u64; WARP] {
        let from = if slot.0 & Slot::CONSTANT == 0 { &self.rows } else { &self.constants[..] };
        let at = slot.index();
        let (both, _) = from[at..].as_chunks::<2>();
        bytemuck::cast_ref(&both[0])
    }

    /// A register's row, to write. Constants are never written.
    #[inline(always)]
    pub fn row_mut(&mut self, slot: Slot) -> &mut [u32; WARP] {
        debug_assert!(slot.0 & Slot::CONSTANT == 0);
        &mut self.rows[slot.index()].0
    }

    /// A register's two rows, to write.
    #[inline(always)]
    pub fn wide_mut(&mut self, slot: Slot) -> &mut [u64; WARP] {
        debug_assert!(slot.0 & Slot::CONSTANT == 0);
        let (both, _) = self.rows[slot.index()..].as_chunks_mut::<2>();
        bytemuck::cast_mut(&mut both[0])
    }

    /// The lanes where a predicate holds, its negation honoured.
    #[inline(always)]
    pub fn predicate(&self, slot: Slot) -> u32 {
        let mask = self.predicates[slot.index()];
        if slot.0 & Slot::NEGATED == 0 { mask } else { !mask }
    }

    /// Sets a predicate in the lanes of `mask`.
    #[inline(always)]
    pub fn set_predicate(&mut self, slot: Slot, value: u32, mask: u32) {
        let old = &mut self.predicates[slot.index()];
        *old = *old & !mask | value & mask;
    }
}

/// A value that a lane of a register holds.
pub trait Lane: Copy + Default {
    /// The register it lies in.
    const WIDTH: Width;

    /// All lanes of a register or constant.
    fn load(lanes: &Lanes, slot: Slot) -> [Self; WARP];

    /// Writes the lanes of `mask`, the others stay.
    fn store(lanes: &mut Lanes, slot: Slot, values: [Self; WARP], mask: u32);
}

#[inline(always)]
fn blend<T: Copy>(old: &mut [T; WARP], new: [T; WARP], mask: u32) {
    if mask == u32::MAX {
        *old = new;
    } else {
        for lane in 0..WARP {
            old[lane] = if mask >> lane & 1 == 1 { new[lane] } else { old[lane] };
        }
    }
}

macro_rules! whole {
    ($($ty:ty, $width:ident, $read:ident, $write:ident;)+) => {$(
        impl Lane for $ty {
            const WIDTH: Width = Width::$width;
            #[inline(always)]
            fn load(lanes: &Lanes, slot: Slot) -> [Self; WARP] {
                bytemuck::cast(*lanes.$read(slot))
            }
            #[inline(always)]
            fn store(lanes: &mut Lanes, slot: Slot, values: [Self; WARP], mask: u32) {
                blend(lanes.$write(slot), bytemuck::cast(values), mask);
            }
        }
    )+};
}
whole! {
    u32, W32, row, row_mut;
    i32, W32, row, row_mut;
    f32, W32, row, row_mut;
    u64, W64, wide, wide_mut;
    i64, W64, wide, wide_mut;
    f64, W64, wide, wide_mut;
}

macro_rules! short {
    ($($ty:ty),+) => {$(
        impl Lane for $ty {
            const WIDTH: Width = Width::W16;
            #[inline(always)]
            fn load(lanes: &Lanes, slot: Slot) -> [Self; WARP] {
                lanes.row(slot).map(|v| v as $ty)
            }
            #[inline(always)]
            fn store(lanes: &mut Lanes, slot: Slot, values: [Self; WARP], mask: u32) {
                blend(lanes.row_mut(slot), values.map(|v| u32::from(v as u16)), mask);
            }
        }
    )+};
}
short!(u16, i16);

/// A predicate.
impl Lane for bool {
    const WIDTH: Width = Width::Pred;
    #[inline(always)]
    fn load(lanes: &Lanes, slot: Slot) -> [Self; WARP] {
        let mask = lanes.predicate(slot);
        std::array::from_fn(|lane| mask >> lane & 1 == 1)
    }
    #[inline(always)]
    fn store(lanes: &mut Lanes, slot: Slot, values: [Self; WARP], mask: u32) {
        let mut bits = 0;
        for (lane, &value) in values.iter().enumerate() {
            bits |= u32::from(value) << lane;
        }
        lanes.set_predicate(slot, bits, mask);
    }
}
