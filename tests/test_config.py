"""Configurations: every way to get one wrong gives one sentence that names key, value, range and nearest name."""

import math
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pydantic
import pytest
from pydantic import Field

from mdsens.config import (
    ConfigError,
    Loaded,
    OutputOptions,
    RegistrySection,
    RelaxationOptions,
    Section,
    SensitivityOptions,
    dump_toml,
    load,
    validate_kind,
    validate_terms,
)
from mdsens.errors import UserError


class Bidisperse(Section):
    kind: Literal["bidisperse"] = "bidisperse"
    n: int = Field(128, ge=1)
    dimension: Literal[2, 3] = 2
    packing_fraction: float = Field(0.98, gt=0, lt=1)
    diameters: tuple[float, float] = (0.6, 1.0)


class Lattice(Section):
    kind: Literal["hexagonal"] = "hexagonal"
    strength: float | tuple[float, ...] = 1.0
    masses: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    file: Path | None = None

    @pydantic.field_validator("strength")
    @classmethod
    def positive(cls, value: Any) -> Any:
        if isinstance(value, float) and value <= 0:
            raise ValueError("it must be greater than 0")
        return value


SYSTEMS = {"bidisperse": SimpleNamespace(Options=Bidisperse), "hexagonal": SimpleNamespace(Options=Lattice)}


class Config(Section):
    system: Annotated[Any, RegistrySection(SYSTEMS, "system")]
    relaxation: RelaxationOptions = RelaxationOptions()
    sensitivity: SensitivityOptions = SensitivityOptions(parameters=("soft_sphere.sigma[A,B]",))
    output: OutputOptions


GOOD = """
# a comment that stays in the text
[system]
kind = "bidisperse"
n = 16

[output]
name = "tiny"
"""


def read(folder: Path, text: str = GOOD, overrides: list[str] | None = None) -> Loaded[Config]:
    path = folder / "config.toml"
    path.write_text(text)
    return load(path, schema=Config, overrides=overrides or [])


def sentence(folder: Path, text: str = GOOD, overrides: list[str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message


def test_values_and_defaults_arrive(tmp_path: Path) -> None:
    config = read(tmp_path).config
    assert isinstance(config.system, Bidisperse)
    assert (config.system.n, config.system.diameters) == (16, (0.6, 1.0))
    assert config.relaxation == RelaxationOptions(max_force=1e-12, max_steps=5_000_000, skin=0.3)
    assert config.sensitivity.observables == ("energy", "pressure")
    assert config.output.formats == ("png",)


def test_text_is_kept_and_resolved_loads_to_the_same_config(tmp_path: Path) -> None:
    loaded = read(tmp_path, overrides=["--relaxation.skin", "0.5"])
    assert loaded.text == GOOD
    assert "skin = 0.5" in loaded.resolved
    assert "packing_fraction = 0.98" in loaded.resolved
    assert read(tmp_path, loaded.resolved).config == loaded.config


def test_configs_are_frozen(tmp_path: Path) -> None:
    config = read(tmp_path).config
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.relaxation.skin = 1.0


def test_a_config_error_is_a_user_error_and_a_value_error() -> None:
    assert issubclass(ConfigError, UserError)
    assert issubclass(UserError, ValueError)


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        (["--system.n", "32"], 32),
        (["--system.n=32"], 32),
        (["--system.n", "32", "--system.n=64"], 64),
        (["--system.n=1e2"], 100),
    ],
)
def test_overrides_replace_values(tmp_path: Path, overrides: list[str], value: int) -> None:
    assert read(tmp_path, overrides=overrides).config.system.n == value


def test_overrides_take_lists_negative_numbers_and_bare_text(tmp_path: Path) -> None:
    config = read(tmp_path, overrides=["--system.diameters", "[1, 2.5]", "--output.name", "other"]).config
    assert config.system.diameters == (1.0, 2.5)
    assert config.output.name == "other"
    message = sentence(tmp_path, overrides=["--relaxation.skin", "-1"])
    assert "relaxation.skin = -1" in message


