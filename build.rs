//! Turns the environment variable TILEFOLD_WITHOUT_GPU into the cfg `without_gpu`, which marks the tests of the GPU
//! path as ignored on machines that have no adapter at all, not even a software one.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(without_gpu)");
    println!("cargo::rerun-if-env-changed=TILEFOLD_WITHOUT_GPU");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("TILEFOLD_WITHOUT_GPU").is_some_and(|value| value == "1") {
        println!("cargo::rustc-cfg=without_gpu");
    }
}
