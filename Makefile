PYTHON ?= python3
PARAMS ?= params/demo.yaml
DATA ?=
SET ?=
PORT ?= 5000
BIN := .venv/bin
SETTINGS := $(if $(DATA),--set data.files='$(DATA)') $(if $(SET),--set '$(SET)')

# A virtual environment holds the path that it was made at.
MOVED := $(shell [ "$$(cat .venv/ready 2>/dev/null)" = "$(CURDIR)" ] || echo moved)

.DEFAULT_GOAL := help
.PHONY: moved help setup run test bench torture full-size lab ui clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## make .venv and install everything pinned in requirements.txt

.venv/ready: requirements.txt pyproject.toml $(MOVED)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(if $(MOVED),--clear) .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt -e .
	@echo "$(CURDIR)" > $@

run: setup ## run an experiment, print its tables: PARAMS=params/demo.yaml DATA='/path/*.tfrecord' SET=KEY=VALUE
	@$(BIN)/yt8m run $(PARAMS) $(SETTINGS)

test: setup ## lint, then every test; of Ray and Slurm where they are installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder

bench: setup ## measure speed against this machine's own limits, beside the goals; some minutes
	@$(BIN)/yt8m benchmark

torture: setup ## kill runs, mutate shards, try every fault: an hour, resumable; QUICK=--quick SEED=1
	PYTHONPATH=tests $(BIN)/python -m torture $(if $(SEED),--seed $(SEED)) $(QUICK)

full-size: setup ## train one step of every published model, build and run the 1 GB graph
	$(BIN)/pytest -s -m full_size tests/test_full_size.py

lab: setup ## explore the notebooks in JupyterLab, from their index; LAB='--no-browser --port 8889' passes options
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB) notebooks/index.ipynb

ui: setup ## compare runs in MLflow on http://127.0.0.1:5000; another PORT=5001
ifneq ($(filter http%,$(MLFLOW_TRACKING_URI)),)
	@echo "The runs are on a server: open $(MLFLOW_TRACKING_URI) in a browser"
else
	@$(BIN)/python -c 'import socket, sys; sys.exit("port $(PORT) is in use: make ui PORT=5001" if not socket.socket().connect_ex(("127.0.0.1", $(PORT))) else 0)'
	MLFLOW_BACKEND_STORE_URI="$${MLFLOW_TRACKING_URI:-sqlite:///results/mlflow.db}" \
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui \
		--host 127.0.0.1 --port $(PORT) --workers 1
endif

clean: setup ## delete what an experiment left under results/: PARAMS=params/demo.yaml
	@$(BIN)/yt8m clean $(PARAMS)
