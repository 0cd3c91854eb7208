//! Tells the crate its commit, and turns environment variables into cfgs that mark tests as ignored where they cannot run: `without_gpu` for
//! TILEFOLD_WITHOUT_GPU=1 (no adapter at all, not even a software one), `without_data` where TILEFOLD_DATA does not
//! name a folder of real data. Lists the shader templates, so that no file of `shaders/` can be forgotten.

use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
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
    println!("cargo::rerun-if-changed=shaders");
    let folder = |variable| PathBuf::from(std::env::var_os(variable).unwrap_or_default());
    let templates = templates(&folder("CARGO_MANIFEST_DIR").join("shaders"))?;
    std::fs::write(folder("OUT_DIR").join("templates.rs"), templates)
}

/// A list, in Rust, of the path of each template below `root` with the file's text, ordered by path.
fn templates(root: &Path) -> std::io::Result<String> {
    let mut folders = vec![root.to_owned()];
    let mut rows = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "wgsl") {
                let below = path.strip_prefix(root).unwrap_or(&path);
                let name: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
                rows.push(format!("({:?}, include_str!({path:?})),\n", name.join("/")));
            }
        }
    }
    rows.sort();
    Ok(format!("&[\n{}]", rows.concat()))
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
