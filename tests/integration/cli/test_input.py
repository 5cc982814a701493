"""What is typed, piped in and named on the command line, in the forms that nobody meant."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frame_gainsight.cli.commands.connector import LARGEST_DEFINITION

PATIENCE = 60.0
WRONG_USE = 2
COMMAND = (sys.executable, "-m", "frame_gainsight.cli.main")
IMPORT = ("connector", "import")


def run(*arguments: str, given: bytes = b"", closed: bool = False) -> tuple[int, str]:
    """The exit code and all that was said, on one line."""
    shell = ("sh", "-c", 'exec "$@" <&-', "sh") if closed else ()
    done = subprocess.run(
        [*shell, *COMMAND, *arguments],
        input=None if closed else given,
        env={k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "AWS_", "COLUMNS"))},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    said = (done.stdout + done.stderr).decode()
    assert "Traceback" not in said
    return done.returncode, " ".join(said.split())


@pytest.mark.parametrize("command", [("connector", "add"), IMPORT])
def test_a_definition_file_without_an_end_is_not_read_to_its_end(command: tuple[str, ...], tmp_path: Path) -> None:
    endless = tmp_path / f"{'endless-' * 10}.yaml"
    with endless.open("wb") as file:
        file.truncate(10**12)
    code, said = run(*command, str(endless))
    assert code == WRONG_USE
    assert f"{endless} is too large" in said, "a name stays whole where no terminal is"


def test_a_definition_as_large_as_may_be_is_read(tmp_path: Path) -> None:
    text = "id: acme\nhost: 5\n# "
    file = tmp_path / "acme.yaml"
    file.write_text(text + "x" * (LARGEST_DEFINITION - len(text)))
    assert "host: must be text" in run("connector", "add", str(file))[1]


def test_a_definition_file_that_is_no_text_or_no_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"id: \xff")
    assert run("connector", "add", str(tmp_path / "a")) == (
        WRONG_USE,
        f"Error {tmp_path / 'a'} cannot be read: it is no text in UTF-8 (byte 5).",
    )
    assert "Is a directory" in run("connector", "add", str(tmp_path))[1]


def test_a_fault_in_standard_input_is_named_and_not_quoted() -> None:
    code, said = run(*IMPORT, "-", given=b"id: acme\npassword: [SECRET\nmore: x\n")
    assert code == WRONG_USE
    assert said.startswith("Error standard input is not YAML: line 3, column 5: ")
    assert "SECRET" not in said
    assert "document 1 of standard input is not valid" in run(*IMPORT, "-", given=b"id: acme\n")[1]


INIT = ("connector", "init", "--yes", "--id", "acme", "--host", "https://acme.invalid", "--out")


@pytest.mark.parametrize("given", [b"", b"\n", b"\xff\xfe", b"x" * 200_000])
def test_standard_input_that_is_no_api_key_is_refused(given: bytes, tmp_path: Path) -> None:
    code, said = run(*INIT, str(tmp_path / "x.yaml"), given=given)
    assert code == WRONG_USE
    assert said.startswith(("Error No key was given.", "Error Standard input "))


def test_a_closed_standard_input_is_an_empty_one(tmp_path: Path) -> None:
    code, said = run(*INIT, str(tmp_path / "x.yaml"), closed=True)
    assert code == WRONG_USE
    assert said.startswith("Error No key was given.")


@pytest.mark.parametrize("typed", [b"\x03", b"\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_ctrl_c_and_ctrl_d_at_the_keys_prompt_abort_on_a_line_of_their_own(typed: bytes, tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(COMMAND[0], [*COMMAND, *INIT, str(tmp_path / "x.yaml")])
    seen, deadline = b"", time.monotonic() + PATIENCE
    while b"key: " not in seen and time.monotonic() < deadline:
        seen += os.read(terminal, 4096)
    os.write(terminal, typed)
    try:
        while data := os.read(terminal, 4096):
            seen += data
    except OSError:  # the terminal's other end is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert "\r\nAborted.\r\n" in re.sub(r"\x1b\[\d+m", "", seen.decode()), "on a line of its own"
    assert b"Traceback" not in seen
