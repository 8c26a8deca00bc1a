"""Writes expected.json: two files of samples as independent implementations see them.

python tests/golden/group_statistics.py

Needs scikit-posthocs, statsmodels, pandas and SciPy; which versions made it is in the file. The
samples are drawn here too: `samples.csv` has unequal groups and many ties, `blocks.csv` complete
blocks with ties within them, pairs without a difference, and two groups within 1% of each other.
"""

import json
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import scikit_posthocs
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

HERE = Path(__file__).parent / "group_statistics"
PACKAGES = ("scikit-posthocs", "statsmodels", "pandas", "scipy", "numpy")
MARGIN = 0.03


def samples() -> pd.DataFrame:
    """Unequal groups, rounded so that many are tied, within groups and across."""
    rng = np.random.default_rng(20261124)
    rows = [
        (tier, operator, round(float(seconds), 2))
        for (tier, operator), n, median_s in (
            (("mobile", "I"), 37, 0.50), (("mobile", "Q"), 21, 0.44), (("edge", "I"), 12, 0.45),
            (("edge", "Q"), 8, 0.31), (("cloud", "I"), 29, 0.45),
        )
        for seconds in median_s * np.exp(rng.normal(0, 0.12, n))
    ]  # fmt: skip
    rng.shuffle(rows)
    return pd.DataFrame(rows, columns=["tier", "operator", "seconds"]).astype({"seconds": float})


def blocks() -> pd.DataFrame:
    """12 complete blocks: few enough for every permutation to be counted."""
    rng = np.random.default_rng(7)
    rows = []
    for image in range(12):
        heavy = float(np.exp(rng.normal(0, 0.3)))
        for operator, ratio, noise in (
            ("I", 1.0, 0.002), ("same", 1.003, 0.002), ("Q", 0.93, 0.08), ("QE", 0.8, 0.02),
        ):  # fmt: skip
            value = heavy * ratio * float(np.exp(rng.normal(0, noise)))
            rows.append((f"image{image}", operator, round(value, 2 if operator == "Q" else 3)))
    table = pd.DataFrame(rows, columns=["image", "operator", "seconds"])
    # A pair without a difference, and two differences of one size.
    for image, difference in (("image3", 0.0), ("image5", 0.05), ("image8", -0.05)):
        own = (table.image == image) & (table.operator == "Q")
        base = table[(table.image == image) & (table.operator == "I")].seconds.item()
        table.loc[own, "seconds"] = round(base + difference, 3)
    return table


def pairwise(names, matrix, adjusted) -> list[dict]:
    return [
        {"a": a, "b": b, "p_raw": float(matrix.loc[a, b])}
        | {f"p_{how}": float(adjusted[how].loc[a, b]) for how in adjusted}
        for a, b in combinations(names, 2)
    ]


def unblocked(table: pd.DataFrame) -> dict:
    table = table.assign(group=table.tier + "/" + table.operator)
    names = list(dict.fromkeys(table.group))
    groups = [table[table.group == name].seconds.to_numpy() for name in names]
    conover = {
        how: scikit_posthocs.posthoc_conover(
            table, val_col="seconds", group_col="group", p_adjust=how, sort=False
        )
        for how in (None, "holm", "bonferroni")
    }
    h = stats.kruskal(*groups)
    pairs = pairwise(names, conover.pop(None), conover)
    for pair in pairs:
        a, b = (groups[names.index(pair[side])] for side in "ab")
        pair["cliffs_delta"] = float(2 * stats.mannwhitneyu(a, b).statistic / len(a) / len(b) - 1)
    return {
        "summary": [
            {
                "group": name, "n": len(one), "min": float(one.min()), "max": float(one.max()),
                "median": float(np.median(one)), "mean": float(one.mean()),
                "std": float(one.std()), "std_ddof1": float(one.std(ddof=1)),
                "p95": float(np.percentile(one, 95)),
                "shapiro_w": float(stats.shapiro(one).statistic),
                "shapiro_p": float(stats.shapiro(one).pvalue),
            }
            for name, one in zip(names, groups, strict=True)
        ],
        "kruskal": {"statistic": float(h.statistic), "p": float(h.pvalue)},
        "pairwise": pairs,
    }  # fmt: skip


def blocked(table: pd.DataFrame) -> dict:
    wide = table.pivot_table(index="image", columns="operator", values="seconds", sort=False)
    names = list(wide.columns)
    chi2 = stats.friedmanchisquare(*(wide[name] for name in names))
    conover = {
        how: scikit_posthocs.posthoc_conover_friedman(wide, p_adjust=how)
        for how in (None, "holm", "bonferroni")
    }
    paired = []
    for a, b in combinations(names, 2):
        every = stats.PermutationMethod(n_resamples=2**20)
        exact = stats.wilcoxon(wide[a], wide[b], zero_method="wilcox", method=every)
        log_ratio = np.log(wide[a] / wide[b])
        above = (
            int((log_ratio > -np.log1p(MARGIN)).sum()),
            int((log_ratio < np.log1p(MARGIN)).sum()),
        )
        signs = [stats.binomtest(n, len(wide), alternative="greater").pvalue for n in above]
        t_test, *_ = ttost_paired(
            np.log(wide[a].to_numpy()), np.log(wide[b].to_numpy()),
            -np.log1p(MARGIN), np.log1p(MARGIN),
        )  # fmt: skip
        paired.append(
            {"a": a, "b": b, "p_raw": float(exact.pvalue), "zeros": int((wide[a] == wide[b]).sum()),
             "tost_by_signs_p": float(max(signs)), "tost_by_t_p": float(t_test)}
        )  # fmt: skip
    holm = multipletests([pair["p_raw"] for pair in paired], method="holm")[1]
    for pair, p in zip(paired, holm, strict=True):
        pair["p_holm"] = float(p)
    return {
        "friedman": {"statistic": float(chi2.statistic), "p": float(chi2.pvalue)},
        "pairwise_blocks": pairwise(names, conover.pop(None), conover),
        "paired": paired,
    }


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name, table in (("samples", samples()), ("blocks", blocks())):
        table.to_csv(HERE / f"{name}.csv", index=False)
    # From the files, so that both sides read the same digits.
    found = {
        "made_with": {name: version(name) for name in PACKAGES},
        "samples": unblocked(pd.read_csv(HERE / "samples.csv")),
        "blocks": blocked(pd.read_csv(HERE / "blocks.csv")),
    }
    (HERE / "expected.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
