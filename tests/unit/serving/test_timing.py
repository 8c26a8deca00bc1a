import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.serving.timing import Hop, parts


@dataclass
class Reply:
    total_s: float
    client_s: float
    hops: list


SECONDS = st.floats(0, 10)
HOPS = st.lists(
    st.builds(
        Hop, st.sampled_from(["mobile", "edge", "cloud"]),
        queue_s=SECONDS, decode_s=SECONDS, preprocess_s=SECONDS, compute_s=SECONDS,
        encode_s=SECONDS, postprocess_s=SECONDS, next_s=SECONDS, server_s=st.none() | SECONDS,
    ),
    max_size=3,
)  # fmt: skip


@given(SECONDS, SECONDS, HOPS)
def test_the_parts_always_add_up_to_the_total(total_s, client_s, hops):
    found = parts(Reply(total_s, client_s, hops), ("mobile", "edge", "cloud"))
    assert sum(found.values()) == pytest.approx(total_s, abs=1e-9)


def test_a_partition_is_broken_down_by_tier_and_link():
    hops = [
        Hop("mobile", queue_s=1, decode_s=2, preprocess_s=3, compute_s=4, encode_s=5,
            next_s=100, server_s=116),
        Hop("cloud", queue_s=6, decode_s=7, compute_s=8, postprocess_s=9, server_s=30),
    ]  # fmt: skip
    assert parts(Reply(120, 1, hops), ("mobile", "edge", "cloud")) == {
        "client@mobile": 4, "queue@mobile": 1, "codec@mobile": 7, "preprocess@mobile": 3,
        "compute@mobile": 4, "other@mobile": 1, "transfer@mobile-cloud": 70, "queue@cloud": 6,
        "codec@cloud": 7, "compute@cloud": 8, "postprocess@cloud": 9,
    }  # fmt: skip


def test_a_single_tier_away_from_the_user_pays_the_transfer_from_the_first():
    hops = [Hop("edge", compute_s=8, server_s=8)]
    assert parts(Reply(20, 2, hops), ("mobile", "edge")) == {
        "client@mobile": 2, "transfer@mobile-edge": 10, "compute@edge": 8,
    }  # fmt: skip


def test_a_server_without_timing_is_stated_as_unknown():
    hops = [Hop("mobile", compute_s=3, next_s=10, server_s=13), Hop("cloud", server_s=None)]
    found = parts(Reply(15, 1, hops), ("mobile", "cloud"))
    assert found == {"client@mobile": 2, "compute@mobile": 3, "unknown@cloud": 10}


@pytest.mark.parametrize("value", ["1", True, [1]])
def test_a_hop_that_is_no_account_is_refused(value):
    with pytest.raises(ValueError, match="compute_s is"):
        Hop.from_json({"tier": "edge", "compute_s": value})


def test_an_account_says_what_it_is_in_the_same_length_whatever_the_numbers():
    short = Hop("edge", queue_s=0.0, compute_s=0.1, server_s=0.2, received_bytes=400)
    other = Hop("edge", queue_s=0.0123456, compute_s=9.87654321, server_s=9.9, received_bytes=512)
    assert Hop.from_json(json.loads(short.to_text())) == short
    read = Hop.from_json(json.loads(other.to_text()))
    assert (read.queue_s, read.compute_s) == (0.0123456, 9.8765432)
    assert len(short.to_text()) == len(other.to_text())
    unknown = Hop('a "far" one', server_s=None)
    assert Hop.from_json(json.loads(unknown.to_text())) == unknown
