# What can be done here, from a fresh clone. `make` alone lists it.

# Two stacks are tested, each with its Python, its lock and its environment.
# STACK=tf2.20 chooses. Else it is tf2.15 where that is set up or its Python is
# found, and tf2.20 where only that one's is.
ifeq ($(origin STACK), undefined)
STACK := $(shell test -e .venv/.complete && echo tf2.15 \
  || { tools/find_python.sh 3.11 && echo tf2.15; } \
  || { tools/find_python.sh 3.12 && echo tf2.20; } || echo tf2.15)
STACK := $(lastword $(STACK))
endif
ifeq ($(STACK), tf2.15)
VERSION = 3.11
ENV = .venv
LOCK = requirements.lock
OTHER = tf2.20
OTHER_VERSION = 3.12
else ifeq ($(STACK), tf2.20)
VERSION = 3.12
ENV = .venv_tf2.20
LOCK = requirements-tf2.20.lock
OTHER = tf2.15
OTHER_VERSION = 3.11
else
$(error STACK is '$(STACK)'; it must be tf2.15 or tf2.20)
endif

VENV = $(ENV)/.complete
PYTHON = $(ENV)/bin/python
DEMO = runs/demo
TPU_VENV = .venv_tpu/.complete
PEERS_VENV = .venv_peers/.complete
TRANSFER = runs/transfer
SEED = 0
LATEST_EXPORT = $$(ls -d $(DEMO)/export/[0-9]* | sort -V | tail -1)
BAZEL = $$(command -v bazel || command -v bazelisk)

# What `make coverage` runs: targets of Bazel, such as //tests/data/...
COVERED = //...

.PHONY: help stack venv tpu-report peers demo transfer-demo test test-fast faults coverage \
  docs bazel browser lint format clean FORCE

help:
	@echo 'make venv         create $(ENV) with the versions of $(LOCK)'
	@echo 'make tpu-report   create .venv_tpu with the compiler of TPUs'
	@echo 'make peers        create .venv_peers with the packages to compare with'
	@echo 'make demo         digits: records, training, export, prediction, pictures'
	@echo 'make transfer-demo  digits: multi-label pre-training, fine-tuning, gain'
	@echo 'make test         run all tests with Bazel'
	@echo 'make test-fast    run the small ones, of every folder, in 3 minutes'
	@echo 'make faults       kill runs, damage checkpoints, fill disks: under two hours'
	@echo 'make browser      install Chromium, in which tests open the report'
	@echo 'make coverage     print which share of the lines the tests run'
	@echo 'make lint         check style, layout and types of the Python files'
	@echo 'make format       lay out the Python files'
	@echo 'make docs         build the site of docs/ into runs/site (STACK=tf2.20)'
	@echo 'make clean        remove the environments, the demos and what Bazel built'
	@echo 'VERBOSE=1         with any that sets up: all that pip has to say'
	@echo
	@echo 'This is for STACK=$(STACK) (Python $(VERSION), in $(ENV)). The other, of'
	@echo 'Python $(OTHER_VERSION): make STACK=$(OTHER) demo, and likewise the rest.'

# --- Set-up -------------------------------------------------------------------

# VERBOSE=1 shows commands, and all that pip has to say.
ifdef VERBOSE
SHOW = --verbose
else
QUIET = @
PIP_QUIET = --quiet --disable-pip-version-check
endif

venv: $(VENV)

