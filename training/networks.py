"""The two residual networks of the zoo."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        # Blocks start as the identity: the deep nets learn from the first steps on.
        nn.init.zeros_(self.norm2.weight)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Block(inputs, outputs, stride), *rest)


def stem(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Classifier(nn.Module):
    """ResNet of depth 6 * blocks + 2 for grey images (He et al., 2015, section 4.2)."""

    def __init__(self, blocks: int, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = stem(1, a)
        self.stage1 = stage(a, a, blocks, 1)
        self.stage2 = stage(a, b, blocks, 2)
        self.stage3 = stage(b, c, blocks, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(c, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.stage3(self.stage2(self.stage1(self.stem(x))))).flatten(1))


class Segmenter(nn.Module):
    """Fully convolutional residual net; scores of three strides are added (Long et al., 2015)."""

    def __init__(self, blocks: int = 4, widths: tuple[int, int, int] = (24, 48, 64)) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = stem(3, a)
        self.stage1 = stage(a, a, blocks, 1)
        self.stage2 = stage(a, b, blocks, 2)
        self.stage3 = stage(b, c, blocks, 2)
        self.score1 = nn.Conv2d(a, 11, 1)
        self.score2 = nn.Conv2d(b, 11, 1)
        self.score3 = nn.Conv2d(c, 11, 1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.stage1(self.stem(x))
        middle = self.stage2(fine)
        scores = self.up(self.score3(self.stage3(middle))) + self.score2(middle)
        return self.up(self.up(scores) + self.score1(fine))
