"""Procedural scenes whose ground goes on behind things: the clean picture, a mask, and the picture with a thing to remove.

Everything is drawn from one torch.Generator, so that a seed is a scene. Pictures are float32 [3, H, W] in 0 to 1, masks
[H, W] of 0 and 1; lengths are in pixels, whatever the size of the picture. No detail is finer than 5 pixels, because 16
coefficients for 8 x 8 pixels cannot hold any (codec.py).
"""
import math

import torch
import torch.nn.functional as F

TAU = 2 * math.pi


def uniform(g, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(1, generator=g).item()


def chance(g, p):
    return uniform(g) < p


def choose(g, options):
    return options[int(torch.randint(len(options), (1,), generator=g))]


def grid(size):
    """-> y, x of the pixels' centres; `size` is (height, width)."""
    return torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")


def noise(size, cell, g, wide=1.0, high=1.0):
    """Smooth noise around 0 with a deviation of about 0.8; `cell` pixels from value to value, stretched by wide and high."""
    h, w = (max(2, round(n / (cell * by))) + 3 for n, by in zip(size, (high, wide)))
    scale = (cell * high, cell * wide)
    shift = [torch.rand(1, generator=g).item() * s for s in scale]
    coarse = torch.randn(1, 1, h, w, generator=g)
    full = F.interpolate(coarse, (round(h * scale[0]), round(w * scale[1])), mode="bicubic", align_corners=False)[0, 0]
    y, x = int(shift[0] + scale[0] / 2), int(shift[1] + scale[1] / 2)
    return full[y:y + size[0], x:x + size[1]]


def hash01(ix, iy, salt):
    """A fixed random number in 0 to 1 for each point of an integer lattice."""
    h = (ix.long() * 374761393 + iy.long() * 668265263 + salt * 974634541) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF).float() / 65535


def value_noise(x, y, salt):
    """Noise of 0 to 1 at any coordinates, with a lattice of 1: for grounds in perspective."""
    fx, fy = x.floor(), y.floor()
    tx, ty = x - fx, y - fy
    tx, ty = tx * tx * (3 - 2 * tx), ty * ty * (3 - 2 * ty)
    top = torch.lerp(hash01(fx, fy, salt), hash01(fx + 1, fy, salt), tx)
    return torch.lerp(top, torch.lerp(hash01(fx, fy + 1, salt), hash01(fx + 1, fy + 1, salt), tx), ty)


def joint(phase, half_width):
    """1 on the joints of a periodic coordinate (period 1), with soft edges."""
    phase = phase % 1
    return torch.sigmoid((half_width - torch.minimum(phase, 1 - phase)) * (6 / half_width))


def cells(x, y, size, salt):
    """Voronoi cells on a jittered lattice -> a random value for the cell of each pixel, 1 at its centre to 0 at its border."""
    u, v = x / size, y / size
    iu, iv = u.floor(), v.floor()
    first, second, value = torch.full_like(u, 9.0), torch.full_like(u, 9.0), torch.zeros_like(u)
    for dv in (-1, 0, 1):
        for du in (-1, 0, 1):
            cu, cv = iu + du, iv + dv
            px, py = cu + 0.15 + 0.7 * hash01(cu, cv, salt), cv + 0.15 + 0.7 * hash01(cu, cv, salt + 1)
            d = ((u - px) ** 2 + (v - py) ** 2).sqrt()
            nearer = d < first
            second = torch.where(nearer, first, torch.minimum(second, d))
            value = torch.where(nearer, hash01(cu, cv, salt + 2), value)
            first = torch.where(nearer, d, first)
    return value, ((second - first) * 2.2).clamp(0, 1)


# ---- grounds: each returns a height, around 0, that runs through its palette from dark to light ----

class Frame:
    """Coordinates of one ground: p, q are x, y turned and moved at random."""

    def __init__(self, size, g):
        self.size = size
        self.y, self.x = grid(size)
        angle = uniform(g, -0.4, 0.4) + (math.pi / 2 if chance(g, 0.5) else 0)
        c, s = math.cos(angle), math.sin(angle)
        self.p = c * self.x + s * self.y + uniform(g, 0, 997)
        self.q = c * self.y - s * self.x + uniform(g, 0, 997)
        self.broad = noise(size, 90, g)
        self.salt = int(torch.randint(1 << 20, (1,), generator=g))


