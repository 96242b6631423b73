"""From the bytes of any image file to those that a graph decodes, by Pillow.

Who builds records and who predicts come here, so that they take the same files
and see the same pixels: of an animation the first frame, of several pages the
first, of transparent pixels their colour, of 16 bits the 8 nearest. Colour
profiles are not applied. docs/formats.md lists formats and pixel types. Nothing
here needs TensorFlow.
"""

import contextlib
import dataclasses
import io
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import (
  ExifTags,
  Image,
  ImageChops,
  TiffImagePlugin,
  UnidentifiedImageError,
)

from official_coatnet.data import image_formats
from official_coatnet.data.image_formats import ImageError

# Of an image that has to be encoded anew for records.
JPEG_QUALITY = 95
# What an export holds of the data that its network was trained on.
DATA_FILE = 'data.json'
# Pillow calls a JPEG that carries further pictures, as cameras write them, MPO.
_JPEG_FORMATS = ('JPEG', 'MPO')
# Baseline, extended and progressive: the kinds of JPEG that TensorFlow decodes.
# There are lossless ones, too, and such with other frames.
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
# Red, green and blue within 32 bits of a BMP, as TensorFlow takes them.
_BGR_MASKS = b'\0\0\xff\0\0\xff\0\0\xff\0\0\0'
_TRANSPOSES = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
# Tags of a TIFF that say it is what a camera's sensor saw, or a preview of it.
_DNG_VERSION, _SUBFILE_TYPE, _PHOTOMETRIC = 50706, 254, 262
_REDUCED = 1
# And those that say how its pixels are stored.
_KIND_TAGS = {258: 'bits', 339: 'sample format', 262: 'photometric'}
_SENSOR = 32803


@dataclasses.dataclass(frozen=True)
class Options:
  """How image files are read.

  Attributes:
    exif_orientation: whether images are turned as their EXIF data say.
    value_range: values of black and white where the type of the pixels does not
      say them: float, 32 bits, with a sign.
  """

  exif_orientation: bool = False
  value_range: tuple[float, float] | None = None


def to_jpeg(
  contents: bytes, options: Options = Options()
) -> tuple[bytes, int, int]:
  """Returns an image as an RGB or grey JPEG, with its width and height.

  A JPEG that is one already keeps its bytes. Anything else is converted to RGB
  and encoded at quality 95.

  Args:
    contents: an image file.
    options: how it is read.

  Raises:
    ValueError: if it is refused or cannot be decoded to its end, with the
      reason.
  """
  with _opened(contents) as image:
    image.load()  # Decodes: a header alone says nothing.
    if _is_plain_jpeg(image, contents) and _turn(image, options) is None:
      return contents, *image.size
    image = _to_rgb(image, options)
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=JPEG_QUALITY)
  return buffer.getvalue(), *image.size


def to_graph(contents: bytes, options: Options = Options()) -> bytes:
  """Returns an image as TensorFlow decodes it to the pixels of `to_jpeg`.

  Nothing is lost: what is not a JPEG or a PNG that TensorFlow decodes in the
  same way becomes a PNG. Those keep their bytes, and whether they are whole is
  left to the graph.

  Args:
    contents: an image file.
    options: how it is read.

  Raises:
    ValueError: as in `to_jpeg`.
  """
  with _opened(contents) as image:
    plain = _is_plain_jpeg(image, contents) or (
      image.format == 'PNG' and not _is_deep(image)
    )
    if plain and _turn(image, options) is None:
      return contents
    buffer = io.BytesIO()
    # Level 1: it is sent once, and thrown away.
    _to_rgb(image, options).save(buffer, 'PNG', compress_level=1)
  return buffer.getvalue()


def decode(contents: bytes, options: Options = Options()) -> Image.Image:
  """Decodes an image file to RGB; errors as in `to_jpeg`."""
  with _opened(contents) as image:
    return _to_rgb(image, options)


def raw_problem(contents: bytes) -> str:
  """Says why TensorFlow does not decode a JPEG, BMP or WebP that Pillow does.

  Args:
    contents: an image file, as a graph gets it without these tools.

  Returns:
    What is wrong, or ''. data/images.py refuses BMPs by the same rule. Of WebP
    it is what a TensorFlow that decodes it does not.
  """
  if contents[:2] == b'\xff\xd8' and _jpeg_frame(contents) not in _JPEG_FRAMES:
    return 'JPEG of a kind that TensorFlow does not decode'
  header = contents[:66].ljust(66, b'\0')
  if header[:4] == b'RIFF' and header[8:12] == b'WEBP':
    return image_formats.webp_problem(header)
  if header[:2] != b'BM':
    return ''
  size, bits, compression = (
    int.from_bytes(header[at:end], 'little')
    for at, end in ((14, 18), (28, 30), (30, 34))
  )
  known = compression == 0 and bits in (8, 24, 32)
  in_order = header[54:] == _BGR_MASKS
  if size >= 40 and (known or (compression == 3 and bits == 32 and in_order)):
    return ''
  return 'BMP of a kind that TensorFlow does not decode, or not rightly'


def parse_range(text: str | None, *, name: str) -> tuple[float, float] | None:
  """Reads a range of values such as '0,1'.

  Args:
    text: values of black and white, with a comma between them; None for none.
    name: what to call it in the error.

  Raises:
    ValueError: if it is none.
  """
  if text is None:
    return None
  try:
    black, white = (float(part) for part in text.split(','))
  except ValueError:
    black = white = math.nan
  if black == white or not math.isfinite(black - white):
    raise ValueError(
      f'{name} is {text!r}, but must be the values of black and of white with '
      'a comma between them, such as 0,1 or 0,255.'
    )
  return black, white


