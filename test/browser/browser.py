"""Drives Chromium through its DevTools protocol over a pipe: JSON messages, each ended by a NUL byte, on the descriptors 3
and 4. So it needs neither a library nor a port. Standard library only."""
import base64
import fcntl
import json
import os
import shutil
import signal
import tempfile
import threading
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ABSENT = "chromium is not installed (apt-get install chromium)"
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe")
CALL_SECONDS = 60
KEYS = {"Tab": 9, "Enter": 13, "Shift": 16, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, " ": 32, "z": 90}


def find_browser():
    """-> the path of the program, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def pipe_above(lowest):
    """A pipe whose descriptors are at least `lowest`, so that they are not overwritten while 3 and 4 are set up."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, lowest) for end in ends]
    for end in ends:
        os.close(end)
    return moved


class Browser:
    def __init__(self, program):
        self.folder = tempfile.mkdtemp(prefix="browser-")
        self.changed, self.writing = threading.Condition(), threading.Lock()
        self.answers, self.tabs, self.last_id, self.ended = {}, {}, 0, False
        for_it, self.to_it = pipe_above(10)
        self.from_it, by_it = pipe_above(10)
        log = os.path.join(self.folder, "log")
        actions = [(os.POSIX_SPAWN_DUP2, for_it, 3), (os.POSIX_SPAWN_DUP2, by_it, 4),
                   (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
        arguments = [program, *FLAGS, f"--user-data-dir={self.folder}/profile", "about:blank"]
        self.pid = os.posix_spawn(program, arguments, {**os.environ, "HOME": self.folder}, file_actions=actions, setpgroup=0)
        os.close(for_it)
        os.close(by_it)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        received = b""
        while piece := os.read(self.from_it, 1 << 20):
            *messages, received = (received + piece).split(b"\0")
            for message in messages:
                self.take(json.loads(message))
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def take(self, message):
        with self.changed:
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.tabs:
                self.tabs[message["sessionId"]].events.append((message["method"], message["params"]))
            self.changed.notify_all()

    def call(self, method, session=None, **params):
        """-> the result of a command; RuntimeError if the browser refuses it."""
        with self.writing:
            self.last_id += 1
            number = self.last_id
            message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
            data = memoryview(json.dumps(message).encode() + b"\0")
            while data:
                data = data[os.write(self.to_it, data):]
        with self.changed:
            self.changed.wait_for(lambda: number in self.answers or self.ended, CALL_SECONDS)
            if number not in self.answers:
                why = "the browser has ended" if self.ended else f"no answer within {CALL_SECONDS} s"
                raise RuntimeError(f"{method}: {why}")
            answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, url, width=1280, height=900):
        return Tab(self, url, width, height)

    def stop(self):
        try:
            self.call("Browser.close")
        except (RuntimeError, OSError):
            pass
        for wait_seconds in (5, 0):
            end = time.monotonic() + wait_seconds
            while os.waitpid(self.pid, os.WNOHANG if wait_seconds else 0) == (0, 0):
                if time.monotonic() > end:
                    os.killpg(self.pid, signal.SIGKILL)
                    break
                time.sleep(0.05)
            else:
                break
        for end in (self.to_it, self.from_it):
            os.close(end)
        shutil.rmtree(self.folder, ignore_errors=True)


class Tab:
    """One page. `complaints` are errors in its console, uncaught exceptions and violations of its policy."""

    def __init__(self, browser, url, width, height):
        self.browser, self.events = browser, []
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        browser.tabs[self.session] = self
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self.go(url)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
        del self.browser.tabs[self.session]

    # ---- what a person does ----

    def go(self, url):
        result = self.call("Page.navigate", url=url)
        assert not result.get("errorText"), f"{url}: {result}"
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width, height=900, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False)

    def prefer(self, **features):
        """prefer(prefers_color_scheme="dark")"""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=wanted)

    def go_offline(self, offline):
        """As if nobody listened any more, or again."""
        self.call("Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1)

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[path], nodeId=field)

    def mouse(self, kind, x, y, pressed=True):
        button = "left" if pressed else "none"
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=int(pressed), clickCount=1)

    def drag(self, points):
        """Presses the mouse at the first point, and releases it at the last."""
        self.mouse("mouseMoved", *points[0], pressed=False)
        self.mouse("mousePressed", *points[0])
        for point in points[1:]:
            self.mouse("mouseMoved", *point)
        self.mouse("mouseReleased", *points[-1])

    def touch(self, points):
        """One finger along the points."""
        for n, (x, y) in enumerate(points):
            self.call("Input.dispatchTouchEvent", type="touchMove" if n else "touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def click(self, selector):
        x, y, width, height = self.box(selector)
        self.drag([(x + width / 2, y + height / 2)] * 2)

    def press(self, key, shift=False, control=False):
        modifiers = 8 * shift + 2 * control
        common = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        text = {"text": {" ": " ", "Enter": "\r"}[key]} if key in (" ", "Enter") else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    # ---- what a person sees ----

    def evaluate(self, expression):
        """-> the value of an expression, which may be a promise."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails'].get('exception', {}).get('description', result)}")
        return result["result"].get("value")

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def box(self, selector):
        """-> x, y, width and height in the window, into which it is scrolled."""
        return self.evaluate(f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{ block: 'center', behavior: 'instant' }});
            const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }})()""")

    def wait_for(self, expression, seconds=30):
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise AssertionError(f"timed out after {seconds} s: {expression}")
            time.sleep(0.05)
        return value

    def wait_for_element(self, selector, seconds=30):
        self.wait_for(f"document.querySelector({json.dumps(selector)}) !== null", seconds)

    def names(self):
        """-> (role, accessible name) of everything that assistive technology is told of."""
        self.call("Accessibility.enable")  # here alone: a page that keeps this tree up to date is slow
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]

    def loaded(self, url_part):
        """-> (url, bytes) of the last answer whose address has this part."""
        found = [p for method, p in self.events if method == "Network.responseReceived" and url_part in p["response"]["url"]]
        assert found, f"nothing with {url_part} in its address was loaded"
        body = self.call("Network.getResponseBody", requestId=found[-1]["requestId"])
        return found[-1]["response"]["url"], base64.b64decode(body["body"]) if body["base64Encoded"] else body["body"].encode()

    def screenshot(self, path, whole=True):
        """A PNG of the whole page, or of the window."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    @property
    def complaints(self):
        found = []
        for method, p in list(self.events):
            if method == "Runtime.exceptionThrown":
                found.append(p["exceptionDetails"].get("exception", {}).get("description", p["exceptionDetails"]["text"]))
            elif method == "Runtime.consoleAPICalled" and p["type"] in ("error", "assert"):
                found.append(" ".join(str(a.get("value", a.get("description"))) for a in p["args"]))
            elif method == "Log.entryAdded" and p["entry"]["level"] == "error":
                found.append(f"{p['entry']['text']} {p['entry'].get('url', '')}")
        return found
