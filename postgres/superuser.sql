-- For a server in a container that belongs to us alone: nobody logs in as the superuser over the network. Its password stands
-- in the server's environment from here on.
ALTER ROLE postgres PASSWORD NULL;
