"""The files of `torch.save`, read with NumPy: no code in a file runs, and no class that a file names is imported.

A pickle is a program that calls whatever it names. Here it can name the few functions of `_ALLOWED`, which make tensors;
each other name becomes a `Blank`, and the state of an object is stored, never given to the object.
"""

import io
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

from stlight_jax.errors import InputError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # begins the files of PyTorch before 1.6
_DEEPEST = 100  # containers; weights are not deeper
_MODULE = ("_parameters", "_buffers", "_modules")  # parts of the state of an nn.Module
_TYPES = """float64 DoubleStorage F64
float32 FloatStorage F32
float16 HalfStorage F16
bfloat16 BFloat16Storage BF16
float8_e4m3fn Float8_e4m3fnStorage F8_E4M3
float8_e5m2 Float8_e5m2Storage F8_E5M2
complex64 ComplexFloatStorage C64
complex128 ComplexDoubleStorage
int64 LongStorage I64
int32 IntStorage I32 QInt32Storage
int16 ShortStorage I16
int8 CharStorage I8 QInt8Storage
uint64 UInt64Storage U64
uint32 UInt32Storage U32
uint16 UInt16Storage U16
uint8 ByteStorage U8 UntypedStorage QUInt8Storage QUInt4x2Storage
bool BoolStorage BOOL"""
# Names in NumPy and PyTorch, of PyTorch's storages, and in safetensors -> dtype.
DTYPES = {
    name: np.dtype(getattr(ml_dtypes, names[0], names[0])) for names in map(str.split, _TYPES.splitlines()) for name in names
}


class Blank:
    """Stands for an object of any class but a tensor, and keeps what the file gives it.

    Args:
      arguments: the arguments of the object's class.

    Attributes:
      entries: items of a subclass of dict or list.
      parts: the arguments, and the state of the object.
    """

    def __new__(cls, *arguments: Any, **_: Any) -> "Blank":
        """Makes a blank; pickles call this without `__init__`."""
        blank = super().__new__(cls)
        blank.entries, blank.parts = {}, list(arguments)
        return blank

    def __init__(self, *_: Any, **__: Any) -> None:
        self.entries: dict[Any, Any]
        self.parts: list[Any]

    def __call__(self, *arguments: Any, **_: Any) -> "Blank":
        """Stands for the result of a call."""
        return Blank(*arguments)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, item: Any) -> None:
        """Adds an item of a list."""
        self.entries[len(self.entries)] = item

    def extend(self, items: Iterable[Any]) -> None:
        """Adds items of a list."""
        for item in items:
            self.append(item)


class UnsupportedTensor(NamedTuple):
    """A tensor that is not a plain dense one.

    Attributes:
      kind: such as "sparse_tensor", as PyTorch's function is named that makes it.
    """

    kind: str


class _NumpyType(Blank):
    """A NumPy dtype, whose byte order is in its state."""


class _NumpyArray(Blank):
    """A NumPy array, whose shape, type, order and bytes are in its state."""

    def as_tensor(self) -> "np.ndarray | UnsupportedTensor":
        """Returns the array; one of other types than numbers is an `UnsupportedTensor`."""
        _, shape, kind, is_fortran, content = self.parts[-1]
        name, order = kind.parts[0], kind.parts[-1][1]
        if (
            not isinstance(content, bytes | bytearray)
            or not re.fullmatch(r"[biufc]\d{1,2}", name)
            or order not in ("<", ">", "|")
        ):
            return UnsupportedTensor("NumPy array of an unusual type")
        return np.frombuffer(content, np.dtype(order + name)).reshape(shape, order="F" if is_fortran else "C")


class _Storage(NamedTuple):
    contents: dict[str, bytes]  # key -> bytes; a file before 1.6 has them after the pickle
    key: str
    dtype: np.dtype
    start: int = 0


class _StoredTensor(NamedTuple):
    storage: _Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def as_array(self) -> np.ndarray:
        """Returns the tensor; NumPy checks that it is inside its storage."""
        contents, key, dtype, start = self.storage
        strides = [dtype.itemsize * stride for stride in self.strides]
        return np.ndarray(self.shape, dtype, contents[key], (start + self.start) * dtype.itemsize, strides)


