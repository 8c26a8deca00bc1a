import numpy as np
import pytest

from tierwise.predict.network import BURSTS_BYTES, choose_fit, fit_network

RNG = np.random.default_rng(0)
SENT_BYTES = np.repeat([700.0, 4_000.0, 20_000.0, 80_000.0], 6)
RATES = np.tile([1e6, 2e6, 5e6, 10e6, 20e6, 50e6], 4)
RTT_S = np.tile([0.005, 0.02, 0.03], 8)
STRATEGY = np.repeat(np.arange(4), 6)
CONDITION = np.tile(np.arange(6), 4)


def transfers_s(burst_bytes):
    bits = 8 * np.maximum(SENT_BYTES - burst_bytes, 0)
    return (0.001 + RTT_S + bits / RATES) * np.exp(RNG.normal(0, 0.01, len(RATES)))


def fitted(measured_s):
    fits = []
    for burst in BURSTS_BYTES:
        bits = 8 * np.maximum(SENT_BYTES - burst, 0)
        features = np.stack([np.ones(len(RATES)), RTT_S, bits / RATES], axis=1)
        fits.append(fit_network(features, measured_s, STRATEGY, CONDITION, 4, burst_bytes=burst))
    return fits[choose_fit(fits)][0]


@pytest.mark.parametrize("burst_bytes", [0.0, 1500.0])
def test_what_a_link_lets_through_at_once_is_found_in_the_transfers(burst_bytes):
    fit = fitted(transfers_s(burst_bytes))
    assert fit.burst_bytes == burst_bytes
    assert fit.hop_s == pytest.approx(0.001, abs=3e-4)
    assert fit.stretch == pytest.approx(1, abs=0.02)
    assert np.abs(fit.errors).max() < 0.06


def test_without_data_the_network_is_physics():
    nobody = np.zeros(0, dtype=int)
    empty = np.zeros((0, 3)), np.zeros(0), nobody, nobody
    fit, chi_squared = fit_network(*empty, 2)
    assert (fit.hop_s, fit.round_trips, fit.stretch) == (0, 1, 1)
    assert chi_squared == pytest.approx(0)
    assert fit.without.shape == (2, 3)
