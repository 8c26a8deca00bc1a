import fcntl
import hashlib
import logging
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tierwise.serving.artifact_room import TAG, Held
from tierwise.serving.artifacts import ArtifactCache
from tierwise.serving.faults import BadRequest, NotFound, Overloaded, TooLarge

KIB = 1024


def _content(number: int, size: int = KIB) -> bytes:
    return bytes([number]) * size


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _put(cache: ArtifactCache, content: bytes, used_at: float | None = None) -> str:
    sha256 = _sha(content)
    incoming = cache.receive(sha256, len(content))
    incoming.write(memoryview(content))
    incoming.finish()
    if used_at is not None:
        os.utime(cache.folder / f"{sha256}.onnx", (used_at, used_at))
    return sha256


def _kept(cache: ArtifactCache) -> set[str]:
    return {path.stem for path in cache.folder.glob("*.onnx")}


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache", 100 * KIB, 3 * KIB)


def test_the_least_recently_used_make_room(cache, caplog):
    first, second, third = (_put(cache, _content(n), used_at=n) for n in (1, 2, 3))
    cache.path(first)  # asked for now, so it is no longer the oldest
    with caplog.at_level(logging.INFO, "tierwise.serving"):
        fourth = _put(cache, _content(4))
    assert _kept(cache) == {first, third, fourth}
    assert cache.room.held_bytes == 3 * KIB
    assert (cache.room.removed, cache.room.removed_bytes) == (1, KIB)
    assert f"removed {second}.onnx (1 KiB) from the cache" in caplog.text
    with pytest.raises(NotFound, match=f"no artefact {second}. Send it first"):
        cache.path(second)


def test_what_somebody_holds_stays_and_goes_with_the_last_holder(cache):
    oldest = _put(cache, _content(1), used_at=1)
    once, twice = cache.hold(oldest), cache.hold(oldest)
    _put(cache, _content(2)), _put(cache, _content(3)), _put(cache, _content(4))
    assert oldest in _kept(cache)
    del once
    os.utime(cache.folder / f"{oldest}.onnx", (1, 1))
    _put(cache, _content(5))
    assert oldest in _kept(cache)
    del twice
    os.utime(cache.folder / f"{oldest}.onnx", (1, 1))
    _put(cache, _content(6))
    assert oldest not in _kept(cache)


def test_what_cannot_help_is_not_removed(cache):
    large = _put(cache, _content(1, 2 * KIB))
    held = cache.hold(large)
    small = _put(cache, _content(2))
    with pytest.raises(Overloaded, match=r"no room for 2048 bytes.*in use.*--cache-size"):
        cache.receive("0" * 64, 2 * KIB)
    assert _kept(cache) == {large, small}
    del held


def test_a_model_over_the_bound_is_refused(cache):
    kept = _put(cache, _content(1))
    with pytest.raises(TooLarge, match=r"4096 bytes; this agent keeps 3072 in all.*--cache-size"):
        cache.receive("0" * 64, 4 * KIB)
    assert _kept(cache) == {kept}


def test_what_is_being_received_counts_with_all_it_will_have(cache):
    incoming = cache.receive("0" * 64, 2 * KIB)
    assert cache.room.held_bytes == 2 * KIB
    kept = cache.hold(_put(cache, _content(1)))
    with pytest.raises(Overloaded):
        cache.receive("1" * 64, KIB)
    incoming.abort()
    cache.receive("1" * 64, KIB).abort()
    assert cache.room.held_bytes == KIB
    del kept


def test_a_wrong_content_leaves_nothing(cache):
    incoming = cache.receive("0" * 64, KIB)
    incoming.write(memoryview(_content(1)))
    with pytest.raises(BadRequest, match="send it again"):
        incoming.finish()
    assert cache.room.held_bytes == 0


HOLDER = """
import sys
from pathlib import Path
from tierwise.serving.artifacts import ArtifactCache
cache = ArtifactCache(Path(sys.argv[1]), 10**6, 10**6)
held = cache.hold(sys.argv[2])
incoming = cache.receive("f" * 64, 1024)
print("ready", flush=True)
sys.stdin.read()
"""


def test_another_process_holds_and_receives_until_it_is_killed(cache):
    theirs = _put(cache, _content(1), used_at=1)
    arguments = [sys.executable, "-c", HOLDER, str(cache.folder), theirs]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"ready\n"
        assert cache.room.held_bytes == 2 * KIB
        mine = _put(cache, _content(2))
        _put(cache, _content(3))
        assert theirs in _kept(cache)
        assert mine not in _kept(cache)
        assert len(list(cache.folder.glob(".*.part"))) == 1
    finally:
        process.kill()
        process.communicate()
    os.utime(cache.folder / f"{theirs}.onnx", (1, 1))
    _put(cache, _content(4, 2 * KIB))
    assert theirs not in _kept(cache)
    assert not list(cache.folder.glob(".*.part"))


