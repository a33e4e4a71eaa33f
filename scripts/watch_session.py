#!/usr/bin/env python3
"""watch_session.py DOCUMENT_URL WORKER_PID: shows the progress of a session until it ends, then its document."""
import json
import os
import sys
import time
import urllib.error
import urllib.request


def plain(value):
    kind, v = next(iter(value.items()))
    if kind == "mapValue":
        return {k: plain(x) for k, x in v.get("fields", {}).items()}
    if kind == "arrayValue":
        return [plain(x) for x in v.get("values", [])]
    return int(v) if kind == "integerValue" else v


def read(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return {k: plain(v) for k, v in json.load(reply).get("fields", {}).items()}
    except urllib.error.URLError:
        return {}


def main():
    url, pid = sys.argv[1], int(sys.argv[2])
    shown = None
    end = time.monotonic() + 300
    while time.monotonic() < end:
        document = read(url)
        status, own = document.get("processingStatus"), document.get("inpaint", {})
        line = f"   {status}: {own.get('stage', 'waiting')} {own.get('progress', 0)} %"
        if line != shown:
            print(line, flush=True)
            shown = line
        if status in ("completed", "failed"):
            print(json.dumps(document, indent=2, ensure_ascii=False))
            return 0 if status == "completed" else 1
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            print("the worker ended before the session did", file=sys.stderr)
            return 1
        time.sleep(0.2)
    print("the session did not end within 300 s", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
