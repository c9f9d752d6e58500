"""Files spoilt at random: each is read or refused in one sentence, and nothing is half-written.

``MDSENS_FUZZ`` and ``MDSENS_FUZZ_ONLY`` as in ``test_fuzz.py``; names such as ``sensitivity:17`` or ``npz:3``.
"""

import contextlib
import io
import zipfile

import h5py
import numpy as np
import pytest

START = '[system]\nkind = "file"\npath = "{path}"\n{more}[potential]\nkind = "soft_sphere"\n[output]\nfigures = false\n'
HUGE = 10**11
STRANGE_NUMBERS = [np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300, 1e-300, 1e9]
STRANGE_INTEGERS = [-1, 10**9, 2**62, -(2**62), 0, 1]
SCALES = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST")  # attributes of dimension scales, some no data
NAMES = ("position", "box", "species", "species_names", "diameters")


def nodes(file, kind):
    """Return the names of all objects of a kind."""
    found = []
    file.visititems(lambda name, node: found.append(name) if isinstance(node, kind) else None)
    return found


def put(file, name, value, **options):
    """Store another dataset in the place of one, with its attributes."""
    attributes = {key: entry for key, entry in file[name].attrs.items() if entry is not None}
    del file[name]
    node = file.create_dataset(name, data=value, **options) if value is not None else None
    for key, entry in attributes.items() if node is not None else ():
        if key not in SCALES:
            node.attrs[key] = entry


def other_type(rng, value):
    """Return a value of another type."""
    kinds = [lambda v: np.asarray(v).astype("f4"), lambda v: np.asarray(v).astype("i4"), lambda v: np.asarray(v) != 0]
    kinds += [lambda v: np.asarray(v).astype(">f8"), lambda v: np.asarray(v).astype("c16")]
    kinds += [lambda v: np.full(np.shape(v), "a").astype(object), lambda v: "text", lambda v: 3, lambda v: np.nan]
    kinds += [lambda v: h5py.Empty("f8"), lambda v: np.void(b"\x00\xff"), lambda v: np.full(np.shape(v), b"\xff\xfe")]
    try:
        return kinds[rng.integers(len(kinds))](value)
    except (ValueError, TypeError):
        return "text"


def other_shape(rng, value):
    """Return a value of another shape."""
    array = np.asarray(value)
    kinds = [lambda: array[None], lambda: array.ravel(), lambda: array.ravel()[:0], lambda: array.ravel()[0]]
    kinds += [lambda: np.concatenate([array, array[:1]]), lambda: array[:-1], lambda: array[..., :-1]]
    kinds += [lambda: np.zeros((0,) * array.ndim), lambda: array.T, lambda: np.repeat(array, 2, axis=-1)]
    try:
        return kinds[rng.integers(len(kinds))]()
    except (ValueError, TypeError, IndexError):
        return array.ravel()[:0]


def other_values(rng, value):
    """Return an array with one strange entry, or with nothing else."""
    array = np.array(value)
    if array.dtype.kind == "f":
        strange = rng.choice(STRANGE_NUMBERS)
    elif array.dtype.kind in "iu":
        strange = rng.choice(STRANGE_INTEGERS)
    elif array.dtype.kind == "b":
        return ~array
    else:
        words = ["unknown", "", "\x1b[31m", "x" * 10_000, "a\nb", "a\x7fb", "../x"]
        strange = words[rng.integers(len(words))]
        return np.full(array.shape, strange, dtype=object) if array.shape else strange
    if not array.size:
        return array
    k = slice(None) if rng.random() < 0.3 else rng.integers(array.size)
    if array.dtype.kind in "iu":
        strange = min(max(int(strange), np.iinfo(array.dtype).min), np.iinfo(array.dtype).max)
    array.reshape(-1)[k] = strange
    return array


def change_dataset(rng, file):
    name = str(rng.choice(nodes(file, h5py.Dataset)))
    value = file[name].asstr()[()] if h5py.check_string_dtype(file[name].dtype) else file[name][()]
    way = rng.integers(4)
    if way == 0:
        del file[name]
        return
    changed = (other_type, other_shape, other_values)[way - 1](rng, value)
    if isinstance(changed, np.ndarray) and changed.dtype.kind == "U":
        changed = changed.astype(object)
    if isinstance(changed, np.ndarray) and changed.dtype == object:
        put(file, name, changed, dtype=h5py.string_dtype("utf-8"))
    else:
        put(file, name, changed)


