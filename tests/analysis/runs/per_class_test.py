"""The files of an evaluation class by class."""

import csv
import json
import os
from unittest import mock

import numpy as np
from absl.testing import absltest
from PIL import Image

from official_coatnet.analysis.runs import drawings, per_class
from official_coatnet.training import per_class as counting
from tests.fixtures import experiments

NAMES = ['hen', 'crane, big', 'Bär', 'kettle', 'unseen']


def _tally(*, several=False, num_classes=5, **labels):
  """Counts eight images, of which three are mistaken."""
  classes = {'num_classes': num_classes}
  if several:
    labels = {'schema': 'multilabel', 'max_labels': 2}
  tally = counting.Tally(
    experiments.make_experiment(
      model=classes, train_data=classes, eval_data={**classes, **labels}
    )
  )
  tally.step = 40
  label = np.array([0, 0, 0, 1, 1, 2, 2, 3], np.int32)
  best = np.array([0, 1, 1, 1, 1, 2, 0, 3], np.int32)
  part = {
    'label': np.stack([label, np.full(8, -1, np.int32)][: 1 + several], axis=1),
    'weight': np.ones(8, np.float32),
    'classes': np.stack([best, np.zeros(8, np.int32)], axis=1),
    'scores': np.linspace(0.9, 0.5, 16, dtype=np.float32).reshape(8, 2),
  }
  if several:
    part['over'] = np.array([4, 0, 2, 1, 0], np.float32)
    part['over_right'] = np.array([3, 0, 1, 1, 0], np.float32)
  tally.add(part)
  return tally


class SummarizeTest(absltest.TestCase):
  def test_one_label(self):
    summary = per_class.summarize(_tally(), names=NAMES)
    rows = [list(row.values())[2:] for row in summary['classes']]
    self.assertEqual(
      rows,
      [
        # images, accuracy, top 5, predicted, precision, taken for, how often
        [3, 1 / 3, 1.0, 2, 0.5, 'crane, big', 2],
        [2, 1.0, 1.0, 4, 0.5, None, 0],
        [2, 0.5, 0.5, 1, 1.0, 'hen', 1],
        [1, 1.0, 1.0, 1, 1.0, None, 0],
        [0, None, None, 0, None, None, 0],
      ],
    )
    self.assertAlmostEqual(summary['mean_accuracy'], (1 / 3 + 1 + 0.5 + 1) / 4)
    self.assertEqual(summary['step'], 40)
    first, second = summary['confused']
    self.assertEqual(
      (first['label_name'], first['prediction_name'], first['count']),
      ('hen', 'crane, big', 2),
    )
    self.assertAlmostEqual(first['share'], 2 / 3)
    self.assertEqual((first['images'], second['images']), ([1, 2], [6]))

  def test_several_labels(self):
    summary = per_class.summarize(_tally(several=True), names=NAMES)
    self.assertNotIn('confused', summary)
    hen = summary['classes'][0]
    self.assertEqual(hen['recall_at_1'], 1 / 3)
    self.assertEqual(hen['precision_at_1'], 0.5)
    self.assertEqual(hen['predicted_at_half'], 4)
    self.assertEqual(hen['precision_at_half'], 0.75)
    self.assertEqual(hen['recall_at_half'], 1.0)
    self.assertIsNone(summary['classes'][1]['precision_at_half'])

  def test_text(self):
    text = per_class.format_text(per_class.summarize(_tally(), names=NAMES))
    self.assertIn('mean accuracy 70.83 % over 4 classes with images', text)
    self.assertIn('2 ( 66.7 %)  hen taken for crane, big', text)
    self.assertNotIn('unseen', text)
    several = per_class.summarize(_tally(several=True))
    text = per_class.format_text(several)
    self.assertIn('Lowest recall at 1:\n   33.33 % of 3      0\n', text)
    self.assertNotIn('confused', text)
    empty = counting.Tally(experiments.make_experiment())
    self.assertIn(
      'no image has a label', per_class.format_text(per_class.summarize(empty))
    )