def grass(f, g):
    return noise(f.size, 6, g, 0.9, 1.5) * 0.28 + noise(f.size, 22, g) * 0.25 + f.broad * 0.4


def gravel(f, g):
    value, inner = cells(f.x, f.y, uniform(g, 15, 24), f.salt)
    return (value - 0.5) * 0.9 + (inner - 0.6) * 0.9 + f.broad * 0.3


def sand(f, g):
    wave = (f.p / uniform(g, 24, 52)) + noise(f.size, 70, g) * uniform(g, 0.05, 0.2)
    return torch.sin(wave * TAU) * uniform(g, 0.3, 0.8) + noise(f.size, 12, g) * 0.1 + f.broad * 0.35


def tiles(f, g):
    across, down = uniform(g, 40, 92), uniform(g, 40, 92)
    if chance(g, 0.6):
        down = across
    v = f.q / down
    u = f.p / across + (v.floor() % 2) * choose(g, (0.0, 0.0, 0.5))
    tone = hash01(u.floor(), v.floor(), f.salt) - 0.5
    width = uniform(g, 2.2, 3.6)
    lines = torch.maximum(joint(u, width / across), joint(v, width / down))
    return 0.5 + tone * choose(g, (0.0, 0.3, 0.8)) + f.broad * 0.2 + noise(f.size, 16, g) * 0.08 - uniform(g, 1.2, 2.6) * lines


def planks(f, g):
    width = uniform(g, 36, 76)
    u = f.p / width
    tone = hash01(u.floor(), torch.zeros_like(u), f.salt) - 0.5
    grain = noise(f.size, 8, g, 0.8, 5.0) if abs(f.p[0, 1] - f.p[0, 0]) > 0.7 else noise(f.size, 8, g, 5.0, 0.8)
    return 0.2 + tone * 1.1 + grain * 0.13 + f.broad * 0.2 - uniform(g, 1.6, 2.4) * joint(u, uniform(g, 2.2, 3.2) / width)


def snow(f, g):
    return noise(f.size, 34, g) * 0.3 + f.broad * 0.8 + noise(f.size, 160, g) * 0.4


def leaves(f, g):
    value, inner = cells(f.p + 5 * noise(f.size, 30, g), f.q * uniform(g, 1.0, 1.6), uniform(g, 24, 38), f.salt)
    return (value - 0.5) * 1.0 + (inner - 0.6) * 0.5 + f.broad * 0.3


def carpet(f, g):
    period = uniform(g, 22, 44)
    rib = torch.sin(f.p / period * TAU)
    if chance(g, 0.4):
        rib = rib * torch.sin(f.q / (period * uniform(g, 1.0, 1.6)) * TAU) * 1.2
    return rib * uniform(g, 0.5, 1.1) + noise(f.size, 10, g) * 0.1 + f.broad * 0.25


GROUNDS = {  # name: (height, [dark, light] colours)
    "grass": (grass, ((0.22, 0.38, 0.12), (0.48, 0.64, 0.26))), "gravel": (gravel, ((0.40, 0.38, 0.36), (0.74, 0.72, 0.68))),
    "sand": (sand, ((0.70, 0.58, 0.40), (0.91, 0.81, 0.63))), "tiles": (tiles, ((0.46, 0.40, 0.37), (0.80, 0.75, 0.68))),
    "planks": (planks, ((0.36, 0.22, 0.13), (0.68, 0.48, 0.30))), "snow": (snow, ((0.78, 0.83, 0.90), (0.97, 0.98, 1.00))),
    "leaves": (leaves, ((0.42, 0.24, 0.10), (0.80, 0.56, 0.24))), "carpet": (carpet, ((0.36, 0.28, 0.46), (0.62, 0.54, 0.70))),
}


