"""Files of `torch.save`, made for tests."""

import io
import pickle

import pytest

torch = pytest.importorskip("torch")

# What a file before PyTorch 1.6 has before and after its content.
HEADER = b"".join(pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
NO_STORAGES = pickle.dumps([], protocol=2)
WEIGHT = torch.arange(6.0).reshape(2, 3)


def saved(content, *, is_archive=True):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=is_archive)
    return file.getvalue()
