"""For training on a CPU: a GELU that XLA compiles, and it alone.

TensorFlow computes GELU and its gradient in some twenty kernels, each of which
goes over memory, and they take a quarter of a training step. XLA makes one
loop of them. A whole step by XLA is slower on a CPU, since its convolutions
are: so the rest is left to oneDNN (docs/performance.md).

These are the only compiled functions below the trainer. They are compiled once
a shape.
"""

import tensorflow as tf

from official_coatnet.modeling.implementations import (
  reference,
  tpu_elementwise,
)


@tf.function(jit_compile=True, reduce_retracing=True)
def _gelu(x):
  return tpu_elementwise.gelu_and_slope(x)[0]


@tf.function(jit_compile=True, reduce_retracing=True)
def _gelu_gradient(x, dy):
  return dy * tpu_elementwise.gelu_and_slope(x)[1]


@tf.custom_gradient
def gelu(x: tf.Tensor) -> tf.Tensor:
  """The tanh approximation of GELU; keeps `x` alone for the gradient."""

  def gradient(dy):
    return tf.ensure_shape(_gelu_gradient(x, dy), x.shape)

  # One trace serves many shapes, and does not know which.
  return tf.ensure_shape(_gelu(x), x.shape), gradient


class Cpu(reference.Reference):
  """The reference, but for the GELU."""

  name = 'cpu'
  # A server may lack XLA's compiler for CPUs.
  for_export = False
  gelu = staticmethod(gelu)
  product_gelu = staticmethod(gelu)
