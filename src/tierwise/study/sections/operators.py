"""`operators`: which to try, and how each of them works."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tierwise.errors import UserError
from tierwise.operators.strategy import Operator
from tierwise.study.sections.base import Duration, Section, or_number, or_one, text
from tierwise.units import parse_duration_s

Share = Annotated[float, Field(gt=0, lt=1)]


def _listed(value: object) -> object:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


class QuantizeOptions(Section):
    """How Q, QE, QP and QEP are quantized."""

    recipe: str = Field(
        default="auto",
        description="Quantization recipe by name, or `auto`: the best of those that are measured.",
    )
    backend: Literal["onnxruntime", "nncf", "all"] = Field(
        default="onnxruntime",
        description="Whose recipes `auto` tries: ONNX Runtime's quantizer, NNCF (needs the extra "
        "`nncf`), or all.",
    )
    max_loss: float = Field(
        default=1.0,
        ge=0,
        description="Points of quality that quantization may lose; nodes that cost more stay in "
        "float.",
    )
    budget: Duration = Field(
        default="20s", description="Time for trying recipes, for each quantized variant."
    )

    @field_validator("recipe")
    @classmethod
    def _is_a_recipe(cls, recipe: str) -> str:
        if recipe == "auto":
            return recipe
        # The quantizers take longer to import than a study file to read.
        from tierwise.operators.quantize import recipes_named  # noqa: PLC0415

        try:
            recipes_named(recipe)
        except UserError as error:
            raise ValueError(str(error)) from error
        return recipe

    @property
    def budget_s(self) -> float:
        """The budget in seconds."""
        return parse_duration_s(self.budget)


class EarlyExitOptions(Section):
    """Which blocks E, QE, EP and QEP skip. At most one of the ways."""

    from_: str | None = Field(
        default=None, alias="from", description="Tensor after which blocks are skipped, by name."
    )
    to: str | None = Field(
        default=None, description="Tensor of the same shape at which the model goes on, by name."
    )
    save: Annotated[list[Share], BeforeValidator(_listed)] = Field(
        default=[],
        json_schema_extra=or_one,
        description="Share of the latency to save (by kernel times); the blocks that cost the "
        "least fidelity are searched. This is the default, with 0.15. A list is a front, such as "
        "[0.05, 0.1, 0.2, 0.3]: the deepest of them within `max_loss` is measured.",
    )
    max_loss: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Points of quality that an exit of a front may lose on held-out calibration "
        "inputs.",
    )
    rule: Literal["last-two", "last-four"] | None = Field(
        default=None,
        description="`last-two`: the study's own rule, the last two repeated blocks of the last "
        "stage; `last-four`: the same rule taken further.",
    )

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.from_ is None) != (self.to is None):
            raise ValueError("`from` and `to` come together: name both tensors.")
        ways = [self.from_ is not None, bool(self.save), self.rule is not None]
        if sum(ways) > 1:
            raise ValueError("Choose one of `from`/`to`, `save` and `rule`.")
        return self


class PartitionOptions(Section):
    """Where P, QP, EP and QEP are cut."""

    cut: Annotated[str, BeforeValidator(text)] = Field(
        default="auto",
        json_schema_extra=or_number,
        description="`auto`: the best predicted cut for each pair of tiers; or a cut's id or "
        "tensor (see `tierwise inspect --cuts`); or 0.5: the cut nearest to half of the work.",
    )
    most_tiers: Literal[2, 3] = Field(
        default=2,
        description="3: chains of three tiers, with two cuts, are tried as well as pairs.",
    )
    encode: Literal["auto", "none"] = Field(
        default="auto",
        description="`auto`: tensors cross between tiers as fp16, as int8, compressed (zstd) or as "
        "they are, whatever is fastest over the links within `max_loss`; `none`: as they are.",
    )
    max_loss: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="Points of quality that encoding may lose at a boundary, judged on "
        "calibration data; what it really loses is evaluated and counted with the strategy.",
    )
    private: str = Field(
        default="none",
        description="What must not leave the first tier: `raw-input`, or a node or tensor of the "
        "model: then nothing leaves that it had no part in. Placements that cannot keep to it are "
        "left out.",
    )

    @property
    def kept_near(self) -> str:
        """:attr:`private`, or ``""`` where nothing is."""
        return "" if self.private == "none" else self.private

    @model_validator(mode="after")
    def _one_cut_makes_two_tiers(self) -> Self:
        if self.cut != "auto" and self.most_tiers > 2:
            raise ValueError(
                "`cut` names one cut, which makes two segments. Remove it, or `most_tiers: 3`."
            )
        return self


class OperatorsSpec(Section):
    """The operators to try, and their options."""

    use: list[Operator] = Field(
        default=list(Operator),
        min_length=1,
        description="Which operators: I (identity), Q (quantize), E (early exit), P (partition) "
        "and the hybrids QE, QP, EP, QEP. I is always measured: losses are counted against it.",
    )
    quantize: QuantizeOptions = Field(default=QuantizeOptions(), description="Options of Q.")
    early_exit: EarlyExitOptions = Field(default=EarlyExitOptions(), description="Options of E.")
    partition: PartitionOptions = Field(default=PartitionOptions(), description="Options of P.")

    @property
    def chosen(self) -> tuple[Operator, ...]:
        """The operators without repetition, in the study's order, identity always among them."""
        return tuple(op for op in Operator if op in self.use or op is Operator.I)
