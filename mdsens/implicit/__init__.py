"""Implicit differentiation: the derivatives of a solution from the equation it solves, whatever solver found it.

**The equation.** A solver returns x*(p) with F(x*, p) = 0. Differentiating that once gives, with A = dF/dx,

    A dx = -dF/dp . dp                        forward: one solve per direction dp,
    A^T w = v,   p-bar = -(dF/dp)^T w         adjoint: one solve per cotangent v.

No step of the solver is differentiated: memory does not grow with its iterations, and it may be written in anything
(a while_loop, optimistix, SciPy outside jit).

**Two doors.** `root(F)(solver)` makes a solver differentiable: it goes into any JAX program. `jvp`, `vjp` and
`jacobian` take (F, x, p) and return (value, Certificate): they judge the point and every linear solve, estimate the
error, and refuse with the cause. `second_derivative` and `energy_hessian` go one order further.

With optimistix, `Adjoint` is the third: `optimistix.root_find(F, solver, x0, p, adjoint=Adjoint(DenseCholesky()))`.
optimistix compiles its own calls, so that a refusal there is always NaN.

**The contract.** `root(F)(solver)` has the solver's signature, solver(x0, *p) -> x. F(x, *p) returns a pytree like x.
Where F has parameters of the same names, these may be given by name, in any order, solver(x0, lam=1.0, X=X, y=y), and F
may have them in another order than the solver; a default of the solver is F's, too. Numbers are parameters, integers
are not. Everything that is differentiated is an argument p of both: neither may close over it. jvp, vjp, jacfwd,
jacrev, grad, hessian, any nesting of these, vmap and jit work; x0 has no influence on derivatives; aux outputs carry
none. The error of the derivative is proportional to that of x*: converge the solver well; `root` assumes F = 0, the
values check it. A linear solve whose relative residual exceeds the solver's tolerance, a matrix that is singular to
working precision, a claimed symmetry or a claimed zero mode that is none: outside jit each raises `NumericalError` with
the cause, inside jit the derivative is NaN. It is never silently a wrong number. `jvp` and `vjp` work under jit and
vmap, too: what they would refuse is NaN there, and the certificate is batched.

**Conditions.** F is any function; these are ready-made (`mdsens.implicit.conditions`):

| the solution | F |
| --- | --- |
| stationary point of E(x, *p) | `stationary(E)` |
| x = T(x, *p) | `fixed_point(T)` in place of `root(F)` |
| minimum of E with lower <= x <= upper | `projected_gradient(E, bounds)` |
| minimum of E with g(x, *p) = 0 | `kkt(E, g)`, the state is (x, multipliers) |
| several at once, such as (positions, box) | `joint(F, G, ...)` |

**Which linear solver.** n is the number of unknowns in x. Named none, LU is taken up to n = 3000, and beyond it MINRES
for conditions that know themselves symmetric, GMRES for others.

| A = dF/dx | n up to a few thousand | larger |
| --- | --- | --- |
| any | `DenseLU()` | `Iterative(lineax.GMRES(...))`, `Iterative(lineax.BiCGStab(...))` |
| symmetric positive definite | `DenseCholesky()` | `Iterative(lineax.CG(...), symmetric=True)` |
| symmetric indefinite (a saddle, KKT conditions) | `DenseLU()` | `Minres()` |
| sparse, and you can assemble it | `SparseDirect(assemble)` | `SparseDirect(assemble)`, in two dimensions up to 10^6 |

Symmetric positive definite is what F = +gradient of an energy gives at a minimum, outside the null space. Krylov
methods take `preconditioner=`, a function (x, *p) -> (v -> C v). Direct solvers factor once for all columns of jacfwd
and all rows of jacrev, and solve them in one block; `SparseDirect` works under jit and vmap through a host callback and
keeps its factor from call to call. Others are made by subclassing `LinearSolver`: two methods, `prepare` and `solve`.
BiCGStab breaks down where it converges exactly (its answer is then refused): prefer GMRES for tiny systems.

**Singular systems.** If A has known zero modes, and A^T the same ones, pass `null_space`: a `NullSpace`, or a function
(x, *p) -> NullSpace. Right-hand sides and answers are projected, so the derivative is the one of least norm and a
cotangent along a zero mode gives zero:

    chain = NullSpace.from_modes([jnp.ones(n)])                                 # a translation
    packing = lambda x, p: NullSpace.from_modes(rotations(x), frozen=rattlers)  # modes that follow the state
    floppy = zero_modes(F)                                                      # found in the spectrum, n^3

At first order the gauge is a convention. At second order the projector's own derivative counts; it is exact as long as
the rank is constant. For modes that turn with the state (rotations) mixed second derivatives along the zero modes need
not commute; everything orthogonal to them does.

**Example.** A foreign solver, here optimistix's BFGS on an energy, and optax's L-BFGS:

    gradient = jax.grad(energy)                               # energy(x, p)

    @root(gradient, linear_solver=DenseCholesky())
    def minimum(x0, p):
        solver = optimistix.BFGS(rtol=1e-12, atol=1e-12)
        return optimistix.minimise(energy, solver, x0, args=p).value

    @root(gradient, linear_solver=DenseCholesky())
    def minimum_with_optax(x0, p):
        objective = functools.partial(energy, p=p)
        optimiser = optax.lbfgs()
        value_and_grad = optax.value_and_grad_from_state(objective)

        def step(carry):
            x, state = carry
            value, grad = value_and_grad(x, state=state)
            updates, state = optimiser.update(grad, state, x, value=value, grad=grad, value_fn=objective)
            return optax.apply_updates(x, updates), state

        def unconverged(carry):
            return jnp.linalg.norm(gradient(carry[0], p)) > 1e-10

        return jax.lax.while_loop(unconverged, step, (x0, optimiser.init(x0)))[0]

    jax.jacrev(minimum, argnums=1)(x0, p)
    jax.hessian(lambda p: observable(minimum(x0, p)))(p)
    J, certificate = jacobian(gradient, minimum(x0, p), (p,), linear_solver=DenseCholesky())

Every derivative is compiled as one program without callbacks (but for `SparseDirect`), also where the caller is not
compiled, so that JAX's persistent cache serves the next process. F is what compiled programs are found by: define it
once, not in a loop.

References:
    Blondel et al., Efficient and Modular Implicit Differentiation, NeurIPS 2022, arXiv:2105.15183.
"""

