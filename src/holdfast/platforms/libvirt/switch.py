"""Switching a domain on, and waiting until its guest agent answers."""

import time
import xml.etree.ElementTree as ET
from typing import Any

from holdfast.platforms.libvirt.agent import AgentError, GuestAgent
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.domain_xml import agent_state

_PING_S = 1.0
_POLL_S = 0.1


class Switch:
    """The switch of one domain."""

    def __init__(self, domain: Any, definition: ET.Element, started_at: float = 0.0) -> None:
        """`started_at`, by the monotonic clock, if it is on already."""
        self._domain = domain
        self._has_agent = agent_state(definition) != "none"
        self._started_at = started_at

    def start(self) -> None:
        """Start the domain."""
        self._started_at = time.monotonic()
        with asking(f"start {self._domain.name()}"):
            self._domain.create()

    def wait_for_agent(self, timeout_s: float) -> float | None:
        """Seconds from `start` until the guest agent answered; None if it did not in time, or has no channel to."""
        if not self._has_agent:
            return None
        agent = GuestAgent(self._domain)
        while (waited := time.monotonic() - self._started_at) < timeout_s:
            try:
                agent.ping(_PING_S)
            except AgentError:
                time.sleep(_POLL_S)
            else:
                return waited
        return None