def test_an_override_value_cannot_smuggle_in_a_second_key(tmp_path: Path) -> None:
    assert "output.name" in sentence(tmp_path, overrides=["--output.name", '"a"\nfigures = 3'])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--system.n"], "--system.n has no value"),
        (["--system.n", "--relaxation.skin", "1"], "--system.n has no value"),
        (["system.n", "3"], "system.n is not an override"),
        (["--system.n.x", "3"], "system.n is a value and not a section"),
        (["--relaxation.skim", "3"], "relaxation.skin"),
    ],
)
def test_bad_overrides_are_named(tmp_path: Path, overrides: list[str], expected: str) -> None:
    assert expected in sentence(tmp_path, overrides=overrides)


def test_unknown_key_names_the_nearest_one_and_its_range(tmp_path: Path) -> None:
    message = sentence(tmp_path, GOOD + "\n[relaxation]\nmax_forse = 1e-9\n")
    assert "relaxation.max_forse is not a known key" in message
    assert "did you mean relaxation.max_force (a number > 0 and <= 0.01)" in message
    assert "max_steps" in message


def test_unknown_key_in_a_registry_section_names_the_nearest_one(tmp_path: Path) -> None:
    message = sentence(tmp_path, GOOD.replace("n = 16", "packing_fracton = 0.9"))
    assert "system.packing_fracton is not a known key" in message
    assert "did you mean system.packing_fraction (a number > 0 and < 1)" in message


def test_unknown_section_names_the_nearest_one(tmp_path: Path) -> None:
    message = sentence(tmp_path, GOOD + "\n[relaxtion]\nskin = 1\n")
    assert "relaxtion is not a known key: did you mean relaxation" in message


def test_unknown_key_that_resembles_nothing_lists_the_known_ones(tmp_path: Path) -> None:
    message = sentence(tmp_path, GOOD + "\n[relaxation]\nzzzzzz = 1\n")
    assert "it must be one of max_force, max_steps, minimizer, skin" in message


def test_a_misspelt_key_is_reported_before_the_missing_one(tmp_path: Path) -> None:
    assert "output.nmae is not a known key: did you mean output.name" in sentence(
        tmp_path, GOOD.replace("name =", "nmae =")
    )


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("relaxation.max_force", "0", "a number > 0 and <= 0.01"),
        ("relaxation.max_force", "0.5", "a number > 0 and <= 0.01"),
        ("relaxation.max_steps", "0", "an integer >= 1"),
        ("relaxation.max_steps", "2.5", "an integer >= 1"),
        ("relaxation.max_steps", "true", "an integer >= 1"),
        ("relaxation.skin", "-0.1", "a number >= 0"),
        ("relaxation.skin", '"0.3"', "a number >= 0"),
        ("relaxation.skin", "1979-05-27", "a number >= 0"),
        ("system.packing_fraction", "1.5", "a number > 0 and < 1"),
        ("system.diameters", "[1, 2, 3]", "a list of exactly 2, each a number"),
        ("system.diameters", "[1, true]", "a list of exactly 2, each a number"),
        ("output.figures", "1", "true or false"),
        ("output.name", '"../x"', "a file name"),
        ("output.name", '""', "a file name"),
        ("output.name", '"' + "n" * 101 + '"', "a file name of at most 100 letters"),
        ("sensitivity.parameters", "[]", "a list of at least 1, each text in quotes not empty"),
        ("sensitivity.parameters", '["a", "a"]', "a is repeated"),
    ],
)
def test_value_out_of_range_names_key_value_and_range(tmp_path: Path, key: str, value: str, allowed: str) -> None:
    message = sentence(tmp_path, overrides=[f"--{key}", value])
    assert message.startswith(f"{tmp_path / 'config.toml'}: {key}")
    assert allowed in message
    assert value.strip('"[]').split(",")[0][:50] in message


def test_wrong_entry_of_a_list_is_named_with_its_place(tmp_path: Path) -> None:
    message = sentence(tmp_path, overrides=["--output.formats", '["png", "pgn"]'])
    assert (
        'output.formats[1] = "pgn" is not allowed: it must be one of "png", "pdf", "svg"; did you mean "png"?'
        in message
    )


def test_wrong_entry_of_an_optional_list_is_named_with_its_range(tmp_path: Path) -> None:
    message = sentence(tmp_path, overrides=["--system.kind=hexagonal", "--system.masses=[1, -2]", "--system.n=1"])
    assert "system.n is not a known key" in message
    text = '[system]\nkind = "hexagonal"\nmasses = [1, -2]\n[output]\nname = "x"\n'
    assert "system.masses[1] = -2 is not allowed: it must be a number > 0" in sentence(tmp_path, text)


