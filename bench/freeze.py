"""How long a guest that is writing stands still for a backup."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figures import Figure, Pair, measures
from bench.guests import guest_lab
from bench.images import as_qcow2
from bench.measure import RunError, WrongBytesError, run
from bench.ours import Done, Holdfast
from bench.site import Site
from bench.synthetic import content

_ROUNDS = 20
_NOTE = (
    "20 backups of a small guest (TCG) that writes all the time; from sending the freeze to the return of the thaw;"
    " the last point's file system checked"
)


@measures("freeze.median_ms", "freeze.max_ms")
def freezes(site: Site) -> Iterator[tuple[str, Figure]]:
    work = site.place("guest")
    holdfast = Holdfast(site.holdfast, site.place("holdfast"))
    holdfast.create()
    with as_qcow2(_half_full_disk(work), work / "disk.qcow2") as disk, guest_lab() as lab:
        guest = lab.boot("writing", [disk])
        guest.start_writer()
        frozen = [freeze_ms(holdfast.back_up_machine(lab.host.uri, guest.name)) for _ in range(_ROUNDS)]
    _done, output = holdfast.restore_disk("writing@latest", site.place("restored"))
    require_clean(output)
    pairs = [Pair(ours=milliseconds) for milliseconds in frozen]
    yield "freeze.median_ms", Figure(value=median(frozen), runs=pairs, note=_NOTE)
    yield "freeze.max_ms", Figure(value=max(frozen), runs=pairs, note=_NOTE)


def freeze_ms(done: Done) -> float:
    """How long the guest was frozen. Raises RunError if it was not."""
    if done.result["freeze_ms"] is None or done.result["consistency"] == "crash":
        raise RunError(f"the guest was not frozen: {'; '.join(done.result['warnings'])}")
    return float(done.result["freeze_ms"])


def require_clean(image: Path) -> None:
    """Raise WrongBytesError if the file system was not at rest when it was captured."""
    done = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongBytesError(f"the captured file system is not clean: {done.stdout}{done.stderr}")


def _half_full_disk(work: Path) -> Path:
    files, image = work / "files", work / "disk.raw"
    files.mkdir()
    (files / "words").write_bytes(content("words", (1,), 160 << 20))
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", files, image, "256M"])
    return image
