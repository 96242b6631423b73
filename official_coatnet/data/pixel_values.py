"""From pixels of more than 8 bits to grey images of 8.

Where the type of a pixel says which values are black and white, as that of 16
bits does, it is followed. Where it does not (float, 32 bits, a sign), whoever
has the images states the range: to guess it makes images black.
"""

import numpy as np
from PIL import Image

from official_coatnet.data import image_formats
from official_coatnet.data.image_formats import ImageError

# Tags of a TIFF file.
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_MIN_IS_WHITE = 0
# What people store floats and 32-bit integers as, by their largest value.
_USUAL_RANGES = ((0, 1), (0, 255), (0, 65535))

Range = tuple[float, float]


def to_grey(
  image: Image.Image, *, value_range: Range | None = None
) -> Image.Image:
  """Turns deep pixels into 8 bits, rounded to the nearest.

  Args:
    image: a loaded image of one channel, of more than 8 bits or with a sign.
    value_range: black and white of types that do not say them: the lower one
      need not be the first.

  Returns:
    A grey image, mode 'L'.

  Raises:
    ImageError: if a range is needed, or a value lies outside of it, or is no
      number.
  """
  pixels = _read_pixels(image)
  said = _said_range(image)
  if said is None:
    said = _check_range(pixels, value_range)
  black, white = said
  if image_formats.read_tag(image, _PHOTOMETRIC) == _MIN_IS_WHITE:
    # Pillow has it for up to 8 bits, and forgets it for more.
    black, white = white, black
  grey = (pixels.astype(np.float64) - black) * (255 / (white - black))
  return Image.fromarray(np.floor(grey + 0.5).astype(np.uint8))


def _read_pixels(image: Image.Image) -> np.ndarray:
  """Returns [height, width] values, of the type that the file has."""
  pixels = np.asarray(image)
  if image_formats.is_signed(image):
    return pixels.view(np.int8)
  if image_formats.is_unsigned(image):
    return pixels.view(np.uint32)
  return pixels


def _said_range(image: Image.Image) -> Range | None:
  """Returns black and white as the type says them, if it does."""
  if image.mode.startswith('I;16'):
    bits = image_formats.read_tag(image, _BITS_PER_SAMPLE)
    return 0, 2 ** (bits if bits else 16) - 1
  if image.mode == 'I' and image.format == 'PPM':
    return 0, 65535  # Pillow stretches the range of its header to this.
  return None


def _check_range(pixels: np.ndarray, value_range: Range | None) -> Range:
  """Returns the range that was stated; an ImageError if it cannot be."""
  kind = f'{pixels.dtype.name} pixels'
  if pixels.dtype.kind == 'f' and not np.isfinite(pixels).all():
    bad = int((~np.isfinite(pixels)).sum())
    raise ImageError(
      f'{kind}, {bad} of them no number (NaN) or without end; mend the image, '
      'or leave it out'
    )
  low, high = pixels.min().item(), pixels.max().item()
  if value_range is None:
    found = (low, high) if low < high else sorted((0, low))
    usual = [r for r in _USUAL_RANGES if low >= r[0] and high <= r[1]]
    black, white = map(_text, usual[0] if usual else found)
    raise ImageError(
      f'{kind} from {_text(low)} to {_text(high)}, a type that does not say '
      'which values are black and white; state them, for instance as '
      f'--value_range={black},{white}'
    )
  if low < min(value_range) or high > max(value_range):
    black, white = map(_text, value_range)
    raise ImageError(
      f'{kind} from {_text(low)} to {_text(high)}, outside of value_range = '
      f'{black},{white}; state the values of black and white of all images'
    )
  return value_range


def _text(value: float) -> str:
  """Writes a number for people: no integer as 4.29497e+09."""
  return f'{value:.0f}' if float(value).is_integer() else f'{value:g}'
