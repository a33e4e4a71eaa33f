"""The decoder without normalisation. Where the product's has GroupNorm and SiLU, this one has silu(w x + b): export.py
adds channels that make GroupNorm multiply by a constant. 32 channels everywhere, because each of GroupNorm's 32 groups
then holds one, and the two that export.py adds."""
import torch
import torch.nn as nn
import torch.nn.functional as F

CHANNELS = 32


class Act(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))

    def forward(self, x):
        return F.silu(x * self.w[:, None, None] + self.b[:, None, None])


def conv(inputs, outputs, gain):
    c = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(c.weight, 0, gain / (inputs * 9) ** 0.5)
    nn.init.zeros_(c.bias)
    return c


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.c1 = Act(CHANNELS), conv(CHANNELS, CHANNELS, 1.4)
        self.n2, self.c2 = Act(CHANNELS), conv(CHANNELS, CHANNELS, 0.0)

    def forward(self, x):
        return x + self.c2(self.n2(self.c1(self.n1(x))))


class Decoder(nn.Module):
    """Latents [B, 16, H, W] -> pictures [B, 3, 8 H, 8 W] in -1 to 1."""

    def __init__(self):
        super().__init__()
        self.conv_in = conv(16, CHANNELS, 1.0)
        self.mid = nn.ModuleList(Residual() for _ in range(2))
        self.levels = nn.ModuleList(Residual() for _ in range(4))  # the coarsest last, as in the product's names
        self.ups = nn.ModuleList(conv(CHANNELS, CHANNELS, 1.0) for _ in range(3))  # ups[i] leads to levels[i]
        self.out_act, self.conv_out = Act(CHANNELS), conv(CHANNELS, 3, 1.0)

    def forward(self, z):
        h = self.conv_in(z)
        for block in self.mid:
            h = block(h)
        h = self.levels[3](h)
        for i in (2, 1, 0):
            h = self.levels[i](self.ups[i](F.interpolate(h, scale_factor=2, mode="nearest")))
        return self.conv_out(self.out_act(h))
