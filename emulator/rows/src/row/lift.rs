//! From one lane to a row, at each SIMD level.
//!
//! A function with `#[target_feature]` compiles everything that is inlined into it for that level, so the functions
//! over lanes must be `#[inline(always)]`.

use super::{Level, Selected};
use crate::lanes::{Lane, Lanes, Slot};

/// The three compilations of a generic row function.
macro_rules! levels {
    ($($(#[$doc:meta])* fn $name:ident<$($param:ident: $bound:path),*> = $body:ident;)+) => {$(
        $(#[$doc])*
        fn $name<$($param: $bound),*>(level: $crate::row::Level) -> $crate::row::RowFn {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2<$($param: $bound),*>(lanes: &mut $crate::lanes::Lanes, slots: &[$crate::lanes::Slot], mask: u32) {
                    $body::<$($param),*>(lanes, slots, mask);
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn avx512<$($param: $bound),*>(lanes: &mut $crate::lanes::Lanes, slots: &[$crate::lanes::Slot], mask: u32) {
                    $body::<$($param),*>(lanes, slots, mask);
                }
                match level {
                    $crate::row::Level::Avx512 => return avx512::<$($param),*>,
                    $crate::row::Level::Avx2 => return avx2::<$($param),*>,
                    $crate::row::Level::Portable => {}
                }
            }
            let _ = level;
            $body::<$($param),*>
        }
    )+};
}
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

/// `d = of(a, b, c, e)`
pub trait Quaternary {
    /// First source.
    type A: Lane;
    /// Second source.
    type B: Lane;
    /// Third source.
    type C: Lane;
    /// Fourth source.
    type E: Lane;
    /// Result.
    type D: Lane;
    /// One lane. Must be `#[inline(always)]`.
    fn of(a: Self::A, b: Self::B, c: Self::C, e: Self::E) -> Self::D;
}

/// Operations written as functions over lanes: each becomes a type that implements the trait of its number of sources.
/// A type parameter stands in angle brackets, constant ones in square brackets.
macro_rules! operations {
    ($(
        $(#[$doc:meta])*
        fn $name:ident $(<$t:ident: $bound:ident>)? $([$($c:ident: $ct:ty),+])? ($($arg:ident: $ty:ty),+) -> $d:ty $body:block
    )+) => {$(
        $(#[$doc])*
        pub(in crate::row) struct $name $(<$t>)? $(<$(const $c: $ct),+>)? $((std::marker::PhantomData<$t>))?;
        $crate::row::lift::operations! {
            @implement [$(<$t: $bound>)? $(<$(const $c: $ct),+>)?] [$name $(<$t>)? $(<$($c),+>)?]
            ($($arg: $ty),+) -> $d $body
        }
    )+};
    (@implement [$($generics:tt)*] [$($of:tt)*] ($a:ident: $ta:ty) -> $d:ty $body:block) => {
        impl $($generics)* $crate::row::Unary for $($of)* {
            type A = $ta;
            type D = $d;
            #[inline(always)]
            fn of($a: $ta) -> $d $body
        }
    };
    (@implement [$($generics:tt)*] [$($of:tt)*] ($a:ident: $ta:ty, $b:ident: $tb:ty) -> $d:ty $body:block) => {
        impl $($generics)* $crate::row::Binary for $($of)* {
            type A = $ta;
            type B = $tb;
            type D = $d;
            #[inline(always)]
            fn of($a: $ta, $b: $tb) -> $d $body
        }
    };
    (@implement [$($generics:tt)*] [$($of:tt)*] ($a:ident: $ta:ty, $b:ident: $tb:ty, $c:ident: $tc:ty) -> $d:ty
        $body:block) => {
        impl $($generics)* $crate::row::Ternary for $($of)* {
            type A = $ta;
            type B = $tb;
            type C = $tc;
            type D = $d;
            #[inline(always)]
            fn of($a: $ta, $b: $tb, $c: $tc) -> $d $body
        }
    };
    (@implement [$($generics:tt)*] [$($of:tt)*]
        ($a:ident: $ta:ty, $b:ident: $tb:ty, $c:ident: $tc:ty, $e:ident: $te:ty) -> $d:ty $body:block) => {
        impl $($generics)* $crate::row::Quaternary for $($of)* {
            type A = $ta;
            type B = $tb;
            type C = $tc;
            type E = $te;
            type D = $d;
            #[inline(always)]
            fn of($a: $ta, $b: $tb, $c: $tc, $e: $te) -> $d $body
        }
    };
}
pub(in crate::row) use operations;

/// All 32 results. A plain loop: closures that are not inlined would be compiled without the SIMD level.
macro_rules! lanewise {
    ($d:ty, $i:ident => $value:expr) => {{
        let mut out = [<$d>::default(); crate::lanes::WARP];
        for $i in 0..crate::lanes::WARP {
            out[$i] = $value;
        }
        out
    }};
}

#[inline(always)]
fn unary_row<O: Unary>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let &[d, a] = slots else { unreachable!("lowered with two operands") };
    let a = O::A::load(lanes, a);
    O::D::store(lanes, d, lanewise!(O::D, i => O::of(a[i])), mask);
}

#[inline(always)]
fn binary_row<O: Binary>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let &[d, a, b] = slots else { unreachable!("lowered with three operands") };
    let (a, b) = (O::A::load(lanes, a), O::B::load(lanes, b));
    O::D::store(lanes, d, lanewise!(O::D, i => O::of(a[i], b[i])), mask);
}

#[inline(always)]
fn ternary_row<O: Ternary>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let &[d, a, b, c] = slots else { unreachable!("lowered with four operands") };
    let (a, b, c) = (O::A::load(lanes, a), O::B::load(lanes, b), O::C::load(lanes, c));
    O::D::store(lanes, d, lanewise!(O::D, i => O::of(a[i], b[i], c[i])), mask);
}

#[inline(always)]
fn quaternary_row<O: Quaternary>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let &[d, a, b, c, e] = slots else { unreachable!("lowered with five operands") };
    let (a, b) = (O::A::load(lanes, a), O::B::load(lanes, b));
    let (c, e) = (O::C::load(lanes, c), O::E::load(lanes, e));
    O::D::store(lanes, d, lanewise!(O::D, i => O::of(a[i], b[i], c[i], e[i])), mask);
}

levels! {
    fn unary_fn<O: Unary> = unary_row;
    fn binary_fn<O: Binary> = binary_row;
    fn ternary_fn<O: Ternary> = ternary_row;
    fn quaternary_fn<O: Quaternary> = quaternary_row;
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

/// `O` lifted to rows.
pub fn quaternary<O: Quaternary>(level: Level) -> Selected {
    Selected {
        run: quaternary_fn::<O>(level),
        operands: vec![O::D::WIDTH, O::A::WIDTH, O::B::WIDTH, O::C::WIDTH, O::E::WIDTH],
    }
}
