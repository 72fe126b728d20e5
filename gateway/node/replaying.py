"""Recordings, put together: a worker's recorder, and replays on a loop whose time jumps.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from gateway.adapters.loop_virtual import VirtualLoop
from gateway.adapters.port_recording import recording
from gateway.adapters.port_replay import replaying
from gateway.config import Settings
from gateway.evidence.recording import Recorder, RecordingPipeline, RecordingRelay
from gateway.evidence.replay import NotARecording, RecordedPolicy, Recording, Replayed, parse_line, replay
from gateway.ops.journal_file import JournalFile
from gateway.policy.load import load_text
from gateway.policy.model import Policy
from gateway.reception import Services
from gateway.yamlfile import FaultsError


@dataclass(frozen=True, slots=True)
class Journal:
    """A worker's recordings."""

    recorder: Recorder
    file: JournalFile

    def beside(self, services: Services) -> Services:
        """The same services, recorded."""
        pipeline = services.pipeline
        recorded = RecordingPipeline(pipeline.ports, pipeline.checks, pipeline.beside, self.recorder)
        return replace(services, pipeline=recorded, relay=RecordingRelay(services.relay, self.recorder))


def journal_of(settings: Settings, policy: Callable[[], Policy]) -> Journal | None:
    """None where the settings want none."""
    wanted = settings.journal
    if wanted is None:
        return None
    file = JournalFile(wanted.file, wanted.octets)
    recorder = Recorder(recording, file.write, policy, sample=wanted.sample, content=wanted.content)
    return Journal(recorder, file)


@dataclass(slots=True)
class Outcome:
    """What came of the lines of a journal. faults: lines or policies that cannot be replayed, in words."""

    replayed: list[Replayed] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def replay_lines(lines: Iterable[str], policy: Policy | None = None) -> Outcome:
    """Replay recordings, each with the policy that decided, or all with this one. Not for a thread that has a loop."""
    outcome = Outcome()
    texts: dict[str, RecordedPolicy] = {}
    recordings: list[Recording] = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                found = parse_line(line)
                if isinstance(found, RecordedPolicy):
                    texts[found.digest[:8]] = found
                else:
                    recordings.append(found)
        except NotARecording as error:
            outcome.faults.append(f"line {number}: {error}")
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        policy_of = partial(_policy_of, texts, {})
        for one in recordings:
            try:
                runner.run(_into(outcome, one, policy or policy_of(one.policy)))
            except (NotARecording, FaultsError) as error:
                outcome.faults.append(f"{one.id}: {error}")
    return outcome


async def _into(outcome: Outcome, one: Recording, policy: Policy) -> None:
    outcome.replayed.append(await replay(one, policy, replaying))


def _policy_of(texts: dict[str, RecordedPolicy], loaded: dict[str, Policy], digest: str) -> Policy:
    """Raises NotARecording, FaultsError."""
    if digest not in loaded:
        text = texts.get(digest)
        if text is None:
            raise NotARecording(f"the text of policy {digest} is not in the journal; say --policy FILE")
        policy = load_text(text.text, text.name)
        if policy.digest[:8] != digest:
            raise NotARecording(f"this version reads policy {digest} as {policy.digest[:8]}")
        loaded[digest] = policy
    return loaded[digest]
