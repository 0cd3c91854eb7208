"""Which calls are tilefold's and which are scikit-learn's."""

import warnings

import sklearn
from sklearn.metrics import pairwise

from .._config import get_config
from .._devices import FallbackWarning
from .._profile import measured
from ._table import TABLE

_NORMS = {"X_norm_squared", "Y_norm_squared", "squared"}


class UnsupportedError(NotImplementedError):
    """With the setting `fallback="raise"`: only scikit-learn computes what was asked for."""


class Call:
    """A call of a public function with a metric and its parameters."""

    def __init__(self, function, metric, parameters):
        self.function = function
        self.metric = metric
        self.parameters = parameters

    @property
    def title(self):
        """The call in the profile."""
        name = self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "function")
        return f"{self.function}({name})"

    def reason_against(self, X, Y):
        """Why tilefold does not compute this, one of a few texts; None where it does."""
        if self.metric == "precomputed":
            return None
        if callable(self.metric):
            return "the metric is a Python function"
        if sklearn.get_config()["array_api_dispatch"] and not (_is_of_numpy(X) and _is_of_numpy(Y)):
            return "array API dispatch"
        if self.metric not in TABLE:
            return "a metric that tilefold lacks"
        metric = TABLE[self.metric]
        unknown = sorted(set(self.parameters) - (_NORMS if metric.core == "euclidean" else set(metric.parameters)))
        if unknown:
            return f"the metric's parameter {unknown[0]}"
        return "an infinite power" if self.parameters.get("p") == float("inf") else None

    def by_scikit_learn(self, reason, work):
        """Lets scikit-learn do it, as the setting `fallback` says."""
        if isinstance(self.metric, str) and self.metric not in TABLE and self.metric not in _names():
            # It is no metric at all, and scikit-learn says so.
            return work()
        fallback = get_config()["fallback"]
        if fallback == "raise":
            raise UnsupportedError(f"{self.title}: {reason}, and the setting fallback is 'raise'")
        # Who passes a function has asked for Python code.
        if fallback == "warn" and not callable(self.metric):
            warnings.warn(f"{self.title}: {reason}; scikit-learn computes it", FallbackWarning, stacklevel=3)
        with measured(self.title) as entry:
            entry.device, entry.reason = "scikit-learn", reason
            return work()


def _names():
    """Metrics that scikit-learn takes: those of its table, and those of SciPy that it lists privately."""
    return set(pairwise.distance_metrics()) | set(getattr(pairwise, "_VALID_METRICS", ()))


def _is_of_numpy(table):
    home = type(table).__module__.partition(".")[0]
    return table is None or home in {"numpy", "builtins", "scipy", "pandas", "polars", "pyarrow"}
