"""What the program makes of each kind of file that people have in a model folder: one row of a table each.

A row's files are made in a folder of their own. Either they are accepted, and then the transformer's velocity is that of
the same model in one plain F32 file, bit for bit where no rounding is in question; or they are refused, with status 1 and
one line that names the file and has the row's words in it. Rows of whole folders must also give the same picture.
`model_kinds.py [parts of names]` runs some. Standard library only.
"""
import collections
import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
import model_files as files
import model_loras as loras
import tiny_fill as fill
from harness import PROGRAM, Suite, equal, mask_png, once, photo_png, run_suites
from model_files import BIAS, FILE, FINAL, GGUF, QKV, bf16, model, one, one_gguf
from tiny_fill import Stored, changed, family, floats, long_only, prefixed, stored

SECONDS = 60  # a program that waits for a pipe never ends
REMEDY = r"\b(take|fetch|name|use|put|remove|convert|download|delete|set|get|copy|needs?|needed)\b"

Kind = collections.namedtuple("Kind", "name make words within reference says options command", defaults=(None, 0.0, None, None, (), "transformer"))


def plain():
    return one(stored(model(), "F32"))


def accepted(name, make, **how):
    """within: the relative error that is allowed; reference: what makes the files to compare with; says: a pattern of a
    line about what was not used; options: more of the command, where MODELS stands for the folder."""
    return Kind(name, make, **{"reference": plain, **how})


def refused(name, make, *words, **how):
    return Kind(name, make, words, **how)


def relative(name, make, *words):
    """A transformer of the same family, which `transformer` calls and a job must not."""
    return Kind(name, lambda: make() | files.encoders_and_vae(), (*words, "Fill"), command="fill")


# ---- the table

def of(kind, tensors=None, **how):
    """A safetensors file of one type."""
    return lambda: one(stored(tensors() if tensors else model(), kind, **how))


def ggml(kind, **how):
    return lambda: one_gguf(stored(model(), kind), **how)


def beside(tensor, kind="BF16"):
    """The model and one tensor more."""
    return lambda: one([*stored(model(), kind), tensor()])


def scaled(*args, **how):
    return lambda: one(files.scaled_fp8(*args, **how))


def diffusers():
    return fill.diffusers(model())


