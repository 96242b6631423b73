"""Every row of the paper's tables that names a CoAtNet, against the counts."""

import functools
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


@functools.cache
def count(name, image_size, downsample):
  # In a graph nothing is allocated: 688 million parameters cost no memory.
  with tf.Graph().as_default():
    model = network.classifier(
      config.ModelConfig(name, image_size=image_size, downsample=downsample)
    )
    return complexity.count_stages(model)[-1]


class PaperCountsTest(parameterized.TestCase):
  @parameterized.parameters(*((row,) for row in ROWS))
  def test_row(self, row):
    total = count(row.model, row.image_size, row.downsample)
    params = total.params / 1e6
    if round(params) != row.params:
      self.assertLessEqual(abs(params / row.params - 1), 0.01)
    difference = total.multiply_adds / (row.multiply_adds * 1e9) - 1
    self.assertLessEqual(abs(difference), 0.04)

  @parameterized.parameters(*((row,) for row in ROWS))
  def test_row_is_the_closed_form(self, row):
    total = count(row.model, row.image_size, row.downsample)
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

  @parameterized.parameters(*EXACT_PARAMS)
  def test_exact_params(self, name):
    total = count(name, 224, 'expand_conv')
    self.assertEqual(total.params, EXACT_PARAMS[name])

  @parameterized.parameters(*EXACT_PARAMS)
  def test_stride_in_the_depthwise_convolution_costs_no_parameters(self, name):
    size = sizes.get_size(name)
    shape = dict(
      blocks=size.blocks, widths=size.widths, head_size=size.head_size
    )
    params = [
      sum(t.params for t in tallies.values())
      for tallies in (
        reference_counts.stages(downsample='expand_conv', **shape),
        reference_counts.stages(downsample='depthwise', **shape),
      )
    ]
    self.assertEqual(params, [EXACT_PARAMS[name]] * 2)


if __name__ == '__main__':
  tf.test.main()
