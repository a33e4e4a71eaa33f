"""All names that the examples use, against docs/PROTOCOL.md and the tables in the code: so that drift is found.

Dart has no runtime here: its files are parsed, by tree-sitter's grammar, and their tables are compared like the others.
"""
import glob
import json
import os
import re
import subprocess
import sys

import installs
from harness import ROOT, Suite, equal, tests_of

sys.path.insert(0, os.path.join(ROOT, "scripts"))
from lint_protocol import names, rows

OWN = {"createdAt", "editRequestId"}  # of the app alone, which the worker neither reads nor writes
# for each language: file of the tables, how a remedy, a list of fields and a constant are written there
LANGUAGES = {
    "python": ("python/protocol.py", r'"([A-Z_]+)": "(\w+)"', r"APP_FIELDS = \((.*?)\)", r"^([A-Z]+) = \"([\w.-]+)\""),
    "node": ("node/lib/protocol.js", r"([A-Z_]+): '(retry|upload|photo|mask|prompt|new)'", r"APP_FIELDS = Object\.freeze\(\[(.*?)\]\)",
             r"^  ([A-Z]+): '([\w.-]+)', ?(?://.*)?$"),
    "flutter": ("flutter/lib/protocol.dart", r"'([A-Z_]+)': Remedy\.(\w+)", r"appFields = \[(.*?)\]",
                r"^  static const (\w+) = '([\w.-]+)';"),
}
SOURCES = ("node/*.js", "node/lib/*.js", "python/*.py", "flutter/lib/*.dart", "rules/*.rules")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def example(path):
    return read(os.path.join(installs.EXAMPLES, path))


def sources():
    """-> {path below examples: text}"""
    found = [path for pattern in SOURCES for path in sorted(glob.glob(os.path.join(installs.EXAMPLES, pattern)))]
    return {os.path.relpath(path, installs.EXAMPLES): read(path) for path in found}


def protocol():
    return read(os.path.join(ROOT, "docs", "PROTOCOL.md"))


def field_rows():
    """11.1 -> [(names of the row's first cell, the row)]"""
    return [(re.findall(r"`([\w.]+)`", row[0]), row) for row in rows(protocol(), r"11\.1\b")]


def words_of(field):
    """The words in backticks in the description of a field."""
    return set(names(next(row for fields, row in field_rows() if field in fields)[2]))


def constants(language):
    file, _, _, pattern = LANGUAGES[language]
    return {name.upper(): value for name, value in re.findall(pattern, example(file), re.MULTILINE)}


def codes():
    """13 -> {code that a document may have: whether it is retryable}"""
    return {code: row[3] == "yes" for row in rows(protocol(), r"13\.") for code in names(row[0]) if "final" in row[1]}


def test_every_error_that_a_document_may_have_has_a_remedy_and_no_other():
    expected = codes()
    in_code = re.findall(r"\bX\(([A-Z_]+),\s*(FAILED|EXHAUSTED|UNREADABLE),", read(os.path.join(ROOT, "worker", "job", "job_error.h")))
    assert {code for code, _ in in_code} <= set(expected) and len(expected) > 10, (in_code, expected)
    for language, (file, pattern, _, _) in LANGUAGES.items():
        remedies = dict(re.findall(pattern, example(file)))
        equal(set(remedies), set(expected), language)
        again = {code for code, remedy in remedies.items() if remedy in ("retry", "upload")}
        equal(again, {code for code, retryable in expected.items() if retryable}, f"{language}: what asking again can help")


def test_all_languages_have_the_same_remedies():
    tables = {language: {code: remedy.replace("start", "new") for code, remedy in re.findall(pattern, example(file))}
              for language, (file, pattern, _, _) in LANGUAGES.items()}
    equal(tables["node"], tables["python"])
    equal(tables["flutter"], tables["python"])


