//! From one lane to a row, at each SIMD level.
//!
//! A function with `#[target_feature]` compiles everything that is inlined into it for that level, so the functions
//! over lanes must be `#[inline(always)]`.

use super::{Level, RowFn, Selected};
use crate::lanes::{Lane, Lanes, Slot, WARP};

/// The three compilations of a generic row function.
macro_rules! levels {
    ($($(#[$doc:meta])* fn $name:ident<$($param:ident: $bound:path),*> = $body:ident;)+) => {$(
        $(#[$doc])*
        pub(in crate::row) fn $name<$($param: $bound),*>(level: Level) -> RowFn {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2<$($param: $bound),*>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
                    $body::<$($param),*>(lanes, slots, mask);
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn avx512<$($param: $bound),*>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
                    $body::<$($param),*>(lanes, slots, mask);
                }
                match level {
                    Level::Avx512 => return avx512::<$($param),*>,
                    Level::Avx2 => return avx2::<$($param),*>,
                    Level::Portable => {}
                }
            }
            let _ = level;
            $body::<$($param),*>
        }
    )+};
}
#[allow(unused_imports)] // operations with shapes of their own use it
pub(in crate::row) use levels;

/// `d = of(a)`
pub trait Unary {
    /// Source.
    type A: Lane;
    /// Result.
    type D: Lane;
    /// One lane. Must be `#[inline(always)]`.
    fn of(a: Self::A) -> Self::D;
}

/// `d = of(a, b)`
pub trait Binary {
    /// First source.
    type A: Lane;
    /// Second source.
    type B: Lane;
    /// Result.
    type D: Lane;
    /// One lane. Must be `#[inline(always)]`.
    fn of(a: Self::A, b: Self::B) -> Self::D;
}

/// `d = of(a, b, c)`
pub trait Ternary {
    /// First source.
    type A: Lane;
    /// Second source.
    type B: Lane;
    /// Third source.
    type C: Lane;
    /// Result.
    type D: Lane;
    /// One lane. Must be `#[inline(always)]`.
    fn of(a: Self::A, b: Self::B, c: Self::C) -> Self::D;
}

#[inline(always)]
fn unary_row<O: Unary>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let &[d, a] = slots else { unreachable!("lowered with two operands") };
    let a = O::A::load(lanes, a);
    O::D::store(lanes, d, std::array::from_fn(|i| O::of(a[i])), mask);
}

#[inline(always)]
fn binary_row<O: Binary>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let &[d, a, b] = slots else { unreachable!("lowered with three operands") };
    let (a, b) = (O::A::load(lanes, a), O::B::load(lanes, b));
    let out: [O::D; WARP] = std::array::from_fn(|i| O::of(a[i], b[i]));
    O::D::store(lanes, d, out, mask);
}

#[inline(always)]
fn ternary_row<O: Ternary>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let &[d, a, b, c] = slots else { unreachable!("lowered with four operands") };
    let (a, b, c) = (O::A::load(lanes, a), O::B::load(lanes, b), O::C::load(lanes, c));
    O::D::store(lanes, d, std::array::from_fn(|i| O::of(a[i], b[i], c[i])), mask);
}

levels! {
    fn unary_fn<O: Unary> = unary_row;
    fn binary_fn<O: Binary> = binary_row;
    fn ternary_fn<O: Ternary> = ternary_row;
}

/// `O` lifted to rows.
pub fn unary<O: Unary>(level: Level) -> Selected {
    Selected { run: unary_fn::<O>(level), operands: vec![O::D::WIDTH, O::A::WIDTH] }
}

/// `O` lifted to rows.
pub fn binary<O: Binary>(level: Level) -> Selected {
    Selected { run: binary_fn::<O>(level), operands: vec![O::D::WIDTH, O::A::WIDTH, O::B::WIDTH] }
}

/// `O` lifted to rows.
pub fn ternary<O: Ternary>(level: Level) -> Selected {
    Selected { run: ternary_fn::<O>(level), operands: vec![O::D::WIDTH, O::A::WIDTH, O::B::WIDTH, O::C::WIDTH] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// d = a * b + c, rounded once.
    struct Fma;
    impl Ternary for Fma {
        type A = f32;
        type B = f32;
        type C = f32;
        type D = f32;
        #[inline(always)]
        fn of(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }

    #[test]
    fn a_lifted_operation_writes_the_lanes_of_its_mask_alone() {
        let selected = ternary::<Fma>(Level::detect());
        let mut lanes = Lanes::new(4, 0, [].into());
        let slots: [Slot; 4] = std::array::from_fn(|i| Slot::register(i as u32));
        for (i, slot) in slots.iter().enumerate() {
            *lanes.row_mut(*slot) = std::array::from_fn(|lane| (lane as f32 + i as f32).to_bits());
        }
        #[allow(unsafe_code)]
        // SAFETY: the level was detected on this machine.
        unsafe {
            (selected.run)(&mut lanes, &slots, 0x0000_00f1);
        }
        for lane in 0..WARP {
            let x = lane as f32;
            let expected = if 0xf1 >> lane & 1 == 1 { (x + 1.0) * (x + 2.0) + x + 3.0 } else { x };
            assert_eq!(f32::from_bits(lanes.row(slots[0])[lane]), expected, "lane {lane}");
        }
    }
}