def read_torch_file(content: bytes) -> dict[str, dict[str, Any]]:
    """Reads all tensors of a file of `torch.save` or `torch.jit.save`, in the format of any PyTorch since 0.1.10.

    Args:
      content: the file.

    Returns:
      {path of a container in the file, "" for the outermost: {name of a tensor in it: array or `UnsupportedTensor`}}.
      NumPy arrays count as tensors. An `nn.Module` is a container with the names of its `state_dict`.

    Raises:
      InputError: the file is of another kind.
      Exception: the file is damaged.
    """
    if content[:2] == b"PK":
        return find_tensors(_read_archive(content))
    if content[257:262] == b"ustar":
        raise InputError("is a tar archive, as PyTorch before 0.1.10 wrote; load it there and save it with a newer PyTorch")
    if content[:1] != pickle.PROTO:
        raise InputError(
            f"is not a file of PyTorch weights, but begins with {content[:20]!r}; expected torch.save or safetensors"
        )
    return find_tensors(_read_legacy(io.BytesIO(content)))


def find_tensors(content: Any) -> dict[str, dict[str, Any]]:
    """Finds the tensors of nested containers and objects.

    Args:
      content: what a pickle contains.

    Returns:
      See `read_torch_file`.

    Raises:
      InputError: two tensors have the same path.
    """
    found: dict[str, dict[str, Any]] = {}
    seen: dict[int, Any] = {}  # with the container, so that its id stays its own
    pending: list[tuple[Any, tuple[str, ...], int | None]] = [(content, (), None)]
    while pending:  # no recursion: a pickle can be nested at any depth
        value, path, home = pending.pop()
        if isinstance(value, _StoredTensor | UnsupportedTensor | _NumpyArray):
            length = len(path) - 1 if home is None else home
            tensors = found.setdefault(".".join(path[:length]), {})
            name = ".".join(path[length:])
            if name in tensors:
                raise InputError(f"holds two tensors of the name {'.'.join(path)}")
            if isinstance(value, _NumpyArray):
                value = value.as_tensor()
            tensors[name] = value.as_array() if isinstance(value, _StoredTensor) else value
        elif isinstance(value, dict | list | tuple | Blank) and id(value) not in seen and len(path) < _DEEPEST:
            seen[id(value)] = value
            children, is_module = _children(value)
            if is_module and home is None:
                home = len(path)
            pending += [(child, path if key is None else (*path, str(key)), home) for key, child in reversed(children)]
    return found


def _children(container: Any) -> tuple[list[tuple[Any, Any]], bool]:
    """Returns the (key, item) of a container, where key is None for parts of an object, and whether it is an nn.Module."""
    if isinstance(container, dict):
        return list(container.items()), False
    if not isinstance(container, Blank):
        return list(enumerate(container)), False
    for state in container.parts:
        if isinstance(state, dict) and state.keys() >= set(_MODULE):
            omitted = state.get("_non_persistent_buffers_set")
            buffers = {k: v for k, v in dict(state["_buffers"]).items() if not isinstance(omitted, set) or k not in omitted}
            return [(None, state["_parameters"]), (None, buffers), (None, state["_modules"])], True
    return [*container.entries.items(), *((None, part) for part in container.parts)], False


