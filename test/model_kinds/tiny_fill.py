"""A FLUX.1-Fill transformer of 2 + 2 blocks whose every weight is a small integer times a power of two, and the files
that it can be packed into.

Such a weight is the same number in F32, F16, BF16, both fp8 types and every block type of GGUF, so that all files of one
model must give the same velocity, bit for bit. Standard library only; sizes are those of test/golden/small where a text
encoder meets the transformer, and 256 columns where a block of 256 needs them.
"""
import itertools
import json
import random
import struct
from array import array

HEAD, HIDDEN, DOUBLE, SINGLE, CONTEXT, POOLED, OUT, SINUSOID = 32, 32, 2, 2, 64, 128, 64, 256
FILL, DEV, CANNY, FLEX = 384, 64, 128, 196  # columns of img_in
LONG = ("time_in.in_layer.weight", "guidance_in.in_layer.weight")  # matrices whose rows fill blocks of 256
GRID, TOKENS = (2, 3), 5
IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


class Tensor:
    """Values integers[i] * 2 ** -places, row-major."""

    def __init__(self, shape, integers, places):
        self.shape, self.integers, self.places = tuple(shape), integers, places

    def rows(self, start, stop):
        size = len(self.integers) // self.shape[0]
        return Tensor((stop - start, *self.shape[1:]), self.integers[start * size:stop * size], self.places)

    def then(self, other):
        """This one's rows, and after them the other's."""
        return Tensor((self.shape[0] + other.shape[0], *self.shape[1:]), self.integers + other.integers, self.places)

    def swapped(self):
        half = self.shape[0] // 2
        return self.rows(half, 2 * half).then(self.rows(0, half))

    def values(self):
        unit = 2.0 ** -self.places
        return [v * unit for v in self.integers]


# ---- the model

def shapes(inputs=FILL, guidance=True):
    """BFL's names and shapes, in the order of the published files."""
    d, found = HIDDEN, {}

    def linear(name, rows, cols):
        found[f"{name}.weight"], found[f"{name}.bias"] = (rows, cols), (rows,)

    for name, cols in (("img_in", inputs), ("txt_in", CONTEXT)):
        linear(name, d, cols)
    for name, cols in (("time_in", SINUSOID), ("vector_in", POOLED), *((("guidance_in", SINUSOID),) if guidance else ())):
        linear(f"{name}.in_layer", d, cols)
        linear(f"{name}.out_layer", d, d)
    for block, part in itertools.product(range(DOUBLE), ("img", "txt")):
        start = f"double_blocks.{block}.{part}_"
        linear(f"{start}mod.lin", 6 * d, d)
        linear(f"{start}attn.qkv", 3 * d, d)
        found |= {f"{start}attn.norm.{x}_norm.scale": (HEAD,) for x in ("query", "key")}
        linear(f"{start}attn.proj", d, d)
        linear(f"{start}mlp.0", 4 * d, d)
        linear(f"{start}mlp.2", d, 4 * d)
    for block in range(SINGLE):
        start = f"single_blocks.{block}."
        linear(f"{start}linear1", 7 * d, d)
        linear(f"{start}linear2", d, 5 * d)
        found |= {f"{start}norm.{x}_norm.scale": (HEAD,) for x in ("query", "key")}
        linear(f"{start}modulation.lin", 3 * d, d)
    linear("final_layer.linear", OUT, d)
    linear("final_layer.adaLN_modulation.1", 2 * d, d)
    return found


def count(shape):
    n = 1
    for side in shape:
        n *= side
    return n


def model(inputs=FILL, guidance=True, seed=13):
    """-> {BFL's name: Tensor}; no value is zero."""
    drawn, made = random.Random(seed), {}
    for name, shape in shapes(inputs, guidance).items():
        integers = [k for k in range(-7, 8) if k]
        places = 5 if len(shape) > 1 and shape[1] <= 64 else 6
        if name in LONG:
            integers = [-2, -1, 1]  # what two bits hold
        elif name.endswith("_norm.scale"):
            integers, places = [5, 6, 7, 8, 10, 12], 3
        made[name] = Tensor(shape, drawn.choices(integers, k=count(shape)), places)
    return made


def of_iq4(tensors, seed=14):
    """The model with values of the non-linear types in its long matrices."""
    drawn = random.Random(seed)
    return tensors | {name: Tensor(tensors[name].shape, drawn.choices(IQ4, k=count(tensors[name].shape)), 12) for name in LONG}


def norms_called_weight(tensors):
    return {name.replace("_norm.scale", "_norm.weight"): t for name, t in tensors.items()}


def prefixed(prefix, tensors):
    return {prefix + name: t for name, t in tensors.items()}


