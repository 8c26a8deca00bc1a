"""Lossless compression of boundary tensors: zlib, zstd and LZ4 on what really crosses.

    python benchmarks/boundary_compression.py

The tensors at three cuts of every shipped subject, for real inputs, as float32, as float16, and as
the int8 that is fitted to them; and what crosses the same cuts of the quantized subject. Bytes are
means over the inputs, times medians of interleaved rounds on one core.
"""

import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lz4.block
import numpy as np
import zstandard

from tierwise.data.source import open_dataset
from tierwise.graph.cuts import find_cut
from tierwise.operators.encoding import FP16, encode, fit_int8
from tierwise.operators.partition import Chain, partition
from tierwise.operators.quantize import RECIPES, quantize
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import open_session
from tierwise.study.parse import read_study_file
from tierwise.zoo.subjects import materialise

INPUTS, ROUNDS = 8, 7
SHARES = (0.25, 0.5, 0.75)
RATES_BIT_PER_S = (10e6, 100e6)


@dataclass(frozen=True)
class Codec:
    """A way to compress."""

    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]


def zstd(level: int) -> Codec:
    packer, unpacker = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
    return Codec(f"zstd {level}", packer.compress, unpacker.decompress)


CODECS = (
    Codec("none", lambda content: content, lambda wire, _: wire),
    Codec(
        "zlib 1", lambda content: zlib.compress(content, 1), lambda wire, _: zlib.decompress(wire)
    ),
    zstd(-3),
    zstd(1),
    zstd(3),
    Codec(
        "lz4",
        lambda content: lz4.block.compress(content, store_size=False),
        lambda wire, size: lz4.block.decompress(wire, uncompressed_size=size),
    ),
)


def main() -> None:
    print(__doc__)
    for name in ("digits", "scenes"):
        with tempfile.TemporaryDirectory() as folder:
            for kind, contents in tensors(name, Path(folder)).items():
                show(f"{name}, {kind}", contents)


def tensors(name: str, folder: Path) -> dict[str, list[bytes]]:
    """By how they are encoded, the bytes of every crossing tensor for every input."""
    study_path = materialise(name, folder)
    study = read_study_file(study_path)
    model = study_path.parent / study.model
    with open_session(model) as session:
        data = open_dataset(study.data, session.inputs, study_path.parent)
    found: dict[str, list[bytes]] = {"float32": [], "float16": [], "int8": [], "quantized": []}
    graph = prepare(model, data.feeds(0))
    for samples in crossing(graph, data).values():
        fitted = fit_int8(samples)
        for sample in samples:
            found["float32"].append(sample.tobytes())
            found["float16"].append(encode(sample, FP16).tobytes())
            found["int8"].append(encode(sample, fitted).tobytes())
    quantized = quantize(
        graph, data.subset(range(64)), task=study.task, max_loss=100, recipes=tuple(RECIPES)[:1]
    )
    for samples in crossing(quantized.graph, data).values():
        found["quantized"] += [s.tobytes() for s in samples if s.dtype == np.uint8]
    return found


def crossing(graph, data) -> dict[tuple[float, str], list[np.ndarray]]:
    found: dict[tuple[float, str], list[np.ndarray]] = {}
    for share in SHARES:
        chain = Chain(partition(graph, [find_cut(graph, share)]))
        for index in range(INPUTS):
            (boundary,) = chain.crossing(data.feeds(index))
            for name, tensor in boundary.items():
                found.setdefault((share, name), []).append(tensor)
        chain.close()
    return found


def show(title: str, contents: list[bytes]) -> None:
    if not contents:
        return
    size = np.mean([len(content) for content in contents])
    print(f"{title}: {len(contents)} tensors of {size / 1024:.1f} KiB")
    print(
        f"  {'':<8}{'bytes':>7}{'pack':>9}{'unpack':>9}"
        + "".join(f"{f'at {rate / 1e6:g} Mbit/s':>15}" for rate in RATES_BIT_PER_S)
    )
    packing = {codec.name: [] for codec in CODECS}
    unpacking = {codec.name: [] for codec in CODECS}
    sizes = {}
    for turn in range(1 + ROUNDS):
        for codec in CODECS:
            begun = time.perf_counter()
            wires = [codec.compress(content) for content in contents]
            packed = time.perf_counter()
            for wire, content in zip(wires, contents, strict=True):
                codec.decompress(wire, len(content))
            unpacked = time.perf_counter()
            sizes[codec.name] = np.mean([len(wire) for wire in wires])
            if turn:
                packing[codec.name].append((packed - begun) / len(contents))
                unpacking[codec.name].append((unpacked - packed) / len(contents))
    for codec in CODECS:
        pack_s, unpack_s = np.median(packing[codec.name]), np.median(unpacking[codec.name])
        crossing_s = [pack_s + 8 * sizes[codec.name] / rate + unpack_s for rate in RATES_BIT_PER_S]
        print(
            f"  {codec.name:<8}{sizes[codec.name] / size:>7.2f}{pack_s * 1e6:>7.0f} us"
            f"{unpack_s * 1e6:>7.0f} us" + "".join(f"{s * 1e3:>12.2f} ms" for s in crossing_s)
        )


if __name__ == "__main__":
    main()
