#!/usr/bin/env python3
"""All integration tests with one total: `everything.py [parts of names]`."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, *(os.path.join(os.path.dirname(HERE), beside) for beside in ("browser", "model_kinds", "remote", "weights"))]
import faults
import google_clients
import local_files
import local_path
import model_kinds
import model_starts
import remote_commands
import run
import test_page
import weights_starts
from harness import run_suites

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], local_path.SUITE, remote_commands.SUITE, local_files.SUITE, model_kinds.SUITE, model_starts.SUITE, weights_starts.SUITE, test_page.SUITE, google_clients.SUITE,
                        run.EMBEDDED, run.SUITE, faults.SUITE))
