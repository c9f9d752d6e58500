"""FIRE and conjugate gradients as loops of machine code: step by step what the rules of ``mdsens.relaxation`` do."""

# ruff: noqa: ANN001, ANN202
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np
from numba import types as nb

from mdsens.native.compiling import ENERGY, FIELD, LISTED, compiled

# What a stretch changes besides its fields, and what it is told: places in an array of numbers.
ENERGY_NOW, LARGEST, RESTING, STALE, STEP, MIXING, RISEN, FRACTION = range(8)
_ROW = nb.float64[::1]
_RUN = (_ROW, _ROW, _ROW, _ROW, FIELD, FIELD, FIELD, FIELD)
_LIMITS = (nb.float64, nb.float64, nb.float64, nb.int64, nb.int64)


@compiled(nb.float64(FIELD))
def _largest(field):
    most = 0.0
    for i in range(field.shape[0]):
        square = 0.0
        for c in range(field.shape[1]):
            square += field[i, c] * field[i, c]
        if not square <= most:  # NaN stays
            most = square
            if square != square:
                return square
    return math.sqrt(most)


@compiled(nb.float64(nb.FunctionType(ENERGY), *LISTED, FIELD, FIELD, nb.float64))
def _evaluated(law, x, kind, table, reach, starts, partner, offset, free, force, unit):
    """Return the energy and fill the forces, in units of the scales, zero where nothing may move."""
    energy = law(x, kind, table, reach, starts, partner, offset, force)
    for i in range(force.shape[0]):
        for c in range(force.shape[1]):
            force[i, c] = force[i, c] / unit
            if free.shape[0] and free[i, c] == 0.0:
                force[i, c] = 0.0
    return energy / unit


@compiled(nb.float64(FIELD, FIELD))
def _farthest(x, reference):
    most = 0.0
    for i in range(x.shape[0]):
        square = 0.0
        for c in range(x.shape[1]):
            square += (x[i, c] - reference[i, c]) ** 2
        most = max(most, square)
    return math.sqrt(most)


@compiled(nb.float64(nb.float64))
def _half(value):
    """Round to half precision, in which jax-md keeps FIRE's time step and mixing."""
    if value == 0.0:
        return value
    part, power = math.frexp(value)
    return math.ldexp(np.rint(part * 2048.0) / 2048.0, power)


@compiled(nb.int64(nb.FunctionType(ENERGY), *LISTED, *_RUN, FIELD, FIELD, *_LIMITS, nb.float64, _ROW, nb.float64))
def fire(
    law, x, kind, table, reach, starts, partner, offset,
    now, energies, largest, units, free, force, reference, momentum,
    scaled, root, skin, tolerance, slow, first, last, length, longest, longest_time,
):  # fmt: skip
    """Take steps of FIRE until at rest, stale or at the limit; return how many."""
    n, d = x.shape
    unit, mass = units[0], units[1]
    dt, mixing, risen = now[STEP], now[MIXING], now[RISEN]
    step = first
    while step < last and now[RESTING] == 0.0 and now[STALE] == 0.0:
        half = np.float64(np.float32(dt / 2.0))
        whole = np.float64(np.float32(dt))
        for i in range(n):
            square = 0.0
            factor = length * root[i, 0]
            for c in range(d):
                momentum[i, c] += half * scaled[i, c]
                move = factor * (whole * momentum[i, c] / mass)
                scaled[i, c] = move  # until the forces there are known
                square += move * move
            most = longest[i] if longest.shape[0] > 1 else longest[0]
            shorter = most / math.sqrt(square) if square > most * most else 1.0
            for c in range(d):
                x[i, c] += scaled[i, c] * shorter
        energy = _evaluated(law, x, kind, table, reach, starts, partner, offset, free, force, unit)
        force_size, momentum_size, power = 1e-6, 0.0, 0.0
        for i in range(n):
            factor = length * root[i, 0]
            for c in range(d):
                f = factor * force[i, c]
                scaled[i, c] = f
                p = momentum[i, c] + half * f
                momentum[i, c] = p
                force_size += f * f
                momentum_size += p * p
                power += f * p
        along = math.sqrt(momentum_size) / math.sqrt(force_size)
        keeps = power >= 0.0
        fastest = 0.0
        for i in range(n):
            square = 0.0
            for c in range(d):
                p = momentum[i, c]
                p = p + mixing * (scaled[i, c] * along - p)
                p = p if keeps else 0.0 * p
                momentum[i, c] = p
                square += (p / root[i, 0]) ** 2
            fastest = max(fastest, square)
        risen = risen + 1.0 if power >= 0.0 else 0.0
        if power > 0.0 and risen > 5.0:
            dt = min(_half(dt * 1.099609375), longest_time)
            mixing = _half(mixing * 0.98974609375)
        if power < 0.0:
            dt = dt * 0.5
            mixing = 0.0999755859375
        top = _largest(force) * unit
        energies[step], largest[step] = energy * unit, top
        now[ENERGY_NOW], now[LARGEST] = energy, top
        now[STALE] = 1.0 if 2.0 * _farthest(x, reference) > skin else 0.0
        moving = top > tolerance or math.sqrt(fastest) * (unit / length) > slow
        now[RESTING] = 0.0 if moving and top == top else 1.0
        step += 1
    now[STEP], now[MIXING], now[RISEN] = dt, mixing, risen
    return step


