"""Certificates of an authority of the test's own (X.509, RFC 5280), without any program. Standard library only.

They are for a worker on this machine alone; their keys live as long as the test.
"""
import os
import secrets
import ssl
import time

from tools.local_cloud.issuer import integer, pem, tlv

SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
BASIC_CONSTRAINTS, KEY_USAGE, ALTERNATIVE_NAME = (bytes.fromhex(f"0603551d{n}") for n in ("13", "0f", "11"))
COMMON_NAME = bytes.fromhex("0603550403")
CRITICAL = bytes.fromhex("0101ff")
CERT_SIGN = bytes.fromhex("03020204")
DAY = 86400


def common_name(text):
    return tlv(0x30, tlv(0x31, tlv(0x30, COMMON_NAME + tlv(0x0C, text.encode()))))


def moment(seconds):
    return tlv(0x17, time.strftime("%y%m%d%H%M%SZ", time.gmtime(seconds)).encode())


def extension(kind, value, critical=b""):
    return tlv(0x30, kind + critical + tlv(4, value))


class Authority:
    """Signs certificates. All that are for hosts have one key in common, because making keys takes a while."""

    def __init__(self, name, key, host_key):
        self.name, self.key, self.host_key = name, key, host_key
        may_sign = (extension(BASIC_CONSTRAINTS, tlv(0x30, CRITICAL), CRITICAL) + extension(KEY_USAGE, CERT_SIGN, CRITICAL))
        self.pem = self.certificate(name, self.key, may_sign, -DAY, 30 * DAY)

    def certificate(self, subject, key, extensions, begins, ends):
        """begins, ends: seconds from now."""
        now = time.time()
        body = tlv(0x30, tlv(0xA0, integer(2)) + integer(secrets.randbits(63) + 1) + SHA256_WITH_RSA + common_name(self.name) +
                   tlv(0x30, moment(now + begins) + moment(now + ends)) + common_name(subject) + key.public_info() +
                   tlv(0xA3, tlv(0x30, extensions)))
        return pem("CERTIFICATE", tlv(0x30, body + SHA256_WITH_RSA + tlv(3, b"\0" + self.key.sign(body))))

    def context(self, folder, host, begins=-DAY, ends=DAY):
        """An ssl.SSLContext of a server that shows a certificate for this host."""
        names = extension(ALTERNATIVE_NAME, tlv(0x30, tlv(0x82, host.encode())))
        path = os.path.join(folder, f"certificate-{os.getpid()}-{secrets.token_hex(4)}.pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            f.write(self.certificate(host, self.host_key, names, begins, ends) + self.host_key.private_pem())
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
        finally:
            os.remove(path)
        return context
