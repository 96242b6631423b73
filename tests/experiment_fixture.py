"""A small experiment on synthetic images, for tests that run one."""

import dataclasses

from official_coatnet.data import config as data_config
from official_coatnet.modeling import config as model_config
from official_coatnet.training import experiment as experiment_lib
from official_coatnet.training import optimizer as optimizer_lib


def make_data(**kwargs) -> data_config.DataConfig:
  """Returns the configuration of eight synthetic images of 32 pixels."""
  settings = dict(
    source='synthetic',
    num_classes=5,
    image_size=32,
    batch_size=4,
    num_examples=8,
    shuffle_buffer=8,
    crop_area_range=(0.5, 1.0),
  )
  return data_config.DataConfig(**{**settings, **kwargs})


def make_experiment(
  *,
  model: dict | None = None,
  train_data: dict | None = None,
  eval_data: dict | None = None,
  loss: dict | None = None,
  optimizer: dict | None = None,
  run: dict | None = None,
) -> experiment_lib.Experiment:
  """Returns a valid experiment; each argument overrides fields of a part."""
  return experiment_lib.Experiment(
    model=model_config.ModelConfig(
      **{
        'name': 'coatnet_test',
        'image_size': 32,
        'num_classes': 5,
        **(model or {}),
      }
    ),
    train_data=make_data(**(train_data or {})),
    eval_data=make_data(**{'split': 'validation', **(eval_data or {})}),
    loss=experiment_lib.LossConfig(**(loss or {})),
    optimizer=optimizer_lib.OptimizerConfig(
      **{'peak_learning_rate': 1e-3, **(optimizer or {})}
    ),
    run=experiment_lib.RunConfig(
      **{'train_steps': 4, 'steps_per_loop': 2, **(run or {})}
    ),
  )


def replace_run(
  experiment: experiment_lib.Experiment, **kwargs
) -> experiment_lib.Experiment:
  """Returns the experiment with other fields of its `run`."""
  return dataclasses.replace(
    experiment, run=dataclasses.replace(experiment.run, **kwargs)
  )
