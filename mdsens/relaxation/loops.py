"""FIRE and conjugate gradients as loops of machine code: step by step what the rules of ``mdsens.relaxation`` do."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np
from numba import types as nb

from mdsens.energy.native_law import evaluated
from mdsens.machine.compiling import ENERGY, FIELD, LISTED, NUMBERS, compiled

# What a stretch changes besides its fields: places in an array of numbers.
ENERGY_NOW, LARGEST, RESTING, STALE, STEP, MIXING, RISEN, FRACTION = range(8)
N_NOW = 8
# FIRE's constants as jax-md keeps them, in half precision.
_GROWS, _CALMS, FIRST_MIXING = (float(np.float16(value)) for value in (1.1, 0.99, 0.1))
_N_MIN = 5.0
_LAW = (nb.FunctionType(ENERGY), *LISTED)
# now, energies, largest forces, units; free, force, reference, memory, scratch, weights (n, 1)
_RUN = (*(NUMBERS,) * 4, *(FIELD,) * 6)
# skin, tolerances of force and momentum, first and last step, length, longest moves, the rule's number
_LIMITS = (nb.float64, nb.float64, nb.float64, nb.int64, nb.int64, nb.float64, NUMBERS, nb.float64)


@compiled(nb.float64(NUMBERS, nb.int64, nb.int64))
def _square(field, i, d):
    if d == 2:
        return field[2 * i] ** 2 + field[2 * i + 1] ** 2
    if d == 3:
        return field[3 * i] ** 2 + field[3 * i + 1] ** 2 + field[3 * i + 2] ** 2
    total = 0.0
    for c in range(d):
        total += field[i * d + c] ** 2
    return total


@compiled(nb.float64(NUMBERS, nb.int64))
def _longest_row(flat, d):
    """Return the largest norm of rows of d numbers."""
    most = 0.0
    if d == 2:
        for i in range(len(flat) // 2):
            square = flat[2 * i] * flat[2 * i] + flat[2 * i + 1] * flat[2 * i + 1]
            most = square if square > most else most
    else:
        for i in range(len(flat) // d):
            square = _square(flat, i, d)
            most = square if square > most else most
    return math.sqrt(most)


@compiled(nb.float64(FIELD))
def _largest(field):
    flat, total = field.reshape(-1), 0.0
    for k in range(len(flat)):
        total += flat[k]
    return _longest_row(flat, field.shape[1]) + 0.0 * total  # NaN and infinity stay


@compiled(nb.float64(FIELD, FIELD, NUMBERS))
def _farthest(x, reference, moved):
    here, there = x.reshape(-1), reference.reshape(-1)
    for k in range(len(moved)):
        moved[k] = here[k] - there[k]
    return _longest_row(moved, x.shape[1])


@compiled(nb.float64(nb.float64))
def _half(value):
    """Round to half precision, in which jax-md keeps FIRE's time step and mixing."""
    if value == 0.0:
        return value
    part, power = math.frexp(value)
    return math.ldexp(np.rint(part * 2048.0) / 2048.0, power)


@compiled(nb.float64(nb.float64, nb.float64, FIELD, FIELD, FIELD, NUMBERS, nb.float64, NUMBERS))
def _noted(energy, unit, x, force, reference, moved, skin, now):
    """Note the energy, the largest force, which is returned, and whether the list is stale."""
    now[ENERGY_NOW], now[LARGEST] = energy, _largest(force) * unit
    now[STALE] = 1.0 if 2.0 * _farthest(x, reference, moved) > skin else 0.0
    return now[LARGEST]


@compiled(nb.int64(*_LAW, *_RUN, *_LIMITS))
def fire(
    law, x, starts, partner, offset, reach, own, shared,
    now, energies, largest, units, free, force, reference, momentum, scaled, root,
    skin, tolerance, slow, first, last, length, longest, longest_time,
):  # fmt: skip
    """Take steps of FIRE until at rest, stale or at the limit; return how many."""
    n, d = x.shape
    at, pushed, pushes, moving = x.reshape(-1), force.reshape(-1), scaled.reshape(-1), momentum.reshape(-1)
    unit, mass, moved = units[0], units[1], np.empty(n * d)
    dt, mixing, risen = now[STEP], now[MIXING], now[RISEN]
    step = first
    while step < last and now[RESTING] == 0.0 and now[STALE] == 0.0:
        half, whole = np.float64(np.float32(dt / 2.0)), np.float64(np.float32(dt))
        for i in range(n):
            factor = length * root[i, 0]
            for k in range(i * d, i * d + d):
                moving[k] += half * pushes[k]
                pushes[k] = factor * (whole * moving[k] / mass)  # the move, until the forces there are known
            square, most = _square(pushes, i, d), longest[i] if len(longest) > 1 else longest[0]
            shorter = most / math.sqrt(square) if square > most * most else 1.0
            for k in range(i * d, i * d + d):
                at[k] += pushes[k] * shorter
        energy = evaluated(law, x, starts, partner, offset, reach, own, shared, free, force, unit)
        force_size, momentum_size, power = 1e-6, 0.0, 0.0
        for i in range(n):
            factor = length * root[i, 0]
            for k in range(i * d, i * d + d):
                f = factor * pushed[k]
                p = moving[k] + half * f
                pushes[k], moving[k] = f, p
                force_size += f * f
                momentum_size += p * p
                power += f * p
        along = math.sqrt(momentum_size) / math.sqrt(force_size)
        keeps, fastest = 1.0 if power >= 0.0 else 0.0, 0.0
        for i in range(n):
            for k in range(i * d, i * d + d):
                p = moving[k]
                moving[k] = keeps * (p + mixing * (pushes[k] * along - p))
            fastest = max(fastest, _square(moving, i, d) / (root[i, 0] * root[i, 0]))
        risen = risen + 1.0 if power >= 0.0 else 0.0
        if power > 0.0 and risen > _N_MIN:
            dt, mixing = min(_half(dt * _GROWS), longest_time), _half(mixing * _CALMS)
        if power < 0.0:
            dt, mixing = 0.5 * dt, FIRST_MIXING
        energies[step] = energy * unit
        largest[step] = top = _noted(energy, unit, x, force, reference, moved, skin, now)
        moves = top > tolerance or math.sqrt(fastest) * (unit / length) > slow
        now[RESTING] = 0.0 if moves and top == top else 1.0
        step += 1
    now[STEP], now[MIXING], now[RISEN] = dt, mixing, risen
    return step


