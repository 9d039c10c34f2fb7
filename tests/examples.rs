//! The examples end well.

#[path = "../examples/embed_a_run.rs"]
mod embed_a_run;
#[path = "../examples/own_residual_function.rs"]
mod own_residual_function;
#[path = "../examples/train_from_slices.rs"]
mod train_from_slices;

macro_rules! runs {
    ($($name:ident)+) => {
        $(#[test] fn $name() { self::$name::main().expect("an example that ends well"); })+
    };
}

runs!(embed_a_run own_residual_function train_from_slices);
