//! Elements of cooperative matrices, which WGSL has no words for, in SPIR-V.

use std::collections::HashMap;

use rspirv::binary::Assemble;
use rspirv::dr::Operand;
use rspirv::spirv::{Op, Word};

use super::spirv::read;

/// What names the array that stands for the elements of a matrix.
const ELEMENTS: &str = "_elements";

/// Makes elements of matrices readable, which WGSL has no words for: wherever a function's text indexes an array
/// `name_elements`, the matrix `name` is indexed, whose components an invocation holds `size * size / subgroup` of. The
/// array itself, and all names, go.
pub(crate) fn with_elements(words: &[u32]) -> Result<Vec<u32>, String> {
    let mut module = read(words)?;
    let mut names: HashMap<Word, String> = HashMap::new();
    for instruction in &module.debug_names {
        if let (Op::Name, [Operand::IdRef(id), Operand::LiteralString(name)]) =
            (instruction.class.opcode, instruction.operands.as_slice())
        {
            names.insert(*id, name.clone());
        }
    }
    module.debug_names.clear();
    for function in &mut module.functions {
        let variables: HashMap<&str, Word> = function
            .blocks
            .iter()
            .flat_map(|block| &block.instructions)
            .filter(|instruction| instruction.class.opcode == Op::Variable)
            .filter_map(|variable| Some((names.get(&variable.result_id?)?.as_str(), variable.result_id?)))
            .collect();
        let mut matrices = HashMap::new();
        for (name, &array) in &variables {
            if let Some(matrix) = name.strip_suffix(ELEMENTS) {
                let matrix = variables.get(matrix).ok_or_else(|| format!("{name} of no matrix"))?;
                matrices.insert(array, *matrix);
            }
        }
        for block in &mut function.blocks {
            block
                .instructions
                .retain(|instruction| !instruction.result_id.is_some_and(|id| matrices.contains_key(&id)));
            for instruction in &mut block.instructions {
                let is_chain = instruction.class.opcode == Op::AccessChain;
                for operand in &mut instruction.operands {
                    if let Operand::IdRef(id) = operand
                        && let Some(matrix) = matrices.get(id)
                    {
                        if !is_chain {
                            return Err(format!(
                                "{:?} of the elements of a matrix",
                                instruction.class.opcode
                            ));
                        }
                        *id = *matrix;
                    }
                }
            }
        }
    }
    Ok(module.assemble())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::spirv::{compile, naga_words};
    use crate::kernel::Kernel;

    const SOURCE: &str = "
        enable f16;
        enable wgpu_cooperative_matrix;
        @group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
        @group(0) @binding(1) var<storage, read_write> z: array<f32>;
        @compute @workgroup_size(8)
        fn go(@builtin(local_invocation_index) local: u32) {
            let a = coopLoadT<coop_mat8x8<f16, A>>(&x[0], 2u);
            let b = coopLoad<coop_mat8x8<f16, B>>(&x[0], 2u);
            var sum = coop_mat8x8<f32, C>();
            var sum_elements: array<f32, 8>;
            sum = coopMultiplyAdd(a, b, sum);
            sum_elements[3] *= 2.0;
            z[local] = sum_elements[3];
        }";

    /// The array is gone, and the matrix is indexed in its place: twice read, once written.
    #[test]
    fn elements_are_those_of_the_matrix() {
        let named = kernel(SOURCE.into());
        let before = naga_words(&named, false).unwrap();
        let after = with_elements(&before).unwrap();
        let variables = |words: &[u32]| {
            let module = read(words).unwrap();
            let blocks = module.functions.iter().flat_map(|f| &f.blocks);
            blocks.flat_map(|b| &b.instructions).filter(|i| i.class.opcode == Op::Variable).count()
        };
        assert_eq!(variables(&before), variables(&after) + 1);
        let module = read(&after).unwrap();
        let instructions =
            || module.functions.iter().flat_map(|f| &f.blocks).flat_map(|block| &block.instructions);
        let matrix =
            instructions().find(|i| i.class.opcode == Op::Variable).and_then(|i| i.result_id).unwrap();
        let chains = instructions().filter(|i| {
            i.class.opcode == Op::AccessChain && i.operands.first() == Some(&Operand::IdRef(matrix))
        });
        assert!((2..=3).contains(&chains.count()));
        assert!(module.debug_names.is_empty());
        assert_eq!(compile(&named, true).map(|_| ()), Ok(()));
        for (from, to, expected) in [
            ("var sum_elements", "var other_elements", "other_elements of no matrix"),
            (
                "z[local] = sum_elements[3]",
                "let all = sum_elements; z[local] = all[3]",
                "Load of the elements",
            ),
        ] {
            let source = SOURCE.replace(from, to).replace("sum_elements[3] *= 2.0;", "");
            let source = if to.contains("other") {
                source.replace("sum_elements[3]", "other_elements[3]")
            } else {
                source
            };
            let error = compile(&kernel(source), false).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    fn kernel(source: String) -> Kernel {
        Kernel::of_text("go", source)
    }
}
