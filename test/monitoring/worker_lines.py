"""Real lines of the real worker's log, of every kind that metrics, alerts and the queries of docs/OPERATIONS.md look for."""
import base64
import contextlib
import functools
import json
import threading

from harness import dumps, envelope, lease_of_somebody, mask_png, photo_png, wait_until
from local_path import Town
from tools.local_cloud.cloud import SUBSCRIPTION, folder
from tools.local_cloud.server import Reply, Server
from tools.local_cloud.values import to_fields, to_value

NOTHING_MARKED = mask_png(64, 64, (0, 0, 0, 0))


def push(town, worker, session, message_id, token=None):
    body = dumps(envelope("u1", session, message_id, subscription=SUBSCRIPTION))
    return worker.push(body, {"Authorization": f"Bearer {token or town.cloud.issuer.sign()}"})


def put(town, session, status, **own):
    """A document as a worker leaves it."""
    fields = to_fields({"processingStatus": status})
    fields["inpaint"] = {"mapValue": {"fields": own}}
    town.cloud.documents.put(folder("u1", session), fields)


def answers_of_one_worker():
    """Every answer that needs no trouble in the cloud."""
    with Town("monitoring-answers") as town:
        w = town.worker()
        done = town.publish("done")
        town.wait_acked("done")
        push(town, w, "done", done)
        town.publish("empty", mask=NOTHING_MARKED)
        town.wait_acked("empty")
        put(town, "held", "processing", messageId=to_value("m-held"), attempts=to_value(1), lease=lease_of_somebody("m-held"))
        push(town, w, "held", "m-held")
        push(town, w, "held", "m-other")
        put(town, "tired", "pending", messageId=to_value("m-tired"), attempts=to_value(5))
        push(town, w, "tired", "m-tired")
        push(town, w, "nowhere", "m-nowhere")
        push(town, w, "done", "m-refused", token="a.b.c")
        w.push(dumps({"message": {"data": base64.b64encode(b"no job").decode(), "messageId": "m-poison"},
                      "subscription": SUBSCRIPTION}), {"Authorization": f"Bearer {town.cloud.issuer.sign()}"})
        w.stop()
        return w.lines()


def a_job_that_is_stopped():
    """A message that comes again while its job runs, and a worker that is told to end."""
    with Town("monitoring-stopped") as town:
        w = town.worker(STEPS=40)
        town.cloud.create_session("u1", "slow", photo_png(1024, 1024), mask_png(1024, 1024, (0, 0, 700, 700)))
        pusher = threading.Thread(target=push, args=(town, w, "slow", "m-slow"))
        pusher.start()
        town.wait_claimed("slow")
        push(town, w, "slow", "m-slow")
        w.terminate()
        pusher.join()
        w.stop()
        return w.lines()


def a_job_whose_bucket_refuses():
    with Town("monitoring-refused") as town:
        w = town.worker()
        answer = town.cloud.server.reply_to
        town.cloud.server.reply_to = lambda r: Reply(403, {"error": {"code": 403}}) if "/storage/" in r.path else answer(r)
        town.publish("refused")
        wait_until("the job is given back", lambda: w.lines("push answered"))
        w.stop()
        return w.lines()


def a_worker_that_says(message, **settings):
    with Town("monitoring-trouble") as town:
        w = town.worker(ready=False, **settings)
        wait_until(f"the line '{message}'", lambda: w.lines(message) or w.process.poll() is not None)
        w.stop()
        return w.lines()


@contextlib.contextmanager
def closed_port():
    server = Server()
    url = server.url
    server.stop()
    yield url


@functools.cache
def all_lines():
    """-> every line, in the order of the scenes."""
    lines = answers_of_one_worker() + a_job_that_is_stopped() + a_job_whose_bucket_refuses()
    lines += a_worker_that_says("refuses what a job needs", FIREBASE_STORAGE_BUCKET="another-bucket")
    with closed_port() as url:
        lines += a_worker_that_says("does not answer yet", STORAGE_EMULATOR_HOST=url)
    lines += a_worker_that_says("bad setting", STEPS="many")
    lines += a_worker_that_says("cannot be loaded", MODEL_DIR="/nowhere")
    return lines


if __name__ == "__main__":
    for a_line in all_lines():
        print(json.dumps(a_line))
