"""Element-wise operations that XLA compiles, alone, for training on a CPU.

TensorFlow computes GELU and its gradient in some twenty kernels, each of which
goes over memory, and they take a quarter of a training step. XLA makes one
loop of them. A whole step by XLA is slower on a CPU, since its convolutions
are: so the rest is left to oneDNN (docs/performance.md).

These are the only compiled functions below the trainer. They are compiled once
a shape. Not for exports: a server may lack XLA's compiler for CPUs.
"""

import tensorflow as tf

from official_coatnet.modeling.implementations import tpu_ops


@tf.function(jit_compile=True, reduce_retracing=True)
def _gelu(x):
  return tpu_ops.gelu_and_slope(x)[0]


@tf.function(jit_compile=True, reduce_retracing=True)
def _gelu_gradient(x, dy):
  return dy * tpu_ops.gelu_and_slope(x)[1]


@tf.custom_gradient
def gelu(x: tf.Tensor) -> tf.Tensor:
  """The tanh approximation of GELU; keeps `x` alone for the gradient."""

  def gradient(dy):
    return tf.ensure_shape(_gelu_gradient(x, dy), x.shape)

  # One trace serves many shapes, and does not know which.
  return tf.ensure_shape(_gelu(x), x.shape), gradient
