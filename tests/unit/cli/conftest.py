import numpy as np
import pytest

from tierwise.cli.app import main
from tierwise.operators.write import write_model
from tierwise.testing.subjects import residual_classifier


def write_subject(folder, *, labels=True, **options):
    """A residual classifier's model.onnx and data.npz in ``folder``; gives the folder."""
    subject = residual_classifier(**options)
    write_model(subject.graph.model, folder / "model.onnx")
    data = subject.calibration
    x = np.concatenate([data.feeds(index)["x"] for index in range(len(data))])
    np.savez(folder / "data.npz", x=x, **({"labels": data.labels} if labels else {}))
    return folder


@pytest.fixture
def tierwise(monkeypatch, capsys):
    """Runs a command line; returns its exit code and both streams."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["tierwise", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run
