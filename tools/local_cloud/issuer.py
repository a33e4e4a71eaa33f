"""An issuer of OIDC tokens: an RSA key made at the start, the key set at /certs, tokens signed with RS256.

The key lives in memory only, for as long as the process, and signs for nobody but a worker on loopback; so nothing here
hides how long it takes.
"""
import base64
import hashlib
import json
import secrets
import time

from .server import Reply

KEY_BITS = 2048
EXPONENT = 65537
SMALL_PRIMES = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n ** 0.5) + 1, 2))]
MILLER_RABIN_ROUNDS = 8  # FIPS 186-5 asks for 4 at 1024 bits
SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def is_prime(n):
    if any(n % p == 0 for p in SMALL_PRIMES):
        return False
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(MILLER_RABIN_ROUNDS):
        x = pow(2 + secrets.randbelow(n - 3), odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def new_prime(bits):
    while True:  # the two highest bits are set, so that the product of two primes is twice as long
        n = secrets.randbits(bits) | 3 << (bits - 2) | 1
        if n % EXPONENT != 1 and is_prime(n):
            return n


# ---- ASN.1 in DER, as far as keys need it ----

RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")


def tlv(tag, body):
    n = len(body)
    length = bytes([n]) if n < 128 else b"\x81" + bytes([n]) if n < 256 else b"\x82" + n.to_bytes(2, "big")
    return bytes([tag]) + length + body


def integer(n):
    return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def pem(label, der):
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[i:i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


class RsaKey:
    def __init__(self, bits=KEY_BITS):
        self.p, self.q = new_prime(bits // 2), new_prime(bits // 2)
        self.n, self.bytes = self.p * self.q, bits // 8
        self.d = pow(EXPONENT, -1, (self.p - 1) * (self.q - 1))

    def padded(self, data):
        digest = SHA256_DIGEST_INFO + hashlib.sha256(data).digest()
        return b"\0\1" + b"\xff" * (self.bytes - len(digest) - 3) + b"\0" + digest

    def sign(self, data):
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        m = int.from_bytes(self.padded(data), "big")
        s_p, s_q = pow(m, self.d % (self.p - 1), self.p), pow(m, self.d % (self.q - 1), self.q)
        s = s_q + self.q * ((s_p - s_q) * pow(self.q, -1, self.p) % self.p)  # the two halves, put together again
        return s.to_bytes(self.bytes, "big")

    def signed(self, data, signature):
        """Whether this key has made the signature."""
        s = int.from_bytes(signature, "big")
        return (len(signature) == self.bytes and s < self.n and
                pow(s, EXPONENT, self.n).to_bytes(self.bytes, "big") == self.padded(data))

    def private_pem(self):
        """PKCS #8, as in the key file of a service account."""
        p, q, d = self.p, self.q, self.d
        numbers = (0, self.n, EXPONENT, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
        return pem("PRIVATE KEY", tlv(0x30, integer(0) + RSA_ALGORITHM + tlv(4, tlv(0x30, b"".join(map(integer, numbers))))))

    def public_info(self):
        """A SubjectPublicKeyInfo in DER."""
        return tlv(0x30, RSA_ALGORITHM + tlv(3, b"\0" + tlv(0x30, integer(self.n) + integer(EXPONENT))))

    def public_pem(self):
        return pem("PUBLIC KEY", self.public_info())


class Issuer:
    """Signs tokens for one audience and one account. `extra_keys` are further members of the key set."""

    def __init__(self, audience, account, kid="local-1", extra_keys=()):
        self.audience, self.account, self.kid = audience, account, kid
        self.key, self.fetches = RsaKey(), 0
        modulus = b64url(self.key.n.to_bytes(self.key.bytes, "big"))
        own = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": modulus, "e": "AQAB"}  # 65537
        self.key_set = {"keys": [own, *extra_keys]}

    def serve(self, server):
        server.route("GET", "/certs", self.certs)
        self.url = server.url + "/certs"

    def certs(self, _):
        self.fetches += 1
        return Reply(200, self.key_set, {"Cache-Control": "public, max-age=3600"})

    def claims(self, **changes):
        """Those of a good token; `...` removes one."""
        now = int(time.time())
        claims = {"iss": "https://accounts.google.com", "aud": self.audience, "azp": "1", "sub": "1", "email": self.account,
                  "email_verified": True, "iat": now - 10, "exp": now + 3590, **changes}
        return {name: value for name, value in claims.items() if value is not ...}

    def sign(self, claims=None, header=None, raw_claims=None):
        header = {"alg": "RS256", "kid": self.kid, "typ": "JWT", **(header or {})}
        header = {name: value for name, value in header.items() if value is not ...}
        text = b64url(json.dumps(header).encode()) + "." + b64url(raw_claims or json.dumps(claims or self.claims()).encode())
        return text + "." + b64url(self.key.sign(text.encode()))
