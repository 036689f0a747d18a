# Two commands are all a user needs: `make demo` and `make test`. Each makes its own .venv first.
PYTHON ?= python3
BIN := .venv/bin
TORCH_INDEX_URL ?=# where pip finds another build of torch than that of its own index, see README

.PHONY: demo test faults soak lint constraints clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
ifeq ($(TORCH_INDEX_URL)$(shell uname -s)$(wildcard /proc/driver/nvidia),Linux)
	@echo "No NVIDIA driver here: a CPU build of torch spares several GB, see TORCH_INDEX_URL in README.md"
endif
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) --editable '.[worker,train,dev]'
	touch $@

demo: .venv/installed ## start a planner and three workers, make 24 pictures, stop everything; ARGS=--serve: show the page
	$(BIN)/ladle demo $(ARGS)

test: .venv/installed ## lint, types, every test (see README); those of RabbitMQ again on LADLE_TEST_BROKER_URL, if set
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	LADLE_TEST_BROKER_URL= $(BIN)/python -m pytest --numprocesses auto --dist loadscope
	if [ -n "$$LADLE_TEST_BROKER_URL" ]; then $(BIN)/python -m pytest -m rabbitmq; fi

faults: .venv/installed ## inject every fault of docs/faults.md, one line per row (10 to 20 minutes)
	$(BIN)/python -m pytest --faults

soak: .venv/installed ## ten minutes of random deaths on each broker (see docs/faults.md)
	$(BIN)/python -m benchmarks.soak --minutes 10 --broker embedded
	$(BIN)/python -m benchmarks.soak --minutes 10 --broker rabbitmq

constraints: .venv/installed ## write constraints.txt again from what is installed
	{ head -n 1 constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean: ## remove what demo, tests and benchmarks left behind
	rm -rf demo-out runs build .pytest_cache .mypy_cache .ruff_cache .hypothesis