def _read_archive(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if not pickles:
            raise InputError(f"is a ZIP archive without PyTorch's data.pkl, with {', '.join(names[:3])}; expected weights")
        root = pickles[0].removesuffix("data.pkl")
        for member in archive.infolist():
            if member.CRC == 0:  # torch.serialization.set_crc32_options(False)
                member.CRC = None  # type: ignore[assignment]
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise InputError("was written on a big-endian machine; save it again on a little-endian one")
        return _Unpickler(io.BytesIO(archive.read(pickles[0])), archive, f"{root}data/").load()


def _read_legacy(file: io.BytesIO) -> Any:
    if _Unpickler(file).load() != _MAGIC_NUMBER:
        raise InputError("is a pickle, but not one of torch.save; save model.state_dict() with torch.save")
    _Unpickler(file).load()  # version of the format
    _Unpickler(file).load()  # sizes of types; the numbers are little-endian on every machine
    unpickler = _Unpickler(file)
    found = unpickler.load()
    for key in _Unpickler(file).load():
        count = int.from_bytes(file.read(8), "little")
        unpickler.contents[key] = file.read(count * unpickler.sizes[key])
    return found


class _Unpickler(pickle._Unpickler):  # the C one takes memory for any index of its memo that a damaged file names
    stack: list[Any]
    read: Callable[[int], bytes]

    def __init__(self, file: io.BytesIO, archive: zipfile.ZipFile | None = None, folder: str = ""):
        super().__init__(file, encoding="latin-1")
        self.archive, self.folder = archive, folder
        self.contents: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name in _ALLOWED:
            return _ALLOWED[full_name]
        if module in ("torch", "torch.storage") and name in DTYPES:
            return DTYPES[name]
        if full_name.startswith("torch._utils._rebuild_"):
            kind = name.removeprefix("_rebuild_")
            return lambda *_: UnsupportedTensor(kind)
        return type("Blank", (Blank,), {})

    def persistent_load(self, pid: Any) -> Any:
        kind, storage_type, *rest = pid
        if kind != "storage":  # the source code of a module
            return storage_type
        if not isinstance(storage_type, np.dtype):
            return Blank()
        key = rest[0]
        self.sizes.setdefault(key, storage_type.itemsize)
        if self.archive and key not in self.contents:
            self.contents[key] = self.archive.read(f"{self.folder}{key}")
        view = rest[3] if len(rest) > 3 else None
        return _Storage(self.contents, key, storage_type, view[1] if view else 0)

    def load_bytearray8(self) -> None:
        """Reads bytes; pickle's own would take memory for any length that a damaged file gives."""
        self.stack.append(self.read(int.from_bytes(self.read(8), "little")))

    def load_build(self) -> None:
        """Stores the state of an object; pickle's own would call its `__setstate__` or set its attributes."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Blank):
            self.stack[-1].parts.append(state)

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }


def _rebuild_tensor(storage: Any, start: int, shape: Any, strides: Any, *rest: Any) -> _StoredTensor | UnsupportedTensor:
    """Makes a tensor; `rest` is requires_grad, the hooks, and the flags of a tensor that is negated or conjugated later."""
    if not isinstance(storage, _Storage):
        return UnsupportedTensor("tensor of an unusual type")
    if any(rest[2:]):
        return UnsupportedTensor("tensor whose negation or conjugation is pending")
    return _StoredTensor(storage, start, shape, strides)


def _rebuild_tensor_of_type(storage: Any, *rest: Any) -> _StoredTensor | UnsupportedTensor:
    *others, dtype = rest[:6]
    if isinstance(storage, _Storage) and isinstance(dtype, np.dtype):
        return _rebuild_tensor(storage._replace(dtype=dtype), *others, *rest[6:])
    return UnsupportedTensor("tensor of an unusual type")


def _encode(text: Any, encoding: Any = "utf-8") -> Any:
    """Restores bytes, which pickle's old protocols keep as text."""
    return text.encode("latin-1") if isinstance(text, str) and encoding == "latin1" else Blank(text)


def _numpy_from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> _NumpyArray:
    """Makes an array of pickle's protocol 5."""
    return _NumpyArray((1, shape, kind, order == "F", content))


_ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": dict,
    "_codecs.encode": _encode,
    "__builtin__.bytes": lambda *content: Blank(*content) if content else b"",  # of an array without values
    "numpy.dtype": _NumpyType,
    "numpy.core.multiarray._reconstruct": _NumpyArray,
    "numpy._core.multiarray._reconstruct": _NumpyArray,
    "numpy.core.numeric._frombuffer": _numpy_from_buffer,
    "numpy._core.numeric._frombuffer": _numpy_from_buffer,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_of_type,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type": lambda rebuild, _type, arguments, _state: rebuild(*arguments),
    "torch._tensor._rebuild_from_type_v2": lambda rebuild, _type, arguments, _state: rebuild(*arguments),
}
