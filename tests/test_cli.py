"""The command line: exit codes, sentences instead of tracebacks, and a help that imports nothing heavy."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from mdsens import __version__
from mdsens.errors import NumericalError, UserError
from workflows import cli
from workflows.output import prepare_output

Run = Callable[[argparse.Namespace], int]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Run], None]:
    """Return a function that puts ``run`` in the place of a workflow module."""

    def put(name: str, run: Run) -> None:
        monkeypatch.setitem(sys.modules, f"workflows.{name}", SimpleNamespace(run=run))

    monkeypatch.setattr(cli, "prepare_process", lambda: None)
    return put


def raising(error: BaseException) -> Run:
    def run(arguments: argparse.Namespace) -> int:
        raise error

    return run


def raising_from(module: str, error: Exception) -> Run:
    """Return a run whose error is raised by a function of ``module``."""
    space = {"__name__": module, "error": error}
    exec("def fail():\n    raise error", space)
    return lambda arguments: space["fail"]()


def test_help_imports_neither_jax_nor_anything_else_heavy() -> None:
    code = (
        "import sys; from workflows.cli import main; codes = [main(['--help']), main(['relax', '--help'])]; "
        "heavy = {'jax', 'jax_md', 'matplotlib', 'pydantic', 'numpy', 'scipy', 'h5py', 'rich'} & sys.modules.keys(); "
        "sys.exit(f'{codes} {heavy}' if heavy or any(codes) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(cli.__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_importing_mdsens_imports_no_room() -> None:
    code = "import sys, mdsens; sys.exit(1 if {'jax', 'jax_md'} & sys.modules.keys() else 0)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(cli.__file__).parents[1]).returncode == 0


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mdsens {__version__}\n"


def test_version_is_the_installed_one() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


def test_a_workflow_receives_config_overrides_and_output(install: Callable[[str, Run], None]) -> None:
    seen: list[argparse.Namespace] = []
    install("relax", lambda arguments: seen.append(arguments) or 0)
    words = "relax c.toml --system.n 32 --relaxation.skin=-0.5 -o out --system.shift -1e-3"
    assert cli.main(words.split()) == 0
    assert seen[0].config == Path("c.toml")
    assert seen[0].output == Path("out")
    assert seen[0].overrides == ["--system.n", "32", "--relaxation.skin=-0.5", "--system.shift", "-1e-3"]


def test_overrides_may_stand_before_the_configuration(install: Callable[[str, Run], None]) -> None:
    seen: list[argparse.Namespace] = []
    install("relax", lambda arguments: seen.append(arguments) or 0)
    assert cli.main(["--debug", "relax", "--system.n", "32", "c.toml"]) == 0
    assert (seen[0].config, seen[0].overrides, seen[0].output) == (Path("c.toml"), ["--system.n", "32"], None)
    assert seen[0].debug


@pytest.mark.parametrize(
    ("words", "attributes"),
    [
        ("verify r.h5", {"file": Path("r.h5"), "overrides": []}),
        ("verify c.toml --system.n 3", {"file": Path("c.toml"), "overrides": ["--system.n", "3"]}),
        ("show r.h5", {"file": Path("r.h5")}),
        ("plot r.h5 -o pictures --format pdf", {"output": Path("pictures"), "format": "pdf"}),
        (
            "export r.h5 --to gsd --parameter soft_sphere.sigma[A]",
            {"to": "gsd", "parameter": "soft_sphere.sigma[A]", "output": None},
        ),
    ],
)
def test_commands_read_their_arguments(words: str, attributes: dict[str, object]) -> None:
    arguments = vars(cli.parse(words.split()))
    assert attributes.items() <= arguments.items()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("relaxx c.toml", "relaxx is not a command; did you mean relax?"),
        ("--system.n 3 sensitivty c.toml", "did you mean sensitivity?"),
        ("qqqq", "known commands: relax, sensitivity"),
        ("", "required: COMMAND"),
        ("relax", "required: CONFIG.toml"),
        ("relax c.toml --skin 3", "unrecognized arguments: --skin 3"),
        ("plot r.h5 --format gif", "'gif'"),
        ("export r.h5 --to pdb", "'pdb'"),
        ("show r.h5 --system.n 3", "mdsens show reads no configuration"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(words: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mdsens: ")
    assert captured.err.count("\n") == 1
    assert expected in captured.err


@pytest.mark.parametrize(
    ("run", "code", "sentence"),
    [
        (lambda arguments: 0, 0, ""),
        (lambda arguments: 1, 1, ""),
        (raising(UserError("a key is wrong")), 2, "mdsens: a key is wrong\n"),
        (raising(NumericalError("it did not converge")), 1, "mdsens: it did not converge\n"),
        (raising(KeyboardInterrupt()), 130, "mdsens: interrupted\n"),
        (raising_from("systems.bidisperse", ValueError("n is -1")), 2, "mdsens: n is -1\n"),
    ],
)
def test_outcomes_become_exit_codes(
    install: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str], run: Run, code: int, sentence: str
) -> None:
    install("relax", run)
    assert cli.main(["relax", "c.toml"]) == code
    assert capsys.readouterr().err == sentence


def test_debug_lets_the_traceback_through(install: Callable[[str, Run], None]) -> None:
    install("relax", raising(UserError("a key is wrong")))
    with pytest.raises(UserError, match="a key is wrong"):
        cli.main(["relax", "c.toml", "--debug"])


@pytest.mark.parametrize("error", [ValueError("shapes do not match"), RuntimeError("a bug")])
def test_errors_of_other_libraries_keep_their_traceback(install: Callable[[str, Run], None], error: Exception) -> None:
    install("relax", raising_from("numpy.linalg", error))
    with pytest.raises(type(error), match=str(error)):
        cli.main(["relax", "c.toml"])


def test_prepare_jax_switches_float64_and_the_cache_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, object] = {}
    monkeypatch.setattr(jax.config, "update", changes.__setitem__)
    monkeypatch.setattr("mdsens.machine.caches.keep_programs", lambda: changes.update(kept=True))
    cli.prepare_jax()
    assert changes == {"jax_enable_x64": True, "jax_cpu_enable_async_dispatch": False, "kept": True}


def test_prepare_output_makes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert prepare_output(Path("a/b")) == tmp_path / "a" / "b"
    assert prepare_output(None) == tmp_path / "results"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_prepare_output_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="a file is in the way"):
            prepare_output(folder)
    assert (tmp_path / "file").read_text() == "kept"


def test_prepare_output_refuses_a_folder_without_write_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"cannot be written to \(Permission denied\): name another one with -o DIR"):
        prepare_output(tmp_path)


def test_an_option_is_not_taken_for_the_value_of_an_override(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.parse(["relax", "x.toml", "--system.seed", "-1"]).overrides == ["--system.seed", "-1"]
    arguments = cli.parse(["relax", "x.toml", "--system.n_particles", "-o", "there"])
    assert (arguments.overrides, arguments.output) == (["--system.n_particles"], Path("there"))


def test_what_a_user_wrote_stays_one_short_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["x" * 1_000_000]) == 2
    assert cli.main(["a\nb\x07"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(len(line) < 2100 and line.isprintable() for line in lines)


def test_a_terminal_that_takes_nothing_is_one_sentence(
    install: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install("show", raising(OSError(28, "No space left on device")))
    assert cli.main(["show", "x.h5"]) == 2
    assert capsys.readouterr().err == (
        "mdsens: what is printed cannot be written (No space left on device): print it elsewhere\n"
    )


def test_termination_is_said_and_has_its_exit_code(
    install: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install("show", raising(cli.Terminated()))
    assert cli.main(["show", "x.h5"]) == 143
    assert capsys.readouterr().err == "mdsens: terminated\n"


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_device_that_is_not_there_is_one_sentence(platform: str) -> None:
    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("JAX finds a GPU")
    done = subprocess.run(
        [sys.executable, "-m", "workflows.cli", "show", "x.h5"],
        capture_output=True,
        text=True,
        cwd=Path(cli.__file__).parents[1],
        env=os.environ | {"JAX_PLATFORMS": platform},
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"mdsens: JAX_PLATFORMS is '{platform}'")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")])
def test_too_little_memory_is_one_sentence(
    install: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    install("relax", raising(error))
    assert cli.main(["relax", "c.toml"]) == 1
    assert capsys.readouterr().err.startswith("mdsens: the memory of this machine or device is too small")


def test_a_file_name_that_no_system_takes_is_one_short_sentence(
    install: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install("show", raising(OSError(36, "File name too long", "x" * 5000 + ".h5")))
    assert cli.main(["show", "x.h5"]) == 2
    sentence = capsys.readouterr().err
    assert "xxx.h5 cannot be used (File name too long)" in sentence
    assert len(sentence) < 300


@pytest.mark.parametrize("words", ["--version", "relax --help"])
def test_a_full_disk_behind_the_terminal_is_one_sentence(words: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "workflows.cli", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(cli.__file__).parents[1],
            env=os.environ | {"PYTHONUNBUFFERED": ""},
        )
    assert done.returncode == 2
    assert done.stderr.startswith("mdsens: what is printed cannot be written (No space left on device)")
    assert done.stderr.count("\n") == 1


def test_python_m_mdsens_is_the_command():
    done = subprocess.run([sys.executable, "-m", "mdsens", "--help"], capture_output=True, text=True, check=True)
    assert "sensitivity" in done.stdout
    assert "usage: mdsens" in done.stdout
