"""Compares `tilefold lora apply` with PEFT's mixed batches, layer by layer and element by element.

Started by scripts/compare-peft. A small Llama with random weights (grouped-query attention, so that k and v are
narrower) gets five adapters of ranks 4 to 64: plain, rank-stabilised, with ranks and alphas by pattern, one for q and v
alone. In f32, f16 and bf16 PEFT runs a batch that mixes all of them and the base model (`adapter_names`), and every LoRA
layer's input, base output and output are kept. `tilefold lora apply` gets the saved adapters, the input and the base
output, on the cpu and on a gpu, and has to give

* the base output plus the update that PEFT's own layer gives in float64, within tilefold's bound (`our_bound`);
* PEFT's own output, within that bound plus PEFT's (`peft_bound`);
* the base output's bits in rows of the base model and of adapters that do not have the layer.

NumPy has no bf16: these inputs go as f32, which holds them, and the sums stay f32.

At the end one weight of one adapter is changed by a thousandth, and the comparison has to notice it on every device.
With --plant it is changed at the start, and the run has to fail.

The bounds. u is the unit of rounding of f32, g(n) = n u / (1 - n u) bounds n roundings in a row (Higham, Accuracy and
Stability of Numerical Algorithms, 2002, section 3.1), and every sum below is over absolute values. For y = y0 + s v B^T
with v = x A^T:

* v: the longest chain of additions of any of tilefold's kernels is c = max(16 + 64 + ceil(inputs / 1024),
  ceil(inputs / 16) + 8) + 2, so |v' - v| <= e = g(c) |x| |A|^T;
* s v B^T: a chain over the rank and 4 roundings more (the product with s, s itself, which PEFT keeps in f64, and two of
  sums): |s| (e |B|^T + g(rank + 4) (|v| + e) |B|^T);
* the sum with y0: 4 u (|y| + |s v B^T|), and the rounding to the output's type, u_T |y| and half its smallest step.

PEFT sums in any order, g(inputs) and g(rank), and rounds v, v B^T, its product with s, and the sum to the model's type.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

import peft_mixed
from peft_mixed import BASE, Layer

SEED = 20240229
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
UNITS = {"f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8}
HALF_STEPS = {"f32": 2.0**-150, "f16": 2.0**-25, "bf16": 2.0**-134}
TOKENS = 5
# Unsorted, each adapter more than once but for one, the base model first, between and last.
BATCH = [BASE, "r33", "r4", "r64", "r16", BASE, "r8", "r64", "r4", "r33", "r16", "r64", BASE]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora(**settings) -> LoraConfig:
    return LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": ALL, **settings})


def configs() -> dict[str, LoraConfig]:
    return {
        "r4": lora(r=4, lora_alpha=8),
        "r8": lora(r=8, lora_alpha=3, use_rslora=True),
        "r16": lora(r=16, lora_alpha=20, rank_pattern={r"layers\.1\.self_attn\..*": 5, "down_proj": 24},
                    alpha_pattern={"k_proj": 7}),
        "r33": lora(r=33, lora_alpha=7, target_modules=["q_proj", "v_proj"]),
        "r64": lora(r=64, lora_alpha=16),
    }


def gamma(steps: int) -> float:
    error = steps * UNITS["f32"]
    return error / (1.0 - error)


def products(layer: Layer):
    """(rows, their x, the update) of each adapter that the layer has."""
    owners = np.repeat(BATCH, TOKENS)
    for name, update in layer.updates.items():
        rows = np.flatnonzero(owners == name)
        yield rows, layer.x[rows], update


def our_bound(layer: Layer, start: np.ndarray, kind: str) -> np.ndarray:
    """How far tilefold's sums of type `kind` may be from the exact ones."""
    bound = np.zeros_like(start)
    inputs = layer.x.shape[1]
    first = gamma(max(16 + 64 + -(-inputs // 1024), -(-inputs // 16) + 8) + 2)
    for rows, x, update in products(layer):
        a, b, scale = abs(update.a), abs(update.b), abs(update.scale)
        v, error = abs(x @ update.a.T), first * (abs(x) @ a.T)
        change = abs(layer.delta[rows])
        exact = abs(start[rows] + layer.delta[rows])
        error = scale * (error + gamma(len(a) + 4) * (v + error)) @ b.T
        error += 4.0 * UNITS["f32"] * (exact + change)
        bound[rows] = error + UNITS[kind] * (exact + error) + HALF_STEPS[kind]
    return bound


def peft_bound(layer: Layer, kind: str) -> np.ndarray:
    """How far PEFT's sums in a model of type `kind` may be from the exact ones."""
    bound = np.zeros_like(layer.base)
    unit, step = UNITS[kind], HALF_STEPS[kind]
    for rows, x, update in products(layer):
        a, b, scale = abs(update.a), abs(update.b), abs(update.scale)
        v, error = abs(x @ update.a.T), gamma(layer.x.shape[1]) * (abs(x) @ a.T)
        error += unit * (v + error) + step
        error = (error + gamma(len(a)) * (v + error)) @ b.T
        error += unit * (v @ b.T + error) + step
        error = scale * error + 2.0 * unit * scale * (v @ b.T + error) + step
        exact = abs(layer.base[rows] + layer.delta[rows])
        bound[rows] = error + unit * (exact + error) + step
    return bound


class Comparison:
    """The saved adapters, the command, and the count of checks."""

    def __init__(self, command: list[str], folder: Path):
        self.command, self.folder = command, folder
        self.adapters = [folder / name for name in configs()]
        self.passed = self.failed = 0

    def apply(self, layer: Layer, start: np.ndarray | None, kind: str, device: str) -> np.ndarray:
        element = np.float16 if kind == "f16" else np.float32
        path = {name: self.folder / f"{name}.npy" for name in ("x", "y", "out")}
        np.save(path["x"], layer.x.astype(element))
        arguments = ["-x", path["x"]]
        if start is not None:
            np.save(path["y"], start.astype(element))
            arguments += ["-y", path["y"]]
        answer = subprocess.run(
            [*self.command, "lora", "apply", "--adapter", *self.adapters, "--routes", self.folder / "routes.csv",
             *arguments, "--module", layer.name, "-o", path["out"], "--device", device, "--json"],
            capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise RuntimeError(f"exit code {answer.returncode}: {answer.stderr.strip()[-300:]}")
        summary = json.loads(answer.stdout)
        if summary["rows"] != len(layer.x) or summary["rows_without_adapter"] != TOKENS * BATCH.count(BASE):
            raise RuntimeError(f"rows {summary['rows']}, without an adapter {summary['rows_without_adapter']}")
        out = np.load(path["out"])
        if out.dtype != element or out.shape != layer.base.shape:
            raise RuntimeError(f"{out.dtype} {out.shape}")
        return out

    def complaints(self, layer: Layer, start: np.ndarray | None, kind: str, device: str) -> tuple[list[str], list[float]]:
        """What is wrong with one layer on one device, and the largest errors as parts of their bounds."""
        wrong, parts = [], []
        out = self.apply(layer, start, kind, device)
        before = np.zeros_like(layer.base) if start is None else start
        held = "f16" if kind == "f16" else "f32"
        ours = our_bound(layer, before, held)
        demands = [("the exact sums", before + layer.delta, ours)]
        if start is not None:
            demands.append(("PEFT", layer.mixed, ours + peft_bound(layer, kind)))
        for name, expected, bound in demands:
            error = abs(out.astype(np.float64) - expected)
            touched = bound > 0
            part = float((error[touched] / bound[touched]).max())
            parts.append(part)
            # Stated as what must hold, so that NaN fails.
            bad = np.argwhere(~(error <= bound))
            if len(bad) or not np.isfinite(part):
                row, column = bad[0] if len(bad) else (-1, -1)
                wrong.append(f"{len(bad)} elements are not those of {name}, first [{row}, {column}]")
        owners = np.repeat(BATCH, TOKENS)
        kept = np.array([owner not in layer.updates for owner in owners])
        if not np.array_equal(out[kept].view(np.uint8), before[kept].astype(out.dtype).view(np.uint8)):
            wrong.append("a row without an update changed")
        return wrong, parts

    def check(self, layer: Layer, start: np.ndarray | None, kind: str, device: str) -> bool:
        try:
            wrong, parts = self.complaints(layer, start, kind, device)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            wrong, parts = [str(error)], []
        numbers = " ".join(f"{part:7.4f}" for part in parts)
        name = layer.name.removeprefix("model.") + (" (from zeros)" if start is None else "")
        print(f"{kind:5} {device:10} {name:40} {numbers:15}  {'; '.join(wrong) or 'equal'}", flush=True)
        self.passed += not wrong
        self.failed += bool(wrong)
        return not wrong

    def plant(self, layer: Layer):
        """Changes one weight that matters of the first adapter that the layer has: one of B's by a thousandth."""
        path = self.folder / next(iter(layer.updates)) / "adapter_model.safetensors"
        tensors = load_file(path)
        weights = tensors[f"base_model.model.{layer.name}.lora_B.weight"]
        weights.view(-1)[weights.abs().argmax()] *= 1.001
        save_file(tensors, path, metadata={"format": "pt"})


def compare(kind: str, arguments, command: list[str]) -> tuple[int, int]:
    torch.manual_seed(SEED)
    base = peft_mixed.llama(vocab_size=64, hidden_size=192, intermediate_size=344, num_hidden_layers=3,
                            num_attention_heads=6, num_key_value_heads=2)
    model = peft_mixed.adapted(base, configs(), TYPES[kind])
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(command, Path(folder))
        peft_mixed.save(model, comparison.folder)
        layers = peft_mixed.forward(model, BATCH, TOKENS)
        lines = [f"{row},{owner}" for row, owner in enumerate(np.repeat(BATCH, TOKENS)) if owner != BASE]
        # Any order of lines is the same batch.
        (comparison.folder / "routes.csv").write_text("\n".join(["row,adapter", *reversed(lines)]) + "\n")
        if arguments.plant:
            comparison.plant(layers[0])
        for device in arguments.devices:
            for layer in layers:
                comparison.check(layer, layer.base, kind, device)
                if ".layers.0." in layer.name:
                    comparison.check(layer, None, kind, device)
        if kind == "f32" and not arguments.plant:
            comparison.plant(layers[0])
            for device in arguments.devices:
                wrong, _ = comparison.complaints(layers[0], layers[0].base, kind, device)
                print(f"{kind:5} {device:10} a planted weight: {'; '.join(wrong) or 'NOT NOTICED'}")
                comparison.passed += bool(wrong)
                comparison.failed += not wrong
        return comparison.passed, comparison.failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tilefold", required=True, help="the tilefold command to test")
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    parser.add_argument("--plant", action="store_true", help="changes one weight: the run has to fail")
    gpu = [] if os.environ.get("TILEFOLD_WITHOUT_GPU") == "1" else [os.environ.get("TILEFOLD_GPU") or "gpu"]
    parser.add_argument("--devices", nargs="+", default=["cpu", *gpu])
    arguments = parser.parse_args()
    command = [*shlex.split(os.environ.get("TILEFOLD_RUNNER", "")), arguments.tilefold]

    print("largest error as a part of its bound: from the exact sums, from PEFT's")
    counts = [compare(kind, arguments, command) for kind in arguments.types]
    passed, failed = (sum(count) for count in zip(*counts))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
