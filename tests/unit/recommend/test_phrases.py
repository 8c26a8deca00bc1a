import pytest

from tierwise.recommend.phrases import slower_by


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.104, "is 10.4% slower"),
        (1.999, "is 99.9% slower"),
        (2.0, "takes 2 times as long"),
        (59.153, "takes 59.2 times as long"),
    ],
)
def test_what_is_many_times_as_slow_is_told_in_times(ratio, words):
    assert slower_by(ratio) == words