class WriteTest(absltest.TestCase):
  def _write(self, tally, names=NAMES):
    folder = os.path.join(self.create_tempdir().full_path, 'new', 'folder')
    self.paths = per_class.write(folder, tally, names=names)
    self.assertEqual(
      sorted(os.listdir(folder)), sorted(map(os.path.basename, self.paths))
    )
    return folder

  def test_files(self):
    folder = self._write(_tally())
    self.assertEqual(
      [os.path.basename(path) for path in self.paths],
      ['classes.csv', 'confusion.csv', 'classes.json', 'classes.png',
       'confused.png'],
    )  # fmt: skip
    with open(os.path.join(folder, 'classes.csv'), encoding='utf-8') as f:
      rows = list(csv.DictReader(f))
    self.assertEqual([row['name'] for row in rows], NAMES)
    self.assertEqual(rows[0]['accuracy'], str(1 / 3))
    self.assertEqual(rows[4]['accuracy'], '')
    with open(os.path.join(folder, 'confusion.csv'), encoding='utf-8') as f:
      cells = list(csv.DictReader(f))
    matrix = np.zeros([5, 5], int)
    for cell in cells:
      matrix[int(cell['label']), int(cell['prediction'])] = cell['images']
    np.testing.assert_array_equal(
      matrix,
      [[1, 2, 0, 0, 0], [0, 2, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0],
       [0, 0, 0, 0, 0]],
    )  # fmt: skip
    with open(os.path.join(folder, 'classes.json'), encoding='utf-8') as f:
      self.assertEqual(json.load(f), per_class.summarize(_tally(), names=NAMES))
    for path in self.paths[3:]:
      with Image.open(path) as picture:
        self.assertGreater(min(picture.size), 200)

  def test_images_of_the_pairs_are_drawn(self):
    folder = self.create_tempdir().full_path
    with mock.patch.object(drawings, 'predictions') as draw:
      per_class.write(folder, _tally(), names=NAMES)
    images, results, _ = draw.call_args.args
    self.assertEqual(
      draw.call_args.kwargs['names'], ['hen (1)', 'hen (2)', 'Bär (6)']
    )
    self.assertEqual([r[0][0] for r in results],
                     ['crane, big', 'crane, big', 'hen'])  # fmt: skip
    self.assertTrue(all(image.shape == (32, 32, 3) for image in images))

  def test_several_labels(self):
    self._write(_tally(several=True))
    self.assertEqual(
      [os.path.basename(path) for path in self.paths],
      ['classes.csv', 'classes.json', 'classes.png'],
    )

  def test_nothing_is_confused(self):
    tally = counting.Tally(experiments.make_experiment())
    self._write(tally)
    self.assertNotIn('confused.png', map(os.path.basename, self.paths))

  def test_without_matplotlib(self):
    with mock.patch.object(drawings, 'new_figure', side_effect=ImportError):
      self._write(_tally())
    self.assertLen(self.paths, 3)

  def test_pictures_of_few_classes_and_of_many(self):
    for count, title in ((5, ''), (200, 'most confused (images)')):
      tally = _tally(num_classes=count)
      summary = per_class.summarize(tally)
      figure = drawings.classes(
        summary,
        os.path.join(self.create_tempdir().full_path, 'x.png'),
        cells=per_class.cells(tally),
      )
      left, right = figure.axes
      self.assertEqual(left.get_title(loc='left'), title)
      words = [text.get_text().strip() for text in left.texts]
      if count == 5:
        np.testing.assert_allclose(
          left.images[0].get_array()[0], [1 / 3, 2 / 3, 0, 0, 0]
        )
        self.assertCountEqual(words, ['1', '2', '2', '1', '1', '1'])
      else:
        self.assertEqual(words, ['0 for 1', '2 for 0'])
      np.testing.assert_allclose(
        right.lines[0].get_ydata(), [100 / 3, 50, 100, 100]
      )


if __name__ == '__main__':
  absltest.main()
