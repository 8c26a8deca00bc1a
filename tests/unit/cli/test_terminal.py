"""What the terminal does with the two streams, whatever the command."""

from io import StringIO

import pytest
from rich.console import Console

from tierwise.cli.terminal import Terminal

MESSAGE = "The file names a tier that is not there, and goes on for more than one line. " * 2


@pytest.fixture
def errors():
    """A terminal whose standard error is written into its ``err.file``."""

    def make(*, tty):
        terminal = Terminal()
        terminal.err = Console(file=StringIO(), width=80, force_terminal=tty, color_system=None)
        return terminal

    return make


def test_an_error_on_a_terminal_is_wrapped_beside_its_label(errors):
    terminal = errors(tty=True)
    terminal.error(MESSAGE, MESSAGE)
    lines = terminal.err.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    labels = [line[:7].strip() for line in lines]
    assert [label for label in labels if label] == ["Error:", "Next:"]
    assert len(lines) == 6


def test_an_error_in_a_log_is_one_line_and_its_advice_another(errors):
    terminal = errors(tty=False)
    terminal.error(MESSAGE.strip(), "do this")
    assert terminal.err.file.getvalue() == f"Error: {MESSAGE.strip()}\nNext:  do this\n"
