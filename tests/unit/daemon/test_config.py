"""A setting is known and in range, or refused with its file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agp.daemon.config import Config, load_config
from agp.errors import ConfigurationError


def test_an_absent_configuration_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(tmp_path / "config.toml") == Config()


@pytest.mark.parametrize(
    "text",
    ["approval_timeout_s = 4", "approval_timeout_s = '60'", "approval_timeout_s = true",
     "approval_timeout_s = 1e3", "version = 2", "origin = 'Has Space'", "egress = 'x:1'",
     "egress = [7]", "disk_reserve_mib = 0", "unsafe_everything = true", "[table]\nx = 1",
     "reconnect_s = 30\nreconnect_s = 31"],
)  # fmt: skip
def test_a_setting_that_is_not_acceptable_is_refused_with_its_file(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)

    with pytest.raises(ConfigurationError) as refused:
        load_config(path)

    assert refused.value.where == str(path)


def test_a_configuration_that_is_a_pipe_or_huge_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b"#" * (1024 * 1024 + 1))

    for name in ("pipe", "huge"):
        with pytest.raises(ConfigurationError):
            load_config(tmp_path / name)
