"""Print the JSON schema of a study file, for editors."""

from tierwise.cli.terminal import terminal
from tierwise.study.schema import study_schema


def command() -> None:
    """Print the JSON schema of a study file on standard output.

    Save it and name it in the study file's first line, and an editor with a YAML language server
    completes and checks the file: `tierwise schema > study.schema.json`, then
    `# yaml-language-server: $schema=study.schema.json`.
    """
    terminal.json(study_schema())
