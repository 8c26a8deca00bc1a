"""Print the JSON schema of a study file, for editors."""

import sys

from tierwise.cli.terminal import terminal
from tierwise.study.schema import study_reference, study_schema


def command(*, markdown: bool = False) -> None:
    """Print the JSON schema of a study file on standard output.

    Save it and name it in the study file's first line, and an editor with a YAML language server
    completes and checks the file: `tierwise schema > study.schema.json`, then
    `# yaml-language-server: $schema=study.schema.json`.

    Args:
        markdown: Print the page that explains every key, instead of the schema.
    """
    if markdown:
        sys.stdout.write(study_reference() + "\n")
    else:
        terminal.json(study_schema())
