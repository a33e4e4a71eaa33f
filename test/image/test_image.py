#!/usr/bin/env python3
"""The image, built from the Dockerfile and run as a strict platform would: `scripts/image/check.sh [--all] [parts of names]`.

The form for the CPU on Debian 12: what differs in the CUDA form is its base, libcublasLt and the program's own CUDA code.
"""
import contextlib
import functools
import hashlib
import json
import os
import pathlib
import re
import stat
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "integration"), os.path.join(HERE, "..", "fetch"), os.path.join(HERE, "..", "..")]
import builder
from builder import ALL, DIR, ROOT, Image, build, buildah, copy_tree, holds_text
from client import REPOSITORY
from harness import Skip, Suite, equal, jpeg_size, mask_png, photo_png, run_suites, tests_of, wait_until
from hub import Hub
from tools.local_cloud.cloud import Cloud
from tools.local_cloud.worker import free_port

# Without weights 59.0 MB were measured, of which the base made by debootstrap has 30.2; the rest is margin for updates of Debian.
MOST_BYTES = 70_000_000
VERSION, COMMIT = "7.8.9", "0123456789ab"
TOKEN = "hf_" + hashlib.sha256(b"a token that must be nowhere").hexdigest()[:34]
WEIGHTS = {"/models/ae.safetensors": "vae", "/models/flux1-fill-demo-Q8_0.gguf": "transformer",
           "/models/prompts.safetensors": "pack"}
# What somebody may have lying about: none of it may reach a builder.
STRAY = {"flux1-fill-dev-Q8_0.gguf": "", "weights/t5.safetensors": "", "models/flux/ae.safetensors": "", ".env": "",
         "scripts/key.json": "", "worker/firebase-adminsdk-x.json": "", "test/my-credentials.json": "", "models/demo/extra.gguf": "",
         "build/inpaint-worker": "", ".git/config": "", "tools/.env.production": "", "service-account.json": "",
         "docs/key.pem": "", "worker/.env": "", "kernels/tls.key": "", "test/unit/account.p12": "", "docs/x.ckpt": ""}
KEPT_BACK = (".json", ".pem", ".key", ".p12")  # outside test/golden nobody needs them to build and to test


@functools.cache
def context():
    """A copy of the repository, with stray files in it."""
    folder = copy_tree(f"{DIR}/context")
    for name, text in STRAY.items():
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        with open(f"{folder}/{name}", "w", encoding="ascii") as f:
            f.write(text or "stray")
    return folder


OPEN = contextlib.ExitStack()


def opened(tag):
    image = Image(tag)
    OPEN.callback(image.close)
    return image


@functools.cache
def demo():
    """The image that is tested: with the demonstration model, as `--tiny` deploys it."""
    build("inpaint-demo", context(), MODEL="demo", VERSION=VERSION, COMMIT=COMMIT, SOURCE="https://example.com/r",
          CREATED="2026-01-02T03:04:05Z")
    return opened("inpaint-demo")


# ---- what travels to the builder ----

def test_the_context_has_every_file_of_the_repository_that_is_built_or_tested_and_no_stray_one():
    with open(f"{context()}/Dockerfile.context", "w", encoding="ascii") as f:
        f.write("FROM scratch\nCOPY . /context/\n")
    build("inpaint-context", context(), dockerfile="Dockerfile.context")
    image = opened("inpaint-context")
    known = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE,
                           text=True)
    folders = ("Makefile", "README.md", "Dockerfile", "docs/", "kernels/", "models/", "scripts/", "test/", "tools/", "worker/")
    wanted = sorted(n for n in known.stdout.splitlines() if n.startswith(folders) and os.path.isfile(f"{ROOT}/{n}")
                    and (not n.endswith(KEPT_BACK) or n.startswith("test/golden/") or n == "scripts/weights.json"))
    got = image.names("/context")
    equal(sorted(set(got) - set(wanted)), ["Dockerfile.context"] if "Dockerfile.context" in got else [], "too much")
    equal(sorted(set(wanted) - set(got)), [], "missing")


# ---- the image at rest ----

def test_its_user_has_no_rights_and_its_port_signal_and_command_are_those_of_the_service():
    config = demo().config["config"]
    equal({k: config.get(k) for k in ("User", "Entrypoint", "Cmd", "StopSignal", "ExposedPorts")},
          {"User": "10001:10001", "Entrypoint": ["/usr/local/bin/inpaint-worker"], "Cmd": ["serve"], "StopSignal": "SIGTERM",
           "ExposedPorts": {"8080/tcp": {}}})
    equal(demo().environment()["BACKEND"], "cpu")


