"""Tests of training.gin_config."""

import dataclasses
import os
import sys
from unittest import mock

import gin
from absl.testing import absltest, parameterized

from official_coatnet.data import config as data_config
from official_coatnet.modeling import config as model_config
from official_coatnet.training import (
  experiment as experiment_lib,
  gin_config,
)
from tests.fixtures import gin_files, repository


def _fed_by_macros(path):
  """Returns the keys of a file that macros set, each with its value."""
  last = {each.name: each for each in gin_files.statements(path)}
  found = []
  for name, each in last.items():
    if not each.is_macro and each.is_macro_alone:
      while each.is_macro_alone:
        (macro,) = each.reads
        each = last[macro]
      found.append((name, each.value))
  return found


class GinErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('BACTH_SIZE = 3', "'BACTH_SIZE' is set, but.*Did you mean 'BATCH_SIZE'"),
    ('ModelConfg.name = 1', "'ModelConfg'.*Did you mean 'ModelConfig'"),
    ('ModelConfig.nam = 1', "'nam'.*Did you mean 'name'"),
    ('train/DataConfig.mixup = 1', "'mixup'.*Did you mean 'mixup_alpha'"),
    ('ModelConfig.name = %MODLE', "%MODLE is read.*Did you mean 'MODEL'"),
    ("MODEL = 'coatnet-0'", "ModelConfig.name.*Did you mean 'coatnet_0'"),
    ('IMAGE_SIZE = 16', 'image_size` is 16.*IMAGE_SIZE'),
    ('EPOCHS = None', 'EPOCHS or TRAIN_STEPS'),
    ('BATCH_SIZE = 0', 'batch_size'),
    ('RunConfig.epochs = 3 *', r"^Binding 'RunConfig.epochs = 3 \*': 3 \* is"),
    ("BATCH_SIZE = '64'", 'integer .*Write BATCH_SIZE = 64, without quotes'),
    ('DATA_DIR = 3', "data_dir` is 3; .*a path, a text.*Write DATA_DIR = '3'"),
    ("data_dir = 'x'", "Did you mean 'DATA_DIR'"),
    (
      'Experiment.model = @ModelConfg()',
      "^Binding 'Ex.*': There is no 'ModelConfg'.*Did you mean 'ModelConfig'",
    ),
    ('BATCH_SIZE = %BATCH_SIZE', 'set to itself: %BATCH_SIZE = %BATCH_SIZE;'),
    ('import no_such', "^Binding 'import no_such': .*--allow_imports=no_such"),
    ("include 'gin/dmo.gin'", "^Binding .*Did you mean 'gin/demo.gin'"),
    (
      'trian/DataConfig.mixup_alpha = None',
      "'trian/DataConfig.mixup_alpha'.*Did you mean 'train/DataConfig.mixup_a",
    ),
    (
      'ModelConfig.name = @ModelConfig()',
      '.name needs what it is a part of',
    ),
    ('Experiment.model = @ModelConfig', r'write @ModelConfig\(\)'),
    ('Experiment.model = None', '`Experiment.model` is None; .*@ModelConfig'),
    (
      'Experiment.loss = @RunConfig()',
      'Experiment.loss` is Run.*a LossConf',
    ),
    ('OptimizerConfig.peak_learning_rate = %gin.REQUIRED', 'gin.REQUIRED'),
    (
      "RunConfig.seed = 'x'",
      'RunConfig.seed` is .x., a text; it must',
    ),
    ('SEED = -1', '`RunConfig.seed` is -1.*The macro SEED sets it'),
    ('SEED = 1.0', 'Write SEED = 1.'),
  )
  def test_wrong_bindings(self, binding, message):
    with self.assertRaisesRegex(gin_config.ConfigError, f'(?s){message}'):
      gin_files.load(bindings=[binding])

  def test_file_that_does_not_exist(self):
    with self.assertRaisesRegex(
      gin_config.ConfigError, 'imagenet1k_coatnet.gin.*Did you mean'
    ):
      gin_files.load('gin/imagenet1k_coatnet.gin')

  def _load(self, content, *bindings):
    file = self.create_tempfile('a.gin', content=content, mode='wb').full_path
    return gin_config.load([file], bindings, root=repository.ROOT)

  @parameterized.parameters(
    (
      b'BATCH_SIZE = 3',
      "a.gin: there is no experiment; .*include 'gin/recipes",
    ),
    (b'\xff\xfei\0n\0', 'a.gin is no text in UTF-8; name a gin file'),
    (b'\xef\xbb\xbfinclude "gin/demo.gin"', 'begins with a byte order mark'),
    (
      b"# 1\ninclude 'gin/demo.gin'\nModelConfig.nam = 1\n",
      "a.gin, line 3, 'ModelConfig.nam = 1': ModelConfig has no 'nam'. Did you",
    ),
  )
  def test_wrong_files(self, content, message):
    with self.assertRaisesRegex(gin_config.ConfigError, f'(?s){message}'):
      self._load(content)

  def test_a_folder_and_no_name(self):
    for path, message in (('gin', 'is a folder'), ('', 'file is empty')):
      with self.assertRaisesRegex(gin_config.ConfigError, message):
        gin_files.load(path)

  def test_macros_that_read_each_other(self):
    with self.assertRaisesRegex(
      gin_config.ConfigError, '%BATCH_SIZE = %SEED = %BATCH_SIZE; give it'
    ):
      gin_files.load(bindings=['BATCH_SIZE = %SEED', 'SEED = %BATCH_SIZE'])

  def test_what_a_macro_feeds_can_be_set_itself(self):
    direct = b"include 'gin/demo.gin'\nRunConfig.init_checkpoint = '/a'\n"
    experiment = self._load(direct)
    self.assertEqual(experiment.run.init_checkpoint, '/a')
    # The file that a run keeps of it can be read again.
    folder = self.create_tempdir().full_path
    gin_config.write_config(folder)
    path = os.path.join(folder, 'config.gin')
    again = gin_config.load([path], root=repository.ROOT)
    self.assertEqual(again, experiment)
    # But the macro would have no effect after that.
    with self.assertRaisesRegex(
      gin_config.ConfigError,
      "'INIT_CHECKPOINT' is set, but RunConfig.init_checkpoint, .*remove one",
    ):
      self._load(direct, "INIT_CHECKPOINT = '/b'")

  def test_imports_of_a_package_that_is_allowed(self):
    folder = self.create_tempdir()
    folder.create_file(
      'my_counts.py',
      content='import gin\n\n@gin.configurable\ndef count():\n  return 77\n',
    )
    bindings = ['import my_counts', 'RunConfig.seed = @count()']
    with mock.patch.object(sys, 'path', [folder.full_path, *sys.path]):
      with self.assertRaisesRegex(
        gin_config.ConfigError, 'my_counts.: a gin file imports nothing'
      ):
        gin_files.load(bindings=bindings)
      self.assertNotIn('my_counts', sys.modules)
      experiment = gin_config.load(
        ['gin/demo.gin'],
        bindings,
        root=repository.ROOT,
        allow_imports=['my_counts'],
      )
      self.assertEqual(experiment.run.seed, 77)
      # What the run keeps needs the same.
      kept = self.create_tempdir().full_path
      gin_config.write_config(kept)
      path = os.path.join(kept, 'config.gin')
      with self.assertRaisesRegex(gin_config.ConfigError, 'allow_imports'):
        gin_config.load([path], root=repository.ROOT)
      again = gin_config.load(
        [path], root=repository.ROOT, allow_imports=['my_counts']
      )
      self.assertEqual(again, experiment)
    with self.assertRaisesRegex(
      gin_config.ConfigError, 'No module named .no_s'
    ):
      gin_config.load(
        ['gin/demo.gin'],
        ['import no_such'],
        root=repository.ROOT,
        allow_imports=['no_such'],
      )

  def test_what_libraries_register_is_not_for_gin_files(self):
    for binding in ('RunConfig.seed = @take()', 'take.train = 3'):
      with self.assertRaisesRegex(
        gin_config.ConfigError, "^Binding '.*take.*: take is code of .*allow_im"
      ):
        gin_files.load(bindings=[binding])

  def test_every_key_that_a_macro_feeds_can_be_set_itself(self):
    for path in ('gin/demo.gin', 'gin/jft_coatnet3_512.gin'):
      experiment = gin_files.load(path)
      for key, value in _fed_by_macros(path):
        with self.subTest(path=path, key=key):
          self.assertEqual(
            gin_files.load(path, [f'{key} = {value!r}']), experiment
          )
          folder = self.create_tempdir().full_path
          gin_config.write_config(folder)
          kept = os.path.join(folder, 'config.gin')
          again = gin_config.load([kept], root=repository.ROOT)
          self.assertEqual(again, experiment)

  def test_paths_as_in_a_shell(self):
    with mock.patch.dict(os.environ, {'HOME': '/home/me', 'DATA': '/d'}):
      experiment = gin_config.load(
        ['gin/imagenet1k_coatnet0.gin'],
        [
          "DATA_DIR = '~/$DATA'",
          "eval/DataConfig.file_pattern = '${DATA}/val*'",
          "INIT_CHECKPOINT = 'file:///x'",
        ],
        root=repository.ROOT,
      )
    self.assertEqual(experiment.train_data.data_dir, '/home/me//d')
    self.assertEqual(experiment.eval_data.data_dir, '/home/me//d')
    self.assertIsNone(experiment.train_data.file_pattern)
    self.assertEqual(experiment.eval_data.file_pattern, '/d/val*')
    self.assertEqual(experiment.run.init_checkpoint, '/x')
    with self.assertRaisesRegex(
      gin_config.ConfigError, 'DataConfig.data_dir: .*variable NO_SUCH'
    ):
      gin_config.load(
        ['gin/demo.gin'], ["DATA_DIR = '$NO_SUCH/x'"], root=repository.ROOT
      )

  def test_reason_without_gin_s_own_trailer(self):
    with self.assertRaises(gin_config.ConfigError) as caught:
      gin_files.load(bindings=["MODEL = 'resnet'"])
    self.assertNotIn('In call to configurable', str(caught.exception))

  def test_a_failed_load_leaves_the_next_one_alone(self):
    with self.assertRaises(gin_config.ConfigError):
      gin_files.load(bindings=['BACTH_SIZE = 3'])
    self.assertEqual(gin_files.load().model.name, 'coatnet_0')

  def test_any_working_directory(self):
    before = os.getcwd()
    os.chdir(self.create_tempdir().full_path)
    try:
      self.assertEqual(gin_files.load().model.name, 'coatnet_0')
    finally:
      os.chdir(before)

  def test_written_configuration_gives_the_same_experiment(self):
    experiment = gin_files.load(
      bindings=[
        'BATCH_SIZE = 128',
        'SEED = 3',
        "train/DataConfig.feature_keys = {'encoded': 'jpg', 'labels': 'cls'}",
      ]
    )
    self.assertEqual(experiment.train_data.record_schema.labels, 'cls')
    stored = experiment_lib.Experiment.from_dict(experiment.to_dict())
    self.assertEqual(stored, experiment)
    folder = self.create_tempdir().full_path
    gin_config.write_config(folder)
    gin_config.write_operative_config(folder)
    for name in ('config.gin', 'operative_config.gin'):
      again = gin_config.load(
        [os.path.join(folder, name)], root=repository.ROOT
      )
      self.assertEqual(again, experiment, name)
    with open(os.path.join(folder, 'operative_config.gin')) as f:
      # Python's own defaults are in it.
      self.assertIn('OptimizerConfig.beta_2 = 0.999', f.read())

  def setUp(self):
    super().setUp()
    self.addCleanup(gin.clear_config)