PLAIN = [accepted(f"bfl_names_in_{kind.lower()}", of(kind)) for kind in ("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")] + [
    accepted("bfl_names_with_vectors_in_f32", of("BF16", vectors="F32")),
    accepted("fp8_matrices_with_vectors_in_bf16", of("F8_E4M3", vectors="BF16")),
    accepted("names_that_begin_with_model_diffusion_model", of("BF16", lambda: prefixed("model.diffusion_model.", model()))),
    accepted("names_that_begin_with_diffusion_model", of("BF16", lambda: prefixed("diffusion_model.", model()))),
    accepted("a_merged_checkpoint_with_other_networks", lambda: one(stored(prefixed("model.diffusion_model.", model()), "BF16") + [
        floats("vae.decoder.conv_in.bias", [1.0] * 64), floats("text_encoders.clip_l.logit_scale", [4.5], ())])),
    accepted("norm_scales_called_weight", of("BF16", lambda: fill.norms_called_weight(model()))),
    accepted("metadata_of_a_tool", lambda: one(bf16(), metadata={"modelspec.architecture": "flux-1-dev", "format": "pt"})),
    accepted("a_file_whose_ending_is_in_capitals", lambda: one(bf16(), "FLUX1-FILL-DEV.SAFETENSORS")),
    accepted("a_gguf_whose_ending_is_in_capitals", lambda: one_gguf(stored(model(), "F32"), "FLUX1-FILL-DEV.GGUF")),
    accepted("a_file_among_thousands", lambda: one(bf16()) | {f"notes-{i}.safetensors": b"" for i in range(1500)}),
    accepted("a_file_named_sft", lambda: one(bf16(), "flux1-fill-dev.sft")),
    accepted("a_second_and_smaller_file", lambda: ggml(family("A", "Q8_0"))() | one_gguf(stored(fill.model(seed=99), family("A", "Q4_0")), "a.gguf")),
    accepted("tensors_in_the_opposite_order", lambda: one(bf16()[::-1])),
    accepted("unused_tensors_of_no_layer", lambda: one([*bf16(), floats("model_ema.decay", [0.5], ()), floats("extra.note.weight", [1.0] * 8)]),
             says=r"\b2\b.*(not used|unused|ignored)|(not used|unused|ignored).*\b2\b"),
]
DIFFUSERS = [accepted(f"diffusers_names_in_{kind.lower()}", of(kind, diffusers)) for kind in ("F32", "BF16", "F8_E4M3")] + [
    accepted("diffusers_names_in_their_folder", lambda: one(stored(diffusers(), "BF16"), "transformer/diffusion_pytorch_model.safetensors")),
    accepted("diffusers_index_of_2_shards", lambda: files.sharded(stored(diffusers(), "BF16"), 2)),
    accepted("diffusers_index_of_3_shards", lambda: files.sharded(stored(diffusers(), "F16"), 3)),
    accepted("diffusers_index_whose_shards_divide_a_layer", lambda: files.sharded(stored(diffusers(), "BF16"), 3, by=files.by_turns)),
    accepted("diffusers_names_in_several_types", of(lambda name, t: ("F32", "F16", "BF16")[sum(map(ord, name)) % 3], diffusers)),
    accepted("diffusers_index_of_a_variant", lambda: files.sharded(stored(diffusers(), "BF16"), 2, name="diffusion_pytorch_model.bf16")),
    accepted("diffusers_index_as_save_pretrained_names_a_variants", lambda: files.of_a_variant(files.sharded(stored(diffusers(), "F16"), 3))),
    accepted("a_variant_beside_a_plain_index", lambda: files.of_a_variant(files.sharded(stored(diffusers(), "F16"), 3)) | files.sharded(stored(diffusers(), "F16"), 2)),
    refused("diffusers_index_of_a_variant_without_a_shard", lambda: without("00002-of", lambda: files.of_a_variant(files.sharded(stored(diffusers(), "F16"), 3)))(),
            "00002-of-00003", "index.fp16.json"),
    accepted("diffusers_index_in_the_folder_itself", lambda: files.sharded(stored(diffusers(), "BF16"), 2, folder="")),
    accepted("bfl_index_of_2_shards", lambda: files.sharded(bf16(), 2, folder="", name="flux1-fill-dev")),
    accepted("diffusers_names_in_a_gguf", lambda: one_gguf(stored(diffusers(), family("C", "Q8_0")))),
    accepted("diffusers_names_in_scaled_fp8", scaled("weight_scale", change=fill.diffusers)),
]
GGUFS = [accepted(f"gguf_of_family_{letter.lower()}_in_{kind.lower()}", ggml(family(letter, kind)))
         for letter, kinds in (("A", ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")), ("B", ("Q4_0", "Q8_0")), ("C", ("Q4_0", "Q5_1", "Q8_0")))
         for kind in kinds] + [
    accepted(f"gguf_with_matrices_in_{kind.lower()}", ggml(long_only(kind))) for kind in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")] + [
    accepted(f"gguf_with_matrices_in_{kind.lower()}", lambda kind=kind: one_gguf(stored(fill.of_iq4(model()), long_only(kind))),
             reference=lambda: one(stored(fill.of_iq4(model()), "F32"))) for kind in ("IQ4_NL", "IQ4_XS")] + [
    accepted("gguf_with_vectors_in_f16", ggml(lambda name, t: "F16" if len(t.shape) == 1 else "Q8_0")),
    accepted("gguf_with_vectors_in_blocks", ggml(lambda name, t: "Q8_0" if "_norm." not in name else "F32")),
    accepted("gguf_without_an_architecture", ggml(family("C", "Q8_0"), pairs_of_file={})),
    accepted("gguf_of_the_architecture_pig", ggml(family("A", "Q8_0"), pairs_of_file={"general.architecture": "pig"})),
    accepted("gguf_of_version_2", ggml(family("A", "Q8_0"), version=2)),
    accepted("gguf_with_an_alignment_of_64", ggml(family("A", "Q8_0"), alignment=64)),
    accepted("gguf_with_a_prefix", lambda: one_gguf(stored(prefixed("model.diffusion_model.", model()), "Q8_0"))),
    accepted("gguf_in_3_parts", files.split_gguf),
    accepted("gguf_in_3_parts_whose_first_is_named", files.split_gguf, options=("--transformer", "flux1-fill-00001-of-00003.gguf")),
    accepted("gguf_that_keeps_a_shape_of_f16_apart", lambda: files.reshaped_gguf("F16")),
    accepted("gguf_that_keeps_a_shape_of_q8_0_apart", lambda: files.reshaped_gguf("Q8_0")),
    refused("gguf_that_keeps_a_wrong_shape_apart", lambda: files.reshaped_gguf("F16", [32, 385]), "img_in.weight", "shape"),
    refused("gguf_that_keeps_a_shape_below_zero_apart", lambda: files.reshaped_gguf("F16", [-32, -384]), "img_in.weight", "shape"),
]
SCALED = [
    accepted("fp8_with_scale_weight", scaled("scale_weight", marker=True)),
    accepted("fp8_with_scale_weight_and_scale_input", scaled("scale_weight", (1,), input_scale="scale_input", marker=True)),
    accepted("fp8_with_weight_scale_and_input_scale", scaled("weight_scale", input_scale="input_scale")),
    accepted("fp8_with_weight_scale_in_bf16", scaled("weight_scale", scale_kind="BF16")),
    accepted("fp8_with_weight_scale_in_f16", scaled("weight_scale", scale_kind="F16")),
    accepted("fp8_with_weight_scale_of_1_by_1", scaled("weight_scale", (1, 1))),
    accepted("fp8_with_weight_scale_a_row", scaled("weight_scale", "rows")),
    accepted("fp8_with_weight_scale_a_row_as_a_column", scaled("weight_scale", "columns")),
    accepted("fp8_with_weight_scale_inv_a_block", scaled("weight_scale_inv", "blocks")),
    accepted("fp8_with_weight_scale_inv_a_tensor", scaled("weight_scale_inv")),
    accepted("fp8_with_scale", scaled("scale")),
    accepted("fp8_e5m2_with_scale_weight", scaled("scale_weight", kind="F8_E5M2", marker=True)),
    accepted("fp8_e5m2_with_scales_that_use_its_range", lambda: one(files.widened(files.scaled_fp8("scale_weight", kind="F8_E5M2", marker=True)))),
    accepted("fp8_with_scales_and_a_prefix", scaled("weight_scale", start="model.diffusion_model.")),
    accepted("fp8_with_a_scale_that_rounds", files.odd_scale, reference=files.odd_scale_in_f32, within=1e-5),
    accepted("fp8_with_comfy_quant", lambda: one(files.comfy_quant())),
]
SCALE = QKV + "_scale"


def a_scale(value, **fields):
    """One of the scales in an fp8 file is another."""
    return lambda: one(changed(files.scaled_fp8("weight_scale"), SCALE, lambda _: value, **fields))


NOT_UNDERSTOOD = [
    refused(f"{name}_beside_{kind.lower()}", beside(lambda name=name, n=n: floats(f"double_blocks.1.img_attn.qkv.{name}", [0.5] * n), kind), rf"qkv\.{name}")
    for kind, name, n in (("BF16", "scale_weight", 1), ("BF16", "weight_scale", 1), ("F16", "weight_scale_inv", 1),
                          ("BF16", "lora_A.weight", 8), ("BF16", "some_new_thing", 1), ("F8_E4M3", "weight_zero_point", 1))] + [
    refused("absmax_beside_bf16", beside(lambda: floats(QKV + ".absmax", [0.5] * 4)), r"qkv\.weight\.absmax|NF4"),
    refused("fp8_scale_of_another_shape", a_scale(struct.pack("<7f", *[0.5] * 7), shape=(7,)), SCALE)] + [
    refused(f"fp8_scale_that_is_{what}", a_scale(struct.pack("<f", value)), SCALE)
    for what, value in (("nan", math.nan), ("infinite", math.inf), ("huge", 1e20), ("zero", 0.0))]
SHORT = "unfinished|incomplete|missing|short|beyond"
KEY_NORM = "single_blocks.0.norm.key_norm.scale"
DAMAGE = [
    refused("nan_in_a_bias", lambda: one(changed(bf16(), BIAS, files.put(40, b"\xc0\x7f"))), BIAS, "NaN"),
    refused("infinity_in_a_bias", lambda: one(changed(bf16(), BIAS, files.put(40, b"\x80\x7f"))), BIAS, r"infinit|\binf\b"),
    refused("nan_in_a_matrix", lambda: one(changed(bf16(), QKV, files.put(0, b"\xc0\x7f"))), QKV),
    refused("a_huge_value_in_a_matrix", lambda: one(changed(bf16(), QKV, files.put(0, b"\x80\x70"))), QKV),
    refused("a_huge_value_anywhere_in_a_matrix", lambda: one(changed(bf16(), QKV, files.put(3210, b"\x80\x70"))), QKV),
    refused("nan_anywhere_in_a_matrix", lambda: one(changed(bf16(), QKV, files.put(3210, b"\xc0\x7f"))), QKV),
    refused("nan_in_the_scale_of_a_block", lambda: files.with_f16_scale(math.nan), QKV),
    refused("infinity_in_the_scale_of_a_block", lambda: files.with_f16_scale(math.inf), QKV),
    refused("a_huge_scale_of_a_block", lambda: files.with_f16_scale(60000.0), QKV),
    refused("a_huge_scale_of_a_block_of_q4_0", lambda: files.with_f16_scale(60000.0, kind="Q4_0", at=18 * 77), QKV),
    refused("safetensors_with_zeros_from_the_middle_on", lambda: files.zeroed(one(bf16()), 0.5, 1), "zeros", "fetch"),
    refused("safetensors_with_zeros_in_the_last_tenth", lambda: files.zeroed(one(bf16()), 0.9, 1), "zeros", "fetch"),
    refused("safetensors_with_a_hole", lambda: files.zeroed(one(bf16()), 0.4, 0.5), "zeros", "fetch"),
    refused("gguf_with_zeros_from_the_middle_on", lambda: files.zeroed(ggml(family("A", "Q8_0"))(), 0.5, 1), "zeros", "fetch"),
    refused("gguf_with_a_hole", lambda: files.zeroed(ggml(family("A", "F16"))(), 0.6, 0.7), "zeros", "fetch"),
    refused("fp8_with_zeros_from_the_middle_on", lambda: files.zeroed(of("F8_E4M3")(), 0.5, 1), "zeros", "fetch"),
    refused("a_zero_norm_scale", lambda: one(changed(bf16(), KEY_NORM, lambda d: bytes(len(d)))), KEY_NORM),
    refused("a_zero_matrix", lambda: one(changed(bf16(), FINAL, lambda d: bytes(len(d)))), FINAL),
    refused("safetensors_cut_in_half", lambda: files.cut(one(bf16()), 150000), SHORT, "fetch"),
    refused("safetensors_one_byte_short", lambda: files.cut(one(bf16()), 1), SHORT, "fetch"),
    refused("gguf_cut_in_half", lambda: files.cut(ggml(family("A", "Q8_0"))(), 150000), SHORT, "fetch"),
    refused("gguf_one_byte_short", lambda: files.cut(ggml(long_only("Q4_K"))(), 32), SHORT, "fetch"),
    refused("a_tensor_is_missing", lambda: one([s for s in bf16() if s.name != QKV]), QKV, "missing"),
    refused("a_tensor_of_another_shape", lambda: one(changed(bf16(), QKV, shape=(32, 96))), QKV, "shape"),
    refused("a_tensor_of_integers", lambda: one(changed(bf16(), BIAS, lambda d: d * 2, kind="I32")), BIAS, "I32"),
    refused("a_tensor_twice_in_a_file", lambda: one([*bf16(), bf16()[3]]), "twice|more than once|duplicate"),
]
ABSENT = "missing|not there|not beside|no such"


def without(part, make):
    return lambda: {name: data for name, data in make().items() if part not in name}


def two_shards(**how):
    return files.sharded(bf16(), 2, **how)


def index(change):
    return lambda: files.with_index(two_shards(), change)


def first():
    return bf16()[0].name


PARTS = [
    refused("index_that_lists_a_missing_shard", without("00002-of", lambda: files.sharded(bf16(), 3)), "00002-of-00003", ABSENT),
    refused("index_that_leaves_its_folder", index(lambda i: files.moved(i, QKV, "../elsewhere.safetensors")), "index.json", r"\.\./elsewhere"),
    refused("index_that_is_no_object", index(lambda i: [i]), "index.json"),
    refused("index_without_a_map", index(lambda i: {"metadata": {}}), "index.json", "weight_map"),
    refused("index_that_is_cut_off", lambda: {n: d[:-20] if n.endswith("json") else d for n, d in two_shards().items()}, "index.json"),
    refused("index_that_names_another_shard", index(lambda i: files.moved(i, first(), i["weight_map"][bf16()[-1].name])), "img_in.weight"),
    refused("index_whose_shards_share_a_tensor", lambda: two_shards(also=[(1, bf16()[0])]), "img_in.weight"),
    refused("gguf_in_3_parts_without_the_second", lambda: files.split_gguf(without=1), "00002-of-00003|2 of 3|part 2|1 of its 3", ABSENT),
    refused("gguf_in_3_parts_without_the_first", lambda: files.split_gguf(without=0), "00001-of-00003|1 of 3|part 1|first part|1 of its 3"),
    refused("gguf_in_3_parts_whose_second_is_named", files.split_gguf, "00001-of-00003|first",
            options=("--transformer", "flux1-fill-00002-of-00003.gguf")),
]
OTHERS = [
    relative("dev", lambda: files.other_inputs(fill.DEV), r"FLUX\.1-dev", r"\b64\b", r"\b384\b"),
    relative("schnell", lambda: files.other_inputs(fill.DEV, guidance=False), "schnell"),
    relative("canny_or_depth", lambda: files.other_inputs(fill.CANNY), "Canny", r"\b128\b"),
    relative("flex_2", lambda: files.other_inputs(fill.FLEX), r"Flex\.2", r"\b196\b"),
    relative("dev_under_diffusers_names", lambda: one(stored(fill.diffusers(fill.model(fill.DEV)), "BF16")), r"FLUX\.1-dev"),
    relative("dev_as_a_gguf", lambda: one_gguf(stored(fill.model(fill.DEV), family("A", "Q8_0"))), r"FLUX\.1-dev"),
    refused("chroma", files.chroma, "Chroma", "Fill"),
    refused("flux_2", files.flux_2, r"FLUX\.2", "Fill"),
    refused("a_t5_encoder", lambda: files.linked("text_encoder_2/model.safetensors", "t5xxl_fp16.safetensors"), "T5"),
    refused("clip", lambda: files.linked("text_encoder/model.safetensors", "clip_l.safetensors"), "CLIP"),
    refused("a_vae", lambda: files.linked("ae.safetensors", "ae.safetensors"), "autoencoder|VAE"),
    refused("a_lora", files.lora_only, "LoRA", "LORAS|--lora"),
    refused("nf4", files.nf4, "NF4|bitsandbytes", "GGUF|BF16"),
    refused("svdquant", files.svdquant, "SVDQuant|nunchaku", "GGUF|BF16"),
    refused("quanto", files.quanto, "quanto|8-bit integers|int8|8 bits", "GGUF|BF16"),
    refused("gguf_with_iq2", lambda: files.unread_gguf("IQ2_XXS", 66, 256), "IQ2_XXS", "Q8_0|Q4_K"),
    refused("gguf_with_mxfp4", lambda: files.unread_gguf("MXFP4", 17, 32), "MXFP4", "Q8_0|Q4_K"),
    refused("gguf_of_version_1", lambda: one_gguf(bf16(), version=1), "version 1|GGUF.*1"),
    refused("gguf_of_a_big_endian_machine", lambda: one_gguf(bf16(), order=">"), "big-endian"),
    refused("gguf_of_another_architecture", lambda: one_gguf(stored(prefixed("blk.0.", model()), "Q8_0"), pairs_of_file={"general.architecture": "llama"}),
            "llama|language model"),
    refused("a_web_page", lambda: {FILE: files.HTML}, "web page|HTML", "fetch|download"),
    refused("a_pointer_of_git_lfs", lambda: {FILE: files.LFS}, "LFS", "fetch|pull|download"),
    refused("a_pickle", lambda: {"flux1-fill.pt": files.zipped_pickle()}, "pickle|PyTorch|torch"),
    refused("a_pickle_by_another_name", lambda: {FILE: files.zipped_pickle()}, "pickle|PyTorch|torch|zip"),
    refused("an_empty_file", lambda: {FILE: b""}, "empty|0 bytes"),
    refused("an_empty_gguf", lambda: {GGUF: b""}, "empty|0 bytes"),
    refused("a_pipe", lambda: {GGUF: os.mkfifo}, "pipe|regular file"),
    refused("a_folder_with_the_name_of_a_file", lambda: {GGUF: os.mkdir}, "folder|directory"),
    refused("a_link_that_leads_nowhere", lambda: {GGUF: files.link("/nowhere/at/all.gguf")}, "link|no such file"),
    refused("text_in_a_gguf", lambda: {GGUF: b"model weights go here\n" * 300}, "GGUF|safetensors"),
    refused("an_empty_folder", dict, "no transformer"),
    refused("a_larger_unfinished_file_beside_a_whole_one", lambda: one(bf16(), "a.safetensors") | files.cut(one(stored(model(), "F32"), "b.safetensors"), 9999),
            SHORT, r"b\.safetensors"),
    refused("shards_without_their_index", lambda: without("index.json", lambda: files.sharded(stored(diffusers(), "BF16"), 2))(), "index.json", "not beside"),
    accepted("fill_beside_every_other_kind", files.every_other_kind),
]

def with_lora(make_lora, kind="F32", scale="", base=None, metadata=None):
    """Options and a folder whose LoRA they name."""
    def make():
        return {**(base or of(kind))(), "loras/removal.safetensors": fill.safetensors(make_lora(), metadata)}
    return make, ("--lora", "MODELS/loras/removal.safetensors" + scale)


def merges(name, modules, naming, alpha=None, factor=1.0, rank=4, inputs=None, stored_as="BF16", also=(), **how):
    """A row in which a LoRA is accepted: the velocity is that of the model that was merged by hand."""
    def made():
        return loras.changes(modules, rank, inputs)
    make, options = with_lora(lambda: [*loras.lora(made(), naming, alpha, stored_as), *also], **how)
    return accepted(name, make, options=options, within=1e-5, reference=lambda: one(stored(loras.merged(made(), factor), "F32")))


def unfit(name, make_lora, *words, **how):
    make, options = with_lora(make_lora, **how)
    return refused(name, make, *words, options=options)


def few(naming=loras.peft):
    return loras.lora(loras.changes(loras.FEW), naming)


def unfinished(part):
    """A LoRA of which only the first part has arrived."""
    whole = b"".join(s.data for s in few())
    data, out = whole[:int(len(whole) * part) | 1].ljust(len(whole), b"\0"), []
    for s in few():
        out.append(Stored(s.name, s.kind, s.shape, data[:len(s.data)]))
        data = data[len(s.data):]
    return out


def of_an_adapter(**said):
    """What diffusers writes into a LoRA's metadata."""
    return {"lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in said.items()})}


def of_a_text_encoder(value):
    layer = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    return [floats(f"{layer}.lora_down.weight", [0.5] * 64, (2, 32)), floats(f"{layer}.lora_up.weight", [value] * 64, (32, 2))]


LORAS = [
    merges("lora_of_peft", loras.FEW, loras.peft),
    merges("lora_of_peft_with_an_alpha_of_half_its_rank", loras.FEW, loras.peft, alpha=2.0, factor=0.5),
    merges("lora_of_peft_with_a_scale", loras.FEW, loras.peft, scale=":0.5", factor=0.5),
    merges("lora_of_peft_with_a_scale_below_zero", loras.FEW, loras.peft, scale=":-1", factor=-1.0),
    merges("lora_of_peft_with_an_adapters_name", loras.FEW, loras.peft_of_another_adapter),
    merges("lora_of_peft_of_rank_1", loras.FEW, loras.peft, rank=1),
    merges("lora_of_peft_of_a_rank_above_its_inputs", loras.FEW[:2], loras.peft, rank=64),
    merges("lora_of_peft_on_norm_out", ("norm_out.linear", "proj_out"), loras.peft),
    merges("lora_of_peft_on_the_embedders", ("x_embedder", "context_embedder", "time_text_embed.guidance_embedder.linear_1"), loras.peft),
    merges("lora_with_64_inputs_for_the_384_of_fill", ("x_embedder",), loras.peft, inputs=64),
    merges("lora_of_kohya", loras.FUSED, loras.kohya, alpha=4.0),
    merges("lora_of_kohya_with_an_alpha", loras.FUSED, loras.kohya, alpha=1.0, factor=0.25),
    merges("lora_of_kohya_with_diffusers_names", loras.FEW, loras.kohya, alpha=4.0),
    merges("lora_of_bfl", loras.FUSED, loras.bfl),
    merges("lora_of_peft_on_every_layer", loras.every_module(fill.diffusers), loras.peft, rank=2),
    merges("lora_of_kohya_on_every_layer", loras.every_module(), loras.kohya, rank=2, alpha=2.0),
    merges("lora_of_bfl_on_every_layer", loras.every_module(), loras.bfl, rank=2),
    merges("lora_of_xlabs", loras.OF_XLABS, loras.xlabs),
    merges("lora_in_f32", loras.FEW, loras.peft, stored_as="F32"),
    merges("lora_in_f16", loras.FUSED, loras.kohya, stored_as="F16"),
    merges("lora_with_an_alpha_in_its_metadata", loras.FEW, loras.peft, factor=2.0, metadata=of_an_adapter(r=4, lora_alpha=8)),
    merges("lora_with_a_stable_alpha_in_its_metadata", loras.FEW, loras.peft, factor=4.0, metadata=of_an_adapter(r=4, lora_alpha=8, use_rslora=True)),
    merges("lora_with_zeros_for_a_text_encoder", loras.FUSED, loras.kohya, also=of_a_text_encoder(0.0)),
    merges("lora_on_scaled_fp8", loras.FEW, loras.peft, base=scaled("weight_scale")),
    merges("lora_on_a_merged_checkpoint", loras.FEW, loras.peft, base=of("F32", lambda: prefixed("model.diffusion_model.", model()))),
    merges("lora_on_diffusers_names", loras.FEW, loras.peft, base=of("F32", diffusers)),
    merges("lora_on_fp8", loras.FEW, loras.peft, kind="F8_E4M3"),
    merges("lora_on_q8_0", loras.FEW, loras.peft, base=ggml(family("C", "Q8_0"))),
    unfit("lora_whose_matrices_do_not_fit_each_other", lambda: loras.of_another_rank(few()), "proj_out", "rank|shape|fit"),
    unfit("lora_without_one_of_its_matrices", lambda: few()[:-1], "proj_out"),
    unfit("lora_of_a_wider_model", lambda: loras.lora([loras.Change(m, fill.model(), inputs=48) for m in loras.FEW[:2]], loras.peft), r"\b48\b|0 of 2"),
    unfit("lora_that_fits_nothing", lambda: loras.renamed(few(), "transformer.", "unet.down_blocks.0."), r"nothing|none|0 of|no layer|6 of its 6"),
    unfit("lora_that_fits_partly", lambda: loras.renamed(few(), "single_transformer_blocks.1.", "single_transformer_blocks.31."), r"\b[24]\b"),
    unfit("lora_of_another_kind", lambda: [*few(), floats("transformer.transformer_blocks.0.attn.to_q.dora_scale", [1.0] * 32)], "DoRA"),
    unfit("lora_for_a_text_encoder", lambda: loras.lora(loras.changes(loras.FUSED), loras.kohya) + of_a_text_encoder(0.5), "text encoder"),
    unfit("lora_with_nan", lambda: changed(few(), few()[0].name, files.put(0, b"\xc0\x7f")), few()[0].name.rsplit(".", 2)[0], "NaN"),
    *(unfit(f"lora_that_is_zero_from_{part}_on", lambda part=part: unfinished(part), "zeros", "fetch") for part in (0.2, 0.6, 0.9)),
    unfit("lora_that_is_a_model", bf16, "LoRA"),
]
KINDS = PLAIN + DIFFUSERS + GGUFS + SCALED + NOT_UNDERSTOOD + DAMAGE + PARTS + OTHERS + LORAS

# ---- running it

def write(folder, made):
    for name, what in made.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if callable(what):
            what(path)
            continue
        with open(path, "wb") as f:
            f.write(what)


class Folder:
    """A model folder that is gone afterwards."""

    def __init__(self, made):
        self.path = tempfile.mkdtemp(prefix="kinds-")
        self.models, self.names = os.path.join(self.path, "models"), list(made)
        os.mkdir(self.models)
        write(self.models, made)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def beside(self, name, data=None):
        """A file next to the models."""
        path = os.path.join(self.path, name)
        if data is not None:
            with open(path, "wb") as f:
                f.write(data)
        return path

    def read(self, name):
        with open(self.beside(name), "rb") as f:
            return f.read()


def run(*args, **env):
    """-> exit status, stdout, stderr"""
    env = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **{k: v for k, v in os.environ.items() if "SAN_OPTIONS" in k}, **env}
    try:
        done = subprocess.run([PROGRAM, *args], capture_output=True, text=True, errors="replace", timeout=SECONDS, env=env, check=False)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"it has not ended after {SECONDS} s: {' '.join(args)}") from None
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


call_file = once(fill.call)


def transformer(folder, *options):
    """-> exit status, the velocity's bytes or None, what was printed"""
    code, said, errors = run("transformer", "--models", folder.models, "--backend", "cpu", "--in", folder.beside("in", call_file()), "--out",
                             folder.beside("out"), *options)
    velocity = fill.read_safetensors(folder.read("out"))["velocity"][2] if code == 0 else None
    return code, velocity, said + errors


def distance(got, want):
    """The relative error of a velocity."""
    x, y = (struct.unpack(f"<{len(v) // 4}f", v) for v in (got, want))
    return math.dist(x, y) / math.hypot(*y)


VELOCITIES = {}


def reference(make):
    """The velocity of a plain file, which many rows have in common."""
    if make not in VELOCITIES:
        with Folder(make()) as f:
            code, velocity, said = transformer(f)
            equal(code, 0, f"the plain file is not read: {said}")
            VELOCITIES[make] = velocity
    return VELOCITIES[make]


def check_accepted(row, code, velocity, said):
    assert code == 0, f"should be accepted; status {code}: {last_line(said)}"
    error = distance(velocity, reference(row.reference))
    assert error <= row.within, f"accepted, but the velocity is {error:.2g} off; allowed: {row.within:g}"
    assert row.says is None or re.search(row.says, said, re.I), f"accepted, but no line says {row.says!r}: {said!r}"


def last_line(said):
    return (said.strip().splitlines() or ["(no line)"])[-1]


def check_refused(row, code, said, names):
    wanted = " and ".join(repr(w) for w in row.words)
    assert code == 1, f"should be refused with {wanted}; status {code}: {last_line(said)}"
    lines = [line for line in said.splitlines() if line.startswith(f"inpaint-worker {row.command}: ")]
    assert len(lines) == 1, f"should be refused with {wanted} in one line: {said!r}"
    a_name = "|".join(re.escape(os.path.basename(name)) for name in names)
    lacking = [w for w in (*row.words, a_name, REMEDY if names else "looked for|put") if not re.search(w, lines[0], re.I)]
    assert not lacking, f"refused, but the line lacks {' and '.join(map(repr, lacking))}: {lines[0]}"


def decide(row):
    with Folder(row.make()) as f:
        if row.command == "fill":
            check_refused(row, *fill_in(f), f.names)
            return
        code, velocity, said = transformer(f, *(word.replace("MODELS", f.models) for word in row.options))
        if row.words is None:
            check_accepted(row, code, velocity, said)
        else:
            check_refused(row, code, said, f.names)


def test_of(name, check, *args):
    def test():
        check(*args)
    return "model_kinds__" + name.lower().replace(".", "_"), test


# ---- whole folders

FOLDERS = [
    ("the_official_repository", files.official, "transformer/diffusion_pytorch_model"),
    ("the_official_repository_with_single_files", files.official_and_single_files, "flux1-fill-dev.safetensors|transformer/diffusion_pytorch_model"),
    ("comfyui_with_unet_and_clip", files.comfy, "unet/flux1-fill-dev.safetensors"),
    ("comfyui_with_diffusion_models_and_text_encoders", lambda: files.comfy("diffusion_models", "text_encoders"),
     "diffusion_models/flux1-fill-dev.safetensors"),
    ("dev_and_fill_and_lora_and_nf4_side_by_side", files.side_by_side, "flux1-fill-dev.safetensors"),
    ("parts_under_odd_names", files.odd_names, "model-b.safetensors"),
    ("links_as_in_the_cache_of_hugging_face", files.hugging_face_cache, "transformer/diffusion_pytorch_model"),
    ("one_checkpoint_of_all_networks", files.merged_checkpoint, "flux1-fill-all-in-one.safetensors"),
    ("a_whole_file_among_unfinished_ones", files.unfinished_neighbours, "flux1-fill-dev.safetensors"),
]


def fill_in(folder):
    """-> exit status of `fill`, and what it printed"""
    code, said, errors = run("fill", "--models", folder.models, "--backend", "cpu", "--image", folder.beside("photo.png", photo_png(64, 64)), "--mask",
                             folder.beside("mask.png", mask_png(64, 64, (16, 16, 48, 48))), "--prompt", "short grass", "--width", "64", "--height", "64",
                             "--steps", "1", "--t5-len", "16", "--out", folder.beside("out.png"))
    return code, said + errors


def picture(folder):
    code, said = fill_in(folder)
    assert code == 0, f"should make a picture; status {code}: {last_line(said)}"
    return folder.read("out.png")


@once
def reference_picture():
    return picture_of(files.reference())


def picture_of(made):
    with Folder(made) as f:
        return picture(f)


def check_t5_in_scaled_fp8():
    equal(picture_of(files.with_t5_in_fp8()) == picture_of(files.with_t5_in_fp8(as_f32=True)), True, "the picture is that of the same values in F32")


def doctor(folder):
    """-> exit status and report, with no setting that names a file"""
    code, said, errors = run("doctor", "--offline", MODEL_DIR=folder.models, BACKEND="cpu", PUSH_AUTH="none")
    return code, said + errors


def check_folder(make, transformer_file):
    with Folder(make()) as f:
        equal(picture(f) == reference_picture(), True, "the picture is that of the plain folder")
        code, said = doctor(f)
        assert re.search(rf"^ok +transformer .*({transformer_file})", said, re.M), f"`doctor` should take {transformer_file}: {said}"
        assert not re.search(r"^wrong +(transformer|VAE|CLIP|T5|model)\b", said, re.M), said


def check_vocabulary_without_charsmap():
    """Either another vocabulary of the folder is taken or the file is refused; other ids are never made."""
    with Folder({**plain(), **files.linked("ae.safetensors", "ae.safetensors"), **files.t5_without_charsmap()}) as f:
        code, said, errors = run("tokenize", "cafe\u0301  two", "--models", f.models, "--encoder", "t5")
        assert code == 1 and re.search("charsmap|normali", errors, re.I), f"should be refused with 'charsmap'; status {code}: {said + errors}"


SUITE = Suite([test_of(row.name, decide, row) for row in KINDS] + [test_of(f"folder_of_{name}", check_folder, make, want) for name, make, want in FOLDERS] +
              [test_of("t5_gguf_without_charsmap", check_vocabulary_without_charsmap), test_of("t5_in_scaled_fp8", check_t5_in_scaled_fp8)], at_once=2)

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
