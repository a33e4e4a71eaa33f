#!/usr/bin/env python3
"""lint_operations.py - docs/OPERATIONS.md against the code that it explains to an operator.

Its table of answers names every row of OUTCOME_MAP in worker/job/outcome.h, with the HTTP status that the row has. Its table of
events has the message of every line of the log at WARNING and above, word for word and with its severity, and no message that
the program does not write. Prints an offence a line; status 1 if there is any.
"""
import glob
import re
import sys

from lint_protocol import OF_TOKEN, OUTCOMES, read, rows

DOCUMENT = "docs/OPERATIONS.md"
SEVERE = ("WARNING", "ERROR", "CRITICAL")
TEXT = r'((?:"(?:\\.|[^"\\])*"\s*)+)'


def joined(literals):
    return "".join(re.findall(r'"((?:\\.|[^"\\])*)"', literals)).replace('\\"', '"')


def events_of_code():
    """-> {(severity, message)}"""
    found = set()
    for path in sorted(glob.glob("worker/**/*.[ch]", recursive=True)):
        code = re.sub(r"/\*.*?\*/", " ", read(path), flags=re.DOTALL)
        for level, text in re.findall(rf"log_event\(\s*LOG_([A-Z]+)\s*,[^,]+,\s*{TEXT}", code):
            found.add((level, joined(text)))
    for level, text in re.findall(rf"\b(INFO|NOTICE|WARNING|ERROR|CRITICAL),[\s\\]*{TEXT}\)", read(OUTCOMES)):
        found.add((level, joined(text)))
    return found


def texts_of_code():
    """Every string of the program: some lines have their severity from a table or a variable."""
    sources = "".join(read(path) for path in glob.glob("worker/**/*.[ch]", recursive=True))
    return {joined(text) for text in re.findall(TEXT, sources)}


def check_events(text):
    told = {(row[0], message) for row in rows(text, "Events") for message in re.findall(r"`([^`]+)`", row[1])}
    code = events_of_code()
    for level, message in sorted(code):
        if level in SEVERE and (level, message) not in told:
            yield f"'Events' lacks {level} `{message}`"
    levels, texts = {message: level for level, message in code}, texts_of_code()
    for level, message in sorted(told):
        if message not in texts:
            yield f"'Events' has `{message}`, which the program does not write"
        elif message in levels and (level, message) not in code:
            yield f"'Events' has {level} `{message}`, which is {levels[message]}"


def check_answers(text):
    outcomes = dict(re.findall(r"\bX\(([A-Z_]+),\s*(\d+),", read(OUTCOMES)))
    told = {}
    for row in rows(text, "Answers"):
        for name in re.findall(r"`([A-Z_]+)`", row[-1]):
            told.setdefault(name, set()).update(re.findall(r"\b\d{3}\b", row[0]))
    for name, http in sorted(outcomes.items()):
        if name not in told:
            yield f"'Answers' lacks {name} of {OUTCOMES}"
        elif name != OF_TOKEN and told[name] != {http}:
            yield f"'Answers' has {sorted(told[name])} for {name}, which is {http} in {OUTCOMES}"
    for name in sorted(told.keys() - outcomes.keys()):
        yield f"'Answers' has {name}, which is not in {OUTCOMES}"


def main():
    text = read(DOCUMENT)
    offences = [*check_answers(text), *check_events(text)]

    for line in offences:
        print(f"{DOCUMENT}: {line}")
    return bool(offences)


if __name__ == "__main__":
    sys.exit(main())
