CREATE TABLE users (
    -- AUTOINCREMENT: the id of a deleted user is never given to another.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    email_normalised TEXT NOT NULL UNIQUE,
    last_login TEXT,
    theme TEXT NOT NULL DEFAULT 'dark',
    notifications INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

INSERT INTO users (id, name, email, email_normalised, last_login) VALUES
    (1, 'Alice', 'alice@example.com', 'alice@example.com', '2024-08-29T10:00:00Z'),
    (2, 'Bob', 'bob@example.com', 'bob@example.com', '2024-08-29T10:00:00Z'),
    (3, 'Charlie', 'charlie@example.com', 'charlie@example.com', '2024-08-29T10:00:00Z');
