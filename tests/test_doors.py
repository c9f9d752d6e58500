"""Dependency directions, kept by reading the source: see "Doors" in the architecture."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "mdsens": set(),
    "potentials": {"mdsens"},
    "systems": {"mdsens"},
    "workflows": {"mdsens", "potentials", "systems"},
    "benchmarks": {"mdsens", "potentials", "systems", "workflows"},
}
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
# A distribution that only some files may import, and those files.
KEEPERS = {
    "jax_md": ("mdsens/neighbors/dense.py", "mdsens/machine/jax_md.py", "benchmarks/"),
    "h5py": ("mdsens/io/",),
    "matplotlib": ("mdsens/plotting/",),
}


def imports(tree: ast.AST, package: str = "") -> Iterator[str]:
    """Yield every imported module, and every name imported from it, as dotted paths; relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                module = ".".join([*parents, module]).rstrip(".")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    package = ".".join(path.parent.relative_to(ROOT).parts)
    return set(imports(ast.parse(path.read_text()), package))


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def neighbor_list_uses(tree: ast.AST) -> list[str]:
    """Attributes such as ``partition.neighbor_list`` or ``energy.soft_sphere_neighbor_list``, however imported."""
    attributes = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return [name for name in attributes if name == "partition" or name.endswith("neighbor_list")]


def careless_keywords(tree: ast.AST) -> Iterator[str]:
    """Yield functions whose ``**kwargs`` go on to another call or go nowhere: a misspelt keyword would be lost there.

    Taking them in order to refuse them with a sentence is fine.
    """
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or function.args.kwarg is None:
            continue
        taken = function.args.kwarg.arg
        inside = [node for statement in function.body for node in ast.walk(statement)]
        forwarded = [
            node
            for node in inside
            if isinstance(node, ast.keyword) and node.arg is None and ast.unparse(node.value) == taken
        ]
        read = [node for node in inside if isinstance(node, ast.Name) and node.id == taken]
        if forwarded or not read:
            yield f"{function.name} at line {function.lineno}"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


COMMAND = "mdsens/__main__.py"  # ``python -m mdsens`` is the command, which stands in workflows


@pytest.mark.parametrize("path", [path for path in SOURCES if name(path) != COMMAND], ids=name)
def test_a_room_imports_only_through_its_doors(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    closed = ROOMS.keys() - ROOMS[room] - {room}
    wrong = {found for found in imports_of(path) if found.split(".")[0] in closed}
    assert not wrong, f"{name(path)} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
@pytest.mark.parametrize("package", KEEPERS)
def test_a_guarded_package_is_imported_by_its_keeper_only(package: str, path: Path) -> None:
    allowed = name(path).startswith(KEEPERS[package])
    assert allowed or not any(within(found, package) for found in imports_of(path))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_pairs_builds_neighbor_lists(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if name(path) == "mdsens/neighbors/dense.py" or not any(within(found, "jax_md") for found in imports_of(path)):
        return
    assert not neighbor_list_uses(tree)


# These hand names on to functions of the user's, after mdsens/implicit/arguments.py has compared them.
FORWARDERS = ("mdsens/implicit/conditions.py", "mdsens/implicit/root.py")


@pytest.mark.parametrize("path", [path for path in SOURCES if name(path) not in FORWARDERS], ids=name)
def test_no_function_forwards_or_ignores_arbitrary_keywords(path: Path) -> None:
    assert not list(careless_keywords(ast.parse(path.read_text())))


# The rooms of the engine, floor by floor: each imports from floors below its own only. Nothing else says who may.
FLOORS = (
    ("errors", "given", "machine", "names", "rounding", "units"),
    ("config", "linear", "results", "types"),
    ("implicit", "neighbors"),
    ("energy",),
    ("contacts", "hessian"),
    ("relaxation",),
    ("response",),
    ("pressure",),
    ("sensitivity",),
    ("batch", "fitting", "io", "observables", "validity"),
    ("equilibrium", "plotting", "sweep", "verification"),
    ("face", "jamming"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    return module.split(".")[1] if within(module, "mdsens") and "." in module else ""


@pytest.mark.parametrize("room", FLOOR_OF)
def test_a_room_of_the_engine_stands_on_lower_floors_only(room: str) -> None:
    place = ROOT / "mdsens" / room
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    used = {room_of(module) for path in files for module in imports_of(path)} & FLOOR_OF.keys() - {room}
    above = {other for other in used if FLOOR_OF[other] >= FLOOR_OF[room]}
    assert not above, f"{room} is on floor {FLOOR_OF[room]} and imports {sorted(above)}"


def test_every_room_has_its_floor() -> None:
    entrances = ("__init__.py", "__main__.py")
    places = [path for path in (ROOT / "mdsens").iterdir() if path.name not in (*entrances, "__pycache__")]
    assert {path.stem for path in places} == FLOOR_OF.keys()
    assert len(FLOORS) <= 12
    assert sum(path.suffix == ".py" for path in places) + len(entrances) <= 8


def test_implicit_knows_no_physics() -> None:
    allowed = ("mdsens.implicit", "mdsens.errors", "mdsens.linear")  # a factor is linear algebra, no physics
    files = [path for path in SOURCES if name(path).startswith("mdsens/implicit")]
    found = {module for path in files for module in imports_of(path) if within(module, "mdsens")}
    physics = {module for module in found if not any(within(module, ours) for ours in allowed)}
    assert files
    assert not physics
    assert not {module for path in files for module in imports_of(path) if within(module, "jax_md")}


def test_all_packages_come_from_one_folder() -> None:
    specs = {room: importlib.util.find_spec(room) for room in ROOMS}
    parents = {room: Path(spec.origin).resolve().parents[1] for room, spec in specs.items() if spec and spec.origin}
    assert parents.keys() == ROOMS.keys()
    assert len(set(parents.values())) == 1, parents


def test_relative_imports_are_read_as_absolute_ones() -> None:
    tree = ast.parse("from . import a\nfrom ..neighbors import b\nfrom .c import d")
    assert {"mdsens.io.a", "mdsens.neighbors.b", "mdsens.io.c.d"} <= set(imports(tree, "mdsens.io"))


@pytest.mark.parametrize(
    ("body", "careless"),
    [
        ("return g(x, **options)", True),
        ("return g(x)", True),
        ("if options: raise TypeError(sorted(options))", False),
    ],
)
def test_careless_keywords_are_seen(body: str, careless: bool) -> None:
    assert bool(list(careless_keywords(ast.parse(f"def f(x, **options):\n    {body}")))) is careless
