//! The examples end well.

// its two parts are tested apart
#[allow(dead_code)]
#[path = "../examples/blocks_in_your_network.rs"]
mod blocks_in_your_network;
#[path = "../examples/embed_a_run.rs"]
mod embed_a_run;
#[path = "../examples/own_integrator.rs"]
mod own_integrator;
#[path = "../examples/own_residual_function.rs"]
mod own_residual_function;
#[cfg(all(feature = "cuda", target_os = "linux"))]
#[path = "support/gpu.rs"]
mod support;
#[path = "../examples/train_from_slices.rs"]
mod train_from_slices;

macro_rules! runs {
    ($($name:ident)+) => {
        $(#[test] fn $name() { self::$name::main().expect("an example that ends well"); })+
    };
}

runs!(embed_a_run own_integrator own_residual_function train_from_slices);

#[test]
fn blocks_in_your_network() {
    let [first, last] = self::blocks_in_your_network::on_slices().expect("an example that ends well");
    assert!(last < 0.9 * first, "the loss goes from {first} to {last}");
    #[cfg(all(feature = "cuda", target_os = "linux"))]
    {
        drop(support::gpu(rewind::device::Math::Tf32));
        let [first_there, last_there] = self::blocks_in_your_network::on_a_gpu().expect("an example that ends well");
        // the blocks start as the identity, so that the first loss has no product in it
        assert!((first_there - first).abs() < 1e-5 * first, "{first_there} on the GPU and {first} on the CPU");
        assert!(last_there < 0.9 * first_there, "the loss goes from {first_there} to {last_there}");
        support::no_faults();
    }
}
