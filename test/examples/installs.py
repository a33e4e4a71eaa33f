"""Google's clients for the tests, installed once into build/examples: what the examples pin, from PyPI and npm."""
import hashlib
import os
import shutil
import subprocess
import sys

from harness import ROOT, Skip, once

OUT = os.path.join(ROOT, "build", "examples")
EXAMPLES = os.path.join(ROOT, "examples")
REQUIREMENTS = (os.path.join(EXAMPLES, "python", "requirements.txt"), os.path.join(ROOT, "test", "examples", "requirements.txt"))
INSTALL_SECONDS = 600


def lacking(why):
    """What cannot be tested is skipped, but in CI it is a failure: there everything can be installed."""
    if os.environ.get("CI"):
        raise AssertionError(f"{why} (an error because CI is set)")
    raise Skip(why)


def run_install(what, command, cwd):
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        lacking(f"{what} cannot be installed: {e}")
    if done.returncode:
        lacking(f"{what} cannot be installed: {(done.stderr or done.stdout).strip()[-400:]}")


def installed_for(folder, *sources):
    """-> whether the folder was filled for these very files, and a function that notes that it is."""
    wanted = hashlib.sha256(b"\0".join(open(path, "rb").read() for path in sources)).hexdigest()
    stamp = os.path.join(folder, ".installed-for")

    def note():
        with open(stamp, "w", encoding="ascii") as f:
            f.write(wanted)
    try:
        with open(stamp, encoding="ascii") as f:
            return f.read() == wanted, note
    except OSError:
        return False, note


@once
def python():
    """-> the interpreter of an environment with the packages of the Python example."""
    folder = os.path.join(OUT, "venv")
    there, note = installed_for(folder, *REQUIREMENTS)
    interpreter = os.path.join(folder, "bin", "python3")
    if not there:
        print("installing Google's clients for Python into build/examples/venv (once)", flush=True)
        run_install("an environment for Python", [sys.executable, "-m", "venv", "--clear", folder], ROOT)
        wanted = [word for path in REQUIREMENTS for word in ("-r", path)]
        pip = [interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        run_install("the Python packages", [*pip, *wanted], ROOT)
        note()
    return interpreter


def need(*programs):
    if missing := [program for program in programs if not shutil.which(program)]:
        lacking(f"{' and '.join(missing)}: not installed (Node 20 or newer, with npm)")


@once
def node():
    """-> a copy of the Node example with its packages beside it."""
    need("node", "npm")
    source, folder = os.path.join(EXAMPLES, "node"), os.path.join(OUT, "node")
    there, note = installed_for(folder, os.path.join(source, "package.json"))
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    if not there:
        print("installing Google's clients for Node into build/examples/node (once)", flush=True)
        quietly = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")
        run_install("the npm packages", ["npm", "install", *quietly], folder)
        note()
    return folder
