"""The part of Cloud Logging's query language that this repository uses, evaluated over entries as Cloud Run makes them.

Comparisons with = != > >= < <= : =~ and !~, lists of values in brackets, log_id("..."), NOT, AND, OR and brackets; two terms
side by side are joined by AND, and OR binds closer than AND. Whatever else a query has is an error, so that a test never passes
because a part of it was not understood.
"""
import json
import re
import urllib.parse

SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
TOKEN = re.compile(r'\s*(?:(?P<text>"(?:\\.|[^"\\])*")|(?P<op>>=|<=|!=|=~|!~|[=<>:(),])|(?P<word>[\w@./%-]+))')
# Fields of a line that Cloud Run takes out of the payload.
SPECIAL = re.compile(r"severity|time|timestamp|httpRequest|logging\.googleapis\.com/.*")
OPERATORS = ("=", "!=", ">", ">=", "<", "<=", ":", "=~", "!~")


def entry_of(line, service, log="run.googleapis.com/stderr"):
    """The entry that Cloud Run makes of one line of the program's standard error: where nothing but the message is left,
    it becomes the text of the entry."""
    payload = {k: v for k, v in line.items() if not SPECIAL.fullmatch(k)}
    entry = {"severity": line["severity"], "timestamp": line["time"],
             "logName": f"projects/p/logs/{urllib.parse.quote(log, safe='')}",
             "resource": {"type": "cloud_run_revision", "labels": {"service_name": service, "location": "us-east4"}}}
    if set(payload) == {"message"}:
        entry["textPayload"] = payload["message"]
    else:
        entry["jsonPayload"] = payload
    return entry


def field(entry, path):
    """The value at a path like jsonPayload.outcome, or None."""
    value = entry
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def tokens(text):
    at, found = 0, []
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if not match:
            raise ValueError(f"the query is not understood from here on: {text[at:at + 40]!r}")
        found.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return found


def compare(path, op, want, have):
    if op in ("=~", "!~"):
        return have is not None and bool(re.search(want, str(have))) == (op == "=~")
    if have is None:
        return False
    if path == "severity":
        have, want = SEVERITIES.index(have), SEVERITIES.index(want)
    elif isinstance(have, (int, float)) and not isinstance(have, bool):
        want = float(want)
    else:
        have = str(have)
    if op == ":":
        return str(want).lower() in str(have).lower()
    return {"=": have == want, "!=": have != want, ">": have > want, ">=": have >= want, "<": have < want, "<=": have <= want}[op]


class Query:
    """A query; `matches(entry)` says whether it takes an entry."""

    def __init__(self, text):
        self.rest, self.at = tokens(text), 0
        self.test = self.all_of()
        if self.at < len(self.rest):
            raise ValueError(f"the query goes on with {self.rest[self.at][1]!r}, where it should end")

    def matches(self, entry):
        return self.test(entry)

    def peek(self, text=None):
        found = self.rest[self.at] if self.at < len(self.rest) else (None, None)
        return found if text is None else found[0] != "text" and found[1] == text

    def take(self, text=None):
        if self.at == len(self.rest) or text and not self.peek(text):
            raise ValueError(f"the query has {self.peek()[1]!r} where {text or 'a term'} should be")
        self.at += 1
        return self.rest[self.at - 1]

    def all_of(self):
        parts = [self.any_of()]
        while self.at < len(self.rest) and not self.peek(")"):
            if self.peek("AND"):
                self.take()
            parts.append(self.any_of())
        return lambda entry: all(part(entry) for part in parts)

    def any_of(self):
        parts = [self.one()]
        while self.peek("OR"):
            self.take()
            parts.append(self.one())
        return lambda entry: any(part(entry) for part in parts)

    def one(self):
        if self.peek("NOT"):
            self.take()
            inner = self.one()
            return lambda entry: not inner(entry)
        if self.peek("("):
            self.take()
            inner = self.all_of()
            self.take(")")
            return inner
        return self.log_id() if self.peek("log_id") else self.comparison()

    def log_id(self):
        self.take()
        self.take("(")
        name = urllib.parse.quote(json.loads(self.take()[1]), safe="")
        self.take(")")
        return lambda entry: entry["logName"].endswith("/logs/" + name)

    def comparison(self):
        kind, path = self.take()
        op = self.take()[1]
        if kind != "word" or op not in OPERATORS:
            raise ValueError(f"the query has {path!r} {op!r} where a comparison should be")
        wanted = self.values()
        return lambda entry: any(compare(path, op, want, field(entry, path)) for want in wanted)

    def values(self):
        if not self.peek("("):
            return [self.value()]
        self.take()
        found = [self.value()]
        while self.peek("OR"):
            self.take()
            found.append(self.value())
        self.take(")")
        return found

    def value(self):
        kind, text = self.take()
        if kind == "op":
            raise ValueError(f"the query has {text!r} where a value should be")
        return json.loads(text) if kind == "text" else text
