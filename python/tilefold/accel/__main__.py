"""`python -m tilefold.accel script.py`: runs a program with tilefold in scikit-learn's place."""

import argparse
import os
import runpy
import sys

from . import install, profile_table


def main(arguments=None):
    """Runs what the arguments name, as `python` itself would."""
    parser = argparse.ArgumentParser(
        prog="python -m tilefold.accel",
        description="Runs a Python program whose scikit-learn KMeans, k_means and pairwise distances are tilefold's.",
        usage="%(prog)s [--device D] [--fallback F] [--profile] (SCRIPT | -m MODULE | -c CODE) [ARGUMENT ...]",
    )
    parser.add_argument("--device", help="what work runs on, as in tilefold.set_config")
    parser.add_argument("--fallback", choices=("warn", "silent", "raise"), help="what happens where it cannot")
    parser.add_argument("--profile", action="store_true", help="at the end, print what ran where and why to stderr")
    parser.add_argument("-m", dest="module", metavar="MODULE", nargs=argparse.REMAINDER, help="run a module")
    parser.add_argument("-c", dest="code", metavar="CODE", nargs=argparse.REMAINDER, help="run code")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="run a file")
    options = parser.parse_args(arguments)
    program = options.module or options.code or options.script
    if not program:
        parser.error("expected a script, -m MODULE or -c CODE")
    install(device=options.device, fallback=options.fallback)
    try:
        _run(options, program)
    finally:
        if options.profile:
            print(profile_table(), file=sys.stderr)


def _run(options, program):
    if options.module:
        sys.argv = program
        sys.path[0] = ""
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    elif options.code:
        sys.argv = ["-c", *program[1:]]
        sys.path[0] = ""
        exec(compile(program[0], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        sys.argv = program
        sys.path[0] = os.path.dirname(os.path.abspath(program[0]))
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    main()
