"""Centroids at quantiles; the authors tried them and found that they did not work well."""

import numpy as np

from yt8m_lib.methods.codecs.table import CENTROIDS, TableCodec, sample


class Quantile(TableCodec):
    """Centroids at the quantiles (i + 1/2) / 256 of a sample: each is nearest to as many values."""

    def centroids(self, even: np.ndarray, values: np.ndarray, seed: int) -> np.ndarray:
        """The quantiles of a sample of at most 2^20 values."""
        return np.quantile(sample(values, seed), (np.arange(CENTROIDS) + 0.5) / CENTROIDS)


QUANTILE = Quantile()
