from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "Row",
    "install",
    "is_installed",
    "load_ipython_extension",
    "profile",
    "profile_table",
    "reset_profile",
    "uninstall",
    "unload_ipython_extension",
]

@dataclass(frozen=True)
class Row:
    call: str
    device: str
    reason: str
    calls: int
    seconds: float

def install(*, device: str | None = None, fallback: Literal["warn", "silent", "raise"] | None = None) -> None: ...
def uninstall() -> None: ...
def is_installed() -> bool: ...
def profile() -> list[Row]: ...
def profile_table() -> str: ...
def reset_profile() -> None: ...
def load_ipython_extension(ipython: Any) -> None: ...
def unload_ipython_extension(ipython: Any) -> None: ...
