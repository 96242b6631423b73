import io

import tensorflow as tf
from absl.testing import absltest
from PIL import Image

from official_coatnet.data import file_kinds
from official_coatnet.export.verify import bombs


class BombsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.made = bombs.make(max_pixels=90_000)

  def test_they_are_small(self):
    for name, contents in self.made.items():
      self.assertLess(len(contents), 1_100_000, msg=name)

  def test_they_are_what_they_are_called(self):
    """By their first bytes, and by Pillow, which reads the headers."""
    for name, contents in self.made.items():
      kind = name.split()[0]
      self.assertEqual(file_kinds.image_format(contents), kind, msg=name)
      if '20 scans' in name or 'interlaced' in name:
        with Image.open(io.BytesIO(contents)) as image:
          self.assertEqual(image.size, (300, 300), msg=name)
          image.load()
    webp = self.made['WebP that claims to be huge']
    with self.assertRaisesRegex(
      Image.DecompressionBombError, str((2**14 - 1) ** 2)
    ):
      Image.open(io.BytesIO(webp))

  def test_tensorflow_decodes_what_is_to_be_answered(self):
    for name, shape in (
      ('JPEG of 20 scans', (300, 300, 3)),
      ('GIF of frames of one pixel', (1, 1, 3)),
      ('PNG of compressed texts', (8, 8, 3)),
      ('PNG of 16 bits, interlaced', (300, 300, 4)),
      ('PNG of empty chunks', (8, 8, 3)),
    ):
      image = tf.io.decode_image(self.made[name], expand_animations=False)
      self.assertEqual(image.shape, shape, msg=name)

  def test_small_ones_to_damage(self):
    kinds = set(map(file_kinds.image_format, bombs.make_small()))
    self.assertEqual(kinds, {'GIF', 'JPEG', 'PNG', 'WebP'})
    self.assertLess(max(map(len, bombs.make_small())), 6000)


if __name__ == '__main__':
  absltest.main()
