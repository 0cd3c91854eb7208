"""`sklearn.cluster.k_means` on tilefold's KMeans."""

from ..cluster import KMeans


def k_means(
    X,
    n_clusters,
    *,
    sample_weight=None,
    init="k-means++",
    n_init="auto",
    max_iter=300,
    verbose=False,
    tol=1e-4,
    random_state=None,
    copy_x=True,
    algorithm="lloyd",
    return_n_iter=False,
):
    """Clusters rows as scikit-learn's function of this name: centroids, labels, inertia, and iterations if asked for.

    Parameters
    ----------
    X, sample_weight
        As in `tilefold.cluster.KMeans.fit`.
    n_clusters, init, n_init, max_iter, verbose, tol, random_state, copy_x, algorithm
        As in `tilefold.cluster.KMeans`.
    return_n_iter : bool
        Whether the number of iterations is returned too.

    Returns
    -------
    centroid : ndarray of shape (n_clusters, n_features)
    label : ndarray of int32
    inertia : float
    best_n_iter : int
        Only with `return_n_iter`.
    """
    found = KMeans(
        n_clusters=n_clusters,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        verbose=verbose,
        tol=tol,
        random_state=random_state,
        copy_x=copy_x,
        algorithm=algorithm,
    ).fit(X, sample_weight=sample_weight)
    result = found.cluster_centers_, found.labels_, found.inertia_
    return (*result, found.n_iter_) if return_n_iter else result
