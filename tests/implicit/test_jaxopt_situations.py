"""What users of jaxopt write, with nothing but the names exchanged: ridge regression in every way of calling it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.errors import NumericalError
from mdsens.implicit import (
    DenseCholesky,
    NullSpace,
    SparseDirect,
    fixed_point,
    joint,
    jvp,
    kkt,
    projected_gradient,
    root,
    stationary,
    vjp,
)

N, M = 30, 4
LAM = 3.0


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    return jnp.asarray(generator.standard_normal((N, M))), jnp.asarray(generator.standard_normal(N))


def loss(x, lam, X, y):
    return 0.5 * jnp.sum((X @ x - y) ** 2) + 0.5 * lam * jnp.sum(x**2)


optimality = jax.grad(loss)


def closed(lam, X, y):
    return jnp.linalg.solve(X.T @ X + lam * jnp.eye(M), X.T @ y)


def condition_in_another_order(x, X, y, lam):
    return optimality(x, lam, X, y)


def ridge(init, lam, X, y):
    del init
    return closed(lam, X, y)


def opaque(function):
    """A solver whose own derivatives are of no use."""

    @functools.wraps(function)
    def solver(*args, **kwargs):
        return jax.lax.stop_gradient(function(*args, **kwargs))

    return solver


@pytest.fixture(scope="module")
def slope(data):
    return jax.jacfwd(closed)(LAM, *data)


def test_vjp_by_the_rows_of_the_identity(data, slope):
    x = closed(LAM, *data)

    def condition(x, lam):
        return optimality(x, lam, *data)

    rows = jax.vmap(lambda g: vjp(condition, x, (LAM,), g)[0][0])(jnp.eye(M))
    np.testing.assert_allclose(rows, slope, rtol=1e-12)


def test_jvp_along_one_parameter(data, slope):
    x = closed(LAM, *data)

    def condition(x, lam):
        return optimality(x, lam, *data)

    found, certificate = jvp(condition, x, (LAM,), (1.0,))
    np.testing.assert_allclose(found, slope, rtol=1e-12)
    assert certificate.condition < 1e-12
    under_jit, traced = jax.jit(lambda t: jvp(condition, x, (LAM,), (t,)))(2.0)
    np.testing.assert_allclose(under_jit, 2 * slope, rtol=1e-12)
    assert traced.residual.shape == (1,)


@pytest.mark.parametrize("derivative", [jax.jacrev, jax.jacfwd])
def test_a_decorated_solver_by_position_from_a_python_number(data, slope, derivative):
    solver = root(optimality)(opaque(ridge))
    np.testing.assert_allclose(derivative(solver, argnums=1)(None, LAM, *data), slope, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(derivative(solver, argnums=1))(None, LAM, *data), slope, rtol=1e-12)


def test_with_aux(data, slope):
    solver = root(optimality, has_aux=True)(
        opaque(lambda init, lam, X, y: (closed(lam, X, y), {"steps": jnp.array(3)}))
    )
    jacobian, aux = jax.jacrev(solver, argnums=1, has_aux=True)(None, LAM, *data)
    np.testing.assert_allclose(jacobian, slope, rtol=1e-12)
    assert aux == {"steps": 3}


@pytest.mark.parametrize("decorate", [root(optimality), root(stationary(loss), linear_solver=DenseCholesky())])
@pytest.mark.parametrize("names", [("lam", "X", "y"), ("y", "X", "lam"), ("X", "lam", "y")])
def test_keywords_in_any_order(data, slope, decorate, names):
    solver, (X, y) = decorate(opaque(ridge)), data

    def solution(lam):
        given = {"lam": lam, "X": X, "y": y}
        return solver(None, **{name: given[name] for name in names})

    np.testing.assert_allclose(jax.jacrev(solution)(LAM), slope, rtol=1e-12)


def test_keywords_of_a_solver_in_another_order_and_with_its_start_by_name(data, slope):
    X, y = data
    solver = root(condition_in_another_order)(opaque(lambda init, y, lam, X: closed(lam, X, y)))
    np.testing.assert_allclose(jax.jacrev(lambda lam: solver(init=None, lam=lam, y=y, X=X))(LAM), slope, rtol=1e-12)


@pytest.mark.parametrize(
    "call",
    [lambda f, lam, X, y: f(None, lam, X, y), lambda f, lam, X, y: f(None, lam, y=y, X=X)],
    ids=["by position", "mixed"],
)
def test_names_decide_where_the_condition_has_them_in_another_order(data, slope, call):
    solver = root(condition_in_another_order)(opaque(ridge))
    np.testing.assert_allclose(jax.jit(jax.jacrev(lambda lam: call(solver, lam, *data)))(LAM), slope, rtol=1e-12)


@pytest.mark.parametrize("names", [("lam", "X", "y"), ("X", "lam", "y")])
def test_a_solver_of_keywords_alone_with_numpy_data_under_jit(data, slope, names):
    solver = root(optimality)(opaque(lambda init, **p: closed(**p)))
    given = {"lam": LAM, "X": np.asarray(data[0]), "y": np.asarray(data[1])}

    def solution(lam):
        return solver(None, **{name: {**given, "lam": lam}[name] for name in names})

    np.testing.assert_allclose(jax.jit(solver)(None, **given), closed(**given), rtol=1e-12)
    first = jax.grad(lambda lam: solution(lam)[0])
    np.testing.assert_allclose([first(LAM), jax.jit(first)(LAM)], [slope[0]] * 2, rtol=1e-12)


def test_the_condition_gets_the_defaults_of_the_solver_that_it_knows(data, slope):
    X, y = data

    def other(init=None, lam=0.0, X=X, y=y, tolerance=1e-12):
        del tolerance
        return ridge(init, lam, X, y)

    def condition(x, lam, X, y=None):
        return optimality(x, lam, X, y)

    whole, bound = root(condition)(opaque(other)), root(condition)(functools.partial(opaque(ridge), X=X, y=y))
    for solution in (lambda lam: whole(None, lam), lambda lam: whole(lam=lam), lambda lam: bound(None, lam)):
        np.testing.assert_allclose(jax.jacrev(solution)(LAM), slope, rtol=1e-12)


def test_some_by_position_and_the_rest_by_name(data):
    X, y = data
    solver = root(optimality)(opaque(ridge))
    gradient = jax.grad(lambda y: solver(None, LAM, y=y, X=X)[0])(y)
    np.testing.assert_allclose(gradient, jax.grad(lambda y: closed(LAM, X, y)[0])(y), rtol=1e-10, atol=1e-14)


def test_keyword_only_parameters_and_a_null_space_that_takes_them(data, slope):
    def condition(x, *, lam, X, y):
        return optimality(x, lam, X, y)

    def none(x, *, lam, X, y):
        return NullSpace.empty(x)

    X, y = data
    solver = root(condition, null_space=none)(opaque(lambda init, **p: closed(**p)))
    np.testing.assert_allclose(jax.jacfwd(lambda lam: solver(None, y=y, lam=lam, X=X))(LAM), slope, rtol=1e-12)


def loss_by_name(x, *, lam, X, y):
    return loss(x, lam, X, y)


LOOSE = {
    "root": root(jax.grad(loss_by_name)),
    "stationary": root(stationary(loss_by_name)),
    "projected_gradient": root(projected_gradient(loss_by_name, lambda lam, **_: (-10.0 * lam, 10.0 * lam), step=0.01)),
    "joint": root(joint(lambda state, *, lam, X, y: optimality(state[0], lam, X, y))),
    "kkt": root(kkt(loss_by_name, lambda x, **_: x[:1])),
    "fixed_point": fixed_point(lambda x, *, lam, X, y: x - 0.01 * optimality(x, lam, X, y)),
}


@pytest.mark.parametrize("name", LOOSE)
def test_every_condition_takes_parameters_that_have_only_names(data, slope, name):
    X, y = data

    def solver(init, **p):
        if name == "kkt":  # the first component held at zero
            x = jnp.zeros(M).at[1:].set(held(p["lam"]))
            return x, -optimality(x, **p)[:1]
        return (closed(**p),) if name == "joint" else closed(**p)

    def held(lam):
        return jnp.linalg.solve(X[:, 1:].T @ X[:, 1:] + lam * jnp.eye(M - 1), X[:, 1:].T @ y)

    found = jax.jacfwd(lambda lam: LOOSE[name](opaque(solver))(None, y=y, lam=lam, X=X))(LAM)
    expected = jnp.zeros(M).at[1:].set(jax.jacfwd(held)(LAM)) if name == "kkt" else slope
    np.testing.assert_allclose(found[0] if name in ("kkt", "joint") else found, expected, rtol=1e-10, atol=1e-15)


def test_a_fixed_point_by_name(data, slope):
    def step(x, lam, X, y):
        return x - 0.01 * optimality(x, lam, X, y)

    def nameless(x, *p):
        return step(x, *p)

    X, y = data
    for T in (nameless, functools.wraps(step)(nameless)):
        found = jax.jacrev(fixed_point(T)(opaque(ridge)), argnums=1)(None, LAM, y=y, X=X)
        np.testing.assert_allclose(found, slope, rtol=1e-10)
    solver = fixed_point(step)(opaque(ridge))
    np.testing.assert_allclose(jax.jacrev(lambda lam: solver(None, y=y, X=X, lam=lam))(LAM), slope, rtol=1e-10)
    np.testing.assert_allclose(jax.jacfwd(solver, argnums=1)(None, LAM, X, y), slope, rtol=1e-10)


def test_values_are_differentiated_once_more_and_batched(data):
    x = closed(LAM, *data)

    def condition(x, lam):
        return optimality(x, lam, *data)

    def along(lam):
        return jvp(condition, x, (lam,), (1.0,), at_any_point=True)[0].sum()

    def back(lam):
        return vjp(condition, x, (lam,), jnp.ones(M), at_any_point=True)[0][0]

    step = 1e-5
    for value in (along, back):
        difference = (value(LAM + step) - value(LAM - step)) / (2 * step)
        np.testing.assert_allclose(jax.jit(jax.grad(value))(LAM), difference, rtol=1e-8)
    several = jnp.array([LAM, 2 * LAM])
    np.testing.assert_allclose(jax.vmap(along)(several), [along(lam) for lam in several], rtol=1e-12)


@pytest.mark.parametrize(
    "linear_solver", [DenseCholesky(), SparseDirect(lambda x, lam, X, y: np.asarray(X.T @ X + lam * jnp.eye(M)))]
)
def test_gradients_of_values_at_the_solution_are_its_second_derivatives(data, linear_solver):
    solver = root(optimality, linear_solver=linear_solver)(opaque(ridge))
    options = {"linear_solver": linear_solver}

    def along(lam):
        p = (lam, *data)
        return jvp(optimality, solver(None, *p), p, (1, None, None), **options)[0].sum()

    def back(lam):
        p = (lam, *data)
        return vjp(optimality, solver(None, *p), p, jnp.ones(M), **options)[0][0]

    second = jax.hessian(lambda lam: closed(lam, *data).sum())(LAM)
    for value in (along, back):
        np.testing.assert_allclose(jax.jit(jax.grad(value))(LAM), second, rtol=1e-10)
    np.testing.assert_allclose(jax.vmap(jax.grad(along))(jnp.array([LAM, LAM])), [second] * 2, rtol=1e-10)


def test_values_of_a_condition_that_closes_over_a_batch(data, slope):
    X, y = data

    def along(X):
        return jvp(lambda x, lam: optimality(x, lam, X, y), closed(LAM, *data), (LAM,), (1.0,))[0]

    found = jax.jit(jax.vmap(along))(jnp.stack([X, 2 * X]))
    np.testing.assert_allclose(found[0], slope, rtol=1e-12)
    assert np.isnan(found[1]).all()


def test_an_integer_is_no_parameter(data):
    with pytest.raises(ValueError, match=r"Integers stand still: a parameter is written 5.0"):
        jvp(optimality, closed(3, *data), (3, *data), (1.0, None, None))


def test_a_refusal_is_nan_in_its_own_lane_and_a_sentence_outside(data):
    def condition(x, lam):
        return optimality(x, lam, *data)

    points = jnp.stack([closed(LAM, *data), jnp.ones(M)])
    values, certificate = jax.vmap(lambda x: jvp(condition, x, (LAM,), (1.0,)))(points)
    assert np.isfinite(values[0]).all()
    assert np.isnan(values[1]).all()
    assert certificate.condition.shape == (2,)
    assert certificate.way == "forward"
    with pytest.raises(NumericalError, match="F does not vanish at x"):
        jvp(condition, points[1], (LAM,), (1.0,))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("lamb", "X", "y"), "has no parameter lamb: did you mean lam"),
        (("lam", "X", "tol"), "has no parameter tol: it takes lam, X, y. Bind what only the solver needs"),
        (("lam", "X"), "do not fit the solver's arguments: missing a required argument: 'y'"),
    ],
)
def test_names_that_the_condition_does_not_know_are_refused(names, sentence):
    solver = root(optimality)(lambda init, **p: init)
    with pytest.raises(TypeError, match=sentence):
        solver(jnp.zeros(M), **dict.fromkeys(names, 1.0))


def test_a_missing_start_is_named():
    with pytest.raises(TypeError, match="without its first argument, the starting point init"):
        root(optimality)(ridge)(lam=1.0)
