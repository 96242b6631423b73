"""Images as records hold them: RGB or grey JPEGs, encoded anew at most once.

Training then decodes all of them the fast way.
"""

import io

from PIL import Image, UnidentifiedImageError

# Of an image that had to be encoded anew. Fingerprints of builds hold it.
JPEG_QUALITY = 95
# Pillow calls a JPEG that carries further pictures, as cameras write them, MPO.
_JPEG_FORMATS = ('JPEG', 'MPO')


def normalize_image(contents: bytes) -> tuple[bytes, int, int]:
  """Returns an image as an RGB or grey JPEG, with its width and height.

  A JPEG that is one already keeps its bytes. Anything else is converted to RGB
  and encoded at quality 95: of an animation the first frame, of transparent
  pixels their colour.

  Args:
    contents: an image file.

  Raises:
    ValueError: if it cannot be decoded to its end, with the reason.
  """
  try:
    with Image.open(io.BytesIO(contents)) as image:
      image.load()  # Decodes: a header alone says nothing.
      width, height = image.size
      if image.format in _JPEG_FORMATS and image.mode in ('RGB', 'L'):
        return contents, width, height
      buffer = io.BytesIO()
      _to_rgb(image).save(buffer, 'JPEG', quality=JPEG_QUALITY)
  except UnidentifiedImageError as error:
    raise ValueError('no image of a known format') from error
  except Exception as error:
    # Decoders raise anything, struct.error and IndexError included, and one
    # odd file must not end the work of days.
    raise ValueError(f'{type(error).__name__}: {error}') from error
  return buffer.getvalue(), width, height


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode.startswith('I'):
    # 16-bit grey: PIL's own conversion would cut off everything above 255.
    image = image.point(lambda value: value / 256).convert('L')
  return image.convert('RGB')
