"""Configurations spoilt at random: each is accepted or refused in one sentence, and nothing is half-written.

``MDSENS_FUZZ`` is the number of attempts (400 by default, a share of them here), ``MDSENS_FUZZ_ONLY`` a regular
expression for the names of those to repeat, such as ``thermal:17``.
"""

import json
import tomllib
from pathlib import Path

import h5py
import pytest

import potentials
import systems
import workflows

SHIPPED = {
    path.stem: tomllib.loads(path.read_text()) for path in sorted(Path(workflows.__file__).parent.glob("*.toml"))
}
SMALL = {
    "system": {"n_particles": 12},
    "output": {"figures": False},
    "ensemble": {"n_starts": 2, "checkpoints": [5, 20], "n_records": 5},
    "sweep": {"diameters": [0.6, 0.8], "n_starts": 2},
    "compress": {"n_packings": 3, "pressures": [1e-2, 3e-3, 1e-3, 3e-4], "n_resamples": 10},
    "thermal": {"n_samples": 20, "n_equilibration": 2, "n_replicas": 2},
    "fit": {"n_cases": 1, "max_relaxations": 2, "descent_relaxations": 1},
    "validity": {"n_steps": 2},
}
NUMBERS = [
    *("nan", "inf", "-inf", "-1", "0", "-0.0", "1", "2", "3", "0.5", "1e-12", "1e12", "1e400", "-1e400", "1e308"),
    *("1e-308", "5e-324", "1e100", "1e101", "1e-100", "1e16", "9223372036854775807", "9223372036854775808"),
    *(
        "-9223372036854775808",
        "4294967296",
        "2147483648",
        "18446744073709551616",
        "9" * 5000,
        "9" * 4000,
        "0x10",
        "1_0",
    ),
]
TEXTS = [
    *("", " ", "text", "\x00", "\x07\x1b[31m", "x" * 100_000, "ß∂ƒ😀", "a\nb", "\u202e", "../../etc", "/", ".", "~"),
    *("soft_sphere", "soft_sphere.sigma", "soft_sphere.sigma[", "soft_sphere.sigma[A,A]", "soft_sphere.sigma[0]"),
    *("soft_sphere.epsilon", "lennard_jones.sigma", "box", "box.length", "box.matrix[0,1]", "box.strain[1,0]"),
    *("box.strain[2,2]", "pressure", "energy", "distance", "C44", "eigenvalue[0]", "eigenvalue[-1]", "eigenvalue[1e9]"),
    *("bond_order[999999999999]", "coordination[nan,inf]", "radial_distribution[]", "max_force", "volume", "[", "]"),
    *("independent", "additive", "langevin", "large", "accuracy", "auto", "krylov", "triclinic", "xy", "nose_hoover"),
]
OTHER = [
    *("true", "false", "[]", "[[]]", '[1, "a"]', "{}", "{a = 1}", "[nan]", "[1e400]", "[0]", "[-1.0, 1.0]", '[""]'),
    *("1979-05-27T07:32:00Z", "07:32:00", "'''", "[" * 2000 + "]" * 2000, "[" * 50 + "]" * 50, "[[[0.1]]]"),
    *(
        "[1.0]",
        "[1.0, 1.0]",
        "[1.0, 1.0, 1.0]",
        "[0.6, 1.0, 1.4]",
        '["png", "png"]',
        "[1, 2, 3]",
        "[3, 3, 3]",
        "[9, 0]",
    ),
]
OPTIONAL = {
    "pressure": {"value": 0.02, "box": "triclinic", "fixed": ["xy"], "stress_error": 1e-12, "max_box_steps": 50},
    "deformation": {"gradient": [[0.0, 0.01], [0.0, 0.0]]},
}


class Raw(str):
    """A value as it stands in the text."""


