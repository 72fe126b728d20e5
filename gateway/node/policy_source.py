"""Where the policy in force comes from: read once by the supervisor, as text, and handed to every worker.

So all workers decide with the same octets, also one that starts later while a broken file lies on the disk.

Known gaps: none.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass, replace

from gateway.config import Settings
from gateway.policy.load import load_text
from gateway.policy.model import Policy
from gateway.yamlfile import Fault, FaultsError


@dataclass(frozen=True, slots=True)
class PolicyText:
    """The file's text and its name for faults."""

    text: str
    name: str

    def parse(self) -> Policy:
        """Raises FaultsError."""
        return replace(load_text(self.text, self.name), text=self.text)


def read_policy(settings: Settings) -> PolicyText:
    """The policy file of the settings, or the packaged default. Reads a file. Raises FaultsError."""
    if settings.policy is None:
        file = importlib.resources.files("gateway") / "policies" / "default.yaml"
        return PolicyText(file.read_text(encoding="utf-8"), "default.yaml")
    try:
        return PolicyText(settings.policy.read_text(encoding="utf-8"), str(settings.policy))
    except (OSError, UnicodeDecodeError) as error:
        raise FaultsError([Fault(str(settings.policy), 0, "", f"cannot be read: {error}", "check the path")]) from error
