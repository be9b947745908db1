-- Run once, when the volume is new: the database service's own user, who owns its database and nothing else.
-- The password comes from the file that `nats-serve keys --for-containers` wrote, and so stands in no argument.
\set password `cat /keys/postgres/password`
CREATE ROLE nats_serve LOGIN PASSWORD :'password';
CREATE DATABASE nats_serve OWNER nats_serve;
-- Nobody logs in as the superuser over the network; its password stands in the server's environment from here on.
ALTER ROLE postgres PASSWORD NULL;
