"""Tests of training.metrics_file; reporting_test has more."""

import json
import os
from unittest import mock

import tensorflow as tf
from absl.testing import absltest

from official_coatnet.training import metrics_file


class MetricsFileTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, metrics_file.FILE)
    self.file = metrics_file.MetricsFile(self.folder)

  def _steps(self):
    return [line['step'] for line in metrics_file.read(self.folder)]

  def _text(self):
    with open(self.path, 'rb') as f:
      return f.read()

  def test_a_line_that_is_cut_anywhere_takes_none_with_it(self):
    for step in (2, 4):
      self.file.write(step, {'train/loss': 0.5, 'epoch': 0.1})
    whole = self._text()
    first = whole.index(b'\n') + 1
    for cut in range(first, len(whole)):
      with open(self.path, 'wb') as f:
        f.write(whole[:cut])
      is_whole = cut == len(whole) - 1  # But for its end.
      # It may be read as it is, and appended to, with or without a rewind.
      self.assertEqual(self._steps(), [2, 4] if is_whole else [2], cut)
      self.file.write(6, {'train/loss': 0.25})
      self.assertEqual(self._steps(), [2, 4, 6] if is_whole else [2, 6], cut)
      self.file.rewind(5)
      self.assertEqual(self._steps(), [2, 4] if is_whole else [2], cut)
      for line in self._text().splitlines():  # All is whole again.
        json.loads(line)

  def test_pieces_of_all_kinds(self):
    with open(self.path, 'wb') as f:
      f.write(
        b'{"step": 2, "a": 1}\n'
        b'{"step": 4, "tr{"step": 6, "a": 1}\n'  # As 0.1 glued them.
        b'{"step": 8}{"step": 10, "a"\n'
        b'\xff\xfe\n\n12\n[1]\n{"epoch": 1}\n{"step": "x"}\n'
        + bytes(300)  # After a power cut.
        + b'\n{"step": 12}'
      )
    self.assertEqual(self._steps(), [2, 6, 8, 12])

  def test_what_cannot_be_written_comes_with_the_next_line(self):
    self.file.write(2, {})
    error = tf.errors.ResourceExhaustedError(None, None, 'disk full')
    with (
      mock.patch.object(tf.io.gfile, 'GFile', side_effect=error),
      self.assertLogs(level='WARNING') as logs,
    ):
      self.file.write(4, {})
    self.assertIn('step 4 cannot be written yet (disk full)', logs.output[0])
    self.assertEqual(self._steps(), [2])
    self.file.write(6, {})
    self.assertEqual(self._steps(), [2, 4, 6])

  def test_an_error_after_all_was_written(self):
    original = tf.io.gfile.GFile

    class Late:
      def __init__(self, path, mode):
        self.file = original(path, mode)

      def __enter__(self):
        return self.file

      def __exit__(self, *args):
        self.file.close()
        raise tf.errors.UnavailableError(None, None, 'no answer')

    with mock.patch.object(tf.io.gfile, 'GFile', Late):
      self.file.write(2, {})
    self.file.write(4, {})
    self.assertEqual(self._steps(), [2, 4])


if __name__ == '__main__':
  absltest.main()
