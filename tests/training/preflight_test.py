"""Tests of training.preflight."""

import json
import os

import tensorflow as tf
from absl.testing import absltest

from official_coatnet.data import manifest, schema
from official_coatnet.records import writing
from official_coatnet.training import (
  experiment as experiment_lib,
  model_dir,
  preflight,
)
from tests.fixtures import experiments as fixture, image_files, runs


def _find(experiment, **kwargs):
  settings = dict(mode='train_and_eval', num_replicas=1, num_hosts=1)
  return preflight.examine(experiment, **{**settings, **kwargs})[0]


class PreflightTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_nothing_stands_in_the_way(self):
    self.assertEqual(
      _find(fixture.make_experiment(), model_dir=self.folder), []
    )

  def test_everything_at_once(self):
    experiment = fixture.make_experiment(
      train_data={'source': 'tfrecord', 'batch_size': 5},
      run={'init_checkpoint': '/no/such/checkpoint'},
    )
    problems = '\n'.join(_find(experiment, model_dir=None, num_replicas=2))
    for part in (
      '--model_dir is missing',
      '2 cores do not divide',
      'DATA_DIR',
      '`init_checkpoint`: No checkpoint at',
    ):
      self.assertIn(part, problems)

  def test_a_folder_that_tensorflow_would_not_find_again(self):
    experiment = fixture.make_experiment()
    (problem,) = _find(experiment, model_dir='/x/run [v1]')
    self.assertRegex(problem, r"--model_dir is '/x/run \[v1\]', with \[ in it")

  def test_frozen_stages_have_learned_something(self):
    experiment = fixture.make_experiment(
      train_data={'source': 'tfrecord', 'data_dir': self.folder},
      optimizer={'trainable': ('head',)},
    )
    words = 'would stay at random values for ever: set INIT_CHECKPOINT'
    folder = os.path.join(self.folder, 'run')
    self.assertIn(words, '\n'.join(_find(experiment, model_dir=folder)))
    runs.write_run(folder, experiment)
    self.assertNotIn(words, '\n'.join(_find(experiment, model_dir=folder)))

  def test_a_run_goes_on_with_the_stages_that_it_trains(self):
    experiment = fixture.make_experiment(optimizer={'trainable': ('head',)})
    folder = os.path.join(self.folder, 'run')
    runs.write_run(folder, experiment)
    self.assertEqual(_find(experiment, model_dir=folder), [])
    other = fixture.make_experiment()
    (problem,) = _find(other, model_dir=folder)
    self.assertRegex(problem, r"`optimizer.trainable` is None, but .*'head'")
    self.assertEqual(_find(other, model_dir=folder, mode='eval'), [])

  def test_balanced_classes_need_a_manifest(self):
    experiment = fixture.make_experiment(loss={'class_weights': 'balanced'})
    (problem,) = _find(experiment, model_dir=self.folder)
    self.assertIn("is 'balanced', but `train_data` has no manifest", problem)
    self.assertEqual(
      _find(
        experiment,
        model_dir=runs.write_run(os.path.join(self.folder, 'run'), experiment),
        mode='eval',
      ),
      [],
    )

  def test_what_only_an_export_serves_is_not_trained(self):
    for model, sentence in (
      (
        {'norm': 'none'},
        "`norm` is 'none', which is for exports alone: .*fold",
      ),
      (
        {'implementation': 'onednn'},
        "`implementation` is 'onednn', which is for exports alone.*'cpu'",
      ),
    ):
      experiment = fixture.make_experiment(model=model)
      for mode in ('train', 'train_and_eval'):
        (problem,) = _find(experiment, model_dir=self.folder, mode=mode)
        self.assertRegex(problem, sentence)
      # It can be evaluated.
      self.assertEqual(
        _find(experiment, model_dir=self.folder, mode='continuous_eval'), []
      )

  def test_every_other_implementation_is_trained(self):
    for form in ('reference', 'tpu', 'cpu', None):
      experiment = fixture.make_experiment(model={'implementation': form})
      self.assertEqual(_find(experiment, model_dir=self.folder), [])

  def test_fine_tuning_does_not_start_from_random_weights(self):
    experiment = fixture.make_experiment(run={'init_checkpoint_required': True})
    for mode in ('train', 'train_and_eval'):
      (problem,) = _find(experiment, model_dir=self.folder, mode=mode)
      self.assertIn('`init_checkpoint` is None, but this run is a', problem)
      self.assertIn('INIT_CHECKPOINT', problem)
      self.assertIn('init_checkpoint_required = False', problem)
    self.assertLen(_find(experiment, model_dir=None), 2)
    # Evaluation reads the weights of the run itself.
    self.assertEqual(
      _find(experiment, model_dir=self.folder, mode='continuous_eval'), []
    )

  def test_fine_tuning_that_resumes_needs_no_init_checkpoint(self):
    experiment = fixture.make_experiment(run={'init_checkpoint_required': True})
    checkpoint = tf.train.Checkpoint(step=tf.Variable(1))
    checkpoint.save(os.path.join(self.folder, 'ckpt'))
    self.assertEqual(_find(experiment, model_dir=self.folder), [])

  def test_fine_tuning_of_another_network(self):
    start = fixture.make_experiment(
      model={'name': 'coatnet_test', 'family': 'timm_0_rw'}
    )
    tf.train.Checkpoint(weights={'x': tf.Variable(1)}).save(
      os.path.join(self.folder, 'ckpt')
    )
    model_dir.write_experiment(self.folder, start)
    experiment = fixture.make_experiment(
      model={'widths': (16, 16, 16, 32, 64)},
      run={'init_checkpoint': self.folder},
    )
    new = self.create_tempdir('new').full_path
    (problem,) = _find(experiment, model_dir=new)
    self.assertIn("weights of 'coatnet_test', and the network is", problem)
    self.assertIn('`widths` is (16, 16, 16, 32, 32) there and (16, 16', problem)
    self.assertIn("`family` is 'timm_0_rw' there and 'paper' here", problem)
    self.assertIn('or to None, which means that of the weights', problem)

  def test_only_what_the_mode_reads_is_checked(self):
    experiment = fixture.make_experiment(train_data={'source': 'tfrecord'})
    problems = _find(experiment, model_dir=self.folder, mode='continuous_eval')
    self.assertEqual(problems, [])
    self.assertLen(_find(experiment, model_dir=self.folder, mode='train'), 1)

  def test_file_systems_that_are_not_there(self):
    experiment = fixture.make_experiment(
      train_data={'source': 'tfrecord', 'data_dir': 'no-such://data'},
      eval_data={'source': 'tfds', 'tfds_name': 'mnist', 'data_dir': 's4://x'},
    )
    for mode, names in (
      ('train', ['--model_dir', 'data_dir of `train_data`']),
      ('eval', ['--model_dir', 'data_dir of `eval_data`']),
    ):
      problems = _find(experiment, model_dir='no-such://run', mode=mode)
      self.assertEqual([each.split(':')[0] for each in problems], names)
      for problem in problems:
        self.assertIn('has no file system for', problem)

  def test_local_folders_and_workers_elsewhere(self):
    data = {'source': 'tfrecord', 'data_dir': self.folder}
    experiment = fixture.make_experiment(
      train_data=data, eval_data={'source': 'tfds', 'tfds_name': 'mnist'}
    )
    problems = _find(experiment, model_dir=self.folder, remote_workers=True)
    self.assertRegex(problems[0], '--model_dir is .*gs://my-bucket/run')
    found = '\n'.join(problems[1:])
    self.assertRegex(found, f"`train_data` is read from '{self.folder}'.*gs://")
    self.assertIn("`eval_data` is read from '~/tensorflow_datasets'", found)
    self.assertNotIn(
      'a folder of this machine',
      ''.join(_find(experiment, model_dir=self.folder)),
    )

  def test_synthetic_images_need_no_storage(self):
    problems = _find(
      fixture.make_experiment(), model_dir='file:///x', remote_workers=True
    )
    self.assertLen(problems, 1)

  def test_fewer_files_than_hosts(self):
    with tf.io.TFRecordWriter(os.path.join(self.folder, 'train-0')) as writer:
      writer.write(b'x')
    data = {'source': 'tfrecord', 'data_dir': self.folder}
    problems = _find(
      fixture.make_experiment(train_data=data),
      model_dir=self.folder,
      mode='train',
      num_hosts=4,
      num_replicas=4,
    )
    self.assertRegex(problems[0], '1 files in .* each of 4 hosts.*more shards')

  def test_evaluation_without_a_checkpoint(self):
    (problem,) = _find(
      fixture.make_experiment(), model_dir=self.folder, mode='eval'
    )
    self.assertIn('no finished checkpoint', problem)

  def test_folder_of_another_model(self):
    model_dir.write_experiment(self.folder, fixture.make_experiment())
    other = fixture.make_experiment(
      model={'downsample': 'depthwise', 'head_size': 8}
    )
    (problem,) = _find(other, model_dir=self.folder)
    self.assertIn('belongs to another model', problem)
    self.assertIn(
      "downsample was 'expand_conv' and is now 'depthwise'", problem
    )
    self.assertIn('head_size was 16 and is now 8', problem)

  def test_other_image_size_names_the_remedy(self):
    model_dir.write_experiment(self.folder, fixture.make_experiment())
    size = {'image_size': 64}
    other = fixture.make_experiment(model=size, train_data=size, eval_data=size)
    (problem,) = _find(other, model_dir=self.folder)
    self.assertIn('image_size was 32 and is now 64', problem)
    self.assertIn(f"init_checkpoint = '{self.folder}'", problem)

  def test_what_may_change_from_one_start_to_the_next(self):
    model_dir.write_experiment(self.folder, fixture.make_experiment())
    other = fixture.make_experiment(
      model={'lookup': 'gather', 'stochastic_depth': 0.2},
      run={'train_steps': 8},
    )
    self.assertEqual(_find(other, model_dir=self.folder), [])

  def test_folder_of_images_prepared_otherwise(self):
    model_dir.write_experiment(self.folder, fixture.make_experiment())
    other = fixture.with_data(
      fixture.make_experiment(),
      deviation=(0.5, 0.5, 0.5),
      interpolation='bicubic',
    )
    (problem,) = _find(other, model_dir=self.folder)
    self.assertIn('images prepared otherwise', problem)
    self.assertIn(
      'deviation was (0.229, 0.224, 0.225) and is now (0.5, 0.5, 0.5); '
      "interpolation was 'bilinear' and is now 'bicubic'",
      problem,
    )
    (problem,) = _find(other, model_dir=self.folder, mode='continuous_eval')
    self.assertIn('deviation was', problem)
    self.assertNotIn('interpolation', problem)
    bicubic = fixture.with_data(
      fixture.make_experiment(), interpolation='bicubic'
    )
    self.assertLen(_find(bicubic, model_dir=self.folder), 1)
    # What evaluates may look what comes of it.
    self.assertEqual(
      _find(bicubic, model_dir=self.folder, mode='continuous_eval'), []
    )

  def test_folder_that_records_no_preprocessing(self):
    values = fixture.make_experiment().to_dict()
    for data in (values['train_data'], values['eval_data']):
      for field in experiment_lib.PREPROCESSING:
        del data[field]
    path = os.path.join(self.folder, model_dir.EXPERIMENT_FILE)
    with open(path, 'w') as f:
      json.dump(values, f)
    self.assertEqual(
      _find(fixture.make_experiment(), model_dir=self.folder), []
    )
    other = fixture.with_data(fixture.make_experiment(), mean=(0.5, 0.5, 0.5))
    (problem,) = _find(other, model_dir=self.folder)
    self.assertIn('mean was (0.485, 0.456, 0.406) and is now', problem)

  def test_weights_to_start_from_that_know_other_pixels(self):
    start = os.path.join(self.folder, 'start')
    runs.write_run(
      start,
      fixture.with_data(
        fixture.make_experiment(),
        mean=(0.5, 0.5, 0.5),
        interpolation='bicubic',
      ),
    )
    model = os.path.join(self.folder, 'run')
    for path in (start, os.path.join(start, 'ckpt-4')):
      experiment = fixture.make_experiment(run={'init_checkpoint': path})
      (problem,) = _find(experiment, model_dir=model)
      self.assertIn(
        'mean was (0.5, 0.5, 0.5) and is now (0.485, 0.456, 0.406)', problem
      )
      self.assertIn(repr(start), problem)
      # The resolution changes in a fine-tuning, and how it is come by may.
      same = fixture.with_data(experiment, mean=(0.5, 0.5, 0.5))
      self.assertEqual(_find(same, model_dir=model), [])
    # A checkpoint without its run does not say what it knows.
    os.remove(os.path.join(start, model_dir.EXPERIMENT_FILE))
    self.assertEqual(_find(experiment, model_dir=model), [])

  def _write_records(self, folder, split, images, *, mark=None):
    build = mark and manifest.Build(mark, {'train': 4, 'validation': 4})
    records = [
      writing.Record(
        schema.serialize_imagenet(
          image_files.encode(image), label=1, height=12, width=16
        ),
        labels=[1],
      )
      for image in images
    ]
    writing.write_split(
      lambda shard: records,
      folder,
      split=split,
      num_shards=1,
      schema='imagenet',
      num_classes=fixture.make_experiment().train_data.num_classes,
      label_offset=-1,
      build=build,
    )

  def _find_pair_problems(self, train_dir, eval_dir, *, mode, **run):
    data = {'source': 'tfrecord', 'schema': 'imagenet', 'num_examples': None}
    experiment = fixture.make_experiment(
      train_data={**data, 'data_dir': train_dir},
      eval_data={**data, 'data_dir': eval_dir, 'split': 'validation'},
      run=run,
    )
    return [
      each
      for each in _find(experiment, model_dir=self.folder, mode=mode)
      if 'manifest-validation' in each
    ]

  def test_splits_that_do_not_belong_together(self):
    folder, other = (self.create_tempdir().full_path for _ in range(2))
    self._write_records(folder, 'train', range(4), mark='x')
    self._write_records(folder, 'validation', range(2, 6), mark='y')
    self._write_records(other, 'validation', range(3, 9))
    # An evaluation of its own compares, too, where it can.
    for mode in ('train_and_eval', 'continuous_eval'):
      (problem,) = self._find_pair_problems(folder, folder, mode=mode)
      self.assertIn('are of different builds', problem)
      (problem,) = self._find_pair_problems(folder, other, mode=mode)
      self.assertStartsWith(problem, '1 of the 6 images of ')
    self.assertEmpty(self._find_pair_problems(folder, folder, mode='train'))
    self.assertEmpty(
      self._find_pair_problems(
        folder, other, mode='train_and_eval', allow_shared_images=True
      )
    )
    self.assertEmpty(
      self._find_pair_problems('/nowhere', other, mode='continuous_eval')
    )

  def test_damaged_experiment_file(self):
    path = os.path.join(self.folder, model_dir.EXPERIMENT_FILE)
    with open(path, 'w') as f:
      f.write('{"model": {')
    (problem,) = _find(fixture.make_experiment(), model_dir=self.folder)
    self.assertIn(path, problem)


if __name__ == '__main__':
  absltest.main()
