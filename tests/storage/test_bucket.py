"""What a bucket cannot do, and one line, at once, for every way in which it cannot be reached."""

import importlib.util
import json
import random
import time

import gcsfs.retry
import google.auth
import google.auth.exceptions
import pytest

from stlight_jax import InputError
from stlight_jax.data.prepared import find_prepared
from stlight_jax.runs import checkpoint
from stlight_jax.runs.workdir import Workdir
from stlight_jax.storage import bucket, paths
from stlight_jax.storage.atomic import write_json
from stlight_jax.storage.paths import create_folder
from tests.parallel.processes import free_port
from tests.runs.checkpoints import write


def test_the_bucket_cannot_do_what_object_stores_cannot(bucket_folder, server):
    (bucket_folder / "a").write_text("old")
    with pytest.warns(UserWarning, match="Append mode 'a' is not supported"), (bucket_folder / "a").open("a") as file:
        file.write("new")
    assert (bucket_folder / "a").read_text() == "new"
    (bucket_folder / "folder").mkdir(parents=True)
    assert not (bucket_folder / "folder").exists()
    with pytest.raises(Exception, match="moveTo"):
        bucket.filesystem().call("POST", f"b/bucket/o/{bucket_folder.name}%2Fa/moveTo/o/b", json_out=True)
    assert server.unknown.pop().startswith("POST /storage/v1/b/bucket/o/")
    with pytest.raises(FileExistsError):
        bucket.filesystem().pipe_file(str(bucket_folder / "a"), b"", mode="create")
    large = random.Random(0).randbytes(12_000_000)  # sent in parts
    (bucket_folder / "large").write_bytes(large)
    assert (bucket_folder / "large").read_bytes() == large
    for i in range(1003):  # more than fit on a page
        server.put("bucket", f"{bucket_folder.name}/many/{i}", b"", "", {})
    assert sorted(bucket.files(bucket_folder / "many"), key=int) == [str(i) for i in range(1003)]
    assert bucket.folders(bucket_folder) == ["many"]
    assert len(list((bucket_folder / "many").iterdir())) == 1003


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gs://nobucket/run", "gs://nobucket: there is no such bucket"),
        ("s3://bucket/run", "s3://bucket/run: a remote folder is written gs://BUCKET/FOLDER"),
        ("gs://", "gs://: a remote folder is written gs://BUCKET/FOLDER"),
        ("gs://bucket/run[1]", r"gs://bucket/run\[1\]: names in a bucket must be without"),
    ],
)
def test_places_that_do_not_exist(server, path, message):
    for use in (Workdir, checkpoint.locate, lambda path: find_prepared("kth", path, "")):
        with pytest.raises(InputError, match=message):
            use(path)


def test_a_missing_package_is_named(server, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"gs://bucket/run: gs:// paths need pip install 'stlight_jax\[gcs\]'"):
        Workdir("gs://bucket/run")


def test_no_network_no_rights_and_no_credentials(server, refuse, monkeypatch):
    begun = time.monotonic()
    bucket._send_first_request.cache_clear()
    with refuse("GET /storage/v1/b/bucket?"):
        paths.connect("gs://bucket/data")  # may be listed
        with pytest.raises(InputError, match=r"gs://bucket cannot be used \(403 .*\); the account needs the roles"):
            paths.connect("gs://bucket/run", checkpoints=True)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match="gs://elsewhere cannot be reached: .*Connection refused"):
        paths.connect("gs://elsewhere/data")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")

    def none(*_, **__):
        raise google.auth.exceptions.DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", none)
    with pytest.raises(InputError, match="gs://secret: no Google credentials were found: gcloud auth"):
        paths.connect("gs://secret/run", checkpoints=True)
    assert time.monotonic() - begun < 20


def test_what_fails_on_the_way_is_no_damage_and_no_absence(bucket_folder, refuse):
    write(bucket_folder, {1: 1.0})
    for part in ("checksums.json", "prefix=test_what_fails"):
        with refuse(part), pytest.raises(OSError, match="Forbidden") as caught:
            checkpoint.latest_valid_step(bucket_folder, bucket_folder / "rejected")
        assert paths.is_bucket_error(caught.value)
    assert checkpoint.latest_valid_step(bucket_folder, bucket_folder / "rejected") == 1
    assert not paths.is_bucket_error(FileNotFoundError("x"))
    assert not paths.is_bucket_error(OSError("No space left on device"))
    assert paths.is_bucket_error(gcsfs.retry.HttpError({"code": 500, "message": "x"}))
    assert paths.is_bucket_error(google.auth.exceptions.RefreshError("x"))
    with refuse("POST"), pytest.raises(InputError, match="cannot be written to: Forbidden"):
        create_folder(bucket_folder)


def test_json_is_written_at_once(bucket_folder, server):
    for value in (1, 2):
        write_json(bucket_folder / "x.json", {"a": value, "b": float("inf")})
    assert json.loads((bucket_folder / "x.json").read_text()) == {"a": 2, "b": None}
    assert [name for name in server.names("bucket") if name.startswith(bucket_folder.name)] == [f"{bucket_folder.name}/x.json"]
