"""Files of workers that are gone: what they counted stays in the sum, and they do not gather."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict, mmap_key

from gateway.ops.metric_files import MetricFiles


def write(file: Path, values: dict[tuple[str, str], float]) -> None:
    said = MmapedDict(str(file))
    for (name, label), value in values.items():
        metric = name.removesuffix("_total").removesuffix("_bucket").removesuffix("_sum")
        labels = {"le" if name.endswith("_bucket") else "of": label} if label else {}
        said.write_value(mmap_key(metric, name, list(labels), list(labels.values()), "help"), value, 0.0)
    said.close()


def worker(folder: Path, pid: int, count: float) -> None:
    write(folder / f"counter_{pid}.db", {("a_total", "x"): count, ("a_total", f"only {pid}"): 1.0})
    write(
        folder / f"histogram_{pid}.db",
        {("h_sum", ""): count, ("h_bucket", "1.0"): 2.0, ("h_bucket", "5.0"): 1.0, ("h_bucket", "+Inf"): 0.0},
    )
    write(folder / f"gauge_livesum_{pid}.db", {("g", ""): 10.0})


def counts(files: MetricFiles) -> list[str]:
    return sorted(line for line in files.text().decode().splitlines() if line.startswith(("a_", "h_")))


def test_counts_of_the_gone_stay_and_their_files_do_not(tmp_path: Path) -> None:
    files = MetricFiles(tmp_path)
    for pid in range(100, 120):
        worker(tmp_path, pid, pid)
    before = counts(files)
    assert f'a_total{{of="x"}} {float(sum(range(100, 120)))}' in before
    assert 'h_bucket{le="5.0"} 60.0' in before
    assert "g 200.0" in files.text().decode()
    for pid in range(100, 119):
        files.gone(pid)
        assert counts(files) == before
    assert "g 10.0" in files.text().decode()
    assert len(list(tmp_path.iterdir())) == 3 + 2
    files.gone(4711)  # one that never counted anything


def test_a_count_that_outgrows_the_file_stays(tmp_path: Path) -> None:
    files = MetricFiles(tmp_path)
    write(tmp_path / "counter_7.db", {("a_total", f"{number:0300d}"): 1.0 for number in range(500)})
    before = counts(files)
    assert len(before) == 500
    files.gone(7)
    assert counts(files) == before
