# shellcheck shell=bash
# resources.sh: what the service stands on: APIs, registry, accounts, secrets, bucket, database, topics.

apis=(run pubsub firestore storage artifactregistry secretmanager iam iamcredentials cloudbuild logging cloudresourcemanager)

find_project() {
    step account "which account gcloud uses, and the number of the project"
    if [ "$dry_run" -eq 1 ]; then
        ask gcloud auth list '--filter=status:ACTIVE' '--format=value(account)' || true
        # shellcheck disable=SC2016  # a variable of the shell into which this is pasted
        echo "PROJECT_NUMBER=\$($(line gcloud projects describe "$project" '--format=value(projectNumber)'))"
        return
    fi
    command -v gcloud > /dev/null || fail "gcloud is not installed" "Get it: https://cloud.google.com/sdk/docs/install. --dry-run does without."
    ask gcloud auth list '--filter=status:ACTIVE' '--format=value(account)' || true
    [ -n "$answer" ] || fail "gcloud is not logged in" "Log in: gcloud auth login"
    echo "  $answer"
    # gcloud's answer is the same for a project that is not there and for one that this account may not see.
    number=$(gcloud projects describe "$project" '--format=value(projectNumber)' 2> "$said" < /dev/null) ||
        fail "there is no project $project, or $answer may not see it" "Give its id, not its name: gcloud projects list"
}

