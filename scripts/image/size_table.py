#!/usr/bin/env python3
"""The table that size.sh prints: one row for each layer, from an image's manifest and its configuration."""
import argparse
import json
import re
import sys

MB = 1e6


def rows_of(manifest, config):
    """-> [(bytes, what made the layer)], the lowest first; ValueError where the two files do not belong together."""
    made = [h for h in config.get("history", []) if not h.get("empty_layer")]
    layers = manifest["layers"]
    if len(made) != len(layers):
        raise ValueError(f"{len(layers)} layers, but {len(made)} steps that made one")
    return [(layer["size"], text_of(step.get("created_by", ""))) for layer, step in zip(layers, made)]


def text_of(created_by):
    """A step of the history in a few words: where its files went."""
    copied = re.search(r"(?:COPY|ADD) .*? (?:in )?(/\S*)(?: # buildkit)?\s*$", created_by)
    return copied.group(1) if copied else re.sub(r"\s+", " ", created_by)[:60] or "?"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("config")
    parser.add_argument("--cublaslt", type=int, default=0, help="bytes of a layer that the image lacks")
    parser.add_argument("--base", type=int, default=0, help="bytes of the lowest layer, in place of its own")
    parser.add_argument("--most", type=int, default=0, help="exit status 1 beyond so many bytes without weights")
    args = parser.parse_args()
    with open(args.manifest, encoding="utf-8") as manifest, open(args.config, encoding="utf-8") as config:
        rows = rows_of(json.load(manifest), json.load(config))
    rows[0] = (args.base or rows[0][0], "the base" + (" (the size that was given)" if args.base else ""))
    if args.cublaslt:
        rows.insert(1, (args.cublaslt, "/usr/local/lib/inpaint/libcublasLt.so.12 (added)"))
    weights = sum(size for size, what in rows if what.startswith("/models"))
    rest = sum(size for size, _ in rows) - weights
    print("| MB compressed | layer |\n| ---: | --- |")
    for size, what in rows:
        print(f"| {size / MB:.1f} | {what if ' ' in what else f'`{what}`'} |")
    print(f"| {rest / MB:.1f} | all but the weights |\n| {weights / MB:.1f} | weights, in `/models` |")
    if args.most and rest > args.most:
        print(f"size: {rest / MB:.1f} MB without weights, and at most {args.most / MB:.1f} are allowed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
