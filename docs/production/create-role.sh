#!/bin/bash
# The application's own role: no superuser and no BYPASSRLS, so that row-level security binds it.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$TESSERA_DB_PASSWORD" --username postgres <<'SQL'
CREATE ROLE tessera LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE tessera OWNER tessera;
SQL
