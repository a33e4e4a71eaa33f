#!/usr/bin/env python3
"""Metrics, alerts, dashboard, costs and version: `everything.py [parts of names]`, from `make monitoring-test`."""
import os
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration")]
import costs
import files
import filters
import script
import stuck
import versions
from harness import Suite, run_suites, tests_of

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], Suite(tests_of(filters, files, script, costs, stuck, versions))))