def test_the_words_of_a_session_are_those_of_the_protocol():
    expected = {"PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "DELETED"}
    documented = set(re.findall(r"`(\w+)`", next(row for fields, row in field_rows() if "processingStatus" in fields)[2]))
    equal(documented, {name.lower() for name in expected} | {"canceled"})
    for language in LANGUAGES:
        found = constants(language)
        equal({name: found.get(name) for name in expected}, {name: name.lower() for name in expected}, language)


def test_the_files_of_a_session_are_those_of_the_protocol():
    documented = [file for row in rows(protocol(), r"11\.2\b") for file in re.findall(r"`([\w.]+\.(?:jpg|png))`", row[0])]
    expected = dict(zip(("PHOTO", "MASK", "EDITED", "PREVIEW"), documented))
    for language in LANGUAGES:
        found = constants(language)
        equal({name: found.get(name) for name in expected}, expected, language)
        assert re.search(r"users/(\$\{?|\{)user_?Id\}?/sessions/(\$\{?|\{)session_?Id\}?", example(LANGUAGES[language][0]), re.IGNORECASE), language
    equal(set(re.findall(r"'([\w.]+\.(?:jpg|png))'", example("rules/storage.rules"))), set(documented))


def test_an_app_writes_only_fields_that_the_protocol_gives_to_it():
    expected = {field for fields, row in field_rows() for field in fields if re.search(r"\bapp:", row[2])} | OWN
    for language, (file, _, pattern, _) in LANGUAGES.items():
        fields = re.findall(r"\w+", re.sub(r"//.*", "", re.search(pattern, example(file), re.DOTALL).group(1)))
        equal(set(fields), expected, language)
    lists = [set(re.findall(r"'(\w+)'", text)) for text in re.findall(r"hasOnly\(\[([^\]]*)\]\)", example("rules/firestore.rules"))]
    equal([fields for fields in lists if len(fields) > 1], [expected, expected - {"createdAt"} | {"errorMessage"}], "firestore.rules")


def test_every_field_that_is_read_is_one_that_the_worker_writes():
    documented = {field for fields, _ in field_rows() for field in fields}
    own = {field.split(".", 1)[1] for field in documented if field.startswith("inpaint.")}
    found = set()
    for path, text in sources().items():
        for pattern, allowed in ((r"\bown(?:\.|\[['\"]|\.get\(['\"])(\w+)", own), (r"\bfields(?:\[['\"]|\.get\(['\"])(\w+)", documented | {"inpaint"} | OWN),
                                 (r"\bfields\.(?!get\b)(\w+)(?!\w*\()", documented | {"inpaint"} | OWN)):
            for name in re.findall(pattern, text):
                if name not in ("get", "items", "fold", "entries"):
                    assert name in allowed, f"{path}: {name} is not a field of PROTOCOL.md 11.1"
                    found.add(name)
    assert {"progress", "etaSeconds", "errorCode", "retryable", "errorMessage", "editedImagePath", "inpaint"} <= found, found


def test_the_rules_know_every_word_about_masks():
    rules = example("rules/firestore.rules")
    for field in ("maskKind", "maskOrientation"):
        listed = re.search(rf"'{field}', null\) in\s+\[null, (.*?)\]", rules).group(1)
        documented = set(re.findall(r"`([a-z-]+)` \(", next(row for fields, row in field_rows() if field in fields)[2]))
        equal(set(re.findall(r"'([\w-]+)'", listed)), documented, field)
        assert documented


def test_limits_are_those_of_the_protocol():
    limits = {row[0]: row[1] for row in rows(protocol(), r"1\.3\b")}
    assert limits["photo, mask"].startswith("64 MiB") and limits["prompt"] == "2000 bytes", limits
    for path, pattern in (("python/protocol.py", r"UPLOAD_MAX_BYTES = 64 << 20\b"), ("python/protocol.py", r"PROMPT_MAX_BYTES = 2000\b"),
                          ("node/lib/protocol.js", r"UPLOAD_MAX_BYTES = 64 \* 1024 \* 1024;"), ("node/lib/protocol.js", r"PROMPT_MAX_BYTES = 2000;"),
                          ("flutter/lib/protocol.dart", r"uploadMaxBytes = 64 \* 1024 \* 1024;"), ("flutter/lib/protocol.dart", r"promptMaxBytes = 2000;"),
                          ("rules/storage.rules", r"size <= 64 \* 1024 \* 1024;"), ("rules/firestore.rules", r"size\(\) <= 2000\)")):
        assert re.search(pattern, example(path)), f"{path}: {pattern}"


def test_no_example_and_no_word_of_its_readme_names_an_error_that_does_not_exist():
    known = {code for row in rows(protocol(), r"13\.") for code in names(row[0])}
    texts = {**sources(), "README.md": example("README.md")}
    for path, text in texts.items():
        for code in re.findall(r"\b(?:INPUT|MASK|PROMPT|SESSION|ATTEMPTS)_[A-Z_]+\b", text):
            assert code in known | {"PROMPT_MAX_BYTES", "SESSION_PATH", "MASK_TYPES"}, f"{path}: {code}"


SESSIONS = [
    {}, {"processingStatus": None}, {"processingStatus": "pending"}, {"processingStatus": "canceled"}, {"processingStatus": "deleted"},
    {"processingStatus": "processing", "inpaint": {"progress": 40, "etaSeconds": 3.5}}, {"processingStatus": "processing"},
    {"processingStatus": "completed", "editedImagePath": "e", "previewImagePath": "p", "errorMessage": "old", "inpaint": {"progress": 100}},
    {"processingStatus": "failed", "errorMessage": "No.", "inpaint": {"errorCode": "MASK_EMPTY", "retryable": False}},
    {"processingStatus": "failed", "errorMessage": "No.", "inpaint": {"errorCode": "OF_TOMORROW", "retryable": True}},
    {"processingStatus": "failed", "inpaint": {"errorCode": "OF_TOMORROW", "retryable": False}}, {"processingStatus": "failed"},
]


def test_python_and_node_show_the_same_of_a_session():
    program = ("const { describe } = await import(process.argv[1]); let text = ''; for await (const part of process.stdin) text += part;"
               "console.log(JSON.stringify(JSON.parse(text).map(describe)));")
    installs.need("node")
    done = subprocess.run(["node", "--input-type=module", "-e", program, os.path.join(installs.EXAMPLES, "node", "lib", "protocol.js")],
                          input=json.dumps(SESSIONS), capture_output=True, text=True, check=True)
    sys.path.insert(0, os.path.join(installs.EXAMPLES, "python"))
    from protocol import describe
    camel = [{re.sub(r"_(\w)", lambda m: m[1].upper(), name): value for name, value in describe(fields).items()} for fields in SESSIONS]
    for fields, of_python, of_node in zip(SESSIONS, camel, json.loads(done.stdout), strict=True):
        equal(of_python, of_node, json.dumps(fields))


PARSER = """
import sys, tree_sitter, tree_sitter_dart
parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_dart.language()))
def faults(node):
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        yield from faults(child)
for path in sys.argv[1:]:
    with open(path, "rb") as f:
        for node in faults(parser.parse(f.read()).root_node):
            print(f"{path}:{node.start_point[0] + 1}: {node.text[:80]!r}")
"""


def test_the_dart_files_can_be_parsed():
    files = sorted(glob.glob(os.path.join(installs.EXAMPLES, "flutter", "lib", "*.dart")))
    assert len(files) == 5, files
    done = subprocess.run([installs.python(), "-c", PARSER, *files], capture_output=True, text=True, check=True)
    equal(done.stdout, "")


def test_the_functions_read_no_setting_that_firebase_keeps_to_itself():
    text = example("README.md")
    for name in re.findall(r"process\.env\.(\w+)", example("node/index.js")):
        assert re.match("INPAINT_", name), f"`firebase deploy` refuses {name} in node/.env"
        assert f"`{name}`" in text, f"README.md does not tell of {name}"
    in_settings = set(re.findall(r"`(INPAINT_\w+)`", text))
    equal(in_settings, set(re.findall(r"process\.env\.(\w+)", example("node/index.js"))))


def test_the_configuration_of_firebase_names_files_that_are_there():
    config = json.loads(example("firebase.json"))
    for path in (config["firestore"]["rules"], config["firestore"]["indexes"], config["storage"]["rules"], config["functions"][0]["source"]):
        assert os.path.exists(os.path.join(installs.EXAMPLES, path)), path
    overrides = json.loads(example(config["firestore"]["indexes"]))["fieldOverrides"]
    scopes = {index["queryScope"] for override in overrides if override["fieldPath"] == "createdAt" for index in override["indexes"]}
    assert "COLLECTION_GROUP" in scopes, "the clean-up queries all users' sessions by createdAt"


SUITE = Suite([(f"names_{name}", test) for name, test in tests_of(sys.modules[__name__])])
