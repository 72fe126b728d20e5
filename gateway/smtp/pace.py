"""The least rate of content: a client that drips octets holds a session for ever, and a thousand of them hold a node.

Postfix asks the same (smtpd_min_data_rate). Pure: times and counts in, a time out.

Known gaps: none.
"""

from __future__ import annotations

from collections import deque

SAMPLE_SECONDS = 1.0


class Pace:
    """Tells until when more octets must come, so that in every window of ``seconds`` there are ``rate * seconds``.

    rate: octets a second, 0: no bound. began: on the clock of :meth:`deadline`, when the client was asked to send.
    Holds a sample a second of the window at most.
    """

    def __init__(self, rate: int, seconds: float, began: float) -> None:
        self._octets = rate * seconds
        self._seconds = seconds
        self._samples: deque[tuple[float, int]] = deque([(began, 0)])

    def deadline(self, now: float, received: int) -> float:
        """The time at which the client was too slow if nothing comes until then. received: octets so far."""
        if not self._octets:
            return float("inf")
        samples = self._samples
        # what began early enough and has its octets can never fail any more
        while len(samples) > 1 and received - samples[0][1] >= self._octets:
            samples.popleft()
        if received - samples[0][1] >= self._octets:
            samples[0] = (now, received)
        elif now - samples[-1][0] >= SAMPLE_SECONDS:
            samples.append((now, received))
        return samples[0][0] + self._seconds
