# RUNTIME=local: the same three programs as processes on loopback. Everything that is special about this runtime is
# here, in local-run.sh and in local-up.sh.

include scripts/project-name.mk
override RUN_CA := sh scripts/local-run.sh ca
override RUN_CLIENT := sh scripts/local-run.sh client
override RUN_CLIENT_BESIDE := $(RUN_CLIENT)
override FETCH_REPORTS := true
override SHELL_HERE := PATH="$$(cd "$$VENV" && pwd)/bin:$$PATH" PS1='mtls-lab$$ ' sh -i
override LOGS := sh scripts/local-server.sh logs
override STATUS := sh scripts/local-server.sh status
override DOWN := @:
override CLEAN := ! sh scripts/runtime.sh --why >/dev/null 2>&1 || sh scripts/compose-down.sh clean

# Every target of this runtime needs the virtual environment; only these don't.
ifneq ($(filter-out down clean logs status,$(goals)),)
check: venv-lab
endif
