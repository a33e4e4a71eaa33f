# shellcheck shell=bash
# command.sh: how deploy.sh asks and changes: questions, changes, dry runs, and what is said when a command fails.

step_name=''
changes=0
asked_owner=0
answer='' # of the last question
said=$(mktemp) # what gcloud printed on stderr
trap 'rm -f "$said"' EXIT

usage_error() { echo "deploy: $1" >&2; exit 2; }

# One word as it can be pasted into a shell. ${PROJECT_NUMBER} stays a variable: a dry run does not know its value.
quoted() {
    # shellcheck disable=SC2016  # sed's words
    case $1 in
    *"\${PROJECT_NUMBER}"*) printf '"%s"' "$(sed 's/[\\"`$]/\\&/g; s/\\\${PROJECT_NUMBER}/${PROJECT_NUMBER}/g' <<< "$1")" ;;
    '' | *[!A-Za-z0-9_./:=@%+,^~-]*) printf "'%s'" "${1//\'/\'\\\'\'}" ;;
    *) printf '%s' "$1" ;;
    esac
}

line() { # WORD...: a command as one line
    local word text=''
    for word in "$@"; do text+=" $(quoted "$word")"; done
    echo "${text# }"
}

folded() { # WORD...: a command over several lines, which a shell takes as one
    local word text='' width=0
    for word in "$@"; do
        word=$(quoted "$word")
        if [ $width -gt 40 ] && [ $((width + ${#word})) -gt 110 ]; then
            text+=$' \\\n   '
            width=3
        fi
        text+=" $word"
        width=$((width + 1 + ${#word}))
    done
    echo "${text# }"
}

step() { # NAME WHY
    step_name=$1
    if [ "$dry_run" -eq 1 ]; then printf '\n# %s: %s\n' "$1" "$2"; else printf '%s\n' "[$1] $2"; fi
}

# What to do about an error, by what gcloud said.
remedy() {
    case $1 in
    *"do not have quota"*GPU* | *Quota*exceeded*[Gg]pu* | *QUOTA*GPU*)
        echo "Ask for the quota \"Total Nvidia L4 GPU allocation without zonal redundancy, per project per region\" in $region, at"
        echo "https://console.cloud.google.com/iam-admin/quotas?project=$project. It must cover --max-instances, and one more for the"
        echo "revision that is tried before it gets traffic. Or see the whole path without a GPU: --tiny." ;;
    *SERVICE_DISABLED* | *"has not been used in project"* | *"it is disabled"*)
        echo "The API was switched on a moment ago, or an administrator switched it off. Wait two minutes, then go on." ;;
    *billing* | *Billing*) echo "Link a billing account to $project: https://console.cloud.google.com/billing/linkedaccount?project=$project" ;;
    *"not currently have an active account"* | *"auth login"* | *[Rr]eauth*) echo "Log in: gcloud auth login" ;;
    *failureThreshold* | *failure_threshold* | *"startup probe"*period* | *startupProbe*)
        echo "This platform allows a startup probe less time: give --startup-seconds 240. If the probe itself failed, the log says why:"
        echo "gcloud run services logs read $service --region=$region --project=$project" ;;
    *[Ii]nvoker*[Ii][Aa][Mm]* | *"domain restricted"* | *run.managed.requireInvokerIam*)
        echo "Your organisation keeps Cloud Run's own check on: give --auth iam." ;;
    *PERMISSION_DENIED* | *"does not have permission"* | *"Permission denied"* | *forbidden* | *403*)
        echo "The account of \`gcloud auth list\` lacks a role. The first run needs roles/owner, or roles/editor together with"
        echo "roles/resourcemanager.projectIamAdmin and the admin roles that may grant: roles/iam.serviceAccountAdmin, roles/run.admin,"
        echo "roles/secretmanager.admin, roles/storage.admin, roles/pubsub.admin, roles/artifactregistry.admin, and with --github"
        echo "roles/iam.workloadIdentityPoolAdmin." ;;
    *"does not exist"* | *NOT_FOUND* | *"not found"*)
        echo "If it was made a moment ago, wait a minute: Google tells its servers one after the other." ;;
    *) echo "Mend what gcloud says." ;;
    esac
}

fail() { # WHAT [REMEDY]: ends the run
    local text
    text=$(cat "$said")
    {
        echo "deploy: the step \"$step_name\" failed: $1"
        [ -z "$text" ] || printf '%s\n' "$text" | tail -n 12 | sed 's/^/  gcloud: /'
        printf '%s\n' "${2:-$(remedy "$text")}" | sed 's/^/  /'
        echo "  Then repeat the same command: what is done is passed over."
        echo "    $(line "${invocation[@]}")"
    } >&2
    exit 1
}

absent() { # what gcloud says of things that are not there
    grep -qiE 'NOT_FOUND|not found|cannot find|does not exist|notFound' "$said" && ! grep -qE 'PERMISSION_DENIED|SERVICE_DISABLED' "$said"
}

# An API that was switched on a moment ago is not on everywhere. Tests wait for less: DEPLOY_TRIES, DEPLOY_RETRY_SECONDS.
not_yet_on() { grep -qE 'SERVICE_DISABLED|has not been used in project' "$said"; }
tries=${DEPLOY_TRIES:-12}
pause() { sleep "${DEPLOY_RETRY_SECONDS:-10}"; }

# Asks, and leaves what was said in $answer; 1: there is no such thing. A dry run shows the question and asks nobody.
ask() { # COMMAND...
    local left=$tries
    answer=''
    if [ "$dry_run" -eq 1 ]; then
        echo "#   asks: $(line "$@")"
        return 1
    fi
    until answer=$("$@" 2> "$said" < /dev/null); do
        ! absent || return 1
        left=$((left - 1))
        { not_yet_on && [ $left -gt 0 ]; } || fail "$(line "$@")"
        pause
    done
}

agree() { # asks the owner once, before the first change
    [ $asked_owner -eq 0 ] || return 0
    asked_owner=1
    [ "$assume_yes" -eq 0 ] && [ -t 0 ] && [ -t 1 ] || return 0
    local reply
    read -rp "From here on the project $project is changed (--dry-run shows how). Go on? [y/N] " reply
    case $reply in
    y | Y | yes) ;;
    *) echo "deploy: nothing was changed"; exit 0 ;;
    esac
}

# With loud=1 what gcloud says is shown while it works: builds and deployments take minutes.
run_change() {
    if [ "${loud:-0}" -eq 1 ]; then
        "$@" 2>&1 | tee "$said" | sed -u 's/^/    /'
    else
        "$@" > /dev/null 2> "$said"
    fi
}

# Changes something. What gcloud has just made may not be known everywhere yet, so "not there" is tried again for two minutes;
# but not where a build or a deployment says it, which takes minutes and has other programs' words in its output.
change() { # COMMAND...
    local left=$tries
    if [ "$dry_run" -eq 1 ]; then
        folded "$@"
        return 0
    fi
    agree
    changes=$((changes + 1))
    echo "  + $(line "$@")"
    until run_change "$@"; do
        left=$((left - 1))
        { { not_yet_on || { [ "${loud:-0}" -eq 0 ] && absent; }; } && [ $left -gt 0 ]; } || fail "$(line "$@")"
        pause
    done
}

# Makes what is not there: `ensure DESCRIBE... -- CREATE...`. The dry run's line can be pasted again and again, too.
ensure() {
    local describe=()
    while [ "$1" != -- ]; do
        describe+=("$1")
        shift
    done
    shift
    if [ "$dry_run" -eq 1 ]; then
        echo "$(line "${describe[@]}") > /dev/null 2>&1 ||"
        echo "  $(line "$@")"
    elif ! ask "${describe[@]}"; then
        change "$@"
    fi
}
