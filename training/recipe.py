"""What both trainings share: the optimiser's schedule, the seeds, the export."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

BatchMaker = Callable[[int], tuple[Tensor, Tensor]]


def fix(seed: int, threads: int) -> None:
    """Make a run repeatable on the same machine (another CPU may round differently)."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)


def fit(
    model: nn.Module, batch: BatchMaker, loss: nn.Module, *, steps: int, size: int, peak: float
) -> None:
    """AdamW under one cosine from ``peak`` to zero after a short warm-up."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=1e-2)
    warm_up = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * step / steps))),
    )
    model.train()
    start, mean = time.monotonic(), 0.0
    for step in range(steps):
        images, targets = batch(size)
        value = loss(model(images), targets)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        mean = 0.95 * mean + 0.05 * value.item() if step else value.item()
        if (step + 1) % 20 == 0:
            print(
                f"step {step + 1}/{steps} loss {mean:.3f} {time.monotonic() - start:.0f} s",
                flush=True,
            )


def export(model: nn.Module, example: Tensor, path: Path, output: str) -> None:
    """ONNX, opset 17, batch 1, batch norms folded into the convolutions before them."""
    torch.onnx.export(
        model.eval(), (example,), path, opset_version=17, dynamo=False,
        input_names=["image"], output_names=[output],
    )  # fmt: skip
