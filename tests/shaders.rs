//! Every rendered kernel, without a GPU: naga parses and validates it and writes it for Vulkan, Metal and DX12; its
//! arguments are those the host binds; its structs are those of Rust. The comparisons have their own planted faults.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};
use rayon::prelude::*;
use tilefold::shaders::{Mirror, Shader, mirrors, shaders};

use crate::architecture::files_below;

fn parsed(shader: &Shader) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(&shader.source)
        .unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(&shader.source)));
    // Only what a text enables, and only kernels that the host asks for on devices that have it.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if shader.source.contains("enable f16;") {
        capabilities |= Capabilities::SHADER_FLOAT16;
    }
    if uses_matrices(shader) {
        capabilities |= Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP;
    }
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(&shader.source)));
    (module, info)
}

/// Whether a kernel multiplies on matrix units: DX12 has none, and Metal matrices of 8 by 8 alone.
fn uses_matrices(shader: &Shader) -> bool {
    shader.source.contains("enable wgpu_cooperative_matrix;")
}

/// Every kernel with its module: there are many, so they are rendered and parsed once.
static PARSED: LazyLock<Vec<(Shader, Module, ModuleInfo)>> = LazyLock::new(|| {
    let with_module = |shader: Shader| {
        let (module, info) = parsed(&shader);
        (shader, module, info)
    };
    shaders().expect("every template renders").into_par_iter().map(with_module).collect()
});

#[test]
fn every_kernel_is_valid_for_every_backend() {
    PARSED.par_iter().for_each(|(shader, module, info)| {
        naga::back::spv::write_vec(module, info, &naga::back::spv::Options::default(), None)
            .unwrap_or_else(|error| panic!("{}: SPIR-V: {error}", shader.name));
        let mut options = naga::back::msl::Options { fake_missing_bindings: true, ..Default::default() };
        options.lang_version = (2, 4);
        naga::back::msl::write_string(module, info, &options, &naga::back::msl::PipelineOptions::default())
            .unwrap_or_else(|error| panic!("{}: MSL: {error}", shader.name));
        if uses_matrices(shader) {
            return;
        }
        let options = naga::back::hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        let pipeline = naga::back::hlsl::PipelineOptions::default();
        let mut text = String::new();
        naga::back::hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(module, info, None)
            .unwrap_or_else(|error| panic!("{}: HLSL: {error}", shader.name));
        assert!(text.contains(shader.entry), "{}: no entry {} in HLSL", shader.name, shader.entry);
    });
    println!("{} kernels", PARSED.len());
    let names: BTreeSet<&str> = PARSED.iter().map(|(shader, ..)| shader.name.as_str()).collect();
    assert_eq!(names.len(), PARSED.len(), "two variants share a name");
}

/// Matrix units read workgroup memory at multiples of 16 bytes, and drivers lay its variables out one after the other
/// by the alignment of their elements: what is no multiple of 16 bytes long displaces the others.
#[test]
fn workgroup_memory_of_matrix_kernels_is_aligned() {
    let misplaced = |module: &Module| -> Vec<String> {
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("types with a size");
        let shared = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
        let odd = shared.filter(|(_, variable)| !layouter[variable.ty].size.is_multiple_of(16));
        odd.map(|(_, variable)| variable.name.clone().unwrap_or_default()).collect()
    };
    let mut seen = 0;
    for (shader, module, _) in PARSED.iter().filter(|(shader, ..)| uses_matrices(shader)) {
        assert_eq!(misplaced(module), Vec::<String>::new(), "{}", shader.name);
        seen += 1;
    }
    assert!(seen >= 4);
    let planted = "var<workgroup> a: array<vec4<f32>, 3>; var<workgroup> b: u32;";
    assert_eq!(misplaced(&naga::front::wgsl::parse_str(planted).expect("WGSL")), ["b"]);
}

/// What the WGSL declares at `@group(0)`, in order of the binding numbers.
fn declared(module: &Module) -> Vec<&'static str> {
    let mut bindings: Vec<(u32, &'static str)> = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| {
            let binding = variable.binding.as_ref()?;
            assert_eq!(binding.group, 0);
            let kind = match variable.space {
                AddressSpace::Uniform => "uniform",
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => "read_write",
                AddressSpace::Storage { .. } => "read",
                _ => "another space",
            };
            Some((binding.binding, kind))
        })
        .collect();
    bindings.sort_unstable();
    assert!(
        bindings.iter().enumerate().all(|(index, binding)| binding.0 as usize == index),
        "gaps: {bindings:?}"
    );
    bindings.into_iter().map(|binding| binding.1).collect()
}

