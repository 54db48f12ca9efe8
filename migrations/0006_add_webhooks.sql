-- Webhooks: who is told of what, what was sent, and how far the log has been told.

-- Of an account.
CREATE TABLE webhook_endpoints (
    id            uuid        PRIMARY KEY,
    account_id    uuid        NOT NULL REFERENCES accounts,
    url           text        NOT NULL,
    description   text,
    event_types   text[]      NOT NULL,
    -- The key that deliveries are signed with, and the one before it while that is still good.
    secret        bytea       NOT NULL,
    former_secret bytea,
    former_until  timestamptz,
    enabled       boolean     NOT NULL DEFAULT true,
    -- Why it is not: asked for, gone (it said so), failing (for days).
    disabled_for  text CHECK (disabled_for IN ('requested', 'gone', 'failing')),
    disabled_at   timestamptz,
    -- Since when nothing has come through; not set while something does.
    failing_since timestamptz,
    -- It has asked to be left alone until then.
    not_before    timestamptz,
    -- It is no more: its deliveries are deleted a few at a time, and then the row.
    deleted_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (enabled = (disabled_for IS NULL) AND enabled = (disabled_at IS NULL)),
    CHECK ((former_secret IS NULL) = (former_until IS NULL))
);

CREATE INDEX webhook_endpoints_account ON webhook_endpoints (account_id, id);

-- One event for one endpoint.
CREATE TABLE webhook_deliveries (
    id              uuid        PRIMARY KEY,
    endpoint_id     uuid        NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    -- The same for all endpoints, and for each attempt: the receiver's idempotency key.
    event_id        uuid        NOT NULL,
    event_type      text        NOT NULL,
    -- Signed and sent as it is.
    body            text        NOT NULL,
    created_at      timestamptz NOT NULL,
    state           text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts        integer     NOT NULL DEFAULT 0,
    -- A replay begins the schedule anew: so often it was begun again, and so many attempts were made of it since.
    generation      integer     NOT NULL DEFAULT 0,
    scheduled       integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    -- Somebody sends it until then.
    claimed_until   timestamptz,
    finished_at     timestamptz,
    CHECK ((state = 'pending') = (finished_at IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_list ON webhook_deliveries (endpoint_id, created_at, id);
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (created_at, id);
CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;
-- Each event once for each endpoint.
CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (event_id, endpoint_id);

CREATE TABLE webhook_attempts (
    delivery_id uuid        NOT NULL REFERENCES webhook_deliveries ON DELETE CASCADE,
    number      integer     NOT NULL,
    started_at  timestamptz NOT NULL,
    duration_ms integer     NOT NULL,
    -- What came back, or why nothing did.
    status      smallint,
    error       text,
    -- The first bytes of it.
    answer      text,
    PRIMARY KEY (delivery_id, number)
);

-- How far the log of each partition has been told, by each of its readers: to webhooks, its decisions up to this number are
-- deliveries or nobody's business; to the broker, they are published.
CREATE TABLE log_cursors (
    reader    text     NOT NULL CHECK (reader IN ('webhooks', 'broker')),
    partition smallint NOT NULL,
    sequence  bigint   NOT NULL,
    PRIMARY KEY (reader, partition)
) WITH (fillfactor = 20);

-- What was decided before there were webhooks is told to nobody.
INSERT INTO log_cursors SELECT 'webhooks', partition, sequence FROM partitions;

-- Dead letters that are no decisions are told of by themselves.
ALTER TABLE dead_letters ADD COLUMN told_at timestamptz;
ALTER TABLE dead_letters ADD COLUMN published_at timestamptz;
UPDATE dead_letters SET told_at = now(), published_at = now();
CREATE INDEX dead_letters_untold ON dead_letters (id) WHERE told_at IS NULL;
CREATE INDEX dead_letters_unpublished ON dead_letters (id) WHERE published_at IS NULL;
