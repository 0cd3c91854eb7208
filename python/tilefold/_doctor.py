"""What a bug report should carry: versions, adapters and their limits."""

import importlib.metadata
import platform
import sys

from . import _core
from ._config import get_config

_PACKAGES = ("numpy", "scipy", "scikit-learn", "threadpoolctl", "joblib", "pandas", "polars", "pyarrow")


def versions():
    """Pairs of name and version: this package, Python, the system and what tilefold works with."""
    yield "tilefold", _core.version()
    yield "python", sys.version.replace("\n", " ")
    yield "platform", platform.platform()
    for package in _PACKAGES:
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield package, "not installed"


def show_versions():
    """Prints the versions of tilefold and of what it works with."""
    for name, version in versions():
        print(f"{name:>14}  {version}")


def doctor():
    """Prints versions, settings, adapters with their limits, and what `auto` takes."""
    show_versions()
    print()
    for name, value in get_config().items():
        print(f"{name:>14}  {value}")
    adapters = _core.adapters()
    for adapter in adapters:
        print(f"\n{adapter['index']:>14}  {adapter['name']} [{adapter['selector']}], {adapter['type']}")
        for name in ("vendor", "driver", "pci_bus_id"):
            if adapter[name]:
                print(f"{name:>14}  {adapter[name]}")
        print(f"{'features':>14}  {' '.join(adapter['features'])}")
        for name, size in adapter["limits"].items():
            print(f"{name.removesuffix('_bytes'):>14}  {size / 2**20:.0f} MiB")
    if not adapters:
        print("\n    no GPU adapter: is a Vulkan, Metal or DX12 driver installed?")
    print(f"\n{'auto takes':>14}  {_core.device_name('auto').removeprefix('auto: ')}")
