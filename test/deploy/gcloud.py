"""gcloud.py - a stand-in for tests of scripts/deploy.sh: keeps what it makes in a file and writes down what it was asked.

test_deploy.py puts it on PATH as gcloud. STAND_IN names a folder: state.json is the project, log has one line a command, and `fail` may hold lines `TEXT<tab>MESSAGE`: the
next command that contains TEXT fails once with MESSAGE. Answers have the words of the real program where they are known.
"""
import json
import os
import re
import sys

HOME = os.environ["STAND_IN"]
STATE = os.path.join(HOME, "state.json")


def load():
    with open(STATE, encoding="utf-8") as f:
        return json.load(f)


def save(state):
    with open(STATE + ".new", "w", encoding="utf-8") as f:
        json.dump(state, f, indent=1, sort_keys=True)
    os.replace(STATE + ".new", STATE)


def die(text):
    sys.stderr.write(f"ERROR: (gcloud) {text}\n")
    sys.exit(1)


def parse(words):
    flags, names = {}, []
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            flags[name] = value
        else:
            names.append(word)
    return names, flags


def value(record, key):
    for part in re.findall(r"[^.\[\]]+", key):
        if isinstance(record, list):
            record = record[int(part)] if int(part) < len(record) else None
        else:
            record = (record or {}).get(part)
    if record is True:
        return "True"
    return "" if record is None or isinstance(record, (dict, list)) else str(record)


def show(record, flags):
    records, path = [record], []
    for part in flags.get("--flatten", "").replace("[]", "").split(".") if "--flatten" in flags else ():
        path.append(part)
        records = [nested(r, path, item) for r in records for item in dig(r, path)] if any(isinstance(dig(r, path), list) for r in records) else records
    found = re.fullmatch(r'value(?:\[separator="(.)"\])?\((.*)\)', flags.get("--format", ""))
    if found:
        for r in records:
            print((found.group(1) or "\t").join(value(r, key) for key in found.group(2).split(",")))


def dig(record, path):
    for part in path:
        record = (record or {}).get(part)
    return record or []


def nested(record, path, item):
    copy = json.loads(json.dumps(record))
    inner = copy
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = item
    return copy


GROUPS = ("artifacts repositories", "artifacts docker images", "storage buckets", "iam service-accounts", "iam workload-identity-pools providers",
          "iam workload-identity-pools", "secrets versions", "secrets", "firestore databases", "pubsub topics", "pubsub subscriptions",
          "run services", "projects", "beta services identity", "services", "auth", "builds", "run")
ABSENT = {"run services": "Cannot find service [{}]", "storage buckets": "{} not found: 404.", "secrets": "NOT_FOUND: Secret [{}] not found."}


def flag_list(flags, name, separator=","):
    return dict(pair.split("=", 1) for pair in flags[name].split(separator)) if flags.get(name) else {}


def subscription_of(flags, old):
    project = f"projects/{flags['--project']}"
    record = dict(old or {"topic": f"{project}/topics/{flags['--topic']}"})
    if "--push-endpoint" in flags:
        record["pushConfig"] = {"pushEndpoint": flags["--push-endpoint"], "oidcToken": {
            "serviceAccountEmail": flags["--push-auth-service-account"], "audience": flags["--push-auth-token-audience"]}}
        record["ackDeadlineSeconds"] = flags["--ack-deadline"]
        record["retryPolicy"] = {"minimumBackoff": flags["--min-retry-delay"], "maximumBackoff": flags["--max-retry-delay"]}
        record["deadLetterPolicy"] = {"deadLetterTopic": f"{project}/topics/{flags['--dead-letter-topic']}",
                                      "maxDeliveryAttempts": flags["--max-delivery-attempts"]}
    if flags.get("--expiration-period") == "never":
        record["expirationPolicy"] = {}
    return record


def deploy(state, name, flags):
    key = f"run services/{name}"
    service = state.setdefault(key, {"metadata": {"labels": {}}, "spec": {"traffic": []}, "status": {}, "revisions": 0})
    if "--no-traffic" in flags and not service["revisions"]:
        die("--no-traffic not supported when creating a new service.")
    if "--no-traffic" in flags and not service["status"]["latestReadyRevisionName"]:
        die("spec.traffic[0].revisionName: should be nonempty")
    service["revisions"] += 1
    revision = f"{name}-{flags.get('--revision-suffix') or '%05d-abc' % service['revisions']}"
    service["metadata"]["labels"].update(flag_list(flags, "--update-labels"))
    old = service.get("flags", {})
    service["flags"] = flags = {**{flag: v for flag, v in old.items() if flag not in ("--no-traffic", "--tag", "--revision-suffix")}, **flags}
    service["spec"]["template"] = {"spec": {
        "containers": [{"image": flags["--image"]}], "containerConcurrency": flags.get("--concurrency"), "timeoutSeconds": flags.get("--timeout"),
        "serviceAccountName": flags.get("--service-account")}}
    if "--no-traffic" in flags:
        ready = service["status"]["latestReadyRevisionName"]  # what the newest revision had stays with the one that it had been
        service["spec"]["traffic"] = [*({"revisionName": ready, "percent": t["percent"]} if t.get("latestRevision") else t
                                        for t in service["spec"]["traffic"] if "tag" not in t), {"revisionName": revision, "tag": flags["--tag"]}]
    else:
        service["spec"]["traffic"] = [{"latestRevision": True, "percent": 100}]
    service["status"] = {"latestCreatedRevisionName": revision, "latestReadyRevisionName": revision, "traffic": [
        {**entry, "url": f"https://{entry['tag']}---{name}-x.a.run.app"} if "tag" in entry else entry for entry in service["spec"]["traffic"]]}


