"""Tests of official_coatnet.data.file_kinds."""

import gzip
import io
import os
import tarfile
import zlib

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import file_kinds
from tests.fixtures import image_files


def tar_of(name, content):
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w') as archive:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
  return buffer.getvalue()


class FileKindsTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, 'train-0')

  def write(self, records=(b'a' * 500, b'b'), compression=''):
    options = tf.io.TFRecordOptions(compression_type=compression)
    with tf.io.TFRecordWriter(self.path, options) as writer:
      for record in records:
        writer.write(record)
    with open(self.path, 'rb') as file:
      return file.read()

  def problem(self, content, *, compression=None):
    head = content[: file_kinds.HEAD_BYTES]
    return file_kinds.problem(head, compression=compression)

  @parameterized.parameters((None, ''), ('GZIP', 'GZIP'), ('ZLIB', 'ZLIB'))
  def test_as_tensorflow_writes_them(self, kind, option):
    head = self.write(compression=option)
    self.assertEqual(file_kinds.compression_of(head), kind)
    self.assertEqual(self.problem(head, compression=kind), '')

  @parameterized.parameters(
    ('GZIP', None, "compressed by gzip, but .*is None; set it to 'GZIP'"),
    ('ZLIB', 'GZIP', "compressed by zlib, but .*is 'GZIP'; set it to 'ZLIB'"),
    ('', 'ZLIB', "not compressed, but DataConfig.compression is 'ZLIB'"),
  )
  def test_another_compression(self, written, wanted, words):
    self.assertRegex(
      self.problem(self.write(compression=written), compression=wanted), words
    )

  def test_lengths_that_look_like_a_compression(self):
    """The length of a record comes first: 35615 bytes begin as gzip does."""
    for length in (0x8B1F, 0x9C78):
      head = self.write([b'a' * length])
      self.assertEqual(self.problem(head), '')

  def test_every_length_of_tensorflows_is_framed(self):
    for length in (0, 1, 255, 65536, 1234567):
      self.assertTrue(file_kinds.is_framed(self.write([b'x' * length])))
    self.assertFalse(file_kinds.is_framed(b'\x01' + bytes(11)))
    self.assertFalse(file_kinds.is_framed(b''))

  @parameterized.parameters(
    (b'image,label\na.jpg,3\n' * 9, "text, whose first line is 'image,label'"),
    ('\ufefféa,b\n'.encode(), "first line is 'éa,b'"),
    (b'x\x9c is how this text begins\n', 'is no TFRecord file'),
    (b'PAR1' + bytes(range(50)), 'a Parquet file'),
    (b'PK\x03\x04' + bytes(range(50)), 'a zip archive; unpack it'),
    (b'<?xml version="1.0"?><Error>', 'HTML or XML.*copy the file again'),
    (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
    (b'BZh91AY&SY', 'compressed by bzip2.*`bunzip2`'),
    (b'\xfd7zXZ\0\0\4', 'compressed by xz.*`unxz`'),
    (b'\x28\xb5\x2f\xfd\4', 'compressed by zstd.*`zstd -d`'),
    (bytes(100), 'nothing but zeros.*copy it again'),
    (tar_of('a.jpg', b'jpg'), 'a tar archive'),
    (
      gzip.compress(b'image,label\na,3\n'),
      'by gzip and holds no TFRecords but'
      " text, whose first line is 'image,label'",
    ),
    (zlib.compress(b'image,label\na,3\n'), 'by zlib and holds no TFRecords'),
    (image_files.encode(0), r'a single image \(JPEG\); move it away'),
    (image_files.encode(0, 'WEBP'), r'a single image \(WebP\)'),
    (b'\x80\x00\x00\x01' * 9, 'first record is damaged: it begins with 80 00'),
    (b'\0', 'nothing but zeros'),
  )
  def test_other_files(self, content, words):
    self.assertRegex(self.problem(content), words)

  def test_a_damaged_shard_is_not_taken_for_another_kind(self):
    content = self.write()
    damaged = bytes([content[0] ^ 1]) + content[1:]
    self.assertRegex(self.problem(damaged), 'first record is damaged.*repair`')

  def test_text_that_is_cut_within_a_letter(self):
    self.assertEqual(file_kinds.text_line('aé'.encode()[:-1]), 'a')
    self.assertIsNone(file_kinds.text_line(b'\xff\xd8\xff'))
    self.assertEqual(file_kinds.text_line(b'a' * 99), 'a' * 57 + '...')


if __name__ == '__main__':
  tf.test.main()
