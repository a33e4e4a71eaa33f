#!/usr/bin/env python3
"""lint_protocol.py - docs/PROTOCOL.md against the tables in the code that it describes.

Section 1.9 against OUTCOME_MAP of worker/job/outcome.h: its last column names the outcomes of a row, every outcome is named,
and HTTP status, acknowledgement and metrics agree. Section 13 against JOB_ERROR_MAP of worker/job/job_error.h: the codes, and
class, HTTP status and retryable of each. Section 14: the outcomes of inpaint_jobs_total, and the reasons of
inpaint_push_refusals_total against OIDC_REASON_MAP of worker/auth/oidc.h. Prints an offence a line; status 1 if there is any.
"""
import re
import sys

DOCUMENT, OUTCOMES, ERRORS = "docs/PROTOCOL.md", "worker/job/outcome.h", "worker/job/job_error.h"
REASONS = "worker/auth/oidc.h"
NAME = r'(NULL|"[^"]*")'
CLASSES = {"FAILED": "final", "EXHAUSTED": "final", "UNREADABLE": "final", "RELEASED": "transient", "OUR_ERROR": "transient", "DEVICE_FAULT": "fault"}
OF_TOKEN = "UNAUTHORISED"  # the answer to a refused token is oidc.h's: 401, 403 or 503


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def rows(text, title):
    """The cells of the tables in the section whose title begins with this pattern, without their heads."""
    section = re.search(rf"^#+ {title}.*?(?=^#|\Z)", text, re.MULTILINE | re.DOTALL).group(0)
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()[2:]]


def names(cell):
    return re.findall(r"`(\w+)`", cell)


def check_answers(text, outcomes):
    seen = set()
    for row in rows(text, r"1\.9\b"):
        what, http, pubsub, metric, named = row[0], row[1], row[2], row[4], names(row[-1])
        seen |= set(named)
        statuses = set(re.findall(r"\b\d{3}\b", re.sub(r"\(.*?\)", "", http)))
        if named and (pubsub == "ack") != (statuses == {"204"}):
            yield f"1.9, '{what}': {pubsub} after {http}"
        if named and named != [OF_TOKEN] and statuses != {outcomes[n][0] for n in named if n in outcomes}:
            yield f"1.9, '{what}': {http} is not the HTTP status of {', '.join(named)} in {OUTCOMES}"
        for n in named:
            if n not in outcomes:
                yield f"1.9, '{what}': there is no {n} in {OUTCOMES}"
                continue
            _, job, counter = outcomes[n]
            if [job] * bool(job) != re.findall(r"jobs `(\w+)`", metric):
                yield f"1.9, '{what}': the metric is jobs '{job}' in {OUTCOMES}"
            if [counter] * bool(counter) != re.findall(r"`(inpaint_\w+)`", metric):
                yield f"1.9, '{what}': the counter is '{counter}' in {OUTCOMES}"
    for n in sorted(outcomes.keys() - seen):
        yield f"1.9 lacks {n} of {OUTCOMES}"


def check_errors(text, outcomes, errors):
    seen = set()
    for cells in rows(text, r"13\."):
        for code in names(cells[0]):
            seen.add(code)
            outcome, retryable = errors.get(code, (None, None))
            if outcome is None:
                yield f"13: there is no {code} in {ERRORS}"
            elif not (re.match(CLASSES[outcome], cells[1]) and re.match(outcomes[outcome][0], cells[2]) and
                      cells[3] == ("yes" if retryable == "true" else "no")):
                yield f"13, {code}: {outcome}, HTTP {outcomes[outcome][0]}, retryable {retryable} in {ERRORS}"
    for code in sorted(errors.keys() - seen):
        yield f"13 lacks {code} of {ERRORS}"


def main():
    text = read(DOCUMENT)
    found = re.findall(rf"\bX\(([A-Z_]+),\s*(\d+),\s*{NAME},\s*{NAME},\s*{NAME},", read(OUTCOMES))
    outcomes = {name: (http, *("" if v == "NULL" else v.strip('"') for v in (job, counter))) for name, http, _, job, counter in found}
    errors = {code: (outcome, retryable) for code, outcome, retryable in
              re.findall(r"\bX\(([A-Z_]+),\s*([A-Z_]+),\s*(true|false),", read(ERRORS))}
    offences = [*check_answers(text, outcomes), *check_errors(text, outcomes, errors)]
    reasons = [name.lower() for name in re.findall(r"\bX\(([A-Z_]+), [45]\d\d, ", read(REASONS))]
    jobs, refusals = (next(names(cells[1]) for cells in rows(text, r"14\.") if cells[0].startswith(f"`{series}"))
                      for series in ("inpaint_jobs_total", "inpaint_push_refusals_total"))

    if not outcomes or not errors or not reasons:
        offences.append(f"no table in {OUTCOMES}, {ERRORS} or {REASONS}")
    if refusals != reasons:
        offences.append(f"14: inpaint_push_refusals_total has other reasons in {REASONS}")
    if set(jobs) != {job for _, job, _ in outcomes.values() if job}:
        offences.append(f"14: inpaint_jobs_total counts other outcomes in {OUTCOMES}")
    for line in offences:
        print(f"{DOCUMENT}: {line}")
    return bool(offences)


if __name__ == "__main__":
    sys.exit(main())
