"""Tests of official_coatnet.records.folder_walk."""

import io
import os

import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from official_coatnet.records import folder_walk
from tests.fixtures import image_files


class WalkTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def add(self, name, contents=b'x'):
    path = os.path.join(self.folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
      file.write(contents)

  def list_images(self, *, recursive=False, folder=None):
    walk = folder_walk.Walk(folder or self.folder)
    images = [name for name, _ in walk.list_images('a', recursive=recursive)]
    left_out = {
      each.reason: (each.count, *each.names) for each in walk.left_out
    }
    return images, left_out

  @parameterized.parameters(
    '.jpg', '.JPEG', '.jfif', '.jpe', '.png', '.gif', '.bmp', '.webp', '.tif',
    '.TIFF', '.ppm', '.avif', '.jp2', '.tga', '.ico',
  )  # fmt: skip
  def test_endings_of_images_are_believed(self, ending):
    self.add(f'a/x{ending}')
    self.assertEqual(self.list_images(), ([f'a/x{ending}'], {}))

  @parameterized.parameters('JPEG', 'PNG', 'PPM', 'AVIF', 'WEBP', 'TIFF')
  def test_other_files_are_looked_at(self, image_format):
    buffer = io.BytesIO()
    Image.new('RGB', (8, 8)).save(buffer, image_format)
    names = ['a/none', 'a/odd.data', 'a/page.001']
    for name in names:
      self.add(name, buffer.getvalue())
    self.assertEqual(self.list_images(), (names, {}))

  def test_what_is_no_image_is_counted_by_ending(self):
    for i in range(12):
      self.add(f'a/{i:02d}.txt')
    self.add('a/labels.csv')
    self.add('a/none')
    self.add('a/x.001')
    self.add('a/x.heic', b'\0\0\0\x18ftypheic\0\0\0\0mif1heic')
    self.add('a/x.pdf', b'%PDF-1.4')
    self.add('a/x.mp4', b'\0\0\0\x18ftypisom\0\0\0\0isomavc1')
    images, left_out = self.list_images()
    self.assertEmpty(images)
    text = left_out.pop('no image that can be opened (.txt)')
    self.assertEqual(text, (12, *(f'a/{i:02d}.txt' for i in range(10))))
    self.assertEqual(
      left_out.pop('no image that can be opened (without a usual ending)'),
      (2, 'a/none', 'a/x.001'),
    )
    self.assertIn('no image that can be opened (.csv)', left_out)
    for name in ('HEIC', 'PDF', 'video'):
      self.assertLen([each for each in left_out if each.startswith(name)], 1)
    self.assertLen(left_out, 4)

  def test_clutter(self):
    self.add('a/x.jpg')
    for name in ('.hidden.jpg', 'Thumbs.db', '.DS_Store', '__MACOSX/x.jpg'):
      self.add(f'a/{name}')
    images, left_out = self.list_images(recursive=True)
    self.assertEqual(images, ['a/x.jpg'])
    ((count, *names),) = left_out.values()
    self.assertEqual(count, 4)
    self.assertCountEqual(
      names, ['a/.DS_Store', 'a/.hidden.jpg', 'a/Thumbs.db', 'a/__MACOSX']
    )

  def test_deeper_folders(self):
    for name in ('a/b/c/3.png', 'a/1.png', 'a/b/2.png', 'a/b/notes.txt'):
      self.add(name)
    images, left_out = self.list_images()
    self.assertEqual(images, ['a/1.png'])
    (deeper,) = (each for each in left_out if 'recursive' in each)
    self.assertEqual(left_out[deeper], (2, 'a/b/2.png', 'a/b/c/3.png'))
    images, left_out = self.list_images(recursive=True)
    self.assertEqual(images, ['a/1.png', 'a/b/2.png', 'a/b/c/3.png'])
    self.assertEqual(list(left_out.values()), [(1, 'a/b/notes.txt')])

  def test_links_are_followed_but_not_in_circles(self):
    other = self.create_tempdir()
    other.create_file('x.png', content='x')
    self.add('a/1.png')
    os.symlink(other.full_path, os.path.join(self.folder, 'a', 'linked'))
    os.symlink(self.folder + '/a', os.path.join(self.folder, 'a', 'circle'))
    os.symlink('gone', os.path.join(self.folder, 'a', 'gone'))
    os.symlink('gone', os.path.join(self.folder, 'a', 'gone.png'))
    images, left_out = self.list_images(recursive=True)
    # The last fails, and is listed by name, where it is read.
    self.assertEqual(images, ['a/1.png', 'a/gone.png', 'a/linked/x.png'])
    self.assertEqual(
      left_out,
      {
        'a link to a folder that it lies in': (1, 'a/circle'),
        'no plain file, or a link that leads nowhere': (1, 'a/gone'),
      },
    )

  def test_names_that_are_not_utf8(self):
    self.add('a/1.png')
    self.add(os.fsdecode(b'a/\xff.txt'))
    images, left_out = self.list_images()
    self.assertEqual(images, ['a/1.png'])
    self.assertEqual(list(left_out.values()), [(1, r'a/\xff.txt')])

  def test_sizes_here_and_on_other_file_systems(self):
    self.add('a/1.png', b'123')
    self.add('a/b/2', image_files.encode(0))
    sizes = [3, len(image_files.encode(0))]
    for folder in (self.folder, f'file://{self.folder}'):
      walk = folder_walk.Walk(folder)
      self.assertEqual(
        list(walk.list_images('a', recursive=True)),
        list(zip(['a/1.png', 'a/b/2'], sizes)),
      )
      self.assertEqual(walk.list_classes(''), ('a',))
      self.assertTrue(walk.has_folders('a'))
      self.assertFalse(walk.has_folders('a/b'))


if __name__ == '__main__':
  tf.test.main()
