"""In production: nothing is sent to a peer that does not prove who it is."""
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
        assert host in said and word in said, said
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
            wait_until("it says why", lambda: host in w.log() and word in w.log())
            body = h.job("keys")
            equal(w.push(body), 503)
            equal((h.cloud.count("certs"), h.cloud.count("claim")), (0, 0))
            h.cloud.server.show(host, good)
            time.sleep(1.1)  # for so long no other try is made
            wait_until("it works", lambda: w.push(body) == 204)
            h.check_completed("keys")
