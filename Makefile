# The mTLS lab. Bare `make` prints help. Knobs come from the command line, the environment or .env, in this order.

ifneq ($(wildcard .env),)
# Spaces around =, quotes and the line ends of Windows are allowed, as they are to Compose.
$(foreach line,$(shell tr -d "\r\"'" <.env | sed -n 's/^\([A-Z_][A-Z_]*\) *= *\([^ ]*\).*/\1?=\2/p'),$(eval $(line)))
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
goals := $(filter-out help,$(MAKECMDGOALS))
ifneq ($(goals),)
ifeq ($(origin RUNTIME),undefined)
RUNTIME := $(shell sh scripts/runtime.sh)
WHY := found by itself
else
WHY ?= as asked
endif
export MODE PORT SERVER PROXY SERVER_CREDENTIAL TRUST PUBLIC_CA CRL CRL_CHECK RUNTIME WHY OUT PICTURES FOR VENV PYTHON S PROBE TLS
export CREDENTIAL REASON WHAT STEP
export LAB_VERBOSE = $(VERBOSE)
export LAB_ERROR = $(value E)
# Of `make sign` and its like, and whom a matrix leaves out. From the command line alone: in the environment PASSWORD may
# be another's, and WSL has a NAME there.
typed = $(if $(filter command,$(origin $(1))),$(value $(1)))
export LAB_PROBE = $(call typed,PROBE)
export LAB_CSR = $(call typed,CSR)
export LAB_NAME = $(or $(call typed,NAME),$(LAB_CLIENT))
export LAB_CLIENT = $(call typed,CLIENT)
export LAB_OU = $(call typed,OU)
export LAB_URI = $(call typed,URI)
export LAB_DAYS = $(call typed,DAYS)
export LAB_KEY_TYPE = $(call typed,KEY_TYPE)
export LAB_FILE = $(call typed,FILE)
export LAB_PASSWORD = $(call typed,PASSWORD)
export LAB_LEGACY = $(call typed,LEGACY)
export LAB_REPLACE = $(call typed,REPLACE)
export LAB_VALIDATION_CA_CERT LAB_VALIDATION_CA_KEY
export LAB_SERVER_NAMES LAB_SERVER_CERT_DIR UVICORN_LOOP UVICORN_HTTP LAB_VERIFY_STRICT LAB_SESSION_TICKETS LAB_DEBUG
export LAB_HANDSHAKE_TIMEOUT_S LAB_REQUEST_HEAD_TIMEOUT_S LAB_MAX_HANDSHAKES LAB_HANDSHAKE_LOG UVICORN_WORKERS
export LAB_TRUSTED_PROXY LAB_PROXY_HEADER
include scripts/$(if $(filter compose,$(RUNTIME)),compose,local).mk
endif

.PHONY: help up serve test-off test-optional test-required test-servers test-postman test-browser browser matrix probe explain certs shell list show \
	sign issue-client enroll export-p12 inspect revoke unrevoke crl rotate renew logs status down clean demo test bench observe docs lock check knobs
.NOTPARALLEL:

help: ## print this help
	@sed -n 's/^\([a-z0-9-]*\): .*## /\1@/p' Makefile | awk -F@ '{ printf "  make %-15s %s\n", $$1, $$2 }'
	@echo "Knobs: MODE=off|optional|required  PORT=8443  SERVER=explained|stock  RUNTIME=compose|local  (.env.example)"

up: serve ## issue the certificates, start the server, and say what to try
	@sh scripts/welcome.sh

# What `up` does before it says what to try.
serve: check
	@sh scripts/$(RUNTIME)-up.sh
	@sh scripts/certs.sh certs "$$(cat .lab/client-files)"

test-off: check ## put the server into mode off and judge it
	@$(MAKE) --no-print-directory serve MODE=off $(GOOD)
	@$(call matrix,off,--server $(ANSWERS))

test-optional: check ## put the server into mode optional and judge it
	@$(MAKE) --no-print-directory serve MODE=optional $(GOOD)
	@$(call matrix,optional,--server $(ANSWERS))

