"""The parts of the local cloud alone: values, checksums, signatures, preconditions, and what its server refuses."""
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import urllib.parse

from harness import Issuer, Skip, call, dumps, equal, raw_request, status_of, wait_until
from tools.local_cloud.cloud import BUCKET, Cloud, folder
from tools.local_cloud.objects import UPLOADS_MAX, crc32c
from tools.local_cloud.server import CONNECTIONS_MAX, Reply, Request, Server
from tools.local_cloud.values import from_stamp, from_value, set_path, stamp, to_value, value_at

NOWHERE = "http://127.0.0.1:9/inpaint"


def test_values_survive_the_way_there_and_back():
    plain = {"a": [1, 2.5, "x", True, None], "b": {"c": {"weird key!": -7}}, "empty": {}, "none": []}
    equal(from_value(json.loads(json.dumps(to_value(plain)))), plain)
    fields = {}
    set_path(fields, "b.c.`weird key!`", to_value(1))
    equal(fields, {"b": to_value({"c": {"weird key!": 1}})})
    equal(value_at(fields, "b.c.`weird key!`"), to_value(1))
    set_path(fields, "b.c", None)
    set_path(fields, "x.y", None)
    equal(fields, {"b": to_value({})})
    equal(from_stamp(stamp(1700000000123456)), 1700000000123456)
    equal(from_stamp("2023-11-14T22:13:20.123456789Z"), 1700000000123456, "nanoseconds are cut off")
    equal(from_stamp("2023-11-14T22:13:20.5Z"), 1700000000500000)
    equal(from_stamp("2023-11-15T00:13:20+02:00"), 1700000000000000)
    equal(json.loads(json.dumps(from_value({"doubleValue": "NaN"}), allow_nan=False)), "NaN", "JSON has no such number")


def test_crc32c_is_that_of_the_published_vectors():
    for data, want in ((b"", "AAAAAA=="), (b"hello", "mnG7TA=="), (b"123456789", "4waSgw=="), (bytes(32), "ipE2qg==")):
        equal(crc32c(data), want, repr(data))


def test_openssl_verifies_what_the_issuer_signs():
    if not shutil.which("openssl"):
        raise Skip("openssl is not installed")
    issuer = Issuer()
    try:
        with tempfile.TemporaryDirectory() as d:
            for name, data in (("key", issuer.public_pem), ("data", b"some text"), ("signature", issuer.key.sign(b"some text"))):
                with open(os.path.join(d, name), "wb") as f:
                    f.write(data)

            def verify(data):
                return subprocess.run(["openssl", "dgst", "-sha256", "-verify", f"{d}/key", "-signature", f"{d}/signature"],
                                      input=data, capture_output=True, check=False).returncode
            equal(verify(b"some text"), 0)
            equal(verify(b"some test"), 1)
            text = subprocess.run(["openssl", "rsa", "-pubin", "-in", f"{d}/key", "-noout", "-text"], capture_output=True,
                                  check=True).stdout
            assert b"(2048 bit)" in text, text
    finally:
        issuer.stop()


class Local:
    """A cloud without a worker, and calls to it."""

    def __enter__(self):
        self.cloud = Cloud(NOWHERE)
        self.documents = f"{self.cloud.server.url}/v1/{self.cloud.documents.root}"
        return self

    def __exit__(self, *_):
        self.cloud.stop()

    def json(self, method, url, body=None):
        status, _, text = call(method, url, None if body is None else dumps(body))
        return status, json.loads(text or b"{}")

    def commit(self, fields, mask, condition):
        name = f"{self.cloud.documents.root}/users/u1/sessions/s1"
        status, answer = self.json("POST", self.documents + ":commit", {"writes": [
            {"update": {"name": name, "fields": fields}, "updateMask": {"fieldPaths": mask}, "currentDocument": condition}]})
        return status, answer.get("error", {}).get("status") or answer["writeResults"][0]["updateTime"]

    def upload(self, name, data, query="", **meta):
        body = (b"--x\r\nContent-Type: application/json\r\n\r\n" + dumps({"name": name, **meta}) +
                b"\r\n--x\r\nContent-Type: image/jpeg\r\n\r\n" + data + b"\r\n--x--")
        status, _, text = call("POST", f"{self.cloud.server.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart{query}", body,
                               {"Content-Type": 'multipart/related; boundary="x"'})
        return status, json.loads(text)

    def object(self, name):
        return f"{self.cloud.server.url}/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}"