enable_apis() {
    local api enabled missing=()
    step APIs "the services of Google that are used"
    ask gcloud services list --enabled "--project=$project" '--format=value(config.name)' || true
    enabled=$answer
    for api in "${apis[@]}"; do
        grep -qxF "$api.googleapis.com" <<< "$enabled" || missing+=("$api.googleapis.com")
    done
    [ ${#missing[@]} -eq 0 ] || change gcloud services enable "${missing[@]}" "--project=$project"
}

make_registry() {
    step registry "where the image is kept, near the service"
    ensure gcloud artifacts repositories describe "$repository" "--location=$region" "--project=$project" '--format=value(name)' -- \
        gcloud artifacts repositories create "$repository" --repository-format=docker "--location=$region" "--project=$project" \
        --description=inpaint-worker
    # Cloud Build's source in a bucket of its own: its account then needs no right on another.
    ensure gcloud storage buckets describe "gs://$source_bucket" '--format=value(name)' -- \
        gcloud storage buckets create "gs://$source_bucket" "--project=$project" "--location=$region" --uniform-bucket-level-access \
        --public-access-prevention
}

make_accounts() {
    local account what
    step accounts "one for the service, one with which Pub/Sub signs its pushes, one for builds"
    for account in "$runtime_account=runs the service" "$push_account=signs the tokens of pushes" "$build_account=builds and deploys"; do
        what=${account#*=} account=${account%%=*}
        ensure gcloud iam service-accounts describe "$account" "--project=$project" '--format=value(email)' -- \
            gcloud iam service-accounts create "${account%%@*}" "--project=$project" "--display-name=inpaint-worker: $what"
    done
    # Pub/Sub's own account exists from its first use of this.
    if ! ask gcloud pubsub topics describe "$dead_topic" "--project=$project" '--format=value(name)'; then
        change gcloud beta services identity create --service=pubsub.googleapis.com "--project=$project"
    fi
}

# A secret, and a version of it where a file is given and the newest version says something else. The value goes from the
# file to gcloud; it is in no argument and no output.
make_secret() { # NAME FILE OPTION
    ensure gcloud secrets describe "$1" "--project=$project" '--format=value(name)' -- \
        gcloud secrets create "$1" --replication-policy=automatic "--project=$project"
    if [ -z "$2" ]; then
        ask gcloud secrets versions describe latest "--secret=$1" "--project=$project" '--format=value(name)' || [ "$dry_run" -eq 1 ] ||
            fail "the secret $1 has no value" "Give a file that holds it, or - for standard input: $3 FILE"
    elif [ "$dry_run" -eq 1 ] || ! same_secret "$1" "$2"; then
        change gcloud secrets versions add "$1" "--data-file=$2" "--project=$project"
    fi
}

same_secret() { # NAME FILE: whether the newest version holds what the file holds
    gcloud secrets versions access latest "--secret=$1" "--project=$project" 2> /dev/null < /dev/null | cmp -s - "$2"
}

make_secrets() {
    step secrets "the token for the weights, and the key of a service account where one is used"
    [ "$needs_token" -eq 0 ] || make_secret HF_TOKEN "$token_file" --hf-token-file
    [ -z "$credentials_secret" ] && return
    make_secret "$credentials_secret" "$credentials_file" --credentials-file
    # The version is pinned: a new one that is bad must not break instances that start tonight.
    if ask gcloud secrets versions describe latest "--secret=$credentials_secret" "--project=$project" '--format=value(name)'; then
        credentials_version=${answer##*/}
    fi
}

find_bucket() {
    local name
    step bucket "where the app keeps its pictures"
    for name in ${bucket:-"$project.firebasestorage.app" "$project.appspot.com"}; do
        if ask gcloud storage buckets describe "gs://$name" '--format=value(name)' || [ "$dry_run" -eq 1 ]; then
            bucket=$name
            break
        fi
        [ -n "$bucket" ] || echo "  there is no gs://$name"
    done
    [ -n "$answer" ] || [ "$dry_run" -eq 1 ] ||
        fail "there is no bucket gs://${bucket:-$project.firebasestorage.app}" "Name the app's bucket: --bucket NAME. The Firebase console shows it under Storage."
    if [ -n "$weights_bucket" ]; then
        ask gcloud storage buckets describe "gs://$weights_bucket" '--format=value(name)' || [ "$dry_run" -eq 1 ] ||
            fail "there is no bucket gs://$weights_bucket" "--weights names the bucket that scripts/fetch_weights.sh's folder was copied to."
    fi
}

check_database() {
    step database "the documents of the app: looked for, never made, because its place is final"
    ask gcloud firestore databases describe "--database=$database" "--project=$project" '--format=value(type)' || [ "$dry_run" -eq 1 ] ||
        fail "there is no Firestore database $database in $project" "Make it in the Firebase console, or name another: --database NAME"
    [ "$dry_run" -eq 1 ] || [ "$answer" = FIRESTORE_NATIVE ] ||
        fail "the database $database is of the type $answer" "The worker speaks to Firestore in native mode. Name another: --database NAME"
}

make_topics() {
    local name
    step topics "the app's messages, and those that could not be delivered, which only a subscription keeps"
    for name in "$topic" "$dead_topic"; do
        ensure gcloud pubsub topics describe "$name" "--project=$project" '--format=value(name)' -- \
            gcloud pubsub topics create "$name" "--project=$project"
    done
    ensure gcloud pubsub subscriptions describe "$dead_topic-pull" "--project=$project" '--format=value(name)' -- \
        gcloud pubsub subscriptions create "$dead_topic-pull" "--topic=$dead_topic" --expiration-period=never \
        --message-retention-duration=31d "--project=$project"
}

# GitHub signs a token for each run of a workflow; Google takes it in place of a key.
trust_github() {
    [ -n "$github" ] || return 0
    local condition="assertion.repository=='$github' && assertion.ref=='refs/heads/main'"
    local provider=(github --workload-identity-pool=github --location=global "--project=$project")
    step GitHub "the workflow of $github may act as the build account, without a key"
    ensure gcloud iam workload-identity-pools describe github --location=global "--project=$project" '--format=value(name)' -- \
        gcloud iam workload-identity-pools create github --location=global "--project=$project"
    ensure gcloud iam workload-identity-pools providers describe "${provider[@]}" '--format=value(name,attributeCondition)' -- \
        gcloud iam workload-identity-pools providers create-oidc "${provider[@]}" --issuer-uri=https://token.actions.githubusercontent.com \
        --attribute-mapping=google.subject=assertion.sub,attribute.repository=assertion.repository,attribute.ref=assertion.ref \
        "--attribute-condition=$condition"
    # Another repository may be using it, so it is not changed here.
    [ -z "$answer" ] || [ "${answer#*$'\t'}" = "$condition" ] ||
        fail "the provider \"github\" lets in others: ${answer#*$'\t'}" "If nothing else needs it as it is:
$(line gcloud iam workload-identity-pools providers update-oidc "${provider[@]}" "--attribute-condition=$condition")"
}
