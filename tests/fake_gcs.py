"""A server that speaks as much of Google Cloud Storage's JSON API as gcsfs, google-cloud-storage and TensorStore ask for.

It is as strict as the real one: objects have no folders, no end to append to and no other name to move to, and a request
that is not known here is an error, not a guess. Objects live in memory.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import http.server
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

import google_crc32c

_CHUNK = 256 * 1024  # parts of a resumable upload, except the last one, are multiples of it
_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)")
_REWRITE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/rewriteTo/b/([^/]+)/o/([^/]+)")


@dataclasses.dataclass(frozen=True)
class Stored:
    """One object; never changed, only replaced by another one of a later generation."""

    data: bytes
    generation: int
    content_type: str
    updated: str

    def as_json(self, bucket: str, name: str) -> dict[str, Any]:
        """Its resource."""
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{self.generation}",
            "bucket": bucket,
            "name": name,
            "size": str(len(self.data)),
            "generation": str(self.generation),
            "metageneration": "1",
            "contentType": self.content_type,
            "storageClass": "STANDARD",
            "timeCreated": self.updated,
            "updated": self.updated,
            "crc32c": base64.b64encode(google_crc32c.Checksum(self.data).digest()).decode(),
            "etag": str(self.generation),
        }


class Refused(Exception):
    """Ends a request with a status other than success."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class FakeGcs(http.server.ThreadingHTTPServer):
    """The server; a context manager that serves on a free port of this machine while it is open.

    Attributes:
      buckets: {bucket: {object's name: Stored}}; put a bucket here to make it.
      requests: "METHOD path?query" of all that came.
      unknown: those that are not known here, and those that want what object stores do not have.
      fault: called with the method and the path of each request; the status it returns is the answer, None lets it pass.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *buckets: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, Stored]] = {bucket: {} for bucket in buckets}
        self.requests: list[str] = []
        self.unknown: list[str] = []
        self.fault: Callable[[str, str], int | None] = lambda method, path: None
        self.uploads: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        self.generations = itertools.count(1_700_000_000_000_000)

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """Sends the three libraries here, without credentials."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "nobody",  # TensorStore's
            "NO_GCE_CHECK": "true",  # credentials are not asked for on the network
        }

    def __enter__(self) -> FakeGcs:
        threading.Thread(target=self.serve_forever, name="fake gcs", kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Nothing: clients drop requests whose answers they no longer want."""

    def names(self, bucket: str) -> list[str]:
        """Of the objects in a bucket."""
        with self.lock:
            return sorted(self.buckets[bucket])

    def data(self, bucket: str, name: str) -> bytes:
        """Of an object."""
        return self.buckets[bucket][name].data

    def find(self, bucket: str, name: str) -> Stored:
        """The object. Raises Refused where there is none."""
        stored = self.bucket(bucket).get(name)
        if stored is None:
            raise Refused(404, f"No such object: {bucket}/{name}")
        return stored

    def bucket(self, bucket: str) -> dict[str, Stored]:
        """Its objects. Raises Refused where there is none."""
        if bucket not in self.buckets:
            raise Refused(404, "The specified bucket does not exist.")
        return self.buckets[bucket]

    def put(self, bucket: str, name: str, data: bytes, content_type: str, query: dict[str, str]) -> dict[str, Any]:
        """Stores an object whole, in the place of the one before; answers with its resource."""
        if not 1 <= len(name.encode()) <= 1024:
            raise Refused(400, "invalid object name")
        with self.lock:
            check_generation(self.bucket(bucket).get(name), query)
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            stored = self.bucket(bucket)[name] = Stored(data, next(self.generations), content_type, now)
        return stored.as_json(bucket, name)

    def delete(self, bucket: str, name: str, query: dict[str, str]) -> None:
        """Removes an object."""
        with self.lock:
            check_generation(self.find(bucket, name), query)
            del self.buckets[bucket][name]

    def list(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        """A page of objects, and of what looks like folders where there is a delimiter."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        first, end = query.get("startOffset", ""), query.get("endOffset")
        after, most = query.get("pageToken", ""), int(query.get("maxResults", "1000"))
        with self.lock:
            objects = dict(self.bucket(bucket))
        found: dict[str, Stored | None] = {}
        for name in sorted(objects):
            if not name.startswith(prefix) or name < first or (end is not None and name >= end):
                continue
            inner = name[len(prefix) :].find(delimiter) if delimiter else -1
            if inner >= 0:
                found[name[: len(prefix) + inner + len(delimiter)]] = None
            else:
                found[name] = objects[name]
        page = [name for name in found if name > after]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if len(page) > most:
            page = page[:most]
            answer["nextPageToken"] = page[-1]
        answer["items"] = [found[name].as_json(bucket, name) for name in page if found[name] is not None]
        answer["prefixes"] = [name for name in page if found[name] is None]
        return {key: value for key, value in answer.items() if value}


def check_generation(stored: Stored | None, query: dict[str, str]) -> None:
    """Raises Refused unless the object, or that there is none, is what the request depends on."""
    generation = str(stored.generation if stored is not None else 0)
    if query.get("ifGenerationMatch", generation) != generation:
        raise Refused(412, "At least one of the pre-conditions you specified did not hold.")
    if query.get("ifGenerationNotMatch") == generation:
        raise Refused(304, "Not Modified")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeGcs

    def log_message(self, *_: Any) -> None:
        """Nothing: tests look at `requests`."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET

    def _answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = {key: values[-1] for key, values in urllib.parse.parse_qs(parts.query, keep_blank_values=True).items()}
        self.server.requests.append(f"{self.command} {urllib.parse.unquote(self.path)}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status = self.server.fault(self.command, urllib.parse.unquote(self.path))
            if status is not None:
                raise Refused(status, "a fault that the test asked for")
            if self.headers.get("Transfer-Encoding"):
                raise Refused(411, "a length is required")
            status, content, headers = self._serve(parts.path, query, body)
        except Refused as refused:
            status, headers = refused.status, {}
            error = {"code": status, "message": str(refused), "errors": [{"message": str(refused)}]}
            content = b"" if status == 304 else json.dumps({"error": error}).encode()
        if isinstance(content, dict):
            content = json.dumps(content).encode()
            headers = {"Content-Type": "application/json; charset=UTF-8", **headers}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status not in (204, 304):
            self.wfile.write(content)

    def _serve(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Status, content and headers."""
        server, method = self.server, self.command
        if match := re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", path):
            return self._upload(_names(match)[0], query, body)
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)/?", path):
            (bucket,) = _names(match)
            server.bucket(bucket)
            if method == "GET":
                return 200, {"kind": "storage#bucket", "id": bucket, "name": bucket, "location": "HERE"}, {}
        elif match := re.fullmatch(r"/storage/v1/b/([^/]+)/o/?", path):
            if method == "GET":
                return 200, server.list(*_names(match), query), {}
        elif match := _OBJECT.fullmatch(path):
            bucket, name = _names(match)
            if method == "GET":
                return self._get(bucket, name, query)
            if method == "DELETE":
                server.delete(bucket, name, query)
                return 204, b"", {}
        elif (match := _REWRITE.fullmatch(path)) and method == "POST":
            bucket, name, to_bucket, to_name = _names(match)
            source = server.find(bucket, name)
            resource = server.put(to_bucket, to_name, source.data, source.content_type, query)
            return 200, {"kind": "storage#rewriteResponse", "done": True, "resource": resource}, {}
        server.unknown.append(f"{method} {self.path}")
        raise Refused(400, f"{method} {path} is not known here")

    def _get(self, bucket: str, name: str, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        stored = self.server.find(bucket, name)
        if query.get("generation", str(stored.generation)) != str(stored.generation):
            raise Refused(404, f"No such object: {bucket}/{name}, of generation {query['generation']}")
        check_generation(stored, query)
        if query.get("alt") != "media":
            return 200, stored.as_json(bucket, name), {}
        headers = {
            "x-goog-generation": str(stored.generation),
            "x-goog-hash": f"crc32c={stored.as_json(bucket, name)['crc32c']}",
            "Content-Type": stored.content_type,
        }
        wanted = self.headers.get("Range")
        if wanted is None:
            return 200, stored.data, headers
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
        if match is None or not any(match.groups()):
            raise Refused(400, f"invalid range {wanted}")
        size = len(stored.data)
        first = int(match[1]) if match[1] else max(size - int(match[2]), 0)
        last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
        if first >= size or last < first:
            raise Refused(416, "The requested range cannot be satisfied.")
        return 206, stored.data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}

    def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        server, kind = self.server, query.get("uploadType")
        content_type = self.headers.get("Content-Type", "application/octet-stream")
        if "upload_id" in query:
            return self._resume(query["upload_id"], body)
        if kind == "media":
            return 200, server.put(bucket, query["name"], body, content_type, query), {}
        if kind == "multipart":
            boundary = re.search(r'boundary="?([^";]+)"?', content_type)[1].encode()
            _, about, content, _ = re.split(rb"\r?\n?--" + re.escape(boundary), body, maxsplit=3)
            name = json.loads(re.split(rb"\r?\n\r?\n", about, maxsplit=1)[1])["name"]
            head, data = re.split(rb"\r?\n\r?\n", content, maxsplit=1)
            found = re.search(rb"content-type: *([^\r\n]+)", head, re.IGNORECASE)
            return 200, server.put(bucket, name, data, found[1].decode() if found else "", query), {}
        if kind == "resumable":
            name = query.get("name") or json.loads(body)["name"]
            server.bucket(bucket)
            number = f"upload{next(server.generations)}"
            content_type = self.headers.get("X-Upload-Content-Type", "application/octet-stream")
            server.uploads[number] = {"to": (bucket, name), "type": content_type, "query": query, "data": b""}
            return 200, b"", {"Location": f"{server.url}{self.path}&upload_id={number}"}
        server.unknown.append(f"{self.command} {self.path}")
        raise Refused(400, f"uploadType={kind} is not known here")

    def _resume(self, number: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        server = self.server
        if number not in server.uploads:
            raise Refused(404, "no such upload")
        upload = server.uploads[number]
        if self.command == "DELETE":
            del server.uploads[number]
            return 499, b"", {}
        match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers["Content-Range"])
        if match[1] is not None:
            if int(match[1]) != len(upload["data"]) or int(match[2]) - int(match[1]) + 1 != len(body):
                raise Refused(400, "invalid range of an upload's part")
            upload["data"] += body
        if match[3] != "*" and len(upload["data"]) == int(match[3]):
            del server.uploads[number]
            return 200, server.put(*upload["to"], upload["data"], upload["type"], upload["query"]), {}
        if len(upload["data"]) % _CHUNK:
            raise Refused(400, "invalid size of an upload's part: no multiple of 256 KiB")
        return 308, b"", {"Range": f"bytes=0-{len(upload['data']) - 1}"} if upload["data"] else {}


def _names(match: re.Match[str]) -> tuple[str, ...]:
    return tuple(urllib.parse.unquote(part) for part in match.groups())
