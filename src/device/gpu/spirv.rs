//! SPIR-V of kernels on matrix units, for Vulkan.
//!
//! naga declares the Vulkan memory model where a kernel uses cooperative matrices, and then writes memory accesses and
//! barriers as the older model had them (gfx-rs/wgpu issue 8805). Under the Vulkan model that is a race: a barrier
//! orders only accesses marked `NonPrivatePointer`, and makes writes available and visible only where its semantics
//! say so. So this crate writes such modules itself: naga's words, with
//!
//! - `NonPrivatePointer` on every access to storage buffers and workgroup memory, and `MakePointerVisible` or
//!   `MakePointerAvailable` for the workgroup on those to workgroup memory, cooperative loads and stores included;
//! - `AcquireRelease | MakeAvailable | MakeVisible` on every barrier;
//! - the scope of a queue family in place of the device's, which needs a capability that wgpu does not ask for, on relaxed
//!   additions and stores of atomics in storage buffers. They order nothing: what they hand out and write is read by later
//!   dispatches alone.
//!
//! What the rewriting does not know, such as other atomics, it refuses. [`faults`] reads the result again.

use std::collections::HashMap;

use rspirv::binary::Assemble;
use rspirv::dr::{Instruction, Module, Operand, load_words};
use rspirv::spirv::{Capability, MemoryAccess, MemoryModel, MemorySemantics, Op, Scope, StorageClass, Word};

use super::spirv_elements::with_elements;
use crate::kernel::Kernel;

/// The words of a kernel under the Vulkan memory model. `checked` keeps naga's checks of indices and loops; they cover
/// the first element of a cooperative load or store alone.
pub(crate) fn compile(kernel: &Kernel, checked: bool) -> Result<Vec<u32>, String> {
    let words = to_vulkan_memory_model(&with_elements(&naga_words(kernel, checked)?)?)?;
    match faults(&words)?.as_slice() {
        [] => Ok(words),
        [first, ..] => Err(format!("{}: {first}", kernel.name)),
    }
}

pub(crate) fn naga_words(kernel: &Kernel, checked: bool) -> Result<Vec<u32>, String> {
    use naga::back::spv;
    use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let module = naga::front::wgsl::parse_str(&kernel.source)
        .map_err(|error| format!("{}: {}", kernel.name, error.emit_to_string(&kernel.source)))?;
    let capabilities = Capabilities::SHADER_FLOAT16
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32
        | Capabilities::SUBGROUP
        | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| format!("{}: {}", kernel.name, error.emit_to_string(&kernel.source)))?;
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    let options = spv::Options {
        // The least that every device with such matrices reads.
        lang_version: (1, 5),
        // Names, by which `with_elements` finds its variables.
        flags: spv::WriterFlags::DEBUG,
        bounds_check_policies: BoundsCheckPolicies {
            index: policy,
            buffer: policy,
            image_load: policy,
            binding_array: policy,
        },
        zero_initialize_workgroup_memory: if checked {
            spv::ZeroInitializeWorkgroupMemoryMode::Polyfill
        } else {
            spv::ZeroInitializeWorkgroupMemoryMode::None
        },
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: kernel.entry.to_owned(),
    };
    spv::write_vec(&module, &info, &options, Some(&pipeline))
        .map_err(|error| format!("{}: {error}", kernel.name))
}

/// How one instruction touches memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    Load,
    Store,
    Copy,
}

/// The touch of an opcode, its operands before memory operands, and which of them are pointers.
fn touch(opcode: Op) -> Option<(Touch, usize, &'static [usize])> {
    match opcode {
        Op::Load => Some((Touch::Load, 1, &[0])),
        Op::Store => Some((Touch::Store, 2, &[0])),
        Op::CopyMemory => Some((Touch::Copy, 2, &[0, 1])),
        // Pointer, layout and stride; naga always writes the stride.
        Op::CooperativeMatrixLoadKHR => Some((Touch::Load, 3, &[0])),
        // Pointer, matrix, layout and stride.
        Op::CooperativeMatrixStoreKHR => Some((Touch::Store, 4, &[0])),
        _ => None,
    }
}

