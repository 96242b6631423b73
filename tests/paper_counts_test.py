"""Every row of the paper's tables that names a CoAtNet, against the counts."""

from typing import NamedTuple

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import complexity, config, network, sizes
from tests import reference_counts

# At 224, with 1000 classes.
EXACT_PARAMS = {
  'coatnet_0': 25_036_884,
  'coatnet_1': 42_225_840,
  'coatnet_2': 74_684_872,
  'coatnet_3': 166_966_456,
  'coatnet_4': 275_425_480,
  'coatnet_5': 687_053_144,
}


class Row(NamedTuple):
  """Parameters in millions, multiply-adds ("FLOPs") in 1e9, as printed."""

  tables: str
  model: str
  image_size: int
  params: float
  multiply_adds: float
  downsample: str = 'expand_conv'


ROWS = (
  Row('4, 9 and 12', 'coatnet_0', 224, 25, 4.2),
  Row('4, 9 and 12', 'coatnet_1', 224, 42, 8.4),
  Row('4, 9 and 12', 'coatnet_2', 224, 75, 15.7),
  Row('4 and 12', 'coatnet_3', 224, 168, 34.7),
  Row('4 and 12', 'coatnet_0', 384, 25, 13.4),
  Row('4 and 12', 'coatnet_1', 384, 42, 27.4),
  Row('4, 12 and 13', 'coatnet_2', 384, 75, 49.8),
  Row('4, 12 and 13', 'coatnet_3', 384, 168, 107.4),
  Row('4 and 13', 'coatnet_4', 384, 275, 189.5),
  Row('4, 12 and 13', 'coatnet_2', 512, 75, 96.7),
  Row('4, 12 and 13', 'coatnet_3', 512, 168, 203.1),
  Row('4, 5 and 13', 'coatnet_4', 512, 275, 360.9),
  Row('5', 'coatnet_5', 512, 688, 812),
  # The daggers of Table 5 and "Strided DConv" of Table 9.
  Row('5', 'coatnet_3', 384, 168, 114, 'depthwise'),
  Row('5', 'coatnet_3', 512, 168, 214, 'depthwise'),
  Row('9', 'coatnet_0', 224, 25, 4.6, 'depthwise'),
  Row('9', 'coatnet_1', 224, 42, 8.8, 'depthwise'),
  Row('9', 'coatnet_2', 224, 75, 16.6, 'depthwise'),
)


def build(name, **kwargs):
  """Builds a network in the current graph, where no variable has a value."""
  return network.classifier(config.ModelConfig(name, **kwargs))


class PaperCountsTest(parameterized.TestCase):
  @parameterized.parameters(*((row,) for row in ROWS))
  def test_row(self, row):
    with tf.Graph().as_default():
      total = complexity.count_stages(
        build(row.model, image_size=row.image_size, downsample=row.downsample)
      )[-1]

    with self.subTest('paper'):
      params = total.params / 1e6
      if round(params) != row.params:
        self.assertLessEqual(abs(params / row.params - 1), 0.01)
      difference = total.multiply_adds / (row.multiply_adds * 1e9) - 1
      self.assertLessEqual(abs(difference), 0.04)

    with self.subTest('closed form'):
      size = sizes.get_size(row.model)
      tallies = reference_counts.stages(
        blocks=size.blocks,
        widths=size.widths,
        head_size=size.head_size,
        image_size=(row.image_size, row.image_size),
        downsample=row.downsample,
      ).values()
      for field in ('params', 'multiply_adds', 'lookup_multiply_adds'):
        self.assertEqual(
          getattr(total, field), sum(getattr(t, field) for t in tallies)
        )

    if row.image_size == 224:
      # Where the stride is does not change the parameters.
      self.assertEqual(total.params, EXACT_PARAMS[row.model])

  # The paper counts these at 384 and 512 only, where their tables are larger.
  @parameterized.parameters('coatnet_4', 'coatnet_5')
  def test_exact_params_at_224(self, name):
    with tf.Graph().as_default():
      params = complexity.count_params(build(name))
    self.assertEqual(params, EXACT_PARAMS[name])


if __name__ == '__main__':
  tf.test.main()
