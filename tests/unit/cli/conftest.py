import pytest

from tierwise.cli.app import main


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
