import os

import numpy as np
from absl.testing import absltest
from PIL import Image

from official_coatnet.analysis.explain import explanation, pictures


def explained(query=None):
  rng = np.random.default_rng(0)

  def spread(*shape):
    values = rng.random(shape).astype(np.float32)
    return values / values.sum()

  return explanation.Explanation(
    pixels=rng.integers(0, 256, (48, 64, 3)).astype(np.uint8),
    predictions=[('tabby', 0.75), ('tiger cat', 0.2), ('lynx', 0.05)],
    stage='s4',
    class_map=np.array([[1.0, -2.0], [0.5, 0.25]], np.float32),
    attention={
      's3_block4': explanation.AttentionMaps(
        spread(3, 4), {0: spread(3, 4), 7: spread(3, 4)}
      ),
      's4_block1': explanation.AttentionMaps(spread(2, 2), {}),
    },
    query=query,
  )


class PicturesTest(absltest.TestCase):
  def _draw(self, *args, **kwargs):
    self.path = os.path.join(self.create_tempdir().full_path, 'why.png')
    return pictures.draw(*args, self.path, **kwargs)

  def test_panels(self):
    found = explained()
    figure = self._draw(found, name='photo.jpg')
    self.assertEqual(figure.get_suptitle(), 'photo.jpg: tabby, 75.0 %')
    panels = {ax.get_title(): ax for ax in figure.axes if ax.images}
    first, of_class, mean, head, other, last = panels
    self.assertEqual(first, 'the image\nas the network sees it')
    self.assertEqual(of_class, 'what speaks for "tabby"\nGrad-CAM of S4, 2 x 2')
    self.assertStartsWith(mean, 'S3, block 4: mean of heads\n3 x 4, up to ')
    self.assertStartsWith(head, 'head 0\n')
    self.assertStartsWith(other, 'head 7\n')
    self.assertStartsWith(last, 'S4, block 1: mean of heads\n2 x 2')
    np.testing.assert_array_equal(
      panels[first].images[0].get_array(), found.pixels
    )
    # What speaks against the class is left out.
    drawn = panels[of_class].images[1]
    np.testing.assert_array_equal(drawn.get_array(), [[1, 0], [0.5, 0.25]])
    # Over the whole image.
    self.assertEqual(list(drawn.get_extent()), [-0.5, 63.5, 47.5, -0.5])
    values = found.attention['s3_block4'].heads[7]
    drawn = panels[other].images[1]
    np.testing.assert_array_equal(drawn.get_array(), values)
    self.assertAlmostEqual(drawn.norm.vmax, values.max())
    self.assertIn(f'up to {12 * values.max():.1f}x', other)
    with Image.open(self.path) as image:
      self.assertGreater(min(image.size), 600)

  def test_the_position_that_looks_is_marked(self):
    figure = self._draw(explained(query=(0.9, 0.1)))
    crosses = {
      tuple(np.ravel(line.get_data()))
      for ax in figure.axes
      for line in ax.lines
    }
    # The middle of the upper right cell: of 3 x 4, and of 2 x 2.
    self.assertEqual(crosses, {(55.5, 7.5), (47.5, 11.5)})
    self.assertIn('the position with the cross', figure.get_supxlabel())

  def test_nothing_speaks_for_the_class(self):
    found = explained()
    found.class_map[:] = -1
    figure = self._draw(found)
    titles = [ax.get_title() for ax in figure.axes]
    self.assertIn('nothing for "tabby"\nGrad-CAM of S4, 2 x 2', titles)
    self.assertTrue(os.path.exists(self.path))


if __name__ == '__main__':
  absltest.main()