import importlib
from typing import Any

from mdsens.implicit.certified import Certificate
from mdsens.implicit.choice import chosen_solver
from mdsens.implicit.conditions import Condition, joint, kkt, projected_gradient, stationary
from mdsens.implicit.dense import DenseCholesky, DenseLU
from mdsens.implicit.krylov import Iterative, Minres
from mdsens.implicit.linear import LinearSolution, LinearSolver
from mdsens.implicit.null_space import NullSpace, zero_modes
from mdsens.implicit.operator import Point, ProjectedOperator
from mdsens.implicit.root import fixed_point, root
from mdsens.implicit.second import energy_hessian, second_derivative
from mdsens.implicit.sparse import SparseDirect
from mdsens.implicit.system import LinearizedCondition, linearize
from mdsens.implicit.values import jacobian, jvp, vjp

__all__ = [
    "Certificate",
    "Condition",
    "DenseCholesky",
    "DenseLU",
    "Iterative",
    "LinearSolution",
    "LinearSolver",
    "LinearizedCondition",
    "Minres",
    "NullSpace",
    "Point",
    "ProjectedOperator",
    "SparseDirect",
    "chosen_solver",
    "energy_hessian",
    "fixed_point",
    "jacobian",
    "joint",
    "jvp",
    "kkt",
    "linearize",
    "projected_gradient",
    "root",
    "second_derivative",
    "stationary",
    "vjp",
    "zero_modes",
]


def __getattr__(name: str) -> Any:
    """Return `Adjoint`, which needs optimistix, when it is asked for."""
    if name != "Adjoint":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("mdsens.implicit.adjoint").Adjoint
