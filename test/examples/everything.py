#!/usr/bin/env python3
"""The examples against the program: `everything.py [parts of names]`.

The clients of examples/python and examples/node run end to end in the embedded cloud and, where google-cloud-cli is installed,
between its emulators; the functions and the security rules run there, too; and all names that the examples use are compared
with docs/PROTOCOL.md and the tables in the code. What they need from PyPI and npm is installed once, into build/examples.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import edits
import functions
import names
import rules
import services
from harness import Suite, run_suites, tests_of

if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.dirname(HERE)))
    between_emulators = edits.suite(services.Emulated, "emulators", edits.OVER_GRPC, (*edits.MORE, *functions.TESTS, *rules.TESTS))
    embedded = edits.suite(services.Embedded, "embedded")
    sys.exit(run_suites(sys.argv[1:], names.SUITE, Suite(tests_of(functions)), embedded, between_emulators))
