"""Networks as people write them in PyTorch, for porting: published structures at modest widths.

Widths and input sizes are smaller than in the papers, so that a test takes a second. Each function
of ``ZOO`` returns a model with random weights, biases that are not zero, and moved running
statistics. Nothing of Triptych belongs here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet(nn.Module):
    """LeCun et al. 1998 at 32x32x1, with tanh and mean pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(16, 24, 5), nn.Tanh(),
        )  # fmt: skip
        self.fc1, self.fc2 = nn.Linear(24, 20), nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).view(x.size(0), -1)
        return F.log_softmax(self.fc2(torch.tanh(self.fc1(x))), dim=1)


class AlexNet(nn.Module):
    """Krizhevsky 2014 as torchvision has it, an eighth as wide, at 64x64x3."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=11, stride=4, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(8, 24, kernel_size=5, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(24, 48, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(48, 32, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=1),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(
            nn.Dropout(p=0.5), nn.Linear(32, 64), nn.ReLU(inplace=True),
            nn.Dropout(p=0.5), nn.Linear(64, 64), nn.ReLU(inplace=True),
            nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def _vgg11() -> nn.Sequential:
    """Simonyan and Zisserman 2015, configuration A, an eighth as wide, at 32x32x3."""
    layers: list[nn.Module] = []
    before = 3
    for width in (8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"):
        if width == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [
                nn.Conv2d(before, width, 3, padding="same"),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
    head = [nn.Flatten(), nn.Linear(64, 48), nn.ReLU(True), nn.Dropout(), nn.Linear(48, 10)]
    return nn.Sequential(*layers, *head)


class BasicBlock(nn.Module):
    """Two convolutions and a way around them (He et al. 2016)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or before != width:
            conv = nn.Conv2d(before, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    """He et al. 2016 with 18 layers, an eighth as wide, at 64x64x3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        widths = ((8, 8, 1), (8, 16, 2), (16, 32, 2), (32, 64, 2))
        self.layers = nn.ModuleList(
            nn.Sequential(BasicBlock(before, width, stride), BasicBlock(width, width, 1))
            for before, width, stride in widths
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for layer in self.layers:
            x = layer(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Inverted(nn.Module):
    """An inverted residual with a depthwise convolution (Sandler et al. 2018)."""

    def __init__(self, before: int, width: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = before * expand
        self.around = stride == 1 and before == width
        self.conv = nn.Sequential(
            nn.Conv2d(before, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.around else self.conv(x)


class MobileNetV2(nn.Module):
    """Sandler et al. 2018 with six blocks at 32x32x3."""

    def __init__(self) -> None:
        super().__init__()
        stem = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True)]
        sizes = ((8, 8, 1, 2), (8, 12, 2, 3), (12, 12, 1, 3), (12, 16, 2, 3), (16, 16, 1, 3))
        blocks = [Inverted(*size) for size in sizes]
        last = [nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6(inplace=True)]
        self.features = nn.Sequential(*stem, *blocks, *last)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class UNet(nn.Module):
    """Ronneberger et al. 2015 with three levels and padded convolutions, at 32x32x2."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = self.double(2, 6), self.double(6, 12)
        self.middle = self.double(12, 24)
        self.up2 = nn.ConvTranspose2d(24, 12, kernel_size=2, stride=2)
        self.merge2 = self.double(24, 12)
        self.up1 = nn.ConvTranspose2d(12, 6, kernel_size=3, stride=2, padding=1, output_padding=1)
        self.merge1 = self.double(12, 6)
        self.outc = nn.Conv2d(6, 3, kernel_size=1)

    @staticmethod
    def double(before: int, width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        x = self.middle(F.max_pool2d(two, 2))
        x = self.merge2(torch.cat([two, self.up2(x)], dim=1))
        x = self.merge1(torch.cat([one, self.up1(x)], dim=1))
        return torch.softmax(self.outc(x), dim=1)


class LSTMText(nn.Module):
    """A text classifier: two bidirectional LSTM layers over rows of words."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 12)
        self.lstm = nn.LSTM(12, 10, num_layers=2, batch_first=True, bidirectional=True, dropout=0.2)
        self.fc = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(self.embed(x))
        return self.fc(torch.cat((hidden[-2], hidden[-1]), dim=1))


class GRUText(nn.Module):
    """A text classifier: a GRU with time first, and its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 12)
        self.rnn = nn.GRU(12, 10)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(self.embed(x).permute(1, 0, 2))
        return self.fc(self.drop(out[-1]))


class ElmanStates(nn.Module):
    """An Elman network with a start state made by hand, whose every step is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(5, 8, nonlinearity="relu", batch_first=True)
        self.last = nn.LSTM(8, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.rnn(x, torch.zeros(1, x.size(0), 8, dtype=x.dtype))
        return self.fc(self.last(steps)[0])


class MixerBlock(nn.Module):
    """Mixing over patches, then over channels (Tolstikhin et al. 2021)."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(patches, 24), nn.GELU(), nn.Linear(24, patches))
        self.channels = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class MLPMixer(nn.Module):
    """Tolstikhin et al. 2021 with two blocks and 16 patches of 8x8 pixels, at 32x32x3."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 20, 8, stride=8)
        self.blocks = nn.Sequential(MixerBlock(16, 20), MixerBlock(16, 20))
        self.norm = nn.LayerNorm(20)
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


class SharedLayers(nn.Module):
    """One dense layer and one normalisation, each at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.first(x)), 0.2)
        x = F.elu(self.norm(self.middle(x)))
        return self.last(self.middle(x) * x)