def test_firestore_honours_preconditions():
    with Local() as cloud:
        document = cloud.documents + "/users/u1/sessions/s1"
        equal(cloud.json("GET", document)[1]["error"]["status"], "NOT_FOUND")
        equal(cloud.commit({}, ["a"], {"exists": True}), (404, "NOT_FOUND"))
        equal(cloud.json("PATCH", document, {"fields": {"a": to_value(1), "b": to_value("x")}})[0], 200)
        equal(cloud.commit({}, ["a"], {"exists": False}), (409, "ALREADY_EXISTS"))
        first = cloud.json("GET", document)[1]["updateTime"]
        status, second = cloud.commit({"a": to_value(2)}, ["a"], {"updateTime": first})
        equal((status, second != first), (200, True))
        equal(cloud.commit({"a": to_value(3)}, ["a"], {"updateTime": first}), (400, "FAILED_PRECONDITION"), "stale")
        equal(cloud.commit({"a": to_value(2)}, ["a"], {"updateTime": second}), (200, second), "a write that changes nothing")
        equal(cloud.commit({}, ["b"], {"updateTime": second})[0], 200, "in the mask without a value: deleted")
        equal(cloud.json("GET", document + "?mask.fieldPaths=a&mask.fieldPaths=b")[1]["fields"], {"a": to_value(2)})
        equal(cloud.commit({}, ["a"], {"updateTime": "garbage"}), (400, "INVALID_ARGUMENT"))
        equal(cloud.json("POST", cloud.documents + ":commit", [])[1]["error"]["status"], "INVALID_ARGUMENT")
        equal(cloud.json("PATCH", cloud.documents + "/users/__x__/sessions/s", {})[0], 400, "a reserved id")
        equal(cloud.json("DELETE", document)[0], 200)
        equal(cloud.json("GET", document)[0], 404)


def test_firestore_refuses_what_is_no_value_or_no_path():
    with Local() as cloud:
        cloud.cloud.documents.put("users/u1/sessions/s1", {"a": to_value(1)})
        before = cloud.cloud.documents.fields("users/u1/sessions/s1")
        deep = {"integerValue": "1"}
        for _ in range(21):
            deep = {"mapValue": {"fields": {"a": deep}}}
        for value in ({}, {"text": "x"}, {"stringValue": 1}, {"stringValue": "x", "integerValue": "1"}, {"integerValue": "1.5"},
                      {"integerValue": True}, {"integerValue": str(1 << 63)}, {"doubleValue": "x"}, {"booleanValue": "true"},
                      {"timestampValue": "yesterday"}, {"arrayValue": {"values": [{"arrayValue": {}}]}}, deep):
            equal(cloud.commit({"a": value}, ["a"], {"exists": True}), (400, "INVALID_ARGUMENT"), repr(value)[:80])
        for mask in (["a-b"], [""], ["a..b"], ["a."], ["`a"], ["1a"], ["a", "a"], ["b", "b.c"]):
            equal(cloud.commit({"a": to_value(2)}, mask, {"exists": True}), (400, "INVALID_ARGUMENT"), repr(mask))
        equal(cloud.commit({}, ["a"], {"exists": True, "updateTime": stamp(1)}), (400, "INVALID_ARGUMENT"), "two preconditions")
        equal(cloud.commit({}, ["a"], {"updatetime": stamp(1)}), (400, "INVALID_ARGUMENT"), "a name that is not known")
        status, _, _ = call("POST", cloud.documents + ":commit", b"[" * 100000)
        equal(status, 400, "a body that is too deep")
        equal(cloud.cloud.documents.fields("users/u1/sessions/s1"), before)
        equal(cloud.commit({"a": {"integerValue": 7}, "t": {"timestampValue": "2024-05-06T09:08:09.1234567+02:00"}}, ["a", "t"],
                           {"exists": True})[0], 200)
        equal(cloud.cloud.documents.fields("users/u1/sessions/s1"),
              {"a": {"integerValue": "7"}, "t": {"timestampValue": "2024-05-06T07:08:09.123456Z"}})


