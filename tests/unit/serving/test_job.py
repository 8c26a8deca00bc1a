import socket
import time

import pytest

from tierwise.serving.faults import BadRequest, Cancelled, DeadlinePassed
from tierwise.serving.inference import Slots
from tierwise.serving.job import Job


@pytest.fixture
def job():
    return Job("edge", received_at=time.perf_counter(), received_bytes=10)


def test_the_sooner_of_the_transports_and_the_requests_own_deadline_holds(job):
    job.limit(2.0)
    of_transport = job.deadline
    job.set_timeout({"timeout": 60_000_000})
    assert job.deadline == of_transport
    job.set_timeout({"timeout": 1_000_000})
    assert job.deadline == pytest.approx(job.received_at + 1.0)


def test_the_requests_own_begins_when_it_had_arrived(job):
    job.set_timeout({"timeout": 500_000})
    assert job.deadline == pytest.approx(job.received_at + 0.5)
    late = Job("edge", received_at=time.perf_counter() - 1.0, received_bytes=10)
    late.set_timeout({"timeout": 500_000})
    with pytest.raises(DeadlinePassed):
        late.check()


@pytest.mark.parametrize("seconds", [None, 1e9, float("inf")])
def test_an_endless_deadline_is_none(job, seconds):
    job.limit(seconds)
    job.set_timeout({"timeout": 0})
    assert job.deadline is None
    job.check()


@pytest.mark.parametrize("timeout", [-1, "5", 1.5, True, None, [1]])
def test_a_timeout_that_is_none_is_refused(job, timeout):
    with pytest.raises(BadRequest, match="write microseconds, at least 0"):
        job.set_timeout({"timeout": timeout})


class Connection:
    watched = None
    aborted = False

    def abort(self):
        self.aborted = True


def test_who_left_before_the_next_hop_was_asked_is_not_waited_for(job):
    job.cancel()
    connection = Connection()
    job.attach(connection)
    assert connection.aborted


def test_who_leaves_meanwhile_ends_the_wait_and_the_inference(job):
    connection = Connection()
    job.attach(connection)
    assert not connection.aborted
    job.cancel()
    assert connection.aborted
    with pytest.raises(Cancelled):
        job.check()


def test_a_client_that_nobody_watches_is_asked_itself(job):
    ours, theirs = socket.socketpair()
    with ours:
        job.client = ours
        connection = Connection()
        job.attach(connection)
        assert connection.watched is ours
        job.check()
        theirs.close()
        with pytest.raises(Cancelled):
            job.check()


def test_who_leaves_while_others_compute_gives_up_its_place_in_the_queue(job):
    slots = Slots(1)
    slots.wait(job)
    other = Job("edge", received_at=time.perf_counter(), received_bytes=10)
    other.cancel()
    with pytest.raises(Cancelled):
        slots.wait(other)
    late = Job("edge", received_at=time.perf_counter(), received_bytes=10)
    late.limit(0.0)
    with pytest.raises(DeadlinePassed):
        slots.wait(late)
    slots.release(job)
    slots.wait(Job("edge", received_at=time.perf_counter(), received_bytes=10))