# Says which stack it is, and stops where it cannot be set up. A folder may be
# there whose Python is of the other stack, or gone.
stack:
	@if test -L $(PYTHON) || test -e $(PYTHON); then \
	  tools/find_python.sh $(VERSION) $(PYTHON) >/dev/null || { \
	    echo 'error: $(ENV) has another Python than the $(VERSION) of the' \
	      'stack $(STACK), or none that runs. Remove the folder' \
	      '(rm -r $(ENV)), then try again.' >&2; exit 1; }; \
	fi
	@if test -e $(VENV); then \
	  echo 'Stack $(STACK): Python $(VERSION), in $(ENV).'; exit; \
	fi; \
	python=$$(tools/find_python.sh $(VERSION)) || { \
	  others=$$(for version in 3.9 3.10 3.11 3.12 3.13 3.14; do \
	    tools/find_python.sh $$version >/dev/null && echo $$version; done); \
	  echo "error: no Python $(VERSION) here (found:" $${others:-none}"), and" \
	    'the stack $(STACK) is tested with no other. Install it, on' \
	    'Debian 12 or Ubuntu 24.04 as the package' \
	    'python3.11-venv or python3.12-venv, anywhere by' \
	    '`uv python install $(VERSION)` or `pyenv install $(VERSION)`, or' \
	    'choose the other stack: make STACK=$(OTHER). Beside your own' \
	    'TensorFlow of 2.15 to 2.20, without make: pip install -e .' >&2; \
	  exit 1; }; \
	$$python -c 'import ensurepip' 2>/dev/null || { \
	  echo "error: $$python cannot create virtual environments." \
	    'On Debian and Ubuntu: apt install python$(VERSION)-venv' >&2; \
	  exit 1; }; \
	other=$$(tools/find_python.sh $(OTHER_VERSION)) \
	  && other="Python $(OTHER_VERSION) is here, too: STACK=$(OTHER) takes it." \
	  || other='No Python $(OTHER_VERSION) was found, for STACK=$(OTHER).'; \
	echo "Stack $(STACK): Python $(VERSION) ($$python), in $(ENV). $$other"

# PIP_CONSTRAINT holds for what pip installs to build a package from source, too.
$(VENV): $(LOCK) setup.py | stack
	@echo 'Installing $(LOCK) into $(ENV): 3 GB, some minutes.'
	$(QUIET)$$(tools/find_python.sh $(VERSION)) -m venv $(ENV)
	$(QUIET)PIP_CONSTRAINT=$(LOCK) \
	  $(PYTHON) tools/set_up.py $(SHOW) $(LOCK) || { $(UNRESOLVED); }
	$(QUIET)$(PYTHON) -m pip install $(PIP_QUIET) --no-deps --no-build-isolation -e .
	$(QUIET)$(PYTHON) -m pip check || { $(UNRESOLVED); }
	@touch $@

UNRESOLVED = echo 'error: $(LOCK) cannot be installed, see above. It is for' \
  'Python $(VERSION) on Linux x86-64; its head says how it is made anew.' >&2; \
  exit 1

# The compiler that tools/tpu_report.py asks. jax wants numpy 2, TensorFlow 2.15
# wants numpy 1: two environments.
tpu-report: $(VENV) $(TPU_VENV)
	@echo 'Ready. Try next: $(PYTHON) tools/tpu_report.py' \
	  '--gin_file=gin/imagenet1k_coatnet0.gin --topology=v3'

$(TPU_VENV): requirements-tpu.lock
	$$(tools/find_python.sh $(VERSION)) -m venv .venv_tpu
	$(QUIET).venv_tpu/bin/python tools/set_up.py $(SHOW) requirements-tpu.lock
	$(QUIET).venv_tpu/bin/pip check
	@touch $@

# What tests.golden.published and tools/benchmark/peers.py compare with: PyTorch and
# timm, and TensorFlow with
# keras-cv-attention-models.
peers: $(VENV) $(PEERS_VENV)
	@echo 'Ready. Try next:'
	@echo '  $(PYTHON) -m tests.golden.published         networks of others, the same'
	@echo '                        there and here, both ways; last the worst difference'
	@echo '  $(PYTHON) tools/benchmark/peers.py --threads=1      how fast each is'

$(PEERS_VENV): requirements-peers.lock
	@tools/find_python.sh 3.11 >/dev/null || { \
	  echo 'error: no Python 3.11 was found.' >&2; exit 1; }
	$$(tools/find_python.sh 3.11) -m venv .venv_peers
	$(QUIET).venv_peers/bin/python tools/set_up.py $(SHOW) requirements-peers.lock || { \
	  echo 'error: if torch was not found: the head of requirements-peers.lock' \
	  'says where pip has to look for it.' >&2; exit 1; }
	$(QUIET).venv_peers/bin/pip check
	@touch $@

