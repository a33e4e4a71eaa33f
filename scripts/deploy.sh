#!/bin/bash
# deploy.sh --project=PROJECT [OPTION...]: puts the worker on Cloud Run, with everything that it stands on.
#
# It asks what is there, makes what is missing and updates what differs, so it can be repeated after any failure; when all
# is right it changes nothing. docs/DEPLOY.md goes through it step by step.
#
#   --dry-run              prints every command in its order, ready to be pasted, and asks and changes nothing; needs no gcloud
#   --yes                  does not ask before the first change (it asks on a terminal only)
#   --tiny                 the demo's model on two CPUs, beside the real service: the whole path for a few cents
#   --destroy              prints the commands that delete what this made, and runs none
#
#   --region=REGION        us-east4                      --service=NAME         pawfect-edit-inpaint; with --tiny inpaint-tiny
#   --bucket=NAME          the app's bucket; if not given, PROJECT.firebasestorage.app, else PROJECT.appspot.com
#   --database=NAME        (default)                     --max-instances=N      1; each has a GPU of its own
#   --min-instances=N      0; those that are always there, and are paid for
#   --topic=NAME           session-processing            --subscription=NAME    session-processing-push; both inpaint-tiny... with --tiny
#
#   --weights=WHERE        image:Q8_0 (also Q6_K, Q5_K_S, Q4_K_S): in the image; image:none: nowhere yet; gs://BUCKET/PREFIX
#   --text=t5|pack         t5: the text encoder itself; pack: a table of prompts in its place, 5 GB smaller
#   --image=REF            an image that is in a registry already, in place of building one
#   --hf-token-file=FILE   the token of Hugging Face for image:Q...; - is standard input. It is kept as the secret HF_TOKEN
#   --credentials-secret=NAME  a secret with the key of a service account for FIREBASE_CREDENTIALS; without it the service
#                          uses its own account, and there is no key that can be lost
#   --credentials-file=FILE    puts that key into the secret
#   --auth=oidc|iam        who verifies the token of a push: the worker (oidc), or Cloud Run where a policy demands it (iam)
#   --github=OWNER/NAME    lets this repository's workflow deploy without a key (Workload Identity Federation)
#   --env=NAME=VALUE       one more setting of the worker; may be given several times
#
#   --job-deadline=280  --timeout=300  --ack-deadline=600  --lease=360  --queue-depth=8  --startup-seconds=600  --max-retry-delay=600
#
# Options are not remembered: repeat the command with all of them, or what they changed is set back.
#
# Exit status: 0 done, 1 a step failed, 2 wrong usage.
set -euo pipefail

invocation=("$0" "$@")
export CLOUDSDK_CORE_DISABLE_PROMPTS=1 # what it would ask is answered by its flags, or an error
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
project='' region=us-east4 service='' bucket='' database='(default)' max_instances=1 min_instances=0 topic='' subscription=''
weights=image:Q8_0 text=t5 image='' token_file='' credentials_secret='' credentials_file='' credentials_version=latest auth=oidc github=''
job_deadline=280 timeout=300 ack_deadline=600 lease=360 queue_depth=8 startup=600 max_retry_delay=600
dry_run=0 assume_yes=0 tiny=0 only_destroy=0 more_env=() undo=()
repository=workers

# shellcheck source=scripts/deploy/command.sh
. "$root/scripts/deploy/command.sh"
# shellcheck source=scripts/deploy/roles.sh
. "$root/scripts/deploy/roles.sh"
# shellcheck source=scripts/deploy/resources.sh
. "$root/scripts/deploy/resources.sh"
# shellcheck source=scripts/deploy/service.sh
. "$root/scripts/deploy/service.sh"

read_option() { # NAME VALUE
    case $1 in
    --project | --region | --service | --bucket | --database | --topic | --subscription | --weights | --text | --image | --auth | --github | \
        --credentials-secret | --credentials-file | --max-instances | --min-instances | --job-deadline | --timeout | --ack-deadline | --lease | \
        --queue-depth | --max-retry-delay)
        local name=${1#--}
        printf -v "${name//-/_}" %s "$2"
        ;;
    --hf-token-file) token_file=$2 ;;
    --startup-seconds) startup=$2 ;;
    --env) more_env+=("$2") ;;
    *) usage_error "there is no option $1; --help lists them" ;;
    esac
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --help | -h) sed -n '2,/^# Exit status/s/^# \{0,1\}//p' "$root/scripts/deploy.sh"; exit 0 ;;
        --dry-run) dry_run=1 ;;
        --yes) assume_yes=1 ;;
        --tiny) tiny=1 ;;
        --destroy) only_destroy=1 ;;
        --*=*) read_option "${1%%=*}" "${1#*=}" ;;
        --*)
            [ $# -gt 1 ] || usage_error "$1 needs a value"
            read_option "$1" "$2"
            shift
            ;;
        *) usage_error "\"$1\" is no option; --help lists them" ;;
        esac
        shift
    done
}

