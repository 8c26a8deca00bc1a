"""Ridge regression that pulls towards the weights that are there, for a whole path of penalties."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class RidgePath:
    """Closed-form refits of one linear map, one for every penalty.

    Minimises ``|X W + b - Y|^2 + penalty * scale * |W - W0|^2`` over ``W`` and ``b``, where ``W0``
    are the present weights: with a large penalty nothing changes, with none it is least
    squares. The bias is free. ``scale`` is the mean eigenvalue of the centred ``X'X``, so a
    penalty means the same for every layer.

    Source: A. E. Hoerl and R. W. Kennard, Technometrics 12(1), 1970, with the prior mean moved
    from zero to ``W0``. One eigendecomposition serves every penalty.
    """

    eigenvalues: Float[np.ndarray, " features"]
    eigenvectors: Float[np.ndarray, "features features"]
    rotated: Float[np.ndarray, "features outputs"]
    mean_x: Float[np.ndarray, " features"]
    mean_residual: Float[np.ndarray, " outputs"]

    @classmethod
    def fit(
        cls,
        x: Float[np.ndarray, "samples features"],
        residual: Float[np.ndarray, "samples outputs"],
    ) -> "RidgePath":
        """Prepare the path; ``residual`` is the wanted output less the present one at ``x``."""
        mean_x, mean_residual = x.mean(axis=0), residual.mean(axis=0)
        centred = (x - mean_x).astype(np.float64)
        gram = centred.T @ centred
        eigenvalues, eigenvectors = np.linalg.eigh(gram)
        rotated = eigenvectors.T @ (centred.T @ (residual - mean_residual))
        return cls(np.clip(eigenvalues, 0, None), eigenvectors, rotated, mean_x, mean_residual)

    def step(
        self, penalty: float
    ) -> tuple[Float[np.ndarray, "features outputs"], Float[np.ndarray, " outputs"]]:
        """What to add to the weights and to the bias at ``penalty`` (at least 0)."""
        scale = float(self.eigenvalues.mean()) or 1.0
        # The floor keeps directions that no sample excites where they are.
        shrunk = self.rotated / (self.eigenvalues + (penalty + 1e-9) * scale)[:, None]
        weights = self.eigenvectors @ shrunk
        return weights, self.mean_residual - self.mean_x @ weights
