"""A dry run: the same configuration, two steps, on synthetic images."""

import dataclasses

from official_coatnet.training import experiment as experiment_lib

TRAIN_STEPS = 2
IMAGES_PER_CORE = 2


def shrink(
  experiment: experiment_lib.Experiment, *, num_replicas: int
) -> experiment_lib.Experiment:
  """Returns the experiment cut to two training steps and one evaluation.

  Network, loss, optimizer and augmentation stay as they are. The data becomes
  synthetic, the batch two images a core, in two microbatches if the run has
  any, and warm-up and intervals fit into two steps. The weights start at
  random.

  Args:
    experiment: What a real run would be.
    num_replicas: Cores that share a batch.
  """
  batch_size = IMAGES_PER_CORE * num_replicas

  def synthetic(data):
    return dataclasses.replace(
      data,
      source='synthetic',
      data_dir=None,
      tfds_name=None,
      file_pattern=None,
      label_offset=None,
      data_service=None,
      num_examples=TRAIN_STEPS * batch_size,
      batch_size=batch_size,
      shuffle_buffer=1,
    )

  return dataclasses.replace(
    experiment,
    train_data=synthetic(experiment.train_data),
    eval_data=synthetic(experiment.eval_data),
    optimizer=dataclasses.replace(
      experiment.optimizer,
      warmup_steps=min(1, experiment.optimizer.warmup_steps or 0),
      warmup_epochs=None,
      microbatches=min(IMAGES_PER_CORE, experiment.optimizer.microbatches),
    ),
    run=dataclasses.replace(
      experiment.run,
      train_steps=TRAIN_STEPS,
      steps_per_loop=TRAIN_STEPS,
      eval_interval_steps=None,
      eval_interval_epochs=None,
      checkpoint_interval_steps=None,
      init_checkpoint=None,
      init_checkpoint_required=False,
    ),
  )