must_match() { # OPTION VALUE PATTERN ALLOWED
    [[ $2 =~ ^($3)$ ]] || usage_error "$1 is \"$2\"; allowed: $4"
}

check_values() {
    local option name
    [ -n "$project" ] || usage_error "--project=PROJECT is missing: the id of the project, as \`gcloud projects list\` shows it"
    must_match --project "$project" '[a-z][a-z0-9-]{4,28}[a-z0-9]' "a project's id: 6 to 30 small letters, digits and -"
    must_match --region "$region" '[a-z]+-[a-z]+[0-9]+' "a region, as us-east4"
    # With the project's number it is one label of a host name, which has 63 characters at most.
    must_match --service "$service" '[a-z]([a-z0-9-]{0,46}[a-z0-9])?' "a letter, then up to 47 small letters, digits and -"
    for option in topic subscription; do
        must_match --$option "${!option}" '[A-Za-z][A-Za-z0-9._~+%-]{2,244}' "3 to 245 letters, digits and -._~+%, a letter first"
    done
    must_match --bucket "$bucket" '([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])?' "the name of a bucket, without gs://"
    must_match --database "$database" '[(]default[)]|[a-z][a-z0-9-]{2,61}[a-z0-9]' "(default), or 4 to 63 small letters, digits and -"
    must_match --credentials-secret "$credentials_secret" '[A-Za-z0-9_-]{0,255}' "the name of a secret: letters, digits, _ and -"
    must_match --image "$image" '([a-z0-9][A-Za-z0-9._:@/-]*)?' "REGISTRY/PATH:TAG or REGISTRY/PATH@sha256:DIGEST"
    must_match --weights "$weights" 'image:(none|Q8_0|Q6_K|Q5_K_S|Q4_K_S)|gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]/[^,[:space:]]+' \
        "image:none, image:Q8_0, image:Q6_K, image:Q5_K_S, image:Q4_K_S, gs://BUCKET/PREFIX"
    must_match --text "$text" 't5|pack' "t5, pack"
    must_match --auth "$auth" 'oidc|iam' "oidc, iam"
    must_match --github "$github" '([A-Za-z0-9-]+/[A-Za-z0-9._-]+)?' "OWNER/NAME"
    for option in max_instances job_deadline timeout ack_deadline lease startup; do
        name=${option/startup/startup-seconds}
        must_match "--${name//_/-}" "${!option}" '[1-9][0-9]{0,5}' "a whole number from 1"
    done
    must_match --queue-depth "$queue_depth" '[0-9]{1,3}' "0 to 999"
    must_match --max-retry-delay "$max_retry_delay" '[1-9][0-9]|[1-5][0-9]{2}|600' "10 to 600 seconds"
    must_match --min-instances "$min_instances" '0|[1-9][0-9]{0,5}' "a whole number from 0"
    [ "$min_instances" -le "$max_instances" ] || usage_error "--min-instances ($min_instances) must be at most --max-instances ($max_instances)"
    for option in "${more_env[@]}"; do must_match --env "$option" '[A-Z][A-Z0-9_]*=[^|]*' "NAME=VALUE without a |"; done
    for option in "$token_file" "$credentials_file"; do
        [ -z "$option" ] || [ "$option" = - ] || [ -r "$option" ] || usage_error "the file $option cannot be read"
    done
    [ -z "$credentials_file" ] || [ -n "$credentials_secret" ] || usage_error "--credentials-file needs --credentials-secret=NAME"
    for option in "${more_env[@]}"; do
        case ${option%%=*} in
        FIREBASE_CREDENTIALS) usage_error "--env=FIREBASE_CREDENTIALS would show a key to everybody; give --credentials-secret" ;;
        JOB_DEADLINE_SECONDS | LEASE_SECONDS | QUEUE_DEPTH | WEIGHTS | PUSH_AUTH | FIRESTORE_DATABASE | FIREBASE_STORAGE_BUCKET)
            usage_error "--env=${option%%=*} belongs to an option of its own; --help lists them" ;;
        esac
    done
    [ "$token_file$credentials_file" != -- ] || usage_error "--hf-token-file and --credentials-file are both -; one of them must be a file"
}

