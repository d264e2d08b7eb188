"""Machines in one file for other hypervisors: OVA."""

from holdfast.platforms.appliance.ova import OvaFile

__all__ = ["OvaFile"]
