import os
import subprocess
from unittest import mock

import tensorflow as tf
from absl.testing import absltest, parameterized

from official_coatnet.export import versions
from official_coatnet.export.options import ExportOptions
from official_coatnet.training import model_dir, writer


class VersionsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.create_tempdir().full_path, 'exports')

  def _write(self, version, *, text='x'):
    with (
      versions.new_version(self.folder, version=version) as path,
      open(os.path.join(path, 'file'), 'w') as f,
    ):
      f.write(text)

  def test_numbers_go_up_from_one_past_the_highest(self):
    self.assertEqual(versions.choose_version(self.folder), 1)
    self._write(1)
    self.assertEqual(versions.choose_version(self.folder), 2)
    self._write(10)  # As a name it comes before 9, as a number after.
    self._write(9)
    self.assertEqual(versions.list_versions(self.folder), [1, 9, 10])
    self.assertEqual(versions.choose_version(self.folder), 11)
    self.assertEqual(versions.choose_version(self.folder, version=5), 5)
    latest = os.path.join(self.folder, '10')
    self.assertEqual(versions.find_latest(self.folder), latest)
    self.assertEqual(versions.find_export(self.folder), latest)
    with open(os.path.join(latest, versions.GRAPH_FILE), 'w'):
      pass
    self.assertEqual(versions.find_export(latest), latest)

  def test_formats(self):
    self._write(4)
    path = os.path.join(self.folder, '4')
    self.assertIsNone(versions.find_format(path))
    self.assertEqual(versions.choose_version(self.folder), 5)
    with open(os.path.join(path, 'model.tflite'), 'w'):
      pass
    self.assertEqual(versions.find_format(path), 'tflite')
    for name in (path, self.folder):
      with self.assertRaisesRegex(
        ValueError, r'tflite \(model.tflite\).*=onnx'
      ):
        versions.find_export(name, formats=('onnx', 'saved_model'))
      self.assertEqual(versions.find_export(name, formats=('tflite',)), path)
    choose = versions.choose_version
    self.assertEqual(choose(self.folder, file_format='tflite'), 5)
    with self.assertRaisesRegex(
      ValueError, 'tflite, and this one would be sav'
    ):
      choose(self.folder)

  def test_what_is_taken_for_an_export(self):
    folder = self.create_tempdir()
    folder.create_file('run/checkpoint')
    folder.create_file('cut/1/saved_model.pb', content='cut')
    folder = folder.full_path
    for name, words in (
      ('nosuch', 'there is no such folder'),
      ('run/checkpoint', 'it is a file'),
      ('run', 'it is the model_dir of a run'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        versions.find_export(os.path.join(folder, name))
    with self.assertRaisesRegex(ValueError, 'its files are damaged, cut off'):
      versions.load(os.path.join(folder, 'cut', '1'))

  def test_refuses_versions_that_are_taken_or_no_number(self):
    self._write(3)
    with self.assertRaisesRegex(ValueError, r'`version` is 3, .* \[3\]'):
      versions.choose_version(self.folder, version=3)
    with self.assertRaisesRegex(ValueError, '`version` is -1; it must be 0'):
      versions.choose_version(self.folder, version=-1)

  def test_refuses_folders_that_tensorflow_does_not_find_again(self):
    for call in (versions.choose_version, versions.find_export):
      with self.assertRaisesRegex(ValueError, r"'x \[1\]', with \[ in it"):
        call('x [1]')

  def test_only_numbers_are_versions(self):
    for name in ('1.tmp', '.2', 'latest', '-3', '4x', '٥'):
      os.makedirs(os.path.join(self.folder, name))
    self.assertEqual(versions.list_versions(self.folder), [])
    with self.assertRaisesRegex(ValueError, 'No export in .*exports'):
      versions.find_latest(self.folder)

  def test_nothing_is_seen_before_the_end(self):
    with versions.new_version(self.folder, version=1) as path:
      self.assertEqual(versions.list_versions(self.folder), [])
      self.assertEqual(os.path.dirname(path), self.folder)
      self.assertStartsWith(os.path.basename(path), '.')
    self.assertEqual(os.listdir(self.folder), ['1'])

  @parameterized.parameters(RuntimeError, KeyboardInterrupt, SystemExit)
  def test_a_failure_leaves_nothing(self, error):
    with (
      self.assertRaises(error),
      versions.new_version(self.folder, version=1) as path,
    ):
      os.makedirs(os.path.join(path, 'variables'))
      raise error
    self.assertEqual(os.listdir(self.folder), [])

  def test_a_version_that_came_in_between_stays_as_it_is(self):
    with (
      self.assertRaisesRegex(ValueError, 'may have taken that number'),
      versions.new_version(self.folder, version=1),
    ):
      self._write(1, text='first')
    self.assertEqual(os.listdir(self.folder), ['1'])
    with open(os.path.join(self.folder, '1', 'file')) as f:
      self.assertEqual(f.read(), 'first')

  def _leave(self, name, *, age=0):
    """Writes what an export that was killed would leave."""
    path = os.path.join(self.folder, name)
    os.makedirs(os.path.join(path, 'variables'))
    file = os.path.join(path, 'variables', 'x')
    with open(file, 'w'):
      pass
    now = os.stat(file).st_mtime
    for each in (file, path):
      os.utime(each, (now - age, now - age))
    return name

  def test_what_killed_exports_have_left_goes_with_the_next_that_succeeds(self):
    with subprocess.Popen(['sleep', '60']) as process:
      with mock.patch.object(os, 'getpid', return_value=process.pid):
        ended = self._leave(f'.2.tmp-{writer.mark()}')
      process.kill()
    kept = {
      self._leave(f'.2.tmp-{writer.mark()}'),  # Of this process.
      self._leave('.3.tmp-machine-7-8-token', age=3600),
      self._leave('.3.tmp-0a1b2c3d'),  # As version 0.1 called them.
      self._leave('.mine', age=10**6),
    }
    self._leave('.4.tmp-machine-7-8-token', age=25 * 3600)
    self._leave('.4.tmp-0a1b2c3d', age=25 * 3600)
    with self.assertRaises(RuntimeError):
      with versions.new_version(self.folder, version=1):
        raise RuntimeError
    self.assertIn(ended, os.listdir(self.folder))
    self._write(1)
    self.assertEqual(set(os.listdir(self.folder)), {'1', *kept})

  def test_says_that_the_folder_cannot_be_written(self):
    file = self.create_tempfile('a_file').full_path
    with (
      self.assertRaisesRegex(ValueError, '`export_dir` is .*a_file/x'),
      versions.new_version(os.path.join(file, 'x'), version=1),
    ):
      self.fail('went on')
    denied = tf.errors.PermissionDeniedError(None, None, 'denied')
    with (
      mock.patch.object(tf.io.gfile, 'makedirs', side_effect=denied),
      self.assertRaisesRegex(ValueError, 'cannot be written .*denied'),
      versions.new_version(self.folder, version=1),
    ):
      self.fail('went on')

  def test_errors_while_writing_are_explained(self):
    full = tf.errors.ResourceExhaustedError(None, None, 'No space left')
    with (
      self.assertRaisesRegex(ValueError, "to '/x' .*No space.*enough space"),
      versions.writing('/x'),
    ):
      raise full


class ProvenanceTest(absltest.TestCase):
  def test_there_and_back(self):
    folder = self.create_tempdir().full_path
    provenance = versions.Provenance(
      model_dir='/runs/x',
      checkpoint='ckpt-7',
      weights='ema',
      folded=True,
      options=ExportOptions(top_k=2),
    )
    versions.write_provenance(provenance, folder)
    self.assertEqual(versions.read_provenance(folder), provenance)

  def test_no_export_of_ours(self):
    folder = self.create_tempdir().full_path
    for content in (
      None,
      'x',
      '[]',
      '{"options": {}}',
      '{"options": {"a": 1}}',
    ):
      if content is not None:
        with open(os.path.join(folder, versions.PROVENANCE_FILE), 'w') as f:
          f.write(content)
      with self.assertRaisesRegex(ValueError, 'is no export of this version'):
        versions.read_provenance(folder)


class LabelsTest(absltest.TestCase):
  def _file(self, content):
    return self.create_tempfile(content=content).full_path

  def test_reads_what_was_written(self):
    labels = ['tench, Tinca tinca', 'crane', 'crane', 'Bär', 'line\x85end']
    folder = self.create_tempdir().full_path
    path = model_dir.write_labels(folder, labels)
    self.assertEqual(versions.read_labels(path, num_classes=5), labels)

  def test_a_byte_order_mark_is_no_part_of_a_name(self):
    path = self._file('\ufeffcat\r\ndog\r\n')
    self.assertEqual(versions.read_labels(path, num_classes=2), ['cat', 'dog'])

  def test_the_last_line_needs_no_end_and_carriage_returns_go(self):
    path = self._file('a\r\nb\r\nc')
    self.assertEqual(versions.read_labels(path, num_classes=3), ['a', 'b', 'c'])

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'has 2 labels, and the network 3'):
      versions.read_labels(self._file('a\nb\n'), num_classes=3)
    with self.assertRaisesRegex(ValueError, 'no name in line 2'):
      versions.read_labels(self._file('a\n\nc\n'), num_classes=3)
    with self.assertRaisesRegex(ValueError, "'/no/file' cannot be read"):
      versions.read_labels('/no/file', num_classes=3)
    with open(self._file(''), 'wb') as f:
      f.write(b'\xff\xfe\xfa')
    with self.assertRaisesRegex(ValueError, 'cannot be read .*UTF-8'):
      versions.read_labels(f.name, num_classes=3)


if __name__ == '__main__':
  absltest.main()
