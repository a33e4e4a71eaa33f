#!/usr/bin/env python3
"""test_fetch.py [PART OF A NAME...] - scripts/fetch_weights.sh against a hub and a content network with faults.

Needs bash, curl and flock; takes some 30 s. hub.py is the two sites, client.py calls the program.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/integration"))
from client import PIECE, REPOSITORY, Client, content, row, table_text
from harness import Skip, Suite, run_suites, tests_of, wait_until
from hub import Hub, Reply

TOKEN = "hf_TheTokenOfThisTest"
BODY = content(10 * PIECE + 12345)


@contextlib.contextmanager
def one_file(body=BODY, env=None, hub=None, **columns):
    """A hub with a.bin, and a client whose table names it."""
    sites = Hub({f"{REPOSITORY}/a.bin": body}, **(hub or {}))
    client = Client(sites, [row("a.bin", body, **columns)], **(env or {}))
    try:
        yield sites, client
    finally:
        client.close()
        sites.close()


def ends_well(client, run, body=BODY):
    assert run.returncode == 0, run.stderr
    assert client.read("a.bin") == body
    assert client.left() == ["a.bin"], client.left()


def fails_with(run, *texts, status=1):
    assert run.returncode == status, (run.returncode, run.stderr)
    for text in texts:
        assert text in run.stderr, run.stderr


def first_times(n, fault):
    """A fault for the first n requests to which it applies; fault(request, reply) gives None for others."""
    left, lock = [n], threading.Lock()

    def apply(request, reply):
        with lock:
            other = fault(request, reply) if left[0] else None
            left[0] -= other is not None
        return other or reply
    return apply


def for_pieces(make):
    """A fault for everything but the question whether ranges are known."""
    return lambda request, reply: make(request, reply) if request.span != (0, 0) else None


def descendants(pid):
    """Process ids of everything that a process has started, by its group of parents."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry)] = int(pathlib.Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()[1])
    found = {pid}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return found


# ---- the table ----

def test_the_table_is_read_as_a_json_parser_reads_it():
    for rows in (None, [row("a/b.bin", part="clip", size=False), row("c.bin", BODY, choice="Q8_0", part="transformer", size="9.86 GB")]):
        client = Client(rows=rows or ())
        table = client.table if rows else ROOT / "scripts/weights.json"
        run = client.run("--rows", "--table", str(table))
        assert run.returncode == 0, run.stderr
        want = [["-" if v is None else str(v) for v in r.values()] for r in json.loads(pathlib.Path(table).read_text())["files"]]
        assert [line.split("\t") for line in run.stdout.splitlines()] == want
        client.close()


def test_a_table_of_another_layout_is_refused():
    good = table_text([row("a.bin", BODY)])
    for bad in (good.replace('"part"', '"Part"'), good.replace('", "to"', '" , "to"'), good.replace("a.bin", "../a.bin"),
                good.replace("a.bin", "/a.bin"),
                good.replace('"to": "a.bin"', '"to": "x/../../a.bin"'), good.replace('"file": "a.bin"', '"file": "x/../../a.bin"'), good.replace("a.bin", "a b"), good.replace("owner/name", "owner"),
                good.replace('"vae"', '"other"'), good.replace('"sha256": "', '"sha256": "0'), good.replace("]\n}", "]\n}x"),
                good.replace('"main"', '"ma\\u0069n"'), re.sub(r'"bytes": \d+', '"bytes": -1', good), "", "{\n}\n"):
        client = Client()
        pathlib.Path(client.table).write_text(bad)
        run = client.run("--list")
        assert run.returncode == 1 and not run.stdout and "weights.json" in run.stderr, (bad, run)
        client.close()


def test_the_table_agrees_with_the_known_files():
    known = {}
    for line in (ROOT / "models/known_files").read_text().splitlines():
        if line and not line.startswith("#"):
            name, size, digest, _, source, licence = line.split(" | ")
            known[name] = size, digest, source, licence
    for r in json.loads((ROOT / "scripts/weights.json").read_text())["files"]:
        assert r["to"] in known, f"{r['to']} is not in models/known_files"
        size, digest, _, licence = known[r["to"]]
        assert (str(r["bytes"]), r["sha256"]) == (size.replace("-", "None"), digest), r
        assert licence in ("-", r["licence"]), r


