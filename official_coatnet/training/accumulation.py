"""Gradient accumulation: a step of a large batch in the memory of a small one.

The batch of a replica is cut into microbatches, which go through the network
one after the other; their gradients are added up. Everything else of a step
happens once: mixup before the cut, and after the sum the reduction over
replicas, the clipping, the update of the weights and of their average.
"""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

# From a part of the batch to its gradients and its results by example.
MicrobatchFn = Callable[
  [dict[str, tf.Tensor]], tuple[list[tf.Tensor], dict[str, tf.Tensor]]
]


def accumulate(
  fn: MicrobatchFn,
  batch: Mapping[str, tf.Tensor],
  *,
  microbatches: int,
  variables: Sequence[tf.Variable],
  result_specs: Mapping[str, tf.TensorSpec],
  unroll: bool = False,
) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
  """Applies `fn` to each part of a batch, adds gradients, joins results.

  Args:
    fn: Takes consecutive examples of `batch` and returns the gradients of the
      sum (not the mean) of their losses, one a variable, and named results,
      [examples, ...].
    batch: Named tensors, [batch, ...].
    microbatches: Number of parts, a divisor of the batch.
    variables: What the gradients are of.
    result_specs: Name to shape and dtype of the result of one example.
    unroll: Whether the parts are written out in the program one after the other
      instead of as a loop, which cannot hold a merge call: that is how
      MirroredStrategy reduces the statistics of synchronised BatchNorm. Each
      part still waits for the one before, except where XLA compiles the step.

  Returns:
    The gradients of the whole batch, and the results, [batch, ...].
  """
  if microbatches == 1:
    return fn(dict(batch))
  # [batch, ...] -> [microbatches, batch / microbatches, ...]
  parts = {
    name: tf.reshape(x, [microbatches, -1, *x.shape[1:]])
    for name, x in batch.items()
  }
  sums = [tf.zeros(v.shape, v.dtype) for v in variables]
  size = next(iter(parts.values())).shape[1]
  # [batch / microbatches, ...] each.
  arrays = {
    name: tf.TensorArray(
      spec.dtype, microbatches, element_shape=[size, *spec.shape]
    )
    for name, spec in result_specs.items()
  }

  def body(i, sums, arrays):
    gradients, results = fn({name: x[i] for name, x in parts.items()})
    sums = [a + b for a, b in zip(sums, gradients, strict=True)]
    arrays = {name: a.write(i, results[name]) for name, a in arrays.items()}
    return i + 1, sums, arrays

  state = (tf.constant(0), sums, arrays)
  _, sums, arrays = _repeat(body, state, times=microbatches, unroll=unroll)
  # [microbatches, batch / microbatches, ...] -> [batch, ...]
  return sums, {
    name: tf.reshape(a.stack(), [-1, *result_specs[name].shape])
    for name, a in arrays.items()
  }


def _repeat(body: Callable, state: tuple, *, times: int, unroll: bool) -> tuple:
  """Takes a state (index, sums, arrays) through the body, time after time."""
  if not unroll:
    return tf.while_loop(
      lambda i, sums, arrays: i < times,
      body,
      state,
      parallel_iterations=1,
      maximum_iterations=times,
    )
  for _ in range(times):
    # The index and the sums come from the part before.
    with tf.control_dependencies(state[1]):
      state = body(*state)
  return state