test-required: check ## put the server into mode required and judge it
	@$(MAKE) --no-print-directory serve MODE=required $(GOOD)
	@$(call matrix,required,--server $(ANSWERS))

test-servers: check ## start a server for each faulty server credential and trust file, and judge them
	@sh scripts/no-proxy.sh test-servers
	@$(MAKE) --no-print-directory serve $(OWN)
	@CLIENT='$(CLIENT_BESIDE)' sh scripts/test-servers.sh; $(call fetched,servers)

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
	@$(call matrix,$(MODE),)

probe: check ## one attempt: S=<scenario> PROBE=raw|requests|httpx|curl|openssl|wget|node|gnutls [TLS=1.2]
	@$(CLIENT) probe --scenario="$$S" --probe="$$PROBE" --tls="$$TLS"

explain: check ## say what scenario S is, or what a pasted error text means: E='curl: (56) ...'
	@$(CLIENT) explain --scenario="$$S"

certs: check ## copy what a person needs on the host to OUT=certs
	@sh scripts/certs.sh "$$OUT"

list: check ## list everything that was issued
	@$(CA) list

show: check ## print a certificate in words: NAME=<name>
	@$(CA) show -- "$$LAB_NAME"

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
	@$(CA) revoke --reason="$$REASON" -- "$$CREDENTIAL"
	@sh scripts/certs.sh certs
	@sh scripts/revoked.sh

unrevoke: check ## take a client off the revocation list: CREDENTIAL=client-good
	@$(CA) unrevoke -- "$$CREDENTIAL"
	@sh scripts/certs.sh certs
	@sh scripts/revoked.sh

crl: check ## print the revocation lists in words
	@$(CA) crl

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
	[ ! -e "$(VENV)/.mtls-lab" ] || rm -rf "$(VENV)"
	rm -rf .lab reports .mypy_cache .pytest_cache .ruff_cache
	@sh scripts/certs.sh --remove certs

demo: ## record the three phases, in a terminal and in a browser, into docs/media/ (four minutes)
	@sh scripts/needs-docker.sh demo
	@$(MAKE) --no-print-directory check $(VENV)/.dev
	@MAKE='$(MAKE)' OWN='$(OWN)' sh scripts/demo.sh

test: $(VENV)/.dev ## lint, types, unit, live and compose tests and the three modes; TESTS="-k name": some of them
	@sh scripts/test.sh

bench: $(VENV)/.lab ## measure what explained costs against stock, side by side, on local processes (80 s)
	@$(VENV)/bin/python -m bench $(BENCH)

observe: check ## record what every tool says here into docs/observations/ (takes a few minutes)
	@sh scripts/no-proxy.sh observe
	@CLIENT='$(CLIENT)' MAKE='$(MAKE)' sh scripts/observe.sh

docs: $(VENV)/.dev ## generate docs/scenarios.md from the catalogue and docs/errors.md from docs/observations/
	$(VENV)/bin/python -m client document scenarios >docs/scenarios.md
	$(VENV)/bin/python -m client document errors >docs/errors.md

lock: ## compile requirements/*.txt from pyproject.toml
	sh scripts/lock.sh

check: knobs

knobs:
	@sh scripts/check.sh

$(VENV)/.lab: requirements/ca.txt requirements/server.txt requirements/client.txt | knobs
	@sh scripts/venv.sh ca server client
	@touch $@

$(VENV)/.dev: requirements/dev.txt
	@sh scripts/venv.sh dev
	@touch $@ $(VENV)/.lab

# What the default server serves and trusts, whatever was up before.
GOOD := SERVER_CREDENTIAL=server-good TRUST=validation_fullchain CRL=none
# The same, and by the lab's own CA, whose certificate is for localhost.
OWN := $(GOOD) PUBLIC_CA=lab LAB_SERVER_CERT_DIR=

# Whom the client talks to.
ANSWERS = $(or $(filter-out none,$(PROXY)),$(SERVER))

# Judges, fetches the reports, and keeps the client's exit status.
matrix = $(CLIENT) matrix --mode $(1) --probe="$$LAB_PROBE" $(2); $(call fetched,$(1))
fetched = status=$$?; $(FETCH_REPORTS); exit $$status
