"""Writes tails.json: logarithms of upper tails to 50 digits. Needs mpmath.

python tests/golden/tails.py
"""

import json
from pathlib import Path

from mpmath import beta, gammainc, log, mp, mpf

mp.dps = 50
CHI2 = [(10.0, 2), (1e3, 2), (2783.75, 5), (1e4, 1), (1e5, 99), (3e6, 49)]
T = [(1.0, 3), (40.0, 1497), (80.0, 2994), (1e3, 98), (45.0, 999_950), (300.0, 999_950), (1e6, 10)]


def chi2_tail(x, k):
    return log(gammainc(mpf(k) / 2, mpf(x) / 2, mp.inf, regularized=True))


def beta_tail(a, b, x):
    # The series of DLMF 8.17.8, summed here: mpmath's own gives up at a million samples.
    a, b = mpf(a), mpf(b)
    term, total, n = mpf(1), mpf(1), 0
    while term > total * mpf(10) ** -mp.dps:
        term *= (a + b + n) / (a + 1 + n) * x
        total += term
        n += 1
    return a * log(x) + b * log(1 - x) - log(a * beta(a, b)) + log(total)


def t_tail(t, v):
    return beta_tail(mpf(v) / 2, mpf(1) / 2, v / (v + mpf(t) ** 2)) - log(2)


cases = [
    {"tail": name, "arguments": list(arguments), "log_sf": float(tail(*arguments))}
    for name, tail, table in (("chi2", chi2_tail, CHI2), ("t", t_tail, T))
    for arguments in table
]
Path(__file__).with_suffix(".json").write_text(json.dumps(cases, indent=1) + "\n", "utf-8")