/// Accesses that are neither rewritten nor harmless.
fn is_unknown(opcode: Op) -> bool {
    let name = format!("{opcode:?}");
    matches!(opcode, Op::CopyMemorySized | Op::MemoryBarrier | Op::ImageRead | Op::ImageWrite)
        || (name.starts_with("Atomic") && !is_known_atomic(opcode))
}

/// Atomics whose pointer, scope and semantics come first.
fn is_known_atomic(opcode: Op) -> bool {
    matches!(opcode, Op::AtomicIAdd | Op::AtomicStore)
}

/// What the rewriting needs to know of a module's ids.
struct Ids {
    /// Storage class of every pointer.
    classes: HashMap<Word, StorageClass>,
    /// Value of every 32-bit constant.
    constants: HashMap<Word, u32>,
    /// The type of 32-bit unsigned integers.
    unsigned: Option<Word>,
}

impl Ids {
    fn of(module: &Module) -> Self {
        let mut ids = Self { classes: HashMap::new(), constants: HashMap::new(), unsigned: None };
        let mut pointer_types = HashMap::new();
        for instruction in module.all_inst_iter() {
            let (Some(id), operands) = (instruction.result_id, &instruction.operands) else { continue };
            match (instruction.class.opcode, operands.as_slice()) {
                (Op::TypePointer, [Operand::StorageClass(class), ..]) => {
                    pointer_types.insert(id, *class);
                }
                (Op::TypeInt, [Operand::LiteralBit32(32), Operand::LiteralBit32(0)]) => {
                    ids.unsigned = Some(id);
                }
                (Op::Constant, [Operand::LiteralBit32(value)]) => {
                    ids.constants.insert(id, *value);
                }
                _ => {}
            }
            if let Some(class) = instruction.result_type.and_then(|ty| pointer_types.get(&ty)) {
                ids.classes.insert(id, *class);
            }
        }
        ids
    }

    /// The shared storage class that an instruction touches: workgroup memory before buffers, nothing for the rest.
    fn shared(&self, instruction: &Instruction, pointers: &[usize]) -> Option<StorageClass> {
        let class = |&at: &usize| match instruction.operands.get(at) {
            Some(Operand::IdRef(id)) => self.classes.get(id).copied(),
            _ => None,
        };
        let classes: Vec<StorageClass> = pointers.iter().filter_map(class).collect();
        [StorageClass::Workgroup, StorageClass::StorageBuffer]
            .into_iter()
            .find(|class| classes.contains(class))
    }

    /// Whether an atomic touches a storage buffer and orders nothing.
    fn is_relaxed_in_a_buffer(&self, instruction: &Instruction) -> bool {
        self.shared(instruction, &[0]) == Some(StorageClass::StorageBuffer)
            && self.value(instruction.operands.get(2)) == Some(MemorySemantics::RELAXED.bits())
    }

    fn value(&self, operand: Option<&Operand>) -> Option<u32> {
        match operand {
            Some(Operand::IdScope(id) | Operand::IdMemorySemantics(id) | Operand::IdRef(id)) => {
                self.constants.get(id).copied()
            }
            _ => None,
        }
    }
}

/// The memory operands that an access needs.
fn wanted(touch: Touch, class: StorageClass) -> MemoryAccess {
    let ordered = MemoryAccess::NON_PRIVATE_POINTER;
    if class != StorageClass::Workgroup {
        return ordered;
    }
    match touch {
        Touch::Load => ordered | MemoryAccess::MAKE_POINTER_VISIBLE,
        Touch::Store => ordered | MemoryAccess::MAKE_POINTER_AVAILABLE,
        Touch::Copy => ordered | MemoryAccess::MAKE_POINTER_VISIBLE | MemoryAccess::MAKE_POINTER_AVAILABLE,
    }
}

