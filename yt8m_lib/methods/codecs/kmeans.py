"""Centroids moved to where the squared error is least: one-dimensional k-means."""

import numpy as np

from yt8m_lib.methods.codecs.table import TableCodec, sample

ITERATIONS = 100


class KMeans(TableCodec):
    """Lloyd's algorithm from evenly spaced centroids, on a sample of at most 2^20 values."""

    def centroids(self, even: np.ndarray, values: np.ndarray, seed: int) -> np.ndarray:
        """Move each centroid to the mean of the values nearest to it, until none moves."""
        centroids, ascending = even, sample(values, seed)
        sums = np.concatenate([[0.0], np.cumsum(ascending)])
        for _ in range(ITERATIONS):
            edges = np.searchsorted(ascending, (centroids[:-1] + centroids[1:]) / 2, side="right")
            edges = np.concatenate([[0], edges, [ascending.size]])
            counts = np.diff(edges)
            # A centroid that no value is nearest to stays where it is.
            moved = np.where(counts, np.diff(sums[edges]) / np.maximum(counts, 1), centroids)
            if np.array_equal(moved, centroids):
                break
            centroids = moved
        return centroids


KMEANS = KMeans()
