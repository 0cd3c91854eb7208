"""The command line inside the wheel."""

import signal
import sys

from . import _core


def main():
    """Runs the command with the arguments of this process and ends it with the command's exit code."""
    # Commands that can stop in an orderly way install a handler of their own; the others end at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_core.run_command(["tilefold", *sys.argv[1:]]))
