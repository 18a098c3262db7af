"""What is typed, exported or written in .env is text: neither make nor a shell finds more in it.

LAB_TEST_MAKE names a second GNU make to try all of this with: macOS brings 3.81, and since 4.4 $(shell) has what is
exported. `LAB_TEST_MAKE=/opt/make-3.81/bin/make make test TESTS=tests/make/test_knobs_are_text.py`
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from recording import HOSTILE, RECORDER, Lab
from running import ROOT

OTHER = os.environ.get("LAB_TEST_MAKE", "")
FEW = ["$(shell touch X)", "$$(touch X)", "`touch X`", '"; touch X; "', "a\ntouch X"]
# What is passed on as it stands, and checked by the program that uses it.
FREE = ["E", "S", "CREDENTIAL", "REASON", "WHAT", "STEP", "FOR", "LAB_SERVER_NAMES", "LAB_SERVER_CERT_DIR", "VERBOSE"]
TYPED = ["CSR", "NAME", "OU", "URI", "DAYS", "KEY_TYPE", "FILE", "PASSWORD", "LEGACY", "REPLACE", "PROBE"]
CHECKED = ["MODE", "PORT", "SERVER", "PROXY", "PUBLIC_CA", "CRL", "CRL_CHECK", "RUNTIME", "LAB_TRUSTED_PROXY"]
# Of the Makefile itself, or of make: no knobs.
INTERNAL = [
    *("CA", "CLIENT", "RUN_CA", "RUN_CLIENT", "RUN_CLIENT_BESIDE", "FETCH_REPORTS", "SHELL_HERE", "LOGS", "STATUS"),
    *("DOWN", "CLEAN", "GOOD", "OWN", "ANSWERS", "matrix", "fetched", "typed", "given", "knobs", "goals", "v", "WHY"),
    *("COMPOSE", "COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "CLIENT_BESIDE", "PROGRAM", "VPATH", "GPATH", "FOO"),
    *("LAB_CLIENT", "LAB_NAME", "LAB_ERROR", "LAB_VERBOSE", "LAB_PROBE"),
]


@pytest.fixture(
    params=[
        "make",
        pytest.param(
            OTHER, marks=pytest.mark.skipif(not OTHER, reason="LAB_TEST_MAKE names no second make"), id="other make"
        ),
    ]
)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return Lab(tmp_path, request.param)


def on_the_line(lab: Lab, target: str, knobs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return lab.make(target, *(f"{name}={value}" for name, value in knobs.items()))


def in_the_environment(lab: Lab, target: str, knobs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return lab.make(target, **knobs)


def winning_in_the_environment(lab: Lab, target: str, knobs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return lab.make("-e", target, **knobs)


def in_the_file(lab: Lab, target: str, knobs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    quote = '"' if any("'" in value for value in knobs.values()) else "'"
    (lab.folder / ".env").write_text("".join(f"{name}={quote}{value}{quote}\n" for name, value in knobs.items()))
    return lab.make(target)


Way = Callable[[Lab, str, dict[str, str]], subprocess.CompletedProcess[str]]
ways = pytest.mark.parametrize("way", [on_the_line, in_the_environment, winning_in_the_environment, in_the_file])


@ways
def test_what_a_program_is_given_is_what_was_written(lab: Lab, way: Way) -> None:
    for value in HOSTILE:
        if way is in_the_file and "\n" in value:
            continue  # a value ends with its line
        done = way(lab, "explain", dict.fromkeys(FREE, value))
        lab.assert_untouched(value, done)
        assert done.returncode == 0, (value, done)
        arguments, environ = lab.given()
        assert arguments == ["-m", "client", "explain", f"--scenario={value}"]
        assert environ["LAB_ERROR"] == environ["LAB_VERBOSE"] == value
        passed_on = {name: environ[name] for name in FREE if name not in ("E", "VERBOSE")}
        assert passed_on == dict.fromkeys(passed_on, value)


def test_what_is_typed_for_people_and_what_nobody_knows(lab: Lab) -> None:
    for value in HOSTILE:
        done = on_the_line(lab, "list", dict.fromkeys([*TYPED, "FOO"], value))
        lab.assert_untouched(value, done)
        assert done.returncode == 0, (value, done)
        environ = lab.given()[1]
        assert environ["FOO"] == value
        assert {environ[f"LAB_{name}"] for name in TYPED} == {value}


@ways
@pytest.mark.parametrize("knob", CHECKED)
def test_what_has_no_such_value_is_refused(lab: Lab, way: Way, knob: str) -> None:
    if (way, knob) == (in_the_file, "RUNTIME"):
        pytest.skip("the environment has one, and wins")
    for value in FEW:
        if way is in_the_file and "\n" in value:
            continue
        done = way(lab, "matrix", {knob: value})
        lab.assert_untouched(value, done)
        assert done.returncode == 2
        assert re.search(rf"error: (unknown|unusable|PROXY=|make up PROXY=).*{re.escape(knob)}", done.stderr), (
            done.stderr
        )
        assert "\x1b" not in done.stderr


@pytest.mark.parametrize("target", ["list", "matrix", "down", "status", "help", "docs", "clean"])
@pytest.mark.parametrize("value", ["touch X;", "$(shell touch X)", "; touch X; #", "'; touch X; '"])
def test_what_the_makefile_calls_its_own_can_not_be_typed(lab: Lab, target: str, value: str) -> None:
    (lab.folder / "docs").mkdir()
    for way in (on_the_line, in_the_environment, winning_in_the_environment):
        done = way(lab, target, dict.fromkeys(INTERNAL, value))
        lab.assert_untouched(done)
        assert done.returncode == 0, done


@pytest.mark.parametrize("name", ["MAKEFLAGS", "MAKE", "MAKEOVERRIDES", ".SHELLFLAGS", ".VARIABLES"])
def test_what_make_itself_uses_is_no_knob(lab: Lab, name: str) -> None:
    done = on_the_line(lab, "status", {name: "x$(shell touch X)"})
    lab.assert_untouched(name, done)
    assert f"could not set {name}: make itself uses it" in done.stderr


@pytest.mark.parametrize("target", ["list", "test", "clean", "shell"])
def test_a_virtual_environment_with_such_a_name_is_refused(lab: Lab, target: str) -> None:
    for value in [*(HOSTILE if target == "list" else FEW), "", "-rf", "a b", "a:b"]:
        done = lab.make(f"VENV={value}", target)
        lab.assert_untouched(value, target, done)
        assert "error: unusable VENV" in done.stderr, (target, done)
    assert (lab.folder / ".venv").exists()


@pytest.mark.parametrize(("knob", "target", "module"), [("TESTS", "test", "pytest"), ("BENCH", "bench", "bench")])
def test_words_are_taken_as_a_shell_takes_them_and_nothing_runs(lab: Lab, knob: str, target: str, module: str) -> None:
    python = lab.folder / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (lab.folder / f"{module}.py").write_text(RECORDER.format(python="", seen=str(lab.seen)))
    for text, words in (
        ("-k 'this or that' \"a b\" c\\ d", ["-k", "this or that", "a b", "c d"]),
        ("'$(touch X)' `touch X` ; touch X", ["$(touch X)", "`touch", "X`", ";", "touch", "X"]),
        ("$HOME * ~ $(shell touch X)", ["$HOME", "*", "~", "$(shell", "touch", "X)"]),
    ):
        done = lab.make(target, f"{knob}={text}")
        lab.assert_untouched(text, done)
        assert done.returncode == 0, done
        assert lab.given()[0] == words
    done = lab.make(target, f"{knob}=a 'b")
    assert done.returncode == 2
    assert f"error: could not read {knob}: no closing quotation\n  try: " in done.stderr


def test_no_recipe_has_what_was_typed_in_it(lab: Lab) -> None:
    """A recipe that was printed by make -n has names of variables in it, never what they hold."""
    targets = re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    assert len(targets) > 30
    names = [*FREE, *TYPED, *CHECKED, *INTERNAL, "VENV", "OUT", "TLS", "TRUST", "SERVER_CREDENTIAL", "BENCH", "TESTS"]
    for script in ("test-postman", "demo", "observe"):  # even with -n make runs what names $(MAKE)
        (lab.folder / f"scripts/{script}.sh").write_text("")
    for runtime in ("local", "compose"):
        typed = [f"{name}=typed" for name in names if name != "RUNTIME"]
        for target in targets:
            done = lab.make("-n", target, f"RUNTIME={runtime}", *typed)
            assert done.returncode == 0, done
            assert done.stdout
            assert not re.search(r"(?<!sh )\btyped\b", done.stdout), (target, done.stdout)


def test_a_number_of_dollars_survives_each_make_below(lab: Lab) -> None:
    """What was typed reaches the make that a recipe starts, and the program that this one starts."""
    value = "$(shell touch X) $$ ${HOME} \\ a\\ b # 'c' \"d\" `touch X`"
    (lab.folder / "scripts/local-up.sh").write_text('"$VENV/bin/python" -m up\nexit 1\n')
    done = on_the_line(lab, "test-off", {"E": value, "FOO": value, "CSR": value})
    lab.assert_untouched(done)
    arguments, environ = lab.given()
    assert arguments == ["-m", "up"]
    assert environ["MAKELEVEL"] == "2"
    assert {environ[name] for name in ("E", "LAB_ERROR", "FOO", "LAB_CSR")} == {value}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("E=plain", "plain"),
        ("E = spaced  ", "spaced"),
        ("E=two words", "two words"),
        ("E=behind # a comment", "behind"),
        ("E=a#b", "a#b"),
        ("E='single' # a comment", "single"),
        ('E="double"', "double"),
        ("E='a # b'", "a # b"),
        ("E=it's", "it's"),
        ("E='half", "'half"),
        ("E=windows\r", "windows"),
        ("E=first\nE=second", "first"),
        ("#E=no\nE=yes", "yes"),
        ("E=", ""),
        ("E= # none yet", ""),
        ("E\t=\ttabs\t# a comment", "tabs"),
        ("E=a=b", "a=b"),
        ("E='$(shell touch X) `touch X`; touch X'", "$(shell touch X) `touch X`; touch X"),
        ("E=$(shell touch X) # $(shell touch X)", "$(shell touch X)"),
    ],
)
def test_a_line_of_the_file(lab: Lab, line: str, value: str) -> None:
    (lab.folder / ".env").write_bytes(f"{line}\n".encode())
    done = lab.make("explain")
    lab.assert_untouched(done)
    assert done.returncode == 0, done
    assert lab.given()[1]["LAB_ERROR"] == value
    assert lab.make("explain", "E=typed").returncode == 0
    assert lab.given()[1]["LAB_ERROR"] == "typed", "the command line wins"
    assert lab.make("explain", E="exported").returncode == 0
    assert lab.given()[1]["LAB_ERROR"] == "exported", "the environment wins"
