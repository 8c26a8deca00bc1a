import threading

import pytest

from tierwise.serving.faults import Overloaded
from tierwise.serving.workers import Workers


def test_as_many_wait_as_may_and_room_comes_back():
    workers = Workers(threads=2, queue_size=3, name="test")
    go_on, done = threading.Event(), threading.Semaphore(0)

    def job():
        go_on.wait(20)
        done.release()

    for _ in range(2 + 3):
        workers.submit(job)
    with pytest.raises(Overloaded, match="5 requests wait already"):
        workers.submit(job)
    go_on.set()
    assert all(done.acquire(timeout=20) for _ in range(5))
    assert workers.stop(20)


def test_a_job_that_has_ended_leaves_its_place_to_another():
    workers = Workers(threads=1, queue_size=0, name="test")
    done = threading.Semaphore(0)
    for _ in range(3):
        while True:
            try:
                workers.submit(done.release)
            except Overloaded:  # the job before has told, and its thread is about to leave
                continue
            break
        assert done.acquire(timeout=20)
    assert workers.stop(20)
