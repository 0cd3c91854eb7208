"""What a fit tells while it runs: verbose text, a progress bar, scikit-learn's callbacks."""

import numpy as np
import scipy.sparse as sp


def tolerance(X, tol):
    """The squared movement of all centroids below which a run has converged."""
    if tol == 0:
        return 0.0
    if sp.issparse(X):
        mean = np.asarray(X.mean(axis=0)).ravel()
        square = np.asarray(X.multiply(X).mean(axis=0)).ravel()
        return float(np.mean(np.maximum(square - mean**2, 0.0)) * tol)
    return float(np.mean(np.var(X, axis=0)) * tol)


class Progress:
    """Called after each iteration; `call` is None where nobody listens, so that the work need not stop to tell."""

    def __init__(self, estimator, X, y, runs):
        self._estimator, self._X, self._y = estimator, X, y
        self._tolerance = tolerance(X, estimator.tol) if estimator.verbose else None
        self._context = self._bar = None
        if hasattr(estimator, "_init_callback_context"):
            subtasks = estimator.max_iter if runs == 1 else None
            self._context = estimator._init_callback_context(max_subtasks=subtasks)
            self._context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        if estimator.verbose and estimator.verbose >= 2:
            self._bar = _bar(estimator.max_iter)
        listens = estimator.verbose or hasattr(estimator, "_skl_callbacks")
        self.call = self._told if listens else None

    def _told(self, run, iteration, inertia, changed, shift):
        if self._bar is not None:
            self._bar.update(1)
            self._bar.set_postfix(run=run, inertia=f"{inertia:.6g}")
        elif self._estimator.verbose:
            self._print(iteration, inertia, changed, shift)
        if self._context is None:
            return False
        step = self._context.subcontext(task_name="iteration")
        arguments = {"estimator": self._estimator, "X": self._X, "y": self._y}
        step.call_on_fit_task_begin(**arguments)
        return bool(step.call_on_fit_task_end(**arguments))

    def _print(self, iteration, inertia, changed, shift):
        if iteration == 1:
            print("Initialization complete")
        print(f"Iteration {iteration - 1}, inertia {inertia}.")
        if iteration > 1 and changed == 0:
            print(f"Converged at iteration {iteration - 1}: strict convergence.")
        elif shift <= self._tolerance:
            print(
                f"Converged at iteration {iteration - 1}: center shift {shift} within tolerance {self._tolerance}."
            )

    def end(self):
        """The fit is complete."""
        if self._context is not None:
            self._context.call_on_fit_task_end(estimator=self._estimator, X=self._X, y=self._y)

    def close(self):
        """The fit is over, complete or not."""
        if self._bar is not None:
            self._bar.close()


def _bar(total):
    """tqdm's bar, None where it is not installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(total=total, desc="k-means", unit="iteration")
