"""Two studies at once on one machine: each has its own tiers, links and limits."""

import pytest
from tests.integration.study.conftest import make_subject

from tierwise.store.read import read_results
from tierwise.store.results import TrialState

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]


def test_two_studies_at_once_do_not_meet(tmp_path, tierwise):
    runs = {}
    for name, bandwidth in (("one", "20Mbit"), ("other", "100Mbit")):
        study = make_subject(tmp_path / name)
        text = study.read_text().replace("[I, Q, E, P, QEP]", "[I, P]")
        study.write_text(text.replace("[20Mbit, 100Mbit]", bandwidth))
        runs[name] = tierwise("run", study, "-o", tmp_path / f"{name}-out")
    for name, run in runs.items():
        _, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors
        results = read_results(tmp_path / f"{name}-out")
        assert len(results.trials) == 3
        assert all(trial.state is TrialState.MEASURED for trial in results.trials)
