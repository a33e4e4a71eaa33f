"""LoRAs for the model of tiny_fill.py, and that model with them merged by hand.

Their values are small integers times powers of two, too, so that W + scale * (alpha / r) * B A is a number without any
rounding, and is written as F32. Standard library only.
"""
import random

import tiny_fill as fill
from tiny_fill import HIDDEN, Stored, Tensor, floats, stored

PLACES = 12  # of merged values
FEW = ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.add_v_proj", "transformer_blocks.1.ff.net.2",
       "single_transformer_blocks.0.attn.to_k", "single_transformer_blocks.1.proj_mlp", "single_transformer_blocks.1.proj_out")
OF_XLABS = ("double_blocks.0.img_attn.qkv", "double_blocks.1.txt_attn.qkv", "double_blocks.0.txt_attn.proj", "double_blocks.1.img_attn.proj")
FUSED = ("double_blocks.0.img_attn.qkv", "double_blocks.1.txt_mlp.0", "single_blocks.1.linear1", "single_blocks.0.modulation.lin")


class Change:
    """Of one layer, by diffusers' name or by BFL's: B A, with the rows of BFL's matrix that it belongs to."""

    def __init__(self, module, tensors, rank=4, inputs=None):
        self.module, self.rank = module, rank
        self.ours, self.first, n_rows, self.swapped = place_of(module)
        rows, cols = tensors[self.ours + ".weight"].shape
        drawn = random.Random(module)
        self.rows, self.cols = n_rows or rows, inputs or cols
        self.a = Tensor((rank, self.cols), drawn.choices((-2, -1, 1, 2), k=rank * self.cols), 4)
        self.b = Tensor((self.rows, rank), drawn.choices((-2, -1, 1, 2), k=rank * self.rows), 3)

    def merged(self, t, factor):
        """The matrix t with factor * B A added; columns that A does not have stay."""
        rows, cols = t.shape
        integers = [v << PLACES - t.places for v in t.integers]
        unit = int(factor * 2 ** (PLACES - self.a.places - self.b.places))
        assert unit == factor * 2 ** (PLACES - self.a.places - self.b.places)
        for i in range(self.rows):
            row = (i + rows // 2) % rows if self.swapped else self.first + i
            for k in range(self.rank):
                b = self.b.integers[i * self.rank + k] * unit
                for j, a in enumerate(self.a.integers[k * self.cols:(k + 1) * self.cols]):
                    integers[row * cols + j] += a * b
        return Tensor(t.shape, integers, PLACES)


def place_of(module):
    """-> BFL's module, the first of its rows, their number (None: all), and whether its halves are swapped"""
    for ours, theirs in fill.module_names():
        at = 0
        for name, units in theirs:
            if name == module:
                return ours, at * HIDDEN, units and units * HIDDEN, module == "norm_out.linear"
            at += units or 0
    return module, 0, None, False


def changes(modules, rank=4, inputs=None):
    tensors = fill.model()
    return [Change(module, tensors, rank, inputs) for module in modules]


def merged(made, factor=1.0):
    """The model's tensors with all changes."""
    tensors = fill.model()
    for c in made:
        tensors[c.ours + ".weight"] = c.merged(tensors[c.ours + ".weight"], factor)
    return tensors


def peft(c):
    return f"transformer.{c.module}", "lora_A", "lora_B"


def peft_of_another_adapter(c):
    return f"base_model.model.{c.module}", "lora_A.default", "lora_B.default"


def kohya(c):
    return "lora_unet_" + c.module.replace(".", "_"), "lora_down", "lora_up"


def bfl(c):
    return f"diffusion_model.{c.module}", "lora_A", "lora_B"


def xlabs(c):
    block, module = c.module.rsplit(".", 2)[0], c.module.split(".", 2)[2]
    part, which = module.split("_attn.")
    return f"{block}.processor.{which}_lora{1 if part == 'img' else 2}", "down", "up"


def every_module(naming=lambda tensors: tensors):
    """The names of all layers that are matrices."""
    return [name.removesuffix(".weight") for name, t in naming(fill.model()).items() if len(t.shape) == 2]


def lora(made, naming, alpha=None, kind="BF16"):
    """The tensors of a LoRA's file."""
    out = []
    for c in made:
        layer, down, up = naming(c)
        out += stored({f"{layer}.{down}.weight": c.a, f"{layer}.{up}.weight": c.b}, kind)
        out += [floats(f"{layer}.alpha", [alpha], ())] if alpha else []
    return out


def of_another_rank(stores):
    """The last B has other columns than its A has rows."""
    last = stores[-1]
    return [*stores[:-1], Stored(last.name, last.kind, (last.shape[0] // 2, last.shape[1] * 2), last.data)]


def renamed(stores, old, new):
    return [Stored(s.name.replace(old, new), s.kind, s.shape, s.data) for s in stores]
