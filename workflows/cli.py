"""The ``mdsens`` command: read the command line, run one workflow, turn a failure into a sentence and an exit code.

Each command is a module ``workflows.<name>`` with ``run(arguments: argparse.Namespace) -> int``, imported only when it
runs, so that help costs no import of JAX. ``arguments`` holds ``config`` or ``file`` (Path), ``overrides`` (list of
``--section.key value`` tokens) and ``output`` (Path or None), as far as the command has them.

Exit codes: 0 done, 1 a computation failed or a check disagreed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mdsens import __version__
from mdsens.errors import NumericalError, UserError

OVERRIDE = re.compile(r"--[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+(=.*)?", re.DOTALL)
_LONGEST_WORD = 100  # of a wrong word that a sentence repeats
_LONGEST_PATH = 400
_LONGEST_SENTENCE = 2000
PACKAGES = ("mdsens", "potentials", "systems", "workflows", "benchmarks")


@dataclass(frozen=True)
class Command:
    """One subcommand: its line in the help, its arguments, and whether it reads a configuration."""

    summary: str
    declare: Callable[[argparse.ArgumentParser], None]
    overridable: bool = True


@dataclass(frozen=True)
class Program:
    """A command line: the package whose modules its subcommands are, what it is for, and the subcommands."""

    package: str
    description: str
    commands: Mapping[str, Command]


class Terminated(BaseException):
    """The process was told to end (SIGTERM)."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None, program: Program | None = None) -> int:
    """Run the command line ``argv`` (the process's own by default) of a program (ours) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words, program or MDSENS)
        print(end="", flush=True)  # there may be no sys.stdout
        return code
    except KeyboardInterrupt:
        return _report("interrupted", 130)
    except Terminated:
        return _report("terminated", 143)
    except BrokenPipeError:  # the reader went away, as in `mdsens show FILE | head`
        _silence_stdout()
        return 1
    except OSError as error:
        if "--debug" in words:
            raise
        if error.filename is not None:
            return _report(f"{error.filename} cannot be used ({error.strerror}): name another file or folder", 2)
        _silence_stdout()
        return _report(f"what is printed cannot be written ({error.strerror or error}): print it elsewhere", 2)
    except (ValueError, NumericalError) as error:
        if "--debug" in words or not _is_sentence(error):
            raise
        return _report(str(error), 1 if isinstance(error, NumericalError) else 2)
    except (MemoryError, RuntimeError) as error:
        if "--debug" in words or not (isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)):
            raise
        return _report("the memory of this machine or device is too small: take fewer particles or another one", 1)


def _run(words: Sequence[str], program: Program) -> int:
    try:
        arguments = parse(words, program)
    except SystemExit as stop:  # argparse after --help and --version
        return int(stop.code or 0)
    prepare_process()
    return int(importlib.import_module(f"{program.package}.{arguments.command}").run(arguments))


def parse(words: Sequence[str], program: Program | None = None) -> argparse.Namespace:
    """Turn the words of the command line into arguments.

    Args:
        words: The command line without the program's name.
        program: Whose command line; ours by default.

    Returns:
        The arguments, with ``command`` and, for commands that read a configuration, ``overrides``.

    Raises:
        UserError: When the command is missing or unknown (with the nearest known one) or an argument is wrong.
    """
    plain, overrides = _split_overrides(words)
    commands = (program or MDSENS).commands
    command = next((word for word in plain if not word.startswith("-")), "")
    if command and command not in commands:
        close = difflib.get_close_matches(command, commands, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]}? Known" if close else "known"
        raise UserError(f"{command[:_LONGEST_WORD]} is not a command; {hint} commands: {', '.join(commands)}")
    arguments = build_parser(program).parse_args(plain)
    if commands[arguments.command].overridable:
        arguments.overrides = overrides
    elif overrides:
        word = overrides[0][:_LONGEST_WORD]
        raise UserError(f"mdsens {arguments.command} reads no configuration, so {word} means nothing here")
    return arguments


def _split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate ``--section.key value`` tokens from the rest; argparse would take the value for a file."""
    plain: list[str] = []
    overrides: list[str] = []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        if not OVERRIDE.fullmatch(word):
            plain.append(word)
            continue
        overrides.append(word)
        if "=" not in word and remaining and not re.match(r"--?[A-Za-z]", remaining[0]):  # -1 is a value, -o is not
            overrides.append(remaining.pop(0))
    return plain, overrides


def build_parser(program: Program | None = None) -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    program = program or MDSENS
    parser = _Parser(
        prog="mdsens" if program is MDSENS else f"python -m {program.package}", description=program.description
    )
    parser.add_argument("--version", action="version", version=f"mdsens {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, command in program.commands.items():
        subparser = subparsers.add_parser(name, help=command.summary, description=command.summary, allow_abbrev=False)
        subparser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.declare(subparser)
    return parser


def _declare_workflow(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} CONFIG.toml [--section.key VALUE ...] [-o DIR]"
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="what to do")
    _add_output(parser, "folder for results and figures (default: results)")


