"""Judges the product on held-out scenes against the truth, and OpenCV's inpainting and PatchMatch on the same cases.

Each method's result is pasted into the photo inside the mask, without feathering.
Three figures a case: PSNR in the mask against the truth; the mean gradient inside, divided by that of a ring of 12 pixels
around; and how much larger the steps across the mask's edge are than in the truth, in levels of 255.
"""
import concurrent.futures
import csv
import os
import shutil
import subprocess
import time

import cv2
import numpy as np
from PIL import Image, ImageDraw

from . import pictures, scenes
from .export import PROMPT

FIRST_CASE, FIRST_GOLDEN = 9_000_000, 9_900_000
STEPS = 4
PROGRAM = "build/inpaint-worker"
CURVE_COLOURS = {"128": (60, 110, 200), "192": (40, 150, 90), "256": (220, 130, 30), "256 to 512": (190, 50, 90)}


def write_cases(folder, first, count, size):
    os.makedirs(folder, exist_ok=True)
    names = []
    for i in range(count):
        stem = f"{folder}/{i:03d}"
        clean, photo, mask, name = scenes.case(first + i, (size, size))
        names.append(name)
        if not os.path.exists(f"{stem}.mask.png"):
            pictures.save(clean, f"{stem}.truth.png")
            pictures.save(photo, f"{stem}.photo.png")
            pictures.save(mask, f"{stem}.mask.png")
    return names


def read(folder, i, kind):
    return np.array(Image.open(f"{folder}/{i:03d}.{kind}.png"))


def run_program(*arguments, **settings):
    subprocess.run([PROGRAM, *arguments], check=True, capture_output=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1", "STEPS": str(STEPS), **settings})


def fill(image, mask, out, model, side, seed, *options):
    """The bare pipeline."""
    run_program("fill", "--models", model, "--image", image, "--mask", mask, "--prompt", PROMPT, "--width", str(side),
                "--height", str(side), "--steps", str(STEPS), "--seed", str(seed), "--out", out, *options)


def fill_case(folder, i, model, side):
    """Its result stays beside the case."""
    stem = f"{folder}/{i:03d}"
    if not os.path.exists(f"{stem}.fill.png"):
        fill(f"{stem}.photo.png", f"{stem}.mask.png", f"{stem}.fill.png", model, side, i, "--precision", "f32")


def edit(folder, i, model):
    """A whole job, which pastes what it paints on the mask and a few pixels around it, and writes a JPEG."""
    job = f"{folder}/{i:03d}.edit"
    if not os.path.exists(f"{job}/edited.jpg"):
        os.makedirs(job, exist_ok=True)
        for kind, name in (("photo", "original.jpg"), ("mask", "mask_auto.png")):  # its contents count, not its name
            shutil.copy(f"{folder}/{i:03d}.{kind}.png", f"{job}/{name}")
        run_program("edit", job, "--models", model, "--seed", str(i), "--precision", "f32")
    return np.array(Image.open(f"{job}/edited.jpg"))


def run_product(folder, count, model, side):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for f in [pool.submit(fill_case, folder, i, model, side) for i in range(count)] + \
                [pool.submit(edit, folder, i, model) for i in range(count)]:
            f.result()


def patch_match(photo, mask):
    from patchmatch import patch_match as p
    return p.inpaint(photo, mask.astype(np.uint8), patch_size=5)


def mean_of_ring(photo, mask):
    out = photo.copy()
    ring = cv2.dilate(mask.astype(np.uint8), np.ones((17, 17))).astype(bool) & ~mask
    out[mask] = photo[ring].mean(0)
    return out


METHODS = {
    "OpenCV Telea, radius 5": lambda photo, mask: cv2.inpaint(photo, mask.astype(np.uint8), 5, cv2.INPAINT_TELEA),
    "OpenCV Navier-Stokes, radius 5": lambda photo, mask: cv2.inpaint(photo, mask.astype(np.uint8), 5, cv2.INPAINT_NS),
    "PatchMatch, patches of 5": patch_match,
    "mean colour of the ring": mean_of_ring,
}


def gradient(im):
    im = im.astype(np.float32)
    return np.abs(np.diff(im, axis=1))[:-1].sum(-1) + np.abs(np.diff(im, axis=0))[:, :-1].sum(-1)


def steps_at_edge(im, mask):
    im = im.astype(np.float32)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    return np.concatenate([np.abs(im[:, 1:] - im[:, :-1])[across], np.abs(im[1:] - im[:-1])[down]]).mean()


def figures(painted, photo, truth, mask):
    """-> PSNR in dB, gradient inside : ring, extra step in levels."""
    result = np.where(mask[..., None], painted, photo)
    error = (result.astype(np.float32) - truth)[mask]
    psnr = 10 * np.log10(65025 / max((error ** 2).mean(), 0.01))
    ring = (cv2.dilate(mask.astype(np.uint8), np.ones((25, 25))) > 0) & ~mask
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) > 0
    share = gradient(result)[inner[:-1, :-1]].mean() / max(gradient(truth)[ring[:-1, :-1]].mean(), 0.5)
    return psnr, share, steps_at_edge(result, mask) - steps_at_edge(truth, mask)


def table(rows):
    """rows: (method, case, psnr, share, extra) -> lines of Markdown."""
    lines = ["| | PSNR in the mask, dB: mean / median / worst tenth | gradient inside : ring, median "
             "| extra step at the edge, levels, mean |", "| --- | --- | --- | --- |"]
    for method in dict.fromkeys(r[0] for r in rows):
        f = np.array([r[2:] for r in rows if r[0] == method])
        lines.append(f"| {method} | {f[:, 0].mean():.2f} / {np.median(f[:, 0]):.2f} / {np.percentile(f[:, 0], 10):.2f} "
                     f"| {np.median(f[:, 1]):.2f} | {f[:, 2].mean():.1f} |")
    return lines


