#!/bin/bash
# emulators.sh start DIR | stop DIR
#
# Starts the Firestore and Pub/Sub emulators of google-cloud-cli and a storage emulator on free loopback ports, waits
# until they answer, and writes their addresses to DIR/env (to be sourced). `stop` ends the processes that `start` started.
# Exit status 3: google-cloud-cli is not installed; the message says how to get it.
set -euo pipefail

project=demo
bucket=demo-bucket
storage_version=2026.7.19 # of gcp-storage-emulator on PyPI
action=${1:-}
dir=${2:-}

usage() { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

wait_for() { # NAME URL
    for _ in $(seq 300); do
        curl -s -o /dev/null --max-time 2 "$2" && return 0
        sleep 0.1
    done
    echo "emulators: $1 did not answer at $2; its log is in $dir" >&2
    return 1
}

sdk_root() {
    local root
    command -v gcloud >/dev/null || return 1
    for root in "$(dirname "$(readlink -f "$(command -v gcloud)")")/.." /usr/lib/google-cloud-sdk; do
        if [ -x "$root/platform/cloud-firestore-emulator/cloud_firestore_emulator" ] &&
            [ -x "$root/platform/pubsub-emulator/bin/cloud-pubsub-emulator" ]; then
            realpath "$root"
            return 0
        fi
    done
    return 1
}

storage_emulator() { # installs it into build/venv the first time
    local venv=build/venv
    [ -x $venv/bin/gcp-storage-emulator ] || {
        python3 -m venv $venv && $venv/bin/pip install -q "gcp-storage-emulator==$storage_version"
    } >&2
    echo $venv/bin/gcp-storage-emulator
}

# In a process group of its own: some commands are wrappers, whose Java process would outlive them.
run() { # NAME COMMAND...
    local name=$1
    shift
    setsid "$@" >"$dir/$name.log" 2>&1 </dev/null &
    echo $! >>"$dir/pids"
}

start() {
    local root storage fs_port ps_port gs_port
    root=$(sdk_root) || {
        echo "emulators: google-cloud-cli with its Firestore and Pub/Sub emulators was not found." >&2
        echo "  Get it from https://cloud.google.com/sdk/docs/install with the packages" >&2
        echo "  google-cloud-cli-firestore-emulator and google-cloud-cli-pubsub-emulator." >&2
        exit 3
    }
    command -v java >/dev/null || {
        echo "emulators: a Java runtime is missing (apt-get install default-jre-headless)" >&2
        exit 3
    }
    storage=$(storage_emulator)
    mkdir -p "$dir"
    : >"$dir/pids"
    fs_port=$(free_port)
    ps_port=$(free_port)
    gs_port=$(free_port)
    run firestore "$root/platform/cloud-firestore-emulator/cloud_firestore_emulator" start --host=127.0.0.1 --port="$fs_port"
    run pubsub "$root/platform/pubsub-emulator/bin/cloud-pubsub-emulator" --host=127.0.0.1 --port="$ps_port"
    run storage "$storage" start --host=127.0.0.1 --port="$gs_port" --in-memory --default-bucket="$bucket"
    cat >"$dir/env" <<EOF
export FIRESTORE_EMULATOR_HOST=127.0.0.1:$fs_port
export PUBSUB_EMULATOR_HOST=127.0.0.1:$ps_port
export STORAGE_EMULATOR_HOST=http://127.0.0.1:$gs_port
export FIREBASE_STORAGE_BUCKET=$bucket
export GOOGLE_CLOUD_PROJECT=$project
EOF
    if ! { wait_for firestore "http://127.0.0.1:$fs_port/" && wait_for pubsub "http://127.0.0.1:$ps_port/" &&
        wait_for storage "http://127.0.0.1:$gs_port/"; }; then
        stop
        exit 1
    fi
}

stop() {
    local pid
    [ -f "$dir/pids" ] || return 0
    while read -r pid; do kill -TERM -- "-$pid" 2>/dev/null || true; done <"$dir/pids"
    while read -r pid; do
        for _ in $(seq 50); do
            kill -0 -- "-$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$pid" 2>/dev/null || true
    done <"$dir/pids"
    rm -f "$dir/pids" "$dir/env"
}

[ -n "$dir" ] || usage
case $action in
start | stop) $action ;;
*) usage ;;
esac
