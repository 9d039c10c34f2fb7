//! Names the library as programs look for it: an opened library is found again by its soname, so that `libcuda.so` then
//! means this one. It also stays loaded once opened, as programs close and reopen it and it has state.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
