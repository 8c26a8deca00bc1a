"""How long work tells whoever waits for it: a seam that the library calls and the CLI draws."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, steps: float = 1, note: str | None = None) -> None:
        """``steps`` more are done; ``note`` says what is under way now."""


class Progress(Protocol):
    """What long work reports to. Implementations must be cheap and must never raise."""

    def task(self, name: str, total: float | None) -> AbstractContextManager[Task]:
        """A task of ``total`` steps (``None``: not known), ended by leaving the context."""

    def say(self, message: str) -> None:
        """Tell a finished fact ("12 strategies, 3 do not fit"), in one line."""


class _SilentTask:
    def advance(self, steps: float = 1, note: str | None = None) -> None:
        pass


class Silent:
    """Progress that nobody watches: the default of every library function."""

    @contextmanager
    def task(self, name: str, total: float | None) -> Iterator[Task]:  # noqa: ARG002
        """Accept the task and show nothing."""
        yield _SilentTask()

    def say(self, message: str) -> None:
        """Accept the message and show nothing."""


SILENT: Progress = Silent()
