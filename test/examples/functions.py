"""examples/node/index.js: what Firebase finds in it before a deployment, and what its functions do (functions.mjs)."""
import json
import os
import shutil
import subprocess

import edits
import installs
import services
from harness import ROOT, call, equal, wait_until
from tools.local_cloud.worker import free_port

EXPECTED = {"createSession": "callableTrigger", "requestEdit": "callableTrigger", "cancelEdit": "callableTrigger",
            "deleteSession": "callableTrigger", "sessionWritten": "eventTrigger", "cleanUpSessions": "scheduleTrigger"}


def functions_do_what_the_app_asks_and_refuse_the_rest(backend):
    folder = installs.node()
    script = shutil.copy(os.path.join(ROOT, "test", "examples", "functions.mjs"), folder)
    status, said, complained = services.run(["node", script, edits.picture("original.jpg"), edits.picture("mask_auto.png")], backend)
    equal(status, 0, said + complained)
    print(said, end="")


def manifest():
    """What `firebase deploy` asks the functions for: the program of firebase-functions loads them and tells."""
    folder, port = installs.node(), free_port()
    env = {"PATH": os.environ["PATH"], "PORT": str(port), "GCLOUD_PROJECT": "demo", "FUNCTIONS_CONTROL_API": "true"}
    program = subprocess.Popen([os.path.join(folder, "node_modules", ".bin", "firebase-functions"), folder], env=env, cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = []

    def answers():
        try:
            found[:] = call("GET", f"http://127.0.0.1:{port}/__/functions.yaml", timeout=20)
        except OSError:
            assert program.poll() is None, "firebase-functions has ended"
        return found
    try:
        wait_until("the functions are loaded", answers, 60)
        equal(found[0], 200, found[2])
        return found[2].decode()
    finally:
        program.kill()
        program.wait()


def test_firebase_finds_every_function_with_its_trigger_and_region():
    endpoints = json.loads(manifest())["endpoints"]
    equal({name: next(key for key in part if key.endswith("Trigger")) for name, part in endpoints.items()}, EXPECTED)
    for name, part in endpoints.items():
        equal((part["platform"], part["region"]), ("gcfv2", ["us-east4"]), name)
    event = endpoints["sessionWritten"]["eventTrigger"]
    equal((event["eventFilterPathPatterns"], event["retry"]), ({"document": "users/{userId}/sessions/{sessionId}"}, True))


TESTS = (("functions_do_what_the_app_asks_and_refuse_the_rest", functions_do_what_the_app_asks_and_refuse_the_rest),)
