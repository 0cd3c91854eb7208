"""Writes tests/data/lora/mixed: a mixed batch of PEFT's, small enough for the ordinary tests.

    PYTHONHASHSEED=0 python scripts/make_lora_mixed_fixtures.py      needs torch, transformers and peft; downloads nothing

One folder per adapter, as PEFT's save_pretrained writes them, and batch.safetensors: for each LoRA layer its input in
the mixed forward (`NAME.x`, f32) and the update that PEFT's own layer gives for it in float64 (`NAME.delta`).
batch.json names the adapter of each row, or none. scripts/compare-peft does the same with more and larger layers.
"""

import json
import pathlib
import shutil

import torch
from peft import LoraConfig
from safetensors.numpy import save_file

import peft_mixed
from peft_mixed import BASE

FOLDER = pathlib.Path(__file__).parent.parent / "tests" / "data" / "lora" / "mixed"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TOKENS = 2
BATCH = [BASE, "r33", "r4", "r64", "r16", BASE, "r8", "r64", "r4", BASE]


def lora(**settings):
    return LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": ALL, **settings})


CONFIGS = {
    "r4": lora(r=4, lora_alpha=8),
    "r8": lora(r=8, lora_alpha=3, use_rslora=True),
    "r16": lora(r=16, lora_alpha=20, rank_pattern={"k_proj": 5, "up_proj": 1}, alpha_pattern={"q_proj": 7}),
    "r33": lora(r=33, lora_alpha=7, target_modules=["q_proj", "v_proj"]),
    "r64": lora(r=64, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "gate_proj"]),
}

torch.manual_seed(20240229)
base = peft_mixed.llama(
    vocab_size=16, hidden_size=20, intermediate_size=28, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, head_dim=10,
)
model = peft_mixed.adapted(base, CONFIGS, torch.float32)
shutil.rmtree(FOLDER, ignore_errors=True)
peft_mixed.save(model, FOLDER)
layers = peft_mixed.forward(model, BATCH, TOKENS)
tensors = {f"{layer.name}.x": layer.x.astype("float32") for layer in layers}
tensors |= {f"{layer.name}.delta": layer.delta for layer in layers}
save_file(tensors, FOLDER / "batch.safetensors")
owners = [None if name == BASE else name for name in BATCH for _ in range(TOKENS)]
(FOLDER / "batch.json").write_text(json.dumps({"adapters": list(CONFIGS), "rows": owners}) + "\n")
