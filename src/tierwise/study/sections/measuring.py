"""`measure` and `quality`: how latency and model performance are measured."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tierwise.measure.plan import MeasurePlan
from tierwise.recommend.latency import samples_needed
from tierwise.stats.block_pairs import FEWEST_BLOCKS
from tierwise.study.sections.base import Duration, Section
from tierwise.units import parse_duration_s

_MOST_SAMPLES = 100_000


class MeasureSpec(Section):
    """How latency is measured."""

    strategies: Literal["chosen", "all"] = Field(
        default="chosen",
        description="`chosen`: under each network condition those that could be the best as far "
        "as is predicted, the model as it is where it could be the fastest, and a few drawn to "
        "check the prediction; the others are reported as predicted. `all`: every one. "
        "`measure: all` is short for it.",
    )
    samples: int = Field(
        default=30,
        ge=1,
        le=_MOST_SAMPLES,
        description="Timed requests of each measured strategy under each network condition. "
        "90 or more back a p95 with 99% confidence.",
    )
    max_samples: int | None = Field(
        default=None,
        ge=1,
        le=_MOST_SAMPLES,
        description="Go on beyond `samples`, up to this many. `chosen`: until the best is told "
        "apart from all others or shown to be as fast, or more are not expected to tell (left "
        "out: 8 times `samples`; 4 times with more than 4 network conditions); strategies that "
        "join later are compared with the best in further blocks, up to this many again. `all`: "
        "until `precision` is reached (left out: do not go on).",
    )
    precision: float = Field(
        default=0.02,
        gt=0,
        lt=1,
        description="With `all` and `max_samples`: stop when the 95% interval of every median is "
        "at most this wide, relative to the median.",
    )
    budget: Duration | None = Field(
        default=None,
        description="Stop a network condition after this time, such as 10min, with what there is.",
    )
    arrivals: float | None = Field(
        default=None,
        gt=0,
        description="Open loop: requests arrive at this rate a second on average (Poisson), "
        "whether or not those before are answered, and latency counts from the moment a request "
        "was due. Left out: one request at a time. With it every strategy is measured, since "
        "predictions are of single requests.",
    )
    burst: int = Field(
        default=10,
        ge=2,
        description="With `arrivals`: requests of one strategy in its turn of a block.",
    )
    inputs: int = Field(
        default=50, ge=1, description="The most different inputs that timed requests carry."
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of every random choice: inputs, order, split."
    )
    backend: Literal["auto", "root", "userns", "userspace"] = Field(
        default="auto",
        description="How links are emulated: kernel namespaces as `root` or in a user namespace "
        "(`userns`), or a relay in `userspace`; `auto`: the best that this machine allows.",
    )

    @model_validator(mode="after")
    def _most_is_not_less(self) -> Self:
        if self.max_samples is not None and self.max_samples < self.samples:
            raise ValueError(
                f"`max_samples` is {self.max_samples}, less than `samples` ({self.samples})."
            )
        return self

    @property
    def every(self) -> bool:
        """Whether the whole grid is measured."""
        return self.strategies == "all" or self.arrivals is not None

    def check_backing(self, percentile: float) -> None:
        """Raise :class:`ValueError` where no strategy gets the samples that back ``percentile``."""
        needed, plan = samples_needed(percentile), self.plan()
        most = plan.max_blocks * plan.requests_per_visit
        if not self.every:
            # Left open, as many are measured as it takes.
            most = self.max_samples or _MOST_SAMPLES
        if most >= needed:
            return
        advice = f"Ask for a lower percentile than p{percentile:g}"
        if needed <= _MOST_SAMPLES:
            advice += f", or set `measure: {{samples: {needed}}}`"
        raise ValueError(
            f"p{percentile:g} needs {needed} samples of a strategy (99% confidence), and at most "
            f"{most} are measured. {advice}."
        )

    @property
    def scenario(self) -> str:
        """How requests come, in words."""
        if self.arrivals is None:
            return "one request at a time"
        return (
            f"open loop, Poisson arrivals at {self.arrivals:g} requests a second in bursts of "
            f"{self.burst}; latency counts from the scheduled moment"
        )

    def plan(self) -> MeasurePlan:
        """The same as the measuring room has it."""
        least, most, per_visit = self.samples, self.max_samples or self.samples, 1
        if self.arrivals is not None:
            # A burst is one turn, and verdicts need blocks: fewer would only tie everything.
            per_visit = self.burst
            least, most = (max(FEWEST_BLOCKS, -(-n // per_visit)) for n in (least, most))
        return MeasurePlan(
            min_blocks=least,
            max_blocks=most,
            requests_per_visit=per_visit,
            arrivals_per_s=self.arrivals,
            target_relative_width=self.precision,
            budget_s=None if self.budget is None else parse_duration_s(self.budget),
            seed_inputs=self.seed,
            seed_order=self.seed + 1,
            seed_arrivals=self.seed + 2,
        )


class QualitySpec(Section):
    """How model performance is measured."""

    calibration: int = Field(
        default=128,
        ge=1,
        description="Inputs that quantization and early exit may look at; never evaluated on.",
    )
    evaluation: int = Field(
        default=500, ge=1, description="The most inputs that variants are evaluated on."
    )
