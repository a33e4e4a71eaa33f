"""Sessions that the app or another worker deletes, cancels, changes or takes over during a job; messages delivered twice."""
import concurrent.futures
import threading
import time

from fake_cloud import *  # noqa: F403
from tools.local_cloud.values import from_stamp
from harness import dumps, envelope, equal, faketime, lease_of_somebody, to_value, wait_until
from house import STAGES, House, at_every_stage


def test_session_deleted_at_every_stage():
    with House("deleted") as h:
        def check(session, op, body, status):
            equal(status, 404 if op in ("get", "claim") else 204)
            equal(h.cloud.fields(session), None, "not created again")
            equal((h.output(session), h.output(session, "preview.jpg")), (None, None), "uploads are removed")
        at_every_stage(h, h.worker(), "d", h.cloud.delete, check)


def test_session_cancelled_at_every_stage():
    with House("cancelled") as h:
        w = h.worker()

        def cancel(session):
            h.cloud.touch(session, processingStatus=to_value("cancelled"))

        def check(session, op, body, status):
            assert status in (204, 409), status
            equal(text_at(h.cloud.fields(session), "processingStatus"), "cancelled")
            equal(h.deliver(w, session, body), [204])
            equal(h.cloud.count("complete"), 0)
        at_every_stage(h, w, "c", cancel, check)


def test_session_changed_at_every_stage():
    with House("changed") as h:
        def check(session, op, body, status):
            equal(status, 204)
            h.check_completed(session)
            equal(text_at(h.cloud.fields(session), "title"), "new")
        at_every_stage(h, h.worker(), "t", lambda s: h.cloud.touch(s, title=to_value("new")), check)


def test_session_reset_at_every_stage():
    """The app resets a session while a worker processes it: that worker stops, and the next delivery runs."""
    with House("reset") as h:
        w = h.worker()

        def start_over(session):
            h.cloud.touch(session, processingStatus=to_value("pending"), inpaint=None)

        def check(session, op, body, status):
            assert status in (204, 409), status
            equal(h.deliver(w, session, body), [204])
            h.check_completed(session)
        at_every_stage(h, w, "r", start_over, check)


def test_lease_stolen_at_every_stage():
    with House("stolen") as h:
        w = h.worker()
        taken = {}

        def steal(session, message_id=None):
            message_id = message_id or f"m-{session}"
            h.cloud.touch(session, processingStatus=to_value("processing"), inpaint__messageId=to_value(message_id),
                          inpaint__lease=lease_of_somebody(message_id))
            taken[session] = (h.cloud.fields(session), len(h.cloud.journal))

        def check(session, op, body, status):
            equal(status, 409)
            fields, at = taken[session]
            equal(h.cloud.fields(session), fields, "not a byte of it changes")
            wrote = [j for j in h.cloud.journal[at:] if session in j[1]]
            if not op.startswith(("stat:edited", "upload", "stat:preview", "complete")):
                equal(wrote, [], "nothing is written after the lease is lost")
            equal(w.push(body), 409)
        at_every_stage(h, w, "s", steal, check)

        def check_other(session, op, body, status):
            assert status in (204, 409), status
            equal(h.cloud.fields(session), taken[session][0], "not a byte of it changes")
            equal(w.push(body), 204, "that message stays responsible")
        at_every_stage(h, w, "o", lambda s: steal(s, "m-another"), check_other, stages=STAGES[1::3] + ["complete"])


def test_duplicates_take_no_place_of_a_job():
    """As many at once as Cloud Run sends by default, while Firestore is slow."""
    with House("crowd-of-duplicates") as h:
        w = h.worker()
        equal(w.push(h.job("done")), 204)
        h.cloud.on("look", h.cloud.late(0.5), 1000)
        with concurrent.futures.ThreadPoolExecutor(79) as pool:
            answers = [pool.submit(w.push, dumps(envelope("u1", "done", f"m-{n}"))) for n in range(79)]
            time.sleep(0.3)
            equal(w.push(h.job("real")), 204)
            equal({a.result() for a in answers}, {204})
        h.check_completed("real")


def test_duplicates_during_every_stage():
    with House("duplicates") as h:
        w = h.worker()
        answers = {}

        def push_again(session):
            answers[session] = (w.push(dumps(envelope("u1", session, f"m-{session}"))),
                                w.push(dumps(envelope("u1", session, "m-another"))))

        def check(session, op, body, status):
            equal(status, 204)
            equal(answers[session], (409, 204))
            h.check_completed(session)
            equal(w.push(body), 204)
        at_every_stage(h, w, "d", push_again, check)


def test_two_workers_get_the_same_message_at_once():
    with House("two") as h:
        workers = [h.worker(), h.worker()]
        for n in range(8):
            body = h.job(f"both-{n}")
            answers = []
            threads = [threading.Thread(target=lambda w=w: answers.append(w.push(body))) for w in workers]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            assert sorted(answers) in ([204, 204], [204, 409]), answers
            h.check_completed(f"both-{n}")


def ahead(hours):
    """Settings of a worker whose wall clock is ahead by so much."""
    return {**faketime(f"{hours:+}h"), "AHEAD_SECONDS": 3600 * hours}


def test_a_worker_whose_clock_is_off_leaves_a_live_session_alone():
    with House("skew", credentials="metadata") as h:  # Google refuses a token that is signed in the future
        first = h.worker()
        others = [h.worker("-ahead", **ahead(3)), h.worker("-behind", **ahead(-3))]
        body = h.job("skew")
        h.cloud.on("media:mask_auto.png", h.cloud.late(3))
        answers = []
        t = threading.Thread(target=lambda: answers.append(first.push(body)))
        t.start()
        wait_until("the first has it", lambda: h.cloud.count("claim") == 1)
        equal([w.push(body) for w in others], [409, 409])
        t.join()
        equal(answers, [204])
        h.check_completed("skew")


def test_a_worker_whose_clock_is_off_writes_a_lease_by_the_servers_clock():
    with House("skewed", credentials="metadata") as h:
        for name, hours in (("ahead", 3), ("behind", -3)):
            w = h.worker(f"-{name}", **ahead(hours))
            body, leases = h.job(name), []
            h.cloud.on("stat:original.jpg", before(lambda n=name, to=leases: to.append(h.cloud.fields(n))))
            now = time.time()
            equal(w.push(body), 204)
            until = from_stamp(value_at(leases[0], "inpaint.lease.expiresAt")["timestampValue"]) / 1e6
            assert now + 350 < until < now + 380, f"{until - now:.0f} s"
            h.check_completed(name)
            recent = dumps(envelope("u1", "nowhere", "m-nowhere"))
            equal(w.push(recent), 404, "published this minute, whatever the worker's clock says")


def test_a_lease_until_the_year_2100_ends_with_the_last_change():
    with House("forever", LEASE_SECONDS=16, JOB_DEADLINE_SECONDS=5) as h:
        w = h.worker()
        body = h.job("forever")
        h.cloud.touch("forever", processingStatus=to_value("processing"), inpaint__messageId=to_value("m-forever"),
                      inpaint__lease=lease_of_somebody("m-forever", 74 * 365 * 86400))
        equal(w.push(body), 409)
        time.sleep(17.5)  # the server tells its time in whole seconds
        equal(h.deliver(w, "forever", body), [204])
        equal(text_at(h.cloud.fields("forever"), "processingStatus"), "completed")
