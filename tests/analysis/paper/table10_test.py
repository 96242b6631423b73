"""What Table 10 prints."""

from absl.testing import absltest

from official_coatnet.analysis.paper import table10
from official_coatnet.modeling import sizes


class PaperTable10Test(absltest.TestCase):
  def test_columns_come_in_pairs(self):
    columns = table10.TABLE_10
    self.assertLen(columns, 6)
    for name, column in columns.items():
      fine_tunes = name.endswith('_finetune')
      # Read off the table: what all fine-tuning columns share.
      self.assertEqual(column.weight_decay == 1e-8, fine_tunes)
      self.assertEqual(column.ema_decay == 0.9999, fine_tunes)
      self.assertEqual(column.center_crop, not fine_tunes)
      self.assertEqual(column.decay == 'constant', fine_tunes)
      self.assertEqual(column.epochs == 30, fine_tunes)
      self.assertEqual(column.clip_norm, 1.0)

  def test_rates_are_of_networks_that_exist(self):
    for column in table10.TABLE_10.values():
      self.assertEqual(
        list(column.stochastic_depth), list(column.peak_learning_rate)
      )
      self.assertContainsSubset(column.stochastic_depth, sizes.SIZES)

  def test_rates_by_column(self):
    depths = {
      name: list(column.stochastic_depth.values())
      for name, column in table10.TABLE_10.items()
    }
    self.assertEqual(
      depths,
      {
        'imagenet1k_pretrain': [0.2, 0.3, 0.5, 0.7],
        'imagenet1k_finetune': [0.2, 0.3, 0.5, 0.7],
        'imagenet21k_pretrain': [0.3, 0.5, 0.7],
        'imagenet21k_finetune': [0.3, 0.5, 0.7],
        'jft_pretrain': [0.0, 0.1, 0.0],
        'jft_finetune': [0.1, 0.3, 0.2],
      },
    )


if __name__ == '__main__':
  absltest.main()