def change_attribute(rng, file):
    owners = [name for name in ["/", *nodes(file, object)] if len(file[name].attrs)]
    node = file[str(rng.choice(owners))]
    name = str(rng.choice(list(node.attrs)))
    value = node.attrs[name]
    way = rng.integers(5)
    if way == 0:
        del node.attrs[name]
    elif way == 1:
        node.attrs[["unknown", "\x1b[31m", "ß"][rng.integers(3)]] = 1.0
    else:
        if name in SCALES:
            value = "text"
        changed = (other_type, other_shape, other_values)[way - 2](rng, value)
        if isinstance(changed, np.ndarray) and changed.dtype.kind in "UO":
            node.attrs.create(name, changed.astype(object), dtype=h5py.string_dtype("utf-8"))
        else:
            node.attrs[name] = changed


def change_structure(rng, file):
    groups, datasets = nodes(file, h5py.Group), nodes(file, h5py.Dataset)
    name, group = str(rng.choice(datasets)), str(rng.choice(groups))
    shape, dtype = file[name].shape, file[name].dtype
    way = rng.integers(14)
    if way == 0:
        del file[group]
    elif way == 1:
        file.move(group, f"{group}_")
    elif way == 2:
        del file[name]
        file[name] = h5py.SoftLink("/nowhere" if rng.random() < 0.5 else f"/{name}")
    elif way == 3:
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", "/x")
    elif way == 4:
        file[f"{group}/again"] = file["/"] if rng.random() < 0.5 else file[group]
    elif way == 5:
        del file[name]
        external = [("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(name, shape=(8,), dtype="u1", external=external)
    elif way in (6, 7):
        del file[name]
        layout = h5py.VirtualLayout(shape=shape or (1,), dtype="f8")
        layout[...] = h5py.VirtualSource(
            ["other.h5", "/etc/hostname", "../other.h5", "."][rng.integers(4)], "/x", shape=shape or (1,), dtype="f8"
        )
        file.create_virtual_dataset(name, layout)
    elif way in (8, 9):
        del file[name]
        huge = (HUGE, *shape[1:]) if shape else (HUGE,)
        kind = dtype if dtype.kind in "fiub" else "f8"
        file.create_dataset(name, shape=huge, dtype=kind, chunks=(1024, *[max(1, n) for n in huge[1:]]))
    elif way == 10:
        del file[name]
        file.create_group(name)
    elif way == 11:
        del file[group]
        file[group] = 1.0
    elif way == 12:
        file.create_group(["unknown", "analyses/unknown", "sensitivity/unknown"][rng.integers(3)])
    else:
        other = str(rng.choice(datasets))
        if other != name:
            del file[name]
            file[name] = file[other]


def change_bytes(rng, data):
    data = bytearray(data)
    way = rng.integers(4)
    if way == 0:
        return bytes(data[: rng.integers(len(data))])
    if way == 1:
        return bytes(data) + rng.bytes(100)
    if way == 2:
        k = int(rng.integers(len(data)))
        data[k : k + 64] = bytes([[0, 255][rng.integers(2)]]) * min(64, len(data) - k)
        return bytes(data)
    for place in rng.integers(len(data), size=rng.integers(1, 9)):
        data[place] ^= 1 << rng.integers(8)
    return bytes(data)


def spoil_hdf5(rng, path):
    if rng.random() < 0.3:
        path.write_bytes(change_bytes(rng, path.read_bytes()))
        return
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        for _ in range(1 if rng.random() < 0.7 else 2):
            way = rng.random()
            with contextlib.suppress(TypeError, ValueError, KeyError, OSError, RuntimeError):  # what h5py cannot store
                (change_dataset if way < 0.4 else change_attribute if way < 0.7 else change_structure)(rng, file)


def start_from(command, folder, path, more=""):
    (folder / "it.toml").write_text(START.format(path=path, more=more))
    return command("relax", folder / "it.toml", "-o", folder / "out")


def read_somehow(rng, command, folder, path):
    """Read a file in two ways; return what is wrong."""
    outcome = command("show", path)
    if outcome.fault:
        return outcome.fault
    way = rng.random()
    if way < 0.65:
        kind = "extxyz" if way < 0.35 else "gsd"
        outcome = command("export", path, "--to", kind, "-o", folder / f"out.{kind}")
        if (folder / f"out.{kind}").exists() != (outcome.code == 0):
            return outcome.fault or f"exit code {outcome.code}, and a file or none"
    elif way < 0.93:
        outcome = start_from(command, folder, path)
    elif way < 0.98:
        outcome = command("verify", path)
    else:
        outcome = command("plot", path, "-o", folder / "figures")
    return outcome.fault


def test_a_spoilt_results_file_is_read_or_refused_in_one_sentence(command, campaign, attempts, files, without_work):
    kinds = ["sensitivity", "compress", "member"]
    kinds += ["pressure", "observables", "spectrum", "ensemble", "thermal", "fit"] if attempts(1) > 2000 else []

    def attempt(name, rng, folder):
        path = folder / "it.h5"
        path.write_bytes(files(name.split(":")[0]).read_bytes())
        spoil_hdf5(rng, path)
        return read_somehow(rng, command, folder, path)

    for kind in kinds:
        files(kind)
    names = [f"{kinds[k % len(kinds)]}:{k // len(kinds)}" for k in range(attempts(0.255))]
    with without_work():
        campaign.run(names, attempt, seconds=60)
    campaign.conclude()


def arrays(rng):
    n, d = 16, int(rng.integers(2, 4))
    return {
        "position": rng.uniform(0, 5, (n, d)),
        "box": np.full(d, 5.0) if rng.random() < 0.5 else 5 * np.eye(d) + np.triu(np.ones((d, d)), 1),
        "species": np.repeat([0, 1], n // 2),
        "species_names": np.array(["A", "B"]),
        "diameters": np.full(n, 1.0),
    }


def written_npz(held):
    stream = io.BytesIO()
    np.savez(stream, **held)
    return stream.getvalue()


def spoilt_npz(rng):
    held = arrays(rng)
    name = str(rng.choice(NAMES))
    way = rng.integers(12)
    if way == 0:
        del held[name]
    elif way == 1:
        held[name.upper()] = held.pop(name)
    elif way == 2:
        held[name] = np.array([{}, None], dtype=object)
    elif way == 3:
        kinds = ["f4", "i4", "c16", "U8", "S8", "?", "M8[s]", "f2", "g", "u1", ">i8", [("a", "f8")]]
        with np.errstate(all="ignore"):
            try:
                held[name] = held[name].astype(kinds[rng.integers(len(kinds))])
            except ValueError:
                held[name] = np.zeros(3)
    elif way == 4:
        held[name] = other_shape(rng, held[name])
    elif way == 5 and name != "species_names":
        held[name] = other_values(rng, held[name])
    elif way == 6:
        names = [
            ["A", "A"],
            ["A"],
            ["", "B"],
            ["A", "B", "C"],
            ["A\n", "B"],
            ["A,B", "B"],
            ["\x1b[31m", "B"],
            ["ß", "B"],
        ]
        held["species_names"] = np.array(names[rng.integers(len(names))])
    elif way == 7:
        held["species"] = np.full(16, [10**9, 2**62, -1, 15, 1][rng.integers(5)])
        held.pop("species_names")
    elif way == 8:
        return giant_npz(rng, held, name)
    elif way == 9:
        held = {key: np.asfortranarray(value) for key, value in held.items()}
    else:
        return change_bytes(rng, written_npz(held))
    return written_npz(held)


def giant_npz(rng, held, name):
    """Let an array's header announce more than there is, or an array appear twice."""
    stream, whole = io.BytesIO(), zipfile.ZipFile(io.BytesIO(written_npz(held)))
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for info in whole.infolist():
            data = whole.read(info)
            if info.filename == f"{name}.npy":
                way = rng.integers(4)
                shape = [(HUGE, 2), (-1, 2), (2**62, 2**62), (0, 2)][way]
                head = io.BytesIO()
                np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
                data = head.getvalue() + bytes(64)
            file.writestr(info.filename, data)
    return stream.getvalue()


def test_a_spoilt_npz_file_is_read_or_refused_in_one_sentence(command, campaign, attempts, without_work):
    def attempt(name, rng, folder):
        (folder / "it.npz").write_bytes(spoilt_npz(rng))
        return start_from(command, folder, folder / "it.npz", "diameters = [1.0]\n" if rng.random() < 0.3 else "").fault

    with without_work():
        campaign.run([f"npz:{k}" for k in range(attempts(0.12))], attempt)
    campaign.conclude()


def test_big_endian_arrays_are_read(command, without_work, tmp_path):
    held = arrays(np.random.default_rng(0))
    held = {
        key: value if value.dtype.kind == "U" else value.astype(f">{value.dtype.str[1:]}")
        for key, value in held.items()
    }
    (tmp_path / "it.npz").write_bytes(written_npz(held))
    with without_work():
        outcome = start_from(command, tmp_path, tmp_path / "it.npz")
    assert (outcome.code, outcome.err, outcome.crash) == (0, "", "")


WORDS = [
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e300",
    "-1",
    "0",
    "x",
    "1.0.0",
    "0x10",
    "1_0",
    "٣",
    "",
    "9" * 5000,
    "Xx",
    "Q",
    "\x00",
]


def spoilt_extxyz(rng, text):
    lines = text.splitlines()
    way = rng.integers(10)
    if way == 0:
        counts = ["0", "-1", "1000000000000", "9" * 5000, "", "16.0", "a", "15", "17", "٣", "1e1", " 16 "]
        lines[0] = counts[rng.integers(len(counts))]
    elif way == 1:
        k = int(rng.integers(2, len(lines)))
        words = lines[k].split()
        words[rng.integers(len(words))] = WORDS[rng.integers(len(WORDS))]
        lines[k] = " ".join(words)
    elif way == 2:
        changes = [
            ("pos:R:3", "pos:R:2"),
            ("pos:R:3", "pos:R:-3"),
            ("pos:R:3", "pos:R:99999999"),
            ("species:S:1", "species:R:1"),
        ]
        changes += [("Properties=", "Propertie="), ("Lattice=", "Latice="), ('pbc="', 'pbc="T '), ("pos:R:3", "x:R:3")]
        changes += [("pos:R:3", "pos:I:3"), ("Z:I:1", "Z:R:1"), ("T", "F"), ("radius:R:1", "radius:S:1"), ("F", "T")]
        changes += [("pos:R:3", "pos:R:3:pos:R:3"), ("radius", "pos"), ("species:S:1:", "")]
        lines[1] = lines[1].replace(*changes[rng.integers(len(changes))])
    elif way == 3:
        words = lines[1].split()
        k = int(rng.integers(len(words)))
        pieces = [
            words[:k] + words[k + 1 :],
            [*words, words[k]],
            [*words[:k], WORDS[rng.integers(len(WORDS))], *words[k + 1 :]],
        ]
        lines[1] = " ".join(pieces[rng.integers(3)])
    elif way == 4:
        k = int(rng.integers(len(lines)))
        lines = lines[:k] + lines[k + 1 :] if rng.random() < 0.5 else [*lines[:k], lines[k], *lines[k:]]
    elif way == 5:
        lines += [lines[0], lines[1]] if rng.random() < 0.5 else lines
    else:
        return change_bytes(rng, text.encode())
    return ("\n".join(lines) + "\n").encode()


def test_a_spoilt_extxyz_file_is_read_or_refused_in_one_sentence(
    command, campaign, attempts, files, without_work, tmp_path
):
    texts = []
    for kind in ("sensitivity", "pressure"):
        path = tmp_path / f"{kind}.extxyz"
        assert command("export", files(kind), "--to", "extxyz", "-o", path).code == 0
        texts.append(path.read_text())

    def attempt(name, rng, folder):
        (folder / "it.xyz").write_bytes(spoilt_extxyz(rng, texts[rng.integers(len(texts))]))
        more = "diameters = [0.6, 1.0]\n" if rng.random() < 0.5 else ""
        return start_from(command, folder, folder / "it.xyz", more).fault

    with without_work():
        campaign.run([f"extxyz:{k}" for k in range(attempts(0.12))], attempt)
    campaign.conclude()


@pytest.mark.parametrize("kind", ["sensitivity", "compress", "member"])
def test_the_unspoilt_file_is_shown(command, files, kind):
    outcome = command("show", files(kind))
    assert (outcome.code, outcome.err, outcome.crash) == (0, "", "")
