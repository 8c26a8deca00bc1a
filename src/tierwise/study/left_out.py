"""Strategies that need no measurement: another one is the same, or certainly better."""

from collections.abc import Iterable, Mapping, Sequence

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.operators.strategy import Operator
from tierwise.study.variants import StoredVariant


def same_as_others(
    operators: Sequence[Operator], variants: Mapping[Operator, StoredVariant]
) -> dict[Operator, str]:
    """By operator, why its strategies are left out: whose they are the same as, and the reason.

    Where quantizing changed nothing, Q is I, QE is E, QP is P and QEP is EP; where no block can be
    skipped, E is I, and so on. Measuring them would compare a file with itself.

    Args:
        operators: Of the study, in its order.
        variants: That were built; equal ones are the same file.
    """
    first: dict[tuple[bool, str], Operator] = {}
    left_out: dict[Operator, str] = {}
    for operator in operators:
        stands_for, reasons = _stands_for(operator, variants)
        if stands_for is None:
            left_out[operator] = "no block is skipped"
            continue
        key = (operator.partitions, variants[stands_for].record.sha256)
        if not reasons or key not in first:
            if operator.variant in variants:
                first.setdefault(key, operator)
            else:
                left_out[operator] = " and ".join(reasons)
            continue
        left_out[operator] = f"the same as {first[key].value}: {' and '.join(reasons)}"
    return left_out


def slower_than_fp32(warnings: Iterable[ResultWarning]) -> dict[str, str]:
    """By ``tier/operator``, why a quantized model is not measured on that tier.

    Where tiers differ, recipes are timed on each, and one variant serves all: the tier on which it
    was no faster than fp32 deploys the operator without Q. A tier that holds only a part of the
    model is another matter, because 8-bit tensors are smaller on the wire.
    """
    return {
        warning.subject: "8 bits are no faster than fp32 there"
        for warning in warnings
        if warning.kind is WarningKind.INT8_SLOWER and "/" in warning.subject
    }


def _stands_for(
    operator: Operator, variants: Mapping[Operator, StoredVariant]
) -> tuple[Operator | None, list[str]]:
    """The variant that is really deployed, and what did nothing to it."""
    wanted, reasons = operator.variant, []
    if wanted not in variants:
        wanted = Operator(wanted.value.replace("E", "") or "I")
        reasons.append("no block is skipped")
        if wanted not in variants:
            return None, reasons
    if wanted.quantizes:
        plain = Operator(wanted.value.replace("Q", "") or "I")
        if plain in variants and variants[plain].record.sha256 == variants[wanted].record.sha256:
            reasons.append("quantizing changed nothing")
    return wanted, reasons