def module_names():
    """BFL's name of a module, and diffusers' names of what its rows are, with their numbers in units of HIDDEN."""
    yield "img_in", [("x_embedder", None)]
    yield "txt_in", [("context_embedder", None)]
    for ours, theirs in (("time_in", "timestep"), ("vector_in", "text"), ("guidance_in", "guidance")):
        for way, n in (("in", 1), ("out", 2)):
            yield f"{ours}.{way}_layer", [(f"time_text_embed.{theirs}_embedder.linear_{n}", None)]
    for i in range(DOUBLE):
        b, d = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        for part, ctx, qkv, proj, added in (("img", "", "to_{}", "to_out.0", ""), ("txt", "_context", "add_{}_proj", "to_add_out", "added_")):
            yield f"{b}{part}_mod.lin", [(f"{d}norm1{ctx}.linear", None)]
            yield f"{b}{part}_attn.qkv", [(f"{d}attn.{qkv.format(x)}", 1) for x in "qkv"]
            yield f"{b}{part}_attn.proj", [(f"{d}attn.{proj}", None)]
            yield f"{b}{part}_mlp.0", [(f"{d}ff{ctx}.net.0.proj", None)]
            yield f"{b}{part}_mlp.2", [(f"{d}ff{ctx}.net.2", None)]
            for x, name in (("q", "query"), ("k", "key")):
                yield f"{b}{part}_attn.norm.{name}_norm", [(f"{d}attn.norm_{added}{x}", None)]
    for i in range(SINGLE):
        b, d = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        yield f"{b}modulation.lin", [(f"{d}norm.linear", None)]
        yield f"{b}linear1", [*((f"{d}attn.to_{x}", 1) for x in "qkv"), (f"{d}proj_mlp", 4)]
        yield f"{b}linear2", [(f"{d}proj_out", None)]
        for x, name in (("q", "query"), ("k", "key")):
            yield f"{b}norm.{name}_norm", [(f"{d}attn.norm_{x}", None)]
    yield "final_layer.linear", [("proj_out", None)]
    yield "final_layer.adaLN_modulation.1", [("norm_out.linear", None)]


def diffusers(tensors):
    """The same tensors under diffusers' names: q, k, v apart, the halves of the last modulation swapped."""
    made = {}
    for ours, theirs in module_names():
        for kind in ("weight", "bias", "scale"):
            t, at = tensors.get(f"{ours}.{kind}"), 0
            if t is None:
                continue
            for name, units in theirs:
                rows = units * HIDDEN if units else t.shape[0]
                made[f"{name}.{'bias' if kind == 'bias' else 'weight'}"] = t.rows(at, at + rows)
                at += rows
    for kind in ("weight", "bias"):
        made[f"norm_out.linear.{kind}"] = made[f"norm_out.linear.{kind}"].swapped()
    return made


# ---- values as bytes

def fp8(exponent_bits, bias):
    """{value: its byte} of an fp8 type."""
    mantissa_bits, made = 7 - exponent_bits, {}
    for byte in range(256):
        exponent, mantissa = byte >> mantissa_bits & (1 << exponent_bits) - 1, byte & (1 << mantissa_bits) - 1
        magnitude = (mantissa + (1 << mantissa_bits if exponent else 0)) * 2.0 ** (max(exponent, 1) - bias - mantissa_bits)
        made.setdefault(-magnitude if byte & 128 else magnitude, bytes([byte]))
    return made


E4M3, E5M2 = fp8(4, 7), fp8(5, 15)


def exact(value, packed, unpacked):
    assert unpacked == value, f"{value} cannot be stored exactly"
    return packed


def as_float(kind, value):
    if kind == "F8_E4M3":
        return E4M3[value]
    if kind == "F8_E5M2":
        return E5M2[value]
    if kind == "BF16":
        packed = struct.pack("<f", value)[2:]
        return exact(value, packed, struct.unpack("<f", b"\0\0" + packed)[0])
    form = {"F32": "<f", "F16": "<e"}[kind]
    packed = struct.pack(form, value)
    return exact(value, packed, struct.unpack(form, packed)[0])


def half(value):
    return as_float("F16", value)


def nibbles(low, high):
    return bytes(a | b << 4 for a, b in zip(low, high, strict=True))


def bits(values, bit):
    """Bit `bit` of 8 values a byte, the first lowest."""
    return bytes(sum((v >> bit & 1) << i for i, v in enumerate(values[at:at + 8])) for at in range(0, len(values), 8))


def q8_0(v, unit):
    return half(unit) + array("b", v).tobytes()


def q4(v, offset):
    q = [k + offset for k in v]
    return nibbles(q[:16], q[16:])


def q4_0(v, unit):
    return half(unit) + q4(v, 8)


