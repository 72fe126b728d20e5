"""The supervisor's policy: which one is in force on this node, where it came from, and the copy on the disk.

Which one wins: a policy that was pushed, over the file of the settings (generation 0), until ``mxgw policy unpush``.
The copy of the pushed one is what a node starts with when the board is away.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gateway.cluster.kept_file import put_text, replace_text
from gateway.cluster.rollout import Generation
from gateway.config import Settings
from gateway.node.policy_source import PolicyText, read_policy
from gateway.ops.health import NodeHealth
from gateway.ops.metrics import NodeMetrics
from gateway.policy.load import load_text
from gateway.policy.model import Policy
from gateway.yamlfile import FaultsError

log = logging.getLogger("mxgw.node")

FILE: Final = "policy-in-force.json"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy with its text, as one generation."""

    generation: Generation
    text: PolicyText
    policy: Policy


def policy_now(settings: Settings) -> Policy:
    """What a node with these settings and this ``state_dir`` starts with: the pushed policy that it keeps, else its own
    file. For commands. Reads files. Raises FaultsError."""
    try:
        said = json.loads((settings.state_dir / FILE).read_text(encoding="utf-8"))
        generation = Generation(**said["generation"])
        if generation.digest:
            return load_text(said["text"], f"{said['name']}, {generation.label}")
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("the policy that the node keeps cannot be read, its own file is taken: %s", error)
    return read_policy(settings).parse()


class PolicyKeeper:
    """Raises FaultsError for an own file that cannot be used, unless a pushed policy is on the disk."""

    def __init__(self, settings: Settings, health: NodeHealth, metrics: NodeMetrics) -> None:
        self._settings = settings
        self._health = health
        self._metrics = metrics
        self.lineage = ""
        self.in_force = self._kept() or self.own()
        self.adopt(self.in_force)

    @property
    def file(self) -> Path:
        """The copy of the pushed policy in force."""
        return self._settings.state_dir / FILE

    @property
    def said(self) -> dict[str, Any]:
        """For a worker's first words."""
        return {"text": self.in_force.text.text, "name": self.in_force.text.name}

    def own(self, generation: Generation | None = None) -> Candidate:
        """The file of the settings. Reads it. Raises FaultsError."""
        text = read_policy(self._settings)
        policy = text.parse()
        return Candidate(generation or Generation(), text, policy)

    def adopt(self, candidate: Candidate) -> None:
        """In force from now on, as far as the supervisor is concerned."""
        policy, before = candidate.policy, self._health.policy_digest
        another = candidate.generation != self.in_force.generation
        self.in_force = candidate
        self._health.policy_digest = policy.digest
        self._health.policy_source = policy.source
        self._health.policy_generation = candidate.generation.number
        self._health.mode = policy.default.mode.value
        self._metrics.policy(policy.digest[:8], candidate.generation.number)
        if another:
            log.info(
                "%s is in force",
                candidate.generation.label,
                extra={"event": "policy", "before": before, "digest": policy.digest, "mode": self._health.mode},
            )

    async def reload(self) -> bool:
        """Read the own file again. Returns whether workers are to be told: not where it is broken, or where a pushed
        policy is in force."""
        generation = self.in_force.generation
        try:
            own = await asyncio.to_thread(self.own, generation)
        except FaultsError as error:
            for fault in error.faults:
                log.error("%s", fault, extra={"event": "policy", "in_force": self._health.policy_digest})
            self._metrics.reloaded("policy", ok=False)
            return False
        self._metrics.reloaded("policy", ok=True)
        if self.in_force.generation.digest:
            log.warning(
                "the file of the settings is sound, but %s is in force; mxgw policy unpush ends that",
                self.in_force.generation.label,
                extra={"event": "policy", "file": own.policy.digest, "in_force": self._health.policy_digest},
            )
            return False
        before = self._health.policy_digest
        self.adopt(own)
        log.info(
            "policy reloaded; the settings file is read at the start only",
            extra={"event": "policy", "before": before, "digest": own.policy.digest, "mode": self._health.mode},
        )
        return True

    def try_disk(self, candidate: Candidate) -> None:
        """Whether the copy could be written, were it needed. Raises OSError."""
        part = self.file.with_suffix(".next")
        put_text(part, _copy_of(candidate, self.lineage))
        part.unlink()

    def keep(self, candidate: Candidate, lineage: str) -> None:
        """Write the copy. Raises OSError."""
        self.lineage = lineage
        replace_text(self.file, _copy_of(candidate, lineage))

    def _kept(self) -> Candidate | None:
        try:
            said = json.loads(self.file.read_text(encoding="utf-8"))
            generation = Generation(**said["generation"])
            self.lineage = said["lineage"]
            if not generation.digest:
                return self.own(generation)
            text = PolicyText(said["text"], said["name"])
            return Candidate(generation, text, text.parse())
        except FileNotFoundError:
            return None
        except FaultsError as error:
            # this version of the program cannot read it any more; the board may say more
            why = str(error.faults[0])
        except (OSError, ValueError, TypeError, KeyError) as error:
            why = repr(error)
        log.error("%s cannot be used: %s", self.file, why, extra={"event": "policy"})
        self.lineage = ""
        return None


def _copy_of(candidate: Candidate, lineage: str) -> str:
    said = {
        "lineage": lineage,
        "generation": asdict(candidate.generation),
        "text": candidate.text.text,
        "name": candidate.text.name,
    }
    return json.dumps(said, ensure_ascii=False)
