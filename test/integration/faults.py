#!/usr/bin/env python3
"""The real program between a faulty Firestore and a faulty Cloud Storage (fake_cloud.py): `faults.py [parts of names]`.

Each function of faults_*.py that is named test_* is a test with a cloud and workers of its own; several run at once.
All tests check that a job is never lost and never ends in two different ways, that nothing is written without the
lease, and that every push is answered.
"""
import contextlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults_ends
import faults_long
import faults_meaning
import faults_others
import faults_services
import faults_tables
from harness import WORK, Suite, run_suites, tests_of

AT_ONCE = 4


@contextlib.contextmanager
def opened():
    os.makedirs(WORK, exist_ok=True)
    yield


SUITE = Suite(tests_of(faults_services, faults_others, faults_ends, faults_long, faults_meaning, faults_tables), opened, AT_ONCE)

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
