"""Trains the decoder on latents of the closed-form encoder: crops of 64 pixels suffice, since nothing normalises."""
import os
import time

import numpy as np
import torch

from .codec import Codec
from .decoder import Decoder
from .pool import Pool
from .training import blend, rate_share, save

SEED, STEPS, CROP, BATCH = 2, 5500, 64, 16
RATE, WARM_UP, FLAT = 2e-3, 100, 0.3
SAVE_EVERY, JUDGE_EVERY = 500, 1000


def psnr(a, b):
    return (-10 * torch.log10(((a - b) ** 2).mean((1, 2, 3)) / 4)).mean().item()


def loss_of(error):
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    return error.abs().mean() + 2 * (error ** 2).mean() + 0.5 * (across.abs().mean() + down.abs().mean())


def crops(pool, rng):
    """Cut at multiples of 8, where the encoder's patches lie."""
    pictures = pool.pictures[rng.integers(40, len(pool.pictures), BATCH)]
    out = np.stack([pool.cut(rng, p, CROP, 8) for p in pictures])
    out = out[..., ::-1] if rng.random() < 0.5 else out
    out = out.transpose(0, 1, 3, 2) if rng.random() < 0.5 else out
    return torch.from_numpy(out.copy()).float() / 127.5 - 1


def train(out, steps, device, say):
    torch.manual_seed(SEED)
    codec, pool, net = Codec(torch.load(f"{out}/codec.pt"), device), Pool(f"{out}/pool-288.pt"), Decoder().to(device)
    opt = torch.optim.AdamW(net.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0)
    average, step, path, began = {k: v.clone() for k, v in net.state_dict().items()}, 0, f"{out}/decoder-run.pt", time.monotonic()
    if os.path.exists(path):
        d = torch.load(path, map_location=device)
        net.load_state_dict(d["net"])
        opt.load_state_dict(d["opt"])
        average, step = d["average"], d["step"]
    net = net.to(memory_format=torch.channels_last)
    held = torch.from_numpy(pool.pictures[:40, :, :256, :256].copy()).to(device).float() / 127.5 - 1
    while step < steps:
        rng, g = np.random.default_rng((SEED, step)), torch.Generator().manual_seed(SEED * 1_000_003 + step)
        x = crops(pool, rng).to(device)
        z = codec.encode(x)
        z = z + 0.02 * torch.randn(z.shape, generator=g).to(device)
        loss = loss_of(net(z.contiguous(memory_format=torch.channels_last)) - x)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        opt.param_groups[0]["lr"] = RATE * rate_share(step, steps, WARM_UP, FLAT) + 1e-5
        opt.step()
        step += 1
        blend(average, net, min(0.998, 1 - 5 / (step + 5)))
        if step % SAVE_EVERY == 0 or step == steps:
            save({"net": net.state_dict(), "opt": opt.state_dict(), "average": average, "step": step}, path)
            torch.save(average, f"{out}/decoder.pt")
        if step % JUDGE_EVERY == 0 or step == steps:
            best = Decoder().to(device)
            best.load_state_dict(average)
            with torch.no_grad():
                z = codec.encode(held)
                own, blocks = (psnr(f(z).clamp(-1, 1), held) for f in (best, codec.blocks))
                say(f"decoder step {step} of {steps}, {time.monotonic() - began:.0f} s: {own:.2f} dB, "
                    f"the codec's blocks {blocks:.2f} dB")
