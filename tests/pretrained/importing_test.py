"""Tests of weights of others as the model_dir of a run."""

import os
from unittest import mock

import huggingface_hub.constants
import numpy as np
from absl.testing import absltest

from official_coatnet import files
from official_coatnet.modeling import network
from official_coatnet.pretrained import importing
from official_coatnet.training import (
  checkpoints,
  gin_config,
  model_dir as model_dir_lib,
)
from tests.fixtures import experiments, hub_files, repository, runs

_NAME = hub_files.NAME.split('/')[1]


class ImportingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.model_dir = os.path.join(self.folder, 'run')

  def write(self, num_classes=5, name=_NAME):
    """Writes weights of five classes, which are quickly handled."""
    _, state = hub_files.nano(num_classes)
    return hub_files.write(
      os.path.join(self.folder, name, 'model.safetensors'), state
    )

  def test_a_model_dir_like_any_other(self):
    path = self.write()
    found = importing.import_weights(
      os.path.dirname(path), self.model_dir, image_size=192
    )

    experiment = model_dir_lib.read_experiment(self.model_dir)
    self.assertEqual(experiment.model.name, hub_files.MODEL)
    self.assertEqual(experiment.model.image_size, 192)
    for data in (experiment.train_data, experiment.eval_data):
      self.assertEqual(data.interpolation, 'bicubic')
      self.assertEqual(data.deviation, (0.5, 0.5, 0.5))
      self.assertEqual(data.eval_crop_fraction, 0.9)
    self.assertLen(found.report.resized, 9)
    self.assertEqual(found.origin.sha256, files.sha256(path))
    self.assertIsNone(found.origin.top1)  # Of five classes none is published.
    self.assertEqual(model_dir_lib.read_origin(self.model_dir), found.origin)
    self.assertIsNone(model_dir_lib.find_labels(self.model_dir))
    prefix = model_dir_lib.find_checkpoint(self.model_dir)
    self.assertEqual(model_dir_lib.checkpoint_step(prefix), 0)
    model = network.classifier(experiment.model)
    checkpoints.load_weights(model, self.model_dir)
    original, _ = hub_files.nano(5)
    np.testing.assert_array_equal(
      model.get_layer('logits').kernel, original.get_layer('logits').kernel
    )
    # The same by gin.
    config = os.path.join(self.model_dir, model_dir_lib.CONFIG_FILE)
    self.assertEqual(
      gin_config.load([config], root=repository.ROOT), experiment
    )
    with self.assertRaisesRegex(ValueError, 'holds the checkpoints of a run'):
      importing.import_weights(path, self.model_dir)

  def test_what_is_published(self):
    path = self.write(num_classes=1000)
    steps = []
    found = importing.import_weights(path, self.model_dir, on_step=steps.append)
    self.assertEqual(steps, list(importing.STEPS))
    self.assertEqual(found.origin.source, hub_files.NAME)
    self.assertEqual(found.origin.licence, 'apache-2.0')
    self.assertEqual(found.origin.top1, 81.704)
    self.assertEqual(
      model_dir_lib.read_labels(self.model_dir)[0], 'tench, Tinca tinca'
    )

  def test_a_start_is_imported_once(self):
    with open(self.write(), 'rb') as file:
      contents = {'model.safetensors': file.read()}
    hub_files.cache(self.folder, hub_files.NAME, contents)
    with (
      mock.patch.dict(os.environ, {'XDG_CACHE_HOME': self.folder}),
      mock.patch.object(huggingface_hub.constants, 'HF_HUB_CACHE', self.folder),
    ):
      start = importing.find_start(hub_files.NAME)
      self.assertStartsWith(start, importing.cache_folder())
      self.assertEqual(
        os.listdir(importing.cache_folder()), [os.path.basename(start)]
      )
      model_dir_lib.read_experiment(start)
      with mock.patch.object(importing, '_import') as again:
        self.assertEqual(importing.find_start(hub_files.NAME), start)
        again.assert_not_called()

  def test_what_fails_leaves_nothing(self):
    path = self.write()
    with open(path, 'r+b') as file:
      file.truncate(1000)
    with (
      mock.patch.dict(os.environ, {'XDG_CACHE_HOME': self.folder}),
      self.assertRaisesRegex(ValueError, 'damaged or cut short'),
    ):
      importing.find_start(path)
    self.assertEmpty(
      os.listdir(os.path.join(self.folder, 'official_coatnet', 'weights-1'))
    )

  def test_other_starts_are_left_as_they_are(self):
    run = runs.write_run(self.model_dir, experiments.make_experiment())
    for path in (run, f'{run}/ckpt-4', '/no/such/run', 'gs://no/such'):
      self.assertEqual(importing.find_start(path), path)


if __name__ == '__main__':
  absltest.main()
