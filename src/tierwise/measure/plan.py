"""A trial's plan: everything that decides what is measured, written down before it is."""

from dataclasses import dataclass, fields

from tierwise.errors import UserError


@dataclass(frozen=True)
class MeasurePlan:
    """What is sent, in which order, and when it is enough.

    Attributes:
        min_blocks: Blocks that are measured in any case.
        max_blocks: Blocks after which it is enough in any case.
        requests_per_visit: Requests of one trial in one block. Under Poisson arrivals they are one
            burst of arrivals, so more than 1 is wanted there.
        target_relative_width: Stop when the interval of every trial's median is at most this wide,
            relative to the median.
        confidence: Of that interval.
        budget_s: Stop when this much time is spent, warm-up included; ``None``: no limit.
        min_warmup_blocks: Warm-up blocks before its slope is looked at.
        max_warmup_blocks: The most of them; a trial that has not settled by then is named.
        warmup_tolerance: A trial has settled when its median changes by less than this share over
            the last ``min_warmup_blocks`` blocks, or no slope can be told from noise.
        attempts: Tries of a trial in one block before it goes without samples there.
        give_up_after: Blocks in a row without samples after which a trial is not tried any more.
        arrivals_per_s: Rate of open-loop Poisson arrivals; ``None``: one request at a time.
        seed_inputs: Of the sample of inputs.
        seed_order: Of the order of the trials in every block.
        seed_arrivals: Of the arrivals.
    """

    min_blocks: int = 30
    # The study measured 500 requests of each strategy.
    max_blocks: int = 500
    requests_per_visit: int = 1
    target_relative_width: float = 0.02
    confidence: float = 0.95
    budget_s: float | None = None
    # heuristic: 5 points are the fewest whose slope can differ from 0 at 5% (Kendall).
    min_warmup_blocks: int = 5
    max_warmup_blocks: int = 30
    warmup_tolerance: float = 0.02
    attempts: int = 3
    give_up_after: int = 3
    arrivals_per_s: float | None = None
    seed_inputs: int = 0
    seed_order: int = 1
    seed_arrivals: int = 2

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be carried out, naming the value."""
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name.startswith("seed") else 1
            if field.type is int and value < least:
                raise UserError(
                    f"{field.name} is {value}; it must be at least {least}.", field=field.name
                )
        self._check_order("min_blocks", "max_blocks")
        self._check_order("min_warmup_blocks", "max_warmup_blocks")
        for name in ("target_relative_width", "warmup_tolerance", "budget_s", "arrivals_per_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} is {value}; it must be more than 0.", field=name)
        if not 0.5 <= self.confidence < 1:
            raise UserError(
                f"confidence is {self.confidence}; it must be at least 0.5 and less than 1.",
                field="confidence",
            )

    def _check_order(self, low: str, high: str) -> None:
        if getattr(self, low) > getattr(self, high):
            raise UserError(
                f"{low} is {getattr(self, low)}, but {high} is {getattr(self, high)}.",
                hint=f"Raise {high} or lower {low}.",
                field=low,
            )
