"""Coverage-guided fuzzing of one target: ``python tests/fuzz/run_atheris.py session -max_total_time=60`` (libFuzzer's
options), or of each in turn: ``make fuzz``.

The corpus folder is read; what is new goes to ``.test/fuzz/<target>``. ``run_atheris.py session keep`` then adds those to
the corpus that reach code which nothing in the corpus reaches, so that each test run replays them. Octets that a target
cannot stand are written to ``.test/fuzz/<target>-crash-*`` and end the run: they go into the corpus with the repair.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import atheris  # noqa: E402

with atheris.instrument_imports(include=["gateway"], enable_loader_override=False):
    from fuzz.targets import TARGETS

LARGEST, LARGEST_KEPT = 8192, 700


def main() -> None:
    name, *options = sys.argv[1:]
    logging.disable(logging.INFO)
    logging.getLogger("mxgw").propagate = False
    corpus, found = HERE / "corpus" / name, HERE.parent.parent / ".test" / "fuzz"
    (found / name).mkdir(parents=True, exist_ok=True)
    # libFuzzer starts itself again by the first word, through a shell
    arguments = [f"{sys.executable} {HERE / 'run_atheris.py'} {name}"]
    if options == ["keep"]:
        arguments += ["-merge=1", "-use_counters=0", f"-max_len={LARGEST_KEPT}", str(corpus), str(found / name)]
    else:
        arguments += [f"-artifact_prefix={found}/{name}-", f"-max_len={LARGEST}", "-timeout=30", "-rss_limit_mb=2048"]
        arguments += [*options, str(found / name), str(corpus)]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
