//! The examples end well.

#[path = "../examples/own_integrator.rs"]
mod own_integrator;
#[path = "../examples/own_residual_function.rs"]
mod own_residual_function;
#[path = "../examples/train_from_slices.rs"]
mod train_from_slices;

macro_rules! runs {
    ($($name:ident)+) => {
        $(#[test] fn $name() { self::$name::main().expect("an example that ends well"); })+
    };
}

runs!(own_integrator own_residual_function train_from_slices);
