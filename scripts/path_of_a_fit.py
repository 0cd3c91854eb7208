"""Lists the files whose functions ran in a fit: scripts/path-of-a-fit."""

import collections
import json
import pathlib
import sys

SRC = pathlib.Path(__file__).resolve().parent.parent / "src"
# Readers and writers of files, errors, the command.
LEFT_OUT = ("error.rs", "main.rs", "cli/") + tuple(
    f"data/{name}.rs"
    for name in ("columns", "csv", "idx", "npy", "npz", "records", "sparse", "storage", "table", "vecs", "write")
)


def calls(path):
    """How often each function of src ran, by (file, line of its first region)."""
    counts = collections.Counter()
    for function in json.loads(pathlib.Path(path).read_text())["data"][0]["functions"]:
        file = pathlib.Path(function["filenames"][0])
        if file.is_relative_to(SRC):
            counts[str(file.relative_to(SRC)), function["regions"][0][0]] += function["count"]
    return counts


def main():
    device, opened, fitted = sys.argv[1:]
    before = calls(opened)
    ran = collections.Counter()
    for (file, line), count in calls(fitted).items():
        if count > before[file, line] and not file.startswith(LEFT_OUT):
            ran[file] += 1
    for file, functions in sorted(ran.items()):
        print(f"  src/{file}  {functions} functions")
    print(f"{device}: {len(ran)} files")


main()
