"""The ``tierwise`` command: finds a command's file when it is asked for, and maps errors to exits.

Each public command is a module of this folder with a function ``command`` (or, where it has
sub-commands, an ``app``); the function's docstring is its help. Modules are imported only when
their command runs, so that ``tierwise --help`` doesn't wait for SciPy and ONNX Runtime.
"""

import gc
import os
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Parameter

from tierwise.cli.signs import make_printable
from tierwise.cli.terminal import terminal
from tierwise.disk import in_words
from tierwise.errors import TierwiseError, UserError

_FOLDER = Path(__file__).parent
# In the order in which a newcomer meets them; a command's file has "_" for "-".
COMMANDS = (
    "demo", "inspect", "init", "schema", "run", "recommend", "report", "predict", "export",
    "deploy", "quantize", "early-exit", "partition", "analyze", "serve", "zoo",
)  # fmt: skip


def _build() -> App:
    asked = next((token for token in sys.argv[1:] if not token.startswith("-")), None)
    app = App(
        name="tierwise",
        help="""Find, prove and ship the best way to deploy a black-box ONNX model.

Start with `tierwise demo`. For a model of your own: `tierwise init MODEL.onnx -o study.yaml`,
read the file it writes, then `tierwise run study.yaml -o DIR`.

Exit codes: 0 done, 2 the input, 3 the environment, 4 the requirement cannot be met,
5 a measurement not to be believed.
""",
        help_format="markdown",
        help_flags=["--help", "-h"],
        version_flags=["--version"],
        default_parameter=Parameter(negative=(), show_default=_default_text),
        result_action="return_value",
        # main() says what is kept; Cyclopts would end without a word.
        suppress_keyboard_interrupt=False,
        console=terminal.out,
        error_console=terminal.err,
    )
    for order, command in enumerate(COMMANDS):
        path = _FOLDER / f"{command.replace('-', '_')}.py"
        if path.exists():
            # In the list of commands the module's first line is the summary, read without importing
            # it; for the command that was asked for, the function's own docstring is the help.
            summary, target = _summary_and_target(path)
            module = f"tierwise.cli.{path.stem}:{target}"
            app.command(
                module, name=command, help=None if command == asked else summary, sort_key=order
            )
    return app


@cache
def _summary_and_target(path: Path) -> tuple[str, str]:
    """The first line of a module's docstring, and the name of what runs in it."""
    text = path.read_text("utf-8")
    summary = text.partition("\n")[0].removeprefix('"""').removesuffix('"""')
    return summary, "app" if "\napp = " in text else "command"


def _default_text(value: object) -> Any:
    """A default in an option's help; ``None``: that a switch is off goes without saying."""
    if value is None or isinstance(value, bool):
        return "yes" if value else None
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"])] = False,
    verbose: Annotated[
        int, Parameter(name=["--verbose", "-v"], count=True, show_default=False)
    ] = 0,
) -> object:
    """Run one command.

    Args:
        tokens: The command and its arguments.
        quiet: Only results and errors.
        verbose: More; twice for debugging.
    """
    terminal.set_level(-1 if quiet else verbose)
    return _build()(tokens, exit_on_error=False, print_error=False)


def main() -> NoReturn:
    """Run the command line; never shows a traceback for an error that Tierwise knows."""
    # A study is hundreds of thousands of objects that are read once and stay: by default the
    # collector goes through all of them again and again, a tenth of `predict`'s time.
    gc.set_threshold(50_000, 20, 50)
    make_printable()
    app = _build()
    app.meta.suppress_keyboard_interrupt = False
    app.meta.default(_launch)
    try:
        result = app.meta(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        terminal.error(str(error), "`tierwise COMMAND --help` explains every option.")
        sys.exit(UserError.exit_code)
    except TierwiseError as error:
        terminal.error(error.message, error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        terminal.error("Stopped. What was finished is kept; the same command goes on from there.")
        sys.exit(130)
    except BrokenPipeError:
        # Or Python would fail once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        said = in_words(error)
        terminal.error(said.message, said.hint)
        sys.exit(said.exit_code)
    sys.exit(result if isinstance(result, int) else 0)
