"""Tests of timm's layouts, one array at a time.

tests/golden/published_test.py holds whole networks against timm's own results.
"""

import numpy as np
from absl.testing import absltest, parameterized

from official_coatnet.modeling import config as config_lib
from official_coatnet.pretrained import conversion, timm

CONFIG = config_lib.ModelConfig(
  'timm_coatnet_0_rw', blocks=(2, 1, 1, 1, 1), image_size=64
)
ATTENTION = 's3_block0/attention'
TIMM_ATTENTION = 'stages.2.blocks.0.attn'


def random(*shape):
  return np.random.RandomState(sum(shape)).normal(size=shape).astype('f')


def convert(ours, shape, **state):
  """Converts a weight by those lines that have its name."""
  lines = [line for line in timm.lines(CONFIG) if line.ours == ours]
  weights, _ = conversion.to_ours(state, {ours: shape}, lines=lines)
  return weights[ours]


class TimmTest(parameterized.TestCase):
  def test_query_key_and_value_lie_head_by_head(self):
    heads, size, width = 3, 2, 5
    qkv = random(heads * 3 * size, width, 1, 1)
    for index, name in enumerate(('query', 'key', 'value')):
      kernel = convert(
        f'{ATTENTION}/{name}/kernel',
        (width, heads, size),
        **{f'{TIMM_ATTENTION}.qkv.weight': qkv},
      )
      for head in range(heads):
        for channel in range(size):
          row = head * 3 * size + index * size + channel
          np.testing.assert_array_equal(
            kernel[:, head, channel], qkv[row, :, 0, 0]
          )

  def test_output_projection(self):
    projection = random(7, 6, 1, 1)
    kernel = convert(
      f'{ATTENTION}/output/kernel',
      (3, 2, 7),
      **{f'{TIMM_ATTENTION}.proj.weight': projection},
    )
    np.testing.assert_array_equal(kernel[2, 1], projection[:, 5, 0, 0])

  def test_depthwise_kernel(self):
    theirs = random(4, 1, 3, 3)
    kernel = convert(
      's1_block0/depthwise_conv/depthwise_kernel',
      (3, 3, 4, 1),
      **{'stages.0.blocks.0.conv2_kxk.weight': theirs},
    )
    np.testing.assert_array_equal(kernel[0, 2, 3, 0], theirs[3, 0, 0, 2])

  def test_table_of_relative_bias(self):
    heads, height, width = 2, 3, 5
    theirs = random(height * width, heads)
    table = convert(
      f'{ATTENTION}/relative_bias',
      (heads, height, width),
      **{f'{TIMM_ATTENTION}.rel_pos.relative_position_bias_table': theirs},
    )
    np.testing.assert_array_equal(table[1, 2, 3], theirs[2 * width + 3, 1])

  def test_table_of_another_size_is_square(self):
    name = f'{TIMM_ATTENTION}.rel_pos.relative_position_bias_table'
    lines = [
      line
      for line in timm.lines(CONFIG)
      if line.ours == f'{ATTENTION}/relative_bias'
    ]
    with self.assertRaisesRegex(ValueError, '15 relative offsets are of no sq'):
      conversion.to_ours(
        {name: random(15, 2)},
        {f'{ATTENTION}/relative_bias': (2, 5, 5)},
        lines=lines,
      )

  def test_mlp_is_evaluated_at_each_offset(self):
    heads, hidden, height, width = 2, 4, 5, 3
    names = ('fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias')
    arrays = (
      random(hidden, 2),
      random(hidden),
      random(heads, hidden),
      random(heads),
    )
    table = convert(
      f'{ATTENTION}/relative_bias',
      (heads, height, width),
      **{
        f'{TIMM_ATTENTION}.rel_pos.mlp.{name}': array
        for name, array in zip(names, arrays)
      },
    )
    kernel1, bias1, kernel2, bias2 = arrays
    for row in range(height):
      for column in range(width):
        offset = np.array([row - 2, column - 1], 'f')
        log = np.sign(offset) * np.log(1 + abs(offset))
        hidden_values = np.maximum(kernel1 @ log + bias1, 0)
        np.testing.assert_allclose(
          table[:, row, column], kernel2 @ hidden_values + bias2, rtol=1e-5
        )

  def test_every_line_leads_back(self):
    """What is ours comes back as it was, but for MLPs, which have no way."""
    ours = {
      's0/conv0/kernel': random(3, 3, 3, 8),
      's1_block0/squeeze_excitation/reduce/kernel': random(1, 1, 8, 4),
      's1_block0/depthwise_conv/depthwise_kernel': random(3, 3, 4, 1),
      f'{ATTENTION}/query/kernel': random(5, 3, 2),
      f'{ATTENTION}/key/kernel': random(6, 3, 2)[:5],
      f'{ATTENTION}/value/kernel': random(7, 3, 2)[:5],
      f'{ATTENTION}/query/bias': random(3, 2),
      f'{ATTENTION}/key/bias': random(4, 2)[:3],
      f'{ATTENTION}/value/bias': random(5, 2)[:3],
      f'{ATTENTION}/output/kernel': random(3, 2, 7),
      f'{ATTENTION}/relative_bias': random(2, 3, 5),
      's3_block0/ffn_expand/kernel': random(4, 9),
      'logits/kernel': random(4, 3),
    }
    state = conversion.to_theirs(ours, lines=timm.lines(CONFIG))
    shapes = {name: array.shape for name, array in ours.items()}
    back, report = conversion.to_ours(
      state, shapes, lines=timm.lines(CONFIG), ignored=timm.is_ignored
    )
    self.assertCountEqual(report.loaded, ours)
    for name, array in ours.items():
      np.testing.assert_array_equal(back[name], array, err_msg=name)


if __name__ == '__main__':
  absltest.main()