class RegistrationTest(absltest.TestCase):
  def test_names_make_plain_dataclasses(self):
    gin_config.register()
    gin_config.register()  # A second call changes nothing.
    self.addCleanup(gin.clear_config)
    gin.parse_config(
      "ModelConfig.name = 'coatnet_test'\n"
      'coatnet.DataConfig.num_classes = 3\n'
      'DataConfig.image_size = 32\n'
      'eval/DataConfig.batch_size = 2'
    )
    model = gin.get_configurable('ModelConfig')()
    self.assertIs(type(model), model_config.ModelConfig)
    self.assertEqual(model.name, 'coatnet_test')
    data = gin.get_configurable('eval/DataConfig')()
    self.assertIs(type(data), data_config.DataConfig)
    self.assertEqual((data.num_classes, data.batch_size), (3, 2))

  def test_classes_called_from_python_know_nothing_of_gin(self):
    gin_config.register()
    self.addCleanup(gin.clear_config)
    gin.parse_config('ModelConfig.head_bias = -10.0')
    self.assertEqual(model_config.ModelConfig('coatnet_0').head_bias, 0.0)

  def test_everything_configurable_is_registered(self):
    gin_config.register()
    for cls in gin_config.CONFIGURABLES:
      self.assertIsNotNone(gin.get_configurable(f'coatnet.{cls.__name__}'))


