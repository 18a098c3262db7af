# RUNTIME=compose: three containers. Everything that is special about this runtime is here and in compose-up.sh.

# With a proxy in front of it the server is configured differently.
ifneq ($(filter-out none,$(PROXY)),)
export COMPOSE_FILE := $(or $(COMPOSE_FILE),docker-compose.yml)$(if $(findstring proxy/behind.yml,$(COMPOSE_FILE)),,:proxy/behind.yml)
endif
include $(dir $(lastword $(MAKEFILE_LIST)))project-name.mk
override RUN_CA := sh scripts/compose-run.sh ca
override RUN_CLIENT := sh scripts/compose-run.sh client
# In the server's network, where it is localhost, as on the host: names matter to server credentials.
override RUN_CLIENT_BESIDE := sh scripts/compose-run.sh shell python -m client
override FETCH_REPORTS = sh scripts/project.sh 2>/dev/null && mkdir -p reports && docker compose --progress quiet run --rm -T --no-deps client reports --name $(1) | tar -xof - -C reports
override SHELL_HERE := sh scripts/compose-run.sh shell
override LOGS := sh scripts/compose-logs.sh
override STATUS := docker compose ps -a
override DOWN := sh scripts/compose-down.sh
override CLEAN := sh scripts/compose-down.sh clean