def q4_1(v, unit):
    return half(unit) + half(-8 * unit) + q4(v, 8)


def five(v):
    q = [k + 16 for k in v]
    return bits(q, 4) + nibbles([k & 15 for k in q[:16]], [k & 15 for k in q[16:]])


def q5_0(v, unit):
    return half(unit) + five(v)


def q5_1(v, unit):
    return half(unit) + half(-16 * unit) + five(v)


def quarters(q):
    """Two bits of 256 values, as Q2_K and Q3_K order them."""
    return bytes(sum(q[128 * n + 32 * j + at] << 2 * j for j in range(4)) for n in range(2) for at in range(32))


def q2_k(v, unit):
    return bytes([1 | 2 << 4] * 16) + quarters([k + 2 for k in v]) + half(unit) + half(unit)


def q3_k(v, unit):
    high = bytes(sum((v[128 * n + 32 * j + at] >= 0) << 4 * n + j for n in range(2) for j in range(4)) for at in range(32))
    return high + quarters([k & 3 for k in v]) + bytes([0x11] * 8 + [0xaa] * 4) + half(unit)  # scales 33 - 32


def six_bits(scale, least):
    """Eight equal scales and minima below 64, packed as Q4_K and Q5_K do."""
    return bytes([scale | scale >> 4 << 6] * 4 + [least | least >> 4 << 6] * 4 + [scale & 15 | (least & 15) << 4] * 4)


def pairs(q):
    return b"".join(nibbles(q[at:at + 32], q[at + 32:at + 64]) for at in range(0, 256, 64))


def q4_k(v, unit):
    return half(unit) + half(unit) + six_bits(1, 8) + pairs([k + 8 for k in v])


def q5_k(v, unit):
    q = [k + 16 for k in v]
    high = bytes(sum((q[32 * s + at] >> 4) << s for s in range(8)) for at in range(32))
    return half(unit) + half(unit) + six_bits(1, 16) + high + pairs([k & 15 for k in q])


def q6_k(v, unit):
    q, low, high = [k + 32 for k in v], b"", b""
    for n in (0, 128):
        groups = [q[n + 32 * g:n + 32 * g + 32] for g in range(4)]
        low += b"".join(nibbles([k & 15 for k in groups[g]], [k & 15 for k in groups[g + 2]]) for g in range(2))
        high += bytes(sum((groups[g][at] >> 4) << 2 * g for g in range(4)) for at in range(32))
    return low + high + bytes([1] * 16) + half(unit)


def iq4_nl(v, unit):
    q = [IQ4.index(k) for k in v]
    return half(unit) + nibbles(q[:16], q[16:])


def iq4_xs(v, unit):  # all scales 33 - 32
    q = [IQ4.index(k) for k in v]
    blocks = b"".join(nibbles(q[at:at + 16], q[at + 16:at + 32]) for at in range(0, 256, 32))
    return half(unit) + b"\xaa\xaa" + b"\x11" * 4 + blocks


BLOCKS = {"Q8_0": (32, q8_0), "Q4_0": (32, q4_0), "Q4_1": (32, q4_1), "Q5_0": (32, q5_0), "Q5_1": (32, q5_1), "Q2_K": (256, q2_k),
          "Q3_K": (256, q3_k), "Q4_K": (256, q4_k), "Q5_K": (256, q5_k), "Q6_K": (256, q6_k), "IQ4_NL": (32, iq4_nl),
          "IQ4_XS": (256, iq4_xs)}
GGUF_TYPES = {"F32": 0, "F16": 1, "BF16": 30, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12,
              "Q5_K": 13, "Q6_K": 14, "IQ2_XXS": 16, "IQ4_NL": 20, "IQ4_XS": 23, "I8": 24, "MXFP4": 39}


def as_bytes(t, kind):
    unit = 2.0 ** -t.places
    if kind not in BLOCKS:
        packed = {k: as_float(kind, k * unit) for k in set(t.integers)}
        return b"".join(map(packed.__getitem__, t.integers))
    size, block = BLOCKS[kind]
    return b"".join(block(t.integers[at:at + size], unit) for at in range(0, len(t.integers), size))


class Stored:
    """A tensor as a file holds it."""

    def __init__(self, name, kind, shape, data):
        self.name, self.kind, self.shape, self.data = name, kind, tuple(shape), data


def stored(tensors, kind, vectors=None):
    """Tensors in one type, or in kind(name, tensor)."""
    def of(name, t):
        if callable(kind):
            return kind(name, t)
        return vectors if vectors and len(t.shape) == 1 else kind
    kinds = {name: of(name, t) for name, t in tensors.items()}
    return [Stored(name, kinds[name], t.shape, as_bytes(t, kinds[name])) for name, t in tensors.items()]


