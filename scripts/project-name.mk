# The name of the Compose project, as Compose itself derives it, for what is asked of the engine without it.
ifeq ($(COMPOSE_PROJECT_NAME),)
COMPOSE_PROJECT_NAME := $(shell basename "$$PWD" | LC_ALL=C tr 'A-Z' 'a-z' | LC_ALL=C tr -cd 'a-z0-9_-' | sed 's/^[-_]*//')
endif
export COMPOSE_PROJECT_NAME
