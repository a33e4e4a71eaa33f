#!/usr/bin/env python3
"""lint_tree.py - the layers of the tree: which folder may use which, no circle of files, no crowded folder.

A file uses another when it includes it, and when it names a function or a variable that the other defines. The order of
folders is checked for includes alone: kernels/backend.h declares the functions that open the backends, which are in
layers above it. Circles are checked for both, so that a header in between hides none. Prints one offence a line; the
exit status is 1 if there is any. --arrows prints the arrows between folders instead.
"""
import collections
import os
import re
import subprocess
import sys

CROWDED = 26  # the most code files in one folder

# A folder and its direct subfolders; it may use whatever they may use.
BELOW = {
    "kernels/base": [],
    "kernels": ["kernels/base"],
    "kernels/plain": ["kernels"],
    "kernels/cpu": ["kernels/plain"],
    "kernels/cuda/gpu": ["kernels"],
    "kernels/cuda/cudnn": ["kernels"],
    "kernels/cuda": ["kernels/cuda/gpu", "kernels/cuda/cudnn"],
    "models/file": ["kernels"],
    "models/image": ["kernels/base"],
    "models/jail": ["models/image"],
    "models/notes": ["models/image"],
    "models/codec": ["models/jail", "models/notes"],
    "models/mask": ["models/image"],
    "models/patch": ["models/image"],
    "models/score": ["models/image"],
    "models/picture": ["models/codec", "models/mask", "models/patch", "models/score"],
    "models/weights": ["models/file"],
    "models/layout": ["models/weights"],
    "models/text": ["models/layout"],
    "models/vae": ["models/layout", "models/image"],
    "models/flux": ["models/text", "models/vae"],
    "models/convert": ["models/flux"],
    "models/fill": ["models/flux"],
    "models/bench": ["models/fill", "models/picture"],
    "worker/base": ["kernels"],
    "worker/http": ["worker/base"],
    "worker/google": ["worker/http"],
    "worker/auth": ["worker/http"],
    "worker/push": ["worker/base"],
    "worker/verify": ["worker/base", "models/fill"],
    "worker/weights": ["worker/google", "worker/verify"],
    "worker/job": ["worker/weights", "worker/auth", "worker/push", "models/picture"],
    "worker/serve": ["worker/job"],
    "worker/cli": ["worker/serve", "models/bench"],
    "worker/local": ["worker/cli", "models/convert"],
    "worker/remote": ["worker/cli"],
    "worker": ["worker/local", "worker/remote"],
}

INCLUDES = "includes it"
KEYWORDS = {"if", "for", "while", "switch", "return", "sizeof", "do", "else", "case"}


def listed(*patterns):
    """Files of the work tree, each once: git names a file of an unfinished merge several times."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], capture_output=True, text=True, check=True)
    return sorted({f for f in out.stdout.split("\n") if f and os.path.isfile(f)})


def code_of(text):
    """Without comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', " ", text, flags=re.DOTALL)


def reachable(folder):
    seen, todo = set(), [folder]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += BELOW[here]
    return seen


def definitions(text):
    """The functions and variables that other files may use, and those that are private to the file."""
    shared, own = set(), set()
    for line in re.finditer(r"^(?!#|typedef|extern|\s|\})([^\n;{}=]*?)\b(\w+)(\[[^\n]*?\])*\s*(\(|=)", text, re.MULTILINE):
        head, name, opens = line.group(1), line.group(2), line.group(4)
        if not head.strip() or name in KEYWORDS or "(" in head:
            continue
        if opens == "(":
            depth, at = 1, line.end()
            while at < len(text) and depth:
                depth += {"(": 1, ")": -1}.get(text[at], 0)
                at += 1
            if not re.match(r"\s*(\{|__attribute__)", text[at:]):
                continue
        (own if re.search(r"\bstatic\b", head) else shared).add(name)
    return shared, own


def arrows(files):
    """{file: {file it uses: why}}"""
    texts = {f: open(f, encoding="utf-8").read() for f in files}
    code = {f: code_of(t) for f, t in texts.items()}
    headers = "\n".join(t for f, t in code.items() if f.endswith((".h", ".cuh")))
    declared = set(re.findall(r"\b(\w+)\(", headers)) | set(re.findall(r"\bextern\b[^;]*?\b(\w+)\s*(?:\[[^;]*)?;", headers))
    defined, own = {}, {}
    for f in files:
        if not f.endswith((".h", ".cuh")):
            shared, own[f] = definitions(code[f])
            for name in shared & declared:
                defined.setdefault(name, []).append(f)
    result = {f: {} for f in files}
    for f in files:
        for other in re.findall(r'^#\s*include "([^"]*)"', texts[f], re.MULTILINE):
            if other in texts:
                result[f][other] = INCLUDES
        if f.endswith((".h", ".cuh")):
            continue
        body = re.sub(r"^\s*#.*", "", code[f], flags=re.MULTILINE)
        body = re.sub(r"(->|\.)\s*\w+|\b(struct|enum|union)\s+\w+", " ", body)
        for name in set(re.findall(r"\b[a-z]\w*\b", body)) - own[f]:
            where = defined.get(name, [])
            if len(where) == 1 and where[0] != f:
                result[f].setdefault(where[0], name)
    return result


def circles(graph):
    """Strongly connected components of more than one file (Tarjan, without recursion)."""
    index, low, stack, on, found, count = {}, {}, [], set(), [], 0
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = count
        count += 1
        stack.append(root)
        on.add(root)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = count
                    count += 1
                    stack.append(other)
                    on.add(other)
                    work.append((other, iter(graph[other])))
                    break
                if other in on:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = []
                    while True:
                        last = stack.pop()
                        on.discard(last)
                        group.append(last)
                        if last == node:
                            break
                    if len(group) > 1:
                        found.append(sorted(group))
    return found


def main():
    everything = listed("*.c", "*.h", "*.cu", "*.cuh", "*.cc", "*.sh", "*.py")
    product = [f for f in everything if f.startswith(("kernels/", "models/", "worker/"))]
    graph = arrows(product)
    offences = [f"there is no code in {folder}" for folder in BELOW if not any(os.path.dirname(f) == folder for f in product)]

    if "--arrows" in sys.argv[1:]:
        between = collections.Counter((os.path.dirname(f), os.path.dirname(o)) for f in graph for o in graph[f])
        for (a, b), n in sorted(between.items()):
            if a != b:
                print(f"{a} -> {b}: {n}")
        return 0
    for f in product:
        folder = os.path.dirname(f)
        if folder not in BELOW:
            offences.append(f"{f}: its folder has no place in the order of scripts/lint_tree.py")
            continue
        for other, why in graph[f].items():
            if why == INCLUDES and os.path.dirname(other) not in reachable(folder):
                offences.append(f"{f} includes {other}, and that folder is not below {folder}")
    for group in circles(graph):
        ties = [f"{a} -> {b} ({graph[a][b]})" for a in group for b in group if b in graph[a]]
        offences.append("files in a circle: " + "; ".join(ties))
    for folder, n in collections.Counter(os.path.dirname(f) for f in everything).items():
        if n > CROWDED:
            offences.append(f"{folder}: {n} files; more than {CROWDED} are more than one noun")
    for line in offences:
        print(line)
    return bool(offences)


if __name__ == "__main__":
    sys.exit(main())
