"""``mdsens observables CONFIG.toml``: what is measured at a relaxed state, and how it responds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from mdsens import io
from mdsens.config import Names, OutputOptions, Section
from mdsens.contacts import Network
from mdsens.energy import PairPotential, State
from mdsens.energy.paths import select
from mdsens.observables import (
    Independence,
    Workbench,
    check_names,
    contact_number,
    independence,
    isostatic_contact_number,
    made,
    overlap_distribution,
    rattler_fraction,
)
from mdsens.relaxation import Relaxation
from mdsens.response import linear_response
from mdsens.sensitivity import ObservableSensitivity, observable_sensitivities
from mdsens.types import Configuration
from workflows.state import Answer, StateSections, Workflow, nothing_asked


class ObservablesOptions(Section):
    """The ``[observables]`` section."""

    names: Names = Field(description='observables by name, such as "bulk_modulus", "C44" or "bond_order[6]"')
    parameters: Names = Field(description='parameters by path, such as "soft_sphere.sigma[A,B]"')
    target: str | None = Field(None, min_length=1, description='file of the structure that "distance" is measured from')


class Config(StateSections):
    """The whole file."""

    observables: ObservablesOptions
    output: OutputOptions = OutputOptions(name="observables")


def refuse_unknown_names(state: State, config: Config) -> None:
    """Look every name up, and read the target."""
    check_names(config.observables.names)
    select(state, config.observables.parameters)
    read_target(config.observables)


def counts_alone(found: Relaxation) -> Answer:
    """Return what is known before anything is differentiated."""
    return nothing_asked(found, {"counts": counted(found)})


def answer(found: Relaxation, config: Config) -> Answer:
    """Return the derivatives, how independent they are, and counts."""
    counts, derivatives = counts_alone(found), differentiate(found, config.observables)
    analyses = {**counts.analyses, "independence": tables(independence(derivatives))}
    return Answer(counts.positions, derivatives, analyses=analyses)


def read_target(options: ObservablesOptions) -> Configuration | None:
    """Return the structure that "distance" is measured from, if there is one."""
    return None if options.target is None else io.read_configuration(Path(options.target))[0]


def differentiate(found: Relaxation, options: ObservablesOptions) -> tuple[ObservableSensitivity, ...]:
    """Return dO/dp of everything asked for, at fixed box or at constant pressure."""
    response = linear_response(found)
    bench = Workbench.at(response, read_target(options))
    wanted = {name: made(name, bench) for name in options.names}
    return observable_sensitivities(response, wanted, select(response.state, options.parameters))


def counted(found: Relaxation) -> dict[str, np.ndarray]:
    """Return what is counted and has no derivative."""
    state, network = found.loaded, found.network
    numbers: dict[str, np.ndarray] = {name: np.array(value) for name, value in _counts(network, state).items()}
    if isinstance(state.potential, PairPotential) and state.potential.contact and network.n_contacts:
        density, edges = overlap_distribution(state)
        numbers |= {"overlap_density": density, "overlap_edges": edges}
    return numbers


def _counts(network: Network, state: State) -> dict[str, float]:
    rattlers = {"rattlers": float(network.n_rattlers), "rattler_fraction": rattler_fraction(network)}
    if not isinstance(state.potential, PairPotential):  # of which pairs touch, only a pair law can tell
        return rattlers
    isostatic = isostatic_contact_number(network, state.configuration.dimension)
    return {
        "contacts": float(network.n_contacts),
        "contact_number": contact_number(network),
        "isostatic_contact_number": isostatic,
        **rattlers,
    }


def tables(answer: Independence) -> dict[str, np.ndarray]:
    """Return the arrays of the analysis."""
    names = {"observables": np.array(answer.observables), "parameters": np.array(answer.parameters)}
    arrays = ("jacobian", "error", "values", "parameter_values", "relative", "singular_values", "independent")
    directions = ("observable_directions", "parameter_directions")
    return (
        names
        | {name: getattr(answer, name) for name in (*arrays, *directions)}
        | {"noise": np.array(answer.noise), "rank": np.array(answer.rank)}
    )


def print_tables(path: Path, found: Answer) -> None:
    """Print values, the strongest derivative of each, and how independent they are."""
    answer, counts = independence(found.observables), found.analyses["counts"]
    table = Table(title=f"observables, and their derivatives in {len(answer.parameters)} parameters")
    for name in ("observable", "value", "strongest in", "derivative", "error", "own part"):
        table.add_column(name, justify="left" if name in ("observable", "strongest in") else "right")
    for row, name in enumerate(answer.observables):
        k = int(np.argmax(np.abs(answer.relative[row])))
        numbers = f"{answer.jacobian[row, k]:.5g}", f"{answer.error[row, k]:.0e}", f"{answer.independent[row]:.2f}"
        table.add_row(name, f"{answer.values[row]:.6g}", answer.parameters[k], *numbers)
    console = Console()
    console.print(table)
    console.print("own part: of a response, what no combination of the other observables shares")
    singular = ", ".join(f"{value:.2g}" for value in answer.singular_values)
    console.print(f"singular values of the relative derivatives: {singular} (noise {answer.noise:.0e})")
    console.print(f"{answer.rank} of {len(answer.observables)} observables can be tuned independently")
    counted_words = ", ".join(f"{name} {float(value):.6g}" for name, value in counts.items() if np.ndim(value) == 0)
    console.print(f"counts, without derivative: {counted_words}")


WORKFLOW = Workflow("observables", Config, answer, look_up=refuse_unknown_names, known=counts_alone, show=print_tables)
run = WORKFLOW.run