# --- Demo ---------------------------------------------------------------------

# Each step leaves a file and runs again only when an earlier one changed it.
demo: $(DEMO)/predictions.png $(DEMO)/model/training.png
	@echo
	@echo 'Made by this demo:'
	@echo '  records      $(DEMO)/data'
	@echo '  checkpoints  $(DEMO)/model (config.gin, metrics.jsonl, TensorBoard)'
	@echo "  SavedModel   $(LATEST_EXPORT)"
	@echo '  pictures     $(DEMO)/model/training.png, $(DEMO)/predictions.png'
	@echo 'Try next:'
	@echo '  a longer run     $(PYTHON) tools/train.py --gin_file=gin/demo.gin' \
	  "--gin_bindings=\"DATA_DIR='$(DEMO)/data'\" --gin_bindings='EPOCHS=100'" \
	  '--model_dir=runs/longer'
	@echo '  a real network   $(PYTHON) tools/train.py' \
	  '--gin_file=gin/imagenet1k_coatnet0.gin --dry_run'

$(DEMO)/data/.complete: | $(VENV)
	$(PYTHON) tools/tfrecords.py demo --output_dir=$(DEMO)/data
	@touch $@

# Always called: it goes on where it stopped, and ends soon if all is done.
$(DEMO)/model/checkpoint: $(DEMO)/data/.complete FORCE
	$(PYTHON) tools/train.py --gin_file=gin/demo.gin \
	  --gin_bindings="DATA_DIR='$(DEMO)/data'" --model_dir=$(DEMO)/model

$(DEMO)/export/.complete: $(DEMO)/model/checkpoint
	$(PYTHON) tools/export.py --model_dir=$(DEMO)/model \
	  --export_dir=$(DEMO)/export
	@touch $@

$(DEMO)/predictions.png: $(DEMO)/export/.complete
	$(PYTHON) tools/predict.py --saved_model=$(LATEST_EXPORT) \
	  --picture=$@ $(DEMO)/data/images

$(DEMO)/model/training.png: $(DEMO)/model/checkpoint
	$(PYTHON) tools/summarize.py --model_dir=$(DEMO)/model --picture=$@

# --- Transfer -----------------------------------------------------------------

# docs/transfer.md: multi-label pre-training, then fine-tuning at a larger image,
# and for comparison the same steps from random weights.
TRANSFER_RUN = $(TRANSFER)/seed$(SEED)
FINETUNE = $(PYTHON) tools/train.py --gin_file=gin/demo_finetune.gin \
  --gin_bindings="DATA_DIR='$(TRANSFER)/data/digits'" \
  --gin_bindings='SEED=$(SEED)'
SUMMARIZE = $(PYTHON) tools/summarize.py

transfer-demo: $(TRANSFER_RUN)/finetune/checkpoint \
  $(TRANSFER_RUN)/scratch/checkpoint
	@echo
	@$(SUMMARIZE) --model_dir=$(TRANSFER_RUN)/pretrain \
	  --picture=$(TRANSFER_RUN)/pretrain.png
	@echo
	@$(SUMMARIZE) --model_dir=$(TRANSFER_RUN)/scratch \
	  --picture=$(TRANSFER_RUN)/scratch.png
	@echo
	@$(SUMMARIZE) --model_dir=$(TRANSFER_RUN)/finetune \
	  --baseline_dir=$(TRANSFER_RUN)/scratch \
	  --picture=$(TRANSFER_RUN)/finetune.png
	@echo
	@echo 'Training curves: $(TRANSFER_RUN)/*.png. Other seeds:' \
	  'make transfer-demo SEED=1'

$(TRANSFER)/data/.complete: | $(VENV)
	$(PYTHON) tools/tfrecords.py demo_transfer --output_dir=$(@D)
	$(PYTHON) tools/tfrecords.py manifest --list=$(@D)/train.jsonl \
	  --validation_list=$(@D)/validation.jsonl --input_dir=$(@D)/scenes \
	  --output_dir=$(@D)/records
	@touch $@