def trained_with_exif(data: Mapping[str, Any] | None) -> bool:
  """Whether a network was trained on images that were turned by EXIF data.

  Args:
    data: what the file `DATA_FILE` of its export says; None if there is none,
      as in exports of earlier versions.
  """
  return bool(((data or {}).get('train') or {}).get('exif_orientation', False))


@contextlib.contextmanager
def _opened(contents: bytes) -> Iterator[Image.Image]:
  """Opens an image; within it, errors of decoders are ValueErrors."""
  try:
    with warnings.catch_warnings():
      # Of what is odd and decodes all the same, nothing is said.
      warnings.simplefilter('ignore')
      with _open(contents) as image:
        yield image
  except ImageError:
    raise  # Ours already.
  except Image.DecompressionBombError as error:
    raise ValueError(f'{error} Shrink it.') from error
  except Exception as error:
    # Decoders raise anything, struct.error and IndexError included, and one
    # odd file must not end the work of days.
    raise ValueError(f'{type(error).__name__}: {error}') from error


def _open(contents: bytes) -> Image.Image:
  found = image_formats.find_format(contents[: image_formats.HEAD])
  if found == 'HEIF':
    import pillow_heif  # Who has it wants it; Pillow does without.

    pillow_heif.register_heif_opener()
  _refuse(found)
  try:
    image = Image.open(io.BytesIO(contents))
  except UnidentifiedImageError as error:
    raise ImageError(_explain_unknown(contents, found)) from error
  _refuse(image.format)
  if image.format == 'TIFF' and _is_sensor_data(image):
    _refuse('camera raw')
  if image.mode == 'LAB':
    _refuse('LAB TIFF')
  return image


def _refuse(image_format: str | None) -> None:
  if image_format in image_formats.REFUSED:
    reason = image_formats.REFUSED[image_format]
    raise ImageError(f'{image_format} is not taken: {reason}')


def _explain_unknown(contents: bytes, found: str | None) -> str:
  """Says why Pillow does not know an image, as far as it says so."""
  if found not in Image.OPEN:
    return 'no image of a known format'
  factory, _ = Image.OPEN[found]
  try:
    factory(io.BytesIO(contents), '')
  except Exception as error:
    kind = _tiff_kind(contents) if found == 'TIFF' else ''
    return f'{found} of a kind that is not taken, or damaged: {error}{kind}'
  return f'{found} of a kind that is not taken, or damaged'


def _tiff_kind(contents: bytes) -> str:
  """Says how the pixels of a TIFF are stored, as far as it can be read."""
  try:
    file = io.BytesIO(contents)
    tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
    file.seek(tags.next)
    tags.load(file)
    values = ', '.join(
      f'{name} {tags[number]}'
      for number, name in _KIND_TAGS.items()
      if number in tags
    )
  except Exception:  # Damaged; that much is said already.
    return ''
  return f' ({values})'


def _is_sensor_data(image: Image.Image) -> bool:
  """Whether a TIFF is a raw file, of which Pillow sees at most a preview."""
  tags = getattr(image, 'tag_v2', {})
  return (
    _DNG_VERSION in tags
    or tags.get(_PHOTOMETRIC) == _SENSOR
    or bool(tags.get(_SUBFILE_TYPE, 0) & _REDUCED)
  )


def _is_plain_jpeg(image: Image.Image, contents: bytes) -> bool:
  """Whether an image is an RGB or grey JPEG that TensorFlow decodes."""
  return (
    image.format in _JPEG_FORMATS
    and image.mode in ('RGB', 'L')
    and _jpeg_frame(contents) in _JPEG_FRAMES
  )


def _jpeg_frame(contents: bytes) -> int | None:
  """Returns the marker of a JPEG's frame, which says of what kind it is."""
  position = 2
  while position + 4 <= len(contents):
    if contents[position] != 0xFF:
      return None
    marker = contents[position + 1]
    # Neither tables for Huffman and arithmetic coding, nor what is reserved.
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
      return marker
    if marker == 0xFF:  # A byte to fill up with.
      position += 1
    else:
      length = contents[position + 2 : position + 4]
      position += 2 + int.from_bytes(length, 'big')
  return None


def _is_deep(image: Image.Image) -> bool:
  """Whether pixels have more than 8 bits, or a sign."""
  return (
    image.mode == 'F'
    or image.mode.startswith('I')
    or image_formats.is_signed(image)
  )


def _turn(image: Image.Image, options: Options) -> Image.Transpose | None:
  """Returns how to turn an image, or None; a TIFF Pillow turns by itself."""
  if not options.exif_orientation or image.format == 'TIFF':
    return None
  try:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # Broken EXIF data of an image that is not broken.
    return None
  return _TRANSPOSES.get(orientation)


def _to_rgb(image: Image.Image, options: Options) -> Image.Image:
  """Returns a loaded RGB image, and nothing else with it."""
  image.load()
  turn = _turn(image, options)
  if _is_deep(image):
    # Needs NumPy, which tools/query.py does without where it can.
    from official_coatnet.data import pixel_values

    image = pixel_values.to_grey(image, value_range=options.value_range)
  elif (
    image.format in _JPEG_FORMATS
    and image.mode == 'CMYK'
    and 'adobe' not in image.info
  ):
    # Pillow takes all of them for Adobe's, which are stored inverted.
    image = ImageChops.invert(image)
  if image.mode in ('La', 'RGBa'):  # Colours that are multiplied by alpha.
    image = image.convert('LA' if image.mode == 'La' else 'RGBA')
  image = image.convert('RGB')
  # Transparent colours and profiles would be written along.
  image.info = {}
  return image if turn is None else image.transpose(turn)
