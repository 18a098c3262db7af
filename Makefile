# The mTLS lab. Bare `make` prints help. Knobs come from the command line, the environment or .env, in this order.

# A value that is typed, exported or written in .env is text: make expands nothing in it. Before anything refers to it, each
# variable of the command line and each knob of the environment is set to its own text. Recipes read it from their environment,
# as "$$NAME". Text that is part of a recipe is defined with `override`, so that the command line can't replace it. The loop
# variable is named `=` because the command line can't set that name.
override given := $(foreach =,$(.VARIABLES),$(if $(filter command,$(origin $(=))),$(=)))
ifneq ($(filter MAKE% .%,$(given)),)
$(error could not set $(filter MAKE% .%,$(given)): make itself uses it, and the lab has no such knob)
endif
$(foreach =,$(given),$(eval override $(=) := $$(value $(=)))$(eval export $(=)))
override typed = $(if $(filter $(1),$(given)),$(value $(1)))

override knobs := MODE PORT SERVER PROXY SERVER_CREDENTIAL TRUST PUBLIC_CA CRL CRL_CHECK RUNTIME WHY OUT PICTURES FOR VENV PYTHON S \
	PROBE TLS CREDENTIAL REASON WHAT STEP LAB_VALIDATION_CA_CERT LAB_VALIDATION_CA_KEY LAB_SERVER_NAMES LAB_SERVER_CERT_DIR \
	UVICORN_LOOP UVICORN_HTTP UVICORN_WORKERS LAB_VERIFY_STRICT LAB_SESSION_TICKETS LAB_DEBUG LAB_HANDSHAKE_TIMEOUT_S \
	LAB_REQUEST_HEAD_TIMEOUT_S LAB_MAX_HANDSHAKES LAB_HANDSHAKE_LOG LAB_LOGGED_REFUSALS LAB_TRUSTED_PROXY \
	LAB_PROXY_HEADER
# VPATH and GPATH are not knobs, but make expands them. The second assignment is for `make -e`.
$(foreach =,$(knobs) COMPOSE_FILE COMPOSE_PROJECT_NAME VPATH GPATH,$(if $(filter environment,$(origin $(=))),$(eval \
	$(=) := $$(value $(=)))$(if $(filter recursive,$(flavor $(=))),$(eval override $(=) := $$(value $(=))))))
ifneq ($(wildcard .env),)
$(foreach =,$(shell sh scripts/env-file.sh),$(if $(filter undefined,$(origin $(=))),$(eval $(=) := $$(shell sh scripts/env-file.sh $(=)))))
endif

MODE ?= required
PORT ?= 8443
SERVER ?= explained
PROXY ?= none
SERVER_CREDENTIAL ?= server-good
TRUST ?= validation_fullchain
PUBLIC_CA ?= lab
CRL ?= none
CRL_CHECK ?= leaf
OUT ?= certs
TLS ?= 1.3
VENV := .venv
# Further knobs are in .env.example.

# `make help` must not wait for Docker.
override goals := $(filter-out help,$(MAKECMDGOALS))
ifneq ($(goals),)
ifeq ($(origin RUNTIME),undefined)
RUNTIME := $(shell sh scripts/runtime.sh)
WHY := found by itself
else
WHY ?= as asked
endif
export $(knobs)
export LAB_VERBOSE = $(value VERBOSE)
export LAB_ERROR = $(value E)
# The kind of server that the client should find.
export ANSWERS = $(or $(filter-out none,$(PROXY)),$(SERVER))
# Of `make sign` and its like, and whom a matrix leaves out. From the command line alone: in the environment PASSWORD may
# be another's, and WSL has a NAME there.
export LAB_PROBE = $(call typed,PROBE)
export LAB_CSR = $(call typed,CSR)
export LAB_NAME = $(or $(call typed,NAME),$(call typed,CLIENT))
export LAB_CLIENT = $(call typed,CLIENT)
export LAB_OU = $(call typed,OU)
export LAB_URI = $(call typed,URI)
export LAB_DAYS = $(call typed,DAYS)
export LAB_KEY_TYPE = $(call typed,KEY_TYPE)
export LAB_FILE = $(call typed,FILE)
export LAB_PASSWORD = $(call typed,PASSWORD)
export LAB_LEGACY = $(call typed,LEGACY)
export LAB_REPLACE = $(call typed,REPLACE)
include scripts/$(if $(filter compose,$(RUNTIME)),compose,local).mk
endif

