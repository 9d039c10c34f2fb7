//! Memory operations at each SIMD level: their loops over 32 addresses are most of the time they take.

/// Compiles operations for each level; in brackets what they are told besides the lanes and the place in the code.
macro_rules! at_levels {
    ($($(#[$doc:meta])* $name:ident($what:ty) = $row:ident;)+) => {$(
        $(#[$doc])*
        pub(in crate::exec) fn $name(
            warp: &mut $crate::exec::run::warp::Warp,
            env: &mut $crate::exec::run::env::Env<'_, '_>,
            op: &$crate::exec::code::Op,
            what: &$what,
            exec: u32,
            pc: u32,
        ) -> $crate::exec::run::env::Faulty<()> {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::exec::run::env::{Env, Faulty};
                use $crate::exec::{code::Op, run::warp::Warp};
                #[target_feature(enable = "avx2")]
                fn avx2(w: &mut Warp, env: &mut Env<'_, '_>, op: &Op, a: &$what, exec: u32, pc: u32) -> Faulty<()> {
                    $row(w, env, op, a, exec, pc)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
                fn avx512(w: &mut Warp, env: &mut Env<'_, '_>, op: &Op, a: &$what, exec: u32, pc: u32) -> Faulty<()> {
                    $row(w, env, op, a, exec, pc)
                }
                // SAFETY: lowered for the SIMD level that this machine was found to have.
                #[allow(unsafe_code)]
                match env.grid.code.level {
                    $crate::row::Level::Avx512 => return unsafe { avx512(warp, env, op, what, exec, pc) },
                    $crate::row::Level::Avx2 => return unsafe { avx2(warp, env, op, what, exec, pc) },
                    $crate::row::Level::Portable => {}
                }
            }
            $row(warp, env, op, what, exec, pc)
        }
    )+};
}
pub(in crate::exec) use at_levels;
