"""What kind of file this is, told by its first bytes and not by its name.

A pattern such as `train*` also finds the list that the records were made from.
TensorFlow's reader calls that, and a compressed shard, a corrupted record.
"""

import struct
import zlib

import google_crc32c

from official_coatnet import files

COMPRESSIONS = ('GZIP', 'ZLIB')
# How much of a file is looked at: a small request, even of an object store.
HEAD_BYTES = 512
# The length of a record, uint64, and its checksum, uint32: little-endian.
_HEADER = struct.Struct('<QI')
# What zlib takes for a stream of its own, and for one of gzip.
WINDOW_BITS = {'ZLIB': 15, 'GZIP': 31}

# Compressions that TensorFlow does not undo, each with what does.
_UNREAD_COMPRESSIONS = (
  (b'BZh', 'bzip2', 'bunzip2'),
  (b'\xfd7zXZ\0', 'xz', 'unxz'),
  (b'\x28\xb5\x2f\xfd', 'zstd', 'zstd -d'),
  (b'\x04\x22\x4d\x18', 'lz4', 'lz4 -d'),
)
_UNPACK = 'unpack it and build records of what it holds, or move it away'
_STRAY = (
  'move it away, or set DataConfig.file_pattern to what the shards alone match'
)
# Other files, each with what to do about it.
_OTHERS = (
  (b'PK\x03\x04', 'a zip archive', _UNPACK),
  (b"7z\xbc\xaf'\x1c", 'a 7z archive', _UNPACK),
  (b'Rar!', 'a RAR archive', _UNPACK),
  (b'PAR1', 'a Parquet file', _STRAY),
  (b'ARROW1', 'an Arrow file', _STRAY),
  (b'\xce\xd7\x23\x0a'[::-1], 'a RecordIO file of MXNet', _STRAY),
  (b'\x93NUMPY', 'a NumPy array', _STRAY),
  (b'\x89HDF\r\n\x1a\n', 'an HDF5 file', _STRAY),
  (b'SQLite format 3\0', 'an SQLite database', _STRAY),
  (b'Obj\x01', 'an Avro file', _STRAY),
  (b'%PDF', 'a PDF', _STRAY),
  (b'\x80\x04\x95', 'a pickle of Python', _STRAY),
  (
    b'\x83\xaf\x70\xd1\x0d\x88\x4a\x3f',
    'an ArrayRecord (Riegeli) file',
    _STRAY,
  ),
  (
    b'version https://git-lfs',
    'the pointer of Git LFS to a file',
    'fetch the file itself by `git lfs pull`',
  ),
  (
    b'<',
    'a page of HTML or XML, perhaps the answer of a server to a failed '
    'download',
    'copy the file again, or move it away',
  ),
)
_IMAGES = (
  (b'\xff\xd8\xff', 'JPEG'),
  (b'\x89PNG', 'PNG'),
  (b'GIF8', 'GIF'),
  (b'BM', 'BMP'),
  (b'II*\0', 'TIFF'),
  (b'MM\0*', 'TIFF'),
  (b'\0\0\0\x0cjP  ', 'JPEG 2000'),
  (b'\xff\x0a', 'JPEG XL'),
  (b'\0\0\0\x0cJXL ', 'JPEG XL'),
)
# Brands of ISO media files, which stand behind the size and 'ftyp'.
_BRANDS = {b'avif': 'AVIF', b'avis': 'AVIF', b'heic': 'HEIC', b'mif1': 'HEIC'}


def masked_crc32c(data: bytes) -> int:
  """Returns the CRC-32C of bytes as TFRecord files store it.

  Turned and added to, so that the checksum of data that holds checksums itself
  does not come out special.
  """
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def is_framed(head: bytes) -> bool:
  """Whether a TFRecord file begins like this: a length and its checksum."""
  if len(head) < _HEADER.size:
    return False
  _, stored = _HEADER.unpack_from(head)
  return masked_crc32c(head[:8]) == stored


def compression_of(head: bytes) -> str | None:
  """Returns 'GZIP', 'ZLIB' or None by the first bytes of a file."""
  if is_framed(head):
    return None
  if head[:2] == b'\x1f\x8b':
    return 'GZIP'
  # Any text that begins with x could pass for zlib's two bytes alone.
  is_zlib = (
    len(head) > 2
    and head[0] == 0x78
    and not (int.from_bytes(head[:2], 'big') % 31)
  )
  return 'ZLIB' if is_zlib and decompress_head(head, 'ZLIB') else None