@gin.configurable(module='gin_config_test')
def take(train=None, evaluation=None):
  return train, evaluation


class DataConfigTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    gin_config.register()
    gin_config.register()  # A second call changes nothing.
    self.addCleanup(gin.clear_config)

  def test_scopes(self):
    gin.parse_config("""
      take.train = @train/coatnet.DataConfig()
      take.evaluation = @evaluation/DataConfig()
      DataConfig.num_classes = 10
      DataConfig.image_size = (32, 48)
      DataConfig.batch_size = 4
      DataConfig.mean = (0.5, 0.5, 0.5)
      DataConfig.interpolation = 'bicubic'
      train/DataConfig.randaugment = (2, 15)
      evaluation/DataConfig.split = 'validation'
    """)
    train, evaluation = take()
    self.assertIsInstance(train, data_config.DataConfig)
    self.assertEqual(train.randaugment, (2, 15))
    self.assertEqual(train.height_width, (32, 48))
    self.assertIsNone(evaluation.randaugment)
    self.assertEqual(evaluation.split, 'validation')
    for data in (train, evaluation):
      self.assertEqual(data.mean, (0.5, 0.5, 0.5))
      self.assertEqual(data.interpolation, 'bicubic')
    changed = dataclasses.replace(train, batch_size=8)
    self.assertEqual((changed.batch_size, changed.randaugment), (8, (2, 15)))

  def test_unknown_field(self):
    with self.assertRaisesRegex(ValueError, 'batchsize'):
      gin.parse_config('DataConfig.batchsize = 4')

  def test_python_is_left_alone(self):
    gin.parse_config('DataConfig.num_classes = 10')
    with self.assertRaises(TypeError):
      data_config.DataConfig(image_size=8, batch_size=2)


