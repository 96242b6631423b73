import sys
from unittest import mock

from absl.testing import absltest

from official_coatnet.analysis.runs import style


class StyleTest(absltest.TestCase):
  def test_without_bokeh(self):
    with mock.patch.dict(sys.modules, {'bokeh': None}):
      with self.assertRaisesRegex(ImportError, r'official_coatnet\[report\]'):
        style.figure()

  def test_colours_come_again_after_the_last(self):
    self.assertLen(set(style.colours(8)), 8)
    self.assertEqual(style.colours(9)[0], style.colours(9)[8])


if __name__ == '__main__':
  absltest.main()
