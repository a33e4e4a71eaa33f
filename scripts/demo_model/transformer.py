"""FLUX.1-Fill's transformer under Black Forest Labs' tensor names, small, and the pipeline around it: packing, schedule,
sampler. The numbers it must reproduce are in docs/MODEL.md."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

WIDTH, HEAD, MLP, DOUBLE, SINGLE = 192, 32, 512, 1, 5
CONTEXT, POOLED, TEXT_TOKENS = 32, 32, 8
GUIDANCE = 30.0
TEXT_SEED = 20261129


def sinusoid(t):
    """t [B] -> [B, 256]; t is already multiplied by 1000."""
    a = t[:, None] * torch.exp(-math.log(10000) * torch.arange(128, device=t.device) / 128)
    return torch.cat([a.cos(), a.sin()], -1)


def rope_tables(rows, columns, device="cpu"):
    """-> cosines and sines [tokens, HEAD], each value twice, of text tokens at 0 and image tokens at (row, column)."""
    axes = (HEAD // 8, (HEAD - HEAD // 8) // 2, (HEAD - HEAD // 8) // 2)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    image = torch.stack([torch.zeros(rows * columns), y.flatten(), x.flatten()], 1)
    at = torch.cat([torch.zeros(TEXT_TOKENS, 3), image])
    angles = [at[:, i:i + 1] * (10000 ** (-torch.arange(0, n, 2) / n)) for i, n in enumerate(axes)]
    angles = torch.cat(angles, 1).repeat_interleave(2, 1)
    return angles.cos().to(device), angles.sin().to(device)


def rotate(x, tables):
    """Pairs of neighbours turned by their angle."""
    cos, sin = tables
    return x * cos + torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2) * sin


def layer_norm(x):
    return F.layer_norm(x.float(), (x.shape[-1],), eps=1e-6)


class RmsNorm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * self.scale


class QKNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.query_norm, self.key_norm = RmsNorm(HEAD), RmsNorm(HEAD)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.norm, self.proj = nn.Linear(WIDTH, 3 * WIDTH), QKNorm(), nn.Linear(WIDTH, WIDTH)


class Embedder(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(n, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.out_layer(F.silu(self.in_layer(x)))


class Modulation(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.lin, self.n = nn.Linear(WIDTH, n * WIDTH), n

    def forward(self, vec):
        return self.lin(F.silu(vec))[:, None].float().chunk(self.n, -1)


def split_heads(qkv, norm):
    b, n, _ = qkv.shape
    q, k, v = qkv.view(b, n, 3, -1, HEAD).permute(2, 0, 3, 1, 4)
    return norm.query_norm(q), norm.key_norm(k), v


def attend(q, k, v, tables):
    """Written out: for heads this narrow it is faster in bf16 on a CPU than the fused function."""
    q, k = rotate(q, tables) * HEAD ** -0.5, rotate(k, tables)
    weights = torch.softmax((q.to(v.dtype) @ k.to(v.dtype).transpose(-1, -2)).float(), -1)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)


class DoubleBlock(nn.Module):
    def __init__(self):
        super().__init__()
        for stream in ("img", "txt"):
            mlp = nn.Sequential(nn.Linear(WIDTH, MLP), nn.GELU(approximate="tanh"), nn.Linear(MLP, WIDTH))
            for name, part in (("mod", Modulation(6)), ("attn", Attention()), ("mlp", mlp)):
                setattr(self, f"{stream}_{name}", part)

    def forward(self, img, txt, vec, tables):
        im, tm = self.img_mod(vec), self.txt_mod(vec)
        qi = split_heads(self.img_attn.qkv((1 + im[1]) * layer_norm(img) + im[0]), self.img_attn.norm)
        qt = split_heads(self.txt_attn.qkv((1 + tm[1]) * layer_norm(txt) + tm[0]), self.txt_attn.norm)
        o = attend(*(torch.cat([a, b], 2) for a, b in zip(qt, qi)), tables)
        n = txt.shape[1]
        img = img + im[2] * self.img_attn.proj(o[:, n:])
        img = img + im[5] * self.img_mlp((1 + im[4]) * layer_norm(img) + im[3])
        txt = txt + tm[2] * self.txt_attn.proj(o[:, :n])
        txt = txt + tm[5] * self.txt_mlp((1 + tm[4]) * layer_norm(txt) + tm[3])
        return img, txt


class SingleBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(WIDTH, 3 * WIDTH + MLP), nn.Linear(WIDTH + MLP, WIDTH)
        self.norm, self.modulation = QKNorm(), Modulation(3)

    def forward(self, x, vec, tables):
        shift, scale, gate = self.modulation(vec)
        qkv, mlp = self.linear1((1 + scale) * layer_norm(x) + shift).split([3 * WIDTH, MLP], -1)
        o = attend(*split_heads(qkv, self.norm), tables)
        return x + gate * self.linear2(torch.cat([o, F.gelu(mlp, approximate="tanh")], -1))


class FinalLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, 64)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, 2 * WIDTH))

    def forward(self, x, vec):
        shift, scale = self.adaLN_modulation(vec)[:, None].float().chunk(2, -1)
        return self.linear((1 + scale) * layer_norm(x) + shift)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.img_in, self.txt_in = nn.Linear(384, WIDTH), nn.Linear(CONTEXT, WIDTH)
        self.time_in, self.guidance_in, self.vector_in = Embedder(256), Embedder(256), Embedder(POOLED)
        self.double_blocks = nn.ModuleList(DoubleBlock() for _ in range(DOUBLE))
        self.single_blocks = nn.ModuleList(SingleBlock() for _ in range(SINGLE))
        self.final_layer = FinalLayer()
        self.start()
        g = torch.Generator().manual_seed(TEXT_SEED)
        self.register_buffer("text", torch.randn(TEXT_TOKENS, CONTEXT, generator=g), persistent=False)
        self.register_buffer("pooled", torch.randn(POOLED, generator=g), persistent=False)

    @torch.no_grad()
    def start(self):
        """Gates start half open: a run of an hour has no time to open them from zero."""
        for name, p in self.named_parameters():
            if name.endswith("bias") or "mod" in name:
                nn.init.zeros_(p)
            elif p.ndim == 2:
                nn.init.normal_(p, 0, 0.7 / p.shape[1] ** 0.5)
        for b in self.double_blocks:
            for m in (b.img_mod, b.txt_mod):
                for gate in (2, 5):
                    m.lin.bias[gate * WIDTH:(gate + 1) * WIDTH] = 0.5
        for b in self.single_blocks:
            b.modulation.lin.bias[2 * WIDTH:] = 0.5
        self.img_in.weight[:, :128] *= 2  # latents have smaller numbers than the mask's zeros and ones
        self.img_in.weight[:, 128:] *= 0.7
        self.final_layer.linear.weight *= 0.2

    def forward(self, x, condition, sigma, tables):
        """x [B, N, 64], condition [B, N, 320], sigma [B] -> velocity [B, N, 64]."""
        img = self.img_in(torch.cat([x, condition], -1)).float()
        txt = self.txt_in(self.text)[None].expand(x.shape[0], -1, -1).float()
        guidance = torch.full((1,), 1000 * GUIDANCE, device=x.device)
        vec = self.time_in(sinusoid(1000 * sigma)) + self.guidance_in(sinusoid(guidance)) + self.vector_in(self.pooled[None])
        for b in self.double_blocks:
            img, txt = b(img, txt, vec, tables)
        h = torch.cat([txt, img], 1)
        for b in self.single_blocks:
            h = b(h, vec, tables)
        return self.final_layer(h[:, txt.shape[1]:], vec).float()


# ---- the pipeline ----

def pack(z):
    """[B, C, H, W] -> [B, H W / 4, 4 C]: 2 x 2 latents are a token."""
    return F.pixel_unshuffle(z, 2).flatten(2).transpose(1, 2)


def unpack(t, rows, columns):
    return F.pixel_shuffle(t.transpose(1, 2).unflatten(2, (rows, columns)), 2)


def condition(codec, x, mask):
    """x [B, 3, H, W] in -1 to 1, mask [B, 1, H, W] of 0 and 1 -> [B, N, 320]: the picture with its hole, and the mask."""
    return torch.cat([pack(codec.encode(x * (1 - mask))), pack(F.pixel_unshuffle(mask, 8))], -1)


def sigmas(steps, tokens):
    shift = math.exp((tokens - 256) * (1.15 - 0.5) / (4096 - 256) + 0.5)
    s = torch.linspace(1, 1 / steps, steps)
    return torch.cat([shift / (shift + 1 / s - 1), torch.zeros(1)])


@torch.no_grad()
def fill(net, codec, decoder, x, mask, steps, noise):
    """x [B, 3, H, W] in -1 to 1, noise [B, 16, H / 8, W / 8] -> what the model paints, in the form of x."""
    rows, columns = x.shape[2] // 16, x.shape[3] // 16
    tables, c, z = rope_tables(rows, columns, x.device), condition(codec, x, mask), pack(noise)
    s = sigmas(steps, rows * columns).to(x.device)
    for now, after in zip(s, s[1:]):
        z = z + (after - now) * net(z, c, now.expand(x.shape[0]), tables)
    return decoder(unpack(z, rows, columns)).clamp(-1, 1)
