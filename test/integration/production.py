"""The faulty cloud as a worker in production sees it: no emulator's switch, but https, Google's host names and tokens.

build/hosts-shim.so leads the names to this machine and lets the worker reach nothing else. Every call is watched: its host,
its token (which must be good for that service at that moment), and that it comes through TLS. Whatever else arrives is a
violation. Standard library only.
"""
import base64
import binascii
import functools
import json
import os
import re
import secrets
import ssl
import threading
import time
import weakref

from certificates import DAY, Authority
from fake_cloud import BUCKET, PROJECT, Cloud, FaultyServer, Reply
from harness import AUDIENCE, PUSHER, ROOT, WORK, issuer, once
from tools.local_cloud.issuer import RsaKey

SHIM = os.path.join(ROOT, "build", "hosts-shim.so")
ACCOUNT = f"worker@{PROJECT}.iam.gserviceaccount.com"
KEY_ID = "0123456789abcdef"
METADATA = "metadata.google.internal"
FOREIGN = "files.example"  # a host that is there and that no request may ever go to
SCOPE = "https://www.googleapis.com/auth/"
EVERYTHING = SCOPE + "cloud-platform"
GNUTLS = "certificate verification failed"  # what libcurl says where it uses that library
GRACE_SECONDS = 5  # by which a machine under load may use a token late

# host -> the paths that it answers, and the scopes that a token needs there, one of them; None: no token may come there
HOSTS = {
    "firestore.googleapis.com": (r"/v1/projects/[^/]+/databases.*", {SCOPE + "datastore", EVERYTHING}),
    "storage.googleapis.com": (r"/(upload/)?storage/v1/b.*|/upload/session/.*",
                               {SCOPE + "devstorage.read_write", SCOPE + "devstorage.full_control", EVERYTHING}),
    "pubsub.googleapis.com": (r"/v1/projects/[^/]+/topics/.*", {SCOPE + "pubsub", EVERYTHING}),
    "www.googleapis.com": ("/oauth2/v3/certs", None),
    "oauth2.googleapis.com": ("/token", None),
}
PUBLISH = "/v1/projects/[^/]+/topics/[^/]+:publish"
MAY_PUBLISH = "/v1/projects/[^/]+/topics/[^/]+:testIamPermissions"
UNAUTHENTICATED = {"error": {"code": 401, "message": "Request had invalid authentication credentials.", "status": "UNAUTHENTICATED",
                             "errors": [{"reason": "authError", "message": "Invalid Credentials", "domain": "global"}]}}


class Keys:
    """What all clouds of a process share, because making keys takes a while."""

    def __init__(self):
        self.authority = Authority("authority of the test", RsaKey(), RsaKey())
        self.issuer = issuer.Issuer(AUDIENCE, PUSHER, "production-1")
        self.account = RsaKey()
        self.trusted = os.path.join(WORK, "authority.pem")
        with open(self.trusted, "wb") as f:
            f.write(self.authority.pem)
        self.contexts = {host: self.authority.context(WORK, host) for host in (*HOSTS, FOREIGN)}
        self.key_file = json.dumps({
            "type": "service_account", "project_id": PROJECT, "private_key_id": KEY_ID, "client_email": ACCOUNT,
            "private_key": self.account.private_pem().decode(), "token_uri": "https://oauth2.googleapis.com/token"})
        self.key_path = os.path.join(WORK, "service-account.json")
        with open(self.key_path, "w", encoding="ascii") as f:
            f.write(self.key_file)

    @functools.cached_property
    def strangers(self):
        """Other authorities, one of them with the name of ours."""
        key = RsaKey()
        return [Authority(name, key, self.authority.host_key) for name in ("a stranger", self.authority.name)]

    def bad_contexts(self, host):
        """Certificates that must not be accepted for the host, and a pattern of what a log should say of them."""
        stranger, namesake = self.strangers
        return {"another authority": (stranger.context(WORK, host), f"issuer certificate|{GNUTLS}"),
                "an authority of the same name": (namesake.context(WORK, host), ""),
                "another name": (self.authority.context(WORK, FOREIGN), "name.* match"),
                "expired": (self.authority.context(WORK, host, -3 * DAY, -2 * DAY), f"expired|{GNUTLS}"),
                "not valid yet": (self.authority.context(WORK, host, DAY, 2 * DAY), f"not yet valid|{GNUTLS}")}


@once
def keys():
    return Keys()


@functools.lru_cache(16)
def push_token_of(now):
    """What Pub/Sub sends at this second. Signing takes Python longer than the worker takes for a push."""
    issuer = keys().issuer
    return issuer.sign(issuer.claims(iat=now - 10, exp=now + 3590))


