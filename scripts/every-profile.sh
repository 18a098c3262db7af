#!/bin/sh
# docker compose with every service of docker-compose.yml in view, whatever its profile.
exec docker compose --profile tools --profile browser --profile postman --profile acme --profile proxy --profile demo "$@"
