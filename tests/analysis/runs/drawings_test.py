import os
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from official_coatnet.analysis.runs import drawings

METRICS = [
  {'step': 10, 'epoch': 0.5, 'train/loss': 2.0, 'train/top1': 0.25},
  {'step': 20, 'epoch': 1.0, 'train/loss': None, 'train/top1': 0.5},
  {'step': 20, 'epoch': 1.0, 'eval/loss': 1.5, 'eval/top1': 0.75},
  {
    'step': 30,
    'epoch': 1.5,
    'train/loss': 1.0,
    'train/top1': 0.625,
    'train/learning_rate': 2e-4,
  },
  {'step': 40, 'epoch': 2.0, 'eval/loss': 1.75, 'eval/top1': 0.5},
  # On other data.
  {'step': 40, 'epoch': 2.0, 'eval/loss': 0.1, 'eval/otherwise': 1.0},
]


def size_of(path):
  with Image.open(path) as image:
    return image.size


class TrainingCurvesTest(parameterized.TestCase):
  def _draw(self, metrics, **kwargs):
    self.path = os.path.join(self.create_tempdir().full_path, 'new/run.png')
    return drawings.training_curves(metrics, self.path, **kwargs)

  def _panels(self, figure):
    return {ax.get_title(loc='left'): ax for ax in figure.axes}

  def test_lines_are_the_metrics(self):
    figure = self._draw(METRICS, title='a run')
    panels = self._panels(figure)
    self.assertEqual(
      list(panels), ['loss (nats)', 'top-1 accuracy (%)', 'learning rate']
    )
    lines = {
      (title, line.get_label()): np.transpose(line.get_data()).tolist()
      for title, ax in panels.items()
      for line in ax.lines
      if not line.get_label().startswith('_')
    }
    # The null of step 20 is left out, not drawn as 0; accuracies in percent.
    self.assertEqual(
      lines,
      {
        ('loss (nats)', 'training'): [[0.5, 2.0], [1.5, 1.0]],
        ('loss (nats)', 'evaluation, best 1.5'): [[1.0, 1.5], [2.0, 1.75]],
        ('top-1 accuracy (%)', 'training'): [[0.5, 25], [1, 50], [1.5, 62.5]],
        ('top-1 accuracy (%)', 'evaluation, best 75'): [[1, 75], [2, 50]],
        ('learning rate', 'training'): [[1.5, 2e-4]],
      },
    )
    self.assertEqual(figure.get_suptitle(), 'a run')
    self.assertEqual(panels['learning rate'].get_xlabel(), 'epoch')
    self.assertIsNotNone(panels['loss (nats)'].get_legend())

  def test_the_best_evaluation_is_ringed(self):
    panels = self._panels(self._draw(METRICS))
    for title, point in (
      ('loss (nats)', [1.0, 1.5]),
      ('top-1 accuracy (%)', [1.0, 75.0]),
    ):
      rings = [
        np.ravel(line.get_data()).tolist()
        for line in panels[title].lines
        if line.get_fillstyle() == 'none'
      ]
      self.assertEqual(rings, [point])

  def test_short_runs_are_drawn_by_steps(self):
    figure = self._draw(METRICS[:1])
    panels = self._panels(figure)
    self.assertEqual(panels['loss (nats)'].get_xlabel(), 'step')
    (line,) = panels['loss (nats)'].lines
    self.assertEqual(np.ravel(line.get_data()).tolist(), [10, 2.0])
    self.assertEqual(line.get_marker(), 'o', 'one point makes no line')

  def test_multi_label_metrics(self):
    figure = self._draw(
      [{'step': 1, 'epoch': 0.1, 'eval/precision_at_1': 0.5, 'eval/loss': 1.0}]
    )
    self.assertIn('precision at 1 (%)', self._panels(figure))

  def test_writes_a_picture(self):
    figure = self._draw(METRICS)
    expected = (figure.get_size_inches() * 120).astype(int)
    np.testing.assert_allclose(size_of(self.path), expected, atol=1)
    svg = self.path.replace('.png', '.svg')
    drawings.training_curves(METRICS, svg)
    with open(svg) as f:
      self.assertIn('<svg', f.read())

  @parameterized.parameters(([],), ([{'step': 1, 'train/loss': None}],))
  def test_nothing_to_draw(self, metrics):
    with self.assertRaisesRegex(ValueError, 'nothing to draw'):
      self._draw(metrics)

  def test_where_no_picture_can_go(self):
    folder = self.create_tempdir().full_path
    file = self.create_tempfile('file').full_path
    for path, words in (
      ('x.doc', r"'x.doc' ends in .doc, .* take .png"),
      (folder, 'is a folder; name a file in it'),
      (os.path.join(file, 'x.png'), 'cannot be written to'),
    ):
      with self.assertRaisesRegex((ValueError, OSError), words):
        drawings.check_path(path)
    for name in ('x.png', 'X.SVG', 'x'):
      drawings.check_path(os.path.join(folder, 'new', name))

  def test_says_what_to_install(self):
    with (
      mock.patch.dict(sys.modules, {'matplotlib': None}),
      self.assertRaisesRegex(ImportError, r'official_coatnet\[demo\]'),
    ):
      self._draw(METRICS)


class PredictionsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.path = os.path.join(self.create_tempdir().full_path, 'sheet.png')

  def test_shows_images_names_and_scores(self):
    images = [
      np.full((20, 30, 3), 10, np.uint8),
      np.full((400, 300, 3), 20, np.uint8),
    ]
    results = [
      [('cat', 0.75), ('dog', 0.2), ('cow', 0.04), ('hen', 0.01)],
      [('a class with quite a long name', 1.0)],
    ]
    figure = drawings.predictions(
      images, results, self.path, names=['a.jpg', 'b.jpg'], title='two'
    )
    shown = [ax for ax in figure.axes if ax.images]
    self.assertEqual([ax.get_title() for ax in shown], ['a.jpg', 'b.jpg'])
    for ax, image in zip(shown, images):
      np.testing.assert_array_equal(ax.images[0].get_array(), image)
    texts = [
      [text.get_text() for text in ax.texts] for ax in figure.axes if ax.texts
    ]
    self.assertEqual(
      texts,
      [
        ['cat', '75.0 %', 'dog', '20.0 %', 'cow', '4.0 %'],
        ['a class…ong name', '100.0 %'],
      ],
    )
    # Each class has a bar behind the bar of its score.
    bars = [
      [bar.get_width() for bar in ax.patches] for ax in figure.axes if ax.texts
    ]
    self.assertEqual(bars, [[1, 0.75, 1, 0.2, 1, 0.04], [1, 1.0]])
    self.assertGreater(min(size_of(self.path)), 200)

  def test_says_how_many_images_are_not_shown(self):
    count = drawings.MAX_IMAGES + 2
    figure = drawings.predictions(
      [np.zeros((8, 8, 3), np.uint8)] * count, [[('a', 1.0)]] * count, self.path
    )
    self.assertLen([ax for ax in figure.axes if ax.images], drawings.MAX_IMAGES)
    self.assertEqual(figure.get_suptitle(), '(the first 48 of 50 images)')

  def test_refuses_what_does_not_match(self):
    with self.assertRaisesRegex(ValueError, '0 `images` and 0 `results`'):
      drawings.predictions([], [], self.path)
    with self.assertRaisesRegex(ValueError, '1 `images` and 2 `results`'):
      drawings.predictions([None], [[], []], self.path)


class ThumbnailTest(parameterized.TestCase):
  @parameterized.parameters(
    ('RGB', 'png', (700, 350), (160, 320, 3)),
    ('RGB', 'png', (20, 10), (10, 20, 3)),
    ('L', 'bmp', (20, 10), (10, 20, 3)),
    ('RGBA', 'bmp', (20, 10), (10, 20, 3)),
  )
  def test_size_and_channels(self, mode, kind, size, expected):
    path = os.path.join(self.create_tempdir().full_path, f'x.{kind}')
    Image.new(mode, size, 7 if mode == 'L' else (7, 7, 7)).save(path)
    image = drawings.thumbnail(path)
    self.assertEqual(image.shape, expected)
    self.assertEqual(image.dtype, np.uint8)
    self.assertEqual(np.unique(image).tolist(), [7])


if __name__ == '__main__':
  absltest.main()
