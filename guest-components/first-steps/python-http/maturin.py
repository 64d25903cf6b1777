"""Stands in for the build tool of componentize-py. pip asks it for the name of a source package that it only downloads."""

from pathlib import Path


def prepare_metadata_for_build_wheel(folder, _settings=None):
    info = "componentize_py.dist-info"
    Path(folder, info).mkdir()
    Path(folder, info, "METADATA").write_text(Path("PKG-INFO").read_text())
    return info
