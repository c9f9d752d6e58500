"""Who bears load in a state: contacts, the backbone that they hold in place, and rattlers."""

from mdsens.contacts.backbone import (
    TOUCH,
    Network,
    changes_within,
    contact_network,
    is_kinked,
    least_overlaps,
    with_contacts,
)

__all__ = [
    "TOUCH",
    "Network",
    "changes_within",
    "contact_network",
    "is_kinked",
    "least_overlaps",
    "with_contacts",
]
