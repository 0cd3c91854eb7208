"""Writes tests/data/lora: small adapters that PEFT itself saved, and what PEFT says that they add to the weights.

    PYTHONHASHSEED=0 python scripts/make_lora_fixtures.py        needs torch, transformers and peft; downloads nothing

Each folder is one variant. `delta.json` gives for each module the update of its weight, [outputs, inputs], from
PEFT's own `get_delta_weight` in float64 after saving. Folders whose names start with `refused` have none: tilefold
has to refuse them.
"""

import json
import os
import pathlib
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import LoHaConfig, LoraConfig, PeftModel, VeraConfig, get_peft_model, save_as_lora
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

FOLDER = pathlib.Path(__file__).parent.parent / "tests" / "data" / "lora"


def llama():
    config = LlamaConfig(
        vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2))


def lora(**settings):
    return LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"], "r": 2, **settings})


def vera(**settings):
    return VeraConfig(**{"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"], "r": 3, **settings})


VARIANTS = {
    "plain": (llama, lora(lora_alpha=5)),
    "half": (llama, lora(lora_alpha=4), torch.float16),
    "bfloat": (llama, lora(lora_alpha=4), torch.bfloat16),
    "rank_stabilised": (
        llama,
        lora(
            use_rslora=True,
            target_modules="all-linear",
            rank_pattern={"layers.1.self_attn.q_proj": 4, "q_proj": 1, r"^model\.layers\.0\.mlp\..*": 3},
            alpha_pattern={r".*_proj": 7, "q_proj": 3},
        ),
    ),
    "one_layer": (llama, lora(target_modules=r"model\.layers\.(?!0).*\.(q|o)_proj")),
    "embedding": (llama, lora(target_modules=["embed_tokens", "lm_head", "v_proj"])),
    "transposed_base": (gpt2, lora(target_modules=["c_attn"], fan_in_fan_out=True)),
    "vera": (llama, vera()),
    "refused_dora": (llama, lora(use_dora=True)),
    "refused_bias": (llama, lora(target_modules=["q_proj"], lora_bias=True)),
    "refused_modules_to_save": (llama, lora(modules_to_save=["lm_head"])),
    "refused_pissa": (llama, lora(init_lora_weights="pissa")),
    "refused_vera_without_projection": (llama, vera(save_projection=False)),
}


def write(name, make_base, config, dtype=torch.float32):
    torch.manual_seed(sum(name.encode()))
    model = get_peft_model(make_base(), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn_like(parameter)
    model = model.to(dtype)
    model.save_pretrained(fresh(name))
    finish(name, model)


def fresh(name):
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    return FOLDER / name


def finish(name, model):
    (FOLDER / name / "README.md").unlink(missing_ok=True)
    if not name.startswith("refused"):
        deltas = dict(updates(model.double()))
        (FOLDER / name / "delta.json").write_text(json.dumps(deltas, sort_keys=True) + "\n")


def convert():
    """What PEFT's converters, which refusals name, make of a LoHa and of a PiSSA."""
    loha = LoHaConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], r=2, init_weights=False)
    pissa = get_peft_model(llama(), lora(init_lora_weights="pissa"))
    with tempfile.TemporaryDirectory() as initial:
        pissa.peft_config["default"].init_lora_weights = True
        pissa.save_pretrained(initial)
        pissa.peft_config["default"].init_lora_weights = "pissa"
        for parameter in pissa.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter)
        pissa.save_pretrained(fresh("converted_pissa"), path_initial_model_for_weight_conversion=initial)
    save_as_lora(fresh("converted_loha"), get_peft_model(llama(), loha), rank=4)
    for name in ["converted_loha", "converted_pissa"]:
        finish(name, PeftModel.from_pretrained(llama(), FOLDER / name))


def updates(model):
    """The update of each adapted weight, [outputs, inputs]."""
    for name, module in model.base_model.model.named_modules():
        if not hasattr(module, "get_delta_weight"):
            continue
        delta = module.get_delta_weight("default")
        base = module.get_base_layer()
        if isinstance(base, torch.nn.Embedding) or base.__class__.__name__ == "Conv1D":
            delta = delta.T
        yield name, delta.tolist()


for name, variant in VARIANTS.items():
    write(name, *variant)
convert()
