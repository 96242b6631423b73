"""Which image formats are taken, told by the first bytes of a file.

What Pillow opens is taken, but for a few formats that are refused by name: one
that would run other programs, those of which Pillow knows no more than the
header, and those whose pixels are not what is seen. docs/formats.md lists all,
with what raw bytes may be that go to the graph without these tools.
"""

import importlib.util

from PIL import Image

# So many bytes of a file are enough to name its format.
HEAD = 512
_CONVERT = 'convert it to JPEG or PNG'
_NO_RAW = 'convert it to JPEG or PNG with what develops raw files'
_HEADER_ONLY = f'Pillow knows its header only; {_CONVERT}'
# Format to why it is not taken, and the likely fix.
REFUSED = {
  'HEIC': f'`pip install pillow-heif` reads it; or {_CONVERT}',
  'SVG': f'a drawing has no pixels; {_CONVERT}',
  'PDF': f'a document has no pixels; {_CONVERT}',
  'EPS': f'a document would be run by Ghostscript; {_CONVERT}',
  'WMF': f'a drawing has no pixels; {_CONVERT}',
  'PSD': f'layers need not have been put together in it; {_CONVERT}',
  'JPEG XL': _CONVERT,
  'JPEG XR': _CONVERT,
  'OpenEXR': f'its values have no end; {_CONVERT}',
  'Radiance HDR': f'its values have no end; {_CONVERT}',
  'camera raw': _NO_RAW,
  'MPEG': f'a video is no image; {_CONVERT}',
  'video': f'a video is no image; {_CONVERT}',
  'BUFR': _HEADER_ONLY,
  'GRIB': _HEADER_ONLY,
  'HDF5': _HEADER_ONLY,
  'LAB TIFF': _CONVERT,
}
# Of a TIFF, how a number is stored: a tag, and two of its values.
_SAMPLE_FORMAT = 339
_UNSIGNED, _SIGNED = 1, 2
# Flags of an extended WebP, and one in the header of a lossless one.
_WEBP_FRAMES, _WEBP_ALPHA, _WEBP_LOSSLESS_ALPHA = 0x02, 0x10, 0x10
# First bytes, for formats that Pillow does not know or takes for others.
_SIGNATURES = (
  (b'%PDF', 'PDF'),
  (b'8BPS', 'PSD'),
  (b'\xff\x0a', 'JPEG XL'),
  (b'\0\0\0\x0cJXL ', 'JPEG XL'),
  (b'II\xbc\x01', 'JPEG XR'),
  (b'v/1\x01', 'OpenEXR'),
  (b'#?RADIANCE', 'Radiance HDR'),
  (b'#?RGBE', 'Radiance HDR'),
  (b'IIRO', 'camera raw'),  # Olympus.
  (b'IIRS', 'camera raw'),
  (b'MMOR', 'camera raw'),
  (b'IIU\0', 'camera raw'),  # Panasonic.
  (b'FUJIFILMCCD-RAW', 'camera raw'),
  (b'FOVb', 'camera raw'),  # Sigma.
  (b'\0MRM', 'camera raw'),  # Minolta.
  (b'\x1aE\xdf\xa3', 'video'),  # Matroska.
)
# Of the ISO media formats, by the brand that stands behind `ftyp`.
_HEIC_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx')
_CONTAINER_BRANDS = (b'mif1', b'msf1')
_AVIF_BRANDS = (b'avif', b'avis')
# Pillow has no look at the first bytes of these, and finds them by trying.
_BY_ENDING = {'.tga': 'TGA', '.icb': 'TGA', '.vda': 'TGA', '.vst': 'TGA'}
_BY_ENDING |= {'.im': 'IM', '.pcd': 'PCD', '.spi': 'SPIDER'}


class ImageError(ValueError):
  """Why an image is not taken, for people."""


