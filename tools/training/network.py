"""The bundled detector's network: a small anchor-free one-stage detector, plain convolutions and ReLU.

Backbone of cross-stage blocks at strides 4 to 32, a path down and up again between strides 8, 16 and 32, and
one light head for each of the three. Channels are multiples of 16, which is what a CPU's vectors take; what
is slow on a CPU at these sizes (depthwise layers, SiLU, a box distribution) is left out.
"""

import math

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
#: Distances are exp(value) strides; beyond this exponent (22 strides) no picture goes.
LARGEST_LOG = 3.1


class Conv(nn.Sequential):
    """Convolution, normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Cross(nn.Module):
    """A cross-stage block: half of the channels go through residual pairs, all are mixed at the end.

    Where the number of channels does not change, nothing stands before the halves.
    """

    def __init__(self, inputs: int, outputs: int, depth: int = 1) -> None:
        super().__init__()
        self.half = outputs // 2
        self.enter = Conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        pairs = (nn.Sequential(Conv(self.half, self.half), Conv(self.half, self.half)) for _ in range(depth))
        self.deep = nn.ModuleList(pairs)
        self.leave = Conv(outputs + depth * self.half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, outputs, height, width] from [batch, inputs, height, width]."""
        kept = list(self.enter(x).split(self.half, 1))
        for block in self.deep:
            kept.append(kept[-1] + block(kept[-1]))
        return self.leave(torch.cat(kept, 1))


class Pyramid(nn.Module):
    """Pools over three sizes of neighbourhood, so that the coarsest cells see the whole picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = Conv(width, width // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = Conv(width * 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        kept = [self.enter(x)]
        for _ in range(3):
            kept.append(self.pool(kept[-1]))
        return self.leave(torch.cat(kept, 1))


class ScaleHead(nn.Module):
    """Distances to the four sides (as logarithms of strides) and class logits of one stride's cells."""

    def __init__(self, inputs: int, width: int, classes: int, stride: int) -> None:
        super().__init__()
        self.mix = Conv(inputs, width)
        self.boxes = nn.Conv2d(width, 4, 1)
        self.classes = nn.Conv2d(width, classes, 1)
        nn.init.constant_(self.boxes.bias, math.log(2.0))
        # An object or so among the cells of a picture: what a fresh network should say of each.
        nn.init.constant_(self.classes.bias, math.log(5 / classes / (640 / stride) ** 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, 4, height, width] and [batch, classes, height, width]."""
        x = self.mix(x)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 tells whole pixels apart, no finer
            return self.boxes(x.float()), self.classes(x.float())


class DetectorNetwork(nn.Module):
    """RGB in 0..1 [batch, 3, height, width], sides multiples of 32, to boxes and class logits."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (16, 32, 48, 96, 160)) -> None:
        super().__init__()
        w2, w4, w8, w16, w32 = widths
        self.fine = nn.Sequential(Conv(3, w2, 3, 2), Conv(w2, w4, 3, 2), Cross(w4, w4))
        self.eight = nn.Sequential(Conv(w4, w8, 3, 2), Cross(w8, w8, 2))
        self.sixteen = nn.Sequential(Conv(w8, w16, 3, 2), Cross(w16, w16, 2))
        self.thirty_two = nn.Sequential(Conv(w16, w32, 3, 2), Cross(w32, w32), Pyramid(w32))
        self.up = nn.Upsample(scale_factor=2)
        self.down16, self.down8 = Cross(w32 + w16, w16), Cross(w16 + w8, w8)
        self.step16, self.up16 = Conv(w8, w8, 3, 2), Cross(w8 + w16, w16)
        self.step32, self.up32 = Conv(w16, w16, 3, 2), Cross(w16 + w32, w32)
        self.heads = nn.ModuleList(
            ScaleHead(inputs, 64, classes, stride)
            for inputs, stride in zip((w8, w16, w32), STRIDES, strict=True)
        )

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What each head says, finest first."""
        eight = self.eight(self.fine(x))
        sixteen = self.sixteen(eight)
        coarse = self.thirty_two(sixteen)
        middle = self.down16(torch.cat([self.up(coarse), sixteen], 1))
        fine = self.down8(torch.cat([self.up(middle), eight], 1))
        middle = self.up16(torch.cat([self.step16(fine), middle], 1))
        coarse = self.up32(torch.cat([self.step32(middle), coarse], 1))
        return [head(level) for head, level in zip(self.heads, (fine, middle, coarse), strict=True)]


def decode(levels: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes xyxy in pixels [batch, cells, 4], logits [batch, cells, classes], and of every cell its centre.

    Centres are in pixels, float32 [cells, 2]; the last are the cells' strides, float32 [cells, 1].
    """
    grids, sizes = [], []
    for (boxes, _), stride in zip(levels, STRIDES, strict=True):
        height, width = boxes.shape[2], boxes.shape[3]
        cells = (torch.arange(side, dtype=torch.float32, device=boxes.device) for side in (width, height))
        x, y = ((cell + 0.5) * stride for cell in cells)
        grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], 2)
        grids.append(grid.reshape(-1, 2))
        sizes.append(torch.full_like(grids[-1][:, :1], stride))
    points, strides = torch.cat(grids), torch.cat(sizes)
    values = torch.cat([boxes.flatten(2) for boxes, _ in levels], 2).transpose(1, 2).float()
    logits = torch.cat([classes.flatten(2) for _, classes in levels], 2).transpose(1, 2).float()
    reach = values.clamp(-4.0, LARGEST_LOG).exp() * strides
    xyxy = torch.cat([points - reach[..., :2], points + reach[..., 2:]], 2)
    return xyxy, logits, points, strides


class Exported(nn.Module):
    """The network as it is served: [batch, 4 + classes, anchors], cxcywh in pixels and scores in 0..1."""

    def __init__(self, detector: DetectorNetwork) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> Tensor:
        """Of float32 RGB in 0..1 [batch, 3, height, width]."""
        xyxy, logits, _, _ = decode(self.detector(images))
        low, high = xyxy[..., :2], xyxy[..., 2:]
        return torch.cat([(low + high) / 2, high - low, logits.sigmoid()], 2).transpose(1, 2)
