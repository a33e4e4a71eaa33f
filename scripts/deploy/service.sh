# shellcheck shell=bash
# service.sh: the image, the Cloud Run service, its traffic, and the push subscription.

build_image() {
    local build
    step image "built by Cloud Build from this folder, unless it is there already; half an hour, its log is at the address that gcloud prints"
    if [ -n "$given_image" ]; then
        [ "$dry_run" -eq 0 ] || printf '#'
        echo "  given: $image"
        return
    fi
    if ask gcloud artifacts docker images describe "$image" "--project=$project" '--format=value(image_summary.digest)'; then
        echo "  it is there: $image"
        return
    fi
    build="_DEPLOY=no,_REGION=$region,_REPOSITORY=$repository,_SERVICE=$service,_TAG=$tag,_COMMIT=$commit,_VERSION=$version,$kind_of_build"
    loud=1 change gcloud builds submit . --config=cloudbuild.yaml "--project=$project" --region=global \
        "--service-account=projects/$project/serviceAccounts/$build_account" \
        "--gcs-source-staging-dir=gs://$source_bucket/source" "--substitutions=$build"
}

# The flags of the revision, each with its reason.
service_flags() {
    # gcloud takes the sign between ^ and ^ in place of the comma, which a list of LoRAs has, too.
    local env="^|^PUSH_AUTH=$auth|PUSH_AUDIENCE=$url/inpaint|PUSH_SERVICE_ACCOUNT=$push_account"
    env+="|GOOGLE_CLOUD_PROJECT=$project|FIRESTORE_DATABASE=$database|FIREBASE_STORAGE_BUCKET=$bucket"
    env+="|JOB_DEADLINE_SECONDS=$job_deadline|LEASE_SECONDS=$lease|QUEUE_DEPTH=$queue_depth"
    [ -z "$weights_bucket" ] || env+="|WEIGHTS=$weights"
    [ "$tiny" -eq 0 ] || env+="|STEPS=4" # what the demo's model was trained for
    [ ${#more_env[@]} -eq 0 ] || env+=$(printf '|%s' "${more_env[@]}")
    flags=(
        "--image=$image" "--service-account=$runtime_account"
        "--cpu=$cpu" "--memory=$memory" --execution-environment=gen2 --cpu-boost
        --no-cpu-throttling                            # a GPU demands it, and the worker writes the progress beside the painting
        "--concurrency=$((queue_depth + 1))"           # one push is painted and QUEUE_DEPTH wait; the worker answers more with 429
        "--timeout=$timeout" "--min-instances=$min_instances" "--max-instances=$max_instances"
        --port=8080 --ingress=all --no-allow-unauthenticated
        # Pub/Sub waits while a model loads, in place of counting 503s against a message.
        "--startup-probe=httpGet.path=/ready,httpGet.port=8080,periodSeconds=10,timeoutSeconds=5,failureThreshold=$((startup / 10))"
        # A worker with a broken device is replaced.
        "--liveness-probe=httpGet.path=/health,httpGet.port=8080,periodSeconds=30,timeoutSeconds=5,failureThreshold=3"
        "--set-env-vars=$env"
    )
    if [ "$tiny" -eq 0 ]; then
        flags+=(--gpu=1 --gpu-type=nvidia-l4 --no-gpu-zonal-redundancy) # without redundancy a GPU costs less, and its quota is larger
    else
        flags+=(--gpu=0)
    fi
    # Cloud Run's own check replaces the token's signature, so it is off where the worker verifies tokens itself.
    if [ "$auth" = oidc ]; then flags+=(--no-invoker-iam-check); else flags+=(--invoker-iam-check "--set-custom-audiences=$url/inpaint"); fi
    if [ -n "$credentials_secret" ]; then
        flags+=("--set-secrets=FIREBASE_CREDENTIALS=$credentials_secret:$credentials_version")
    else
        flags+=(--clear-secrets)
    fi
}

# What a service says of itself when it was deployed with these flags and runs: a fingerprint of the flags as a label, the
# fields that others change by hand, and that the newest revision is a ready one.
service_is_right() {
    local fields='metadata.labels.inpaint_config,spec.template.spec.containers[0].image'
    fields+=',spec.template.spec.containerConcurrency,spec.template.spec.timeoutSeconds,spec.template.spec.serviceAccountName'
    fields+=',status.latestCreatedRevisionName,status.latestReadyRevisionName'
    previous=''
    ask gcloud run services describe "$service" "--region=$region" "--project=$project" "--format=value[separator=\"|\"]($fields)" || return 1
    local config image_now concurrency seconds account created ready
    IFS='|' read -r config image_now concurrency seconds account created ready <<< "$answer"
    previous=$ready
    [ "$config $image_now $concurrency $seconds $account" = "$fingerprint $image $((queue_depth + 1)) $timeout $runtime_account" ] &&
        [ "$created" = "$ready" ]
}

deploy_service() {
    local flags previous text before=''
    step service "the revision: a new one gets traffic when it has become ready"
    service_flags
    text=$(printf '%s\n' "${flags[@]}")
    fingerprint=$(sha256sum <<< "${text//"$number"/NUMBER}" | cut -c1-16)
    if ! service_is_right; then
        # A revision that works keeps the traffic until the new one is ready. Without one there is nothing to keep it: a first
        # deployment, and one after a first that failed, cannot be without traffic.
        [ -z "$previous" ] || flags+=(--no-traffic --tag=candidate)
        [ "$dry_run" -eq 0 ] || echo "# Where a revision works already: also --no-traffic --tag=candidate"
        loud=1 change gcloud run deploy "$service" "--region=$region" "--project=$project" "${flags[@]}" \
            "--update-labels=inpaint_config=$fingerprint" --quiet
    fi
    step traffic "all of it to the newest revision"
    if ! ask gcloud run services describe "$service" "--region=$region" "--project=$project" '--flatten=spec.traffic[]' \
        '--format=value(spec.traffic.latestRevision,spec.traffic.percent,spec.traffic.revisionName)' || ! grep -qi $'^true\t100' <<< "$answer"; then
        [ -z "$answer" ] || before=$(awk -F '\t' '$2 && $3 { print $3 "=" $2 }' <<< "$answer" | paste -sd ,)
        change gcloud run services update-traffic "$service" --to-latest "--region=$region" "--project=$project"
        [ -z "$before" ] || undo+=("$(line gcloud run services update-traffic "$service" "--to-revisions=$before" "--region=$region" "--project=$project")")
    fi
    [ "$auth" = oidc ] || grant_all iam
}

# The last step: from here on the topic's messages go to this service.
connect_subscription() {
    local push=("--push-endpoint=$url/inpaint" "--push-auth-service-account=$push_account" "--push-auth-token-audience=$url/inpaint")
    local wanted fields flags=(
        "--ack-deadline=$ack_deadline"          # an answer after it does not count; the most that Pub/Sub allows
        --min-retry-delay=10s "--max-retry-delay=${max_retry_delay}s"
        "--dead-letter-topic=$dead_topic" --max-delivery-attempts=100 # Cloud Run's own 429 counts, so 5 would lose bursts
        --expiration-period=never               # by default it is deleted after 31 quiet days
    )
    step subscription "pushes the topic's messages to the service"
    fields=topic,pushConfig.pushEndpoint,pushConfig.oidcToken.serviceAccountEmail,pushConfig.oidcToken.audience,ackDeadlineSeconds
    fields+=,retryPolicy.minimumBackoff,retryPolicy.maximumBackoff,deadLetterPolicy.deadLetterTopic
    fields+=,deadLetterPolicy.maxDeliveryAttempts,expirationPolicy.ttl
    wanted=$(printf '%s|' "projects/$project/topics/$topic" "$url/inpaint" "$push_account" "$url/inpaint" "$ack_deadline" 10s "${max_retry_delay}s" \
        "projects/$project/topics/$dead_topic" 100)
    if [ "$dry_run" -eq 1 ]; then
        echo "$(line gcloud pubsub subscriptions describe "$subscription" "--project=$project") > /dev/null 2>&1 ||"
        echo "  $(line gcloud pubsub subscriptions create "$subscription" "--topic=$topic" "--project=$project" "${push[@]}" "${flags[@]}")"
        change gcloud pubsub subscriptions update "$subscription" "--project=$project" "${push[@]}" "${flags[@]}"
    elif ! ask gcloud pubsub subscriptions describe "$subscription" "--project=$project" "--format=value[separator=\"|\"]($fields)"; then
        change gcloud pubsub subscriptions create "$subscription" "--topic=$topic" "--project=$project" "${push[@]}" "${flags[@]}"
    elif [ "$answer" != "$wanted" ]; then
        keep_undo "$answer"
        change gcloud pubsub subscriptions update "$subscription" "--project=$project" "${push[@]}" "${flags[@]}"
    fi
    grant_all subscribed
}

keep_undo() { # ANSWER: how the subscription was before
    local of endpoint account audience
    IFS='|' read -r of endpoint account audience _ <<< "$1"
    [ "$of" = "projects/$project/topics/$topic" ] ||
        fail "the subscription $subscription is one of $of" "A subscription keeps its topic. Name another: --subscription NAME, or --topic ${of##*/}"
    undo=("$(line gcloud pubsub subscriptions update "$subscription" "--project=$project" "--push-endpoint=$endpoint" \
        ${account:+"--push-auth-service-account=$account"} ${audience:+"--push-auth-token-audience=$audience"})" "${undo[@]}")
}

summary() {
    local line_of
    if [ "$dry_run" -eq 1 ]; then
        printf '\n# A dry run: nothing was asked and nothing was changed.\n'
        return
    fi
    echo
    echo "deploy: $changes changes. The service: $url"
    [ ${#undo[@]} -eq 0 ] || { echo "To go back to what was before:"; for line_of in "${undo[@]}"; do echo "  $line_of"; done; }
    echo "Next:"
    echo "  curl $url/ready          # \"ready\"; the first request starts an instance, which loads the model"
    echo "  gcloud pubsub topics publish $topic --project=$project --message='{\"userId\":\"USER\",\"sessionId\":\"SESSION\"}'"
    echo "  gcloud auth print-identity-token --impersonate-service-account=$push_account --audiences=$url/inpaint --include-email > token"
    echo "  inpaint-worker conform $url --token-file token"
    echo "  docs/DEPLOY.md and docs/OPERATIONS.md say what to look at then."
    [ -z "$github" ] || echo "The variables of $github (Settings, Secrets and variables, Actions, Variables):
  GCP_PROJECT_ID=$project
  GCP_WORKLOAD_IDENTITY_PROVIDER=projects/$number/locations/global/workloadIdentityPools/github/providers/github
  GCP_REGION=$region
  GCP_SERVICE=$service
  DEPLOY_SUBSTITUTIONS=$kind_of_build"
}

destroy() {
    cat << END
# Deletes what deploy.sh made; nothing was run. The app's bucket and documents stay, and so does the topic to which it publishes.
gcloud pubsub subscriptions delete $subscription $dead_topic-pull --project=$project
gcloud pubsub topics delete $dead_topic$([ "$topic" != inpaint-tiny ] || echo " $topic") --project=$project
gcloud run services delete $service --region=$region --project=$project
END
    [ "$tiny" -eq 0 ] || return 0 # the real service shares the rest
    [ -z "$github" ] || echo "gcloud iam workload-identity-pools delete github --location=global --project=$project"
    cat << END
# Every service that deploy.sh made in this project shares these:
gcloud artifacts repositories delete $repository --location=$region --project=$project
gcloud secrets delete HF_TOKEN --project=$project
gcloud storage rm gs://$source_bucket --recursive
gcloud iam service-accounts delete $runtime_account --project=$project
gcloud iam service-accounts delete $push_account --project=$project
gcloud iam service-accounts delete $build_account --project=$project
END
}
