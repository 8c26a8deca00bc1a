"""Processes that the keeper forks."""

import subprocess
import sys

CODE = """
import os
from tierwise.tiers.emulated.workers import start_worker

read, write = os.pipe()

def work(channel):
    os.read(read, 1)
    channel.send({"done": True})

pid, channel = start_worker(work, [read])
channel.close()
os.write(write, b"x")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_worker_whose_keeper_was_killed_meanwhile_ends_without_a_word():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
