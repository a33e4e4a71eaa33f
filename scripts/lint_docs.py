#!/usr/bin/env python3
"""lint_docs.py - the documents and what cites them: every reference has a target.

Checked: each section number that any file cites, alone ("MODEL.md 2.8"), in a list ("PROTOCOL.md 1.9, 4.6") or as a range
("MODEL.md 1.4 to 1.9"), is a heading of that document, and so is each "section 2.8" inside a document; no file cites a
specification that is not in the repository; relative links of every document lead to files and to headings in them; so do, in
README.md and docs/*.md, paths in backticks that begin with a source folder, with or without an ending; the lists of docs/ARCHITECTURE.md, section 3, name
every file of the product's code and no other, and its walks name files that exist. Prints one offence a line; the exit
status is 1 if there is any.
"""
import glob
import os
import re
import sys

from lint_tree import listed

DOCUMENTS = {"ARCHITECTURE": "docs/ARCHITECTURE.md", "MODEL": "docs/MODEL.md", "PROTOCOL": "docs/PROTOCOL.md"}
PRODUCT = ("kernels", "models", "worker")
TEXTS = ("*.c", "*.h", "*.cu", "*.cuh", "*.cc", "*.py", "*.sh", "*.md", "*.yml", "*.yaml", "Makefile", "Dockerfile")
FOLDERS = ("kernels", "models", "worker", "test", "scripts", "tools", "docs")
CODE = ("c", "h", "cu", "cuh")

GAP = r"(?:[ \t]*\n[ \t]*(?:[*#]+|//+)?[ \t]*|[ \t]+)"  # blanks, or a line break and the next comment line's leader
NUMBER = r"\d+(?:\.\d+)*"
NEXT = rf"(?:(?:,|;|{GAP}and|{GAP}or|{GAP}to){GAP}{NUMBER}(?![\w%]))"
CITATION = re.compile(rf"\b(ARCHITECTURE|MODEL|PROTOCOL)\.md{GAP}({NUMBER}(?![\w%]){NEXT}*)")
SECTION = re.compile(rf"\b[Ss]ections?{GAP}({NUMBER}(?![\w%]){NEXT}*)")
HEADING = re.compile(rf"^#{{2,4}} ({NUMBER})\.? ", re.MULTILINE)
ABSENT = re.compile("|".join((rf"\bnumerics{GAP}(?:documents?|sections?|\d+\.\d+|\d+{GAP}and)\b", rf"\bcloud{GAP}contracts\b",
                              rf"\barchitecture{GAP}(?:document|section)\b", r"\bshared/docs\b")), re.IGNORECASE)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[^`\s]*)`")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def numbers(text):
    """The sections that a list like "1.1, 5.5 and 7.1 to 7.3" means, those within a range included."""
    result, before = [], None
    for word in re.findall(rf"\bto\b|{NUMBER}", text):
        if word == "to":
            before = result[-1]
            continue
        if before is not None:
            first, last = before.rsplit(".", 1), word.rsplit(".", 1)
            if first[:-1] == last[:-1]:
                result += [".".join(first[:-1] + [str(n)]) for n in range(int(first[-1]) + 1, int(last[-1]))]
            before = None
        result.append(word)
    return result


def check_citations(path, text, headings):
    for found in CITATION.finditer(text):
        for number in numbers(found.group(2)):
            if number not in headings[found.group(1)]:
                yield f"{path}:{line_of(text, found.start())}: {DOCUMENTS[found.group(1)]} has no section {number}"
    for found in ABSENT.finditer(text):
        yield f"{path}:{line_of(text, found.start())}: '{re.sub(GAP, ' ', found.group(0))}' is not a document of this repository"


def check_document(path, text, headings):
    for name, document in DOCUMENTS.items():
        if path == document:
            for found in SECTION.finditer(text):
                for number in numbers(found.group(1)):
                    if number not in headings[name]:
                        yield f"{path}:{line_of(text, found.start())}: there is no section {number} here"
    for found in PATH.finditer(text):
        if not (glob.glob(found.group(1)) or glob.glob(found.group(1) + ".*")):
            yield f"{path}:{line_of(text, found.start())}: there is no {found.group(1)}"


def anchors(path):
    """What GitHub makes of a document's headings: small letters, digits, _ and -, with - for blanks."""
    text = re.sub(r"^```.*?^```", "", read(path), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)", text, re.MULTILINE)}


def check_links(path, text):
    for found in LINK.finditer(text):
        if "://" in found.group(1):
            continue
        name, _, anchor = found.group(1).partition("#")
        target = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
        if not os.path.exists(target) or anchor and target.endswith(".md") and anchor not in anchors(target):
            yield f"{path}:{line_of(text, found.start())}: the link to {found.group(1)} leads nowhere"


def check_tree(path, text):
    """A heading `### folder` and the list in the code block after it, against the files of that folder."""
    told = {}
    for folder, block in re.findall(r"^### (\S+)\n[^#]*?^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        told[folder] = {line.split()[0] for line in block.splitlines() if line.strip()}
    there = {}
    for f in listed(*(f"{top}/*.{ending}" for top in PRODUCT for ending in CODE)):
        there.setdefault(os.path.dirname(f), set()).add(os.path.splitext(os.path.basename(f))[0])
    for folder in sorted(told.keys() | there.keys()):
        for name in sorted(there.get(folder, set()) - told.get(folder, set())):
            yield f"{path}: {folder}/{name} is not in the tree"
        for name in sorted(told.get(folder, set()) - there.get(folder, set())):
            yield f"{path}: {folder}/{name} is in the tree, and is no file"
    for name in sorted(set(re.findall(rf"\b(?:{'|'.join(PRODUCT)})/[\w/.]*\w", text))):
        if not glob.glob(name + "*"):
            yield f"{path}: there is no {name}"


def main():
    headings = {name: set(HEADING.findall(read(path))) if os.path.isfile(path) else set() for name, path in DOCUMENTS.items()}
    offences = [f"there is no {path} with numbered headings" for name, path in DOCUMENTS.items() if not headings[name]]

    for path in listed(*TEXTS):
        text = read(path)
        offences += check_citations(path, text, headings)
        if path.endswith(".md"):
            offences += check_links(path, text)
        if path == "README.md" or (os.path.dirname(path) == "docs" and path.endswith(".md")):
            offences += check_document(path, text, headings)
        if path == DOCUMENTS["ARCHITECTURE"]:
            offences += check_tree(path, text)
    for line in offences:
        print(line)
    return bool(offences)


if __name__ == "__main__":
    sys.exit(main())
