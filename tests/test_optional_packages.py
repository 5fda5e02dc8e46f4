"""Packages that an installation lacks, or has and cannot import."""

import pytest

from stlight_jax.errors import InputError, TerminationInterrupt
from stlight_jax.optional_packages import import_optional


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "get it"),
        (
            "raise ImportError('libgomp.so.1: no such file')",
            r"broken_package is installed, .*libgomp.so.1: no such",
        ),
        ("import another_package", r"broken_package is installed, .* \(.*No module named 'another_package'\)"),
    ],
)
def test_a_package_that_is_missing_and_one_that_fails_have_different_messages(tmp_path, monkeypatch, content, message):
    monkeypatch.syspath_prepend(tmp_path)
    if content is not None:
        (tmp_path / "broken_package.py").write_text(content)
    with pytest.raises(InputError, match=f"^{message}"):
        import_optional("broken_package", "get it")


def test_an_interrupt_during_an_import_stays_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_package.py").write_text(
        "from stlight_jax.errors import TerminationInterrupt\ntry:\n    raise TerminationInterrupt\n"
        "except BaseException:\n    raise ImportError('half of it')"
    )
    with pytest.raises(ImportError, match="half of it") as caught:
        import_optional("slow_package", "get it")
    assert isinstance(caught.value.__context__, TerminationInterrupt)
