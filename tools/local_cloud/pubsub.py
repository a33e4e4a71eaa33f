"""Pub/Sub: one push subscription. A message is pushed until an acknowledging answer, with growing pauses in between."""
import base64
import http.client
import json
import secrets
import threading
import time
import urllib.parse

from .server import Reply
from .values import stamp

ACKS = (102, 200, 201, 202, 204)
ACK_DEADLINE_SECONDS = 600
RETRY_SECONDS = (0.5, 10.0)  # the first pause and the longest; Pub/Sub's own are 10 s and 600 s
DELIVERIES_KEPT = 50  # of each message: the first, and the last of the others


class Message:
    def __init__(self, message_id, data, attributes):
        self.id, self.data, self.attributes = message_id, data, attributes
        try:
            self.value = json.loads(data)
        except (ValueError, RecursionError):
            self.value = None
        self.published_us = int(time.time() * 1e6)
        self.deliveries = []
        self.over = threading.Event()  # acknowledged, or the subscription has been stopped


class Subscription:
    """`endpoint` is where messages go; `token()` gives the token of a push, or None for none. What is published to one of
    `kept_topics` is not pushed: `kept` has it, by topic. `unwrapped`: pushes are the bare data, and the rest are headers."""

    def __init__(self, name, endpoint, token=lambda: None, ack_deadline=ACK_DEADLINE_SECONDS, retry=RETRY_SECONDS,
                 kept_topics=()):
        self.name, self.endpoint, self.token, self.ack_deadline, self.retry = name, endpoint, token, ack_deadline, retry
        self.kept = {topic: [] for topic in kept_topics}  # topic -> [(data, attributes)]
        self.unwrapped = False
        self.messages = {}  # id -> Message
        self.next_id = secrets.randbelow(10 ** 15) + 10 ** 15
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def serve(self, server):
        """Adds the route by which others publish: every topic that is not kept leads to this subscription."""
        server.route("POST", "/v1/(projects/[^/]+/topics/[^/]+):publish", self.publish_request)

    def publish_request(self, request):
        try:
            messages = [checked(m) for m in json.loads(request.body)["messages"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            return Reply(400, {"error": {"code": 400, "message": f"the request is not understood: {e!r:.200}",
                                         "status": "INVALID_ARGUMENT"}})
        kept = self.kept.get(request.parts[0])
        if kept is None:
            return Reply(200, {"messageIds": [self.publish(data, attributes) for data, attributes in messages]})
        kept += messages
        return Reply(200, {"messageIds": [str(len(kept) - n) for n in range(len(messages))]})

    def publish(self, data, attributes=None):
        """-> the message's id; a thread of its own delivers it."""
        with self.lock:
            self.next_id += 1
            message = Message(str(self.next_id), data, dict(attributes or {}))
            self.messages[message.id] = message
        threading.Thread(target=self.deliver, args=(message,), daemon=True).start()
        return message.id

    def ids_of(self, value):
        """The messages that carry this JSON value."""
        with self.lock:
            return [message.id for message in self.messages.values() if message.value == value]

    def deliveries(self, message_id):
        """Each try so far, first the oldest; the one that still waits for its answer is `open`."""
        with self.lock:
            now = time.time()
            return [dict(d, seconds=now - d["at"]) if d["open"] else dict(d) for d in self.messages[message_id].deliveries]

    def stop(self):
        """No push begins after this."""
        self.closing.set()

    def deliver(self, message):
        pause, longest = self.retry
        for attempt in range(1, 1 << 30):
            if self.closing.is_set() or self.try_once(message, attempt) in ACKS:
                break
            self.closing.wait(pause)
            pause = min(2 * pause, longest)
        message.over.set()

    def try_once(self, message, attempt):
        """-> the status of the answer, or None where there was none before the ack deadline."""
        delivery = {"at": time.time(), "attempt": attempt, "status": None, "seconds": 0.0, "open": True}
        with self.lock:
            del message.deliveries[1:2 - DELIVERIES_KEPT]
            message.deliveries.append(delivery)
        started, status = time.monotonic(), None
        try:
            status = self.push(*(self.bare(message) if self.unwrapped else (self.envelope(message), {})))
        except (OSError, http.client.HTTPException):  # nobody listens, the connection broke, or the deadline is over
            pass
        took = time.monotonic() - started
        with self.lock:
            delivery.update(status=status if took <= self.ack_deadline else None, seconds=took, open=False)
            return delivery["status"]

    def push(self, body, more_headers):
        url = urllib.parse.urlsplit(self.endpoint)
        headers = {"Content-Type": "application/json", "User-Agent": "local-cloud", **more_headers}
        token = self.token()
        if token:
            headers["Authorization"] = "Bearer " + token
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=self.ack_deadline)
        try:
            connection.request("POST", url.path or "/", body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def bare(self, message):
        """-> body and headers of a push with --push-no-wrapper-write-metadata."""
        return message.data, {**message.attributes, "x-goog-pubsub-message-id": message.id,
                              "x-goog-pubsub-publish-time": stamp(message.published_us),
                              "x-goog-pubsub-subscription-name": self.name}

    def envelope(self, message):
        """Without deliveryAttempt, which Pub/Sub sends only where there is a topic for dead letters."""
        at = stamp(message.published_us)
        return json.dumps({"message": {"attributes": message.attributes, "data": base64.b64encode(message.data).decode(),
                                       "messageId": message.id, "message_id": message.id, "publishTime": at, "publish_time": at},
                           "subscription": self.name}).encode()


def checked(message):
    """-> (data, attributes) of a message that is to be published; ValueError if it is none."""
    data, attributes = base64.b64decode(message.get("data", ""), validate=True), message.get("attributes") or {}
    if not data and not attributes:
        raise ValueError("a message has data or attributes")
    if not all(isinstance(v, str) for v in attributes.values()):
        raise ValueError("the values of attributes are texts")
    return data, attributes