@gin.configurable(module='gin_config_test')
def build(model):
  """Stands for a reader of the configuration."""
  return model


class ModelConfigTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    gin_config.register()
    self.addCleanup(gin.clear_config)

  def test_a_file_makes_a_config(self):
    gin.parse_config("""
      MODEL = 'coatnet_2'
      build.model = @ModelConfig()
      coatnet.ModelConfig.name = %MODEL
      ModelConfig.image_size = (224, 320)
      ModelConfig.head_size = 64
    """)
    model = build()
    self.assertEqual(
      model,
      model_config.ModelConfig(
        'coatnet_2', image_size=(224, 320), head_size=64
      ),
    )

  def test_every_field_can_be_bound(self):
    default = model_config.ModelConfig('coatnet_0')
    for field in dataclasses.fields(model_config.ModelConfig):
      value = getattr(default, field.name)
      gin.bind_parameter(f'ModelConfig.{field.name}', value)
      self.assertEqual(gin.query_parameter(f'ModelConfig.{field.name}'), value)
    gin.parse_config('build.model = @ModelConfig()')
    self.assertEqual(build(), default)

  def test_a_misspelt_field_is_refused_when_it_is_read(self):
    with self.assertRaisesRegex(ValueError, 'image_sise'):
      gin.parse_config('ModelConfig.image_sise = 224')

  def test_errors_of_the_config_come_through(self):
    gin.parse_config("""
      build.model = @ModelConfig()
      ModelConfig.name = 'coatnet_9'
    """)
    with self.assertRaisesRegex(ValueError, "ModelConfig.name` is 'coatnet_9'"):
      build()

  def test_the_class_itself_knows_nothing_of_gin(self):
    gin.parse_config('ModelConfig.num_classes = 7')
    self.assertEqual(model_config.ModelConfig('coatnet_0').num_classes, 1000)
    self.assertEqual(
      gin.get_configurable('ModelConfig')('coatnet_0').num_classes, 7
    )

  def test_registering_twice_changes_nothing(self):
    before = gin.get_configurable('coatnet.ModelConfig')
    gin_config.register()
    self.assertIs(gin.get_configurable('coatnet.ModelConfig'), before)


if __name__ == '__main__':
  absltest.main()