/// Scopes that follow the memory operands.
fn scopes(access: MemoryAccess) -> usize {
    [MemoryAccess::MAKE_POINTER_AVAILABLE, MemoryAccess::MAKE_POINTER_VISIBLE]
        .into_iter()
        .filter(|bit| access.contains(*bit))
        .count()
}

const BARRIER: MemorySemantics = MemorySemantics::ACQUIRE_RELEASE
    .union(MemorySemantics::MAKE_AVAILABLE)
    .union(MemorySemantics::MAKE_VISIBLE);

pub(crate) fn read(words: &[u32]) -> Result<Module, String> {
    load_words(words).map_err(|error| format!("SPIR-V does not parse: {error}"))
}

/// A module of naga with the operands that the Vulkan memory model asks for.
fn to_vulkan_memory_model(words: &[u32]) -> Result<Vec<u32>, String> {
    let mut module = read(words)?;
    let mut ids = Ids::of(&module);
    let unsigned = ids.unsigned.ok_or("SPIR-V without 32-bit integers")?;
    let mut next = module.header.as_ref().map(|header| header.bound).ok_or("SPIR-V without a header")?;
    let mut added = Vec::new();
    // Ids of new constants by their value.
    let mut known = HashMap::new();
    let mut constant = |value: u32, ids: &mut Ids| {
        *known.entry(value).or_insert_with(|| {
            let id = next;
            next += 1;
            let operands = vec![Operand::LiteralBit32(value)];
            added.push(Instruction::new(Op::Constant, Some(unsigned), Some(id), operands));
            ids.constants.insert(id, value);
            id
        })
    };
    let instructions =
        module.functions.iter_mut().flat_map(|f| &mut f.blocks).flat_map(|block| &mut block.instructions);
    for instruction in instructions {
        let opcode = instruction.class.opcode;
        if is_unknown(opcode) {
            return Err(format!("{opcode:?} has no known place in the Vulkan memory model"));
        }
        if opcode == Op::ControlBarrier {
            if ids.value(instruction.operands.get(1)) != Some(Scope::Workgroup as u32) {
                return Err("a barrier beyond the workgroup".into());
            }
            let semantics = ids.value(instruction.operands.get(2)).ok_or("a barrier of unknown semantics")?;
            let id = constant(semantics | BARRIER.bits(), &mut ids);
            instruction.operands[2] = Operand::IdMemorySemantics(id);
        } else if is_known_atomic(opcode) {
            if !ids.is_relaxed_in_a_buffer(instruction) {
                return Err(format!("{opcode:?} that is not a relaxed one in a storage buffer"));
            }
            let id = constant(Scope::QueueFamily as u32, &mut ids);
            instruction.operands[1] = Operand::IdScope(id);
        } else if let Some((touch, fixed, pointers)) = touch(opcode)
            && let Some(class) = ids.shared(instruction, pointers)
        {
            if instruction.operands.len() != fixed {
                return Err(format!("{opcode:?} with memory operands of its own"));
            }
            let access = wanted(touch, class);
            instruction.operands.push(Operand::MemoryAccess(access));
            for _ in 0..scopes(access) {
                let scope = constant(Scope::Workgroup as u32, &mut ids);
                instruction.operands.push(Operand::IdScope(scope));
            }
        }
    }
    module.types_global_values.extend(added);
    if let Some(header) = &mut module.header {
        header.bound = next;
    }
    Ok(module.assemble())
}