.PHONY: help up serve test-off test-optional test-required test-servers test-postman test-browser browser matrix probe explain certs shell list show \
	sign issue-client enroll export-p12 inspect revoke unrevoke crl rotate renew logs status down clean demo test bench observe docs lock check knobs \
	venv-lab venv-dev
.NOTPARALLEL:

help: ## print this help
	@sed -n 's/^\([a-z0-9-]*\): .*## /\1@/p' Makefile | awk -F@ '{ printf "  make %-15s %s\n", $$1, $$2 }'
	@echo "Knobs: MODE=off|optional|required  PORT=8443  SERVER=explained|stock  RUNTIME=compose|local  (.env.example)"

up: serve ## issue the certificates, start the server, and say what to try
	@sh scripts/welcome.sh

# What `up` does before it says what to try.
serve: check
	@sh "scripts/$$RUNTIME-up.sh"
	@sh scripts/certs.sh certs "$$(cat .lab/client-files)"

test-off: check ## put the server into mode off and judge it
	@$(MAKE) --no-print-directory serve MODE=off $(GOOD)
	@$(call matrix,off,--server "$$ANSWERS")

test-optional: check ## put the server into mode optional and judge it
	@$(MAKE) --no-print-directory serve MODE=optional $(GOOD)
	@$(call matrix,optional,--server "$$ANSWERS")

test-required: check ## put the server into mode required and judge it
	@$(MAKE) --no-print-directory serve MODE=required $(GOOD)
	@$(call matrix,required,--server "$$ANSWERS")

test-servers: check ## start a server for each faulty server credential and trust file, and judge them
	@sh scripts/no-proxy.sh test-servers
	@$(MAKE) --no-print-directory serve $(OWN)
	@CLIENT='$(RUN_CLIENT_BESIDE)' sh scripts/test-servers.sh; $(call fetched,servers)

test-postman: ## run newman, the Postman app's runner, in all three modes, with and without certificates
	@sh scripts/needs-docker.sh test-postman
	@sh scripts/no-proxy.sh test-postman
	@MAKE='$(MAKE)' OWN='$(OWN)' sh scripts/test-postman.sh

test-browser: ## judge each mode with Chromium and Firefox (Docker); PICTURES=1 renews docs/media/browser
	@sh scripts/needs-docker.sh test-browser
	@sh scripts/no-proxy.sh test-browser
	@sh scripts/check.sh
	@OWN='$(OWN)' sh scripts/test-browser.sh

browser: check ## say how to import client-good into your own browser and remove it, and open the page: [FOR=macos]
	@sh scripts/browser.sh

matrix: check ## judge the running server as if it were in MODE; PROBE=raw,curl: with these tools alone
	@$(call matrix,"$$MODE",)

probe: check ## one attempt: S=<scenario> PROBE=raw|requests|httpx|curl|openssl|wget|node|gnutls [TLS=1.2]
	@$(RUN_CLIENT) probe --scenario="$$S" --probe="$$PROBE" --tls="$$TLS"

explain: check ## say what scenario S is, or what a pasted error text means: E='curl: (56) ...'
	@$(RUN_CLIENT) explain --scenario="$$S"

certs: check ## copy what a person needs on the host to OUT=certs
	@sh scripts/certs.sh "$$OUT"

list: check ## list everything that was issued
	@$(RUN_CA) list

show: check ## print a certificate in words: NAME=<name>
	@$(RUN_CA) show -- "$$LAB_NAME"

sign: check ## sign a request for a client: CSR=bob.csr NAME=bob [OU=a,b] [URI=spiffe://...] [DAYS=90] [REPLACE=1]
	@sh scripts/people.sh sign

issue-client: check ## a key and a certificate: NAME=bob [OU=a,b] [URI=spiffe://...] [DAYS=90] [KEY_TYPE=p256]
	@sh scripts/people.sh issue-client

