"""Tests of training.model_dir; reporting_test has more of metrics.jsonl."""

import os

from absl.testing import absltest

from official_coatnet.data import facts
from official_coatnet.training import model_dir
from tests.fixtures import experiments as fixture


class ModelDirTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_experiment_round_trip(self):
    experiment = fixture.make_experiment()
    model_dir.write_experiment(self.folder, experiment)
    self.assertEqual(model_dir.read_experiment(self.folder), experiment)
    self.assertEqual(os.listdir(self.folder), ['experiment.json'])

  def test_not_a_model_dir(self):
    with self.assertRaisesRegex(FileNotFoundError, 'not the model_dir of'):
      model_dir.read_experiment(self.folder)

  def test_no_checkpoint(self):
    with self.assertRaisesRegex(ValueError, 'neither a folder'):
      model_dir.find_checkpoint('/no/such/folder')
    with self.assertRaisesRegex(ValueError, 'no finished checkpoint'):
      model_dir.find_checkpoint(self.create_tempdir().full_path)

  def test_what_is_taken_for_a_checkpoint(self):
    folder = self.create_tempdir()
    for name in (
      'ckpt-6.index',
      'ckpt-6.data-00000-of-00001',
      'exports/1/saved_model.pb',
    ):
      folder.create_file(name)
    folder = folder.full_path
    for name, words in (
      ('ckpt-6.index', 'it is a file of one; leave its ending out: .*ckpt-6.$'),
      (
        'ckpt-6.data-00000-of-00001',
        'it is a file of one; leave its ending out: .*ckpt-6.$',
      ),
      ('exports/1/saved_model.pb', 'it is a file; give the model_dir'),
      ('exports/1', 'it is an export'),
      ('exports', 'it is an export'),
    ):
      with self.assertRaisesRegex(ValueError, f'No checkpoint in .*: {words}'):
        model_dir.find_checkpoint(os.path.join(folder, name))

  def test_a_folder_whose_checkpoints_cannot_be_read(self):
    with self.assertRaisesRegex(ValueError, r'run \[v1\].*can be renamed'):
      model_dir.find_checkpoint('/x/run [v1]')

  def test_step_of_a_checkpoint(self):
    self.assertEqual(model_dir.checkpoint_step('/runs/a-1/ckpt-120'), 120)

  def test_labels(self):
    self.assertIsNone(model_dir.find_labels(self.folder))
    path = model_dir.write_labels(self.folder, ['a', 'b c'])
    self.assertEqual(path, model_dir.find_labels(self.folder))
    with open(path) as f:
      self.assertEqual(f.read(), 'a\nb c\n')

  def test_labels_are_read_line_by_line(self):
    self.assertIsNone(model_dir.read_labels(self.folder))
    path = model_dir.write_labels(self.folder, ('a\r', 'b\u2028c', 'd'))
    names = ('a', 'b\u2028c', 'd')
    self.assertEqual(model_dir.read_labels(self.folder), names)
    with open(path, 'wb') as f:
      f.write(b'\xff')
    with self.assertRaisesRegex(ValueError, 'labels.txt cannot be read'):
      model_dir.read_labels(self.folder)

  def test_data(self):
    self.assertIsNone(model_dir.read_data(self.folder))
    names = tuple(map(str, range(2001)))
    split = facts.SplitFacts(
      source='tfrecord',
      split='train',
      num_classes=2001,
      class_names=names,
      class_digest=facts.digest(names),
    )
    model_dir.write_data(self.folder, facts.DataFacts(split, split))
    read = model_dir.read_data(self.folder)
    self.assertIsNone(read.train.class_names)
    # Names of another run do not belong to the checksum.
    model_dir.write_labels(self.folder, names[::-1])
    self.assertEqual(model_dir.read_data(self.folder), read)
    model_dir.write_labels(self.folder, names)
    self.assertEqual(
      model_dir.read_data(self.folder), facts.DataFacts(split, split)
    )

  def test_configuration_goes_along(self):
    other = self.create_tempdir().full_path
    model_dir.copy_config(self.folder, other)
    self.assertEqual(os.listdir(other), [])
    model_dir.write_config(self.folder, 'A = 1\n')
    model_dir.copy_config(self.folder, other)
    with open(os.path.join(other, 'config.gin')) as f:
      self.assertEqual(f.read(), 'A = 1\n')

  def test_metrics_of_a_run_that_has_reported_nothing(self):
    self.assertEqual(model_dir.read_metrics(self.folder), [])
    file = model_dir.MetricsFile(self.folder, writes=False)
    file.write(1, {'train/loss': 1.0})
    self.assertEqual(os.listdir(self.folder), [])

  def test_folders_that_can_be_written_to(self):
    """A user who may do everything is stopped by a file in the way alone."""
    new = model_dir.evaluation_folder(self.folder, 40)
    self.assertEqual(new, os.path.join(self.folder, 'evaluation', 'ckpt-40'))
    self.assertTrue(model_dir.is_writable(new))
    self.assertEqual(os.listdir(new), [])
    file = os.path.join(self.folder, 'file')
    with open(file, 'w'):
      pass
    self.assertFalse(model_dir.is_writable(os.path.join(file, 'folder')))


class OriginTest(absltest.TestCase):
  def test_of_imported_weights(self):
    folder = self.create_tempdir().full_path
    self.assertIsNone(model_dir.read_origin(folder))
    origin = model_dir.Origin('timm/x', 'x.safetensors', 'abc', top1=81.7)
    model_dir.write_origin(folder, origin)
    self.assertEqual(model_dir.read_origin(folder), origin)
    with open(os.path.join(folder, model_dir.WEIGHTS_FILE), 'w') as f:
      f.write('{"source": 1}')
    with self.assertRaisesRegex(ValueError, 'cannot be read.*Import the'):
      model_dir.read_origin(folder)


if __name__ == '__main__':
  absltest.main()
