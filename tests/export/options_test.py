import json

from absl.testing import absltest, parameterized

from official_coatnet.export.options import ExportOptions


class ExportOptionsTest(parameterized.TestCase):
  def test_there_and_back(self):
    options = ExportOptions(batch_sizes=[8, 1], top_k=3, stage_maps=True)
    self.assertEqual(options.batch_sizes, (1, 8))
    values = json.loads(json.dumps(options.to_dict()))
    self.assertEqual(ExportOptions.from_dict(values), options)

  @parameterized.parameters(
    ({'batch_sizes': ()}, r'`batch_sizes` is \[\]; it must'),
    ({'batch_sizes': (0, 1)}, r'`batch_sizes` is \[0, 1\]'),
    ({'batch_sizes': (2, 2)}, r'`batch_sizes` is \[2, 2\]'),
    ({'top_k': 0}, '`top_k` is 0; it must be >= 1'),
    ({'max_pixels': -1}, '`max_pixels` is -1'),
    ({'threshold': 1.5}, '`threshold` is 1.5; it must lie in'),
  )
  def test_refuses(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      ExportOptions(**values)


if __name__ == '__main__':
  absltest.main()
