"""examples/node/index.js, run by functions.mjs beside a copy of it."""
import os
import shutil

import edits
import installs
import services
from harness import equal


def functions_do_what_the_app_asks_and_refuse_the_rest(backend):
    folder = installs.node()
    script = shutil.copy(os.path.join(os.path.dirname(__file__), "functions.mjs"), folder)
    status, said, complained = services.run(["node", script, edits.picture("original.jpg"), edits.picture("mask_auto.png")], backend)
    equal(status, 0, said + complained)
    print(said, end="")


TESTS = (("functions_do_what_the_app_asks_and_refuse_the_rest", functions_do_what_the_app_asks_and_refuse_the_rest),)
