#!/usr/bin/env python3
"""All integration tests with one total: `everything.py [parts of names]`."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults
import google_clients
import local_path
import run
from harness import run_suites

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], local_path.SUITE, google_clients.SUITE, run.SUITE, faults.SUITE))
