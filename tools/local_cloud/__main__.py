"""The local cloud alone, for a worker that is started by hand: `python3 -m tools.local_cloud --help`."""
import argparse
import importlib.util
import signal
import sys

from .cloud import Cloud

TEXT = """Firestore, Cloud Storage, Pub/Sub push and an issuer of tokens on loopback, until Ctrl-C.

The settings for it are written to the file of --env:
  . build/local-cloud.env && MODEL_DIR=models/demo build/inpaint-worker serve
A message is published with
  curl -d '{"messages": [{"data": "BASE64"}]}' CLOUD/v1/projects/demo/topics/edits:publish
where BASE64 is that of {"userId": "...", "sessionId": "..."}."""


def main():
    parser = argparse.ArgumentParser(prog="python3 -m tools.local_cloud", description=TEXT,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="of the cloud (default: a free one)")
    parser.add_argument("--push-endpoint", default="http://127.0.0.1:8080/inpaint", metavar="URL",
                        help="where messages are pushed to (default: %(default)s)")
    parser.add_argument("--env", default="build/local-cloud.env", metavar="FILE",
                        help="file for the worker's settings (default: %(default)s)")
    parser.add_argument("--log", metavar="FILE", help="where the worker's log goes, for the page")
    parser.add_argument("--retry-seconds", default="0.5,10", metavar="FIRST,LONGEST",
                        help="pauses before a message is pushed again (default: %(default)s; Pub/Sub has 10,600)")
    args = parser.parse_args()
    first, longest = (float(s) for s in args.retry_seconds.split(","))
    try:
        cloud = Cloud(args.push_endpoint, args.log, args.port, (first, longest))
        cloud.write_env(args.env)
    except OSError as e:
        print(f"local_cloud: {e}", file=sys.stderr)
        return 1
    print(f"cloud:    {cloud.server.url}\nsettings: {args.env}\npushes:   {args.push_endpoint}", flush=True)
    if importlib.util.find_spec(f"{__package__}.page"):  # a part of its own
        page = importlib.import_module(f"{__package__}.page").start_page(cloud)
        print(f"page:     http://127.0.0.1:{page.server_port}/", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    cloud.stop()
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    sys.exit(main())