def declare_study(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of a command that keeps members."""
    _declare_workflow(parser)
    parser.usage = f"{parser.prog} CONFIG.toml [--section.key VALUE ...] [-o DIR] [--redo]"
    parser.add_argument("--redo", action="store_true", help="do members again that an earlier run has finished")


def _declare_verify(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} FILE.h5 | CONFIG.toml [--section.key VALUE ...] [-o DIR]"
    parser.add_argument("file", type=Path, metavar="FILE", help="results (.h5) or a configuration (.toml)")
    _add_output(parser, "folder for the results of a configuration (default: results)")


def _declare_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="results (.h5)")


def _declare_plot(parser: argparse.ArgumentParser) -> None:
    _declare_show(parser)
    _add_output(parser, "folder for the figures (default: the file's own)")
    parser.add_argument("--format", choices=("png", "pdf", "svg"), default="png", help="picture format (default: png)")


def _declare_export(parser: argparse.ArgumentParser) -> None:
    _declare_show(parser)
    parser.add_argument("--to", choices=("extxyz", "gsd"), required=True, help="format to write")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="file to write (default: beside FILE, with the new ending)"
    )
    parser.add_argument("--parameter", metavar="NAME", help="the parameter whose sensitivity becomes the arrows")


def _add_output(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help=text)


COMMANDS = {
    "relax": Command("relax one system and save it", _declare_workflow),
    "sensitivity": Command("relax, differentiate, certify, save and draw one system", _declare_workflow),
    "observables": Command("measure a relaxed state, and differentiate everything that is measured", _declare_workflow),
    "validity": Command("how far a derivative reaches: the first change of a contact", _declare_workflow),
    "spectrum": Command("vibrations of a relaxed state and their derivatives", _declare_workflow),
    "ensemble": Command("many random starts: implicit against unrolled derivatives", declare_study),
    "thermal": Command("sample thermal equilibrium: averages and their derivatives, with errors", declare_study),
    "fit": Command("recover a potential's parameters from relaxed positions", declare_study),
    "compress": Command("follow packings through pressures: contacts, moduli, jamming exponents", declare_study),
    "verify": Command("compare sensitivities with re-relaxed differences", _declare_verify),
    "show": Command("summarise a results file", _declare_show, overridable=False),
    "plot": Command("draw the figures of a results file again", _declare_plot, overridable=False),
    "export": Command("write a results file for a viewer", _declare_export, overridable=False),
    "paper": Command("measure the claims of the paper on implicit differentiation", _declare_workflow),
}
MDSENS = Program(
    "workflows", "Derivatives of relaxed configurations with respect to their potential's parameters.", COMMANDS
)


def prepare_process() -> None:
    """Let other packages' warnings and a missing device not get between our lines, and SIGTERM end us cleanly."""
    warnings.simplefilter("ignore")

    def terminate(*_: object) -> NoReturn:
        raise Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    prepare_jax()
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms:
        import jax

        try:
            jax.devices()
        except (RuntimeError, AssertionError):
            raise UserError(
                f"JAX_PLATFORMS is {platforms[:_LONGEST_WORD]!r}, but JAX finds no such device: unset it or use cpu"
            ) from None


def prepare_jax() -> None:
    """Switch on float64, one thread per factorisation, and JAX's persistent compilation cache where it is writable."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # see keep_programs
    # Ensembles run members in threads, and small factorisations gain nothing from threads of their own: with both,
    # cores are fought over, and a factorisation of a millisecond was seen to take a quarter of a second.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import jax

    from mdsens.machine.caches import keep_programs

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # short programs in several threads: a tenth faster
    keep_programs()


def _is_sentence(error: Exception) -> bool:
    """Whether the message was written for a user: by type, or because this project's own code refused a value."""
    if isinstance(error, UserError | NumericalError):
        return True
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].split(".")[0] in PACKAGES


def _report(sentence: str, code: int) -> int:
    """Print one line whatever a user's text puts into it: no control characters, and not without end."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(sentence.splitlines()))
    line = re.sub(rf"\S{{{_LONGEST_PATH},}}", lambda word: f"{word[0][:_LONGEST_WORD]}...{word[0][-20:]}", line)
    if len(line) > _LONGEST_SENTENCE:
        half = _LONGEST_SENTENCE // 2
        line = f"{line[:half]} ... {line[-half:]}"
    print(f"mdsens: {line}", file=sys.stderr)
    return code


def _silence_stdout() -> None:
    """Let what is still to be printed go nowhere: the interpreter would complain at its exit."""
    with contextlib.suppress(OSError, ValueError):  # a stream of tests has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