def floats(name, values, shape=None, kind="F32"):
    return Stored(name, kind, [len(values)] if shape is None else shape, b"".join(as_float(kind, v) for v in values))


def changed(stores, name, data=None, **fields):
    """The same with other bytes, or another shape or kind, of one tensor."""
    def change(s):
        if s.name != name:
            return s
        return Stored(fields.get("name", s.name), fields.get("kind", s.kind), fields.get("shape", s.shape), s.data if data is None else data(s.data))
    assert any(s.name == name for s in stores), name
    return [change(s) for s in stores]


# ---- files

def safetensors(stores, metadata=None):
    """Names may be there twice, which no dictionary has."""
    head, at = ([f'"__metadata__":{json.dumps(metadata)}'] if metadata else []), 0
    for s in stores:
        entry = {"dtype": s.kind, "shape": list(s.shape), "data_offsets": [at, at + len(s.data)]}
        head.append(f"{json.dumps(s.name)}:{json.dumps(entry)}")
        at += len(s.data)
    said = ("{" + ",".join(head) + "}").encode()
    said += b" " * (-len(said) % 8)
    return struct.pack("<Q", len(said)) + said + b"".join(s.data for s in stores)


def read_safetensors(data):
    """-> {name: (kind, shape, bytes)}"""
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__", None)
    return {name: (e["dtype"], tuple(e["shape"]), data[8 + n + e["data_offsets"][0]:8 + n + e["data_offsets"][1]]) for name, e in head.items()}


def text(value, order="<"):
    data = value.encode()
    return struct.pack(order + "Q", len(data)) + data


def pair(key, value, order="<"):
    """A key and its value: text, an array of i32, or (type, struct's letter, number)."""
    if isinstance(value, str):
        return text(key, order) + struct.pack(order + "I", 8) + text(value, order)
    if isinstance(value, list):
        return text(key, order) + struct.pack(f"{order}IIQ{len(value)}i", 9, 5, len(value), *value)
    kind, letter, number = value
    return text(key, order) + struct.pack(f"{order}I{letter}", kind, number)


def u16(n):
    return 2, "H", n


def u32(n):
    return 4, "I", n


def i32(n):
    return 5, "i", n


PLAIN_PAIRS = {"general.architecture": "flux", "general.quantization_version": u32(2)}


def gguf(stores, pairs_of_file=None, version=3, order="<", alignment=32):
    entries = dict(PLAIN_PAIRS if pairs_of_file is None else pairs_of_file)
    if alignment != 32:
        entries["general.alignment"] = u32(alignment)
    counts = "II" if version == 1 else "QQ"
    head = b"GGUF" + struct.pack(f"{order}I{counts}", version, len(stores), len(entries))
    head += b"".join(pair(k, v, order) for k, v in entries.items())
    at, data = 0, []
    for s in stores:
        head += text(s.name, order) + struct.pack(f"{order}I{len(s.shape)}Q", len(s.shape), *reversed(s.shape))
        head += struct.pack(order + "IQ", GGUF_TYPES[s.kind], at)
        data.append(s.data + bytes(-len(s.data) % alignment))
        at += len(data[-1])
    return head + bytes(-len(head) % alignment) + b"".join(data)


def family(letter, quant):
    """Which type a tensor of a GGUF gets. A: in- and output F32, other global matrices BF16; B: global ones F32; C: all
    alike. Vectors are F32, and so are rows that no block fits into, where converters take F16."""
    def kind(name, t):
        if len(t.shape) == 1:
            return "F32"
        inner = name.startswith(("double", "single")) or letter == "C"
        if not inner and quant not in ("F32", "F16", "BF16"):
            wide = name.startswith(("img_in", "time_in.in", "vector_in.in", "guidance_in.in", "final_layer.linear"))
            return "F32" if wide or letter == "B" else "BF16"
        return quant if t.shape[1] % BLOCKS.get(quant, (1,))[0] == 0 else "F16"
    return kind


def long_only(quant):
    """A block type in the long matrices alone, whose values fit it."""
    return lambda name, t: quant if name in LONG else "F32" if len(t.shape) == 1 else "F16"


def call(inputs=FILL, seed=15):
    """The file that `transformer` takes."""
    drawn, n = random.Random(seed), GRID[0] * GRID[1]

    def noise(name, *shape):
        return Stored(name, "F32", shape, array("f", [drawn.gauss(0, 1) for _ in range(count(shape))]).tobytes())
    return safetensors([noise("hidden_states", n, inputs), noise("encoder_hidden_states", TOKENS, CONTEXT), noise("pooled", POOLED)],
                       {"sigma": "0.75", "guidance": "30", "grid": f"{GRID[0]}x{GRID[1]}"})
