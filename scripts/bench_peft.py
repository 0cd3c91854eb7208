"""Time that adapters add to one linear layer: PEFT's mixed batch minus its base layer, against `tilefold lora bench`.

Rows belong to the adapters in turn, as many rows each. Before a repetition of either side a buffer larger than the caches
is overwritten, so that weights come from memory. PEFT's result is compared with the formula in f64 before it is timed;
tilefold checks its own in the same way. The two run in turns.
"""

import argparse
import json
import statistics
import subprocess
import time

import torch
from peft import LoraConfig, get_peft_model


class Layer(torch.nn.Module):
    """A model of one linear layer."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.module = torch.nn.Linear(inputs, outputs, bias=False)

    def forward(self, x):
        return self.module(x)


def peft_model(arguments):
    torch.manual_seed(0)
    config = LoraConfig(r=arguments.rank, lora_alpha=arguments.rank, target_modules=["module"], init_lora_weights=False)
    model = get_peft_model(Layer(arguments.hidden, arguments.out), config, adapter_name="0")
    for adapter in range(1, arguments.adapters):
        model.add_adapter(str(adapter), config)
    return model.eval()


def check(model, x, names, mixed, base):
    layer = model.base_model.model.module
    for row in range(0, len(names), 7):
        a = layer.lora_A[names[row]].weight.double()
        b = layer.lora_B[names[row]].weight.double()
        delta = (x[row].double() @ a.T) @ b.T * layer.scaling[names[row]]
        error = (mixed[row].double() - base[row].double() - delta).abs().max().item()
        largest = delta.abs().max().item()
        if not error <= 1e-4 * max(largest, 1.0):
            raise SystemExit(f"PEFT's row {row} is {error} off: nothing is timed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tilefold", required=True, help="the command")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--adapters", type=int, default=32)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--out", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    model = peft_model(arguments)
    x = torch.randn(arguments.rows, arguments.hidden)
    names = [str(row % arguments.adapters) for row in range(arguments.rows)]
    flushed = torch.zeros(64 << 20)
    seconds = {"peft mixed": [], "peft base": [], "tilefold": []}

    def timed(name, call):
        flushed.add_(1.0)
        begin = time.perf_counter()
        result = call()
        seconds[name].append(time.perf_counter() - begin)
        return result

    command = [
        arguments.tilefold, "lora", "bench", "--device", "cpu", "--dtype", "f32", "--json", "--workload", "uniform",
        "--rows", str(arguments.rows), "--adapters", str(arguments.adapters), "--rank", str(arguments.rank),
        "--hidden", str(arguments.hidden), "--out", str(arguments.out),
    ]
    with torch.no_grad():
        mixed = model(x, adapter_names=names)
        base = model.base_model.model.module.base_layer(x)
        check(model, x, names, mixed, base)
        for _ in range(arguments.rounds):
            for _ in range(5):
                timed("peft mixed", lambda: model(x, adapter_names=names))
                timed("peft base", lambda: model.base_model.model.module.base_layer(x))
            report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            seconds["tilefold"].append(report["batches"][0]["seconds"])
            copy = report["copy_bytes_per_second"]
            batch = report["batches"][0]

    median = {name: statistics.median(values) for name, values in seconds.items()}
    added = median["peft mixed"] - median["peft base"]
    rate = (batch["least_bytes"] + batch["written_bytes"]) / median["tilefold"]
    print(f"{arguments.rows} rows, {arguments.adapters} adapters, {arguments.hidden} to {arguments.out}, "
          f"rank {arguments.rank}, f32, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"PEFT      {1e3 * median['peft mixed']:7.2f} ms mixed - {1e3 * median['peft base']:.2f} ms base "
          f"= {1e3 * added:.2f} ms added")
    print(f"tilefold  {1e3 * median['tilefold']:7.2f} ms, {rate / 1e9:.1f} GB/s, {100 * rate / copy:.0f} % of a copy")
    print(f"ratio     {added / median['tilefold']:7.2f}")


if __name__ == "__main__":
    main()