def test_misspelt_kind_names_the_nearest_one(tmp_path: Path) -> None:
    message = sentence(tmp_path, overrides=["--system.kind", "bidispers"])
    assert 'system.kind = "bidispers" is not allowed' in message
    assert 'one of "bidisperse", "hexagonal"; did you mean "bidisperse"?' in message


@pytest.mark.parametrize("section", ["system = 3", "system = {n = 3}", "system = {kind = 3}", ""])
def test_a_registry_section_without_a_valid_kind_lists_the_kinds(tmp_path: Path, section: str) -> None:
    message = sentence(tmp_path, f'{section}\n[output]\nname = "x"\n')
    assert "system" in message
    assert "bidisperse" in message
    assert "hexagonal" in message


@pytest.mark.parametrize("value", ["4", "0", "-1", '"3"', "nan", "[2]", "true", "9" * 100, "0x" + "f" * 5000])
def test_a_number_that_is_none_of_the_choices_lists_them(tmp_path: Path, value: str) -> None:
    message = sentence(tmp_path, overrides=["--system.dimension", value])
    assert "system.dimension = " in message
    assert message.endswith("it must be one of 2, 3")


LONG = {"decimal": "9" * 5000, "hexadecimal": "0x" + "f" * 5000, "within Python's limit": "9" * 400}


@pytest.mark.parametrize(
    "key", ["system.n", "system.packing_fraction", "system.kind", "output.name", "system.diameters"]
)
@pytest.mark.parametrize("form", ["{}", "[{}]", "[{{a = {}}}]"])
@pytest.mark.parametrize("number", LONG.values(), ids=LONG)
def test_an_integer_of_thousands_of_digits_is_refused_in_few_words(
    tmp_path: Path, key: str, form: str, number: str
) -> None:
    message = sentence(tmp_path, overrides=[f"--{key}={form.format(number)}"])
    assert key in message
    assert len(message) < len(str(tmp_path)) + 300
    assert sentence(tmp_path, GOOD + f"n = {form.format(number)}\n")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    loaded = read(tmp_path, "\ufeff" + GOOD)
    assert loaded.text == GOOD


def test_a_validator_of_a_registry_section_speaks_for_itself(tmp_path: Path) -> None:
    text = '[system]\nkind = "hexagonal"\nstrength = -2.0\n[output]\nname = "x"\n'
    assert "system.strength = -2.0 is not allowed: it must be greater than 0" in sentence(tmp_path, text)


