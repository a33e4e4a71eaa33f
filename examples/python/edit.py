#!/usr/bin/env python3
"""One whole edit from the command line.

edit    uploads both pictures, asks for the edit, waits and writes edited.jpg and preview.jpg to the folder of --out
again   asks once more: after a failure, or for another result, with the pictures that are given in place of the old ones
cancel  the session is no longer wanted
delete  removes it with its pictures

GOOGLE_CLOUD_PROJECT and FIREBASE_STORAGE_BUCKET name project and bucket; credentials are the usual ones (`gcloud auth
application-default login`, or GOOGLE_APPLICATION_CREDENTIALS). Exit status: 0 done, 1 failed, 2 wrong usage.
"""
import argparse
import math
import os
import sys

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

import protocol
from clients import open_clients
from sessions import SessionError, Sessions


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=("edit", "again", "cancel", "delete"), default="edit")
    parser.add_argument("--user", required=True, metavar="ID")
    parser.add_argument("--session", metavar="ID", help="edit makes one where none is given")
    parser.add_argument("--photo", metavar="FILE")
    parser.add_argument("--mask", metavar="FILE")
    parser.add_argument("--prompt", metavar="TEXT", help="what to paint; without one it is the ground around")
    parser.add_argument("--out", metavar="DIR", default=".", help="(default: %(default)s)")
    parser.add_argument("--topic", metavar="NAME", default=protocol.TOPIC, help="(default: %(default)s)")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=600, help="how long to wait (default: 600)")
    parser.add_argument("--no-wait", action="store_true", help="end as soon as the message is sent")
    parser.add_argument("--rest", action="store_true",
                        help="HTTP instead of gRPC, and asking instead of listening: for the cloud of `make demo`")
    options = parser.parse_args()
    needed = ("photo", "mask") if options.action == "edit" else ("session",)
    if missing := [f"--{name}" for name in needed if not getattr(options, name)]:
        parser.error(f"{options.action} needs {' and '.join(missing)}")
    for name in ("user", "session"):
        if getattr(options, name) is not None and not protocol.is_id(getattr(options, name)):
            parser.error(f"--{name}: an id has 1 to 128 of A-Z, a-z, 0-9, _ and -")
    for name in ("GOOGLE_CLOUD_PROJECT", "FIREBASE_STORAGE_BUCKET"):
        if not os.environ.get(name):
            parser.error(f"{name} is not set")
    return options


def printer():
    """A function that prints a view where it says something new."""
    last = [""]

    def show(view):
        eta = "" if view["eta_seconds"] is None else f", {math.ceil(view['eta_seconds'])} s left"
        line = f"{view['status']}: {view['progress']} %{eta}" if view["status"] == protocol.PROCESSING else view["status"]
        if line != last[0]:
            print(line, flush=True)
        last[0] = line
    return show


def read(path):
    if path is None:
        return None
    with open(path, "rb") as f:
        return f.read()


def edit(sessions, options):
    photo, mask = read(options.photo), read(options.mask)
    session = options.session
    if options.action == "edit":
        session = sessions.create(options.user, session, prompt=options.prompt)
    sessions.upload(options.user, session, photo, mask)
    message = sessions.request_edit(options.user, session, prompt=options.prompt)
    print(f"session {session}, {f'message {message}' if message else 'already at work'}", flush=True)
    if options.no_wait:
        return 0
    view = sessions.wait(options.user, session, printer(), options.timeout, poll=options.rest)
    if view["status"] != protocol.COMPLETED:
        why = view["message"] and f"{view['message']} ({view['error_code']}; to do: {view['remedy']})"
        print(why or f"The session is {view['status']}.", file=sys.stderr)
        return 1
    os.makedirs(options.out, exist_ok=True)
    for name, data in sessions.download(view).items():
        with open(os.path.join(options.out, name), "wb") as f:
            f.write(data)
        print(os.path.join(options.out, name))
    return 0


def main():
    options = arguments()
    try:
        sessions = Sessions(*open_clients(os.environ["GOOGLE_CLOUD_PROJECT"], os.environ["FIREBASE_STORAGE_BUCKET"],
                                          options.topic, options.rest))
        if options.action == "cancel":
            print(sessions.cancel(options.user, options.session))
        elif options.action == "delete":
            sessions.remove(options.user, options.session)
        else:
            return edit(sessions, options)
    except (SessionError, GoogleAPIError, GoogleAuthError, OSError) as e:
        print(f"edit: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
