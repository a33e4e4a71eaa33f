#!/bin/bash
# demo.sh - turns one Pub/Sub message into edited.jpg and preview.jpg, with the real program between real emulators.
#
# All files are in build/demo, all ports on loopback, and every process it starts is ended again. Without google-cloud-cli
# the same job runs on a local folder instead.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/demo
program=build/inpaint-worker
user=demo-user
session=demo-session
folder=users/$user/sessions/$session
worker_pid=

cleanup() {
    [ -z "$worker_pid" ] || kill -TERM "$worker_pid" 2>/dev/null || true
    [ -z "$worker_pid" ] || wait "$worker_pid" 2>/dev/null || true
    scripts/emulators.sh stop $out/emulators
}
trap cleanup EXIT

mkdir -p $out
build/demo-inputs $out
rm -f $out/edited.jpg $out/preview.jpg

local_folder() {
    echo "Running the same job on a local folder instead: $program edit $out"
    MODEL_DIR=build/models/tiny $program edit $out
    echo
    echo "edited:  $out/edited.jpg"
    echo "preview: $out/preview.jpg"
}

echo "1. starting the Firestore, Pub/Sub and storage emulators"
if ! scripts/emulators.sh start $out/emulators; then
    [ -f $out/emulators/env ] && exit 1
    local_folder
    exit 0
fi
# shellcheck disable=SC1091
. $out/emulators/env
documents="http://$FIRESTORE_EMULATOR_HOST/v1/projects/$GOOGLE_CLOUD_PROJECT/databases/(default)/documents"
topics=http://$PUBSUB_EMULATOR_HOST/v1/projects/$GOOGLE_CLOUD_PROJECT
objects=$STORAGE_EMULATOR_HOST/storage/v1/b/$FIREBASE_STORAGE_BUCKET/o
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

encoded() { echo "${folder//\//%2F}%2F$1"; }
put() { # FILE TYPE
    curl -sS -f -o /dev/null -X POST --data-binary "@$out/$1" -H "Content-Type: $2" \
        "$STORAGE_EMULATOR_HOST/upload/storage/v1/b/$FIREBASE_STORAGE_BUCKET/o?uploadType=media&name=$(encoded "$1")"
}
post() { curl -sS -f -g -o /dev/null -X "$1" -H 'Content-Type: application/json' -d "$3" "$2"; }

echo "2. storing a photo, its mask and a session document in them"
put original.jpg image/jpeg
put mask_auto.png image/png
post PATCH "$documents/$folder" '{"fields":{"processingStatus":{"stringValue":"pending"},
    "sceneLabels":{"arrayValue":{"values":[{"stringValue":"grass"}]}}}}'

echo "3. starting the worker with a tiny random model (it paints texture, because its weights are random)"
env -u PUBSUB_EMULATOR_HOST PORT="$port" MODEL_DIR=build/models/tiny PUSH_AUTH=none BACKEND=auto STEPS=12 \
    $program serve 2>$out/worker.log &
worker_pid=$!

echo "4. publishing {\"userId\":\"$user\",\"sessionId\":\"$session\"}"
post PUT "$topics/topics/edits" '{}'
post PUT "$topics/subscriptions/edits-push" "{\"topic\":\"projects/$GOOGLE_CLOUD_PROJECT/topics/edits\",
    \"ackDeadlineSeconds\":600,\"pushConfig\":{\"pushEndpoint\":\"http://127.0.0.1:$port/inpaint\"}}"
post POST "$topics/topics/edits:publish" \
    "{\"messages\":[{\"data\":\"$(printf '{"userId":"%s","sessionId":"%s"}' $user $session | base64 -w0)\"}]}"

python3 scripts/watch_session.py "$documents/$folder" "$worker_pid" || {
    tail -n 5 $out/worker.log
    exit 1
}
for name in edited.jpg preview.jpg; do
    curl -sS -f -o $out/$name "$objects/$(encoded $name)?alt=media"
done
echo
echo "edited:  $out/edited.jpg"
echo "preview: $out/preview.jpg"
echo "log:     $out/worker.log"
