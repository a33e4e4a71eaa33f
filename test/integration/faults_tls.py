"""In production: nothing is sent to a peer that does not prove who it is."""
import errno
import re
import subprocess
import sys
import time

from fake_cloud import *  # noqa: F403
from harness import equal, wait_until
from house import House
from modes import PRODUCTION_ONLY
from production import keys


def refuses(h, w, host, name, context, word):
    """This certificate ends a job at the host's first call; afterwards the job is done."""
    good = h.cloud.server.contexts[host]
    with h.case(f"{host}, {name}"):
        session = "-".join(name.split())
        body, lines = h.job(session), len(w.log())
        h.cloud.server.show(host, context)
        calls = len(h.cloud.guard.seen)
        equal(w.push(body), 503)
        made = {op for op, _ in h.cloud.guard.seen[calls:]}
        equal(made & {"get"} if host.startswith("firestore") else {op for op in made if ":" in op}, set(), "calls")
        said = w.log()[lines:]
        assert host in said and re.search(word, said), said
    h.cloud.server.show(host, good)
    equal(h.deliver(w, session, body), [204])
    h.check_completed(session, attempts=1 if host.startswith("firestore") else 2)


@PRODUCTION_ONLY
def test_firestore_with_a_wrong_certificate():
    with House("tls-firestore") as h:
        w = h.worker()
        for name, (context, word) in keys().bad_contexts("firestore.googleapis.com").items():
            refuses(h, w, "firestore.googleapis.com", name, context, word)


@PRODUCTION_ONLY
def test_storage_with_a_wrong_certificate():
    with House("tls-storage") as h:
        w = h.worker()
        for name in ("another authority", "another name"):
            refuses(h, w, "storage.googleapis.com", name, *keys().bad_contexts("storage.googleapis.com")[name])


@PRODUCTION_ONLY
def test_keys_of_the_issuer_with_a_wrong_certificate():
    host = "www.googleapis.com"
    for name in ("another authority", "expired"):
        context, word = keys().bad_contexts(host)[name]
        with House(f"tls-keys-{'-'.join(name.split())}") as h:
            good = h.cloud.server.contexts[host]
            h.cloud.server.show(host, context)
            w = h.worker(ready=False)
            wait_until("it listens", w.listens)
            wait_until("it says why", lambda: host in w.log() and re.search(word, w.log()))
            body = h.job("keys")
            equal(w.push(body), 503)
            equal((h.cloud.count("certs"), h.cloud.count("claim")), (0, 0))
            h.cloud.server.show(host, good)
            time.sleep(1.1)  # for so long no other try is made
            wait_until("it works", lambda: w.push(body) == 204)
            h.check_completed("keys")


# Prints what becomes of a connection: the port that it leads to, or why there is none.
CONNECT = """
import socket, sys
for host, port in zip(sys.argv[1::2], sys.argv[2::2]):
    with socket.socket() as s:
        try:
            s.settimeout(2)
            s.connect((host, int(port)))
            print(s.getpeername()[1])
        except OSError as e:
            print(e.errno if e.errno > 0 else type(e).__name__)
"""


@PRODUCTION_ONLY
def test_nothing_leaves_this_machine():
    with House("shim") as h:
        server, metadata = h.cloud.server.server_port, h.cloud.metadata.server_port
        there = [("firestore.googleapis.com", 443), ("Storage.googleapis.com", 80), ("metadata.google.internal", 80),
                 ("127.0.0.1", server), ("localhost", server)]
        nowhere = [("example.com", 443), ("firestore.googleapis.com.example.com", 443), ("googleapis.com", 443)]
        unreachable = [("192.0.2.1", 443), ("169.254.169.254", 80), ("198.51.100.1", 53)]
        arguments = [str(part) for pair in there + nowhere + unreachable for part in pair]
        said = subprocess.run([sys.executable, "-c", CONNECT, *arguments], env=h.cloud.env, capture_output=True, text=True,
                              check=True).stdout.splitlines()
        equal(said, [*(str(port) for port in (server, server, metadata, server, server)), *["gaierror"] * len(nowhere),
                     *[str(errno.ENETUNREACH)] * len(unreachable)])
