"""Paths and methods: which handler answers what, and what to say where none does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from tierwise.serving.faults import MethodNotAllowed
from tierwise.serving.http_head import HttpRequest, HttpResponse

Path = tuple[str, ...]
Handler = Callable[[HttpRequest, Path], HttpResponse]


@dataclass(frozen=True)
class Route:
    """A path: names in capitals stand for anything."""

    method: str
    pattern: Path
    handler: Handler
    slow: bool = False

    def matches(self, path: Path) -> bool:
        """Whether ``path`` is one of its paths."""
        return len(path) == len(self.pattern) and all(
            want.isupper() or want == have for want, have in zip(self.pattern, path, strict=True)
        )


class WrongMethod(MethodNotAllowed):
    """405, with the methods that the path has."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        """``allowed``: the methods to name."""
        super().__init__(f"{method:.20} is not possible here; use {', '.join(allowed)}.")
        self.allowed = allowed


def is_infer(method: str, path: Path) -> bool:
    """Whether it is an inference request."""
    return (
        method == "POST"
        and path[:2] == ("v2", "models")
        and path[-1] == "infer"
        and (len(path) == 4 or (len(path) == 6 and path[3] == "versions"))
    )


@lru_cache(64)  # of paths that strangers send: they may be long
def split_path(path: str) -> Path:
    """``"/v2/models/m"`` as ``("v2", "models", "m")``."""
    return tuple(path.strip("/").split("/"))


@lru_cache(256)
def infer_path(model: str) -> str:
    """Where ``model`` takes requests."""
    return f"/v2/models/{quote(model)}/infer"
