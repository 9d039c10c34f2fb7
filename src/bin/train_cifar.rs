//! Trains a deep residual network on CIFAR without storing its activations.

fn main() {}
