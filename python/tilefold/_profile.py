"""What ran where, and why: one row per kind of call, device and reason.

Recording is one dictionary update, so it is always on; `tilefold.accel.profile` shows the table.
"""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

_lock = threading.Lock()
_rows = {}


@dataclass(frozen=True)
class Row:
    """Calls that ran on one device for one reason."""

    call: str
    device: str
    reason: str
    calls: int
    seconds: float


@dataclass
class Entry:
    """A call while it runs; whoever performs it fills in where it ran and why."""

    device: str = ""
    reason: str = ""


def record(call, device, reason, seconds):
    """Adds one call. `reason` is one of a few texts, never one per call."""
    with _lock:
        row = _rows.setdefault((call, device, reason), [0, 0.0])
        row[0] += 1
        row[1] += seconds


@contextmanager
def measured(call):
    """Times a call and adds it, unless it raised."""
    entry = Entry()
    start = time.perf_counter()
    yield entry
    record(call, entry.device, entry.reason, time.perf_counter() - start)


def rows():
    """All rows, the longest first."""
    with _lock:
        found = [Row(*key, calls=int(calls), seconds=seconds) for key, (calls, seconds) in _rows.items()]
    return sorted(found, key=lambda row: -row.seconds)


def reset():
    """Forgets everything."""
    with _lock:
        _rows.clear()


def table():
    """The rows as text."""
    lines = [("call", "calls", "seconds", "device", "reason")]
    lines += [(row.call, f"{row.calls:,}", f"{row.seconds:.3f}", row.device, row.reason) for row in rows()]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    is_number = (False, True, True, False, False)
    return "\n".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in lines
    )
