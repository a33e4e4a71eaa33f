#!/usr/bin/env python3
"""golden_lora.py: makes small LoRAs in every style of names, and what diffusers computes with each of them.

    python3 scripts/golden_lora.py test/golden/small test/golden/lora

The base is the F32 transformer of a golden set with its case transformer.safetensors. LoRAs that diffusers reads are
loaded by its own FluxFillPipeline.load_lora_weights, so that alphas, padding, the conversion of names and the swapped
halves of norm_out are diffusers' own. What it does not read (BFL's names with lora_A, layers outside of blocks in kohya's
names, .diff) is merged here by the formula W + scale * alpha / r * B A, in double precision.

NAME.safetensors is a LoRA. expected.safetensors has, for each case, `CASE.velocity` [5, 64], the first tokens of what the
transformer gives with it (adapters active, not merged), and `CASE.rows.TENSOR` for each tensor of BFL's names that it
changes: of rows n/2 - 1 and n - 1 of W' every third value, 32 at most (of a bias those two values). Its metadata has, for
each case, the files with their scales ("peft.safetensors:0.7,kohya.safetensors:1") and the names of the changed tensors.
diffusers multiplies kohya's matrices with alpha / r in the type of the file; here that is a power of two where diffusers
is asked, so that it rounds nothing.

    torch 2.13.0 (CPU), diffusers 0.42.1, peft 0.21.2, transformers 5.24.0, and what golden.py needs
"""
import inspect
import json
import pathlib
import sys

import gguf
import golden
import torch
from diffusers import FluxFillPipeline, FluxTransformer2DModel
from diffusers.loaders import lora_conversion_utils, lora_pipeline
from safetensors.torch import load_file, save_file
from safetensors import safe_open

S = {"double": 2, "single": 2, "norm": "scale"}
HIDDEN, MLP = 64, 256


def conversion_for_small_models():
    """diffusers' conversion of kohya's names knows the real widths only; the same function with those of the small set."""
    text = inspect.getsource(lora_conversion_utils._convert_kohya_flux_lora_to_diffusers)
    assert "[3072, 3072, 3072, 12288]" in text
    text = text.replace("[3072, 3072, 3072, 12288]", str([HIDDEN] * 3 + [MLP]))
    scope = vars(lora_conversion_utils)
    exec(text, scope)
    lora_pipeline._convert_kohya_flux_lora_to_diffusers = scope["_convert_kohya_flux_lora_to_diffusers"]


def base_of(folder):
    """The transformer of the set, and its tensors under BFL's names."""
    flux = FluxTransformer2DModel(
        patch_size=1, in_channels=384, out_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=32,
        num_attention_heads=2, joint_attention_dim=64, pooled_projection_dim=128, guidance_embeds=True,
        axes_dims_rope=(4, 14, 14)).eval().requires_grad_(False)
    reader = gguf.GGUFReader(folder / "models/flux1-fill-F32.gguf")
    bfl = {t.name: torch.from_numpy(t.data.copy()).reshape([int(n) for n in t.shape[::-1]]) for t in reader.tensors}
    flux.load_state_dict(golden.diffusers_names(bfl, golden.tensors(flux), S))
    return flux, bfl


def velocity(flux, folder):
    path = folder / "cases/transformer.safetensors"
    case = load_file(path)
    with safe_open(path, "pt") as f:
        said = f.metadata()
    rows, columns = (int(x) for x in said["grid"].split("x"))
    ids = torch.zeros(rows * columns, 3)
    ids[:, 1], ids[:, 2] = torch.arange(rows * columns) // columns, torch.arange(rows * columns) % columns
    out = flux(hidden_states=case["hidden_states"][None], encoder_hidden_states=case["encoder_hidden_states"][None],
               pooled_projections=case["pooled"][None], timestep=torch.tensor([float(said["sigma"])]),
               guidance=torch.tensor([float(said["guidance"])]), img_ids=ids,
               txt_ids=torch.zeros(len(case["encoder_hidden_states"]), 3), return_dict=False)[0][0]
    return out, case["velocity.F32"]


# ---- the LoRAs


def pair(outputs, inputs, rank, dtype):
    """Down and up matrices whose product is about as large as a matrix of the small set, so that no mistake hides."""
    return ((torch.randn(rank, inputs) / inputs ** 0.5).to(dtype), (torch.randn(outputs, rank) * 0.7 / rank ** 0.5).to(dtype))


def lora(layers, names, dtype, prefix="", alpha=None):
    """layers: {module: (outputs, inputs, rank)}; names: the ends of down, up."""
    t = {}
    for i, (module, (outputs, inputs, rank)) in enumerate(layers.items()):
        down, up = pair(outputs, inputs, rank, dtype)
        t |= {prefix + module + names[0]: down, prefix + module + names[1]: up}
        if alpha:
            t[f"{prefix}{module}.alpha"] = torch.tensor(alpha[i % len(alpha)], dtype=dtype)
    return t


