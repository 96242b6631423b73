import numpy as np
from absl.testing import absltest

from official_coatnet.analysis.runs import figures
from tests.fixtures import newest_stack


def sources(figure):
  """Returns the columns of what is drawn in a figure."""
  return [renderer.data_source.data for renderer in figure.renderers]


@newest_stack.only('The figures of a report')
class FiguresTest(absltest.TestCase):
  def test_classes(self):
    names = [f'class {i}' for i in range(60)] + ['a' * 40 + end for end in 'bc']
    rows = [{'name': name, 'accuracy': i / 100} for i, name in enumerate(names)]
    rows[7]['accuracy'] = None
    summary = {'several_labels': False, 'classes': rows}
    figure, words = figures.classes({'run': summary})
    self.assertIn('40 of 61 classes', words)
    [drawn] = sources(figure)
    self.assertEqual(list(drawn['value'][:3]), [0.0, 1.0, 2.0])
    self.assertNotIn('class 7', drawn['name'])
    # Long names are cut, and stay two.
    long = {'several_labels': False, 'classes': rows[-2:]}
    figure, words = figures.classes({'one': long, 'two': long})
    self.assertEqual(words, 'The lowest first')
    self.assertLen(set(figure.y_range.factors), 2)
    self.assertLess(max(map(len, figure.y_range.factors)), 30)
    several = {'several_labels': True, 'classes': [{'name': 'a'}]}
    figures.classes({'run': several})

  def test_bias_tables(self):
    tables = np.zeros([3, 5, 7], np.float32)
    # A key one row below its query, and two columns to the left of it.
    tables[2, (0 - 1) + 2, (0 + 2) + 3] = -0.5
    figure, limit = figures.bias_tables(tables, [0, 2])
    self.assertEqual(limit, 0.5)
    images = [each for each in sources(figure) if 'image' in each]
    self.assertLen(images, 2)
    [image], [down], [right] = (
      images[1][key] for key in ('image', 'down', 'right')
    )
    self.assertEqual(image.shape, (5, 7))
    place = image == -0.5
    self.assertEqual((down[place], right[place]), (1, -2))


if __name__ == '__main__':
  absltest.main()
