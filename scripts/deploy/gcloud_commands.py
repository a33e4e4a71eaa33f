#!/usr/bin/env python3
"""gcloud_commands.py - every gcloud command of this repository passes gcloud's own parser, which needs no account.

Commands are taken from dry runs of scripts/deploy.sh, from the shell blocks of README.md and docs/*.md, and from cloudbuild.yaml
and .github/workflows. Unknown commands and flags, missing arguments and bad values are offences; --list prints the commands
instead. Prints one offence a line; the exit status is 1 if there is any, 3 if gcloud is not installed.
"""
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DRY_RUNS = (  # the ways in which deploy.sh prints different commands
    (), ("--tiny",), ("--destroy",), ("--auth=iam", "--weights=gs://bucket-of-weights/flux", "--github=owner/name"),
    ("--image=us-docker.pkg.dev/p/r/i:t", "--credentials-secret=FIREBASE_CREDENTIALS", "--credentials-file=-", "--env=LORAS=a:1,b"),
    ("--weights=image:Q4_K_S", "--text=pack", "--hf-token-file=-", "--max-instances=3", "--queue-depth=0", "--database=other"))
# Commands whose flags left the alpha track after the oldest gcloud that is used here: asked of that track.
NEWER = {"gcloud run jobs deploy bench-rates": "gcloud alpha run jobs deploy bench-rates"}
# Commands whose values are free text: one of each form is checked, which halves the time.
FREE = re.compile(r" (describe|get-iam-policy|add-iam-policy-binding) ")
ENDS = {"||", "&&", "|", "|&", ";", "&", "(", ")", "{", "}", "then", "do", "else"}


def substitutions(line):
    """-> the line with a word in place of each $(gcloud ...), and those commands."""
    inner = re.compile(r"\$\((gcloud (?:[^()']|'[^']*'|\([^()]*\))*)\)")
    return inner.sub("1", line), inner.findall(line)


def without_variables(line):
    line = re.sub(r'"?\$\{\w+\[@\]\}"?', "", line)  # an array of more flags
    line = re.sub(r"\$\{[A-Za-z_][^{}]*(\{[^{}]*\}[^{}]*)*\}|\$[A-Za-z_]\w*", "1", line)
    return line.replace("#", "N")  # gcloud's checker takes the rest for a comment, in quotes, too


def commands_of(line):
    """-> the gcloud commands of a logical line, each as words."""
    line, inner = substitutions(line)
    for text in (*inner, line):
        lexer = shlex.shlex(without_variables(text), posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split, lexer.commenters = True, ""
        words, command = list(lexer), None
        for word in [*words, ";"]:
            if word in ENDS or set(word) <= set("<>&|;"):
                if command:
                    yield command
                command = None
            elif command is not None:
                command.append(word)
            elif word == "gcloud":
                command = [word]


def logical_lines(text):
    text = re.sub(r"\\\n\s*", "", text.replace(" \\\n", " \\\n"))
    for line in text.splitlines():
        line = re.sub(r"^\s*(#\s+asks:|- )?\s*", "", line)
        if re.search(r"\bgcloud\s", line) and not line.startswith("#"):
            yield line


def dry_runs():
    for options in DRY_RUNS:
        out = subprocess.run([os.path.join(ROOT, "scripts", "deploy.sh"), "--project=my-project", "--dry-run", *options], stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, check=True).stdout
        yield " ".join(("deploy.sh --dry-run", *options)), out


def blocks_of(path):
    """-> the shell blocks of a document."""
    text = open(os.path.join(ROOT, path), encoding="utf-8").read()
    return "\n".join(re.findall(r"^```(?:sh|bash|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def texts():
    yield from dry_runs()
    for path in ["README.md", *sorted(glob.glob("docs/*.md", root_dir=ROOT))]:
        yield path, blocks_of(path)
    for path in ["cloudbuild.yaml", *sorted(glob.glob(".github/workflows/*.yml", root_dir=ROOT))]:
        text = open(os.path.join(ROOT, path), encoding="utf-8").read()
        yield path, re.sub(r"^\s*(#.*|- name: .*|(- )?run: )", lambda m: "" if "run:" in m.group(0) else "# ", text, flags=re.MULTILINE)


def form_of(words):
    text = shlex.join(words)
    return " ".join(w.split("=")[0] if w.startswith("-") else "x" if i > 4 else w for i, w in enumerate(words)) if FREE.search(text) else text


def collect(told):
    """The commands of [(where, text)]. -> {command: where it stands first}"""
    found, forms = {}, set()
    for where, text in told:
        for line in logical_lines(text):
            try:
                for words in commands_of(line):
                    if len(words) > 1 and form_of(words) not in forms:
                        forms.add(form_of(words))
                        found[shlex.join(words)] = where
            except ValueError as e:
                found.setdefault(f"gcloud {e}: {line}", where)
    return found


def in_its_track(command):
    command = re.sub(r"--project[= ][A-Z]\w*", "--project=my-project", command)  # gcloud takes no such word for a project
    for old, new in NEWER.items():
        command = command.replace(old, new, 1)
    return command


def check(found):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "commands.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump([{"command_string": in_its_track(command), "id": str(n + 1)} for n, command in enumerate(found)], f)
        got = subprocess.run(["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={path}", "--serialize"], capture_output=True, text=True,
                             check=False, env={**os.environ, "CLOUDSDK_CONFIG": folder, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"})
    if got.returncode:
        sys.exit(f"gcloud meta lint-gcloud-commands failed: {got.stderr[-500:]}")
    answers = json.loads(got.stdout)
    for n, (command, where) in enumerate(found.items()):
        for answer in answers.get(str(n + 1), [{"success": "--help" in command, "error_message": "gcloud's checker said nothing"}]):
            if not answer["success"]:
                yield f"{where}: {command}\n    {str(answer['error_message']).splitlines()[0]}"


def main():
    if sys.argv[1:] == ["--help"]:
        print(__doc__)
        return 0
    listing = sys.argv[1:] == ["--list"]
    if not listing and not shutil.which("gcloud"):
        return 3
    found = collect(texts())
    if listing:
        print("\n".join(f"{where}: {command}" for command, where in found.items()))
        return 0
    offences = list(check(found))
    if len(found) < 50:
        offences.append(f"only {len(found)} commands were found: have the files moved?")
    print("\n".join(offences), end="\n" if offences else "")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
