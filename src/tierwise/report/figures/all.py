"""All charts of a report, in reading order."""

from tierwise.recommend.recommendation import Recommendation
from tierwise.report.figures.boxes import boxes
from tierwise.report.figures.breakdown import breakdown
from tierwise.report.figures.figure import Figure
from tierwise.report.figures.predicted import predicted
from tierwise.report.figures.sweep import sweeps
from tierwise.report.figures.tradeoff import tradeoff


def figures(recommendation: Recommendation) -> tuple[Figure, ...]:
    """Those that the study has the data for."""
    drawn = (
        *sweeps(recommendation),
        *predicted(recommendation),
        tradeoff(recommendation),
        breakdown(recommendation),
        boxes(recommendation),
    )
    return tuple(figure for figure in drawn if figure is not None)
