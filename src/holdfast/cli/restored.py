"""What was brought back, in words."""

from holdfast.core.sizes import size_text
from holdfast.jobs.results import OverwriteResult, RestoreResult


def restored_lines(result: RestoreResult) -> list[str]:
    """A new disk or machine."""
    lines = [
        f"{result.output}: restored from point {result.point} of {result.machine}",
        f"  read {size_text(result.read_bytes)}, written {size_text(result.written_bytes)}, {result.seconds:.1f} s",
    ]
    if result.restored_id is not None:
        lines += [f"  {disk.name}: {disk.output}" for disk in result.disks]
    return lines + _start_lines(result)


def overwritten_lines(result: OverwriteResult) -> list[str]:
    """A machine whose disks were overwritten, or would be."""
    if result.dry_run:
        lines = [f"{result.output}: to bring back point {result.point}, this would be written:"]
    else:
        lines = [f"{result.output}: brought back to point {result.point} in {result.seconds:.1f} s"]
    for disk in result.disks:
        how = "what changed was compared" if disk.tracked else "all of it was compared"
        lines.append(
            f"  {disk.name}: {size_text(disk.different_bytes)} of {size_text(disk.size_bytes)}, in {disk.extents} "
            f"extents; {how} ({size_text(disk.compared_bytes)}): {disk.reason}"
        )
    return lines + _start_lines(result)


def _start_lines(result: RestoreResult | OverwriteResult) -> list[str]:
    if result.seconds_to_agent is not None:
        return [f"  guest agent answered {result.seconds_to_agent:.1f} s after the start"]
    return ["  started"] if result.started else []
