#!/bin/bash
# monitoring.sh --project PROJECT [options]: log-based metrics, alerts and a dashboard for the worker in Cloud Monitoring.
#
# It may be run again at any time: what is there is brought up to date, and channels that were added to an alert by hand stay.
#
#   --project PROJECT              Google Cloud project (required)
#   --service NAME                 Cloud Run service (pawfect-edit-inpaint)
#   --subscription NAME            push subscription (session-processing-push)
#   --dead-subscription NAME       subscription of the dead-letter topic (session-processing-dead-pull)
#   --prefix NAME                  beginning of the metrics' names (inpaint_); a second service of a project needs one of its own
#   --email ADDRESS                who gets a mail; without it incidents are only seen in the console
#   --daily-instance-seconds N     billed seconds a day beyond which the cost alert fires (21600)
#   --out DIR                      where the files with these names filled in are written (build/monitoring)
#   --dry-run                      writes the files and prints each command for an empty project, but runs none
#
# Exit status: 0 done, 1 a command failed, 2 wrong usage. It needs gcloud with its alpha and beta commands, and an account
# with roles/monitoring.editor and roles/logging.configWriter.
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/deploy/monitoring

project='' email='' dry_run=0 out=build/monitoring
service=pawfect-edit-inpaint subscription=session-processing-push dead=session-processing-dead-pull
prefix=inpaint_ seconds=21600

usage() { # STATUS
    sed -n '2,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit "$1"
}

wrong() {
    echo "monitoring: $1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage 0 ;;
    --dry-run)
        dry_run=1
        shift
        continue
        ;;
    --*=*)
        set -- "${1%%=*}" "${1#*=}" "${@:2}"
        continue
        ;;
    --project | --service | --subscription | --dead-subscription | --prefix | --email | --daily-instance-seconds | --out) ;;
    *) wrong "there is no option '$1'; --help lists them" ;;
    esac
    [ $# -ge 2 ] || wrong "$1 needs a value"
    case $1 in
    --project) project=$2 ;;
    --service) service=$2 ;;
    --subscription) subscription=$2 ;;
    --dead-subscription) dead=$2 ;;
    --prefix) prefix=$2 ;;
    --email) email=$2 ;;
    --daily-instance-seconds) seconds=$2 ;;
    --out) out=$2 ;;
    esac
    shift 2
done

check() { # OPTION VALUE PATTERN WHAT
    [[ $2 =~ ^$3$ ]] || wrong "$1 is '$2', but must be $4"
}
check --project "$project" '[a-z][a-z0-9-]{4,28}[a-z0-9]' "a project's id: 6 to 30 of a-z, 0-9 and -"
check --service "$service" '[a-z]([a-z0-9-]{0,47}[a-z0-9])?' "a service's name: up to 49 of a-z, 0-9 and -"
check --subscription "$subscription" '[A-Za-z][A-Za-z0-9._~+%-]{2,254}' "a subscription's name without its project"
check --dead-subscription "$dead" '[A-Za-z][A-Za-z0-9._~+%-]{2,254}' "a subscription's name without its project"
check --prefix "$prefix" '[a-z][a-z0-9_]{0,39}' "up to 40 of a-z, 0-9 and _"
check --daily-instance-seconds "$seconds" '[1-9][0-9]{0,8}' "a whole number of seconds"
[ -z "$email" ] || check --email "$email" '[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}' "an e-mail address"

# ---- the files, with the names filled in ----

fill_in() { # FILE: the file's place in $out
    local to=$out/$1
    mkdir -p "$(dirname "$to")"
    sed -e "s|pawfect-edit-inpaint|$service|g" -e "s|session-processing-push|$subscription|g" \
        -e "s|session-processing-dead-pull|$dead|g" -e "s|\"name\": \"inpaint_|\"name\": \"$prefix|" \
        -e "s|user/inpaint_|user/$prefix|g" -e "s|21600|$seconds|g" "$source/$1" > "$to"
}