def test_its_labels_name_version_revision_time_and_source():
    labels = {k.removeprefix("org.opencontainers.image."): v for k, v in demo().config["config"]["Labels"].items()}
    equal({k: labels.get(k) for k in ("title", "version", "revision", "created", "source")},
          {"title": "inpaint-worker", "version": VERSION, "revision": COMMIT, "created": "2026-01-02T03:04:05Z",
           "source": "https://example.com/r"})
    assert labels["description"] and labels["licenses"]


def test_no_file_of_ours_has_rights_beyond_its_user_or_may_be_changed_by_it():
    wrong = []
    for layer in demo().layers[1:]:
        for m in builder.tarfile.open(demo().path_of(layer)):
            special = m.mode & (stat.S_ISUID | stat.S_ISGID) or "SCHILY.xattr.security.capability" in m.pax_headers
            if special or m.uid or m.gid or m.mode & 0o022 and not m.issym():
                wrong.append((m.name, oct(m.mode), m.uid))
    equal(wrong, [])


def test_nothing_in_it_builds_installs_or_fetches_and_no_source_is_there():
    tools = ("gcc", "g++", "cc", "cc1", "clang", "make", "ld", "nvcc", "pip", "pip3", "python3", "git", "curl", "wget")
    folders = ("usr/bin", "usr/local/bin", "usr/sbin", "opt")
    found = [t for t in tools for folder in folders if os.path.lexists(f"{demo().root}/{folder}/{t}")]
    ours = [m.name for layer in demo().layers[1:] for m in demo().files_of(layer)]
    equal((found, [n for n in ours if re.search(r"\.(c|h|cu|py|o|a|sh|mk)$|^src/", n)]), ([], []))


def test_notices_name_the_package_of_every_library():
    with open(f"{demo().root}/usr/share/doc/inpaint-worker/NOTICES", encoding="utf-8", errors="replace") as f:
        text = f.read()
    listed = re.findall(r"^  (\S+) \S+  \(source: ", text, re.MULTILINE)
    for package in ("libcurl4", "libdnnl2", "libssl3", "libheif1", "libmicrohttpd12", "libgomp1"):
        assert package in listed, package
    chapters = text.split("=" * 80 + "\n")
    for package in listed:
        at = chapters.index(f"{package}\n")
        assert re.search("copyright|licen[cs]e", chapters[at + 1], re.IGNORECASE), package


def test_it_is_small_without_weights():
    weights = {d for prefix in WEIGHTS for d in demo().layers_of(prefix[1:])}
    size = sum(layer["size"] for layer in demo().manifest["layers"] if layer["digest"] not in weights)
    print(f"        {size / 1e6:.1f} MB compressed, of which {demo().manifest['layers'][0]['size'] / 1e6:.1f} MB are the base")
    assert size <= MOST_BYTES, f"{size} bytes"
    table = subprocess.run(["scripts/image/size.sh", f"oci:{demo().oci}:inpaint-demo"], cwd=ROOT, stdout=subprocess.PIPE,
                           text=True, check=True)
    assert f"| {size / 1e6:.1f} | all but the weights |" in table.stdout, table.stdout


# ---- layers ----

def test_each_file_of_the_weights_is_a_layer_below_the_code():
    code = demo().layers.index(demo().layers_of("usr/local/bin/inpaint-worker")[0])
    for path in WEIGHTS:
        layers = demo().layers_of(path[1:])
        equal((len(layers), [m.name for m in demo().files_of(layers[0])]), (1, [path[1:]]))
        assert demo().layers.index(layers[0]) < code


def test_a_change_of_the_code_leaves_every_layer_but_the_program_as_it_was():
    with open(f"{context()}/worker/main.c", "a", encoding="ascii") as f:
        f.write("/* a change */\n")
    build("inpaint-changed", context(), MODEL="demo", VERSION=VERSION, COMMIT="fedcba987654")
    changed = opened("inpaint-changed")
    new = [d for d in changed.layers if d not in demo().layers]
    names = sorted({m.name for d in new for m in changed.files_of(d)})
    size = sum(layer["size"] for layer in changed.manifest["layers"] if layer["digest"] in new)
    print(f"        {size / 1e6:.1f} MB are new: {', '.join(names)}")
    equal(names, ["usr/local/bin/inpaint-worker"])
    assert changed.run("--version")[1].startswith(f"inpaint-worker {VERSION}, commit fedcba987654,")