def test_each_choice_is_a_whole_model_with_a_licence_and_a_fixed_revision():
    table = json.loads((ROOT / "scripts/weights.json").read_text())
    licences = {x["licence"] for x in table["licences"]}
    assert [r["choice"] for r in table["files"] if r["part"] == "transformer"] == ["Q8_0", "Q6_K", "Q5_K_S", "Q4_K_S"]
    assert {r["part"] for r in table["files"]} == {"transformer", "vae", "clip", "t5", "tokenizers"}
    for r in table["files"]:
        assert r["licence"] in licences and re.fullmatch("[0-9a-f]{40}", r["revision"]), r


def test_list_and_dry_run_ask_nobody_and_write_nothing():
    with one_file() as (hub, client):
        listed, planned = client.run("--list"), client.run("--dry-run")
        assert listed.returncode == planned.returncode == 0
        assert "MIT" in listed.stdout and "None." in listed.stdout and f"{len(BODY)} bytes" in listed.stdout, listed.stdout
        assert f"{hub.hub.address}/{REPOSITORY}/resolve/main/a.bin" in planned.stdout, planned.stdout
        assert not os.path.exists(client.out) and not hub.hub.log and not hub.cdn.log
    real = Client().run("--list", "--table", str(ROOT / "scripts/weights.json")).stdout
    assert all(x in real for x in ("12.7 GB", "335.3 MB", "Non-Commercial", "Black Forest Labs")), real


def test_wrong_calls_say_what_is_allowed():
    with one_file() as (hub, client):
        for args, env, text in ((("--transformer", "Q9"), {}, "Q8_0, Q6_K"), (("--text", "pack"), {}, "t5 or none"),
                                (("--part", "unet"), {}, "tokenizers"), (("--connections", "0"), {}, "1 to 32"),
                                (("--connections", "010"), {}, "1 to 32"), (("--wat",), {}, "'--wat'"), (("--part",), {}, "needs a value"),
                                ((), {"HF_ENDPOINT": "http://example.org"}, "https"), ((), {"HF_ENDPOINT": "ftp://127.0.0.1"}, "https"), ((), {"HF_ENDPOINT": "https:///x"}, "https"),
                                ((), {"FETCH_RETRIES": "x"}, "FETCH_RETRIES"), (("--token-file", "/nowhere"), {}, "/nowhere")):
            fails_with(client.run(*args, **env), text, status=2)
        run = client.run(HF_TOKEN="secret with\nlines")
        fails_with(run, "characters", status=2)
        assert "secret" not in run.stderr and not hub.hub.log


# ---- the way that goes well ----

def test_a_model_folder_is_fetched_whole_in_ranges():
    files = {"flux.gguf": BODY, "t5.gguf": content(3 * PIECE, 2), "ae.safetensors": content(500, 3), "tokenizer/vocab.json": content(1, 4),
             "clip.safetensors": content(PIECE, 5)}
    parts = dict(zip(files, ("transformer", "t5", "vae", "tokenizers", "clip")))
    hub = Hub({f"{REPOSITORY}/{name}": body for name, body in files.items()})
    rows = [row(n, b, parts[n], choice="Q8_0" if n == "flux.gguf" else None) for n, b in files.items()]
    client = Client(hub, rows + [row("other.gguf", None, "transformer", choice="Q6_K")])
    run = client.run("--connections", "4")
    assert run.returncode == 0, run.stderr
    assert client.left() == sorted(files) and all(client.read(n) == b for n, b in files.items())
    spans = sorted(r.span for r in hub.pieces() if "/flux.gguf" in r.path)
    assert spans == [(i * PIECE, min((i + 1) * PIECE, len(BODY)) - 1) for i in range(11)], spans
    assert hub.sent() <= sum(map(len, files.values())) + len(files)
    for text, part, want in (("none", None, {"flux.gguf", "ae.safetensors"}), ("none", "tokenizers", {"tokenizer/vocab.json"}),
                             ("t5", "clip", {"clip.safetensors"})):
        other = Client(hub, rows)
        assert other.run("--text", text, *(("--part", part) if part else ())).returncode == 0
        assert set(other.left()) == want, other.left()
        other.close()
    client.close()
    hub.close()


