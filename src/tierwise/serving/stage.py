"""What one tier runs of a strategy, as the client tells it to the agent."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from tierwise.serving.faults import BadRequest

# Names end up in URLs, log lines and metric labels; a leading dot or ".." would be a path.
NAME_PATTERN = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9_@+=%~-]|\.(?!\.)){0,199}$")


def check_name(name: str) -> str:
    """``name``; raises :class:`ValueError` where a model cannot be called so."""
    # Not match(): `$` would let a line break follow.
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(
            f"{name!r:.200} cannot be a model's name: letters, digits and _ . @ + = % ~ - "
            "only, no leading dot, no '..'"
        )
    return name


Name = Annotated[str, AfterValidator(check_name)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class HopTls(BaseModel):
    """What a tier trusts and shows at the next one, as PEM text; else what its agent has.

    Attributes:
        ca: Authority of that server's certificate.
        cert: Certificate to show it (mutual TLS).
        key: Its private key; never stored beyond the moment of its use, never logged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: str | None = None
    cert: str | None = None
    key: str | None = Field(default=None, repr=False)


class NextHop(BaseModel):
    """Where a stage's outputs go.

    Attributes:
        url: ``http://HOST:PORT`` of any Open Inference Protocol server.
        model: Name of the model (stage) there.
        tier: The tier's name: used in the breakdown where that server gives no timing.
        token: What that server asks for; never stored, never logged.
        tls: What to trust and show there, over ``https``; else what the calling agent has.
        tierwise: Whether it is a Tierwise agent, which is asked for its timing.
        binary: Whether tensors go there in binary or as JSON; ``None``: in binary to an agent, to
            another server if its metadata list the extension ``binary_tensor_data``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    model: Name
    tier: str = ""
    token: str | None = Field(default=None, repr=False)
    tls: HopTls | None = None
    tierwise: bool = True
    binary: bool | None = None


class StageSpec(BaseModel):
    """A segment as one tier serves it.

    Attributes:
        name: Name of the model in the agent's URLs.
        artifact: SHA-256 of the segment's ONNX file, lower-case hex.
        preprocess: The study file's section, where the encoded image arrives here; else ``None``.
        postprocess: What is done to the outputs on this tier.
        encodings: How boundary tensors cross the wire, by tensor name, for what leaves here. What
            arrives says itself how it is encoded.
        carried: Tensors that arrive here for a later stage and pass through untouched.
        next: The next hop, or ``None`` on the last stage.
        threads: Intra-op threads of the session.
        providers: ONNX Runtime's execution providers, in order of preference.
        optimisation: ONNX Runtime's graph optimisation.
        session: ``"per-request"`` opens a session in every request, as the study did.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    artifact: Sha256
    preprocess: dict[str, Any] | None = None
    postprocess: Literal["none", "argmax", "top5"] = "none"
    encodings: dict[str, str] = Field(default_factory=dict)
    carried: tuple[str, ...] = ()
    next: NextHop | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    optimisation: Literal["all", "extended", "basic", "none"] = "all"
    session: Literal["warm", "per-request"] = "warm"

    def to_json(self) -> str:
        """The stage as the ``config`` parameter of Triton's load request, secrets included."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> "StageSpec":
        """Read a stage; raises :class:`BadRequest` naming the field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the stage"
            raise BadRequest(f"'config' is not a stage: {where}: {first['msg']}.") from error
