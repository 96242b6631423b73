"""Names of the training floor in gin files, and of the floors below it."""

import gin

from official_coatnet.data import (
  config as data_config,
  registration as data_registration,
)
from official_coatnet.modeling import (
  config as model_config,
  registration as modeling_registration,
)
from official_coatnet.training import experiment, optimizer

_OWN = (
  experiment.Experiment,
  experiment.LossConfig,
  experiment.RunConfig,
  optimizer.OptimizerConfig,
)
# Everything that a gin file can configure.
CONFIGURABLES = (*_OWN, data_config.DataConfig, model_config.ModelConfig)


def register() -> None:
  """Registers all of `CONFIGURABLES`; a second call changes nothing."""
  data_registration.register()
  modeling_registration.register()
  for cls in _OWN:
    try:
      gin.get_configurable(f'coatnet.{cls.__name__}')
    except ValueError:  # Not registered yet.
      gin.register(cls, module='coatnet')
