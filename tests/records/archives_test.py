"""Tests of official_coatnet.records.archives."""

import gzip
import io
import os
import tarfile

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.records import archives
from tests.fixtures import image_files

PATTERN = r'n\d{8}_\d+\.JPEG'


def link(kind, target='/etc/passwd'):
  info = tarfile.TarInfo('n00000001_9.JPEG')
  info.type = kind
  info.linkname = target
  return info


class ArchivesTest(parameterized.TestCase, tf.test.TestCase):
  def list(self, contents):
    file = io.BytesIO(contents)
    return list(archives.list_members(file, '/d/x.tar', pattern=PATTERN))

  def test_offsets_and_contents(self):
    images = {f'n00000001_{i}.JPEG': os.urandom(700 * i) for i in range(4)}
    contents = image_files.make_tar(images.items())
    members = self.list(contents)
    self.assertEqual([member.name for member in members], list(images))
    file = io.BytesIO(contents)
    for member in reversed(members):
      self.assertEqual(
        archives.read_member(file, offset=member.offset, size=member.size),
        images[member.name],
      )

  def test_archive_in_an_archive(self):
    inner = image_files.make_tar([('n00000001_1.JPEG', b'one')])
    contents = image_files.make_tar([('a', b'x' * 5), ('b', inner)])
    file = io.BytesIO(contents)
    outer = list(archives.list_members(file, 'x', pattern='[ab]'))
    (member,) = archives.list_members(
      file, 'x', pattern=PATTERN, inside=outer[1]
    )
    start = member.offset
    self.assertEqual(contents[start : start + member.size], b'one')

  @parameterized.parameters(
    '../n00000001_1.JPEG',
    '/n00000001_1.JPEG',
    'a/n00000001_1.JPEG',
    './n00000001_1.JPEG',
    'n00000001_1.JPEG.exe',
    'xn00000001_1.JPEG',
    'n00000001_1.JPEG\n',
    'n0001_1.JPEG',
    '..',
  )
  def test_names_that_are_refused(self, name):
    contents = image_files.make_tar([(name, b'x')])
    with self.assertRaisesRegex(ValueError, r'/d/x.tar: .* at byte 0 does not'):
      self.list(contents)

  def test_a_name_that_is_not_utf8_can_be_printed(self):
    name = os.fsdecode(b'n00000001_1\xe4.JPEG')
    with self.assertRaises(ValueError) as caught:
      self.list(image_files.make_tar([(name, b'x')]))
    self.assertIn(r"'n00000001_1\xe4.JPEG' at byte", str(caught.exception))
    str(caught.exception).encode()

  @parameterized.parameters(
    tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
  )  # fmt: skip
  def test_members_that_are_no_plain_files(self, kind):
    contents = image_files.make_tar(
      [('n00000001_1.JPEG', b'x'), (link(kind), None)]
    )
    with self.assertRaisesRegex(ValueError, 'at byte 1024 is a link, a folder'):
      self.list(contents)

  def test_cut_off(self):
    images = [(f'n00000001_{i}.JPEG', b'x' * 2000) for i in range(3)]
    contents = image_files.make_tar(images)
    # In the data of an image, before its header, in it, before the end mark.
    for length in (1000, 512 + 2048, 512 + 2048 + 100, 3 * (512 + 2048)):
      with self.assertRaisesRegex(
        ValueError, 'cut off|unexpected end|readable'
      ):
        self.list(contents[:length])

  def test_damaged_header_is_not_the_end(self):
    images = [(f'n00000001_{i}.JPEG', b'x') for i in range(3)]
    contents = bytearray(image_files.make_tar(images))
    contents[1024 + 3] ^= 1
    with self.assertRaisesRegex(ValueError, 'no end mark.*at byte 1024'):
      self.list(bytes(contents))

  def test_inner_archive_does_not_reach_beyond_its_end(self):
    inner = image_files.make_tar([('n00000001_1.JPEG', b'x' * 4000)])
    file = io.BytesIO(image_files.make_tar([('b', inner)]))
    (member,) = archives.list_members(file, 'x', pattern='b')
    short = archives.Member('b', member.offset, 2048)
    with self.assertRaisesRegex(ValueError, 'x, b: .* goes beyond the end'):
      list(archives.list_members(file, 'x', pattern=PATTERN, inside=short))

  def test_open(self):
    folder = self.create_tempdir()
    with self.assertRaisesRegex(ValueError, 'nowhere.tar is not there'):
      archives.open_archive('/nowhere.tar')
    path = os.path.join(folder, 'a.tar.gz')
    with gzip.open(path, 'wb') as file:
      file.write(b'x')
    with self.assertRaisesRegex(ValueError, 'a.tar.gz is compressed.*gunzip'):
      archives.open_archive(path)

  def test_short_member(self):
    with self.assertRaisesRegex(ValueError, 'only 2 of 5 bytes'):
      archives.read_member(io.BytesIO(b'abcd'), offset=2, size=5)


if __name__ == '__main__':
  tf.test.main()
