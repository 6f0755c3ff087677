"""What WSL would run is run: `env` and `bash` take a wrapper from any folder, with the variables that it is given."""

import json
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from orchestration.hostservice.windows_arguments import build_wsl_arguments
from tests.unit.hostservice.windows_rules import run_as_windows

_WRAPPER = """#!/usr/bin/env bash
python3 -c '
import json, os, sys
print(json.dumps([os.environ["INSTANCE"], os.environ["ENV_FILE"], sys.argv[1:]]))' "$@"
"""
_FOLDERS = [
    "my bot",
    "a=b",
    "-e",
    "100%PATH% $(Arg0) $HOME `id`",
    'say "hi" o\'neil & <sons>',
    "back\\slash\\",
    "Müller 交易 🤖",
    "tab\tbed; rm *",
]


@pytest.mark.parametrize("name", _FOLDERS)
def test_a_wrapper_in_a_hostile_folder_is_run_with_its_variables(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    wrapper = folder / "production-startup.sh"
    wrapper.write_text(_WRAPPER, encoding="utf-8")  # not executable, as on a Windows drive
    line = build_wsl_arguments(
        distribution="Ubuntu",
        wrapper=PurePosixPath(wrapper),
        environment=[("ENV_FILE", str(folder / ".env")), ("INSTANCE", "second")],
    )
    options, program = run_as_windows(line, {"PATH": "C:\\Windows"})
    ended = subprocess.run(program, cwd=options["--cd"], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ended.stdout) == ["second", str(folder / ".env"), ["--service"]]
