"""An image that is already in the repository is backed up again: reading, cutting, hashing, and nothing to store."""

from collections.abc import Iterator

from bench import limits
from bench.figures import Figure, measures, speed_ratio
from bench.images import SERVER, debian_image
from bench.measure import RunError, Timing, interleave, require_equal, warm
from bench.ours import Holdfast
from bench.site import Site

_NOTE = "raw image, page cache warm, nothing new to store; the last point's restore compared with the image"


@measures("same_again.throughput_vs_b3sum")
def same_again(site: Site) -> Iterator[tuple[str, Figure]]:
    image = debian_image(site, SERVER)
    holdfast = Holdfast(site.holdfast, site.place("holdfast"))
    holdfast.create()
    holdfast.back_up(image)

    def again() -> Timing:
        done = holdfast.back_up_image("image", image)
        if done.result["sent_bytes"]:
            raise RunError(f"an unchanged image sent {done.result['sent_bytes']} bytes")
        return done.timing

    warm(image)
    runs = interleave({"holdfast": again, "b3sum": lambda: limits.extents_to_b3sum(image)})
    _timing, output = holdfast.restore(image, site.place("restored"))
    require_equal(image, output)
    yield "same_again.throughput_vs_b3sum", speed_ratio(runs["holdfast"], runs["b3sum"], _NOTE)
