-- Times are milliseconds since 1970, by this server's clock.

CREATE FUNCTION now_ms() RETURNS BIGINT LANGUAGE SQL STABLE
    AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT $$;

CREATE TABLE registrations (
    -- SHA-256 of caller, route and Idempotency-Key.
    key TEXT PRIMARY KEY,
    body_hash TEXT NOT NULL,
    registration_id TEXT NOT NULL,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX registrations_by_expiry ON registrations (expires_at);
CREATE INDEX registrations_by_user ON registrations (user_id);

CREATE TABLE outbox (
    registration_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('mail', 'event')),
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'failed')),
    tries INTEGER NOT NULL DEFAULT 1,
    -- Nobody takes it before. With a holder, it is his until then.
    due_at BIGINT NOT NULL,
    holder TEXT,
    -- The span that a later try is linked to.
    traceparent TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (registration_id, kind)
);

CREATE INDEX outbox_due ON outbox (due_at) WHERE status = 'pending';
CREATE INDEX outbox_open ON outbox (status, created_at);
CREATE INDEX outbox_by_user ON outbox (user_id);