def test_storage_honours_preconditions_and_checksums():
    with Local() as cloud:
        status, o = cloud.upload("a/b.jpg", b"one", "&ifGenerationMatch=0", crc32c=crc32c(b"one"), contentType="image/jpeg",
                                 generation="7")
        equal((status, o["size"], o["contentType"], o["generation"] != "7"), (200, "3", "image/jpeg", True))
        equal(cloud.upload("a/b.jpg", b"two", "&ifGenerationMatch=0")[0], 412, "it is there")
        equal(cloud.upload("a/b.jpg", b"two", "&ifGenerationMatch=1")[0], 412, "another generation")
        first = f"&ifGenerationMatch={o['generation']}"
        equal(cloud.upload("a/b.jpg", b"two", first, crc32c=crc32c(b"TWO"))[0], 400, "the checksum")
        equal(cloud.cloud.objects.find("a/b.jpg")["data"], b"one")
        status, newer = cloud.upload("a/b.jpg", b"two", first, crc32c=crc32c(b"two"))
        equal((status, int(newer["generation"]) > int(o["generation"])), (200, True))
        equal(cloud.upload("c", b"x", "&ifGenerationMatch=none")[0], 400, "no number")
        equal(cloud.upload("c", b"x", contentType="image/png")[0], 400, "the part of the data has another type")
        equal(cloud.upload("c", b"x", metadata={"attempts": 1})[0], 400, "metadata of another type")
        equal(cloud.cloud.objects.find("c"), None)
        url = cloud.object("a/b.jpg")
        equal(json.loads(call("GET", f"{url}?fields=name,size")[2]), {"name": "a/b.jpg", "size": "3"}, "what was asked for")
        equal(call("GET", f"{url}?alt=media&generation={o['generation']}")[0], 404, "the older generation is gone")
        status, headers, data = call("GET", f"{url}?alt=media&generation={newer['generation']}", headers={"Range": "bytes=1-"})
        equal((status, headers["Content-Range"], data), (206, "bytes 1-2/3", b"wo"))
        assert headers["x-goog-hash"].startswith("crc32c=" + crc32c(b"two")), headers["x-goog-hash"]
        equal(call("DELETE", f"{url}?ifGenerationMatch={o['generation']}")[0], 412)
        equal(call("DELETE", f"{url}?ifGenerationMatch={newer['generation']}")[0], 204)
        equal(call("DELETE", url)[0], 404)


def test_storage_takes_what_googles_client_for_node_sends():
    with Local() as cloud:
        base = cloud.cloud.server.url
        body = (b"--b\r\nContent-Type: application/json\r\n\r\n{\"contentType\": \"image/jpeg\"}\r\n"
                b"--b\r\nContent-Type: image/jpeg\r\n\r\nabc\r\n--b--")
        status, _, text = call("POST", f"{base}/upload/storage/v1/b/{BUCKET}/o?name=n%2Fa.jpg&uploadType=multipart", body,
                               {"Content-Type": "multipart/related; boundary=b"})
        equal((status, json.loads(text)["name"]), (200, "n/a.jpg"), "the name in the query")
        _, headers, _ = call("POST", f"{base}/upload/storage/v1/b/{BUCKET}/o?name=n%2Fb.jpg&uploadType=resumable", b"{}")
        equal(call("PUT", headers["Location"], b"xyz")[0], 200, "all of it at once, without a Content-Range")
        equal(call("GET", f"{base}/b/{BUCKET}/o/n%2Fb.jpg?alt=media")[2], b"xyz", "a path without /storage/v1")
        names = [item["name"] for item in json.loads(call("GET", f"{base}/storage/v1/b/{BUCKET}/o?prefix=n/")[2])["items"]]
        equal(names, ["n/a.jpg", "n/b.jpg"])
        assert "items" not in json.loads(call("GET", f"{base}/b/{BUCKET}/o?prefix=m/")[2])