def test_an_image_may_stand_on_an_earlier_one_and_keep_its_weights():
    build("inpaint-next", context(), RUNTIME="localhost/inpaint-demo", VERSION=VERSION, COMMIT="aaaabbbbcccc")
    after = opened("inpaint-next")
    equal(after.layers[:len(demo().layers)], demo().layers)
    equal(after.names("/models"), demo().names("/models"))
    equal(after.config["config"]["Labels"]["org.opencontainers.image.revision"], "aaaabbbbcccc")
    assert ", commit aaaabbbbcccc," in after.run("--version")[1]


def test_without_weights_nothing_is_fetched_and_the_folder_is_empty():
    log = build("inpaint-none", context(), VERSION=VERSION, COMMIT=COMMIT, HF_ENDPOINT="http://127.0.0.1:9")
    assert "fetch_part" not in log and "fetch_weights" not in log
    equal(opened("inpaint-none").names("/models"), [])


# ---- the image at work ----

def test_version_says_what_the_builder_was_told():
    status, text = demo().run("--version")
    equal((status, text.split(", backends")[0]), (0, f"inpaint-worker {VERSION}, commit {COMMIT}"))


def test_every_library_is_found_in_the_image():
    loader = "/lib64/ld-linux-x86-64.so.2"
    words = [*demo().inside(demo().environment()), loader, "--list", "/usr/local/bin/inpaint-worker"]
    listed = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    equal((listed.returncode, "not found" in listed.stdout), (0, False), listed.stdout)
    homes = {re.search(r"=> (/\S+)/", line).group(1) for line in listed.stdout.splitlines() if "=> /" in line}
    assert homes <= {"/usr/local/lib/inpaint", "/lib/x86_64-linux-gnu", "/lib64"}, homes


def settings(cloud):
    return {**cloud.env, "STEPS": 2, "OMP_NUM_THREADS": 2}


def test_doctor_finds_nothing_wrong():
    cloud = Cloud("http://127.0.0.1:9/inpaint")
    try:
        status, text = demo().run("doctor", **settings(cloud))
        equal(status, 0, text)
        assert "flux1-fill-demo-Q8_0.gguf" in text
    finally:
        cloud.stop()


def test_a_push_becomes_two_pictures_on_a_read_only_root_without_a_shell():
    port, log = free_port(), f"{DIR}/worker.log"
    cloud = Cloud(f"http://127.0.0.1:{port}/inpaint", log, retry=(0.1, 0.4))
    with open(log, "wb") as out:
        worker = subprocess.Popen(demo().command(**settings(cloud), PORT=port), stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        wait_until("the worker is ready", lambda: cloud.worker_state() == "ready" or ended(worker, log), 120)
        with open(f"/proc/{worker.pid}/status", encoding="ascii") as f:
            equal(re.search(r"^Uid:\t(.*)$", f.read(), re.MULTILINE).group(1).split(), ["10001"] * 4)
        cloud.create_session("u1", "s1", photo_png(64, 64), mask_png(64, 64, (20, 20, 40, 40)))
        cloud.publish("u1", "s1")
        wait_until("the push is answered", lambda: [d["status"] for d in cloud.deliveries("u1", "s1")][-1:] == [204], 120)
        equal(cloud.document("u1", "s1")["processingStatus"], "completed")
        for name in ("edited.jpg", "preview.jpg"):
            equal(jpeg_size(cloud.object("u1", "s1", name)["data"]), (64, 64), name)
        worker.terminate()
        equal(worker.wait(15), 0)
    finally:
        worker.kill()
        worker.wait()
        cloud.stop()
    equal([line for line in cloud.log_lines(1000) if "Read-only file system" in line], [])


def ended(worker, log):
    if worker.poll() is not None:
        with open(log, encoding="utf-8", errors="replace") as f:
            raise AssertionError(f"the worker ended with {worker.returncode}: {f.read()[-2000:]}")
    return False


# ---- fetched weights ----

TINY = os.path.join(ROOT, "build", "models", "tiny")
PARTS = {"transformer": ["flux1-fill-tiny-Q8_0.gguf"], "vae": ["ae.safetensors"], "clip": ["text_encoder/model.safetensors"],
         "t5": ["text_encoder_2/model.safetensors"],
         "tokenizers": ["tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer_2/spiece.model"]}


def write_table(path):
    """The table of weights, with the tiny random model's files in place of the real ones."""
    with open(path, encoding="utf-8") as f:
        table = json.load(f)
    like, rows = {row["part"]: row for row in reversed(table["files"])}, []
    for part, names in PARTS.items():
        for name in names:
            with open(f"{TINY}/{name}", "rb") as f:
                data = f.read()
            rows.append({**like[part], "repository": REPOSITORY, "file": name, "to": name, "bytes": len(data), "size": None,
                         "sha256": hashlib.sha256(data).hexdigest()})
    licences = ",\n    ".join(map(json.dumps, table["licences"]))
    files = ",\n    ".join(map(json.dumps, rows))
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'{{\n  "about": {json.dumps(table["about"])},\n  "licences": [\n    {licences}\n  ],\n')
        f.write(f'  "files": [\n    {files}\n  ]\n}}\n')


