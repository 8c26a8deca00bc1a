"""Recipes: the choices that make a quantized model, as data."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from tierwise.errors import UserError

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that 8 bits speed up, and where nearly all the work is."""


class Backend(Enum):
    """Whose quantizer builds the model; the result is plain ONNX either way."""

    ONNXRUNTIME = "onnxruntime"
    NNCF = "nncf"  # the extra `nncf`: chooses ranges and places itself, and corrects biases


class Layout(Enum):
    """How the quantized graph is written down."""

    QDQ = "QDQ"  # float operators between QuantizeLinear and DequantizeLinear pairs
    QOPERATOR = "QOperator"  # operators of ONNX Runtime that compute on integers


class Integer(Enum):
    """8-bit element types."""

    UINT8 = "uint8"
    INT8 = "int8"


class Calibration(Enum):
    """How the range of an activation is found from calibration data."""

    MIN_MAX = "MinMax"
    ENTROPY = "Entropy"
    PERCENTILE = "Percentile"


@dataclass(frozen=True)
class Recipe:
    """One way to quantize a model statically to 8 bits.

    Attributes:
        layout: QDQ or QOperator.
        activations: Element type of activations.
        weights: Element type of weights.
        per_channel: One scale for every output channel of a weight, instead of one for all.
        reduce_range: Weights of 7 bits. Multiplying uint8 with int8 on x86 without VNNI adds two
            products in 16 bits, which saturates; with 7-bit weights it cannot.
        products_only: Only convolutions and matrix products; all else stays in float. Saves what
            is sensitive in transformers (normalisation, softmax, residual sums), and conversions.
        calibration: How the ranges of activations are found.
        excluded: Nodes that stay in float, by name.
        backend: Whose quantizer builds it.
    """

    layout: Layout = Layout.QDQ
    activations: Integer = Integer.UINT8
    weights: Integer = Integer.INT8
    per_channel: bool = True
    reduce_range: bool = False
    products_only: bool = False
    calibration: Calibration = Calibration.MIN_MAX
    excluded: tuple[str, ...] = ()
    backend: Backend = Backend.ONNXRUNTIME

    @property
    def name(self) -> str:
        """``"QDQ uint8/int8 per-channel 7-bit"``: activations, then weights."""
        parts = ["NNCF"] if self.backend is Backend.NNCF else []
        parts += [self.layout.value, f"{self.activations.value}/{self.weights.value}"]
        if self.per_channel:
            parts.append("per-channel")
        if self.reduce_range:
            parts.append("7-bit")
        if self.products_only:
            parts.append("products only")
        if self.calibration is not Calibration.MIN_MAX:
            parts.append(self.calibration.value)
        if self.excluded:
            parts.append(f"without {len(self.excluded)} nodes")
        return " ".join(parts)

    @property
    def saturates(self) -> bool:
        """Whether products of it can exceed 16 bits on x86 without VNNI; see ``reduce_range``."""
        mixed = self.activations is Integer.UINT8 and self.weights is Integer.INT8
        return mixed and not self.reduce_range

    def calibrated(self, calibration: Calibration) -> "Recipe":
        """The same with other ranges; it is as fast."""
        return replace(self, calibration=calibration)

    def without(self, nodes: tuple[str, ...]) -> "Recipe":
        """The same with ``nodes`` in float."""
        return replace(self, excluded=nodes)


_U8, _S8 = Integer.UINT8, Integer.INT8

# In order of promise: within a budget the first are tried first, and a tie goes to the earlier.
# Measured on a residual CNN, one thread, AVX2 without VNNI, latency against fp32
# (`python benchmarks/quantize_recipes.py` prints it for the machine at hand): uint8/int8 0.6 in
# both layouts, uint8/uint8 0.9, QDQ int8/int8 1.4, QOperator int8/int8 3.5. The slow ones
# stay in the list because another instruction set may turn the order round: only a measurement
# on the tier decides.
RECIPES: tuple[Recipe, ...] = (
    Recipe(),
    Recipe(reduce_range=True),
    Recipe(reduce_range=True, products_only=True),
    Recipe(products_only=True),
    Recipe(layout=Layout.QOPERATOR),
    Recipe(layout=Layout.QOPERATOR, reduce_range=True),
    Recipe(layout=Layout.QOPERATOR, weights=_U8, per_channel=False),
    Recipe(weights=_U8, per_channel=False),
    Recipe(activations=_S8),
    Recipe(activations=_S8, reduce_range=True),
    Recipe(per_channel=False, reduce_range=True),
    Recipe(layout=Layout.QOPERATOR, activations=_S8),
)
"""The recipes that the search tries."""

NNCF_RECIPES: tuple[Recipe, ...] = (
    Recipe(backend=Backend.NNCF),
    Recipe(backend=Backend.NNCF, reduce_range=True),
)
"""The recipes of the extra `nncf`."""


BackendChoice = Literal["onnxruntime", "nncf", "all"]


def recipes_of(backend: BackendChoice) -> tuple[Recipe, ...]:
    """The recipes of a back end, or of all."""
    return {"onnxruntime": RECIPES, "nncf": NNCF_RECIPES, "all": (*RECIPES, *NNCF_RECIPES)}[backend]


def recipes_named(name: str, backend: BackendChoice = "onnxruntime") -> tuple[Recipe, ...]:
    """The recipes of ``backend`` for ``"auto"``, else the one of that name, whoever builds it.

    Raises:
        UserError: there is no such recipe.
    """
    if name == "auto":
        return recipes_of(backend)
    found = tuple(recipe for recipe in recipes_of("all") if recipe.name == name)
    if not found:
        raise UserError(
            f"There is no recipe {name!r}.",
            hint="Recipes: " + "; ".join(one.name for one in recipes_of("all")) + ".",
            recipe=name,
        )
    return found
