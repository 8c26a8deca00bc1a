"""Minimise a sum of costs over binary variables by one minimum cut.

Variables are 0 or 1. Admitted costs: of one variable being 1 or being 0, and of a pair being
``p = 1, q = 0``; a pair may also be forbidden. Any such sum is submodular, so a minimum cut of a
graph with one vertex a variable is its exact minimum (V. Kolmogorov and R. Zabih, "What energy
functions can be minimized via graph cuts?", IEEE TPAMI 26(2), 2004).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

# The flow is computed in int32: the finite capacities add up to at most 2**29, a forbidden pair
# is 2**30, and a residual (capacity plus reverse flow) stays below 2**31.
_FINITE_TOTAL = 2**29
_FORBIDDEN = 2**30
_SOURCE, _SINK = 0, 1  # the source side is 1


@dataclass
class BinaryCosts:
    """A cost function under construction; variables are numbered as they are added."""

    variables: int = 0
    _pairs: dict[tuple[int, int], float] = field(default_factory=dict)

    def add_variable(self) -> int:
        """A new variable; its number."""
        self.variables += 1
        return self.variables - 1

    def if_one(self, variable: int, cost: float) -> None:
        """Add ``cost >= 0`` where the variable is 1."""
        self.if_one_and_zero(variable, None, cost)

    def if_one_and_zero(self, one: int | None, zero: int | None, cost: float) -> None:
        """Add ``cost >= 0`` where ``one`` is 1 and ``zero`` is 0; infinite: forbid it.

        ``None`` stands for a variable that is always 1 (``one``) or always 0 (``zero``).
        """
        start = _SOURCE if one is None else one + 2
        end = _SINK if zero is None else zero + 2
        self._pairs[start, end] = self._pairs.get((start, end), 0.0) + cost

    def implies(self, one: int, other: int) -> None:
        """Forbid that ``one`` is 1 and ``other`` is 0."""
        self.if_one_and_zero(one, other, np.inf)

    def must_be(self, variable: int, value: int) -> None:
        """Fix a variable."""
        if value:
            self.if_one_and_zero(None, variable, np.inf)
        else:
            self.if_one_and_zero(variable, None, np.inf)

    def minimise(self, at_most: float) -> tuple[np.ndarray, float] | None:
        """Values of the variables (bool), and the resolution; ``None`` where all is forbidden.

        The minimum is exact for costs rounded to multiples of the resolution. Of equally cheap
        assignments it is the one with the fewest ones.

        Args:
            at_most: Single costs above it are clipped to it, which keeps the resolution fine.
                Where some assignment costs less than this, the minimum stays the same;
                otherwise the minimum of the clipped costs is at least this.
        """
        pairs = [(p, q, c) for (p, q), c in self._pairs.items() if c > 0]
        heads = np.array([p for p, _, _ in pairs], dtype=np.int64)
        tails = np.array([q for _, q, _ in pairs], dtype=np.int64)
        costs = np.array([c for _, _, c in pairs], dtype=np.float64)
        finite = np.isfinite(costs)
        clipped = np.minimum(costs[finite], at_most)
        resolution = max(float(clipped.sum()), 1e-12) / _FINITE_TOTAL
        capacity = np.full(len(costs), _FORBIDDEN, dtype=np.int32)
        capacity[finite] = np.rint(clipped / resolution)
        size = self.variables + 2
        graph = csr_array((capacity, (heads, tails)), shape=(size, size))
        result = maximum_flow(graph, _SOURCE, _SINK)
        residual = csr_array(graph - result.flow)
        residual.data[residual.data < 0] = 0
        residual.eliminate_zeros()
        reached = breadth_first_order(residual, _SOURCE, return_predecessors=False)
        values = np.zeros(size, dtype=bool)
        values[reached] = True
        # Not by the flow's value, which may overflow where several forbidden pairs are cut.
        if np.any(values[heads[~finite]] & ~values[tails[~finite]]):
            return None
        return values[2:], resolution
