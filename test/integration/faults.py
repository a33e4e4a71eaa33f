#!/usr/bin/env python3
"""The real program between a faulty Firestore and a faulty Cloud Storage (fake_cloud.py): `faults.py [part of a name]`.

Each function of faults_*.py that is named test_* is a test with a cloud and workers of its own; several run at once. The
rules of the house: a job is never lost, never run to two different ends, nothing is written without the lease, every
push is answered.
"""
import concurrent.futures
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults_ends
import faults_long
import faults_others
import faults_services
import faults_tables
from harness import WORK, close, run_test

AT_ONCE = 4


def main():
    os.makedirs(WORK, exist_ok=True)
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    tests = [(name, f) for module in (faults_services, faults_others, faults_ends, faults_long, faults_tables)
             for name, f in vars(module).items() if name.startswith("test_") and part in name]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda t: run_test(*t), tests))
    return close(outcomes)


if __name__ == "__main__":
    sys.exit(main())
