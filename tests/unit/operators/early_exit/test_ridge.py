import numpy as np
import pytest

from tierwise.operators.early_exit.ridge import RidgePath


def sample(seed=0, rows=200, features=6, outputs=3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, features)) + 2.0
    weights, bias = rng.standard_normal((features, outputs)), rng.standard_normal(outputs)
    return x, weights, bias


def test_without_a_penalty_it_is_least_squares():
    x, weights, bias = sample()
    got_weights, got_bias = RidgePath.fit(x, x @ weights + bias).step(0.0)
    np.testing.assert_allclose(got_weights, weights, atol=1e-6)
    np.testing.assert_allclose(got_bias, bias, atol=1e-5)


def test_with_a_huge_penalty_only_the_mean_is_corrected():
    x, weights, bias = sample()
    y = x @ weights + bias
    got_weights, got_bias = RidgePath.fit(x, y).step(1e12)
    np.testing.assert_allclose(got_weights, 0, atol=1e-6)
    np.testing.assert_allclose(got_bias, y.mean(axis=0), atol=1e-6)


def test_the_solution_satisfies_the_normal_equations():
    x, weights, bias = sample()
    y = x @ weights + bias + np.random.default_rng(1).standard_normal((200, 3))
    path = RidgePath.fit(x, y)
    got, _ = path.step(0.3)
    centred, target = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.linalg.eigvalsh(centred.T @ centred).mean()
    left = centred.T @ (target - centred @ got)
    np.testing.assert_allclose(left, 0.3 * scale * got, rtol=1e-6, atol=1e-6)


def test_a_feature_that_never_varies_stays_where_it_is():
    x, weights, bias = sample()
    x[:, 2] = 1.0
    got, _ = RidgePath.fit(x, x @ weights + bias).step(0.0)
    assert got[2] == pytest.approx(0.0, abs=1e-6)
