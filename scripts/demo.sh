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
mkdir -p build/demo
build/demo-inputs build/demo
exec python3 -m tools.local_cloud.demo "$1" --cloud "$CLOUD"
