from tierwise.caveats import WarningKind
from tierwise.study.caveats import crowded_caveats
from tierwise.tiers.topology import Tier


def test_a_tier_measured_without_its_limit_says_which_limit():
    (warning,) = crowded_caveats([Tier("mobile", memory_bytes=512 * 2**20)])
    assert warning.kind is WarningKind.NO_MEMORY_LIMIT
    assert warning.subject == "mobile"
    assert "fits the 512 MiB of tier mobile alone" in warning.evidence
    assert "`operators: {use: ...}`" in warning.advice