def written(value):
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {written(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value).replace("\x7f", "\\u007f") if isinstance(value, str | bool) else repr(value)


def toml(sections):
    lines = []
    for name, section in sections.items():
        if isinstance(section, dict):
            lines += [f"[{name}]", *(f"{key} = {written(value)}" for key, value in section.items())]
        else:
            lines.insert(0, f"{name} = {written(section)}")
    return "\n".join(lines) + "\n"


def shrunk(name):
    sections = {key: dict(section) for key, section in SHIPPED[name].items()}
    for key, changes in SMALL.items():
        if key in sections:
            sections[key] |= {entry: value for entry, value in changes.items() if entry in sections[key]}
    if "n_cells" in sections.get("system", {}):
        sections["system"] |= {"n_cells": [3, 3, 3]}
        sections["potential"] |= {"cutoff": 1.5}
    return sections


def anything(rng):
    if (k := rng.integers(3)) == 0:
        return Raw(rng.choice(NUMBERS))
    return Raw(rng.choice(OTHER)) if k == 1 else TEXTS[rng.integers(len(TEXTS))]


def place(rng, sections):
    """Return a section that is not empty and one of its keys."""
    section = sections[rng.choice([name for name, entry in sections.items() if isinstance(entry, dict) and entry])]
    return section, str(rng.choice(list(section)))


def scaled(rng, value):
    if isinstance(value, bool) or not isinstance(value, int | float | list):
        return anything(rng)
    if isinstance(value, list):
        k = rng.integers(len(value)) if value else 0
        return [scaled(rng, entry) if i == k else entry for i, entry in enumerate(value)]
    factor = float(10.0 ** rng.integers(-20, 21) if rng.random() < 0.3 else rng.uniform(-1, 4))
    return Raw(repr(value * factor)) if isinstance(value, float) else min(int(value * factor), 3000)


def listed(rng, value):
    """Spoil a list: no entries, one twice, one less, one of another type, nested."""
    if not isinstance(value, list) or not value:
        return [value, value]
    k = int(rng.integers(len(value)))
    ways = [[], [*value, value[k]], value[:k] + value[k + 1 :], [*value[:k], anything(rng), *value[k + 1 :]], [value]]
    return ways[rng.integers(len(ways))]


def misspelt(rng, name):
    k = int(rng.integers(len(name)))
    ways = [name[:k] + name[k + 1 :], name + "_", name.upper(), f'"{name} "', f'"{name}ß"', f"{name}.{name}", '""']
    return ways[rng.integers(len(ways))] or '""'


def change_key(rng, sections):
    section, key = place(rng, sections)
    way = rng.integers(6)
    if way == 0:
        del section[key]
    elif way == 1:
        section[misspelt(rng, key)] = section.pop(key)
    elif way == 2:
        section[key] = anything(rng)
    elif way == 3:
        section[key] = scaled(rng, section[key])
    elif way == 4:
        section[key] = listed(rng, section[key])
    else:
        other, name = place(rng, sections)
        section[key], other[name] = other[name], section[key]


def change_section(rng, sections):
    name = str(rng.choice(list(sections)))
    way = rng.integers(7)
    if way == 0:
        del sections[name]
    elif way == 1:
        sections[misspelt(rng, name)] = sections.pop(name)
    elif way == 2:
        sections[name] = anything(rng)
    elif way == 3:
        sections |= {key: dict(OPTIONAL[key]) for key in rng.choice(list(OPTIONAL), rng.integers(1, 3))}
    elif way == 4:
        other = SHIPPED[str(rng.choice(list(SHIPPED)))]
        sections |= {key: dict(section) for key, section in other.items() if rng.random() < 0.5}
    else:
        change_kind(rng, sections)


def change_kind(rng, sections):
    """Choose another system or law, often with the keys that it has."""
    name, registry = [("system", systems.REGISTRY), ("potential", potentials.REGISTRY)][rng.integers(2)]
    kind = str(rng.choice(list(registry)))
    fields = registry[kind].Options.model_fields
    kept = sections.get(name, {}) if isinstance(sections.get(name), dict) else {}
    filled = {key: value for key, value in kept.items() if key in fields or rng.random() < 0.1}
    for key, entry in fields.items():
        if entry.is_required() and key not in filled:
            filled[key] = [2, 2] if key == "n_cells" else "nowhere.npz" if key == "path" else 2
    sections[name] = {**filled, "kind": kind}
    if name == "potential":
        sections[name] = {"kind": kind, **{key: value for key, value in filled.items() if key != "kind"}}


def change_text(rng, text):
    data = bytearray(text.encode())
    k = int(rng.integers(len(data)))
    way = rng.integers(6)
    if way == 0:
        return bytes(data[:k])
    if way == 1:
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            data[place] ^= 1 << rng.integers(8)
        return bytes(data)
    if way == 2:
        inserted = [b"\x00", b"\xef\xbb\xbf", "ß\u2028".encode(), b"\x1b[31m", b"\xff", b"\r", b'"""', b"[[", b"= ="]
        return bytes(data[:k] + inserted[rng.integers(len(inserted))] + data[k:])
    lines = text.splitlines()
    line = int(rng.integers(len(lines)))
    if way == 3:
        lines.insert(line, lines[rng.integers(len(lines))])
    elif way == 4:
        lines.append(lines[line])
    else:
        return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() if rng.random() < 0.3 else text.encode("utf-16")
    return "\n".join(lines).encode()


def spoilt(rng, sections):
    for _ in range(1 if rng.random() < 0.6 else 2):
        if not sections:
            break
        (change_key if rng.random() < 0.7 else change_section)(rng, sections)
    text = toml(sections)
    return change_text(rng, text) if text and rng.random() < 0.15 else text.encode()


def names(n):
    kinds = list(SHIPPED)
    return [f"{kinds[k % len(kinds)]}:{k // len(kinds)}" for k in range(n)]


def test_a_spoilt_configuration_is_accepted_or_refused_in_one_sentence(command, campaign, attempts, without_work):
    def attempt(name, rng, folder):
        stem = name.split(":")[0]
        (folder / "it.toml").write_bytes(spoilt(rng, shrunk(stem)))
        outcome = command(stem.split("_")[0], folder / "it.toml", "-o", folder / "out")
        written = [path.name for path in (folder / "out").rglob("*.h5")]
        return outcome.fault or (f"written before any work: {written}" if written else "")

    with without_work():
        campaign.run(names(attempts(0.5)), attempt)
    campaign.conclude()


def mild(rng, sections):
    """Change numbers by so little that most are accepted."""
    for _ in range(rng.integers(1, 3)):
        section, key = place(rng, {name: sections[name] for name in ("system", "potential") if name in sections})
        if isinstance(section[key], int | float) and not isinstance(section[key], bool) and key != "n_particles":
            section[key] = section[key] * float(10.0 ** rng.integers(-8, 9)) if isinstance(section[key], float) else 3
        elif isinstance(section[key], list):
            section[key] = [entry * float(10.0 ** rng.integers(-6, 7)) for entry in section[key]]
    return sections


def test_a_run_with_unusual_numbers_ends_with_a_file_or_a_sentence(command, campaign, attempts):
    def attempt(name, rng, folder):
        stem = name.split(":")[0]
        sections = mild(rng, shrunk(stem))
        sections["relaxation"]["max_steps"] = 300
        sections.pop("pressure", None)
        (folder / "it.toml").write_text(toml(sections))
        outcome = command(stem, folder / "it.toml", "-o", folder / "out")
        if outcome.fault:
            return outcome.fault
        files = list((folder / "out").rglob("*.h5")) if (folder / "out").exists() else []
        if outcome.code == 0 and not files:
            return "exit code 0 without a file"
        for path in files:
            assert h5py.is_hdf5(path)
            shown = command("show", path)
            if shown.code or shown.fault:
                return f"it left a file that cannot be shown: {shown.fault or shown.err}"
        return ""

    kinds = ("relax", "sensitivity", "validity", "spectrum")
    campaign.run([f"{kinds[k % 4]}:{k // 4}" for k in range(min(attempts(0.005), 100))], attempt, seconds=300)
    campaign.conclude()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_unspoilt_configuration_is_accepted(command, without_work, tmp_path, name):
    (tmp_path / "it.toml").write_text(toml(shrunk(name)))
    with without_work():
        outcome = command(name.split("_")[0], tmp_path / "it.toml", "-o", tmp_path / "out")
    assert (outcome.code, outcome.err, outcome.crash) == (0, "", "")
