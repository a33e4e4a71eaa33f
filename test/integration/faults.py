#!/usr/bin/env python3
"""The real program between a faulty Firestore and a faulty Cloud Storage (fake_cloud.py): `faults.py [parts of names]`.

Each function of faults_*.py that is named test_* is a test with a cloud and workers of its own; several run at once. Each runs
twice: behind the switches for emulators, and as in production (modes.py).
All tests check that a job is never lost and never ends in two different ways, that nothing is written without the
lease, and that every push is answered.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults_ends
import faults_engine
import faults_long
import faults_meaning
import faults_others
import faults_services
import faults_slow
import faults_startup
import faults_storage
import faults_tables
import faults_tls
import faults_tokens
from harness import Suite, run_suites, tests_of
from modes import in_all_modes

AT_ONCE = 4


MODULES = (faults_services, faults_storage, faults_others, faults_ends, faults_engine, faults_long, faults_meaning, faults_slow,
           faults_startup, faults_tables, faults_tokens, faults_tls)
SUITE = Suite(in_all_modes(tests_of(*MODULES)), at_once=AT_ONCE)


if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
