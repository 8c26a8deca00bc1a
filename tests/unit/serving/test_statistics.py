import threading

from tierwise.serving.statistics import ModelStatistics
from tierwise.serving.timing import Hop

ANSWER = Hop(
    "edge", queue_s=1.0, decode_s=2.0, preprocess_s=3.0, compute_s=4.0, encode_s=5.0,
    postprocess_s=6.0, next_s=7.0, server_s=30.0, received_bytes=100,
)  # fmt: skip


def test_every_answer_counts_in_its_part():
    statistics = ModelStatistics()
    statistics.add(ANSWER)
    statistics.add(ANSWER)
    statistics.add_failure(0.5)
    told = statistics.to_json("m", "1")
    assert told["inference_count"] == 2
    assert told["last_inference"] > 0
    assert told["inference_stats"]["success"] == {"count": 2, "ns": 60e9}
    assert told["inference_stats"]["fail"] == {"count": 1, "ns": 5e8}
    seconds = {name: told["inference_stats"][name]["ns"] / 1e9 for name in statistics.sums_s}
    assert seconds == {
        "queue": 2, "compute_input": 10, "compute_infer": 8, "compute_output": 22,
    }  # fmt: skip
    assert (statistics.next_s, statistics.received_bytes) == (14.0, 200)


def test_no_answer_is_lost_or_counted_twice_while_others_look():
    statistics, each, adders = ModelStatistics(), 2000, 4
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            statistics.settled()

    lookers = [threading.Thread(target=look) for _ in range(2)]
    added = [
        threading.Thread(target=lambda: [statistics.add(ANSWER) for _ in range(each)])
        for _ in range(adders)
    ]
    for thread in [*lookers, *added]:
        thread.start()
    for thread in added:
        thread.join()
    over.set()
    for thread in lookers:
        thread.join()
    assert statistics.settled().succeeded == each * adders
    assert statistics.received_bytes == 100 * each * adders


def test_answers_that_nobody_asks_for_are_added_up_all_the_same():
    statistics = ModelStatistics()
    for _ in range(1000):
        statistics.add(ANSWER)
    assert statistics.succeeded > 500
