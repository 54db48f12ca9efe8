-- What operators see and ask for.

-- Asked to let go of its partitions and to take no more.
ALTER TABLE consumers ADD COLUMN draining boolean NOT NULL DEFAULT false;

ALTER TABLE partitions
    -- Transactions that decided something of the partition, and how many commands they decided in all: a transaction spans
    -- every partition of its consumer.
    ADD COLUMN batches         bigint      NOT NULL DEFAULT 0,
    ADD COLUMN batch_commands  bigint      NOT NULL DEFAULT 0,
    -- When the last decided command had been accepted, and when its writer had last nothing to decide: what waits now was
    -- accepted after either, as far as clocks agree.
    ADD COLUMN decided_through timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN idle_at         timestamptz NOT NULL DEFAULT '-infinity',
    -- Whether its writer had something to decide when it last renewed its lease.
    ADD COLUMN busy            boolean     NOT NULL DEFAULT false;