def can_open(head: bytes, *, name: str = '') -> bool:
  """Whether a file looks like an image that is taken.

  Args:
    head: its first bytes, `HEAD` of them or all.
    name: its name, whose ending stands for formats that begin in no way of
      their own.
  """
  found = find_format(head, name=name)
  return found is not None and found not in REFUSED


def find_format(head: bytes, *, name: str = '') -> str | None:
  """Names the format of an image file.

  Args:
    head: its first bytes, `HEAD` of them or all.
    name: its name; see `can_open`.

  Returns:
    Pillow's name of it, or a key of `REFUSED`; None for what is no image.
  """
  for signature, found in _SIGNATURES:
    if head.startswith(signature):
      return found
  if head[4:8] == b'ftyp':
    return _find_iso_format(head)
  if head[:2] in (b'II', b'MM') and head[8:10] == b'CR':
    return 'camera raw'  # Canon; otherwise a TIFF.
  if _is_svg(head):
    return 'SVG'
  by_pillow = _find_by_pillow(head)
  if by_pillow in (None, 'CUR'):  # A TGA may begin as a cursor does.
    return _BY_ENDING.get(f'.{name.lower().rpartition(".")[2]}', by_pillow)
  return by_pillow


def _find_by_pillow(head: bytes) -> str | None:
  Image.init()
  # Zeros behind it: some plugins read over the end of a few bytes.
  prefix = head[:16].ljust(16, b'\0')
  for found, (_, accept) in Image.OPEN.items():
    # Some answer with a sentence: known, but not to this Pillow.
    if head and accept and accept(prefix) is True:
      return found
  return None


def _find_iso_format(head: bytes) -> str | None:
  brand = head[8:12]
  compatible = head[16 : int.from_bytes(head[:4], 'big')]
  brands = {compatible[i : i + 4] for i in range(0, len(compatible), 4)}
  if brand in _AVIF_BRANDS:
    return 'AVIF'
  if brand in _CONTAINER_BRANDS and brands.intersection(_AVIF_BRANDS):
    return 'AVIF'
  if brand in (*_HEIC_BRANDS, *_CONTAINER_BRANDS):
    # What pillow-heif calls it, where that is installed.
    return 'HEIF' if has_heif() else 'HEIC'
  return 'camera raw' if brand == b'crx ' else 'video'


def _is_svg(head: bytes) -> bool:
  text = head.removeprefix(b'\xef\xbb\xbf').lstrip()
  return text.startswith(b'<svg') or (
    text.startswith((b'<?xml', b'<!--', b'<!DOCTYPE svg')) and b'<svg' in text
  )


def has_heif() -> bool:
  """Whether Pillow can be taught HEIC, by the package pillow-heif."""
  return importlib.util.find_spec('pillow_heif') is not None


def read_tag(image: Image.Image, number: int) -> int | None:
  """Returns the first value of a tag of a TIFF file, or None."""
  value = getattr(image, 'tag_v2', {}).get(number)
  return value[0] if isinstance(value, tuple) else value


def is_signed(image: Image.Image) -> bool:
  """Whether 8 bits have a sign, of which Pillow takes no notice."""
  return image.mode == 'L' and read_tag(image, _SAMPLE_FORMAT) == _SIGNED


def is_unsigned(image: Image.Image) -> bool:
  """Whether 32 bits have no sign, for which Pillow has no type."""
  return image.mode == 'I' and read_tag(image, _SAMPLE_FORMAT) == _UNSIGNED


def webp_problem(header: bytes) -> str:
  """Says why a TensorFlow that decodes WebP does not decode this one, or ''.

  Args:
    header: its first bytes, 25 or more.
  """
  kind = header[12:16]
  extended = header[20] if kind == b'VP8X' else 0
  lossless = header[24] if kind == b'VP8L' else 0
  if extended & _WEBP_FRAMES:
    return 'WebP of several frames, which TensorFlow does not decode'
  if extended & _WEBP_ALPHA or lossless & _WEBP_LOSSLESS_ALPHA:
    return 'WebP with alpha, which TensorFlow does not decode'
  return ''