PEFT, KOHYA = (".lora_A.weight", ".lora_B.weight"), (".lora_down.weight", ".lora_up.weight")
XLABS = (".down.weight", ".up.weight")


def peft():
    return lora({"x_embedder": (64, 64, 2), "transformer_blocks.0.attn.to_q": (64, 64, 2),
                 "transformer_blocks.0.attn.to_v": (64, 64, 3), "transformer_blocks.1.ff.net.0.proj": (256, 64, 2),
                 "single_transformer_blocks.1.proj_mlp": (256, 64, 2), "single_transformer_blocks.1.attn.to_k": (64, 64, 2),
                 "norm_out.linear": (128, 64, 2)}, PEFT, torch.float16, "transformer."), None


def alphas():
    return lora({"transformer_blocks.1.attn.add_k_proj": (64, 64, 2), "transformer_blocks.1.attn.to_add_out": (64, 64, 3),
                 "transformer_blocks.1.norm1_context.linear": (384, 64, 2),
                 "single_transformer_blocks.0.proj_out": (64, 320, 2), "proj_out": (64, 64, 2)},
                PEFT, torch.float16, "transformer.", [1.0, 4.5, 3.0]), None


def settings():
    layers = {"context_embedder": (64, 64, 2), "transformer_blocks.0.attn.to_out.0": (64, 64, 4),
              "transformer_blocks.1.attn.to_out.0": (64, 64, 4), "single_transformer_blocks.0.attn.to_v": (64, 64, 4)}
    said = {"r": 4, "lora_alpha": 6, "rank_pattern": {"context_embedder": 2}, "use_rslora": True, "bias": "none",
            "alpha_pattern": {"^transformer_blocks.1.attn.to_out.0": 3, "attn.to_v": 10.5}, "target_modules": list(layers)}
    said = {f"transformer.{k}": v for k, v in said.items()}
    return lora(layers, PEFT, torch.float16, "transformer."), {"lora_adapter_metadata": json.dumps(said, indent=2)}


def bias():
    layers = {"transformer_blocks.0.attn.add_v_proj": (64, 64, 2), "single_transformer_blocks.0.proj_mlp": (256, 64, 2),
              "norm_out.linear": (128, 64, 2)}
    t = lora(layers, PEFT, torch.float32, "transformer.", [5.0])
    return t | {f"transformer.{k}.lora_B.bias": 0.3 * torch.randn(n) for k, (n, _, _) in layers.items()}, None


BLOCKS = {"double_blocks.0.img_attn.qkv": (192, 64, 2), "double_blocks.1.txt_attn.proj": (64, 64, 4),
          "double_blocks.0.img_mlp.2": (64, 256, 2), "single_blocks.0.linear1": (448, 64, 2),
          "single_blocks.1.linear2": (64, 320, 2), "single_blocks.1.modulation.lin": (192, 64, 2)}


def underscored(layers):
    return {k.replace(".", "_"): v for k, v in layers.items()}


def kohya():
    return lora(underscored(BLOCKS), KOHYA, torch.bfloat16, "lora_unet_", [1.0, 2.0]), None


def mixed():
    layers = {"x_embedder": (64, 384, 2), "transformer_blocks.0.attn.add_q_proj": (64, 64, 2),
              "single_transformer_blocks.1.attn.to_v": (64, 64, 2), "norm_out.linear": (128, 64, 2),
              "time_text_embed.guidance_embedder.linear_2": (64, 64, 2)}
    return lora(underscored(layers), KOHYA, torch.float16, "lora_transformer_", [1.0, 0.5]), None


def xlabs():
    return lora({"double_blocks.0.processor.qkv_lora1": (192, 64, 2), "double_blocks.1.processor.proj_lora1": (64, 64, 2),
                 "double_blocks.1.processor.qkv_lora2": (192, 64, 2), "double_blocks.0.processor.proj_lora2": (64, 64, 2),
                 "single_blocks.0.processor.qkv_lora": (192, 64, 2), "single_blocks.1.processor.proj_lora": (64, 320, 2)},
                XLABS, torch.bfloat16), None


def comfy():
    return lora({"double_blocks.1.txt_attn.qkv": (192, 64, 2), "double_blocks.0.txt_mod.lin": (384, 64, 2),
                 "single_blocks.1.linear1": (448, 64, 2)}, KOHYA, torch.float16, "diffusion_model.", [0.5]), None


def by_hand():
    layers = {"img_in": (64, 64, 2), "final_layer.adaLN_modulation.1": (128, 64, 2), "vector_in.in_layer": (64, 128, 2),
              "time_in.out_layer": (64, 64, 2), "final_layer.linear": (64, 64, 3)}
    t = lora(underscored(layers), KOHYA, torch.float16, "lora_unet_", [1.0, 3.0])
    return t | {"lora_unet_txt_in.diff": (0.3 * torch.randn(64, 64)).half(),
                "lora_unet_txt_in.diff_b": (0.3 * torch.randn(64)).half(),
                "lora_unet_double_blocks_1_img_attn_qkv.diff_b": (0.3 * torch.randn(192)).half()}, None


