"""A deployment of a study in a directory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tierwise.deploy.bundle import choose
from tierwise.deploy.write import write_deployment
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend
from tierwise.store.artefacts import Artefacts
from tierwise.store.read import read_results
from tierwise.study.parse import read_study_file


@dataclass(frozen=True)
class Deployment:
    """What was written.

    Attributes:
        strategy_id: Of the strategy that the files deploy.
        files: The one to read first.
    """

    strategy_id: str
    files: tuple[Path, ...]


def deploy_study(
    study: Path,
    asked: Requirement,
    out: Path,
    *,
    to: str = "compose",
    strategy_id: str | None = None,
    urls: Mapping[str, str] | None = None,
) -> Deployment:
    """Write what ``study`` recommends; see :func:`tierwise.deploy.write.write_deployment`.

    Args:
        study: The study's directory.
        asked: What overrides the study file's own requirement.
        out: A new directory.
        to: See there.
        strategy_id: See there.
        urls: See there.
    """
    results = read_results(study)
    requirement = Requirement.from_mapping(results.requirement).overridden_by(asked)
    file = read_study_file(study / "study.yaml")
    preprocess = None if file.data.images is None else file.data.preprocess.model_dump(mode="json")
    recommendation = recommend(results, requirement)
    chosen = choose(recommendation, strategy_id).id
    files = write_deployment(
        recommendation,
        Artefacts(study / "artefacts"),
        out,
        to=to,
        strategy_id=strategy_id,
        preprocess=preprocess,
        urls=urls,
    )
    return Deployment(chosen, files)
