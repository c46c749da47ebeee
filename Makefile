PYTHON ?= .venv/bin/python

.venv:
	python3 -m venv .venv
	.venv/bin/pip install -e ".[test,lint]"

test: .venv
	$(PYTHON) -m pytest -n auto

lint: .venv
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

format: .venv
	.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

bench: .venv
	$(PYTHON) benchmarks/bench_ops.py
	$(PYTHON) benchmarks/bench_lstm.py
	$(PYTHON) benchmarks/bench_recurrent.py
	$(PYTHON) benchmarks/bench_text.py
	$(PYTHON) benchmarks/bench_checkpoint.py
	$(PYTHON) benchmarks/bench_conv.py
	$(PYTHON) benchmarks/bench_numpy_code.py
	$(PYTHON) benchmarks/bench_viz.py
	$(PYTHON) benchmarks/bench_optim.py
	$(PYTHON) benchmarks/bench_fit.py
	$(PYTHON) benchmarks/bench_compile.py --write docs

mutants: .venv
	$(PYTHON) -m tests.ops.mutants

mistakes: .venv
	$(PYTHON) -m tests.mistakes

public-names: .venv
	$(PYTHON) -m tests.test_public_names

reference: .venv
	$(PYTHON) -m tests.test_reference

mistakes-page: .venv
	$(PYTHON) -m tests.explain.test_kinds

compile-page: .venv
	$(PYTHON) -m tests.compiler.test_page

pages: public-names reference mistakes-page compile-page
	$(PYTHON) -m tests.ops.numpy_coverage > COVERAGE.md

quickstart: .venv
	$(PYTHON) examples/quickstart.py

gallery: .venv
	$(PYTHON) examples/gallery.py --pictures

.PHONY: test lint format bench mutants mistakes mistakes-page compile-page public-names reference pages quickstart gallery