# These, too, go on where they stopped.
$(TRANSFER_RUN)/pretrain/checkpoint: $(TRANSFER)/data/.complete FORCE
	$(PYTHON) tools/train.py --gin_file=gin/demo_multilabel.gin \
	  --gin_bindings="DATA_DIR='$(TRANSFER)/data/records'" \
	  --gin_bindings='SEED=$(SEED)' --model_dir=$(@D)

$(TRANSFER_RUN)/finetune/checkpoint: $(TRANSFER_RUN)/pretrain/checkpoint FORCE
	$(FINETUNE) --gin_bindings="INIT_CHECKPOINT='$(TRANSFER_RUN)/pretrain'" \
	  --model_dir=$(@D)

$(TRANSFER_RUN)/scratch/checkpoint: $(TRANSFER)/data/.complete FORCE
	$(FINETUNE) --gin_bindings='RunConfig.init_checkpoint_required=False' \
	  --model_dir=$(@D)

# --- Checks -------------------------------------------------------------------

test: $(VENV) bazel
	PATH="$(CURDIR)/$(ENV)/bin:$$PATH" $(BAZEL) test //...

# Those of size "small": configuration, records, images and labels, blocks,
# schedules, the preflight's parts, folding, the backbone, gin files, small tools
# and this repository's own rules. Left out is what trains, exports or serves.
test-fast: $(VENV) bazel
	PATH="$(CURDIR)/$(ENV)/bin:$$PATH" $(BAZEL) test \
	  --test_size_filters=small --build_tests_only //...

# The long form of tests/faults: two cases at a time, a line each in faults.log.
# The last line says how many faults were tried, survived and lost.
FAULTS = --seed=$(SEED) --log=faults.log
faults: $(VENV)
	$(PYTHON) -m tests.faults.suite $(FAULTS)

# One process a target, as `make test` has it, but without Bazel's sandbox. What
# AutoGraph rewrites runs from files of its own and does not count, so the figure
# is a lower bound.
coverage: $(VENV) bazel
	@rm -f .coverage .coverage.*
	@PATH="$(CURDIR)/$(ENV)/bin:$$PATH" $(BAZEL) query --output=build \
	  'kind(py_test, $(COVERED)) except attr(tags, manual, //...)' 2>/dev/null \
	  | sed -n 's/^  args = \[\(.*\)\],$$/\1/p' | tr -d '",' \
	  | { status=0; while read -r modules; do \
	    echo "$$modules"; \
	    TF_CPP_MIN_LOG_LEVEL=3 $(PYTHON) -m coverage run -m tests.run $$modules \
	      >.coverage_log 2>&1 </dev/null || { status=1; cat .coverage_log; }; \
	  done; \
	  rm -f .coverage_log; \
	  $(PYTHON) -m coverage combine --quiet; \
	  $(PYTHON) -m coverage report; \
	  exit $$status; }

# The site's builder is in the lock of one stack alone. It asks no network, and
# takes no TensorFlow: Python's pages are made of docstrings as they are written.
docs: $(VENV)
	@test $(STACK) = tf2.20 || { echo 'error: the site is built with the stack' \
	  'tf2.20: make docs STACK=tf2.20' >&2; exit 1; }
	NO_MKDOCS_2_WARNING=true $(PYTHON) -m mkdocs build --quiet --strict
	@echo 'Open runs/site/index.html, or serve it:' \
	  '$(PYTHON) -m http.server --directory runs/site'

bazel:
	@test -n "$(BAZEL)" || tools/install_bazel.sh

# The tests of the report open its page in it, where there is one.
browser:
	@tools/install_browser.sh

lint: $(VENV)
	$(ENV)/bin/ruff check .
	$(ENV)/bin/ruff format --check .
	$(ENV)/bin/mypy

format: $(VENV)
	$(ENV)/bin/ruff check --fix .
	$(ENV)/bin/ruff format .

clean:
	@test -z "$(BAZEL)" || $(BAZEL) clean --expunge
	rm -rf .venv .venv_tf2.20 .venv_tpu .venv_peers *.egg-info \
	  .ruff_cache .mypy_cache .coverage .coverage.* \
	  $(DEMO) $(TRANSFER)