def paint(name, size, g):
    """One ground over the whole picture."""
    height, palette = GROUNDS[name]
    f = Frame(size, g)
    t = torch.sigmoid(height(f, g) * 1.5)[None]
    dark, light = (torch.tensor(c)[:, None, None] for c in palette)
    tint = (torch.rand(3, generator=g) - 0.5) * choose(g, (0.06, 0.14, 0.3))
    return dark + (light - dark) * t + tint[:, None, None]


def colour(*c):
    return torch.tensor(c)[:, None, None]


def step(low, high, x):
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def meadow(size, g):
    """Grass up to a hazy ridge under the sky, in perspective: the ground of the demo's photo (test/tools/demo_inputs.c)."""
    y, x = grid(size)
    horizon = uniform(g, -0.6, 0.5) * size[0] if chance(g, 0.6) else -uniform(g, 60, 300)
    unit, salt = 128.0, int(torch.randint(1 << 20, (1,), generator=g))
    depth = ((y - horizon) / (1.4 * unit + uniform(g, 0, 0.7) * unit)).clamp(0, 1)
    bend = (value_noise(x / 13, y / 13, salt + 2) - 0.5) * 10 * depth  # so that the lattice below does not show
    across, down = x - size[1] / 2 + bend, y - horizon + 0.7 * bend
    blade = value_noise(across / (5.5 + 3 * depth) + 4096, down / (6 + 7 * depth) + 64, salt) - 0.5
    tuft = value_noise(across / (18 + 12 * depth) + 4096, down / (12 + 12 * depth) + 64, salt + 1) - 0.5
    patch = noise(size, 80, g, 1.3, 0.8) * 0.35
    near, far = colour(0.35, 0.52, 0.17), colour(0.55, 0.66, 0.30)
    green = (far + (near - far) * depth) * (1 + (0.12 + 0.22 * depth) * (blade + 0.8 * tuft) + 0.35 * patch)
    green = green * (1 + (torch.rand(3, 1, 1, generator=g) - 0.5) * 0.16)
    sky = colour(0.62, 0.78, 0.93) + colour(0.26, 0.14, 0.0) * step(horizon - 2.2 * unit, horizon - 0.2 * unit, y)
    ridge = horizon - unit * (0.2 + 0.12 * torch.sin(x / unit * uniform(g, 0.8, 1.4) + uniform(g, 0, 6)))
    back = sky + (colour(0.42, 0.55, 0.40) - sky) * step(ridge - 1.5, ridge + 1.5, y)
    return back + (green - back) * step(horizon - 2, horizon + 4, y + 4 * blade)


# ---- things ----

def disc(y, x, centre, radii, angle=0.0):
    """-> u, v (inside: u u + v v < 1) and the distance from the centre in radii."""
    c, s = math.cos(angle), math.sin(angle)
    u = ((x - centre[0]) * c + (y - centre[1]) * s) / radii[0]
    v = ((y - centre[1]) * c - (x - centre[0]) * s) / radii[1]
    return u, v, (u * u + v * v).sqrt()


def ball(im, g, centre, radii):
    """-> the picture with a shaded ellipse and its shadow, and what a person would mark of it."""
    y, x = grid(im.shape[1:])
    angle = uniform(g, 0, math.pi) if chance(g, 0.5) else 0.0
    u, v, d = disc(y, x, centre, radii, angle)
    low = max(radii) if angle else radii[1]
    _, _, shade = disc(y, x, (centre[0] + 0.1 * radii[0], centre[1] + 0.8 * low), (radii[0] * 1.1, low * 0.35))
    cover = torch.sigmoid((1 - d) * min(radii) * 1.6)
    tone = torch.rand(3, generator=g)[:, None, None]
    body = (tone * (1.05 - 0.3 * u - 0.35 * v) + 0.5 * torch.exp(-9 * ((u + 0.35) ** 2 + (v + 0.4) ** 2))).clamp(0, 1)
    im = im * (1 - 0.4 * (1.3 - shade).clamp(0, 1))
    mask = (d < 1 + uniform(g, 4, 9) / min(radii)) | (shade < 1.3)
    return im * (1 - cover) + body * cover, mask.float()


