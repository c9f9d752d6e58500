"""A parameter named twice is refused by every command before anything is computed."""

import pytest

SHIPPED = {
    "sensitivity": ("sensitivity.toml", "sensitivity.parameters"),
    "observables": ("observables.toml", "observables.parameters"),
    "spectrum": ("spectrum.toml", "spectrum.parameters"),
    "thermal": ("thermal.toml", "thermal.parameters"),
    "fit": ("fit_soft_sphere.toml", "fit.parameters"),
}


@pytest.mark.parametrize(
    ("command", "shipped", "key"), [(name, *where) for name, where in SHIPPED.items()], ids=SHIPPED
)
def test_an_entry_named_by_itself_and_by_its_prefix_is_refused(mdsens, pytestconfig, tmp_path, command, shipped, key):
    law = "lennard_jones" if command == "thermal" else "soft_sphere"
    names = f'["{law}.epsilon", "{law}.sigma", "{law}.epsilon "]'
    outcome = mdsens(command, pytestconfig.rootpath / "workflows" / shipped, f"--{key}", names, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert f"{law}.epsilon" in outcome.sentence
    assert "named 2 times" in outcome.sentence
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
