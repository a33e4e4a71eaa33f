"""Builds and opens images with buildah, in the store that scripts/image/check.sh has made. Standard library only."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DIR = os.environ.get("IMAGE_CHECK_DIR", "/var/tmp/inpaint-image")
BASE = os.environ.get("IMAGE_CHECK_BASE", "")
ALL = bool(os.environ.get("IMAGE_CHECK_ALL"))
ENTER = os.path.join(ROOT, "test", "image", "enter.sh")
BUILDAH = ["buildah", "--root", f"{DIR}/store", "--runroot", f"{DIR}/run",
           "--storage-driver", os.environ.get("IMAGE_CHECK_DRIVER", "overlay")]
# What the Dockerfile takes by default is out of reach without a registry.
ARGUMENTS = {"BASE": BASE, "RUNTIME": f"{BASE}-slim", "BACKEND": "cpu", "MODEL": "none", "TEXT": "t5"}


def buildah(*words, check=True):
    """-> what it prints"""
    done = subprocess.run([*BUILDAH, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if check and done.returncode:
        raise AssertionError(f"buildah {words[0]} ended with {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout.strip()


def copy_tree(to):
    """A copy of this repository as somebody would send it to a builder: what git knows, changed or not."""
    shutil.rmtree(to, ignore_errors=True)
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    for name in filter(None, names.stdout.decode().split("\0")):
        if os.path.isfile(f"{ROOT}/{name}"):
            os.makedirs(os.path.dirname(f"{to}/{name}"), exist_ok=True)
            shutil.copy2(f"{ROOT}/{name}", f"{to}/{name}")
    return to


def build(tag, context, *options, dockerfile="Dockerfile", **arguments):
    """Builds context/dockerfile as `tag` -> its log; what is not in `arguments` is that of the CPU form without weights."""
    words = [*BUILDAH, "bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "--layers", "-t", tag]
    words += ["-f", dockerfile]
    for name, value in {**ARGUMENTS, **arguments}.items():
        words += ["--build-arg", f"{name}={value}"]
    started = time.monotonic()
    log = f"{DIR}/build-{re.sub('[^a-z0-9]+', '-', tag)}.log"
    with open(log, "wb") as out:
        status = subprocess.run([*words, *options, "."], cwd=context, stdout=out, stderr=out).returncode
    with open(log, encoding="utf-8", errors="replace") as f:
        text = f.read()
    if status:
        raise AssertionError(f"the build of {tag} ended with {status} (all of it is in {log}):\n{text[-3000:]}")
    print(f"built   {tag} in {time.monotonic() - started:.0f} s", flush=True)
    return text


class Image:
    """A built image: its configuration, its layers as a registry has them, and its files, until `close`."""

    def __init__(self, tag):
        self.tag, self.oci = tag, f"{DIR}/oci-{tag}"
        shutil.rmtree(self.oci, ignore_errors=True)
        buildah("push", "--quiet", "--format", "oci", tag, f"oci:{self.oci}:{tag}")
        with open(f"{self.oci}/index.json", encoding="utf-8") as f:
            self.manifest = self.blob(json.load(f)["manifests"][0]["digest"])
        self.config = self.blob(self.manifest["config"]["digest"])
        self.layers = [layer["digest"] for layer in self.manifest["layers"]]
        self.container = buildah("from", "--pull-never", tag)
        self.root = buildah("mount", self.container)

    def path_of(self, digest):
        return f"{self.oci}/blobs/{digest.replace(':', '/')}"

    def blob(self, digest):
        with open(self.path_of(digest), encoding="utf-8") as f:
            return json.load(f)

    def close(self):
        buildah("umount", self.container, check=False)
        buildah("rm", self.container, check=False)
        shutil.rmtree(self.oci, ignore_errors=True)

    def files_of(self, layer):
        """-> the members of one layer that are not folders"""
        with tarfile.open(self.path_of(layer)) as archive:
            return [m for m in archive if not m.isdir()]

    def layers_of(self, prefix):
        """-> the digests of the layers that have files below it, the lowest first, but for the base"""
        return [d for d in self.layers[1:] if any(m.name.startswith(prefix) for m in self.files_of(d))]

    def names(self, folder):
        """-> all files below a folder of the image, by their paths from there"""
        top = f"{self.root}{folder}"
        paths = glob.glob(f"{top}/**", recursive=True, include_hidden=True)
        return sorted(os.path.relpath(p, top) for p in paths if os.path.isfile(p))

    def environment(self):
        return dict(e.split("=", 1) for e in self.config["config"]["Env"])

    def command(self, *words, **settings):
        """-> what runs the image's program with its own environment and user; `words` in place of its CMD"""
        config = self.config["config"]
        env = {**self.environment(), **{name: str(value) for name, value in settings.items()}}
        return [*self.inside(env), *config["Entrypoint"], *(words or config["Cmd"])]

    def inside(self, env):
        """-> what runs any program of the image, whose words follow"""
        return [ENTER, self.root, self.config["config"]["User"], *(f"{k}={v}" for k, v in env.items())]

    def run(self, *words, **settings):
        """-> (exit status, what it printed)"""
        done = subprocess.run(self.command(*words, **settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=120)
        return done.returncode, done.stdout


def holds_text(folder, text):
    """-> the files below it that hold the text, which grep reads from a file"""
    with open(f"{DIR}/pattern", "w", encoding="ascii") as f:
        f.write(text + "\n")
    found = subprocess.run(["grep", "-rlaFf", f"{DIR}/pattern", folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.remove(f"{DIR}/pattern")
    if found.returncode > 1:
        print(f"grep: {found.stderr[-500:]}", file=sys.stderr)
        raise AssertionError(f"{folder} could not be searched")
    return found.stdout.splitlines()
