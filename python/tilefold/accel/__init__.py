"""scikit-learn's KMeans, k_means and pairwise distances replaced by tilefold's, without a change of the program.

    python -m tilefold.accel script.py         # a script
    %load_ext tilefold.accel                   # a notebook
    tilefold.accel.install()                   # before scikit-learn's names are imported

Only the program's own code gets tilefold's: whatever scikit-learn calls inside itself stays scikit-learn's. Names that
were imported before `install` stay what they were, and so do those imported before `uninstall`.
"""

from .._profile import Row
from .._profile import reset as reset_profile
from .._profile import rows as profile
from .._profile import table as profile_table
from ._install import install, is_installed, uninstall
from ._k_means import k_means

__all__ = [
    "Row",
    "install",
    "is_installed",
    "k_means",
    "load_ipython_extension",
    "profile",
    "profile_table",
    "reset_profile",
    "uninstall",
    "unload_ipython_extension",
]


def load_ipython_extension(ipython):
    """`%load_ext tilefold.accel`: installs, and adds `%tilefold_profile`."""
    install()
    ipython.register_magic_function(_show_profile, "line", "tilefold_profile")


def unload_ipython_extension(ipython):
    """`%unload_ext tilefold.accel`."""
    uninstall()


def _show_profile(line):
    """%tilefold_profile: what ran where, and why. `%tilefold_profile reset` forgets it."""
    if line.strip() == "reset":
        reset_profile()
    else:
        print(profile_table())
