"""What a person sees: progress and messages on standard error, results on standard output."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.table import Column, Table
from rich.text import Text

from tierwise.progress import Task


class _StepsColumn(MofNCompleteColumn):
    """``"3/12"``; nothing where the steps are not known, instead of ``"0/?"``, or none."""

    def render(self, task: RichTask) -> Text:
        return super().render(task) if task.total else Text("")


class _RichTask:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, steps: float = 1, note: str | None = None) -> None:
        self._progress.update(self._task, advance=steps, note=note or "")


class _Results(Console):
    """Standard output, whose reader may have seen enough (``| head``, ``| grep -q``)."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Terminal:
    """The two streams of the command line. Implements :class:`tierwise.progress.Progress`."""

    def __init__(self) -> None:
        """Write results to standard output, everything else to standard error."""
        self.out = _Results(highlight=False)
        self.err = Console(stderr=True, highlight=False)
        self.level = 0
        self._progress: Progress | None = None

    def set_level(self, level: int) -> None:
        """-1 quiet, 0 normal, 1 verbose, 2 debugging."""
        self.level = level
        names = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
        logging.basicConfig(
            level=names.get(level, logging.DEBUG),
            format="%(message)s",
            handlers=[RichHandler(console=self.err, show_path=False)],
            force=True,
        )
        # What it says of a broken model comes as an error of ours, too, and in words for people.
        logging.getLogger("onnx_ir").setLevel(logging.DEBUG if level > 0 else logging.ERROR)

    @contextmanager
    def task(self, name: str, total: float | None) -> Iterator[Task]:
        """A progress bar of its own line, gone when the task ends; tasks may nest."""
        outermost = self._progress is None
        if self._progress is None:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=20),
                _StepsColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(compact=True),
                # The note gives way, not the figures: a strategy's name may be as long as the line.
                TextColumn(
                    "[dim]{task.fields[note]}",
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
                expand=True,
                console=self.err,
                transient=True,
                disable=self.level < 0 or not self.err.is_terminal,
            )
            self._progress.start()
        task = self._progress.add_task(name, total=total, note="")
        try:
            yield _RichTask(self._progress, task)
        finally:
            self._progress.remove_task(task)
            if outermost:
                self._progress.stop()
                self._progress = None

    def say(self, message: str) -> None:
        """A finished fact, on standard error."""
        if self.level >= 0:
            self.err.print(message, markup=False)

    def error(self, message: str, hint: str | None = None) -> None:
        """What went wrong, and what to do next."""
        if not self.err.is_terminal:  # a log's lines are not to be broken
            lines = [f"Error: {message}", *([f"Next:  {hint}"] if hint else [])]
            self.err.print("\n".join(lines), markup=False, soft_wrap=True)
            return
        # A grid, so that what is wrapped stands beside its label; the label counts as width too.
        said = Table.grid(padding=(0, 1, 0, 0))
        said.add_column(no_wrap=True)
        said.add_column(overflow="fold")
        said.add_row(Text("Error:", "bold red"), Text(message))
        if hint:
            said.add_row(Text("Next:", "bold"), Text(hint))
        self.err.print(said)

    def json(self, value: object) -> None:
        """``value`` as JSON on standard output, and nothing else there."""
        # Python's own encoder takes 25 times as long where it indents.
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
        sys.stdout.flush()
        # JSON is UTF-8, whatever the terminal speaks.
        sys.stdout.buffer.write(text + b"\n")
        sys.stdout.flush()


terminal = Terminal()
