//! Turns environment variables into cfgs that mark tests as ignored where they cannot run: `without_gpu` for
//! TILEFOLD_WITHOUT_GPU=1 (no adapter at all, not even a software one), `without_data` where TILEFOLD_DATA does not
//! name a folder of real data.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(without_gpu)");
    println!("cargo::rerun-if-env-changed=TILEFOLD_WITHOUT_GPU");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("TILEFOLD_WITHOUT_GPU").is_some_and(|value| value == "1") {
        println!("cargo::rustc-cfg=without_gpu");
    }
    println!("cargo::rustc-check-cfg=cfg(without_data)");
    println!("cargo::rerun-if-env-changed=TILEFOLD_DATA");
    if !std::env::var_os("TILEFOLD_DATA").is_some_and(|folder| std::path::Path::new(&folder).is_dir()) {
        println!("cargo::rustc-cfg=without_data");
    }
}
