//! Kernels compiled once per device: from rendered WGSL to a pipeline with an explicit layout.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use super::context::{Context, Gpu, Live, lock};
use super::pipeline_cache::Pipeline;
use super::spirv;
use crate::error::Result;
use crate::kernel::{Binding, Kernel};

impl Gpu {
    /// The compiled `kernel`, from the cache where it was compiled before.
    ///
    /// # Errors
    /// [`Error::DeviceRefused`](crate::Error::DeviceRefused) where the compiler refuses the text.
    pub(crate) fn pipeline(&self, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        const OPERATION: &str = "compiling a kernel";
        let context = &self.context;
        context.tally.templates.add(1);
        let live = context.live();
        let params = kernel.bindings.iter().position(|binding| *binding == Binding::Uniform);
        if params.is_some_and(|at| at + 1 != kernel.bindings.len()) {
            return Err(
                context.refused(OPERATION, format!("{}: parameters are not the last argument", kernel.name))
            );
        }
        let mut hasher = DefaultHasher::new();
        kernel.source.hash(&mut hasher);
        let key = (kernel.name, kernel.entry, hasher.finish());
        context.check_alive(&live, OPERATION)?;
        if let Some(known) = lock(&live.pipelines).get(&key) {
            return Ok(Arc::clone(known));
        }
        // Not under the lock: another thread may compile something else meanwhile. Should two compile the same
        // kernel, the first one stays.
        let begin = Instant::now();
        let compiled = Arc::new(compile(context, &live, kernel, OPERATION)?);
        self.profile().add_compilation(begin);
        Ok(Arc::clone(lock(&live.pipelines).entry(key).or_insert(compiled)))
    }
}

fn compile(context: &Context, live: &Live, kernel: &Kernel, operation: &'static str) -> Result<Pipeline> {
    context.tally.translations.add(1);
    let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..).zip(&kernel.bindings).map(layout_entry).collect();
    let words = if kernel.uses_matrix_units() && live.takes_spirv() {
        let words = spirv::compile(kernel, cfg!(feature = "checked-shaders"));
        Some(words.map_err(|reason| context.refused(operation, reason))?)
    } else {
        None
    };
    context.guarded(live, operation, 0, || {
        let device = &live.device;
        let module = match words {
            Some(words) => module_of_words(device, kernel, words),
            None => module_of_text(device, kernel),
        };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(kernel.name),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: cfg!(feature = "checked-shaders"),
                ..Default::default()
            },
            cache: live.disk_cache.as_ref().map(|cache| cache.for_new_pipeline()),
        });
        Pipeline {
            name: kernel.name,
            raw,
            layout,
            bindings: kernel.bindings.clone(),
            generation: live.generation,
        }
    })
}

fn module_of_text(device: &wgpu::Device, kernel: &Kernel) -> wgpu::ShaderModule {
    let checks = if cfg!(feature = "checked-shaders") {
        wgpu::ShaderRuntimeChecks::checked()
    } else {
        wgpu::ShaderRuntimeChecks::unchecked()
    };
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(kernel.name),
        source: wgpu::ShaderSource::Wgsl(kernel.source.as_str().into()),
    };
    // SAFETY: the text comes from this crate's templates, and its plans prove that every index stays inside its
    // binding and every loop ends; the feature `checked-shaders` runs the same tests with the checks on.
    unsafe { device.create_shader_module_trusted(descriptor, checks) }
}

fn module_of_words(device: &wgpu::Device, kernel: &Kernel, words: Vec<u32>) -> wgpu::ShaderModule {
    let entry = wgpu::PassthroughShaderEntryPoint { name: kernel.entry.into(), workgroup_size: (0, 0, 0) };
    let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
        label: Some(kernel.name),
        entry_points: vec![entry].into(),
        spirv: Some(words.into()),
        ..Default::default()
    };
    // SAFETY: the words are naga's for a text of this crate's templates, with memory operands added and checked; they
    // bind what the explicit layout binds, numbered without gaps. As for texts, plans prove that every index stays
    // inside its binding. With `checked-shaders` they have naga's checks, of which cooperative loads and stores have
    // one for their first element.
    unsafe { device.create_shader_module_passthrough(descriptor) }
}

fn layout_entry((number, binding): (u32, &Binding)) -> wgpu::BindGroupLayoutEntry {
    let ty = match binding {
        Binding::Read => wgpu::BufferBindingType::Storage { read_only: true },
        Binding::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
        Binding::Uniform => wgpu::BufferBindingType::Uniform,
    };
    wgpu::BindGroupLayoutEntry {
        binding: number,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}
