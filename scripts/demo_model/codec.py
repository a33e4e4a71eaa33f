"""The encoder in closed form: a latent pixel is the projection of 8 x 8 pixels on 16 vectors.

The vectors are the principal components of scenes (no mean is subtracted, so the grey of a hole encodes as exactly 0).
A latent is the coefficient divided by a scale between 1 (colours dominate) and the coefficient's own deviation (detail
counts as much as colour): the square root of the latter, times a constant that gives the latents a mean square of 1.
"""
import torch
import torch.nn.functional as F

PATCH, CHANNELS = 8, 16
# What the product's autoencoder does to latents (AutoencoderKL of FLUX.1): z = (mean - SHIFT) * SCALE.
SCALE, SHIFT = 0.3611, 0.1159


def fit(images):
    """-> the state of a codec for a list of pictures [3, H, W] in 0 to 1 whose sides are multiples of 8."""
    rows = torch.cat([F.unfold(i[None] * 2 - 1, PATCH, stride=PATCH)[0].T for i in images]).double()
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    vectors = vectors.flip(1)[:, :CHANNELS]
    vectors = vectors * vectors.sum(0).sign().where(vectors.sum(0) != 0, torch.ones(()))  # eigh leaves the sign open
    deviation = values.flip(0)[:CHANNELS].clamp_min(1e-12).sqrt()
    scale = deviation ** 0.5
    scale *= ((deviation / scale) ** 2).mean().sqrt()
    return {"vectors": vectors.float().contiguous(), "scale": scale.float()}


class Codec:
    def __init__(self, state, device="cpu"):
        vectors, scale = state["vectors"].to(device), state["scale"].to(device)
        self.down = (vectors / scale).T.reshape(CHANNELS, 3, PATCH, PATCH).contiguous()
        self.up = (vectors * scale).T.reshape(CHANNELS, 3, PATCH, PATCH).contiguous()

    def encode(self, x):
        """x [B, 3, H, W] in -1 to 1 -> latents [B, 16, H / 8, W / 8]."""
        return F.conv2d(x, self.down, stride=PATCH)

    def blocks(self, z):
        """The transposed map: latents, or differences of latents, to pixels. What a decoder can reach at best, in blocks."""
        return F.conv_transpose2d(z, self.up, stride=PATCH)