@compiled(nb.float64(NUMBERS, NUMBERS))
def _inner(a, b):
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@compiled(nb.void(NUMBERS, NUMBERS, NUMBERS, nb.float64))
def _go(x, begin, direction, fraction):
    for k in range(len(x)):
        x[k] = begin[k] + fraction * direction[k]


@compiled(nb.float64(NUMBERS, NUMBERS, NUMBERS))
def _steepest(direction, pushed, light):
    """Fill the direction with the forces on light particles; return the slope along it."""
    slope = 0.0
    for k in range(len(light)):
        direction[k] = light[k] * pushed[k]
        slope += pushed[k] * direction[k]
    return slope


@compiled(nb.float64(NUMBERS, NUMBERS, NUMBERS, nb.int64))
def _largest_fraction(direction, longest, moved, d):
    """Return how far along the direction no particle moves farther than it may."""
    if len(longest) == 1:
        return longest[0] / max(_longest_row(direction, d), 1e-300)
    for i in range(len(longest)):
        for k in range(i * d, i * d + d):
            moved[k] = direction[k] / longest[i]
    return 1.0 / max(_longest_row(moved, d), 1e-300)


@compiled(nb.void(NUMBERS, NUMBERS, NUMBERS, NUMBERS, nb.boolean))
def _turn(direction, pushed, before, light, moved):
    """Turn to the next conjugate direction (Polak and Ribiere's), or to the steepest one where no step was taken."""
    size, gain = 0.0, 0.0
    for k in range(len(light)):
        size += light[k] * before[k] * before[k]
        gain += light[k] * pushed[k] * (pushed[k] - before[k])
    weight = max(gain / max(size, 1e-300), 0.0)
    if moved:
        for k in range(len(light)):
            direction[k] = light[k] * pushed[k] + weight * direction[k]
    else:
        for k in range(len(light)):
            direction[k] = light[k] * before[k]


@compiled(nb.int64(*_LAW, *_RUN, *_LIMITS))
def conjugate_gradient(
    law, x, starts, partner, offset, reach, own, shared,
    now, energies, largest, units, free, force, reference, memory, scratch, weights,
    skin, tolerance, slow, first, last, length, longest, slack,
):  # fmt: skip
    """Take line searches until at rest, stale or at the limit; return how many."""
    d = x.shape[1]
    at, pushed, direction, begin = x.reshape(-1), force.reshape(-1), memory.reshape(-1), scratch.reshape(-1)
    before, moved, light = np.empty_like(pushed), np.empty_like(pushed), np.repeat(weights.reshape(-1), d)
    unit, softness, energy, fraction = units[0], units[2], now[ENERGY_NOW], now[FRACTION]
    step = first
    while step < last and now[RESTING] == 0.0 and now[STALE] == 0.0:
        guess, slope = fraction, _inner(pushed, direction)
        if not slope > 0.0:
            guess, slope = 0.5 * softness, _steepest(direction, pushed, light)
        most = _largest_fraction(direction, longest, moved, d)
        fraction = min(guess, most)
        begin[:], before[:] = at, pushed
        _go(at, begin, direction, fraction)
        height = evaluated(law, x, starts, partner, offset, reach, own, shared, free, force, unit)
        curvature = slope - _inner(pushed, direction)
        best = fraction * slope / curvature if curvature > 0.0 else 2.0 * fraction
        best = min(max(best, 0.1 * fraction), most)
        taken = fraction
        if not (abs(best - fraction) <= slack * fraction and height <= energy):
            ceiling, shrinks, taken = energy + 1e-13 * abs(energy), 0, best
            while True:
                _go(at, begin, direction, taken)
                height = evaluated(law, x, starts, partner, offset, reach, own, shared, free, force, unit)
                if height <= ceiling or shrinks == 8:
                    break
                taken, shrinks = 0.25 * taken, shrinks + 1
            if not height <= ceiling:
                taken, height = 0.0, energy
                at[:], pushed[:] = begin, before
        _turn(direction, pushed, before, light, taken > 0.0)
        energy, fraction = height, taken if taken > 0.0 else 0.1 * fraction
        energies[step] = energy * unit
        largest[step] = top = _noted(energy, unit, x, force, reference, moved, skin, now)
        now[RESTING] = 0.0 if (top > tolerance or slow < 0.0) and top == top else 1.0
        step += 1
    now[FRACTION] = fraction
    return step
