"""An experiment cut down to a dry run."""

import dataclasses

from official_coatnet.data import config as data_config
from official_coatnet.training import experiment as experiment_lib

# Training steps, and images a core.
_STEPS = 2
_IMAGES = 2


def shrink(
  experiment: experiment_lib.Experiment, *, num_replicas: int
) -> experiment_lib.Experiment:
  """Returns the experiment cut to a dry run: two steps and one evaluation.

  Network, loss, optimizer and augmentation stay as they are. The data becomes
  synthetic, the batch two images a core, in two microbatches if the run has
  any, and warm-up and intervals fit into two steps. The weights start at
  random.

  Args:
    experiment: What a real run would be.
    num_replicas: Cores that share a batch.
  """
  batch_size = _IMAGES * num_replicas

  def synthetic(data: data_config.DataConfig) -> data_config.DataConfig:
    return dataclasses.replace(
      data,
      source='synthetic',
      data_dir=None,
      tfds_name=None,
      file_pattern=None,
      label_offset=None,
      data_service=None,
      num_examples=_STEPS * batch_size,
      batch_size=batch_size,
      shuffle_buffer=1,
    )

  return dataclasses.replace(
    experiment,
    train_data=synthetic(experiment.train_data),
    eval_data=synthetic(experiment.eval_data),
    loss=_without_counts(experiment.loss, experiment.model.num_classes),
    optimizer=dataclasses.replace(
      experiment.optimizer,
      warmup_steps=min(1, experiment.optimizer.warmup_steps or 0),
      warmup_epochs=None,
      microbatches=min(_IMAGES, experiment.optimizer.microbatches),
    ),
    run=dataclasses.replace(
      experiment.run,
      train_steps=_STEPS,
      steps_per_loop=_STEPS,
      early_stopping_patience=None,
      eval_interval_steps=None,
      eval_interval_epochs=None,
      checkpoint_interval_steps=None,
      init_checkpoint=None,
      init_checkpoint_required=False,
      trackers=(),
    ),
  )


def _without_counts(
  loss: experiment_lib.LossConfig, num_classes: int
) -> experiment_lib.LossConfig:
  """Made-up images are of no manifest that would know how many there are."""
  if loss.class_weights != experiment_lib.BALANCED:
    return loss
  return dataclasses.replace(loss, class_weights=(1.0,) * num_classes)
