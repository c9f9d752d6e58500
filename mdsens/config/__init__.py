"""TOML to validated, frozen records: an unknown key, a misspelt kind or a value out of range is one clear sentence.

A workflow declares its sections as one ``Section``; the registries of systems and potentials come in as arguments::

    class Config(Section):
        system: Annotated[Any, RegistrySection(systems.REGISTRY, "system")]
        relaxation: RelaxationOptions = RelaxationOptions()

    loaded = load(path, schema=Config, overrides=["--relaxation.skin", "0.5"])
    loaded.config.relaxation.skin
"""

from mdsens.config.loading import Loaded, dump_toml, load, load_text, read_toml
from mdsens.config.sections import (
    Names,
    OutputOptions,
    RegistrySection,
    RelaxationOptions,
    Section,
    SensitivityOptions,
    distinct,
    validate_kind,
    validate_terms,
)
from mdsens.config.validation import ConfigError, nearest, validate

__all__ = [
    "ConfigError",
    "Loaded",
    "Names",
    "OutputOptions",
    "RegistrySection",
    "RelaxationOptions",
    "Section",
    "SensitivityOptions",
    "distinct",
    "dump_toml",
    "load",
    "load_text",
    "nearest",
    "read_toml",
    "validate",
    "validate_kind",
    "validate_terms",
]
