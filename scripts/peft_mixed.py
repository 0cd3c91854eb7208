"""A mixed batch of PEFT's: a small Llama with random weights, adapters of different kinds, and what each LoRA layer
does with rows of different adapters. Used by compare_peft.py and make_lora_mixed_fixtures.py; downloads nothing."""

import copy
import os
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import LlamaConfig, LlamaForCausalLM

BASE = "__base__"


@dataclass(frozen=True)
class Update:
    """One adapter's factors in one layer, as float64, and the scale that PEFT uses."""

    a: np.ndarray
    b: np.ndarray
    scale: float


@dataclass(frozen=True)
class Layer:
    """One LoRA layer in the mixed forward. Rows are the tokens of all sequences; arrays are float64 and hold what the
    model's type holds, but for `delta`, which PEFT's own layer gives in float64."""

    name: str
    x: np.ndarray
    base: np.ndarray
    mixed: np.ndarray
    delta: np.ndarray
    updates: dict[str, Update]


def llama(**sizes):
    return LlamaForCausalLM(LlamaConfig(attention_bias=False, tie_word_embeddings=False, **sizes))


def adapted(base, configs: dict[str, LoraConfig], dtype: torch.dtype):
    """The model with all adapters, A and B random (PEFT's own start has B = 0), in the type `dtype`."""
    names = list(configs)
    model = get_peft_model(base, configs[names[0]], adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, configs[name])
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = torch.randn_like(parameter) / parameter.shape[1] ** 0.5
    return model.to(dtype).eval()


def save(model, folder: Path):
    """One folder per adapter, as save_pretrained names them."""
    model.save_pretrained(folder)
    for readme in folder.rglob("README.md"):
        readme.unlink()


def forward(model, adapter_names: list[str], tokens: int) -> list[Layer]:
    """PEFT's mixed forward over one sequence per name, `tokens` long each, as each of its LoRA layers sees it."""
    seen: dict[str, dict[str, torch.Tensor]] = {}
    hooks = []
    layers = {name: module for name, module in model.base_model.model.named_modules() if isinstance(module, LoraLayer)}
    for name, layer in layers.items():
        kept = seen.setdefault(name, {})

        # PEFT adds to the base layer's output in place: clone.
        def keep_base(_module, _inputs, output, kept=kept):
            kept["base"] = output.detach().clone()

        def keep(_module, inputs, output, kept=kept):
            kept["x"], kept["mixed"] = inputs[0].detach().clone(), output.detach().clone()

        hooks += [layer.base_layer.register_forward_hook(keep_base), layer.register_forward_hook(keep)]
    ids = torch.randint(model.config.vocab_size, (len(adapter_names), tokens))
    with torch.no_grad():
        model(input_ids=ids, adapter_names=adapter_names)
    for hook in hooks:
        hook.remove()
    return [captured(name, layers[name], kept, adapter_names) for name, kept in seen.items()]


def captured(name: str, layer, kept: dict[str, torch.Tensor], adapter_names: list[str]) -> Layer:
    # The same layer of PEFT's in float64 over a base of zeros gives the update alone.
    exact = copy.deepcopy(layer).double()
    exact.base_layer.weight.data.zero_()
    with torch.no_grad():
        delta = exact(kept["x"].double(), adapter_names=adapter_names)
    updates = {
        adapter: Update(wide(layer.lora_A[adapter].weight), wide(layer.lora_B[adapter].weight), layer.scaling[adapter])
        for adapter in layer.lora_A
    }
    arrays = {key: rows(kept[key]) for key in ("x", "base", "mixed")}
    return Layer(name=name, delta=rows(delta), updates=updates, **arrays)


def wide(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def rows(tensor: torch.Tensor) -> np.ndarray:
    """[sequences, tokens, features] as one row per token."""
    return wide(tensor).reshape(-1, tensor.shape[-1])