def test_what_is_there_and_right_is_not_fetched_again():
    with one_file() as (hub, client):
        run = client.run()
        ends_well(client, run)
        assert "MIT: None. https://example.org/" in run.stderr
        asked = len(hub.hub.log), len(hub.cdn.log)
        run = client.run()
        ends_well(client, run)
        assert "is there and right" in run.stderr and asked == (len(hub.hub.log), len(hub.cdn.log))
        pathlib.Path(client.path("a.bin")).write_bytes(BODY[:-1] + b"x")
        run = client.run()
        ends_well(client, run)
        assert "fetched again" in run.stderr


def test_a_file_without_a_known_digest_is_checked_by_what_the_server_announces():
    with one_file(digest=False, size=False) as (hub, client):
        run = client.run()
        ends_well(client, run)
        assert "digest that the server announced" in run.stderr
        pathlib.Path(client.path("a.bin")).write_bytes(BODY[:-1] + b"x")
        ends_well(client, client.run())
        hub.cdn_fault = for_body(lambda body: body[:-1] + bytes([body[-1] ^ 1]))
        os.remove(client.path("a.bin"))
        fails_with(client.run(), "the server says " + hashlib.sha256(BODY).hexdigest())


def for_body(change):
    def apply(request, reply):
        if request.span != (0, 0) and reply.body:
            reply.body = change(reply.body)
        return reply
    return apply


def test_a_file_without_any_digest_is_fetched_and_said_to_be_unverified():
    with one_file(digest=False, size=False, hub={"announce": False}) as (_, client):
        run = client.run()
        ends_well(client, run)
        assert f"not verified: no digest is known; its SHA-256 is {hashlib.sha256(BODY).hexdigest()}" in run.stderr
        assert "not verified" in client.run().stderr


# ---- cuts, and going on ----

