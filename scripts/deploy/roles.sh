# shellcheck shell=bash
# roles.sh: who may do what, and why. docs/DEPLOY.md has the same rows; `make deploy-test` compares them.

# when | member | on | role | reason. `when` is a word of role_applies; on: a resource of granted.
roles=(
    "always|runtime|project|roles/datastore.user|reads sessions, claims them, and writes their status"
    "always|runtime|bucket|roles/storage.objectUser|reads the photo and the mask, writes the pictures"
    "weights|runtime|weights|roles/storage.objectViewer|reads the weights at the start (--weights gs://...)"
    "credentials|runtime|credentials|roles/secretmanager.secretAccessor|reads FIREBASE_CREDENTIALS (--credentials-secret)"
    "always|agent|push account|roles/iam.serviceAccountTokenCreator|Pub/Sub signs the token of each push with this account"
    "always|agent|dead-letter topic|roles/pubsub.publisher|Pub/Sub moves dead letters there"
    "subscribed|agent|subscription|roles/pubsub.subscriber|Pub/Sub takes dead letters out of the subscription"
    "iam|push|service|roles/run.invoker|Cloud Run lets the pushes in (--auth iam)"
    "build|build|project|roles/logging.logWriter|writes the log of the build"
    "build|build|project|roles/cloudbuild.builds.editor|GitHub's workflow submits builds as this account"
    "build|build|project|roles/serviceusage.serviceUsageConsumer|its calls count as calls of the project"
    "build|build|repository|roles/artifactregistry.writer|pushes the image and the build cache"
    "build|build|source bucket|roles/storage.objectUser|uploads and reads the source of a build"
    "build|build|source bucket|roles/storage.legacyBucketReader|gcloud looks whether that bucket is there"
    "build|build|project|roles/run.developer|deploys a revision and moves the traffic"
    "build|build|runtime account|roles/iam.serviceAccountUser|a revision runs as the runtime account"
    "build|build|build account|roles/iam.serviceAccountUser|submits builds that run as itself"
    "build|build|push account|roles/iam.serviceAccountTokenCreator|makes the token with which conform asks the new revision"
    "token|build|HF_TOKEN|roles/secretmanager.secretAccessor|fetches the weights from Hugging Face"
    "github|github|build account|roles/iam.workloadIdentityUser|the repository named by --github acts as this account"
)

role_applies() { # WHEN
    case $1 in
    always) true ;;
    weights) [ -n "$weights_bucket" ] ;;
    credentials) [ -n "$credentials_secret" ] ;;
    build) [ -z "$given_image" ] || [ -n "$github" ] ;;
    token) [ "$needs_token" -eq 1 ] ;;
    github) [ -n "$github" ] ;;
    *) false ;; # later: the service and the subscription have to be there first
    esac
}

member_of() { # NAME
    case $1 in
    runtime | push | build) local account=${1}_account && echo "serviceAccount:${!account}" ;;
    agent) echo "serviceAccount:service-$number@gcp-sa-pubsub.iam.gserviceaccount.com" ;;
    github) echo "principalSet://iam.googleapis.com/projects/$number/locations/global/workloadIdentityPools/github/attribute.repository/$github" ;;
    esac
}

# The words of gcloud that name a resource: $target is the command's group, $named the resource and its flags.
find_target() { # ON
    case $1 in
    project) target=(projects) named=("$project") ;;
    bucket) target=(storage buckets) named=("gs://$bucket") ;;
    weights) target=(storage buckets) named=("gs://$weights_bucket") ;;
    "source bucket") target=(storage buckets) named=("gs://$source_bucket") ;;
    credentials) target=(secrets) named=("$credentials_secret" "--project=$project") ;;
    HF_TOKEN) target=(secrets) named=(HF_TOKEN "--project=$project") ;;
    "push account") target=(iam service-accounts) named=("$push_account" "--project=$project") ;;
    "runtime account") target=(iam service-accounts) named=("$runtime_account" "--project=$project") ;;
    "build account") target=(iam service-accounts) named=("$build_account" "--project=$project") ;;
    "dead-letter topic") target=(pubsub topics) named=("$dead_topic" "--project=$project") ;;
    subscription) target=(pubsub subscriptions) named=("$subscription" "--project=$project") ;;
    repository) target=(artifacts repositories) named=("$repository" "--location=$region" "--project=$project") ;;
    service) target=(run services) named=("$service" "--region=$region" "--project=$project") ;;
    esac
}

declare -A policies=() # what was said of each resource: several roles on one are one question

grant() { # MEMBER ON ROLE REASON
    local member target named flags=("--role=$3" --quiet)
    member=$(member_of "$1")
    find_target "$2"
    # Without it gcloud asks about conditions where a policy has one.
    [ "${target[*]}" != projects ] || flags+=(--condition=None)
    [ "$dry_run" -eq 0 ] || echo "# $1: $4"
    if [ -z "${policies[$2]+asked}" ] &&
        ask gcloud "${target[@]}" get-iam-policy "${named[@]}" '--flatten=bindings[].members' '--format=value(bindings.role,bindings.members)'; then
        policies[$2]=$answer
    fi
    ! grep -qxF "$3"$'\t'"$member" <<< "${policies[$2]-}" || return 0
    change gcloud "${target[@]}" add-iam-policy-binding "${named[@]}" "--member=$member" "${flags[@]}"
}

grant_all() { # [WHEN]: the rows of one moment; without it those that apply at once
    local row when member on role reason
    for row in "${roles[@]}"; do
        IFS='|' read -r when member on role reason <<< "$row"
        if [ "$when" = "${1:-}" ] || { [ $# -eq 0 ] && role_applies "$when"; }; then
            grant "$member" "$on" "$role" "$reason"
        fi
    done
}