def part_of(text):
    """A part of a JWT, decoded."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Guard:
    """Judges the token of each call. `source` is what the worker gets its tokens from: a service account's "key", the same as
    a "file", or "metadata"."""

    def __init__(self, cloud, source):
        self.cloud, self.source, self.lock = cloud, source, threading.Lock()
        self.lifetime = 3600    # of what the metadata server gives
        self.issued = {}        # token of the metadata server -> when it ends
        self.checked = {}       # self-signed token -> its claims
        self.seen = []          # (op, token) of every call, in order
        self.revoked = set()
        self.refusals = 0       # of revoked tokens

    def new_token(self):
        with self.lock:
            token = "ya29.test-" + secrets.token_urlsafe(40)
            self.issued[token] = time.monotonic() + self.lifetime + GRACE_SECONDS
            return token

    def revoke(self, request=None, apply=None):
        """No token that was seen until now is good any more; as a rule, it refuses the call that has just come with one."""
        with self.lock:
            self.revoked.update(token for _, token in self.seen)
            self.refusals += 1
        return self.unauthenticated()

    def tokens(self):
        """Those seen, each once, in their order."""
        return list(dict.fromkeys(token for _, token in self.seen))

    def refusal(self, request):
        """The answer to a call that is not to be carried out, or None."""
        host, given = request.headers.get("Host") or "", request.headers.get_all("Authorization") or []
        paths, scopes = HOSTS.get(host, ("", None))
        if not re.fullmatch(paths, request.path):
            return self.wrong(f"at {host}: {request.method} {request.path}{', with a token' if given else ''}", 404)
        if scopes is None or request.path in self.cloud.objects.uploads:
            return self.wrong(f"a token sent to {host} for {request.path}", 400) if given else None
        if len(given) != 1 or not given[0].startswith("Bearer "):
            return self.wrong(f"{request.op}: {len(given)} tokens, or not a bearer's")
        token = given[0][len("Bearer "):]
        with self.lock:
            self.seen.append((request.op, token))
            if token in self.revoked:
                self.refusals += 1
                return self.unauthenticated()
        problem = self.problem_of(token, scopes)
        return self.wrong(f"{request.op}: {problem}") if problem else None

    def unauthenticated(self):
        return Reply(401, UNAUTHENTICATED, {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'})

    def wrong(self, text, status=401):
        self.cloud.violation(text)
        return self.unauthenticated() if status == 401 else Reply(status, b"")

    def problem_of(self, token, scopes):
        """What is wrong with a token, or None."""
        if self.source == "metadata":
            if token not in self.issued:
                return "a token that the metadata server did not give"
            return "a token that is over" if self.issued[token] <= time.monotonic() else None
        with self.lock:
            if token not in self.checked:
                try:
                    self.checked[token] = verified(token)
                except (ValueError, KeyError, TypeError, binascii.Error) as e:
                    return f"a token that is none: {e}"
            claims = self.checked[token]
        if not scopes & set(claims["scope"].split(" ")):
            return f"a token for {claims['scope']} alone"
        now = time.time()
        if not (claims["iat"] - 30 <= now < claims["exp"] and claims["exp"] - claims["iat"] <= 3600):
            return f"a token from {claims['iat'] - now:.0f} s to {claims['exp'] - now:.0f} s from now"
        return None


def verified(token):
    """-> the claims of a token signed with the service account's key; ValueError if it is none."""
    head, body, signature = token.split(".")
    header, claims = json.loads(part_of(head)), json.loads(part_of(body))
    if header != {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}:
        raise ValueError(f"its header is {header}")
    if not keys().account.signed(f"{head}.{body}".encode(), part_of(signature)):
        raise ValueError("its signature is wrong")
    if (claims["iss"], claims["sub"]) != (ACCOUNT, ACCOUNT) or set(claims) != {"iss", "sub", "scope", "iat", "exp"}:
        raise ValueError(f"its claims are {claims}")
    return claims


