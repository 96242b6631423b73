"""Tests of training.best_file."""

import json
import os

from absl.testing import absltest

from official_coatnet.training import best_file


class BestFileTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    for step in (3, 30):
      for ending in ('index', 'data-00000-of-00001'):
        self.create_file(f'best-{step}.{ending}')
    self.best = best_file.Best('top1', 0.9, 3, later=(4, 5))
    best_file.write(self.folder, self.best)

  def create_file(self, name):
    with open(os.path.join(self.folder, name), 'w'):
      pass

  def test_what_is_written_is_read(self):
    with open(os.path.join(self.folder, best_file.FILE)) as f:
      self.assertEqual(
        json.load(f),
        {'metric': 'top1', 'value': 0.9, 'step': 3, 'later': [4, 5]},
      )
    self.assertEqual(best_file.read(self.folder), self.best)
    self.assertIsNone(best_file.read(os.path.join(self.folder, 'other')))

  def test_a_checkpoint_that_is_lost_is_not_the_best(self):
    os.remove(os.path.join(self.folder, 'best-3.index'))
    self.assertIsNone(best_file.read(self.folder))

  def test_a_damaged_file_is_named(self):
    for text in ('{"metric": "top1"', '{}', '[]', '{"later": [], "x": 1}'):
      with open(os.path.join(self.folder, best_file.FILE), 'w') as f:
        f.write(text)
      with self.assertRaisesRegex(ValueError, 'best.json cannot be.*Delete it'):
        best_file.read(self.folder)

  def test_older_ones_go(self):
    self.create_file('ckpt-30.index')
    best_file.remove(self.folder, but=3)
    self.assertCountEqual(
      os.listdir(self.folder),
      [
        'best-3.data-00000-of-00001',
        'best-3.index',
        'best.json',
        'ckpt-30.index',
      ],
    )
    best_file.remove(self.folder)
    self.assertEqual(os.listdir(self.folder), ['ckpt-30.index'])


if __name__ == '__main__':
  absltest.main()
