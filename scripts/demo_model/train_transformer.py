"""Trains the transformer by flow matching on latents of scenes with masks. Crops grow while it runs.

The state after a step depends on the seed and the step alone: each batch has a generator of its own, and what is saved
holds weights, averages and optimisers, so that a run that was ended goes on as if it had not been. Several processes
take a batch each and average their gradients, which uses more cores better than threads do.
"""
import csv
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

from . import pictures, scenes, transformer
from .codec import Codec
from .pool import Pool
from .training import blend, rate_share, save

SEED, STEPS = 1, 9200
# From which step: sides of the crops, in turn, and how many are in a batch.
PLAN = ((0, (128,)), (2800, (192,)), (5500, (256,)), (6500, (256, 384, 256, 512)))
CROPS = {128: 48, 192: 21, 256: 12, 384: 5, 512: 3}
MUON_RATE, ADAM_RATE, WARM_UP, FLAT = 0.02, 2e-3, 60, 0.55  # FLAT: part of the run before the rate falls to 0
PIXEL_VARIANCE = 0.02  # brings the loss of pixels to the size of the loss of latents
LOG_EVERY, SAVE_EVERY, JUDGE_EVERY = 50, 250, 1000


def orthogonal(g):
    """The nearest half-orthogonal matrix, roughly: five Newton-Schulz steps of Muon (Jordan et al. 2024)."""
    x = (g / (g.norm() + 1e-7)).bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                m.lerp_(p.grad, 0.05)
                size = max(1, p.shape[0] / p.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * 0.01).add_(orthogonal(p.grad.lerp(m, 0.95)), alpha=-group["lr"] * size)


def optimisers(net):
    """Muon for the matrices of the blocks, AdamW for everything else."""
    inner = [p for n, p in net.named_parameters() if p.ndim == 2 and "_blocks" in n and "mod" not in n]
    ids = {id(p) for p in inner}
    rest = [p for p in net.parameters() if id(p) not in ids]
    return Muon(inner, MUON_RATE), torch.optim.AdamW(rest, ADAM_RATE, betas=(0.9, 0.97), weight_decay=0)


def draw_sigma(g, count):
    """Evenly spread over what four steps visit, more at the top; one in eight is pure noise, where the hole is decided."""
    u = (torch.arange(count) + torch.rand(count, generator=g)) / count
    s = (2.2 * u / (1 + 1.2 * u)).clamp_min(1e-3)
    return torch.where(torch.rand(count, generator=g) < 0.125, torch.ones(()), s)