@compiled(nb.float64(FIELD, FIELD))
def _inner(a, b):
    total = 0.0
    for i in range(a.shape[0]):
        for c in range(a.shape[1]):
            total += a[i, c] * b[i, c]
    return total


@compiled(nb.void(FIELD, FIELD, FIELD, nb.float64))
def _along(x, begin, direction, fraction):
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            x[i, c] = begin[i, c] + fraction * direction[i, c]


@compiled(nb.int64(nb.FunctionType(ENERGY), *LISTED, *_RUN, FIELD, FIELD, *_LIMITS, nb.float64, _ROW, nb.float64))
def conjugate_gradient(
    law, x, kind, table, reach, starts, partner, offset,
    now, energies, largest, units, free, force, reference, direction,
    scaled, lightness, skin, tolerance, slow, first, last, length, longest, slack,
):  # fmt: skip
    """Take line searches until at rest, stale or at the limit; return how many."""
    n, d = x.shape
    unit, softness = units[0], units[2]
    begin, before, energy, fraction = scaled, np.empty_like(force), now[ENERGY_NOW], now[FRACTION]
    step = first
    while step < last and now[RESTING] == 0.0 and now[STALE] == 0.0:
        guess = fraction
        if not _inner(force, direction) > 0.0:
            guess = 0.5 * softness
            for i in range(n):
                for c in range(d):
                    direction[i, c] = lightness[i, 0] * force[i, c]
        slope = _inner(force, direction)
        far = 0.0
        for i in range(n):
            square = 0.0
            most = longest[i] if longest.shape[0] > 1 else 1.0
            for c in range(d):
                square += (direction[i, c] / most) ** 2
            far = max(far, square)
        most = (1.0 if longest.shape[0] > 1 else longest[0]) / max(math.sqrt(far), 1e-300)
        fraction = min(guess, most)
        for i in range(n):
            for c in range(d):
                begin[i, c], before[i, c] = x[i, c], force[i, c]
        _along(x, begin, direction, fraction)
        height = _evaluated(law, x, kind, table, reach, starts, partner, offset, free, force, unit)
        curvature = slope - _inner(force, direction)
        best = fraction * slope / curvature if curvature > 0.0 else 2.0 * fraction
        best = min(max(best, 0.1 * fraction), most)
        taken = fraction
        if not (abs(best - fraction) <= slack * fraction and height <= energy):
            ceiling = energy + 1e-13 * abs(energy)
            taken = best
            shrinks = 0
            while True:
                _along(x, begin, direction, taken)
                height = _evaluated(law, x, kind, table, reach, starts, partner, offset, free, force, unit)
                if height <= ceiling or shrinks == 8:
                    break
                taken = 0.25 * taken
                shrinks += 1
            if not height <= ceiling:
                taken, height = 0.0, energy
                for i in range(n):
                    for c in range(d):
                        x[i, c], force[i, c] = begin[i, c], before[i, c]
        size, gain = 0.0, 0.0
        for i in range(n):
            light = lightness[i, 0]
            for c in range(d):
                size += light * before[i, c] * before[i, c]
                gain += light * force[i, c] * (force[i, c] - before[i, c])
        weight = gain / max(size, 1e-300)
        weight = max(weight, 0.0) if weight == weight else weight
        for i in range(n):
            light = lightness[i, 0]
            for c in range(d):
                if taken > 0.0:
                    direction[i, c] = light * force[i, c] + weight * direction[i, c]
                else:
                    direction[i, c] = light * before[i, c]
        energy, fraction = height, taken if taken > 0.0 else 0.1 * fraction
        top = _largest(force) * unit
        energies[step], largest[step] = energy * unit, top
        now[ENERGY_NOW], now[LARGEST] = energy, top
        now[STALE] = 1.0 if 2.0 * _farthest(x, reference) > skin else 0.0
        now[RESTING] = 0.0 if top > tolerance or 0.0 > slow else 1.0
        step += 1
    now[FRACTION] = fraction
    return step


@compiled(nb.float64(nb.FunctionType(ENERGY), *LISTED, FIELD, FIELD, nb.float64))
def evaluated(law, x, kind, table, reach, starts, partner, offset, free, force, unit):
    """Return the energy and fill the forces, in units of the scales, zero where nothing may move."""
    return _evaluated(law, x, kind, table, reach, starts, partner, offset, free, force, unit)
