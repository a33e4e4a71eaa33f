#!/usr/bin/env python3
"""stuck_sessions.py - the sessions that nobody works on any more, as payloads of messages, one a line.

Standard input is what Firestore answers to a query of all sessions (docs/OPERATIONS.md, "Stuck sessions", has the command).
A session is stuck if it is `processing` and its lease has been over for so long that its message should have come again, or
if it is `pending` and has not changed for so long that its message must be gone. Each line can be published as it is, and a
session that is worked on after all is left alone by the worker. Exit status: 0 done, 1 the input is not understood, 2 wrong
usage.
"""
import argparse
import datetime
import json
import sys

NAME = "/documents/users/"


def moment(text):
    """A timestamp of Firestore, in seconds. Digits beyond the microsecond are dropped."""
    whole, _, rest = text.rstrip("Z").partition(".")
    fraction = float("0." + rest) if rest else 0.0
    return datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc).timestamp() + fraction


def value(document, *path):
    """A text or timestamp within the document's fields, or None."""
    fields = document.get("fields", {})
    for name in path[:-1]:
        fields = fields.get(name, {}).get("mapValue", {}).get("fields", {})
    found = fields.get(path[-1], {})
    return found.get("stringValue") or found.get("timestampValue")


def why_stuck(document, now, lease_over, pending_for):
    """-> the reason, or None."""
    status = value(document, "processingStatus")
    if status == "processing":
        ends = value(document, "inpaint", "lease", "expiresAt")
        if ends is None or now - moment(ends) > lease_over:
            return "its lease is over since " + ends if ends else "it has no lease"
    if status == "pending" and now - moment(document["updateTime"]) > pending_for:
        return "it waits since " + document["updateTime"]
    return None


def ids(name):
    user, _, session = name.split(NAME, 1)[1].partition("/sessions/")
    return {"userId": user, "sessionId": session}


def documents_in(answer):
    if not isinstance(answer, list) or any("error" in row for row in answer):
        raise ValueError(answer)
    return [row["document"] for row in answer if "document" in row]


def main():
    parser = argparse.ArgumentParser(prog="stuck_sessions.py", description=__doc__.split("\n\n", maxsplit=1)[1])
    parser.add_argument("--lease-over-seconds", type=float, default=1200, metavar="N",
                        help="a lease that ended so long ago is nobody's: two of the longest back-offs (default: 1200)")
    parser.add_argument("--pending-seconds", type=float, default=7200, metavar="N",
                        help="a session that waits longer than this has lost its message (default: 7200)")
    parser.add_argument("--now", metavar="TIME", help="the time to judge by, as 2026-11-30T12:00:00Z (default: this machine's)")
    a = parser.parse_args()
    try:
        now = moment(a.now) if a.now else datetime.datetime.now(datetime.timezone.utc).timestamp()
    except ValueError:
        parser.error(f"--now is {a.now!r}, but must be a time like 2026-11-30T12:00:00Z")
    try:
        documents = documents_in(json.load(sys.stdin))
        stuck = [(d["name"], why_stuck(d, now, a.lease_over_seconds, a.pending_seconds)) for d in documents if NAME in d["name"]]
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        print(f"stuck_sessions: standard input is not an answer of documents:runQuery: {e!r:.200}", file=sys.stderr)
        return 1
    for name, why in stuck:
        if why:
            print(json.dumps(ids(name), ensure_ascii=False, separators=(",", ":")))
            print(f"{name.split(NAME, 1)[1]}: {why}", file=sys.stderr)
    print(f"{sum(bool(why) for _, why in stuck)} of {len(documents)} sessions are stuck", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
