"""The version that a build has: of a tag, of the newest release in CHANGELOG.md, or as it was told."""
import os
import re
import shutil
import subprocess
import tempfile

from harness import PROGRAM, ROOT, equal


def git(folder, *args):
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
    subprocess.run(["git", "-C", folder, *who, *args], capture_output=True, check=True)


def version(folder, *args):
    env = {k: v for k, v in os.environ.items() if k not in ("VERSION", "COMMIT", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", "-s", "-C", folder, "--no-print-directory", "version", "CUDA=0", *args], capture_output=True, text=True, env=env,
                          check=True).stdout.strip()


def test_the_version_is_that_of_the_newest_tag_and_what_came_after_it():
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(ROOT, "Makefile"), folder)
        equal(version(folder), "0.0.0", "nothing is known")
        with open(f"{folder}/CHANGELOG.md", "w", encoding="ascii") as f:
            f.write("# Changes\n\n## [Unreleased]\n\n## [3.4.5] - 2026-01-02\n\n## [3.4.4] - 2026-01-01\n")
        equal(version(folder), "3.4.5", "without git")
        git(folder, "init")
        git(folder, "add", ".")
        git(folder, "commit", "-m", "a")
        equal(version(folder), "3.4.5", "without a tag")
        git(folder, "tag", "-a", "v3.4.6", "-m", "r")
        git(folder, "tag", "other")
        equal(version(folder), "3.4.6")
        git(folder, "commit", "--allow-empty", "-m", "b")
        git(folder, "commit", "--allow-empty", "-m", "c")
        equal(version(folder), "3.4.6-2")
        equal(version(folder, "VERSION=v7.8.9"), "7.8.9", "as it was told")
        equal(version(folder, "VERSION="), "3.4.5", "an argument that was left empty, as an image's may be")


def test_the_program_has_the_version_of_its_build():
    told = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    equal(re.match(r"inpaint-worker ([0-9.-]+), commit ", told).group(1), version(ROOT))


def test_the_newest_release_in_the_list_of_changes_has_a_day_and_a_link():
    with open(os.path.join(ROOT, "CHANGELOG.md"), encoding="utf-8") as f:
        text = f.read()
    releases = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    equal(releases[0], ("Unreleased", ""))
    assert len(releases) > 1 and all(re.fullmatch(r"\d+\.\d+\.\d+", name) and day for name, day in releases[1:]), releases