# Each limit lies inside the next, so that whoever waits hears the end of what is inside: the worker answers before Cloud
# Run gives up, Cloud Run before Pub/Sub does, and a claim outlives its job, but not the next delivery.
check_times() {
    [ "$job_deadline" -lt "$timeout" ] || usage_error "--job-deadline ($job_deadline s) must be less than --timeout ($timeout s): Cloud Run would cut the answer off"
    [ "$timeout" -lt "$ack_deadline" ] || usage_error "--timeout ($timeout s) must be less than --ack-deadline ($ack_deadline s): an answer after it does not count"
    [ "$ack_deadline" -le 600 ] || usage_error "--ack-deadline is $ack_deadline s; Pub/Sub allows 600 s at most"
    [ "$lease" -ge $((job_deadline + 10)) ] || usage_error "--lease ($lease s) must be at least --job-deadline + 10 ($((job_deadline + 10)) s): another worker would take the session too early"
    [ "$lease" -lt "$ack_deadline" ] || usage_error "--lease ($lease s) must be less than --ack-deadline ($ack_deadline s): the next delivery would find the session taken"
    [ $((startup % 10)) -eq 0 ] || usage_error "--startup-seconds is $startup; allowed: tens of seconds, as the probe asks every 10 s"
}

settle() { # what follows from the options
    runtime_account="inpaint-worker@$project.iam.gserviceaccount.com"
    push_account="inpaint-push@$project.iam.gserviceaccount.com"
    build_account="inpaint-build@$project.iam.gserviceaccount.com"
    source_bucket="$project-inpaint-source"
    queue_depth=$((10#$queue_depth)) # 08 is no octal number
    dead_topic="$topic-dead"
    cpu=8 memory=32Gi backend=cuda base='' runtime='' weights_bucket='' given_image=$image needs_token=0
    model=${weights#image:}
    if [ "$tiny" -eq 1 ]; then
        cpu=2 memory=4Gi backend=cpu model=demo base=debian:bookworm runtime=debian:bookworm-slim
    elif [[ $weights == gs://* ]]; then
        weights_bucket=${weights#gs://} weights_bucket=${weights_bucket%%/*} model=none
    fi
    case $model in Q*) [ -n "$image" ] && [ -z "$github" ] || needs_token=1 ;; esac # GitHub's workflow builds in any case
    kind_of_build="_MODEL=$model,_TEXT=$text,_BACKEND=$backend${base:+,_BASE=$base}${runtime:+,_RUNTIME=$runtime}"
    commit=$(git -C "$root" describe --always --dirty --abbrev=12 --exclude='*' 2> /dev/null || echo unknown)
    version=$({ command -v git && command -v make; } > /dev/null && make -s --no-print-directory -C "$root" version 2> /dev/null) || version=''
    tag="$commit-${model,,}-$text"
    # What no commit names has a name of its own, or the image of another day would be taken for it.
    case $commit in *-dirty | unknown) tag+="-$(hash_of_files)" ;; esac
    [ -n "$image" ] || image="$region-docker.pkg.dev/$project/$repository/inpaint-worker:$tag"
    # shellcheck disable=SC2016  # a dry run leaves the number to the shell into which it is pasted
    number='${PROJECT_NUMBER}'
}

hash_of_files() { # of what an image is made of
    (cd "$root" && find Dockerfile Makefile kernels models scripts worker -type f ! -path '*/__pycache__/*' -print0) |
        LC_ALL=C sort -z | (cd "$root" && xargs -0 sha256sum) | sha256sum | cut -c1-8
}

# The address follows from the project's number, so the audience is known before the service exists, and one deployment is
# enough. The audience is a name that both sides agree on: a tag's address is asked with the same one.
settle_address() { url="https://$service-$number.$region.run.app"; }

keep_standard_input() { # a secret is needed twice: to compare and to send
    local of
    [ "$dry_run" -eq 0 ] || return 0
    for of in token_file credentials_file; do
        [ "${!of}" = - ] || continue
        kept=$(mktemp)
        trap 'rm -f "$said" "$kept"' EXIT
        cat > "$kept"
        printf -v "$of" %s "$kept"
        return 0
    done
}

read_options "$@"
if [ "$tiny" -eq 1 ]; then
    : "${service:=inpaint-tiny}" "${topic:=inpaint-tiny}" "${subscription:=inpaint-tiny-push}"
else
    : "${service:=pawfect-edit-inpaint}" "${topic:=session-processing}" "${subscription:=session-processing-push}"
fi
check_values
check_times
settle
if [ $only_destroy -eq 1 ]; then
    destroy
    exit 0
fi
cd "$root" # gcloud builds submit takes this folder
keep_standard_input
find_project
settle_address
enable_apis
make_registry
make_accounts
make_secrets
find_bucket
check_database
make_topics
trust_github
step roles "who may do what, and no more"
grant_all
build_image
deploy_service
connect_subscription
summary