def test_firestore_has_transactions_that_end_where_a_document_has_changed():
    with Local() as cloud:
        root = f"{cloud.cloud.server.url}/v1/{cloud.cloud.documents.root}"
        name = f"{cloud.cloud.documents.root}/users/u/sessions/t"

        def ask(method, value):
            status, _, text = call("POST", f"{root}:{method}", dumps(value))
            return status, json.loads(text)

        def write(fields, **more):
            return {"writes": [{"update": {"name": name, "fields": fields}}], **more}
        _, (begun, missing) = ask("batchGet", {"documents": [name], "newTransaction": {}})
        equal((missing["missing"], "readTime" in missing), (name, True))
        now = {"updateTransforms": [{"fieldPath": "at", "setToServerValue": "REQUEST_TIME"}]}
        made = write({"n": to_value(1)}, transaction=begun["transaction"])
        made["writes"][0].update(now)
        equal(ask("commit", made)[0], 200)
        fields = cloud.cloud.documents.fields("users/u/sessions/t")
        equal((fields["n"], from_stamp(fields["at"]["timestampValue"]) > 1700000000000000), (to_value(1), True))
        equal(ask("commit", made)[0], 400, "it is over")
        first, second = (ask("beginTransaction", {})[1]["transaction"] for _ in range(2))
        for transaction in (first, second):
            status, (found,) = ask("batchGet", {"documents": [name], "transaction": transaction})
            equal((status, found["found"]["fields"]["n"]), (200, to_value(1)))
        equal(ask("commit", write({"n": to_value(2)}, transaction=first))[0], 200)
        status, error = ask("commit", write({"n": to_value(3)}, transaction=second))
        equal((status, error["error"]["status"]), (409, "ABORTED"), "it has read what is there no more")
        equal(cloud.cloud.documents.fields("users/u/sessions/t")["n"], to_value(2))
        equal(ask("rollback", {"transaction": second})[0], 200)
        made["writes"][0]["updateTransforms"][0] = {"fieldPath": "n", "increment": to_value(1)}
        equal(ask("commit", {"writes": made["writes"]})[0], 400, "a transform that is not supported")


def test_storage_takes_an_upload_in_pieces():
    with Local() as cloud:
        start = f"{cloud.cloud.server.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=big&ifGenerationMatch=0"
        data = bytes(range(256)) * 1024 + b"0123456789"
        size, most = len(data), len(data) - 10  # `most` is 256 KiB
        meta = {"name": "big", "crc32c": crc32c(data), "metadata": {"jobId": "x"}}
        _, headers, _ = call("POST", start + "&fields=name,metadata", dumps(meta), {"X-Upload-Content-Length": str(size)})
        place = headers["Location"]

        def piece(data, span):
            status, got, text = call("PUT", place, data, {"Content-Range": f"bytes {span}/{size}"})
            return status, json.loads(text) if status == 200 else got["Range"]
        equal(piece(b"", "*"), (308, None))
        equal(piece(data[:5], "0-4"), (400, None), "a piece that is not a multiple of 256 KiB")
        equal(piece(data[:most], f"0-{most - 1}"), (308, f"bytes=0-{most - 1}"))
        equal(piece(b"9", f"{size - 1}-{size - 1}"), (400, None), "a gap")
        equal(piece(b"", "*"), (308, f"bytes=0-{most - 1}"))
        done = (200, {"name": "big", "metadata": {"jobId": "x"}})
        equal(piece(data[most - 7:], f"{most - 7}-{size - 1}"), done, "bytes that come again are no harm")
        equal(cloud.cloud.objects.find("big")["data"], data)
        equal(piece(b"", "*"), done, "asked again, it is still done")
        equal([upload.data for upload in cloud.cloud.objects.uploads.values()], [b""], "what an ended upload keeps")
        equal(call("POST", start, dumps({}), {"X-Upload-Content-Length": "10"})[0], 412, "it is there now")
        equal(call("PUT", place + "0", b"", {"Content-Range": "bytes */10"})[0], 404)
        for _ in range(2 * UPLOADS_MAX):
            cloud.cloud.objects.start(Request("POST", "/?name=other", {}, b"{}"))
        equal(len(cloud.cloud.objects.uploads), UPLOADS_MAX, "the oldest are forgotten")


