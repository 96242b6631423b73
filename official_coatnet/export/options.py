"""What can be chosen about an export, apart from the run it comes from."""

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class ExportOptions:
  """How an export answers.

  Attributes:
    batch_sizes: Sizes that the warm-up runs; the largest may be no larger than
      the `max_batch_size` of a server's batching. Other sizes are answered as
      well, and on a CPU as fast: what is slow is the first run of a signature.
    top_k: Classes in `classes` and `scores`, at most all.
    threshold: With the sigmoid loss: the probability from which a class is in
      `labels`.
    max_pixels: An image of more pixels, by its header, is refused before it is
      decoded. All frames of a GIF count, for all of them are read, and a JPEG
      counts once for every 20 scans.
    answer_bad_images: Whether an image that does not decode is answered by a
      row of zeros and `ok` False. Otherwise it fails the request that it is in,
      other images included.
    stage_maps: Whether the signature `features` has the output of each stage,
      too.
  """

  # 1 and the largest would do: that one takes the memory that others then find.
  batch_sizes: Sequence[int] = (1, 2, 4, 8)
  top_k: int = 5
  threshold: float = 0.5
  # 48-megapixel photographs pass. Ten images are decoded at once, 3 bytes a
  # pixel: 1.5 GB if all are at the limit.
  max_pixels: int = 50_000_000
  answer_bad_images: bool = False
  stage_maps: bool = False

  def __post_init__(self) -> None:
    sizes = tuple(self.batch_sizes)
    if (
      not sizes
      or any(size < 1 for size in sizes)
      or len(set(sizes)) < len(sizes)
    ):
      raise ValueError(
        f'`batch_sizes` is {list(sizes)}; it must be one or more different '
        'numbers from 1, such as 1,2,4,8.'
      )
    object.__setattr__(self, 'batch_sizes', tuple(sorted(sizes)))
    for name in ('top_k', 'max_pixels'):
      if getattr(self, name) < 1:
        raise ValueError(f'`{name}` is {getattr(self, name)}; it must be >= 1.')
    if not 0.0 <= self.threshold <= 1.0:
      raise ValueError(
        f'`threshold` is {self.threshold}; it must lie in [0, 1]: it is a '
        'probability.'
      )

  def to_dict(self) -> dict[str, Any]:
    """Returns what JSON can hold."""
    values = dataclasses.asdict(self)
    return {**values, 'batch_sizes': list(self.batch_sizes)}

  @classmethod
  def from_dict(cls, values: dict[str, Any]) -> 'ExportOptions':
    """Inverse of `to_dict`."""
    return cls(**values)
