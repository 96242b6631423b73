"""Tests of training.digest: whether a checkpoint is what was saved."""

import json
import os

import numpy as np
import tensorflow as tf

from official_coatnet.training import digest


class DigestTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.prefix = os.path.join(self.create_tempdir().full_path, 'ckpt-4')

  def write(self, **values):
    variables = {name: tf.Variable(value) for name, value in values.items()}
    tf.train.Checkpoint(**variables).write(self.prefix)

  def test_is_written_of_what_is_there(self):
    self.write(a=[1.0, 2.0])
    self.assertIsNone(digest.check(self.prefix))  # By reading it.
    digest.write(self.prefix, now=lambda: 12.5)
    self.assertIsNone(digest.check(self.prefix))
    self.assertEqual(digest.time_of(self.prefix), 12.5)
    with open(digest.path_of(self.prefix)) as f:
      self.assertCountEqual(
        json.load(f)['files'], ['index', 'data-00000-of-00001']
      )
    self.assertFalse(digest.lengths_differ(self.prefix))
    os.truncate(f'{self.prefix}.index', 3)
    self.assertTrue(digest.lengths_differ(self.prefix))

  def test_goes_with_a_checkpoint_that_is_renamed(self):
    self.write(a=1.0)
    digest.write(self.prefix)
    folder, name = os.path.split(self.prefix)
    for each in os.listdir(folder):
      os.rename(
        os.path.join(folder, each),
        os.path.join(folder, each.replace(name, 'kept-4')),
      )
    self.assertIsNone(digest.check(os.path.join(folder, 'kept-4')))

  def test_is_not_written_of_what_is_damaged(self):
    self.write(a=np.arange(8.0))
    os.truncate(f'{self.prefix}.data-00000-of-00001', 3)
    with self.assertRaisesRegex(OSError, 'ckpt-4.*just written, is damaged'):
      digest.write(self.prefix)
    self.assertFalse(os.path.exists(digest.path_of(self.prefix)))

  def test_numbers_that_are_not_finite(self):
    for dtype in (tf.float32, tf.bfloat16, tf.float16):
      self.write(a=1, b='word', c=tf.constant([1.0, np.inf], dtype))
      digest.write(self.prefix)
      self.assertIsNone(digest.check(self.prefix))
      self.assertRegex(digest.check(self.prefix, finite=True), 'not finite: c')
    self.write(a=1, b='word', c=1.0)
    self.assertIsNone(digest.read_whole(self.prefix, finite=True))

  def test_every_byte_of_the_files_counts(self):
    self.write(value=4.0)
    digest.write(self.prefix)
    for ending in ('index', 'data-00000-of-00001'):
      path = f'{self.prefix}.{ending}'
      with open(path, 'rb') as f:
        contents = f.read()
      for i in range(0, len(contents), 7):
        with open(path, 'wb') as f:
          f.write(contents[:i] + bytes([contents[i] ^ 1]) + contents[i + 1 :])
        self.assertRegex(digest.check(self.prefix), 'is damaged')
      with open(path, 'wb') as f:
        f.write(contents)
    self.assertIsNone(digest.check(self.prefix))


if __name__ == '__main__':
  tf.test.main()
