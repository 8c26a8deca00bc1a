"""Signs for output that is not Unicode: a log in ASCII, or a terminal of an old locale."""

import codecs
import sys
from io import TextIOWrapper

_PLAIN = str.maketrans("★≈◆✓✗·†→▶─├└│█▒░µ", "*=oyx-+>>-+`|#:.u")
_NAME = "tierwise-signs"


def make_printable() -> None:
    """From here on no output fails because of what it cannot encode; the likest sign is printed."""
    codecs.register_error(_NAME, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_PLAIN)
    return "".join(sign if sign.isascii() else "?" for sign in text), error.end