/// What in a module breaks the Vulkan memory model; nothing where all is well.
fn faults(words: &[u32]) -> Result<Vec<String>, String> {
    let module = read(words)?;
    let ids = Ids::of(&module);
    let mut faults = Vec::new();
    let model = module.memory_model.as_ref().and_then(|model| model.operands.get(1));
    let is_declared = module
        .capabilities
        .iter()
        .any(|declared| declared.operands == [Operand::Capability(Capability::VulkanMemoryModel)]);
    if model != Some(&Operand::MemoryModel(MemoryModel::Vulkan)) || !is_declared {
        faults.push("the module is not of the Vulkan memory model".into());
    }
    for instruction in module.functions.iter().flat_map(|f| &f.blocks).flat_map(|b| &b.instructions) {
        let opcode = instruction.class.opcode;
        if is_unknown(opcode) {
            faults.push(format!("{opcode:?}"));
        } else if opcode == Op::ControlBarrier {
            let scopes = [0, 1].map(|at| ids.value(instruction.operands.get(at)));
            let semantics = MemorySemantics::from_bits_truncate(
                ids.value(instruction.operands.get(2)).unwrap_or_default(),
            );
            let is_whole = semantics.contains(BARRIER | MemorySemantics::WORKGROUP_MEMORY);
            if !is_whole || scopes != [Some(Scope::Workgroup as u32); 2] {
                faults.push(format!("a barrier with {semantics:?}"));
            }
        } else if is_known_atomic(opcode) {
            let scope = ids.value(instruction.operands.get(1));
            if !ids.is_relaxed_in_a_buffer(instruction) || scope != Some(Scope::QueueFamily as u32) {
                faults.push(format!("{opcode:?} of scope {scope:?}"));
            }
        } else if let Some((touch, fixed, pointers)) = touch(opcode)
            && let Some(class) = ids.shared(instruction, pointers)
        {
            let access = wanted(touch, class);
            let rest = instruction.operands.get(fixed..).unwrap_or_default();
            let has_operands = matches!(rest, [Operand::MemoryAccess(found), scopes @ ..]
                if *found == access && scopes.len() == self::scopes(access)
                    && scopes.iter().all(|scope| ids.value(Some(scope)) == Some(Scope::Workgroup as u32)));
            if !has_operands {
                faults.push(format!("{opcode:?} of {class:?} without its memory operands"));
            }
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Touches a buffer, workgroup memory through a function's pointer, and matrices, around two barriers.
    const SOURCE: &str = "
        enable f16;
        enable wgpu_cooperative_matrix;
        @group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
        @group(0) @binding(1) var<storage, read_write> z: array<f32>;
        var<workgroup> shared_x: array<f16, 256>;
        var<workgroup> shared_z: array<f32, 256>;
        fn first(at: u32) -> f32 { return shared_z[at]; }
        @compute @workgroup_size(32)
        fn go(@builtin(local_invocation_index) local: u32) {
            var private_value = x[local];
            shared_x[4u * local] = private_value.x;
            workgroupBarrier();
            let a = coopLoadT<coop_mat8x8<f16, A>>(&shared_x[0], 8u);
            let b = coopLoad<coop_mat8x8<f16, B>>(&shared_x[64], 8u);
            var sum = coop_mat8x8<f32, C>();
            sum = coopMultiplyAdd(a, b, sum);
            coopStore(sum, &shared_z[0], 8u);
            workgroupBarrier();
            z[local] = first(local);
        }";

    fn kernel() -> Kernel {
        Kernel::of_text("go", SOURCE.into())
    }

    fn counts(words: &[u32]) -> HashMap<Op, usize> {
        let module = read(words).unwrap();
        let mut counts = HashMap::new();
        for instruction in module.functions.iter().flat_map(|f| &f.blocks).flat_map(|b| &b.instructions) {
            *counts.entry(instruction.class.opcode).or_default() += 1;
        }
        counts
    }

    #[test]
    fn every_access_and_every_barrier_is_rewritten() {
        for checked in [false, true] {
            let before = naga_words(&kernel(), checked).unwrap();
            let after = to_vulkan_memory_model(&before).unwrap();
            assert_eq!(faults(&after).unwrap(), Vec::<String>::new(), "checked: {checked}");
            assert_eq!(counts(&before), counts(&after), "nothing is added to or taken from the code");
            assert!(counts(&after)[&Op::ControlBarrier] >= 2);
            assert_eq!(counts(&after)[&Op::CooperativeMatrixLoadKHR], 2);
            assert_eq!(counts(&after)[&Op::CooperativeMatrixStoreKHR], 1);
        }
    }

    /// naga's own words are the planted fault: each kind of instruction is noticed.
    #[test]
    fn what_naga_writes_is_noticed() {
        let found = faults(&naga_words(&kernel(), false).unwrap()).unwrap().join("\n");
        for part in [
            "Load of StorageBuffer",
            "Load of Workgroup",
            "Store of Workgroup",
            "Store of StorageBuffer",
            "CooperativeMatrixLoadKHR of Workgroup",
            "CooperativeMatrixStoreKHR of Workgroup",
            "a barrier with",
        ] {
            assert!(found.contains(part), "{part} in\n{found}");
        }
    }

    #[test]
    fn one_access_without_operands_is_noticed() {
        let whole = to_vulkan_memory_model(&naga_words(&kernel(), false).unwrap()).unwrap();
        let mut planted = 0;
        for at in 0.. {
            let mut module = read(&whole).unwrap();
            let mut accesses = module
                .functions
                .iter_mut()
                .flat_map(|f| &mut f.blocks)
                .flat_map(|block| &mut block.instructions)
                .filter(|i| i.operands.iter().any(|o| matches!(o, Operand::MemoryAccess(_))));
            let Some(access) = accesses.nth(at) else { break };
            access
                .operands
                .retain(|operand| !matches!(operand, Operand::MemoryAccess(_) | Operand::IdScope(_)));
            assert_eq!(faults(&module.assemble()).unwrap().len(), 1, "access {at}");
            planted += 1;
        }
        assert!(planted >= 6, "{planted}");
    }

    #[test]
    fn copies_get_both_operands() {
        let mut module = read(&naga_words(&kernel(), false).unwrap()).unwrap();
        let ids = Ids::of(&module);
        let is_shared = |i: &Instruction| {
            i.class.opcode == Op::Load && ids.shared(i, &[0]) == Some(StorageClass::Workgroup)
        };
        let mut blocks = module.functions.iter_mut().flat_map(|f| &mut f.blocks);
        let block = blocks.find(|block| block.instructions.iter().any(is_shared)).unwrap();
        let at = block.instructions.iter().position(is_shared).unwrap();
        let pointer = block.instructions[at].operands[0].clone();
        let copy = Instruction::new(Op::CopyMemory, None, None, vec![pointer.clone(), pointer]);
        block.instructions.insert(at, copy);
        let copied = to_vulkan_memory_model(&module.assemble()).unwrap();
        assert_eq!(faults(&copied).unwrap(), Vec::<String>::new());
    }

    /// Relaxed additions and stores in buffers get a scope that every device has; all others are refused.
    #[test]
    fn atomics_of_buffers_alone_pass() {
        let with = |space: &str, call: &str| {
            let global = match space {
                "workgroup" => "var<workgroup> count: atomic<u32>;",
                _ => "@group(0) @binding(2) var<storage, read_write> count: atomic<u32>;",
            };
            let source = SOURCE.replace("fn first", &format!("{global}\nfn first"));
            Kernel {
                source: source.replace("z[local] = first", &format!("{call}; z[local] = first")),
                ..kernel()
            }
        };
        for call in ["atomicAdd(&count, 1u)", "atomicStore(&count, 1u)"] {
            assert!(compile(&with("storage", call), false).is_ok(), "{call}");
            let naga = faults(&naga_words(&with("storage", call), false).unwrap()).unwrap().join("\n");
            assert!(naga.contains("of scope Some(1)"), "the scope of the device goes unnoticed: {naga}");
            let error = compile(&with("workgroup", call), false).unwrap_err();
            assert!(error.contains("not a relaxed one"), "{error}");
        }
        let error = compile(&with("storage", "atomicMax(&count, 1u)"), false).unwrap_err();
        assert!(error.contains("AtomicUMax"), "{error}");
    }
}
