"""By which images of one split are known again in another, without reading it.

A sketch is the smallest of the checksums of a split's images. A checksum is as
good as drawn at random, so they are a sample of the images; and as they are the
smallest, an image that two splits share is in the samples of both, or of
neither. Splits of up to `SIZE` images are known whole, and are compared
exactly. Of larger ones a share is: SIZE / n of the images of the larger split,
of n images, so that d images that stand in both are all overlooked with
probability (1 - SIZE / n) ** d.

What is compared are the bytes of images as records hold them. An image that was
encoded anew, cut or enlarged is another one.
"""

import base64
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

SIZE = 4096
# Big-endian, so that files are the same wherever they are written.
HASH_TYPE = np.dtype('>u8')
_END = 2**64


def checksum(contents: bytes) -> int:
  """Returns 64 bits of the checksum of an image file; 0 for nothing."""
  if not contents:
    return 0
  return int.from_bytes(hashlib.sha256(contents).digest()[:8], 'big')


@dataclasses.dataclass(frozen=True)
class Sketch:
  """The smallest checksums of the images of a split.

  Attributes:
    hashes: the checksums, sorted and each once; at most `SIZE`.
    complete: whether these are all that there are.
  """

  hashes: tuple[int, ...]
  complete: bool

  def to_fields(self) -> dict[str, Any]:
    """Returns what JSON can hold of it."""
    packed = np.array(self.hashes, HASH_TYPE).tobytes()
    return {
      'complete': self.complete,
      'hashes': base64.b64encode(packed).decode(),
    }

  @classmethod
  def from_fields(cls, fields: Mapping[str, Any] | None) -> 'Sketch | None':
    """Returns what `to_fields` gave; None for None.

    Raises:
      ValueError: if it did not give that. Or a KeyError or TypeError.
    """
    if fields is None:
      return None
    packed = base64.b64decode(fields['hashes'], validate=True)
    hashes = np.frombuffer(packed, HASH_TYPE)
    return cls(tuple(hashes.tolist()), bool(fields['complete']))


def make(hashes: Iterable[np.ndarray]) -> Sketch:
  """Returns the sketch of a split.

  Args:
    hashes: checksums of its images, integers [n], in parts.
  """
  smallest = np.empty(0, np.uint64)
  complete = True
  for part in hashes:
    smallest = np.unique(np.concatenate([smallest, part.astype(np.uint64)]))
    smallest = smallest[smallest != 0]
    complete = complete and len(smallest) <= SIZE
    smallest = smallest[:SIZE]
  return Sketch(tuple(smallest.tolist()), complete)


@dataclasses.dataclass(frozen=True)
class Overlap:
  """What two splits share, as far as their sketches say.

  Attributes:
    hashes: checksums of images that are in both, sorted.
    share: the share of all images that could be compared, in (0, 1].
  """

  hashes: tuple[int, ...]
  share: float

  @property
  def num_images(self) -> int:
    """How many images both have: exact where `share` is 1, else estimated."""
    return round(len(self.hashes) / self.share)


def compare(first: Sketch, second: Sketch) -> Overlap:
  """Looks for images that stand in both of two splits."""
  # Up to here both sketches know all there is.
  ends = [each.hashes[-1] + 1 for each in (first, second) if not each.complete]
  end = min([*ends, _END])
  shared = sorted(set(first.hashes).intersection(second.hashes))
  return Overlap(tuple(each for each in shared if each < end), end / _END)
