"""Every error that Tierwise raises on purpose.

::

    TierwiseError
    ├── UserError                exit 2: what was asked for cannot be done as asked
    │   ├── ModelError           the ONNX file: not ONNX, custom operators, unusable shapes
    │   ├── CutError             a cut that does not separate the graph, or is not known
    │   ├── ExitError            an early exit between tensors that do not fit each other
    │   ├── DataError            images, labels, tensors
    │   ├── StudyFileError       the study file, with the line where it can be told
    │   └── NotAStudyError       a folder that holds no (finished) study
    ├── EnvironmentFault         exit 3: this machine, a tier or a link cannot do it
    │   ├── TierFault            a tier's agent died, does not answer, or refuses
    │   ├── DiskFull             no space where something had to be written
    │   └── MissingExtra         an optional package that is not installed
    ├── RequirementNotMet        exit 4: no strategy meets the requirement
    └── InvalidMeasurement       exit 5: numbers that must not be believed
        └── TooFewSamples        a statistic asked of fewer samples than can back it

A message says what failed, the value received, what is required and the next action.
The context is in attributes, for programs; the message is for people.
"""

from typing import ClassVar


class TierwiseError(Exception):
    """Base of all errors that Tierwise raises on purpose."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str | None = None, **context: object) -> None:
        """Build the error.

        Args:
            message: What failed, the value received, and what is required.
            hint: The next action, with the flag to type.
            **context: Becomes attributes of the error (``.tensor``, ``.tier``, ...).
        """
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context

    def __getattr__(self, name: str) -> object:
        context = self.__dict__.get("context", {})
        if name in context:
            return context[name]
        raise AttributeError(name)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} {self.hint}"


class UserError(TierwiseError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class ModelError(UserError):
    """An ONNX file that cannot be used as it is."""


class CutError(UserError):
    """A cut that does not separate the graph, or is not known."""


class ExitError(UserError):
    """An early exit between tensors that do not fit each other, or are not known."""


class DataError(UserError):
    """Images, labels or tensors that do not fit the model or each other."""


class StudyFileError(UserError):
    """A study file that cannot be understood."""


class NotAStudyError(UserError):
    """A folder that holds no study, or not yet what was asked of it."""


class EnvironmentFault(TierwiseError):
    """This machine, a tier or a link cannot do what was asked."""

    exit_code = 3


class TierFault(EnvironmentFault):
    """A tier's agent died, does not answer, or refuses."""


class DiskFull(EnvironmentFault):
    """No space is left where something had to be written."""


class MissingExtra(EnvironmentFault):
    """An optional package is not installed; the hint has the command that installs it."""


class RequirementNotMet(TierwiseError):
    """No strategy meets the requirement; the message says what would have to give."""

    exit_code = 4


class InvalidMeasurement(TierwiseError):
    """Numbers that must not be believed."""

    exit_code = 5


class TooFewSamples(InvalidMeasurement):
    """A statistic was asked of fewer samples than can back it."""

    def __init__(self, statistic: str, *, needed: int, got: int) -> None:
        """Say which ``statistic`` needs how many samples, and how many there are."""
        super().__init__(
            f"{statistic} needs at least {needed} samples, but there are {got}.",
            needed=needed,
            got=got,
        )
