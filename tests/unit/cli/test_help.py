import pytest

from tierwise.cli.app import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_says_what_is_not_told_by_its_name(tierwise, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = tierwise(command, "--help")
    text = " ".join(out.split())
    assert code == 0
    assert f"Usage: tierwise {command}" in text
    assert max(map(len, out.splitlines())) <= 80
    # That a switch is off, or nothing is given, goes without saying.
    for noise in ("[default: False]", "[default: None]", "[default: ]", "[default: 0] │ │ --q"):
        assert noise not in text
