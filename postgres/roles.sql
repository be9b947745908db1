-- Run once, as a superuser, on a server that doesn't have them: the database service's own user, who owns its database and
-- nothing else.
--
--     PASSWORD_FILE=keys/postgres/password psql -f postgres/roles.sql postgres://…
--
-- The password comes from the file that `nats-serve keys --for-containers` wrote, and so stands in no argument. Without
-- PASSWORD_FILE it is where docker-compose.yml has it.
\set ON_ERROR_STOP on
\set password `cat "${PASSWORD_FILE:-/keys/postgres/password}"`
-- A file that can't be read would make a user without a password.
SELECT length(:'password') < 20 AS is_missing \gset
\if :is_missing
  \warn 'PASSWORD_FILE names no file with the password that nats-serve keys has made'
  DO $$ BEGIN RAISE EXCEPTION 'no password, so no user is made'; END $$;
\endif
CREATE ROLE nats_serve LOGIN PASSWORD :'password';
CREATE DATABASE nats_serve OWNER nats_serve;