class GuardedServer(FaultyServer):
    """https for all hosts, each with a certificate of its own."""

    def __init__(self, cloud):
        self.contexts = dict(keys().contexts)
        self.open = weakref.WeakSet()
        first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # has no certificate: a client that names no host gets nowhere
        first.sni_callback = self.choose
        first.num_tickets = 0  # no handshake is left out, so that each sees the certificate of the moment
        self.handshakes_refused = []
        super().__init__(cloud, tls=first)
        self.url = "https://storage.googleapis.com"  # where sessions of uploads are

    def choose(self, connection, name, _):
        if name not in self.contexts:
            self.cloud.violation(f"a connection to {name}")
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = self.contexts[name]
        return None

    def secured(self, connection):
        secure = super().secured(connection)
        self.open.add(secure)
        return secure

    def is_refused(self, error):
        reason = getattr(error, "reason", None) or str(error)
        self.handshakes_refused.append(reason)
        if reason in ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST"):
            self.cloud.violation("a request without TLS")

    def show(self, host, context):
        """From now on this host has another certificate; connections end, so that it is seen."""
        self.contexts[host] = context
        for connection in list(self.open):
            try:
                connection.shutdown(2)
            except OSError:  # it has ended by itself
                pass

    def is_mine(self, host):
        return True  # the guard judges the host

    def refusal(self, request):
        return self.cloud.guard.refusal(request)


class MetadataServer(FaultyServer):
    """Gives the project and tokens. Ops for rules are `metadata:token` and `metadata:project-id`."""

    def __init__(self, cloud):
        super().__init__(cloud)
        account = "/computeMetadata/v1/instance/service-accounts/default/(token)"
        self.route("GET", account, lambda r: self.answered(self.token()))
        self.route("GET", "/computeMetadata/v1/project/(project-id)", lambda r: self.answered(PROJECT))

    def is_mine(self, host):
        return host == METADATA

    def answered(self, body):
        return Reply(200, body, {"Metadata-Flavor": "Google"})

    def token(self):
        guard = self.cloud.guard
        return {"access_token": guard.new_token(), "expires_in": guard.lifetime, "token_type": "Bearer"}

    def name_of(self, request):
        return "metadata:" + request.path.rsplit("/", 1)[1]

    def refusal(self, request):
        if request.headers.get("Metadata-Flavor") != "Google" or "Authorization" in request.headers:
            self.cloud.violation(f"{request.op} without Metadata-Flavor, or with a token")
            return Reply(403)
        self.cloud.note(request)
        return None


class ProductionCloud(Cloud):
    def __init__(self, credentials="key"):
        self.guard = Guard(self, credentials)
        self.metadata = MetadataServer(self)
        super().__init__()
        self.server.route("GET", "/oauth2/v3/certs", self.certs)
        self.published = []  # bodies of what was published to a topic
        self.server.route("POST", PUBLISH, self.publish)
        self.server.route("POST", MAY_PUBLISH, self.may_publish)

    def make_server(self):
        return GuardedServer(self)

    def publish(self, request):
        self.note(request)
        self.published.append(request.body)
        return Reply(200, {"messageIds": [str(len(self.published))]})

    def may_publish(self, request):
        self.note(request)
        return Reply(200, {"permissions": json.loads(request.body)["permissions"]})

    def certs(self, request):
        self.note(request)
        return keys().issuer.certs(request)

    def settings(self):
        if not os.path.exists(SHIM):  # the loader would go on without it, and the worker ask Google itself
            raise RuntimeError(f"{SHIM} is not there: `make build/hosts-shim.so` builds it")
        names = {**dict.fromkeys((*HOSTS, FOREIGN), self.server.server_port), METADATA: self.metadata.server_port}
        env = {"LD_PRELOAD": SHIM, "HOSTS_SHIM": ",".join(f"{name}={port}" for name, port in names.items()),
               "SSL_CERT_FILE": keys().trusted, "K_SERVICE": "inpaint", "FIREBASE_STORAGE_BUCKET": BUCKET,
               "PUSH_AUTH": "oidc", "PUSH_AUDIENCE": AUDIENCE, "PUSH_SERVICE_ACCOUNT": PUSHER}
        if self.guard.source == "key":
            env["FIREBASE_CREDENTIALS"] = keys().key_file
        if self.guard.source == "file":
            env["GOOGLE_APPLICATION_CREDENTIALS"] = keys().key_path
        return env

    def name_of(self, request):
        if re.fullmatch(PUBLISH, request.path):
            return "publish"
        if re.fullmatch(MAY_PUBLISH, request.path):
            return "may-publish"
        return "certs" if request.path == "/oauth2/v3/certs" else super().name_of(request)

    def push_token(self, ahead_seconds=0):
        return push_token_of(int(time.time()) + ahead_seconds)

    def secrets_in(self, text):
        words = {*self.guard.issued, *self.guard.checked, "PRIVATE KEY", "Bearer ", "ya29.", "eyJ"}
        return [word[:12] for word in words if word in text]

    def stop(self):
        super().stop()
        self.metadata.stop()
