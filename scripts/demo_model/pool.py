"""Scenes and masks made beforehand, because drawing one takes longer than training on it.

A pool is a file with uint8 pictures [N, 3, S, S] and masks [M, S, S]. Batches draw pictures and masks independently and
flip and turn both, so that few repeat. Each picture has a seed of its own: a pool of more pictures begins with the same.
"""
import time

import numpy as np
import torch

from . import pictures, scenes

POOLS = {288: (5000, 8000), 512: (700, 2000)}  # side in pixels: pictures, masks
FIRST_SCENE, FIRST_MASK = 1_000_000, 2_000_000  # seeds; held-out cases (score.py) begin at 9_000_000


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def make(side, path, say):
    n, count = POOLS[side]
    begin = time.monotonic()
    ims = torch.empty(n, 3, side, side, dtype=torch.uint8)
    for i in range(n):
        ims[i] = pictures.to_bytes(scenes.scene((side, side), seeded(FIRST_SCENE + i))[0])
        if i % 500 == 499:
            say(f"pool {side}: {i + 1} of {n} scenes, {time.monotonic() - begin:.0f} s")
    bits = np.empty((count, side, side // 8), dtype=np.uint8)
    for i in range(count):
        bits[i] = np.packbits(scenes.masks((side, side), seeded(FIRST_MASK + i)).numpy().astype(np.uint8), -1)
    say(f"pool {side}: {count} masks, {time.monotonic() - begin:.0f} s in all")
    torch.save({"pictures": ims, "masks": torch.from_numpy(bits)}, path)


class Pool:
    def __init__(self, path):
        d = torch.load(path, mmap=True)
        self.pictures, self.masks = d["pictures"].numpy(), d["masks"].numpy()
        self.side = self.pictures.shape[-1]

    def cut(self, rng, a, size, multiple=1):
        y, x = (int(rng.integers(0, (self.side - size) // multiple + 1)) * multiple for _ in range(2))
        return a[..., y:y + size, x:x + size]

    def picture(self, rng, size):
        a = self.cut(rng, self.pictures[rng.integers(len(self.pictures))], size)
        if rng.random() < 0.5:
            a = a[:, :, ::-1]
        if rng.random() < 0.3:
            a = a[:, ::-1]
        if rng.random() < 0.2:
            a = a.transpose(0, 2, 1)
        return np.ascontiguousarray(a)

    def mask(self, rng, size, least=0.01, most=0.45):
        while True:
            m = np.unpackbits(self.masks[rng.integers(len(self.masks))], axis=-1)
            m = np.rot90(self.cut(rng, m, size), int(rng.integers(4)))
            if rng.random() < 0.5:
                m = m[:, ::-1]
            if least < m.mean() < most:
                return np.ascontiguousarray(m)

    def batch(self, rng, size, count):
        """-> x [B, 3, S, S] in -1 to 1 with other light and tint now and then, masks [B, 1, S, S] of 0 and 1."""
        x = torch.from_numpy(np.stack([self.picture(rng, size) for _ in range(count)])).float() / 127.5 - 1
        m = torch.from_numpy(np.stack([self.mask(rng, size) for _ in range(count)])).float()[:, None]
        if rng.random() < 0.5:
            light, tint = rng.random((count, 1, 1, 1)), rng.random((count, 3, 1, 1)) - 0.5
            x = x * torch.from_numpy(0.8 + 0.35 * light).float() + torch.from_numpy(0.2 * tint).float()
        return x.clamp(-1, 1), m