def test_a_folder_with_files_of_others_is_no_cache(tmp_path):
    folder = tmp_path / "artefacts"
    folder.mkdir()
    theirs = folder / f"{_sha(_content(1))}.onnx"
    theirs.write_bytes(_content(1))
    os.utime(theirs, (1, 1))
    cache = ArtifactCache(folder, 100 * KIB, 2 * KIB)
    assert not (folder / TAG).exists()
    held = cache.hold(theirs.stem)
    assert theirs.stat().st_mtime == 1, "their times are theirs"
    del held
    _put(cache, _content(2))
    with pytest.raises(Overloaded, match="is no cache"):
        cache.receive("0" * 64, KIB)
    assert theirs.exists()


def test_a_tagged_folder_stays_a_cache_for_whoever_comes_next(cache):
    _put(cache, _content(1), used_at=1)
    again = ArtifactCache(cache.folder, 100 * KIB, 2 * KIB)
    _put(again, _content(2)), _put(again, _content(3))
    assert _kept(again) == {_sha(_content(2)), _sha(_content(3))}


def _disk(monkeypatch, free: int, total: int = 1000 * KIB) -> None:
    usage = shutil._ntuple_diskusage(total, total - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_by_default_half_of_what_is_free_and_held(tmp_path, monkeypatch):
    _put(ArtifactCache(tmp_path, 100 * KIB), _content(1, 10 * KIB))
    _disk(monkeypatch, free=90 * KIB)
    assert ArtifactCache(tmp_path, 100 * KIB, None).room.limit_bytes == 50 * KIB


def test_a_short_disk_makes_room_without_a_bound_and_refuses_nothing(tmp_path, monkeypatch):
    cache = ArtifactCache(tmp_path, 100 * KIB, math.inf)
    old, young = _put(cache, _content(1), used_at=1), _put(cache, _content(2), used_at=2)
    # 5% of the disk is to stay free: 1 KiB more needs 51, and 50.5 are there.
    _disk(monkeypatch, free=50 * KIB + KIB // 2)
    third = _put(cache, _content(3))
    assert _kept(cache) == {young, third}
    _disk(monkeypatch, free=0)
    assert _put(cache, _content(4)) in _kept(cache)
    assert old not in _kept(cache)


def test_the_same_content_again_does_not_replace_what_is_held(cache):
    sha256 = _put(cache, _content(1))
    held = cache.hold(sha256)
    before = held.path.stat().st_ino
    assert _put(cache, _content(1)) == sha256
    assert held.path.stat().st_ino == before
    assert not list(cache.folder.glob(".*.part"))


def test_a_file_that_is_replaced_while_it_is_taken_is_taken_anew(tmp_path):
    path, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    path.write_bytes(b"old")
    other.write_bytes(b"new")
    with path.open("rb") as old:
        fcntl.flock(old, fcntl.LOCK_EX)  # as whoever replaces or removes it
        found: list[Held] = []
        taker = threading.Thread(target=lambda: found.append(Held(path)))
        taker.start()
        other.replace(path)
    taker.join(10)
    with path.open("rb") as new, pytest.raises(BlockingIOError):
        fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
    del found[0]


def test_one_at_a_time_makes_room(cache):
    with (
        cache.room.alone(),
        (cache.folder / ".lock").open("ab") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (cache.folder / ".lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_is_removed_between_being_found_and_being_held_is_missing(cache, monkeypatch):
    sha256 = _put(cache, _content(1))
    path = cache.folder / f"{sha256}.onnx"
    # Another process removes it at the worst moment.
    monkeypatch.setattr(cache.room, "used", lambda found: found.unlink())
    with pytest.raises(NotFound, match="Send it first"):
        cache.hold(sha256)
    assert not path.exists()


def test_what_a_killed_agent_left_under_way_goes_from_any_folder(tmp_path):
    folder = tmp_path / "artefacts"
    folder.mkdir()
    (folder / f"{'1' * 64}.onnx").write_bytes(_content(1))
    theirs = folder / ".tmpabc.part"  # a study's store names them so
    theirs.write_bytes(b"x")
    left = folder / f".{'1' * 16}.{'2' * 16}.part"
    left.write_bytes(_content(1))
    cache = ArtifactCache(folder, 100 * KIB, 2 * KIB)
    _put(cache, _content(2))
    assert not left.exists()
    assert theirs.exists()
