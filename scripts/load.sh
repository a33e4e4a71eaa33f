#!/bin/bash
# load.sh [OPTIONS]: many jobs for several workers on one subscription, in a cloud on this machine, with duplicates and kills.
#
# Says what became of every session, how long it took, what was delivered again, and how many calls a job makes. The
# status is 0 only if every session was completed once with the right bytes. `--help` lists the options; test/load has
# the parts. Nothing but the build and python3 is needed: make build/inpaint-worker
#
#   scripts/load.sh --workers 4 --jobs 200 --duplicates 10 --kill-every 5
set -euo pipefail
cd "$(dirname "$0")/.."
if ! [ -x build/inpaint-worker ]; then
    case " $* " in
    *" --help "* | *" -h "*) ;;
    *)
        echo "load: build/inpaint-worker is not there: \`make build/inpaint-worker\` builds it" >&2
        exit 1
        ;;
    esac
fi
exec python3 test/load/load.py "$@"