def decompress_head(head: bytes, compression: str) -> bytes:
  """Returns what the first bytes of a compressed file hold; b'' for nothing."""
  try:
    stream = zlib.decompressobj(WINDOW_BITS[compression])
    return stream.decompress(head, HEAD_BYTES)
  except zlib.error:
    return b''


def read_head(path: str) -> bytes:
  """Returns the first bytes of a file."""
  with files.open_binary(path) as file:
    return file.read(HEAD_BYTES)


def problem(head: bytes, *, compression: str | None) -> str:
  """Says why a file cannot be read as TFRecords, or ''.

  Args:
    head: its first `HEAD_BYTES` bytes.
    compression: what it should be compressed by, as DataConfig.compression.

  Returns:
    What follows the name of the file in a sentence, with what to do.
  """
  found = compression_of(head)
  inner = decompress_head(head, found) if found else head
  if is_framed(inner):
    return _compression_problem(found, compression)
  if found:
    inside = (other_kind(inner) or ('something else', ''))[0]
    return (
      f'is compressed by {found.lower()} and holds no TFRecords but {inside}; '
      f'{_STRAY}.'
    )
  for magic, name, command in _UNREAD_COMPRESSIONS:
    if head.startswith(magic):
      return (
        f'is compressed by {name}, which is not read here; decompress it by '
        f'`{command}`, or compress it by gzip and set DataConfig.compression '
        "to 'GZIP'."
      )
  kind = other_kind(head)
  if kind is not None:
    return f'is no TFRecord file but {kind[0]}; {kind[1]}.'
  return (
    'is no TFRecord file, or its first record is damaged: it begins with '
    f'{head[:8].hex(" ")}, which is not the length of a record and its '
    f'checksum; {_STRAY}. `tools/tfrecords.py repair` saves the intact records '
    'of damaged files.'
  )


def _compression_problem(found: str | None, wanted: str | None) -> str:
  """Compares the compression of a TFRecord file with the configured one."""
  if found == wanted:
    return ''
  if found is None:
    return (
      f'is not compressed, but DataConfig.compression is {wanted!r}; set it to '
      'None, or keep compressed and other shards in folders of their own.'
    )
  return (
    f'is compressed by {found.lower()}, but DataConfig.compression is '
    f'{wanted!r}; set it to {found!r}, or write uncompressed files by '
    '`tools/tfrecords.py repair`, which restart faster.'
  )


def image_format(head: bytes) -> str | None:
  """Returns the format of an image file by its first bytes, or None."""
  if head[:4] == b'RIFF' and head[8:12] == b'WEBP':
    return 'WebP'
  if head[4:8] == b'ftyp':
    return _BRANDS.get(head[8:12])
  return next((name for magic, name in _IMAGES if head.startswith(magic)), None)


def other_kind(head: bytes) -> tuple[str, str] | None:
  """Returns what a file is that is no TFRecord file, and what to do about it.

  Args:
    head: its first bytes.

  Returns:
    The kind, with its article, and an advice; None if it is not known.
  """
  for magic, kind, advice in _OTHERS:
    if head.startswith(magic):
      return kind, advice
  if head[257:262] == b'ustar':
    return 'a tar archive', _UNPACK
  image = image_format(head)
  if image is not None:
    return f'a single image ({image})', _STRAY
  if head and not head.strip(b'\0'):
    return 'nothing but zeros, as an unfinished copy leaves', 'copy it again'
  line = text_line(head)
  if line is not None:
    return f'text, whose first line is {line!r}', _STRAY
  return None


def text_line(head: bytes, *, length: int = 60) -> str | None:
  """Returns the first line of a text, cut to `length`; None if it is none."""
  try:
    # The end may lie within a letter.
    text = head.removeprefix(b'\xef\xbb\xbf').decode()
  except UnicodeDecodeError as error:
    if error.start < len(head) - 3:
      return None
    text = head[: error.start].decode()
  if not text or any(ord(c) < 32 and c not in '\t\n\r\f' for c in text):
    return None
  line = text.strip().split('\n')[0].strip()
  return line if len(line) <= length else line[: length - 3] + '...'
