"""A network's inference as XLA modules, in parts that repeat."""

from collections.abc import Callable

import tensorflow as tf

from official_coatnet.analysis.tpu import lowering, step
from official_coatnet.modeling import network
from official_coatnet.training import experiment as experiment_lib


def lower_forward(
  experiment: experiment_lib.Experiment,
  *,
  cache_bias: bool,
  on_progress: Callable[[int, int], None] | None = None,
) -> list[step.Part]:
  """Lowers each distinct part of the forward pass at inference once.

  Args:
    experiment: From `tpu_step.with_batch`. Images are normalised already.
    cache_bias: Whether relative biases are looked up beforehand (appendix A.1).
    on_progress: Called with how many parts are lowered, of how many.

  Returns:
    The parts, in the network's order.
  """
  tf.keras.backend.clear_session()
  parts = []
  groups = step.layer_groups(experiment)
  for group in groups:
    model = step.copy_layers(group.layers)
    if cache_bias:
      with lowering.unallocated_variables():
        network.cache_relative_bias(model)
    parts.append(_lower(experiment, group, model))
    if on_progress is not None:
      on_progress(len(parts), len(groups))
  return parts


def _lower(experiment, group, model) -> step.Part:
  x = model.input['x']
  keys = {
    # Nothing is drawn at inference; the compiler drops them.
    name: tf.zeros([experiment.train_data.batch_size], tensor.dtype)
    for name, tensor in model.input.items()
    if name != 'x'
  }
  # The network's own images are in the policy's compute type.
  policy = tf.keras.mixed_precision.Policy(experiment.model.dtype)
  dtype = policy.compute_dtype if group.stage == 's0' else x.dtype
  spec = tf.TensorSpec([experiment.train_data.batch_size, *x.shape[1:]], dtype)
  module = lowering.lower(
    lambda values: model({'x': values, **keys}, training=False), spec
  )
  return step.Part(group.name, group.stage, group.count, module)
