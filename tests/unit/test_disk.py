"""A full disk is said to be one, also where a library fails on it without saying why."""

import errno
import os
import resource
from contextlib import contextmanager

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from tierwise.disk import check_output, check_space, in_words, scratch_folder
from tierwise.errors import DiskFull, EnvironmentFault, UserError
from tierwise.operators.quantize.build import Builder
from tierwise.operators.quantize.recipe import RECIPES
from tierwise.runtime.prepare import prepare


@pytest.fixture
def model(tmp_path):
    """A dense layer of 1 MB."""
    weight = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 512])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 512])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "model.onnx"
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@contextmanager
def files_up_to(limit):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_preparing_on_a_full_temporary_disk_does_not_blame_the_model(model, as_bytes):
    source = model.read_bytes() if as_bytes else model
    with files_up_to(60_000), pytest.raises(DiskFull, match="No space is left for"):
        prepare(source)
    assert prepare(source).macs == 512 * 512


def test_quantizing_on_a_full_temporary_disk_says_so(model):
    graph = prepare(model)
    feeds = [{"x": np.ones((1, 512), np.float32)}]
    builder = Builder(graph, feeds)
    with files_up_to(60_000):
        with pytest.raises(DiskFull):
            Builder(graph, feeds)
        with pytest.raises(DiskFull):
            builder.build(RECIPES[0])


def test_what_a_library_says_of_a_file_that_was_cut_short_is_not_believed_on_a_full_disk():
    def read_back():
        with scratch_folder():
            raise ValueError("the file is corrupt")

    with pytest.raises(ValueError, match="corrupt"):
        read_back()
    with files_up_to(60_000), pytest.raises(DiskFull, match="No space is left for"):
        read_back()


def test_space_is_tried_not_estimated(tmp_path):
    check_space(tmp_path / "file", 3_000_000)
    assert (tmp_path / "file").stat().st_size == 3_000_000
    with files_up_to(2_000_000), pytest.raises(DiskFull, match="No space is left"):
        check_space(tmp_path / "file", 3_000_000)


def test_a_scratch_folder_is_removed():
    with scratch_folder() as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()


def test_what_cannot_be_written_is_told_before_the_work(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/out.onnx' cannot be used: not a directory"):
        check_output(tmp_path / "file" / "out.onnx")
    check_output(tmp_path / "new" / "folder" / "out.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.EEXIST, UserError, "'out/q.onnx' cannot be used: file exists."),
        (errno.EROFS, EnvironmentFault, "'out/q.onnx' cannot be used: read-only file system."),
        (errno.EACCES, EnvironmentFault, "'out/q.onnx' cannot be used: permission denied."),
        (errno.ENOSPC, DiskFull, "No space is left for out/q.onnx"),
    ],
)
@pytest.mark.parametrize("name", ["q.onnx", ".q.onnx.partial", ".q.onnx.123.part"])
def test_a_fault_of_the_system_names_the_file_that_was_asked_for(number, kind, said, name):
    told = in_words(OSError(number, os.strerror(number), f"out/{name}"))
    assert type(told) is kind
    assert told.message.startswith(said)
    assert told.hint
