"""AdamW. The one module that knows TensorFlow Addons.

TensorFlow Addons is at its end of life and cannot be imported with TensorFlow
2.16 and later. There AdamW is `DecoupledAdamW`, which takes the same steps to
the last bit and keeps the same moments under the same names, so that a
checkpoint of either is one of the other.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from official_coatnet import stack

_Schedule = tf.keras.optimizers.schedules.LearningRateSchedule
_Rates = Mapping[Any, Any] | None


class DecoupledAdamW(tf.keras.optimizers.legacy.Adam):
  """Adam with decoupled weight decay (Loshchilov and Hutter, 2017, alg. 2).

  Each step first takes weight_decay x w from the weights w, without the
  learning rate, and then is Adam's; as `tfa.optimizers.AdamW`.
  """

  def __init__(
    self,
    weight_decay: float | Callable[..., Any],
    *,
    name: str = 'AdamW',
    **kwargs: Any,
  ):
    """Creates the optimizer.

    Args:
      weight_decay: What share of a weight a step takes, or its schedule.
      name: Before the names of its variables.
      **kwargs: Of Adam: learning_rate, beta_1, beta_2, epsilon.
    """
    super().__init__(name=name, **kwargs)
    self._set_hyper('weight_decay', weight_decay)
    self._decayed: set[Any] | None = None

  def get_config(self) -> dict[str, Any]:
    decay = self._serialize_hyperparameter('weight_decay')
    return {**super().get_config(), 'weight_decay': decay}

  def apply_gradients(
    self,
    grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]],
    name: str | None = None,
    decay_var_list: Iterable[tf.Variable] | None = None,
    **kwargs: Any,
  ) -> tf.Operation:
    """Updates the variables.

    Args:
      grads_and_vars: Gradient and variable, of each.
      name: As of Adam.
      decay_var_list: Those that weight decay shrinks; None (or none) for all.
      **kwargs: As of Adam.
    """
    self._decayed = None
    if decay_var_list:
      self._decayed = {variable.ref() for variable in decay_var_list}
    return super().apply_gradients(grads_and_vars, name=name, **kwargs)

  def _prepare_local(
    self, var_device: str, var_dtype: tf.DType, apply_state: Any
  ) -> None:
    super()._prepare_local(var_device, var_dtype, apply_state)
    rate = self._get_hyper('weight_decay', var_dtype)
    if isinstance(rate, _Schedule):
      rate = tf.cast(rate(self.iterations), var_dtype)
    apply_state[(var_device, var_dtype)]['wd_t'] = tf.identity(rate)

  def _resource_apply_dense(
    self, grad: tf.Tensor, var: tf.Variable, apply_state: _Rates = None
  ) -> tf.Operation:
    decay = tf.no_op()
    if self._decayed is None or var.ref() in self._decayed:
      rate = _rates(self, var, apply_state)['wd_t']
      decay = var.assign_sub(rate * var, self._use_locking)
    with tf.control_dependencies([decay]):
      return super()._resource_apply_dense(grad, var, apply_state=apply_state)

  def _resource_apply_sparse(self, *args: Any, **kwargs: Any) -> tf.Operation:
    # Adam's own would leave the decay out.
    raise NotImplementedError('This AdamW takes no sparse gradients.')


class ByLayer:
  """Over an AdamW: with a share of the rates for each layer of the network."""

  def __init__(self, *, shares: Mapping[str, float], **kwargs: Any):
    super().__init__(**kwargs)
    self._shares = dict(shares)

  def _resource_apply_dense(
    self, grad: tf.Tensor, var: tf.Variable, apply_state: _Rates = None
  ) -> tf.Operation:
    rates = _rates(self, var, apply_state)
    share = self._shares[var.name.partition('/')[0]]
    own = {
      **rates,
      'lr_t': share * rates['lr_t'],
      'wd_t': share * rates['wd_t'],
    }
    key = (var.device, var.dtype.base_dtype)
    base: Any = super()
    return base._resource_apply_dense(grad, var, apply_state={key: own})


class Skipping:
  """Over an AdamW: within `applying(0.0)`, a step changes nothing.

  The learning rate is zero then, so is the weight decay, and moments decay by
  a factor of one. The gradients must be finite: zeros, best of all.
  """

  _applies: tf.Tensor | None = None

  @contextlib.contextmanager
  def applying(self, applies: tf.Tensor) -> Iterator[None]:
    """Within it, `apply_gradients` is for a step of this verdict.

    Args:
      applies: float32 [], from `Watch.judge`.
    """
    self._applies = applies
    try:
      yield
    finally:
      self._applies = None

  def _prepare_local(
    self, var_device: str, var_dtype: tf.DType, apply_state: Any
  ) -> None:
    base: Any = super()
    base._prepare_local(var_device, var_dtype, apply_state)
    if self._applies is None:
      return
    rates = apply_state[(var_device, var_dtype)]
    applies = tf.cast(self._applies, var_dtype)
    for name in ('lr_t', 'wd_t'):
      rates[name] = tf.math.multiply_no_nan(rates[name], applies)
    for name in ('beta_1_t', 'beta_2_t'):
      rates[name] = tf.where(applies > 0, rates[name], tf.ones_like(applies))


def _rates(optimizer: Any, var: tf.Variable, apply_state: _Rates) -> Any:
  """Returns the rates of a step, by name, for the device and type of `var`."""
  key = (var.device, var.dtype.base_dtype)
  return (apply_state or {}).get(key) or optimizer._fallback_apply_state(*key)


if stack.has_addons(tf.__version__):
  with warnings.catch_warnings():
    # Its farewell, which would open every log. We know; see above.
    warnings.simplefilter('ignore')
    import tensorflow_addons as tfa
  AdamW: Any = tfa.optimizers.AdamW
else:
  AdamW = DecoupledAdamW


class LayerwiseAdamW(ByLayer, AdamW):
  """AdamW with a share of the rates for each layer of the network."""


def skipping(base: type) -> type:
  """Returns the class of an AdamW that can be told to change nothing."""
  return type(base.__name__, (Skipping, base), {})