def policy(state, group, name, verb, flags):
    bindings = state.setdefault("policies", {}).setdefault(f"{group}/{name}", {})
    if verb == "get-iam-policy":
        show({"bindings": [{"role": r, "members": m} for r, m in bindings.items()]}, flags)
    elif flags["--member"] not in bindings.setdefault(flags["--role"], []):
        bindings[flags["--role"]].append(flags["--member"])


def fail_once(text):
    path = os.path.join(HOME, "fail")
    if not os.path.exists(path):
        return
    lines = open(path, encoding="utf-8").read().splitlines()
    for line in lines:
        part, message = line.split("\t")
        if part in text:
            lines.remove(line)
            with open(path, "w", encoding="utf-8") as f:
                f.write("".join(rest + "\n" for rest in lines))
            die(message)


def secret_version(state, names, verb, flags):
    name = flags.get("--secret") or names[0]
    versions = state.get(f"secrets/{name}", {}).get("versions", [])
    if verb == "add":
        path = flags["--data-file"]
        state[f"secrets/{name}"].setdefault("versions", []).append((sys.stdin if path == "-" else open(path, encoding="utf-8")).read())
    elif not versions:
        die(f"NOT_FOUND: Secret [{name}] not found or has no versions.")
    elif verb == "access":
        sys.stdout.write(versions[-1])
    else:
        show({"name": f"projects/1/secrets/{name}/versions/{len(versions)}"}, flags)


def run(state, group, verb, names, flags):
    name = names[0] if names else flags.get("--database", "")
    key = f"{group}/{name}"
    if verb.endswith("iam-policy") or verb == "add-iam-policy-binding":
        if group != "projects" and key not in state:
            die(f"NOT_FOUND: {name} does not exist")
        return policy(state, group, name, verb, flags)
    if group == "auth" and verb == "print-identity-token":
        return print(f"token of {flags['--impersonate-service-account']} for {flags['--audiences']}")
    if group == "auth":
        return print(state.get("account", "")) if state.get("account") else None
    if group == "services":
        if verb == "enable":
            state["enabled"] = sorted(set(state["enabled"]) | set(names))
        else:
            print("\n".join(state["enabled"]))
        return None
    if group == "secrets versions":
        return secret_version(state, names, verb, flags)
    if group == "beta services identity":
        return None
    if group == "builds":
        values = flag_list(flags, "--substitutions")
        image = f"{values['_REGION']}-docker.pkg.dev/{flags['--project']}/{values['_REPOSITORY']}/inpaint-worker:{values['_TAG']}"
        state[f"artifacts docker images/{image}"] = {"image_summary": {"digest": "sha256:0"}}
        return None
    if group == "run" and verb == "deploy":
        return deploy(state, name, flags)
    if verb == "update-traffic":
        to = flags.get("--to-revisions")
        state[key]["spec"]["traffic"] = [{"revisionName": to.split("=")[0], "percent": 100} if to else {"latestRevision": True, "percent": 100}]
        return None
    if verb == "describe":
        if key not in state and group == "projects":
            die(f"User [{state['account']}] does not have permission to access projects instance [{name}] (or it may not exist): PERMISSION_DENIED")
        if key not in state:
            die(ABSENT.get(group, "NOT_FOUND: Resource not found (resource={}).").format(name))
        return show(state[key], flags)
    if verb.startswith("create"):
        if group == "iam service-accounts":
            name, key = f"{name}@{flags['--project']}.iam.gserviceaccount.com", f"{key}@{flags['--project']}.iam.gserviceaccount.com"
        if key in state:
            die(f"ALREADY_EXISTS: {name}")
        if group == "pubsub subscriptions" and f"pubsub topics/{flags['--topic']}" not in state:
            die(f"NOT_FOUND: Resource not found (resource={flags['--topic']}).")
        state[key] = subscription_of(flags, None) if group == "pubsub subscriptions" else {
            "name": name, "email": name, **({"attributeCondition": flags["--attribute-condition"]} if "--attribute-condition" in flags else {})}
        return None
    if verb == "update" and group == "pubsub subscriptions":
        state[key] = subscription_of(flags, state[key])
        return None
    return die(f"the stand-in does not know: {group} {verb}")


def main():
    words = sys.argv[1:]
    text = " ".join(words)
    with open(os.path.join(HOME, "log"), "a", encoding="utf-8") as f:
        f.write(text + "\n")
    fail_once(text)
    group = next(g for g in GROUPS if text.startswith(g + " "))
    names, flags = parse(words[len(group.split()):])
    state = load()
    run(state, group, names[0], names[1:], flags)
    save(state)
