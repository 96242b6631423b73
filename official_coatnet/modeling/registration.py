"""Names of the modeling floor in gin files."""

import gin

from official_coatnet.modeling import config


def register() -> None:
  """Registers all that gin files configure; a second call changes nothing.

  `@coatnet.ModelConfig()` in a gin file (`@ModelConfig()` for short) then makes
  a `config.ModelConfig`. The class itself is left alone: called from Python, it
  knows nothing of gin.
  """
  try:
    gin.get_configurable('coatnet.ModelConfig')
  except ValueError:  # Not registered yet.
    gin.register(config.ModelConfig, module='coatnet')
