"""Pictures as bytes and files."""
import numpy as np
import torch
from PIL import Image


def to_bytes(im):
    """float [3, H, W] in 0 to 1 -> uint8 of the same shape."""
    return (im * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def to_array(im):
    """float [3, H, W] in 0 to 1 -> uint8 numpy [H, W, 3]."""
    return to_bytes(im).permute(1, 2, 0).cpu().numpy()


def save(im, path, **options):
    """A picture [3, H, W] in 0 to 1, or a mask [H, W] of 0 and 1."""
    a = to_array(im) if im.ndim == 3 else (im.cpu().numpy() * 255).astype(np.uint8)
    Image.fromarray(a).save(path, **options)