def test_a_download_that_is_cut_at_every_tenth_goes_on_there():
    with one_file(env={"FETCH_PIECE_BYTES": str(len(BODY)), "FETCH_RETRIES": "0"}) as (hub, client):
        for tenth in range(1, 11):
            end = len(BODY) * tenth // 10 - (tenth == 10)
            hub.cdn_fault = lambda request, reply, end=end: reply if request.span == (0, 0) else Reply(
                reply.status, reply.headers, reply.body, cut=end - request.span[0])
            fails_with(client.run(), "broke", "The same command again continues")
            assert hub.pieces()[-1].span[0] == (len(BODY) * (tenth - 1) // 10 if tenth > 1 else 0), hub.pieces()[-1].span
            assert not os.path.exists(client.path("a.bin"))
        hub.cdn_fault = lambda request, reply: reply
        ends_well(client, client.run())
        assert hub.sent() == len(BODY) + 11, "something was fetched twice"


def test_pieces_that_are_cut_again_and_again_go_on_in_the_same_run():
    with one_file(env={"FETCH_RETRIES": "20"}) as (hub, client):
        hub.cdn_fault = lambda request, reply: reply if request.span == (0, 0) else Reply(
            reply.status, reply.headers, reply.body, cut=PIECE // 4 + 1)
        ends_well(client, client.run())
        assert hub.sent() == len(BODY) + 1


def test_a_killed_run_leaves_what_the_next_one_continues():
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with one_file(digest=how != signal.SIGTERM) as (hub, client):
            hub.cdn_fault = first_times(100, for_pieces(lambda q, r: Reply(r.status, r.headers, r.body, rate=PIECE // 2)))
            process = client.start("--connections", "3")
            wait_until("a piece has been sent", lambda: hub.sent() > PIECE, 20)
            started = descendants(process.pid) - {process.pid}
            process.send_signal(how)
            _, err = process.communicate(timeout=20)
            assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(how, -how), (process.returncode, err)
            hub.cdn_fault = lambda request, reply: reply
            before = hub.sent()
            ends_well(client, client.run(FETCH_LOCK_SECONDS="10"))
            assert 0 < hub.sent() - before < len(BODY) - PIECE // 4, (hub.sent() - before, before)
            alive = [p for p in started if os.path.exists(f"/proc/{p}") and "Z" not in state_of(p)]
            assert not alive, "processes outlived the program"


def state_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return "Z"


def test_a_run_that_was_killed_while_it_joined_pieces_is_continued():
    for joined in (PIECE // 2, PIECE, PIECE + PIECE // 3):
        with one_file(env={"FETCH_RETRIES": "0"}) as (hub, client):
            hub.cdn_fault = lambda q, r: Reply(500) if q.span and q.span[0] == 0 and q.span != (0, 0) else r
            fails_with(client.run("--connections", "1"), "500")
            state = pathlib.Path(client.out, ".fetch/a.bin")
            for k in range(2 if joined > PIECE else 1):
                (state / f"piece.{k}").write_bytes(BODY[k * PIECE: (k + 1) * PIECE])
            (state / "whole").write_bytes(BODY[:joined])
            ends_well(client, client.run())
            assert all(r.span[0] >= PIECE for r in hub.pieces()[1:]), "a piece that was there was fetched"
    with one_file(env={"FETCH_RETRIES": "0"}) as (hub, client):  # the piece is lost, and the length of pieces another
        hub.cdn_fault = lambda q, r: Reply(500) if q.span and q.span != (0, 0) else r
        fails_with(client.run("--connections", "1"), "500")
        pathlib.Path(client.out, ".fetch/a.bin/whole").write_bytes(BODY[: PIECE + 5])
        hub.cdn_fault = lambda request, reply: reply
        ends_well(client, client.run(FETCH_PIECE_BYTES="70000"))


# ---- refusals and faults ----

def test_a_wrong_digest_deletes_the_file_and_says_both():
    wrong = BODY[:-1] + bytes([BODY[-1] ^ 1])
    with one_file(hub={"announce": False}) as (hub, client):
        hub.files[f"{REPOSITORY}/a.bin"] = wrong
        fails_with(client.run(), hashlib.sha256(BODY).hexdigest(), hashlib.sha256(wrong).hexdigest(), "deleted")
        assert client.left() == [], client.left()


def test_what_the_server_announces_differently_is_not_fetched():
    with one_file(hub={"announce": True}) as (hub, client):
        hub.files[f"{REPOSITORY}/a.bin"] = content(len(BODY), 9)
        fails_with(client.run(), "announces the SHA-256", "nothing was fetched")
        hub.files[f"{REPOSITORY}/a.bin"] = BODY + b"x"
        fails_with(client.run(), f"announces {len(BODY) + 1} bytes", "nothing was fetched")
        assert not hub.cdn.log


def test_a_gated_repository_says_which_licence_to_accept():
    with one_file(hub={"token": TOKEN}) as (hub, client):
        fails_with(client.run(), "401", f"{hub.hub.address}/{REPOSITORY}", "licence", "HF_TOKEN")
        assert len(hub.hub.log) == 1, "a refusal was asked for again"
        fails_with(client.run(HF_TOKEN="hf_other"), "401", "licence", "token")
        hub.hub_fault = lambda request, reply: Reply(403)
        fails_with(client.run(HF_TOKEN=TOKEN), "403", "licence")
        hub.hub_fault = lambda request, reply: reply
        secret = pathlib.Path(client.folder, "token")
        secret.write_text(TOKEN + "\n")
        ends_well(client, client.run("--token-file", str(secret)))


def test_what_is_in_the_way_is_told_before_anything_is_fetched():
    for to, make in (("a.bin", lambda c: os.makedirs(c.path("a.bin"))), ("x/a.bin", lambda c: pathlib.Path(c.path("x")).touch())):
        with one_file(to=to) as (hub, client):
            os.makedirs(client.out)
            make(client)
            fails_with(client.run(), "in its place", client.path(to))
            assert not hub.cdn.log


def test_a_call_that_asks_for_no_file_of_the_table_fails():
    with one_file() as (hub, client):
        fails_with(client.run("--part", "t5"), "--list shows")
        assert not hub.hub.log


def test_a_missing_file_is_named_with_its_revision():
    with one_file(revision="154e0cd504b5") as (hub, client):
        hub.files.clear()
        fails_with(client.run(), "no file a.bin", "154e0cd504b5", REPOSITORY)
        assert len(hub.hub.log) == 1


def test_a_server_without_ranges_is_read_in_one_stream():
    for etags in (True, False):
        with one_file(env={"FETCH_PROGRESS_SECONDS": "1"}) as (hub, client):
            hub.etags = etags
            hub.cdn_fault = lambda q, r: Reply(200, {}, BODY, rate=len(BODY) if not q.span else None)
            run = client.run()
            ends_well(client, run)
            assert "no ranges" in run.stderr and [r.span for r in hub.cdn.log] == [(0, 0), None], run.stderr
    with one_file() as (hub, client):  # and one that breaks off begins anew
        hub.cdn_fault = first_times(2, lambda q, r: Reply(200, {}, BODY, cut=None if q.span else 5000))
        other = hub.cdn_fault
        hub.cdn_fault = lambda q, r: other(q, Reply(200, {}, BODY))
        ends_well(client, client.run())


def test_a_reply_with_another_range_is_not_used():
    with one_file() as (hub, client):
        wrong = [{"Content-Range": f"bytes {PIECE - 1}-{2 * PIECE - 1}/{len(BODY)}"}, {"Content-Range": f"bytes {PIECE}-{2 * PIECE}/{len(BODY)}"},
                 {"Content-Range": f"bytes {PIECE}-{2 * PIECE - 1}/99"},
                 {"Content-Range": None}, {"Content-Range": "bytes 1-x/y"}]
        hub.cdn_fault = first_times(5, lambda q, r: Reply(206, {**r.headers, **wrong.pop()}, b"?" * PIECE)
                                    if q.span and q.span[0] == PIECE else None)
        run = client.run()
        ends_well(client, run)
        assert "for the bytes 65536 to 131071" in run.stderr and not wrong, run.stderr


def test_a_server_that_knows_no_conditions_is_asked_without():
    with one_file() as (hub, client):
        hub.cdn_fault = lambda q, r: Reply(200, {"ETag": r.headers["ETag"]}, BODY, cut=1) if "if-range" in q.headers else r
        ends_well(client, client.run())
        assert hub.pieces()[-1].headers.get("if-range") is None


def test_a_file_that_changes_between_ranges_is_fetched_anew():
    new = content(len(BODY), 7)
    for etags in (True, False):
        with one_file(digest=False, hub={"announce": False}) as (hub, client):
            def change(request, reply):
                if request.span == (0, 0):
                    return reply
                if len(hub.pieces()) == 4:
                    hub.files[f"{REPOSITORY}/a.bin"] = new
                if not etags and len(hub.pieces()) < 20:  # a server that ignores the condition, but tells its version
                    body = hub.files[f"{REPOSITORY}/a.bin"]
                    return Reply(206, {**hub.range_reply(without_condition(request)).headers},
                                 body[request.span[0]: request.span[1] + 1])
                return hub.range_reply(request)
            hub.cdn_fault = change
            run = client.run("--connections", "2")
            ends_well(client, run, new)
            assert "changed on the server" in run.stderr


def without_condition(request):
    request.headers.pop("if-range", None)
    return request


def test_pieces_of_an_earlier_run_are_not_used_where_nothing_tells_that_the_file_is_the_same():
    new = content(len(BODY), 7)
    with one_file(digest=False, hub={"announce": False}, env={"FETCH_RETRIES": "0"}) as (hub, client):
        hub.etags = False
        hub.cdn_fault = lambda q, r: Reply(500) if q.span and q.span[0] == PIECE else r
        fails_with(client.run("--connections", "1"), "500")
        hub.files[f"{REPOSITORY}/a.bin"], hub.cdn_fault = new, lambda request, reply: reply
        ends_well(client, client.run(), new)


def test_a_file_that_keeps_changing_is_given_up():
    with one_file(digest=False, hub={"announce": False}) as (hub, client):
        def change(request, reply):
            hub.files[f"{REPOSITORY}/a.bin"] = content(len(BODY), 100 + len(hub.cdn.log))
            return reply
        hub.cdn_fault = change
        fails_with(client.run(), "changed on the server")
        assert 3 <= sum(r.span == (0, 0) for r in hub.cdn.log) <= 4


def test_busy_servers_are_asked_again_after_the_time_they_name():
    with one_file() as (hub, client):
        hub.cdn_fault = first_times(3, for_pieces(lambda q, r: Reply(503)))
        ends_well(client, client.run())
    with one_file() as (hub, client):
        hub.hub_fault = first_times(1, lambda q, r: Reply(429, {"Retry-After": "1"}))
        ends_well(client, client.run())
        assert hub.hub.log[1].at - hub.hub.log[0].at >= 1


def test_the_number_of_attempts_and_their_pauses_are_bounded():
    with one_file(env={"FETCH_RETRIES": "3", "FETCH_BACKOFF_MILLISECONDS": "100"}) as (hub, client):
        hub.cdn_fault = lambda q, r: r if q.span == (0, 0) else Reply(500)
        fails_with(client.run("--connections", "1"), "500", "gave up after 4 failures")
        at = [r.at for r in hub.pieces()]
        assert len(at) == 4 and at[1] - at[0] >= 0.1 and at[2] - at[1] >= 0.2 and at[3] - at[2] >= 0.4
    with one_file(env={"FETCH_RETRIES": "1"}) as (hub, client):
        fails_with(client.run(HF_ENDPOINT="http://127.0.0.1:9"), "gave up")


def test_a_stalled_connection_is_cut_and_made_anew():
    with one_file(env={"FETCH_STALL_SECONDS": "1"}) as (hub, client):
        hub.cdn_fault = first_times(1, for_pieces(lambda q, r: Reply(r.status, r.headers, r.body, stall=30)))
        begin = time.monotonic()
        run = client.run()
        ends_well(client, run)
        assert "slower than" in run.stderr and time.monotonic() - begin < 20


def test_an_address_that_is_no_longer_valid_is_asked_for_again():
    with one_file() as (hub, client):
        hub.cdn_fault = first_times(2, lambda q, r: Reply(403) if q.span and q.span[0] > PIECE else None)
        ends_well(client, client.run())
        assert len(hub.hub.log) >= 4


def test_progress_is_told_in_lines_where_there_is_no_terminal():
    with one_file(env={"FETCH_PROGRESS_SECONDS": "1"}) as (hub, client):
        hub.cdn_fault = for_pieces(lambda q, r: Reply(r.status, r.headers, r.body, rate=PIECE // 2))
        other = hub.cdn_fault
        hub.cdn_fault = lambda q, r: other(q, r) or r
        run = client.run()
        ends_well(client, run)
        assert re.search(r"a\.bin: \d+ bytes of \d+ bytes, \d+\.\d MB/s, \d+ s left", run.stderr) and "\r" not in run.stderr, run.stderr


def test_at_a_terminal_progress_is_one_line_and_ctrl_c_ends_it():
    in_a_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    with one_file() as (hub, client):
        hub.cdn_fault = lambda q, r: r if q.span == (0, 0) else Reply(r.status, r.headers, r.body, rate=PIECE // 4)
        with subprocess.Popen([sys.executable, "-c", in_a_terminal, *client.command()], env=client.env, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            wait_until("three pieces have been sent", lambda: hub.sent() > 3 * PIECE, 20)
            process.stdin.write(b"\x03")
            process.stdin.flush()
            out = process.communicate(timeout=20)[0].decode()
        assert process.returncode == 130 and "interrupted" in out, (process.returncode, out)
        assert re.search(r"\r\x1b\[Kfetch_weights: a\.bin: \d+ bytes of \d+ bytes, \d+\.\d MB/s, \d+ s left", out), out
        before = hub.sent()
        hub.cdn_fault = lambda request, reply: reply
        ends_well(client, client.run())
        assert hub.sent() - before < len(BODY)


def test_it_needs_bash_curl_flock_and_coreutils_alone():
    with one_file() as (_, client):
        tools = pathlib.Path(client.folder, "bin")
        tools.mkdir()
        for tool in "bash cat curl df flock head mkdir mv rm rmdir sha256sum sleep stat tail".split():
            (tools / tool).symlink_to(shutil.which(tool))
        ends_well(client, client.run(PATH=str(tools)))
        (tools / "curl").unlink()
        os.remove(client.path("a.bin"))
        fails_with(client.run(PATH=str(tools)), "curl is not installed")


# ---- the token, and other hosts ----

def test_the_token_goes_to_no_other_host():
    for host in ("127.0.0.1", "127.0.0.2", "localhost"):
        with one_file(hub={"token": TOKEN, "cdn_host": host}) as (hub, client):
            def once_more(request, reply):  # the network leads on to itself: then, too
                if "again" in request.path:
                    return hub.range_reply(request)
                return Reply(302, {"Location": request.path + "&again"})
            hub.cdn_fault = once_more
            ends_well(client, client.run(HF_TOKEN=TOKEN))
            assert all(r.headers.get("authorization") == f"Bearer {TOKEN}" for r in hub.hub.log)
            assert not any(TOKEN in str(r.headers) + r.path for r in hub.cdn.log) and len(hub.cdn.log) > 10


def test_a_repository_that_moved_is_followed_with_the_token():
    with one_file(hub={"token": TOKEN}) as (hub, client):
        hub.hub_fault = lambda q, r: Reply(307, {"Location": f"/{REPOSITORY}/resolve/main/a.bin?moved"}) if "?" not in q.path else r
        other = hub.hub.answer
        hub.hub.answer = lambda q: Reply(302, {"Location": f"{hub.cdn.address}/{REPOSITORY}/a.bin"}) if "?moved" in q.path else other(q)
        ends_well(client, client.run(HF_TOKEN=TOKEN))
        assert {r.headers.get("authorization") for r in hub.hub.log} == {f"Bearer {TOKEN}"} and len(hub.hub.log) >= 4
        hub.hub.answer = lambda q: Reply(302, {"Location": q.path})
        os.remove(client.path("a.bin"))
        fails_with(client.run(HF_TOKEN=TOKEN), "circle")


def test_small_files_that_the_hub_sends_itself_are_fetched_with_the_token():
    with one_file(body=b"small", hub={"token": TOKEN}) as (hub, client):
        def direct(request):
            assert request.headers.get("authorization") == f"Bearer {TOKEN}"
            request.path = f"/{REPOSITORY}/a.bin"
            return hub.range_reply(request)
        hub.hub.answer = direct
        ends_well(client, client.run(HF_TOKEN=TOKEN), b"small")
        assert not hub.cdn.log


def test_addresses_that_are_not_https_are_not_followed():
    for place in ("http://example.org/a.bin", "ftp://127.0.0.1/a.bin", "file:///etc/passwd", 'https://x/"\nheader = "X: y'):
        with one_file() as (hub, client):
            hub.hub_fault = lambda q, r, place=place: Reply(302, {"Location": place.split("\n", maxsplit=1)[0]})
            fails_with(client.run(), "not https")


def test_the_token_is_in_no_argument_output_trace_or_file():
    with one_file(hub={"token": TOKEN}) as (hub, client):
        hub.cdn_fault = lambda q, r: r if q.span == (0, 0) else Reply(r.status, r.headers, r.body, rate=PIECE // 2)
        process = client.start(shell=("bash", "-x"), HF_TOKEN=TOKEN)
        seen = set()
        wait_until("a piece has been sent", lambda: hub.sent() > PIECE or seen.update(look(process.pid)), 20, every=0.02)
        for _ in range(20):
            seen.update(look(process.pid))
            time.sleep(0.02)
        files = {name: client.read(name) for name in client.left()}
        process.kill()
        out, err = process.communicate(timeout=20)
        assert any("curl" in text for text in seen) and not any(TOKEN in text for text in seen), seen
        assert not any("signature=" in text for text in seen), "a signed address is in an argument list"
        assert TOKEN not in out + err and files and not any(TOKEN.encode() in body for body in files.values())
        run = client.run(shell=("bash", "-xv"), HF_TOKEN=TOKEN, FETCH_LOCK_SECONDS="10")
        assert run.returncode == 0 and TOKEN not in run.stdout + run.stderr
        others = [p.read_bytes() for p in pathlib.Path(client.folder).rglob("*") if p.is_file()]
        assert not any(TOKEN.encode() in body for body in others)


def look(pid):
    """Arguments of all processes that pid has started, and their environment except that of pid, in which the token came."""
    texts = set()
    for p in descendants(pid):
        for part in ("cmdline", "environ") if p != pid and executable(p) != executable(pid) else ("cmdline",):
            with contextlib.suppress(OSError):
                texts.add(pathlib.Path(f"/proc/{p}/{part}").read_bytes().decode(errors="replace"))
    return texts


def executable(pid):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return None


# ---- the folder ----

def test_two_runs_do_not_write_one_folder():
    with one_file() as (hub, client):
        hub.cdn_fault = lambda q, r: r if q.span == (0, 0) else Reply(r.status, r.headers, r.body, rate=PIECE // 2)
        first = client.start()
        wait_until("bytes have been sent", lambda: hub.sent() > 1, 20)
        fails_with(client.run(FETCH_LOCK_SECONDS="0"), "another", str(first.pid))
        second = client.run(FETCH_LOCK_SECONDS="30")
        assert first.wait(20) == 0 and hub.sent() == len(BODY) + 1
        first.communicate()
        ends_well(client, second)


@contextlib.contextmanager
def small_disk(client, size):
    os.makedirs(client.out)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", client.out], capture_output=True, text=True, check=False)
    if mount.returncode:
        raise Skip("a small file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", client.out], check=False)


def test_a_disk_that_is_too_small_is_noticed_before():
    with one_file(size=False) as (hub, client), small_disk(client, 262144):
        fails_with(client.run(), "free", "are still to be fetched")
        assert not hub.cdn.log


def test_a_disk_that_fills_up_ends_the_run_and_the_next_one_continues():
    with one_file() as (hub, client), small_disk(client, len(BODY) + 6 * PIECE):
        filler = pathlib.Path(client.out, "filler")
        lock = threading.Lock()

        def fill(request, reply):
            with lock:
                if request.span != (0, 0) and len(hub.pieces()) == 3 and not filler.exists():
                    free = os.statvfs(client.out)
                    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - 2 * PIECE)))
            return reply
        hub.cdn_fault = fill
        fails_with(client.run("--connections", "2"), "is the disk full?")
        filler.unlink()
        ends_well(client, client.run())


def test_a_fetched_demo_model_is_loaded_by_the_program():
    program = os.environ.get("PROGRAM", str(ROOT / "build/inpaint-worker"))
    if not os.path.exists(program):
        raise Skip("build/inpaint-worker is not built")
    demo = ROOT / "models/demo"
    files = {p.name: p.read_bytes() for p in demo.iterdir() if p.suffix in (".gguf", ".safetensors")}
    hub = Hub({f"{REPOSITORY}/{name}": body for name, body in files.items()})
    client = Client(hub, [row(name, body) for name, body in files.items()], FETCH_PIECE_BYTES="1000000")
    assert client.run().returncode == 0 and client.left() == sorted(files)
    settings = {"PATH": client.env["PATH"], "MODEL_DIR": client.out, "BACKEND": "cpu", "PUSH_AUTH": "none", "FIRESTORE_EMULATOR_HOST": "127.0.0.1:9",
                "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9", "GOOGLE_CLOUD_PROJECT": "demo", "FIREBASE_STORAGE_BUCKET": "demo"}
    doctor = subprocess.run([program, "doctor", "--offline", "--self-check"], env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert doctor.stdout.count("digest right") == len(files), doctor.stdout
    client.close()
    hub.close()


def test_the_command_in_the_help_is_one_that_gcloud_knows():
    command = re.search(r"^  (gcloud .*)$", Client().run("--help").stdout, re.MULTILINE)[1]
    assert command.startswith("gcloud storage rsync ")
    if not shutil.which("gcloud"):
        raise Skip("google-cloud-cli is not installed")
    lint = subprocess.run(["gcloud", "meta", "lint-gcloud-commands", f"--command-string={command}"], capture_output=True, text=True, check=False)
    assert lint.returncode == 0 and '"success": true' in lint.stdout, lint.stdout + lint.stderr


if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], Suite(tests_of(sys.modules[__name__]), at_once=6)))
