//! Tells the crate its commit, and turns environment variables into cfgs that mark tests as ignored where they cannot run: `without_gpu` for
//! TILEFOLD_WITHOUT_GPU=1 (no adapter at all, not even a software one), `without_data` where TILEFOLD_DATA does not
//! name a folder of real data.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(without_gpu)");
    println!("cargo::rerun-if-env-changed=TILEFOLD_WITHOUT_GPU");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("TILEFOLD_WITHOUT_GPU").is_some_and(|value| value == "1") {
        println!("cargo::rustc-cfg=without_gpu");
    }
    println!("cargo::rustc-env=TILEFOLD_COMMIT={}", commit());
    println!("cargo::rustc-check-cfg=cfg(without_data)");
    println!("cargo::rerun-if-env-changed=TILEFOLD_DATA");
    if !std::env::var_os("TILEFOLD_DATA").is_some_and(|folder| std::path::Path::new(&folder).is_dir()) {
        println!("cargo::rustc-cfg=without_data");
    }
}

/// The commit that a release is built from. Other builds do not know it: they would be built again after every commit.
fn commit() -> String {
    let answer = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
        Some(text.trim().to_owned())
    };
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release")
        && let Some(log) = answer(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&log).is_file()
    {
        println!("cargo::rerun-if-changed={log}");
        if let Some(commit) = answer(&["rev-parse", "--short=12", "HEAD"]) {
            return commit;
        }
    }
    "unknown".to_owned()
}