def test_missing_section_or_key_is_named(tmp_path: Path) -> None:
    assert "output is missing: it must be a section with the keys name" in sentence(
        tmp_path, '[system]\nkind = "bidisperse"'
    )
    assert "output.name is missing: it must be a file name" in sentence(
        tmp_path, '[system]\nkind = "bidisperse"\n[output]'
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("key", ["relaxation.max_force", "relaxation.skin", "system.packing_fraction", "system.n"])
def test_nan_and_infinity_are_refused_by_name(tmp_path: Path, key: str, value: str) -> None:
    assert f"{key} = " in sentence(tmp_path, overrides=[f"--{key}={value}"])


def test_nan_inside_lists_and_unions_is_refused_by_name(tmp_path: Path) -> None:
    message = sentence(tmp_path, overrides=["--system.diameters=[1.0, nan]"])
    assert "system.diameters[1] = nan is not allowed: it must be finite, a number" in message
    text = '[system]\nkind = "hexagonal"\nstrength = [1.0, inf]\n[output]\nname = "x"\n'
    assert "system.strength[1] = inf is not allowed: it must be finite" in sentence(tmp_path, text)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml does not exist"):
        load(tmp_path / "none.toml", schema=Config)
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path, schema=Config)
    (tmp_path / "binary").write_bytes(b"\x89HDF\r\n\x1a\n\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(tmp_path / "binary", schema=Config)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "binary" / "under_a_file", schema=Config)


def test_broken_toml_names_line_and_column(tmp_path: Path) -> None:
    assert "line 2, column 5" in sentence(tmp_path, "[system]\nn = = 3\n")
    assert "line" in sentence(tmp_path, GOOD + GOOD)


def test_validate_kind_accepts_options_that_are_already_built() -> None:
    options = Bidisperse(n=8)
    assert validate_kind(options, registry=SYSTEMS, section="system") is options


def test_dumped_toml_reads_back_to_the_same_data() -> None:
    data = {
        "top": 1,
        "text": 'quote " backslash \\ tab \t del \x7f smile \N{GRINNING FACE}',
        "numbers": [1, -2.5, 1e-12, 1e16, 1.7976931348623157e308],
        "section": {"flag": True, "odd key": [], "deep": {"x": 0.1}, "tables": [{"a": 1}, {"b c": "d"}]},
        "empty": {},
    }
    assert tomllib.loads(dump_toml(data)) == data


def test_dump_toml_refuses_what_toml_cannot_say() -> None:
    with pytest.raises(TypeError, match="no TOML form"):
        dump_toml({"x": None})


def test_sections_built_in_python_refuse_nan() -> None:
    with pytest.raises(pydantic.ValidationError, match="finite"):
        RelaxationOptions(skin=math.nan)


class Several(Section):
    parts: Annotated[Any, RegistrySection(SYSTEMS, "parts", several=True)]


TERMS = """
[[parts]]
kind = "bidisperse"
n = 2

[[parts]]
kind = "bidisperse"
name = "other"
"""


def several(folder: Path, text: str = TERMS, overrides: list[str] | None = None) -> Loaded[Several]:
    path = folder / "config.toml"
    path.write_text(text)
    return load(path, schema=Several, overrides=overrides or [])


def test_tables_of_an_array_are_named_by_their_kind_or_as_they_say(tmp_path: Path) -> None:
    loaded = several(tmp_path)
    assert [(part.name, part.n) for part in loaded.config.parts] == [("bidisperse", 2), ("other", 128)]
    assert loaded.resolved.count("[[parts]]") == 2
    assert several(tmp_path, loaded.resolved).config == loaded.config
    assert validate_terms(loaded.config.parts, registry=SYSTEMS, section="parts") == loaded.config.parts


def test_a_single_table_has_no_name_and_stays_one(tmp_path: Path) -> None:
    loaded = several(tmp_path, '[parts]\nkind = "bidisperse"\n')
    assert loaded.config.parts == Bidisperse()
    with pytest.raises(ConfigError, match=r"parts\.name is not a known key"):
        several(tmp_path, '[parts]\nkind = "bidisperse"\nname = "x"\n')


def test_overrides_reach_the_table_of_a_name(tmp_path: Path) -> None:
    loaded = several(tmp_path, overrides=["--parts.other.n", "5", "--parts.bidisperse.diameters=[1, 2]"])
    assert [part.n for part in loaded.config.parts] == [2, 5]
    assert loaded.config.parts[0].diameters == (1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        (TERMS, ["--parts.n=3"], 'parts]] are named "bidisperse", "other"; write --parts.NAME.KEY'),
        (TERMS, ["--parts.0.n=3"], 'parts]] are named "bidisperse", "other"; write --parts.NAME.KEY'),
        (TERMS, ["--parts.other=3"], 'parts]] are named "bidisperse", "other"; write --parts.NAME.KEY'),
        (TERMS, ["--parts.other.n=0"], "parts.other.n = 0 is not allowed: it must be an integer >= 1"),
        (TERMS, ["--parts.other.m=0"], "parts.other.m is not a known key: it must be one of kind, n, "),
        (TERMS, ["--parts.other.name=bidisperse"], 'two of [[parts]] are named "bidisperse": give each a name of its'),
        (TERMS, ["--parts.other.name=a.b"], 'parts[1].name = "a.b" is not allowed: a name has at most 50 letters'),
        (TERMS, ["--parts.other.name=box"], 'parts[1].name = "box" is not allowed'),
        (TERMS, ["--parts.other.kind=hexagona"], 'parts[1].kind = "hexagona" is not allowed'),
        ("parts = []", [], "parts is an empty list: it must be at least one section headed [[parts]]"),
        ("parts = [3]", [], "parts[0] must be a section with a kind"),
        ("[[parts]]", [], "parts[0].kind is missing"),
        ("", [], "or several of them, each headed [[parts]]"),
    ],
)
def test_a_wrong_array_of_tables_is_one_sentence(tmp_path: Path, text: str, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        several(tmp_path, text, overrides)
    assert words in str(caught.value)