mkdir -p "$out"
files=()
for file in "$source"/metrics/*.json "$source"/alerts/*.json "$source"/dashboard.json; do
    fill_in "${file#"$source/"}"
    files+=("$out/${file#"$source/"}")
done

# ---- gcloud ----

# A metric that was made a moment ago is not known to Cloud Monitoring at once: its answer says so, and a second try is due.
pause=${MONITORING_RETRY_SECONDS:-30}
run() { # COMMAND...: changes something
    printf '%q ' "$@"
    echo
    [ $dry_run -eq 0 ] || return 0
    for ((try = 1; try <= 20; try++)); do
        "$@" > "$out/last-answer" 2> "$out/last-error" && return
        grep -q 'Cannot find metric' "$out/last-error" || break
        echo "monitoring: the metric is not known to Cloud Monitoring yet, which may take 10 minutes; next try in $pause s"
        sleep "$pause"
    done
    cat "$out/last-error" >&2
    echo "monitoring: this command failed; what is above it is done, and running this again goes on from here" >&2
    exit 1
}

look() { # COMMAND...: what is there already; nothing, in a dry run
    [ $dry_run -eq 1 ] || "$@" || {
        echo "monitoring: '${*:1:5}' failed: is the account signed in (gcloud auth login), and has it the roles that --help names?" >&2
        return 1
    }
}

if [ $dry_run -eq 0 ] && ! command -v gcloud > /dev/null; then
    echo "monitoring: gcloud is not on PATH. Install google-cloud-cli, or use --dry-run" >&2
    exit 1
fi
field() { sed -n 's/^  "'"$1"'": "\(.*\)",\{0,1\}$/\1/p' "$2" | head -n 1; } # NAME FILE: a text at the top of a file

channel=''
if [ -n "$email" ]; then
    known=$(look gcloud beta monitoring channels list --project="$project" --type=email '--format=value(name,labels.email_address)')
    channel=$(awk -F '\t' -v address="$email" '$2 == address { print $1; exit }' <<< "$known")
    if [ -z "$channel" ]; then
        run gcloud beta monitoring channels create --project="$project" --display-name="inpaint: $email" --type=email \
            --channel-labels=email_address="$email" '--format=value(name)'
        channel=projects/$project/notificationChannels/CHANNEL
        [ $dry_run -eq 1 ] || channel=$(cat "$out/last-answer")
    fi
fi

known=$(look gcloud logging metrics list --project="$project" '--format=value(name)')
for file in "${files[@]}"; do
    [[ $file == */metrics/* ]] || continue
    name=$(field name "$file")
    verb=create
    ! grep -qxF "$name" <<< "$known" || verb=update
    run gcloud logging metrics $verb "$name" --project="$project" --config-from-file="$file"
done

# An alert is known by its name and its service. Channels that somebody else gave it are kept.
known=$(look gcloud alpha monitoring policies list --project="$project" \
    '--format=value(name,displayName,userLabels.service,notificationChannels.list())')
for file in "${files[@]}"; do
    [[ $file == */alerts/* ]] || continue
    there=$(awk -F '\t' -v title="$(field displayName "$file")" -v service="$service" \
        '$2 == title && $3 == service { print $1 "\t" $4; exit }' <<< "$known")
    channels=$(tr ',;' '\n' <<< "${there#*$'\t'}"$'\n'"$channel" | sed 's/ //g' | awk 'NF && !seen[$0]++' | paste -sd ,)
    if [ -n "$there" ]; then
        run gcloud alpha monitoring policies update "${there%%$'\t'*}" --project="$project" --policy-from-file="$file" \
            ${channels:+--set-notification-channels="$channels"}
    else
        run gcloud alpha monitoring policies create --project="$project" --policy-from-file="$file" \
            ${channels:+--notification-channels="$channels"}
    fi
done

# A dashboard is replaced only by a file with the etag of what is there.
known=$(look gcloud monitoring dashboards list --project="$project" '--format=value(name,displayName,etag)')
file=$out/dashboard.json
[ "$service" = pawfect-edit-inpaint ] || sed -i "s|^  \"displayName\": \".*\"|  \"displayName\": \"inpaint worker: $service\"|" "$file"
there=$(awk -F '\t' -v title="$(field displayName "$file")" '$2 == title { print $1 "\t" $3; exit }' <<< "$known")
if [ -n "$there" ]; then
    sed -i "1s|{|{\n  \"etag\": \"${there#*$'\t'}\",|" "$file"
    run gcloud monitoring dashboards update "${there%%$'\t'*}" --project="$project" --config-from-file="$file"
else
    run gcloud monitoring dashboards create --project="$project" --config-from-file="$file"
fi
rm -f "$out/last-answer" "$out/last-error"
if [ $dry_run -eq 1 ]; then
    echo "dry run: nothing was changed. The files are in $out"
else
    echo "done: metrics, alerts and the dashboard are in the project $project"
fi
