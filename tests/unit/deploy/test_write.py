import hashlib
import json
import resource
import shutil
import subprocess
from dataclasses import replace

import pytest
import yaml

from tierwise.deploy.bundle import safe_name
from tierwise.deploy.write import write_deployment
from tierwise.errors import DiskFull, NotAStudyError, RequirementNotMet, UserError
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend
from tierwise.serving.stage import StageSpec
from tierwise.store.artefacts import Artefacts
from tierwise.store.results import TrialState
from tierwise.testing.results import made_up_results


@pytest.fixture
def split_strategy(deployable):
    return f"edge-cloud/P@{deployable[2]}"


def test_the_recommended_strategy_is_written_with_the_segments_that_were_measured(
    deployable, tmp_path
):
    results, artefacts, _ = deployable
    write_deployment(recommend(results), artefacts, tmp_path / "d")
    manifest = yaml.safe_load((tmp_path / "d" / "compose.yaml").read_text())
    assert list(manifest["services"]) == ["edge"]
    (segment,) = (tmp_path / "d" / "edge" / "segments").iterdir()
    assert hashlib.sha256(segment.read_bytes()).hexdigest() == segment.stem
    assert (
        f"{segment.stem}  edge/segments/{segment.name}"
        in (tmp_path / "d" / "SHA256SUMS").read_text()
    )
    assert "Deploy edge/I" in (tmp_path / "d" / "README.md").read_text()


def test_a_full_disk_leaves_no_half_of_a_deployment(deployable, tmp_path):
    results, artefacts, _ = deployable
    recommendation, out = recommend(results), tmp_path / "d"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(DiskFull):
            write_deployment(recommendation, artefacts, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not out.exists()
    assert write_deployment(recommendation, artefacts, out)


def test_compose_chains_the_tiers_and_limits_them_as_measured(deployable, split_strategy, tmp_path):
    results, artefacts, _ = deployable
    out = tmp_path / "d"
    write_deployment(recommend(results), artefacts, out, strategy_id=split_strategy)
    services = yaml.safe_load((out / "compose.yaml").read_text())["services"]
    assert list(services) == ["edge", "cloud"]
    assert services["edge"]["depends_on"] == {"cloud": {"condition": "service_healthy"}}
    assert services["edge"]["cpus"] == 1.0
    assert "ports" in services["edge"]
    assert "ports" not in services["cloud"]
    peak = max(t.memory_bytes["edge"] for t in results.trials if t.strategy.id == split_strategy)
    assert peak < services["edge"]["mem_limit"] < 1.3 * peak
    stage = StageSpec.from_json((out / "edge" / "stage.json").read_text())
    assert stage.next.url == "http://cloud:8080"
    assert "token" not in json.loads((out / "edge" / "stage.json").read_text())["next"]


def test_kubernetes_has_a_deployment_and_a_service_for_every_tier(
    deployable, split_strategy, tmp_path
):
    results, artefacts, _ = deployable
    write_deployment(
        recommend(results), artefacts, tmp_path / "d", to="kubernetes", strategy_id=split_strategy
    )
    documents = list(yaml.safe_load_all((tmp_path / "d" / "kubernetes.yaml").read_text()))
    assert [(d["kind"], d["metadata"]["name"]) for d in documents] == [
        ("Deployment", "digits-made-up-not-measured-edge"),
        ("Service", "edge"),
        ("Deployment", "digits-made-up-not-measured-cloud"),
        ("Service", "cloud"),
    ]
    for deployment, service in zip(documents[::2], documents[1::2], strict=True):
        template = deployment["spec"]["template"]
        assert service["spec"]["selector"] == template["metadata"]["labels"]
        assert template["spec"]["containers"][0]["resources"]["limits"]["memory"].isdigit()


def has_compose():
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(not has_compose(), reason="needs docker compose to check with")
def test_docker_compose_accepts_the_file(deployable, split_strategy, tmp_path):
    results, artefacts, _ = deployable
    out = tmp_path / "d"
    write_deployment(recommend(results), artefacts, out, strategy_id=split_strategy)
    (out / "token").write_text("secret")
    command = ["docker", "compose", "-f", str(out / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_who_deploys_something_else_reads_what_is_recommended(deployable, split_strategy, tmp_path):
    results, artefacts, _ = deployable
    recommended = recommend(results).verdicts[0].recommended
    write_deployment(recommend(results), artefacts, tmp_path / "d", strategy_id=split_strategy)
    text = (tmp_path / "d" / "README.md").read_text()
    assert f"{split_strategy} was asked for; the study recommends otherwise:" in text
    assert f"> Deploy {recommended}" in text


def test_segments_that_were_not_measured_are_refused(deployable, split_strategy, tmp_path):
    results, artefacts, _ = deployable
    only_whole = Artefacts(tmp_path / "artefacts")
    only_whole.put(artefacts.path(results.variants["I"].sha256).read_bytes())
    with pytest.raises(NotAStudyError, match="cannot be shown to be those that were measured"):
        write_deployment(recommend(results), only_whole, tmp_path / "d", strategy_id=split_strategy)
    assert not (tmp_path / "d").exists()


def test_what_cannot_be_deployed_is_refused(deployable, split_strategy, tmp_path):
    results, artefacts, _ = deployable
    answer = recommend(results)
    with pytest.raises(UserError, match="no deployment to 'nomad'"):
        write_deployment(answer, artefacts, tmp_path / "d", to="nomad")
    with pytest.raises(UserError, match=r"no strategy 'edge/QE' in this study.*edge/I"):
        write_deployment(answer, artefacts, tmp_path / "d", strategy_id="edge/QE")
    guessed = replace(
        results,
        trials=tuple(
            replace(t, state=TrialState.PREDICTED, latency_s=t.latency_s[:0], parts_s={},
                    predicted_s=(1e-3, 2e-3, 3e-3))
            if t.strategy.id == split_strategy else t
            for t in results.trials
        ),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"was predicted, not measured.*edge/I"):
        write_deployment(recommend(guessed), artefacts, tmp_path / "d", strategy_id=split_strategy)
    with pytest.raises(UserError, match=r"Where will the tier 'cloud' be.*--url cloud=http"):
        write_deployment(answer, artefacts, tmp_path / "d", to="files", strategy_id=split_strategy)
    with pytest.raises(UserError, match="does not use the tier 'moon'"):
        write_deployment(answer, artefacts, tmp_path / "d", urls={"moon": "http://m:1"})
    unmet = recommend(results, Requirement.parse(latency="1ms"))
    with pytest.raises(RequirementNotMet, match="p50 at most 1 ms"):
        write_deployment(unmet, artefacts, tmp_path / "d")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="is not empty"):
        write_deployment(answer, artefacts, tmp_path / "full")
    assert not (tmp_path / "d").exists()


def test_where_the_choice_depends_on_the_network_it_must_be_named(deployable, tmp_path):
    sweep = made_up_results(edge_cloud=("1Mbit", "1Gbit"), blocks=20)
    far = tuple(t for t in sweep.trials if t.strategy.id in {"mobile/I", "cloud/I"})
    answer = recommend(replace(sweep, trials=far))
    with pytest.raises(UserError, match=r"depends on the network: cloud/I, mobile/I.*--when"):
        write_deployment(answer, deployable[1], tmp_path / "d")


def test_names_are_made_fit_for_hosts():
    assert safe_name("My Study (v2)!") == "my-study-v2"
    assert safe_name("***") == "study"
