"""Tests of official_coatnet.files."""

import contextlib
import hashlib
import importlib
import os
import sys
import types
from unittest import mock

import tensorflow as tf

from official_coatnet import files
from tests.fixtures import full_disk


class StorageTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.path = os.path.join(self.create_tempdir(), 'file')

  def test_text_is_there_whole_or_not_at_all(self):
    files.write_text(self.path, 'old')
    with mock.patch.object(files, 'rename', side_effect=KeyboardInterrupt):
      with self.assertRaises(KeyboardInterrupt):
        files.write_text(self.path, 'new')
    with open(self.path) as file:
      self.assertEqual(file.read(), 'old')
    files.write_text(self.path, 'new')
    with open(self.path) as file:
      self.assertEqual(file.read(), 'new')
    self.assertEqual(os.listdir(os.path.dirname(self.path)), ['file'])

  def test_bytes_in_a_new_folder(self):
    path = os.path.join(os.path.dirname(self.path), 'new', 'folder', 'file')
    files.write_bytes(path, b'\xff\r\n\0')
    with open(path, 'rb') as file:
      self.assertEqual(file.read(), b'\xff\r\n\0')
    self.assertEqual(os.listdir(os.path.dirname(path)), ['file'])
    files.write_text(path, 'é\r\n')
    with open(path, 'rb') as file:
      self.assertEqual(file.read(), b'\xc3\xa9\r\n')

  def test_file_without_a_folder(self):
    self.enter_context(contextlib.chdir(os.path.dirname(self.path)))
    files.write_text('file', 'here')
    with open(self.path) as file:
      self.assertEqual(file.read(), 'here')

  def test_where_nothing_can_be_written(self):
    file = self.create_tempfile('file').full_path
    path = os.path.join(file, 'below')
    for write in (
      lambda: files.write_text(path, 'text'),
      lambda: files.make_folder(path),
      lambda: files.make_folder(file),
      lambda: files.write_text(self.create_tempdir().full_path, 'text'),
    ):
      with self.assertRaisesRegex(
        OSError, 'cannot be written to .*name a place'
      ):
        write()

  def test_a_full_disk(self):
    files.write_text(self.path, 'old')
    with full_disk.full_disk(1000):
      with self.assertRaisesRegex(
        OSError,
        r"file' cannot be written to \(File too large; 0.2 MB are needed, "
        r'[\d,.]+ MB are free there\); make room there',
      ):
        files.write_text(self.path, 'x' * 200_000)
    with open(self.path) as file:
      self.assertEqual(file.read(), 'old')
    self.assertEqual(os.listdir(os.path.dirname(self.path)), ['file'])
    self.assertIsNone(files.free_bytes('gs://bucket/run'))

  def test_what_a_run_can_do_without(self):
    best_effort = files.BestEffort(self.path)
    with self.assertLogs(level='WARNING') as logs:
      for _ in range(2):
        with best_effort():
          raise tf.errors.ResourceExhaustedError(
            None, None, 'x; No space left on device'
          )
      with best_effort():
        files.write_text(self.path, 'again')
    self.assertLen(logs.output, 1)
    self.assertRegex(logs.output[0], 'file.*No space left.*The run goes on')
    self.assertTrue(os.path.exists(self.path))
    with self.assertRaises(ZeroDivisionError), best_effort():
      raise ZeroDivisionError

  def test_json(self):
    self.assertIsNone(files.read_json(self.path))
    files.write_text(self.path, '{"a": [1, 2]}')
    self.assertEqual(files.read_json(self.path), {'a': [1, 2]})

  def test_a_byte_order_mark_is_no_part_of_a_text(self):
    for text in ('', 'é\r\n', '{"é": 1}'):
      files.write_bytes(self.path, b'\xef\xbb\xbf' + text.encode())
      self.assertEqual(files.read_text(self.path), text)
    self.assertEqual(files.read_json(self.path), {'é': 1})
    # One, and at the beginning only.
    text = files.decode_text(b'\xef\xbb\xbf\xef\xbb\xbfa', origin='')
    self.assertEqual(text, '\ufeffa')

  def test_text_that_is_not_utf8(self):
    for encoding in ('utf-16', 'utf-32'):
      with self.assertRaisesRegex(ValueError, "'/x' is text in UTF-16"):
        files.decode_text('cat'.encode(encoding), origin='/x')
    for mark in (b'', b'\xef\xbb\xbf'):
      contents = mark + 'é\nB\nBär'.encode().replace('ä'.encode(), b'\xe4')
      with self.assertRaisesRegex(ValueError, 'line 3, is not .*byte 0xe4'):
        files.decode_text(contents, origin='/x')

  def test_bytes_and_checksum(self):
    contents = b'a\r\nb\x00' * (1 << 20)  # More than a block.
    with open(self.path, 'wb') as file:
      file.write(contents)
    expected = hashlib.sha256(contents).hexdigest()
    self.assertEqual(files.sha256(self.path), expected)
    with files.open_binary(self.path) as file:
      self.assertEqual(file.readline(), b'a\r\n')
      self.assertEqual(file.tell(), 3)


