"""Tests of official_coatnet.data.reports."""

import tensorflow as tf

from official_coatnet.data import reports, schema


class ReportsTest(tf.test.TestCase):
  def test_text(self):
    report = reports.make(['at byte ', tf.constant('17'), ' cannot be read'])
    self.assertTrue(reports.is_report(report))
    self.assertEqual(reports.text(report), b'at byte 17 cannot be read')
    self.assertEqual(reports.text(reports.make([''])), b'')

  def test_no_record_is_a_report(self):
    record = schema.serialize_imagenet(b'x', label=1, height=1, width=1)
    for each in (record, b'', b'z', b'anything else'):
      self.assertFalse(reports.is_report(tf.constant(each)))

  def test_parsers_take_it_for_an_example_without_features(self):
    report = reports.make(['damaged'])
    for name in schema.SCHEMAS:
      example = schema.parse(report, schema=name)
      self.assertEqual(example['encoded'], b'')
      self.assertEmpty(example['labels'])
    self.assertEmpty(
      tf.train.Example.FromString(report.numpy()).features.feature
    )


if __name__ == '__main__':
  tf.test.main()
