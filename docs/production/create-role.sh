#!/bin/bash
# The application's own role and its database: no superuser and no BYPASSRLS, so that row-level security binds it.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v name="${TESSERA_DB_NAME:-tessera}" -v password="$TESSERA_DB_PASSWORD" --username postgres <<'SQL'
CREATE ROLE :"name" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
