//! Instructions that only touch registers, against oracles that compute otherwise: integers in 128 bits, floats in exact
//! fractions, approximate functions in the standard library's `f64`.

#[path = "../support/mod.rs"]
mod support;

mod approximate;
mod compare;
mod floats;
mod fraction;
mod harness;
mod integers;
mod logic;
mod moves;