enroll: check ## from a key to the first request, each command printed: CLIENT=bob
	@sh scripts/enroll.sh

export-p12: check ## bundle a client for a browser: NAME=client-good [LEGACY=1] [PASSWORD=mtls-lab]
	@sh scripts/people.sh export-p12

inspect: check ## say what is in a certificate, chain, request, list, bundle or key: FILE=<file>
	@sh scripts/people.sh inspect

revoke: check ## revoke a client: CREDENTIAL=client-good [REASON=keyCompromise]
	@$(RUN_CA) revoke --reason="$$REASON" -- "$$CREDENTIAL"
	@sh scripts/certs.sh certs
	@sh scripts/revoked.sh

unrevoke: check ## take a client off the revocation list: CREDENTIAL=client-good
	@$(RUN_CA) unrevoke -- "$$CREDENTIAL"
	@sh scripts/certs.sh certs
	@sh scripts/revoked.sh

crl: check ## print the revocation lists in words
	@$(RUN_CA) crl

rotate: check ## WHAT=server|intermediate|root [STEP=introduce|move|retire]: renew it under the running server
	@sh scripts/rotate.sh

renew: check ## renew the certificate of PUBLIC_CA=acme under the running server, and lose no request
	@sh scripts/renew.sh

shell: check ## open a shell with the clients and the files at hand
	$(SHELL_HERE)

logs: check ## show the server's log
	$(LOGS)

status: check ## say what runs
	@$(STATUS)

down: check ## stop the server; the certificates stay
	@sh scripts/local-server.sh stop
	$(DOWN)

clean: check ## remove everything the lab made: containers, volumes, images, virtual environment, keys
	@sh scripts/local-server.sh stop
	$(CLEAN)
	[ ! -e "$$VENV/.mtls-lab" ] || rm -rf "$$VENV"
	rm -rf .lab reports .mypy_cache .pytest_cache .ruff_cache asgi-mtls/build asgi-mtls/src/*.egg-info
	@sh scripts/certs.sh --remove certs

demo: ## record the three phases, in a terminal and in a browser, into docs/media/ (four minutes)
	@sh scripts/needs-docker.sh demo
	@$(MAKE) --no-print-directory check venv-dev
	@MAKE='$(MAKE)' OWN='$(OWN)' sh scripts/demo.sh

test: venv-dev ## lint, types, unit, live and compose tests and the three modes; TESTS="-k name": some of them
	@sh scripts/test.sh

bench: venv-lab ## measure what explained costs against stock, side by side, on local processes (80 s)
	@sh scripts/python-words.sh BENCH bench

observe: check ## record what every tool says here into docs/observations/ (takes a few minutes)
	@sh scripts/no-proxy.sh observe
	@CLIENT='$(RUN_CLIENT)' MAKE='$(MAKE)' sh scripts/observe.sh

docs: venv-dev ## generate docs/scenarios.md from the catalogue and docs/errors.md from docs/observations/
	"$$VENV/bin/python" -m client document scenarios >docs/scenarios.md
	"$$VENV/bin/python" -m client document errors >docs/errors.md

lock: ## compile requirements/*.txt from pyproject.toml
	sh scripts/lock.sh

check: knobs

knobs:
	@sh scripts/check.sh

# venv.sh checks whether anything is out of date.
venv-lab: | knobs
	@sh scripts/venv.sh lab

venv-dev:
	@sh scripts/venv.sh dev

# What the default server serves and trusts, whatever was up before.
override GOOD := SERVER_CREDENTIAL=server-good TRUST=validation_fullchain CRL=none
# The same, and by the lab's own CA, whose certificate is for localhost.
override OWN := $(GOOD) PUBLIC_CA=lab LAB_SERVER_CERT_DIR=

# Judges, fetches the reports, and keeps the client's exit status.
override matrix = $(RUN_CLIENT) matrix --mode $(1) --probe="$$LAB_PROBE" $(2); $(call fetched,$(1))
override fetched = status=$$?; $(FETCH_REPORTS); exit $$status
# make exports a name that the environment has, and expands it for that, with what `make help` leaves undefined.
unexport matrix fetched
