"""Who imports what: modules of scikit-learn that hand out tilefold's objects to everybody but scikit-learn.

A module's class may be changed as long as it is a kind of module. The class here looks at who asks for an attribute:
the module of the code that runs `from sklearn.metrics import ...` or `sklearn.metrics...`. Names inside scikit-learn's
own files are looked up in their module's dictionary, which is not touched, so that nothing inside changes.
"""

import importlib
import sys
import types

from .._config import _checked, get_config, set_config

# Who keeps scikit-learn's objects. Picklers look names up to see whether they are what is being pickled.
_NOT_USERS = frozenset(
    {"sklearn", "tilefold", "joblib", "cloudpickle", "pickle", "_pickle", "copyreg", "multiprocessing"}
)
_ours = {}
_before = {}


class _Shared(types.ModuleType):
    """A module with two faces."""

    def __getattribute__(self, name):
        theirs = types.ModuleType.__getattribute__(self, name)
        if name.startswith("_"):
            return theirs
        ours = _ours.get((types.ModuleType.__getattribute__(self, "__name__"), name))
        if ours is None:
            return theirs
        asking = sys._getframe(1).f_globals.get("__name__") or ""
        return theirs if asking.partition(".")[0] in _NOT_USERS else ours


def _replacements():
    """Module, name, and what users get."""
    from .. import metrics
    from ..cluster import KMeans
    from ._k_means import k_means

    yield "sklearn.cluster", "KMeans", KMeans
    yield "sklearn.cluster", "k_means", k_means
    for name in metrics.__all__:
        for module in ("sklearn.metrics", "sklearn.metrics.pairwise"):
            if hasattr(importlib.import_module(module), name):
                yield module, name, getattr(metrics, name)


def install(*, device=None, fallback=None):
    """Gives tilefold's objects to whoever imports scikit-learn's from now on.

    Parameters
    ----------
    device, fallback
        Settings of the process as in `tilefold.set_config`, until `uninstall`.

    Notes
    -----
    Calling it again changes the settings alone.
    """
    given = _checked(device, fallback)
    for module, name, ours in _replacements() if not _ours else ():
        _ours[module, name] = ours
        importlib.import_module(module).__class__ = _Shared
    for setting, value in given.items():
        _before.setdefault(setting, get_config()[setting])
        set_config(**{setting: value})


def uninstall():
    """Gives scikit-learn's own objects again, and takes the settings of `install` back."""
    for module, _ in _ours:
        sys.modules[module].__class__ = types.ModuleType
    _ours.clear()
    set_config(**_before)
    _before.clear()


def is_installed():
    """Whether users get tilefold's objects."""
    return bool(_ours)