def losses(net, codec, x, mask, tables, g):
    """-> the loss of latents, the loss of pixels in the mask."""
    x0, c = transformer.pack(codec.encode(x)), transformer.condition(codec, x, mask)
    cell = transformer.pack(F.max_pool2d(mask, 8).expand(-1, 16, -1, -1))
    s = draw_sigma(g, x.shape[0])[:, None, None].to(x.device)
    e = torch.randn(x0.shape, generator=g).to(x.device)
    with torch.autocast(x.device.type, torch.bfloat16):
        v = net(s * e + (1 - s) * x0, c, s.flatten(), tables)
    error = v - (e - x0)
    weight = 0.03 + 0.97 * cell
    latents = (weight * error ** 2).sum() / weight.sum()
    # The picture that v stands for is off by s times v's error. Its pixels count in the mask, and more along its edge.
    rows = x.shape[2] // 16
    pixels = codec.blocks(transformer.unpack(s * error, rows, x.shape[3] // 16))
    rim = mask * F.max_pool2d(1 - mask, 9, 1, 4)
    weight = mask + 2 * rim
    return latents, (weight * pixels ** 2).sum() / (3 * weight.sum()) / PIXEL_VARIANCE


@torch.no_grad()
def judge(net, codec, path, device, count=32):
    """PSNR in the mask on cases of 256 x 256, decoded by the codec's own blocks -> mean in dB for 1 and 4 steps.
    Writes photos, results and truths of the first 8 as a sample sheet."""
    cases = [scenes.case(8_000_000 + i, (256, 256)) for i in range(count)]
    truth, x = (torch.stack([c[k] for c in cases]).to(device) * 2 - 1 for k in (0, 1))
    mask = torch.stack([c[2] for c in cases])[:, None].to(device)
    noise = torch.randn(count, 16, 32, 32, generator=torch.Generator().manual_seed(3)).to(device)
    out = []
    for steps in (1, 4):
        y = torch.cat([transformer.fill(net, codec, codec.blocks, x[i:i + 8], mask[i:i + 8], steps, noise[i:i + 8])
                       for i in range(0, count, 8)])
        mse = (((y - truth) ** 2).mean(1, keepdim=True) * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
        out.append((10 * torch.log10(4 / mse)).mean().item())
    rows = [torch.cat(list(t[:8]), 2) for t in (x, mask * y + (1 - mask) * x, truth)]
    pictures.save(torch.cat(rows, 1) / 2 + 0.5, path)
    return out


class Run:
    def __init__(self, out, steps, device, say):
        self.out, self.steps, self.device, self.say, self.step, self.seconds = out, steps, device, say, 0, 0.0
        torch.manual_seed(SEED)
        self.net = transformer.Transformer().to(device)
        self.codec = Codec(torch.load(f"{out}/codec.pt"), device)
        self.opts = optimisers(self.net)
        self.average = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.path = f"{out}/transformer-run.pt"
        if os.path.exists(self.path):
            self.load()

    def load(self):
        d = torch.load(self.path, map_location=self.device)
        self.step, self.seconds, self.average = d["step"], d["seconds"], d["average"]
        self.net.load_state_dict(d["net"])
        for o, state in zip(self.opts, d["opts"]):
            o.load_state_dict(state)
        self.say(f"going on after step {self.step}")

    def save(self):
        save({"step": self.step, "seconds": self.seconds, "average": self.average, "net": self.net.state_dict(),
              "opts": [o.state_dict() for o in self.opts]}, self.path)
        torch.save(self.average, f"{self.out}/transformer.pt")

    def sides(self):
        """Sides of the crops in this part of the run."""
        return [sides for first, sides in PLAN if self.step >= first][-1]

    def side(self):
        """Side of this step's crops."""
        return self.sides()[self.step % len(self.sides())]

    def update_average(self):
        keep = min(0.998 if self.step > self.steps / 2 else 0.99, 1 - 10 / (self.step + 10))
        blend(self.average, self.net, keep)


def average_gradients(net, processes):
    if processes > 1:
        grads = [p.grad for p in net.parameters()]
        flat = torch.cat([g.flatten() for g in grads])
        torch.distributed.all_reduce(flat)
        for g, part in zip(grads, flat.split([g.numel() for g in grads])):
            g.copy_(part.view_as(g) / processes)


def one_step(run, call, pools, rank, processes):
    """-> both losses of this process's batch."""
    side = run.side()
    seed = (SEED, run.step, rank) if rank else (SEED, run.step)
    rng, g = np.random.default_rng(seed), torch.Generator().manual_seed((SEED + rank) * 1_000_003 + run.step)
    x, mask = (t.to(run.device) for t in pools[512 if side > 288 else 288].batch(rng, side, CROPS[side]))
    both = losses(call, run.codec, x, mask, transformer.rope_tables(side // 16, side // 16, run.device), g)
    sum(both).backward()
    average_gradients(run.net, processes)
    torch.nn.utils.clip_grad_norm_(run.net.parameters(), 1.0)
    for o, top in zip(run.opts, (MUON_RATE, ADAM_RATE)):
        o.param_groups[0]["lr"] = top * (rate_share(run.step, run.steps, WARM_UP, FLAT) + 0.002)
        o.step()
        o.zero_grad()
    run.update_average()
    run.step += 1
    return [b.item() for b in both]


def log_losses(run, began, sums, log):
    run.seconds = time.monotonic() - began
    sides = " to ".join(str(s) for s in sorted({min(run.sides()), max(run.sides())}))
    csv.writer(log).writerow([run.step, sides, f"{run.seconds:.0f}", *(f"{s / LOG_EVERY:.4f}" for s in sums)])
    log.flush()
    run.say(f"step {run.step} of {run.steps}, {sides} px, {run.seconds:.0f} s: "
            f"loss of latents {sums[0] / LOG_EVERY:.4f}, of pixels {sums[1] / LOG_EVERY:.4f}")


def judge_average(run):
    net = transformer.Transformer().to(run.device)
    net.load_state_dict(run.average)
    db = judge(net, run.codec, f"{run.out}/samples-{run.step:05d}.jpg", run.device)
    run.say("PSNR in the mask, 1 and 4 steps: {:.2f} and {:.2f} dB".format(*db))


def loop(rank, out, steps, device, compile_it, processes, say):
    """One process of the run; the first logs, saves and judges."""
    torch.set_num_threads(1)
    if processes > 1:
        torch.distributed.init_process_group("gloo", f"file://{os.path.abspath(out)}/processes", rank=rank, world_size=processes)
    run = Run(out, steps, device, say if rank == 0 else lambda text: None)
    call = torch.compile(run.net, dynamic=False) if compile_it else run.net
    pools = {288: Pool(f"{out}/pool-288.pt"), 512: Pool(f"{out}/pool-512.pt")}
    log, sums, began = open(f"{out}/transformer.csv", "a", newline=""), np.zeros(2), time.monotonic() - run.seconds
    while run.step < steps:
        sums += one_step(run, call, pools, rank, processes)
        if rank:
            continue
        if run.step % LOG_EVERY == 0:
            log_losses(run, began, sums, log)
            sums[:] = 0
        if run.step % SAVE_EVERY == 0 or run.step == steps:
            run.save()
        if run.step % JUDGE_EVERY == 0 or run.step == steps:
            judge_average(run)


def train(out, steps, device, compile_it, processes, say):
    if processes == 1:
        return loop(0, out, steps, device, compile_it, 1, say)
    if os.path.exists(f"{out}/processes"):
        os.remove(f"{out}/processes")  # of a run that was ended
    return torch.multiprocessing.spawn(loop, (out, steps, device, compile_it, processes, say), nprocs=processes)
