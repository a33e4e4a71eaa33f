#!/usr/bin/env python3
"""train_demo.py STEP [--out DIR]: makes the demo's model (models/demo/) from nothing but its own scene generator.

Steps, in their order: pool, codec, decoder, transformer, export, score, sheet, golden; `all` runs them one after the other. Each
leaves files in DIR (build/demo-model), and one that was interrupted goes on where it was. `prompt` is for when the worker's
neutral prompt has changed: it names the new one in the exported pack. `transformer` leaves its loss
curve (transformer.csv) and sample sheets there, too. It wants the PyPI packages torch, numpy, gguf, safetensors, pillow,
opencv-python-headless and pypatchmatch, and `score`, `sheet` and `golden` also build/inpaint-worker.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def say(text):
    print(text, flush=True)


def pool(a):
    from demo_model import pool as p
    for side in p.POOLS:
        path = f"{a.out}/pool-{side}.pt"
        if not os.path.exists(path):
            p.make(side, path, say)


def codec(a):
    import torch
    from demo_model import codec as c
    from demo_model.pool import Pool
    pictures = Pool(f"{a.out}/pool-288.pt").pictures[:400]
    torch.save(c.fit([torch.from_numpy(p).float() / 255 for p in pictures]), f"{a.out}/codec.pt")


def decoder(a):
    from demo_model import train_decoder
    train_decoder.train(a.out, a.steps or train_decoder.STEPS, a.device, say)


def transformer(a):
    from demo_model import train_transformer
    train_transformer.train(a.out, a.steps or train_transformer.STEPS, a.device, a.compile, a.processes, say)


def export(a):
    from demo_model import export as e
    e.write(a.out, a.model, say)


def prompt(a):
    from demo_model import export as e
    e.name_prompt(a.model)


def score(a):
    from demo_model import score as s
    s.score(a.out, a.model, a.cases, a.side, say)


def sheet(a):
    from demo_model import score as s
    s.sheet(a.out, a.model, a.side, range(24), f"{a.model}/sheet.jpg")
    s.curve(f"{a.out}/transformer.csv", f"{a.model}/loss.png")
    s.before_and_after(a.out, a.model, "docs/demo.jpg")


def golden(a):
    from demo_model import score as s
    s.write_golden(a.model, "test/golden/demo")


STEPS = {f.__name__: f for f in (pool, codec, decoder, transformer, export, score, sheet, golden)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("step", choices=[*STEPS, "prompt", "all"])
    p.add_argument("--out", default="build/demo-model", help="folder of what the steps make (%(default)s)")
    p.add_argument("--model", default="models/demo", help="folder of the model files (%(default)s)")
    p.add_argument("--steps", type=int, help="optimiser steps of `decoder` or `transformer`")
    p.add_argument("--cases", type=int, default=200, help="held-out scenes of `score` (%(default)s)")
    p.add_argument("--side", type=int, default=512, help="their width and height in pixels (%(default)s)")
    p.add_argument("--processes", type=int, default=1, help="of `transformer`: each takes a batch and a core (%(default)s)")
    p.add_argument("--device", default="cpu", help="of `decoder` and `transformer`, for instance cuda (%(default)s)")
    p.add_argument("--compile", action="store_true", help="compile the transformer: 1.7 times as fast, wants a C++ compiler")
    a = p.parse_args()
    import torch
    torch.set_num_threads(1)  # more of them spend their time waiting for each other
    os.makedirs(a.out, exist_ok=True)
    for name in STEPS if a.step == "all" else [a.step]:
        {**STEPS, "prompt": prompt}[name](a)


if __name__ == "__main__":
    main()