def cord(im, g, points, half_width):
    """-> the picture with a bent line through three points [3, 2], and its mask."""
    t = torch.linspace(0, 1, 96)[:, None]
    curve = (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t * t * points[2]
    y, x = grid((-(-im.shape[1] // 4), -(-im.shape[2] // 4)))
    d = ((x[..., None] * 4 - curve[:, 0]) ** 2 + (y[..., None] * 4 - curve[:, 1]) ** 2).amin(-1).sqrt()
    d = F.interpolate(d[None, None], scale_factor=4, mode="bilinear", align_corners=False)[0, 0, :im.shape[1], :im.shape[2]]
    cover = torch.sigmoid((half_width - d) * 1.5)
    tone = torch.rand(3, generator=g)[:, None, None] * (0.85 + 0.15 * torch.sin(d))
    return im * (1 - cover) + tone * cover, (d < half_width + uniform(g, 3, 8)).float()


def add_thing(im, g, within=256):
    """One thing at a random place of a square of `within` pixels -> the picture with it, and its mask."""
    h, w = im.shape[1:]
    within = min(within, h, w)
    corner = torch.tensor([uniform(g, 0, w - within), uniform(g, 0, h - within)])
    if chance(g, 0.35):
        return cord(im, g, corner + (torch.rand(3, 2, generator=g) * 1.2 - 0.1) * within, uniform(g, 2.5, 6))
    small = 14.0
    radii = [small * (58 / small) ** uniform(g) for _ in range(2)]
    if max(radii) > 2.2 * min(radii):
        radii[0] = radii[1] = (radii[0] * radii[1]) ** 0.5
    centre = corner + within * (0.1 + 0.8 * torch.rand(2, generator=g))
    return ball(im, g, centre.tolist(), radii)


def scene(size, g):
    """A ground, often a second one behind a straight border, in soft light, sometimes with a thing that stays."""
    name = "meadow" if chance(g, 0.16) else choose(g, tuple(GROUNDS))
    im = meadow(size, g) if name == "meadow" else paint(name, size, g)
    y, x = (2 * c / n - 1 for c, n in zip(grid(size), size))
    if name != "meadow" and chance(g, 0.5):
        slope, offset = uniform(g, -0.5, 0.5), uniform(g, -0.8, 0.4)
        side = (y - slope * x - offset) if chance(g, 0.75) else (x - slope * y - offset)
        front = torch.sigmoid(side * uniform(g, 0.06, 0.25) * size[0] / 2)
        back = paint(choose(g, tuple(GROUNDS)), size, g) if chance(g, 0.7) else \
            colour(0.62, 0.78, 0.93) + colour(0.2, 0.1, 0.0) * (y + 1) / 2
        im = im * front + back * (1 - front)
    im = im * (1 + 0.2 * (x * uniform(g, -1, 1) + y * uniform(g, -1, 1))) * (1 + 0.08 * noise(size, 170, g))
    im = im.clamp(0, 1)
    while chance(g, 0.25):
        im = add_thing(im, g)[0].clamp(0, 1)
    return im, name


def masks(size, g):
    """A mask for training: what add_thing marks, for one thing or a few."""
    blank = torch.full((3, *size), 0.5)
    while True:
        m = add_thing(blank, g)[1]
        while chance(g, 0.35):
            m = torch.maximum(m, add_thing(blank, g)[1])
        if 0.004 < m.mean() < 0.5:
            return m


def case(seed, size=(512, 512)):
    """A case to judge by -> the clean picture, the picture with one thing or two, their mask, the ground's name."""
    g = torch.Generator().manual_seed(seed)
    clean, name = scene(size, g)
    while True:
        photo, mask = add_thing(clean, g)
        if chance(g, 0.5):
            photo, more = add_thing(photo, g)
            mask = torch.maximum(mask, more)
        if 1500 < mask.sum() < 0.3 * mask.numel():
            return clean, photo.clamp(0, 1), mask, name
