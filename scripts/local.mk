# RUNTIME=local: the same three programs as processes on loopback. Everything that is special about this runtime is
# here and in local-up.sh.

include scripts/project-name.mk
PROGRAM = LAB_STATE=.lab LAB_CERTS=.lab/client-tls LAB_SHOWN_CERTS=certs LAB_URL=https://localhost:$(PORT) \
	LAB_SHOWN_PYTHON=$(VENV)/bin/python LAB_SERVER_LOG=.lab/server.log LAB_RUNTIME=local $(VENV)/bin/python -m
CA = $(PROGRAM) ca
CLIENT = $(PROGRAM) client
CLIENT_BESIDE = $(CLIENT)
FETCH_REPORTS = true
SHELL_HERE = PATH="$(CURDIR)/$(VENV)/bin:$$PATH" PS1='mtls-lab$$ ' sh -i
LOGS = sh scripts/local-server.sh logs
STATUS = sh scripts/local-server.sh status
DOWN = @:
CLEAN = ! sh scripts/runtime.sh --why >/dev/null 2>&1 || sh scripts/compose-down.sh clean

# Every target of this runtime needs the virtual environment; only these don't.
ifneq ($(filter-out down clean logs status,$(goals)),)
check: $(VENV)/.lab
endif
