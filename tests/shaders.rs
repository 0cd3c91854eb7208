//! Every kernel that a plan can choose: parsed and validated by naga, written as SPIR-V, MSL and HLSL, and its
//! parameters compared with their Rust mirror.

#![cfg(all(feature = "gpu", feature = "test-hooks"))]

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage, TypeInner};
use tilefold::Shader;

fn parsed(shader: &Shader) -> (Module, ModuleInfo) {
    let Shader { name, source, .. } = shader;
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    (module, info)
}

#[test]
fn every_kernel_is_valid_and_is_written_for_every_backend() {
    let shaders = tilefold::shaders().unwrap();
    assert!(!shaders.is_empty());
    for shader in &shaders {
        let (module, info) = parsed(shader);
        let name = &shader.name;
        assert!(module.entry_points.iter().any(|entry| entry.name == shader.entry), "{name}");
        let words = spv::write_vec(&module, &info, &spv::Options::default(), None);
        assert!(words.is_ok_and(|words| words.len() > 100), "{name}: SPIR-V");

        let options = msl::Options { fake_missing_bindings: true, ..msl::Options::default() };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, shader.entry.into())),
            ..msl::PipelineOptions::default()
        };
        let text = msl::write_string(&module, &info, &options, &pipeline);
        assert!(text.is_ok_and(|(text, _)| text.contains("kernel")), "{name}: MSL");

        let options = hlsl::Options { fake_missing_bindings: true, ..hlsl::Options::default() };
        let mut text = String::new();
        let pipeline = hlsl::PipelineOptions::default();
        let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None);
        assert!(written.is_ok() && text.contains("numthreads"), "{name}: HLSL {:?}", written.err());
    }
}

#[test]
fn parameters_lie_where_the_host_puts_them() {
    for shader in tilefold::shaders().unwrap() {
        let (module, _) = parsed(&shader);
        let name = &shader.name;
        let params = module.types.iter().find(|(_, kind)| kind.name.as_deref() == Some("Params"));
        let Some(TypeInner::Struct { members, span }) = params.map(|(_, kind)| &kind.inner) else {
            panic!("{name}: no struct Params");
        };
        let members: Vec<(&str, usize)> = members
            .iter()
            .map(|member| (member.name.as_deref().unwrap_or_default(), member.offset as usize))
            .collect();
        assert_eq!(members, shader.params, "{name}");
        assert_eq!(*span as usize, shader.params_bytes, "{name}");
    }
}
