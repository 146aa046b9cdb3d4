#!/bin/sh
# Runs once, when the database is made: the console's role may read and nothing else.
set -eu
test -s /run/secrets/SIGHTLINE_READER_PASSWORD || { echo "secret SIGHTLINE_READER_PASSWORD is missing" >&2; exit 1; }
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    -v password="$(cat /run/secrets/SIGHTLINE_READER_PASSWORD)" <<'SQL'
CREATE ROLE sightline_reader LOGIN PASSWORD :'password';
ALTER ROLE sightline_reader SET default_transaction_read_only = on;
GRANT CONNECT ON DATABASE sightline TO sightline_reader;
GRANT USAGE ON SCHEMA public TO sightline_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO sightline_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO sightline_reader;
SQL
