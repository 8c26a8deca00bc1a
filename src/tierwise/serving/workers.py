"""Threads that run requests, and the queue before them."""

import queue
import threading
from collections.abc import Callable

from tierwise.serving.faults import Overloaded

Job = Callable[[], None]


class Workers:
    """A fixed number of threads and a bounded queue.

    Not :class:`concurrent.futures.ThreadPoolExecutor`: its queue has no bound, and a future for
    every request costs more than the hand-over itself.
    """

    def __init__(self, threads: int, queue_size: int, name: str) -> None:
        """Start ``threads`` threads that may have ``queue_size`` jobs waiting."""
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting_most = queue_size
        self._lock = threading.Lock()
        self._pending = 0
        self._size = threads
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that no thread has begun."""
        return self._jobs.qsize()

    def submit(self, job: Job) -> None:
        """Run ``job`` in a thread; it must not raise.

        Raises:
            Overloaded: as many jobs wait as may.
        """
        with self._lock:
            if self._pending >= self._size + self._waiting_most:
                raise Overloaded(
                    f"{self._pending} requests wait already; send this one again later."
                )
            self._pending += 1
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            finally:
                # Nothing of the request (its body!) may live on while this thread waits.
                del job
                with self._lock:
                    self._pending -= 1

    def stop(self, timeout_s: float) -> bool:
        """Let the threads end after the jobs that wait; whether they did within ``timeout_s``."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)