class PathsTest(tf.test.TestCase):
  def test_as_a_shell_writes_it(self):
    with mock.patch.dict(os.environ, {'HOME': '/home/me', 'RUN': 'a'}):
      for path, expected in (
        ('~/x', '/home/me/x'),
        ('~', '/home/me'),
        ('a/~/$RUN', 'a/~/a'),
        ('gs://$RUN/${HOME}x', 'gs://a//home/mex'),
        ('file:///x/$RUN', '/x/a'),
        ('cost$', 'cost$'),
        ('', ''),
        ('runs/é [1]/', 'runs/é [1]/'),
      ):
        self.assertEqual(files.expand(path), expected)
    for path, words in (
      ('$NO_SUCH/x', "variable NO_SUCH for .NO_SUCH in '.NO_SUCH/x'"),
      ('~no_such_user/x', "no user 'no_such_user'"),
      ('file://x', "'x', which does not begin with a slash"),
    ):
      with self.assertRaisesRegex(ValueError, words):
        files.expand(path)

  def test_file_systems_that_are_not_there(self):
    for path in ('gs://bucket/run', 'GS://bucket', 'ram://x', '/x', 'x', 'a:b'):
      files.check_file_system(path)
    with self.assertRaisesRegex(
      ValueError,
      'TensorFlow has no file system for no-such://, as in '
      "'no-such://a/run', and tensorflow-io .*pip install tensorflow-io`",
    ):
      files.expand('no-such://a/run')

  def test_what_is_installed_brings_its_file_system(self):
    known = ['', 'file', 'ram']
    path = 'gs://bucket/run'
    name = 'tensorflow_io_gcs_filesystem'
    with mock.patch.object(
      tf.io.gfile, 'get_registered_schemes', lambda: list(known)
    ):
      with mock.patch.dict(sys.modules, {name: None}):
        with self.assertRaisesRegex(
          ValueError,
          f"for gs://, as in '{path}', and tensorflow-io-gcs-filesystem is not "
          'installed; run `pip install tensorflow-io-gcs-filesystem`',
        ):
          files.expand(path)
      with mock.patch.dict(sys.modules, {name: types.ModuleType(name)}):
        with self.assertRaisesRegex(ValueError, 'does not bring it; run'):
          files.check_file_system(path)
      with mock.patch.object(
        importlib, 'import_module', side_effect=OSError('undefined symbol')
      ):
        with self.assertRaisesRegex(
          ValueError, r'imported \(OSError: undefined'
        ):
          files.check_file_system(path)
      with mock.patch.object(
        importlib, 'import_module', side_effect=lambda _: known.append('gs')
      ):
        self.assertEqual(files.expand(path), path)

  def test_what_is_there_is_meant(self):
    folder = self.create_tempdir().full_path
    with contextlib.chdir(folder):
      for path in ('~', '$NO_SUCH'):
        os.mkdir(path)
        self.assertEqual(files.expand(path), path)

  def test_names_that_tensorflow_takes_for_patterns(self):
    """What is refused is what does not come back, or brings others along."""
    folder = self.create_tempdir().full_path
    variable = tf.Variable(1.0)
    for name, found in (
      ('run [v1]', False),
      ('a\\b', False),
      ('a*b', True),
      ('a?b', True),
      ('a[b', True),
    ):
      path = os.path.join(folder, name)
      tf.train.Checkpoint(variable=variable).save(os.path.join(path, 'ckpt'))
      self.assertEqual(tf.train.latest_checkpoint(path) is not None, found)
      character = next(each for each in name if each in '*?[\\')
      with self.assertRaisesRegex(ValueError, f'with \\{character} in it'):
        files.check_no_pattern(path, name='--model_dir')
      if found:
        files.check_no_pattern(path, name='--model_dir', is_new=False)
      else:
        with self.assertRaisesRegex(ValueError, '^--model_dir is .* renamed'):
          files.check_no_pattern(path, name='--model_dir', is_new=False)
    for name in ('a]b', '{x,y}', 'a b', "it's", 'é', '#:%$~'):
      path = os.path.join(folder, name)
      tf.train.Checkpoint(variable=variable).save(os.path.join(path, 'ckpt'))
      self.assertIsNotNone(tf.train.latest_checkpoint(path))
      files.check_no_pattern(path, name='--model_dir')

  def test_pattern_of_one_path(self):
    folder = self.create_tempdir().full_path
    for name in ('run [v1]', 'run v', 'run 1', 'a\\b', 'ab', 'a*b', 'a?b'):
      path = os.path.join(folder, name, 'file')
      files.write_text(path, '')
      pattern = files.escape_pattern(os.path.dirname(path))
      self.assertEqual(tf.io.gfile.glob(f'{pattern}/f*'), [path])


if __name__ == '__main__':
  tf.test.main()
