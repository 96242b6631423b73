"""Tests of kecam's layouts, one array at a time.

tests/golden/published_test.py holds the whole network against kecam's results.
"""

import numpy as np
from absl.testing import absltest

from official_coatnet.modeling import config as config_lib
from official_coatnet.pretrained import conversion, kecam

CONFIG = config_lib.ModelConfig(
  'kecam_coatnet_0', blocks=(2, 1, 1, 1, 1), image_size=64
)
ATTENTION = 's3_block0/attention'


def convert(ours, shape, **state):
  lines = [line for line in kecam.lines(CONFIG) if line.ours == ours]
  weights, report = conversion.to_ours(state, {ours: shape}, lines=lines)
  return weights[ours], report


class KecamTest(absltest.TestCase):
  def test_query_key_and_value_are_one_convolution(self):
    heads, size, width = 3, 2, 5
    qkv = np.random.RandomState(0).normal(size=(1, 1, width, 18)).astype('f')
    for index, name in enumerate(('query', 'key', 'value')):
      kernel, _ = convert(
        f'{ATTENTION}/{name}/kernel',
        (width, heads, size),
        **{'stack_3_block_1_mhsa_qkv_conv/kernel': qkv},
      )
      for head in range(heads):
        start = index * heads * size + head * size
        np.testing.assert_array_equal(
          kernel[:, head], qkv[0, 0, :, start : start + size]
        )

  def test_relative_bias(self):
    theirs = np.arange(2 * 25, dtype='f').reshape(2, 25)
    table, _ = convert(
      f'{ATTENTION}/relative_bias',
      (2, 5, 5),
      **{'stack_3_block_1_mhsa_pos_emb/positional_embedding': theirs},
    )
    self.assertEqual(table[1, 3, 4], theirs[1, 3 * 5 + 4])

  def test_what_has_no_bias_there_has_a_zero_one_here(self):
    bias, report = convert(f'{ATTENTION}/key/bias', (3, 2))
    np.testing.assert_array_equal(bias, np.zeros((3, 2)))
    self.assertEqual(report.zero, [f'{ATTENTION}/key/bias'])


if __name__ == '__main__':
  absltest.main()
