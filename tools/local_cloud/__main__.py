"""The local cloud alone, for a worker that is started by hand: `python3 -m tools.local_cloud --help`."""
import argparse
import signal
import sys
import urllib.parse

from . import page
from .cloud import Cloud

TEXT = """Firestore, Cloud Storage, Pub/Sub push and an issuer of tokens on loopback, until Ctrl-C.

The settings for it are written to the file of --env:
  . build/local-cloud.env && MODEL_DIR=models/demo build/inpaint-worker serve
The page, whose address is printed, makes a session of a photo and a mask, and publishes its message. By hand, a message is
published with
  curl -d '{"messages": [{"data": "BASE64"}]}' CLOUD/v1/projects/demo/topics/edits:publish
where BASE64 is that of {"userId": "...", "sessionId": "..."}."""


def port(text):
    """0 to 65535; argparse reports a ValueError."""
    if not 0 <= int(text) <= 65535:
        raise ValueError(text)
    return int(text)


def url(text):
    """An http:// address with a host."""
    parts = urllib.parse.urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or (parts.port or 80) < 1:
        raise ValueError(text)
    return text


def seconds(text):
    """FIRST,LONGEST: two numbers that are not negative, the smaller first."""
    first, longest = (float(part) for part in text.split(","))
    if not 0 <= first <= longest < 1e6:
        raise ValueError(text)
    return first, longest


def main():
    parser = argparse.ArgumentParser(prog="python3 -m tools.local_cloud", description=TEXT,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=port, default=0, help="of the cloud (default: a free one)")
    parser.add_argument("--push-endpoint", type=url, default="http://127.0.0.1:8080/inpaint", metavar="URL",
                        help="where messages are pushed to (default: %(default)s)")
    parser.add_argument("--env", default="build/local-cloud.env", metavar="FILE",
                        help="file for the worker's settings (default: %(default)s)")
    parser.add_argument("--log", metavar="FILE", help="where the worker's log goes, for the page")
    parser.add_argument("--retry-seconds", type=seconds, default="0.5,10", metavar="FIRST,LONGEST",
                        help="pauses before a message is pushed again (default: %(default)s; Pub/Sub has 10,600)")
    args = parser.parse_args()
    try:
        cloud = Cloud(args.push_endpoint, args.log, args.port, args.retry_seconds)
        cloud.write_env(args.env)
    except OSError as e:
        print(f"local_cloud: {e.filename or f'--port {args.port}'}: {e.strerror}", file=sys.stderr)
        return 1
    print(f"cloud:    {cloud.server.url}\nsettings: {args.env}\npushes:   {args.push_endpoint}", flush=True)
    print(f"page:     {page.start_page(cloud).url}/", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    cloud.stop()
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    sys.exit(main())
