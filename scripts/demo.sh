#!/bin/bash
# demo.sh run | demo: turns one Pub/Sub message into edited.jpg and preview.jpg, with the real program in a cloud on loopback.
#
# A push with a signed token reaches the worker, which reads and writes Firestore and Cloud Storage. `run` ends with the job;
# `demo` stays, with a page in the browser, until Ctrl-C. Everything that is started is ended; all files are in build/demo.
#
#   CLOUD=local      tools/local_cloud, which needs python3 alone (the default)
#   CLOUD=emulators  Google's emulators (scripts/emulators.sh)
#   DEMO_MODEL=DIR   the model folder (models/demo)      STEPS=N  steps of the model (4)
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-} ${CLOUD:=local}" in
"run local" | "demo local" | "run emulators" | "demo emulators") ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
if ! [ -x build/demo-inputs ]; then
    echo "demo: build/demo-inputs is not there: start this with \`make $1\`, which builds what it needs" >&2
    exit 1
fi
mkdir -p build/demo
# Held until python3, to which the descriptor is passed on, has ended.
exec 9> build/demo/lock
if ! flock --nonblock 9; then
    echo "demo: another \`make run\` or \`make demo\` uses build/demo: end it first (Ctrl-C in its terminal)" >&2
    exit 1
fi
build/demo-inputs build/demo
exec python3 -m tools.local_cloud.demo "$1" --cloud "$CLOUD"