def test_server_refuses_other_hosts_and_large_bodies():
    server = Server(body_max=10)
    try:
        server.route("POST", "/echo/([^/]+)",
                     lambda r: Reply(200, {"parts": r.parts, "query": r.query, "body": r.body.decode()}))
        status, _, text = call("POST", server.url + "/echo/a%2Fb?x=1&x=2", b"0123456789")
        equal((status, json.loads(text)), (200, {"parts": ["a/b"], "query": {"x": ["1", "2"]}, "body": "0123456789"}))
        equal(call("GET", server.url + "/echo/a")[0], 405)
        equal(call("POST", server.url + "/nothing", b"")[0], 404)
        equal(call("POST", server.url + "/echo/a", b"x" * 11)[0], 413)
        equal(call("POST", server.url + "/echo/a", b"", {"Host": "attacker.example"})[0], 403)
        equal(call("POST", server.url + "/echo/a", b"", {"Host": f"localhost:{server.server_port}"})[0], 200)
        equal(call("POST", server.url + "/echo/a", b"", {"Origin": server.url})[0], 200, "its own page")
        for origin in ("https://attacker.example", f"http://localhost:{server.server_port}", "http://127.0.0.1:1", "null"):
            equal(call("POST", server.url + "/echo/a", b"", {"Origin": origin})[0], 403, origin)
        for coding, body, status in (("chunked", b"0\r\n\r\n", 200), ("chunked", b"5\r\n01234\r\n5;x=y\r\n56789\r\n0\r\n\r\n", 200),
                                     ("chunked", b"5\r\n01234\r\n6\r\n567890\r\n0\r\n\r\n", 413), ("chunked", b"ffffffff\r\n", 413),
                                     ("chunked", b"none\r\n", 413), ("gzip", b"", 411), ("chunked\r\nContent-Length: 5", b"0\r\n\r\n", 411)):
            head = f"POST /echo/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: {coding}\r\n\r\n"
            got = raw_request(server.server_port, head.encode() + body, 5)
            equal(status_of(got), status, (coding, body))
            assert b"0123456789" not in body.replace(b"\r\n5;x=y\r\n", b"") or b'"body": "0123456789"' in got, got
        without_host = http.client.HTTPConnection("127.0.0.1", server.server_port)
        without_host.putrequest("GET", "/echo/a", skip_host=True)
        without_host.endheaders()
        equal(without_host.getresponse().status, 403)
        without_host.close()
    finally:
        server.stop()


def test_server_survives_many_silent_connections():
    server = Server()
    server.route("GET", "/", lambda _: Reply(200))
    silent, before = [], threading.active_count()
    try:
        for _ in range(CONNECTIONS_MAX + 20):
            silent.append(socket.create_connection(("127.0.0.1", server.server_port), 10))
        wait_until("a connection is refused", lambda: answer_of(server) is None, 20)
        assert threading.active_count() <= before + CONNECTIONS_MAX, threading.active_count()
        while silent:
            silent.pop().close()
        wait_until("it answers again", lambda: answer_of(server) == 200, 20)
    finally:
        for s in silent:
            s.close()
        server.stop()


def answer_of(server):
    try:
        return call("GET", server.url + "/", timeout=5)[0]
    except OSError:
        return None


def test_ids_that_no_worker_accepts_make_no_session():
    with Local() as cloud:
        for user in ("../x", "a/b", "", ".", "..", "__x__", "__\n__", "x" * 129, "a\n", "a\x85", "a%b", "a?", "\ud800", None, 7):
            try:
                cloud.cloud.create_session(user, "s", b"", b"")
                raise AssertionError(f"{user!r} is accepted")
            except ValueError:
                pass
        equal(folder("u-1", "s_2"), "users/u-1/sessions/s_2")
        equal(folder("a|b@c.d:\u00e9\u4e2d", "..."), "users/a|b@c.d:\u00e9\u4e2d/sessions/...")
        folder("\U0001f600" * 124, "\U0001f600" * 124)
        try:
            folder("\U0001f600" * 125, "\U0001f600" * 124)
            raise AssertionError("the name of an object is too long")
        except ValueError:
            pass
        equal(cloud.cloud.documents.stored, {})