class Squeeze(nn.Module):
    """Squeeze and excitation with hard functions, as in MobileNetV3 (Howard et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=(1, 0), dilation=(1, 2))
        self.fc1, self.fc2 = nn.Linear(8, 4), nn.Linear(4, 8)
        self.conv = nn.Conv2d(8, 12, 3, groups=2)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.stem(F.pad((x - 0.5) / 0.25, (2, 1, 0, 1))))
        gate = F.adaptive_avg_pool2d(x, 1).flatten(1)
        gate = F.hardsigmoid(self.fc2(F.silu(self.fc1(gate))))
        x = self.conv(x * gate.view(x.size(0), 8, 1, 1))
        x = F.avg_pool2d(F.selu(x), 3, stride=2, padding=1, count_include_pad=False)
        return self.head(F.adaptive_max_pool2d(x, (1, 1)).squeeze(-1).squeeze(-1))


class Dueling(nn.Module):
    """A dueling head over an image of bytes, with bare parameters (Wang et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 4, stride=2)
        self.weight = nn.Parameter(torch.randn(6 * 7 * 5, 16) / 14)
        self.bias = nn.Parameter(torch.randn(16))
        self.value, self.advantage = nn.Linear(16, 1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x.float() / 255.0))
        x = torch.clamp(x.reshape(x.shape[0], -1) @ self.weight + self.bias, min=0)
        value, advantage = self.value(x), self.advantage(x)
        return value + advantage - advantage.mean(dim=1, keepdim=True)


def _moved(model: nn.Module, seed: int) -> nn.Module:
    """Draw biases, scales and running statistics that are neither zeros nor ones."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
                module.weight.uniform_(0.5, 1.5, generator=stream)
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_(0.0, 0.2, generator=stream)
                module.running_var.uniform_(0.5, 2.0, generator=stream)
            bias = getattr(module, "bias", None)
            if isinstance(bias, Tensor):
                bias.normal_(0.0, 0.1, generator=stream)
    return model.eval()


ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], bool]] = {
    "lenet": (LeNet, (32, 32, 1), False),
    "alexnet": (AlexNet, (64, 64, 3), False),
    "vgg11": (_vgg11, (32, 32, 3), False),
    "resnet18": (ResNet18, (64, 64, 3), False),
    "mobilenet_v2": (MobileNetV2, (32, 32, 3), False),
    "unet": (UNet, (32, 32, 2), False),
    "lstm_text": (LSTMText, (9,), True),
    "gru_text": (GRUText, (9,), True),
    "elman_states": (ElmanStates, (7, 5), False),
    "mlp_mixer": (MLPMixer, (32, 32, 3), False),
    "shared_layers": (SharedLayers, (6,), False),
    "squeeze": (Squeeze, (12, 12, 3), False),
    "dueling": (Dueling, (16, 12, 4), False),
}
"""Name to the model's class, one input's shape with channels last, and whether it is indices."""


def build(name: str, seed: int = 0) -> nn.Module:
    """Return a model of the zoo in inference mode."""
    torch.manual_seed(seed)
    return _moved(ZOO[name][0](), seed)
