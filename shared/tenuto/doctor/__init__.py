"""What is wrong with a deployment or an instance, and what to do about it.

    look = await Onlooker(store, broker, namespace=…).look()     # what the database and the broker say
    for finding in examine(look, Patience()):                    # pure: from what was seen to what it means
        print(finding.what, finding.remedy)

    findings  what a diagnosis is made of
    look      what can be seen of a deployment, and who looks
    checks    what it means: one function for each thing that can be wrong
    instance  the same for one instance: what it waits for, and whether that will come

Whoever can be a client can be an onlooker: nothing here changes anything, and nothing needs to own a partition.
"""

from __future__ import annotations

from tenuto.doctor.checks import examine
from tenuto.doctor.findings import Finding, Patience, Severity, healthy
from tenuto.doctor.instance import Examination, Wait, examine_instance
from tenuto.doctor.look import InstanceLook, Look, Onlooker

__all__ = [
    "Examination",
    "Finding",
    "InstanceLook",
    "Look",
    "Onlooker",
    "Patience",
    "Severity",
    "Wait",
    "examine",
    "examine_instance",
    "healthy",
]