#[test]
fn every_kernel_declares_what_the_host_binds() {
    for (shader, module, _) in PARSED.iter() {
        assert_eq!(declared(module), shader.bindings, "{}", shader.name);
    }
}

/// Where a WGSL struct differs from its Rust mirror; nothing where the module has no such struct.
fn difference(module: &Module, mirror: &Mirror) -> Option<Result<(), String>> {
    let (_, found) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(mirror.name))?;
    let TypeInner::Struct { members, span } = &found.inner else { return Some(Err("not a struct".into())) };
    let fields: Vec<(&str, usize)> =
        members.iter().map(|member| (member.name.as_deref().unwrap_or(""), member.offset as usize)).collect();
    // A uniform binding is padded to 16 bytes by the host.
    if fields == mirror.fields && *span as usize == mirror.size {
        Some(Ok(()))
    } else {
        Some(Err(format!("WGSL {fields:?} span {span}, Rust {:?} size {}", mirror.fields, mirror.size)))
    }
}

#[test]
fn structs_equal_their_mirrors() {
    let mirrors = mirrors();
    let mut seen = BTreeSet::new();
    for (shader, module, _) in PARSED.iter() {
        for mirror in &mirrors {
            if let Some(outcome) = difference(module, mirror) {
                outcome.unwrap_or_else(|error| panic!("{}: {}: {error}", shader.name, mirror.name));
                seen.insert(mirror.name);
            }
        }
        for (_, ty) in module.types.iter() {
            if matches!(ty.inner, TypeInner::Struct { .. }) {
                let name = ty.name.as_deref().unwrap_or("");
                assert!(
                    mirrors.iter().any(|mirror| mirror.name == name),
                    "{}: {name} has no mirror",
                    shader.name
                );
            }
        }
    }
    for mirror in &mirrors {
        assert!(seen.contains(mirror.name), "no kernel has {}", mirror.name);
    }
}

#[test]
fn a_wrong_mirror_is_noticed() {
    let (_, module, _) = &PARSED[0];
    let mirrors = mirrors();
    let honest = mirrors.iter().find(|mirror| difference(module, mirror).is_some()).unwrap();
    let swapped = {
        let mut mirror = honest.clone();
        let (a, b) = (mirror.fields[0].0, mirror.fields[1].0);
        (mirror.fields[0].0, mirror.fields[1].0) = (b, a);
        mirror
    };
    let mut longer = honest.clone();
    longer.size += 4;
    for wrong in [swapped, longer] {
        assert!(matches!(difference(module, &wrong), Some(Err(_))), "{wrong:?}");
    }
}

/// Templates that are part of no kernel: their entry point is no kernel's, or nobody names them.
fn forgotten(files: &[(String, String)]) -> Vec<&str> {
    let entries: BTreeSet<&str> = PARSED.iter().map(|(shader, ..)| shader.entry).collect();
    let is_needed = |path: &str, text: &str| {
        let entry = text.split_once("@compute").and_then(|(_, after)| after.split_once("fn "));
        match entry.and_then(|(_, after)| after.split_once('(')) {
            Some((entry, _)) => entries.contains(entry),
            None => {
                let name = path.replace("shaders/", "\"") + "\"";
                files.iter().any(|(_, text)| text.contains(&name))
            }
        }
    };
    let templates = files.iter().filter(|(path, _)| path.starts_with("shaders/"));
    templates.filter(|(path, text)| !is_needed(path, text)).map(|(path, _)| path.as_str()).collect()
}

#[test]
fn every_template_is_part_of_a_kernel() {
    let mut files = files_below("shaders", &[".wgsl"]);
    files.extend(files_below("src", &[".rs"]));
    assert_eq!(forgotten(&files), Vec::<&str>::new());
    for (path, text) in [
        ("shaders/a.wgsl", "@compute @workgroup_size(1)\nfn nobody() {}"),
        ("shaders/b.wgsl", "fn part() {}"),
    ] {
        files.push((path.to_owned(), text.to_owned()));
        assert_eq!(forgotten(&files), [path]);
        files.pop();
    }
}

#[test]
fn every_kernel_has_a_header() {
    for (shader, ..) in PARSED.iter() {
        for part in ["// Computes", "// Mapping", "// Bounds", "// Numerics", "// Mirror"] {
            assert!(shader.source.contains(part), "{}: no {part:?}", shader.name);
        }
    }
}
