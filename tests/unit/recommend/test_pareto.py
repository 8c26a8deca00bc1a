import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tierwise.recommend.pareto import pareto_front

# Few distinct values, so that ties happen.
points = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=30)


@given(points)
def test_the_front_is_what_no_other_strategy_beats(pairs):
    latency = np.array([float(a) for a, _ in pairs])
    loss = np.array([float(b) for _, b in pairs])
    for index, on_front in enumerate(pareto_front(latency, loss)):
        no_worse = (latency <= latency[index]) & (loss <= loss[index])
        better = (latency < latency[index]) | (loss < loss[index])
        assert on_front == (not np.any(no_worse & better))
