"""Many systems of one size relaxed and differentiated at once, each to its own convergence."""

from mdsens.batch.certified import BatchCertificate, ObservableSensitivities, PositionSensitivities
from mdsens.batch.pool import BatchSettings
from mdsens.batch.relaxation import RelaxationBatch, relax_batch
from mdsens.batch.sensitivity import observable_sensitivities, position_sensitivities
from mdsens.batch.stack import Stack, member, stack_arrays, stack_systems

__all__ = [
    "BatchCertificate",
    "BatchSettings",
    "ObservableSensitivities",
    "PositionSensitivities",
    "RelaxationBatch",
    "Stack",
    "member",
    "observable_sensitivities",
    "position_sensitivities",
    "relax_batch",
    "stack_arrays",
    "stack_systems",
]