@functools.cache
def fetched(text="t5", fresh=False):
    """An image whose weights were fetched with a token, and the hub that was asked for them."""
    if not ALL:
        raise Skip("only with --all")
    if not os.path.isdir(TINY):
        raise Skip("there is no build/models/tiny: make tiny-model")
    folder, tag = context(), f"inpaint-fetched-{text}{'-fresh' if fresh else ''}"
    if not os.path.exists(f"{folder}/table-written"):
        write_table(f"{folder}/scripts/weights.json")
        open(f"{folder}/table-written", "w", encoding="ascii").close()
    with open(f"{DIR}/token", "w", encoding="ascii") as f:
        f.write(TOKEN + "\n")
    hub = Hub({f"{REPOSITORY}/{name}": pathlib.Path(TINY, name).read_bytes() for names in PARTS.values() for name in names})
    OPEN.callback(hub.close)
    options = ["--secret", f"id=hf_token,src={DIR}/token"] + (["--no-cache"] if fresh else [])
    log = build(tag, folder, *options, MODEL="Q8_0", TEXT=text, HF_ENDPOINT=hub.hub.address, COMMIT=COMMIT)
    os.remove(f"{DIR}/token")
    assert TOKEN not in log, "the token is in what the build printed"
    return opened(tag), hub


def test_fetched_weights_are_a_layer_for_each_part_and_their_licences_are_beside_them():
    image, hub = fetched()
    assert f"Bearer {TOKEN}" in {r.headers.get("authorization") for r in hub.hub.log}, "the server was shown the token"
    code = image.layers.index(image.layers_of("usr/local/bin/inpaint-worker")[0])
    for part, names in PARTS.items():
        layers = image.layers_of(f"models/{names[0]}")
        equal((len(layers), sorted(m.name for m in image.files_of(layers[0]))), (1, sorted(f"models/{n}" for n in names)), part)
        assert image.layers.index(layers[0]) < code, part
    equal(image.names("/models"), sorted(n for names in PARTS.values() for n in names))
    assert os.path.isfile(f"{image.root}/usr/share/doc/inpaint-worker/weights.json")


def test_with_a_prompt_pack_the_image_has_no_text_encoder_and_the_worker_takes_it():
    image, _ = fetched("pack")
    equal(image.names("/models"), ["ae.safetensors", "flux1-fill-tiny-Q8_0.gguf", "prompts.safetensors"])
    cloud = Cloud("http://127.0.0.1:9/inpaint")
    try:
        status, text = image.run("doctor", **settings(cloud))
        equal((status, "prompts.safetensors" in text), (0, True), text)
    finally:
        cloud.stop()


def test_the_token_is_in_no_layer_no_history_and_no_file_of_the_builder():
    image, _ = fetched()
    assert TOKEN not in json.dumps(image.config) + json.dumps(image.manifest)
    with open(f"{image.root}/tmp/probe", "w", encoding="ascii") as f:
        f.write(TOKEN)
    try:
        equal({os.path.basename(n) for n in holds_text(f"{DIR}/store", TOKEN)}, {"probe"}, "only the probe of this search holds it")
    finally:
        os.remove(f"{image.root}/tmp/probe")


def test_weights_that_are_fetched_again_are_the_same_layers_again():
    first, again = fetched()[0], fetched(fresh=True)[0]
    for names in PARTS.values():
        one, two = (image.files_of(image.layers_of(f"models/{names[0]}")[0]) for image in (first, again))
        equal([(m.name, m.size, m.mtime, m.mode) for m in two], [(m.name, m.size, m.mtime, m.mode) for m in one])


# ---- the test stage ----

def test_the_test_stage_runs_unit_tests():
    if not ALL:
        raise Skip("only with --all")
    log = build("inpaint-test", context(), "--target", "test", TESTS="config")
    assert re.search(r"\b[1-9][0-9]* (tests? )?passed", log), log[-2000:]


if __name__ == "__main__":
    if not builder.BASE:
        sys.exit(subprocess.run(["scripts/image/check.sh", *sys.argv[1:]], cwd=ROOT).returncode)
    for name in buildah("containers", "--quiet").splitlines():
        buildah("rm", name, check=False)  # of a run that was killed
    sys.exit(run_suites(sys.argv[1:], Suite(tests_of(sys.modules[__name__]), lambda: OPEN)))
