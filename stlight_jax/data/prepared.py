"""Prepared data sets on disk or in a bucket: finding their folders, and reading their descriptions."""

from typing import Any

from etils import epath, epy

from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.copies import local_folder

with epy.lazy_imports():
    import tensorflow_datasets as tfds  # takes 0.2 s

DESCRIPTION_FILE = "dataset_info.json"  # TFDS writes it last


def find_prepared(name: str, root: str, advice: str) -> epath.Path | None:
    """Finds a prepared data set in, or below, a folder.

    Args:
      name: of the data set.
      root: the folder, local or remote; empty for TFDS's default folder.
      advice: end of the error message about data in another format.

    Returns:
      The folder with the data; None if `root` does not contain the data set.

    Raises:
      InputError: the folder contains another data set, or a format without random access.
    """
    root = root or tfds.core.constants.DATA_DIR
    paths.connect(root)
    top = epath.Path(root).expanduser()
    for folder in (top, *prepared_versions(name, top)):
        if (folder / DESCRIPTION_FILE).exists():
            found = open_prepared(folder).info
            if found.name != name:
                raise InputError(f"{folder} holds the data set {found.name}; expected {name}")
            if found.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
                raise InputError(f"{folder} is stored as {found.file_format.value}; expected array_record; {advice}")
            return folder
    return None


def prepared_versions(name: str, folder: epath.Path) -> list[epath.Path]:
    """Lists the folders of a data set's prepared versions, the newest version first.

    Args:
      name: of the data set.
      folder: parent of the data set's own folder, local or remote.

    Returns:
      The folders; empty if `folder` does not contain the data set.
    """
    infos = list(folder.glob(f"{name}/*/{DESCRIPTION_FILE}")) if folder.is_dir() else []
    # A process that writes, or was killed while it wrote, has a folder of its own beside them.
    complete = [info.parent for info in infos if tfds.core.Version.is_valid(info.parent.name)]
    return sorted(complete, key=lambda version: tfds.core.Version(version.name), reverse=True)


def find_tfds_builder(name: str, root: str) -> Any | None:
    """Finds a data set of TFDS's own that is prepared already.

    Args:
      name: of the data set.
      root: folder that contains it, local or remote; empty for TFDS's default folder.

    Returns:
      The TFDS builder; None if the data set is not prepared.
    """
    if root:
        found = prepared_versions(name, epath.Path(root))
        return tfds.builder_from_directory(str(local_folder(found[0], DESCRIPTION_FILE))) if found else None
    builder = tfds.builder(name)
    return builder if builder.is_prepared() else None


def read_metadata(folder: epath.Path) -> dict[str, Any]:
    """Reads the metadata of a prepared data set.

    Args:
      folder: the data set's own folder.

    Returns:
      The content of `metadata.json`, see `stlight_jax.data.raw_clips.ClipReader.metadata`.
    """
    return dict(open_prepared(folder).info.metadata or {})


def open_prepared(folder: epath.Path, split: str | None = None) -> Any:
    """Opens a prepared data set; files in a bucket are copied to this machine first, once.

    Args:
      folder: the data set's own folder.
      split: the split to read; None if only the description is needed.

    Returns:
      The TFDS builder of the data.
    """
    local = local_folder(folder, DESCRIPTION_FILE, lambda name: name.endswith(".json"))
    builder = tfds.builder_from_directory(str(local))
    if split is not None:
        local_folder(folder, DESCRIPTION_FILE, set(builder.info.splits[split].filenames).__contains__)  # beside the description
    return builder