def score(out, model, count, size, say):
    folder, rows, began = f"{out}/cases-{size}", [], time.monotonic()
    names = write_cases(folder, FIRST_CASE, count, size)
    run_product(folder, count, model, size)
    say(f"{count} cases painted, {time.monotonic() - began:.0f} s")
    for i in range(count):
        photo, truth, mask = read(folder, i, "photo"), read(folder, i, "truth"), read(folder, i, "mask") > 127
        painted = {f"**the demo model**, whole job (`edit`), {STEPS} steps": edit(folder, i, model),
                   "the demo model, bare (`fill`)": read(folder, i, "fill")}
        painted.update((name, method(photo, mask)) for name, method in METHODS.items())
        rows += [(name, i, *figures(p, photo, truth, mask)) for name, p in painted.items()]
        if i % 20 == 19:
            say(f"{i + 1} of {count} cases, {time.monotonic() - began:.0f} s")
    with open(f"{out}/score.csv", "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["method", "case", "ground", "psnr_db", "gradient_ratio", "extra_step_levels"])
        w.writerows([r[0], r[1], names[r[1]], *(f"{v:.3f}" for v in r[2:])] for r in rows)
    for line in table(rows):
        say(line)


def sheet(out, model, size, cases, path, side=160, a_row=4):
    """A contact sheet: photo, the product's result, Telea's, for each case."""
    folder, tiles, telea = f"{out}/cases-{size}", [], METHODS["OpenCV Telea, radius 5"]
    for i in cases:
        photo, mask = read(folder, i, "photo"), read(folder, i, "mask") > 127
        results = [photo, np.where(mask[..., None], edit(folder, i, model), photo), telea(photo, mask)]
        tiles.append(np.concatenate([np.array(Image.fromarray(r).resize((side, side), Image.LANCZOS)) for r in results], 1))
    rows = [np.concatenate(tiles[i:i + a_row], 1) for i in range(0, len(tiles) - a_row + 1, a_row)]
    Image.fromarray(np.concatenate(rows)).save(path, quality=78)


def write_golden(model, folder, count=5, side=256, small=64):
    """The cases of test/unit/models/fill/test_demo_model.c, and what the plain backend paints of the first, small."""
    os.makedirs(folder, exist_ok=True)
    for i in range(count):
        clean, _, mask, _ = scenes.case(FIRST_GOLDEN + i, (side, side))
        pictures.save(clean, f"{folder}/{i}.truth.png", optimize=True)
        pictures.save(mask, f"{folder}/{i}.mask.png", optimize=True)
    fill(f"{folder}/0.truth.png", f"{folder}/0.mask.png", f"{folder}/painted.png", model, small, 0, "--backend", "plain")


def before_and_after(out, model, path):
    """The picture of the README: the demo's photo, what is marked in it, what the product makes of it before it becomes a
    JPEG, and the difference, times 20."""
    folder = f"{out}/photo"
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["build/demo-inputs", folder], check=True)
    run_program("edit", folder, "--models", model, "--png")
    photo, edited, mask = (np.array(Image.open(f"{folder}/{n}")) for n in ("original.jpg", "edited.png", "mask_auto.png"))
    marked = np.where(mask[..., None] > 127, 0.45 * photo + 0.55 * np.array([235, 50, 120]), photo).astype(np.uint8)
    difference = np.minimum(20 * np.abs(photo.astype(int) - edited), 255).astype(np.uint8)
    across, down = np.full((photo.shape[0], 8, 3), 255, np.uint8), np.full((8, 2 * photo.shape[1] + 8, 3), 255, np.uint8)
    rows = [np.concatenate([a, across, b], 1) for a, b in ((photo, marked), (edited, difference))]
    Image.fromarray(np.concatenate([rows[0], down, rows[1]])).save(path, quality=88)


def curve(table, path, size=(720, 320)):
    """The loss of pixels over the steps, on a logarithmic scale, from transformer.csv."""
    with open(table, encoding="ascii") as f:
        points = [(int(r[0]), float(r[4]), r[1]) for r in csv.reader(f)]
    last, low, high = points[-1][0], min(p[1] for p in points), max(p[1] for p in points)
    left, top, w, h = 56, 16, size[0] - 72, size[1] - 56
    im = Image.new("RGB", size, "white")
    d = ImageDraw.Draw(im)
    at = lambda step, loss: (left + w * step / last, top + h * (1 - np.log(loss / low) / np.log(high / low)))  # noqa: E731
    for loss in (0.1, 0.2, 0.3, 0.5, 1.0, 2.0):
        if low <= loss <= high:
            d.line([at(0, loss), at(last, loss)], fill=(225, 225, 225))
            d.text((16, at(0, loss)[1] - 6), f"{loss:g}", fill=(90, 90, 90))
    for (step, loss, _), (step2, loss2, side) in zip(points, points[1:]):
        d.line([at(step, loss), at(step2, loss2)], fill=CURVE_COLOURS[side], width=2)
    for step in range(0, last + 1, 2000):
        d.text((left + w * step / last - 12, size[1] - 32), str(step), fill=(90, 90, 90))
    for i, (side, colour) in enumerate(CURVE_COLOURS.items()):
        d.text((left + w - 170, top + 8 + 16 * i), f"crops of {side} pixels", fill=colour)
    im.save(path)