def merged_by_hand(bfl, t, names):
    """W + alpha / r * B A in double precision, for keys that begin with lora_unet_ or diffusion_model."""
    out = dict(bfl)
    for module in sorted({k.removesuffix(".weight") for k in bfl}):
        key = next((p for p in ("lora_unet_" + module.replace(".", "_"), "diffusion_model." + module)
                    if any(k.startswith(p + ".") for k in t)), None)
        if key is None:
            continue
        if key + names[0] in t:
            down, up = t[key + names[0]].double(), t[key + names[1]].double()
            delta = t.get(key + ".alpha", torch.tensor(float(len(down)))).double() / len(down) * (up @ down)
            w = bfl[module + ".weight"].double()
            w[:, :delta.shape[1]] += delta
            out[module + ".weight"] = w.float()
        if key + ".diff" in t:
            out[module + ".weight"] = (bfl[module + ".weight"].double() + t[key + ".diff"].double()).float()
        if key + ".diff_b" in t:
            out[module + ".bias"] = (bfl[module + ".bias"].double() + t[key + ".diff_b"].double()).float()
    return out


# ---- cases


def rows_of(w):
    n = len(w)
    some = w[[n // 2 - 1, n - 1]]
    return some[:, ::3][:, :32].contiguous() if w.dim() == 2 else some


def record(expected, said, case, files, found, base, merged):
    changed = sorted(k for k in merged if not torch.equal(merged[k], base[k]))
    assert changed, case
    expected[f"{case}.velocity"] = found[:5].contiguous()
    for k in changed:
        expected[f"{case}.rows.{k}"] = rows_of(merged[k])
    said |= {f"{case}.files": files, f"{case}.tensors": ",".join(changed)}
    print(f"{case}: {len(changed)} tensors")


def by_diffusers(folder, out, files):
    """The velocity with the adapters active, and BFL's tensors after diffusers has fused them."""
    flux, _ = base_of(folder)
    pipe = FluxFillPipeline(scheduler=None, vae=None, text_encoder=None, tokenizer=None, text_encoder_2=None,
                            tokenizer_2=None, transformer=flux)
    loaded = {}
    for i, file in enumerate(files.split(",")):
        name, scale = file.split(":")
        pipe.load_lora_weights(str(out), weight_name=name, adapter_name=f"a{i}")
        loaded[f"a{i}"] = float(scale)
    pipe.set_adapters(list(loaded), list(loaded.values()))
    found, _ = velocity(flux, folder)
    pipe.fuse_lora(adapter_names=list(loaded))
    fused = {k.replace(".base_layer.", "."): v for k, v in golden.tensors(flux).items() if ".lora_" not in k}
    again, _ = velocity(flux, folder)
    print("  active against fused:", ((found - again).norm() / found.norm()).item())
    return found, golden.bfl_names(fused, S)


def main():
    folder, out = (pathlib.Path(x) for x in sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(13)
    torch.set_num_threads(1)
    conversion_for_small_models()
    flux, base = base_of(folder)
    found, official = velocity(flux, folder)
    print("the set's own velocity again:", ((found - official).norm() / official.norm()).item())
    expected, said = {}, {}
    for make in (peft, alphas, settings, bias, kohya, mixed, xlabs, comfy, by_hand):
        t, metadata = make()
        save_file({k: v.contiguous() for k, v in t.items()}, out / f"{make.__name__}.safetensors", metadata)
    # the same tensors under the names that BFL's own trainers give them
    t = {k.replace("lora_down", "lora_A").replace("lora_up", "lora_B"): v
         for k, v in load_file(out / "comfy.safetensors").items()}
    save_file(t, out / "bfl.safetensors")

    for case in ("peft", "alphas", "settings", "bias", "kohya", "mixed", "xlabs", "comfy"):
        files = f"{case}.safetensors:1"
        found, merged = by_diffusers(folder, out, files)
        record(expected, said, case, files, found, base, merged)
    files = "peft.safetensors:0.7,kohya.safetensors:-0.25"
    found, merged = by_diffusers(folder, out, files)
    record(expected, said, "two", files, found, base, merged)
    for case, names in (("bfl", PEFT), ("by_hand", KOHYA)):
        merged = merged_by_hand(base, load_file(out / f"{case}.safetensors"), names)
        flux.load_state_dict(golden.diffusers_names(merged, golden.tensors(flux), S))
        record(expected, said, case, f"{case}.safetensors:1", velocity(flux, folder)[0], base, merged)
    print("comfy against bfl:", ((expected["comfy.velocity"] - expected["bfl.velocity"]).norm() /
                                 expected["bfl.velocity"].norm()).item())
    said["cases"] = ",".join(sorted({k.split(".")[0] for k in expected}))
    said["versions"] = f"torch {torch.__version__}, " + ", ".join(
        f"{m} {golden.importlib.metadata.version(m)}" for m in ("diffusers", "peft", "transformers"))
    save_file(expected, out / "expected.safetensors", said)


if __name__ == "__main__":
    main()
