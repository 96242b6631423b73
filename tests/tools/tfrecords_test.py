"""Tests of tools/tfrecords.py, run as its users do."""

import glob
import io
import os
import pathlib
import subprocess
import sys
import time

import tensorflow as tf
from PIL import ExifTags, Image

from official_coatnet.data import schema, split_files
from tests.fixtures import example_files, image_files, shard_files
from tools import tfrecords

TOOL = pathlib.Path(tfrecords.__file__).resolve()


class TfrecordsTest(tf.test.TestCase):
  def start_tool(self, *arguments):
    # From another folder, and with nothing but the tool's own path.
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    environment['PYTHONPATH'] = os.pathsep.join(
      path for path in sys.path if 'site-packages' in path
    )
    return subprocess.Popen(
      [sys.executable, str(TOOL), *arguments],
      cwd=self.create_tempdir().full_path,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def run_tool(self, *arguments):
    process = self.start_tool(*arguments)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(
      arguments, process.returncode, stdout, stderr
    )

  def test_demo_twice(self):
    folder = self.create_tempdir().full_path
    first = self.run_tool('demo', f'--output_dir={folder}')
    self.assertEqual(first.returncode, 0, first.stderr)
    self.assertIn('train: 1,347 images of 10 classes in 8 files', first.stdout)
    self.assertIn('validation: 450 images of 10 classes', first.stdout)
    self.assertIn('1,347 of 1,347 images', first.stderr)
    self.assertIsNotNone(split_files.complete_manifest(folder, 'train'))
    self.assertLen(os.listdir(os.path.join(folder, 'images')), 12)
    second = self.run_tool('demo', f'--output_dir={folder}')
    self.assertEqual(second.returncode, 0, second.stderr)
    self.assertEqual(second.stdout, first.stdout)
    self.assertNotIn('images,', second.stderr)

  def test_folder(self):
    source = self.create_tempdir()
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new('RGB', (9, 5)).save(buffer, 'JPEG', exif=exif)
    for name in ('a/1.jpg', 'b/2.jpg'):
      source.create_file(name, content=buffer.getvalue(), mode='wb')
    source.create_file('b/broken.jpg', content='text')
    source.create_file('b/notes.txt', content='text')
    source.create_file('b/deep/x.jpg', content='x')
    folder = self.create_tempdir().full_path
    command = (
      'folder', f'--input_dir={source.full_path}', f'--output_dir={folder}'
    )  # fmt: skip
    result = self.run_tool(*command)
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertIn('train: 2 images of 2 classes in 3 files', result.stdout)
    self.assertIn('b/broken.jpg: no image of a known format', result.stdout)
    manifest = split_files.complete_manifest(folder, 'train')
    self.assertTrue(manifest.exif_orientation)
    paths = [os.path.join(folder, file.name) for file in manifest.files]
    for record in tf.data.TFRecordDataset(paths):
      encoded = schema.parse(record, schema='imagenet')['encoded']
      self.assertEqual(tf.io.extract_jpeg_shape(encoded)[0], 9)
    for line in (
      'left out, 1 no image that can be opened (.txt): b/notes.txt\n',
      'left out, 1 in folders within class folders (--recursive takes them): '
      'b/deep/x.jpg\n',
    ):
      self.assertIn(f'{source.full_path}: {line}', result.stdout)
    result = self.run_tool(*command, '--recursive')
    self.assertEqual(result.returncode, 1)
    self.assertIn("split 'train' made from something", result.stderr)
    self.assertIn('(--overwrite)', result.stderr)

  def test_list(self):
    source = self.create_tempdir()
    for i in range(3):
      source.create_file(f'{i}.jpg', content=image_files.encode(i), mode='wb')
    names = source.create_file('names.txt', '\ufeffred wine\ncheese\n')
    rows = source.create_file(
      'list.csv',
      '\ufeffimage,label\n0.jpg,red wine\n1.jpg,cheese\n2.jpg,Cheese\n',
    )
    folder = self.create_tempdir().full_path
    arguments = (
      'manifest',
      f'--list={rows.full_path}',
      f'--input_dir={source.full_path}',
      f'--class_names={names.full_path}',
      f'--output_dir={folder}',
      '--num_processes=1',
    )
    result = self.run_tool(*arguments)
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertIn('Every row has exactly one label. With --s', result.stderr)
    self.assertIn('train: 2 images of 2 classes', result.stdout)
    self.assertIn(
      "2.jpg: label 'Cheese' is no class name; the nearest is 'cheese'",
      result.stdout,
    )
    result = self.run_tool(*arguments, '--single_label', '--overwrite')
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertNotIn('exactly one label', result.stderr)
    manifest = split_files.complete_manifest(folder, 'train')
    self.assertEqual(manifest.schema, 'imagenet')
    self.assertEqual(manifest.class_names, ('red wine', 'cheese'))

  def test_killed_and_started_again(self):
    source, folder, whole = (self.create_tempdir() for _ in range(3))
    for i in range(120):
      # PNG: each has to be encoded anew.
      contents = image_files.encode(i, 'PNG', size=(400, 300))
      source.create_file(f'c{i % 2}/{i}.png', content=contents, mode='wb')
    process = self.start_tool(
      'folder',
      f'--input_dir={source.full_path}',
      f'--output_dir={folder.full_path}',
      '--num_processes=2',
      '--num_shards=40',
      '--noexif_orientation',  # As the library builds what follows.
    )
    pattern = os.path.join(folder, '.building-train', '*.receipt.json')
    while process.poll() is None and len(glob.glob(pattern)) < 5:
      time.sleep(0.01)
    process.kill()
    process.communicate()
    finished = [os.path.basename(path)[:20] for path in glob.glob(pattern)]
    before = {name: os.stat(os.path.join(folder, name)) for name in finished}
    # What is left is made by one process, and comes to the same bytes.
    calls = []
    shard_files.write_folder(
      source.full_path,
      folder.full_path,
      num_shards=40,
      progress=lambda *call: calls.append(call),
    )
    shard_files.write_folder(source.full_path, whole.full_path, num_shards=40)
    if finished:  # If not, it was too fast for us, and had built everything.
      self.assertEqual(calls[0], (3 * len(finished), 120))
    for name, stat in before.items():
      self.assertEqual(os.stat(os.path.join(folder, name)), stat)
    self.assertCountEqual(os.listdir(folder), os.listdir(whole))
    for name in os.listdir(whole):
      with (
        open(os.path.join(folder, name), 'rb') as ours,
        open(os.path.join(whole, name), 'rb') as expected,
      ):
        self.assertEqual(ours.read(), expected.read(), name)

  def test_inspections_in_several_processes(self):
    source = self.create_tempdir()
    for i in range(8):
      source.create_file(
        f'c{i % 2}/{i}.jpg', content=image_files.encode(i), mode='wb'
      )
    folder = self.create_tempdir().full_path
    shard_files.write_folder(source.full_path, folder, num_shards=2)
    path = os.path.join(folder, 'train-00001-of-00002')
    with open(path, 'r+b') as file:
      file.seek(40)
      file.write(b'####')
    checked = self.run_tool('validate', folder, '--num_processes=2')
    self.assertEqual(checked.returncode, 1, checked.stderr)
    self.assertIn(f'{path} at byte 0: data damaged', checked.stdout)
    self.assertIn('train: 7 intact records in 2 files, 2 pro', checked.stdout)
    saved = self.create_tempdir().full_path
    result = self.run_tool('repair', folder, saved)
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertIn('train: 7 images of 2 classes in 2 files', result.stdout)
    self.assertIn('00001-of-00002 at byte 0: data damaged', result.stdout)

  def test_index_of_compressed_records_under_other_keys(self):
    folder = self.create_tempdir().full_path
    record = example_files.make_example(image=image_files.encode(0), label=3)
    example_files.write_shards(
      folder, [record] * 4, compression='GZIP', ending='.gz'
    )
    result = self.run_tool(
      'index', folder, '--schema=automl', '--feature_keys=labels:label'
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertIn('train: 4 images of 4 classes in 2 files', result.stdout)
    result = self.run_tool(
      'validate', folder, '--feature_keys=labels:label', '--allow_duplicates'
    )
    self.assertEqual(result.returncode, 0, result.stdout)
    self.assertIn("set DataConfig.compression = 'GZIP', or", result.stdout)
    # The manifest says of how many.
    self.assertIn('4 of 4 records', result.stderr)

  def test_errors_are_one_clear_line(self):
    for arguments, message in (
      (['demo'], '--output_dir is not set'),
      (['folder', '--output_dir=/tmp/x'], '--input_dir is not set'),
      (
        ['folder', '--output_dir=/tmp/x', '--input_dir=/nowhere'],
        "input_dir is '/nowhere', but there is no such folder",
      ),
    ):
      result = self.run_tool(*arguments)
      self.assertEqual(result.returncode, 1)
      self.assertIn(message, result.stderr)
      self.assertNotIn('Traceback', result.stderr)

  def test_unknown_command_names_the_known_ones(self):
    result = self.run_tool('digits')
    self.assertEqual(result.returncode, 1)
    output = result.stdout + result.stderr
    self.assertIn('Name one of demo, demo_transfer, folder', output)
    self.assertIn('tfrecords.py --help says', output)


if __name__ == '__main__':
  tf.test.main()
