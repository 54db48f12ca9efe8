-- The whole first schema. Forward only: a change is a new file, expand then contract.
--
-- What one confirmed order of one line writes is what it costs: one row of `orders` (two index entries), one of
-- `order_items` (one), one new version of a `stock` row. So `orders` and `order_items` carry no foreign keys (each would
-- be a lookup and a row lock per order); the writer has read what they refer to, under lock, in the same transaction,
-- and `verify` checks them.

CREATE TABLE settings (
    only_row   boolean  PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Fixed when the store is set up: a product's partition is a hash of its id modulo this number.
    partitions smallint NOT NULL CHECK (partitions BETWEEN 1 AND 256),
    -- Authenticates the ids that the api gives out.
    id_key     bytea    NOT NULL CHECK (octet_length(id_key) = 32)
);

-- One row per partition: who writes it, until when, and how far its log goes. Updated by each batch, hence the fillfactor.
CREATE TABLE partitions (
    partition   smallint    PRIMARY KEY,
    owner       uuid,
    epoch       bigint      NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    -- The number of the last decision: decisions of a partition are numbered 1, 2, 3 without a gap.
    sequence    bigint      NOT NULL DEFAULT 0 CHECK (sequence >= 0)
) WITH (fillfactor = 20);

CREATE TABLE consumers (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE accounts (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL UNIQUE,
    role       text        NOT NULL CHECK (role IN ('client', 'operator')),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    -- SHA-256 of the key; the key itself is shown once and never stored.
    hash       bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    account_id uuid        NOT NULL REFERENCES accounts,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE warehouses (
    id         uuid        PRIMARY KEY,
    code       text        NOT NULL UNIQUE,
    name       text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO warehouses (id, code, name)
VALUES ('00000000-0000-8000-8000-000000000001', 'main', 'Main warehouse');

CREATE TABLE products (
    id          uuid        PRIMARY KEY,
    name        text        NOT NULL,
    description text,
    created_at  timestamptz NOT NULL,
    deleted_at  timestamptz
);

-- What is priced, stocked and ordered. Every product has a default variant, whose id is the product's.
CREATE TABLE variants (
    id           uuid        PRIMARY KEY,
    product_id   uuid        NOT NULL REFERENCES products,
    sku          text        NOT NULL CONSTRAINT variants_sku_unique UNIQUE,
    price_amount bigint      NOT NULL CHECK (price_amount >= 0),
    currency     text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    created_at   timestamptz NOT NULL,
    deleted_at   timestamptz
);

CREATE INDEX variants_product ON variants (product_id);

-- The rows that are locked. Nothing references them, so a lock here never holds up a foreign-key check; no index on the
-- quantities, and room on each page, so that an update stays on its page.
CREATE TABLE stock (
    variant_id   uuid   NOT NULL REFERENCES variants,
    warehouse_id uuid   NOT NULL REFERENCES warehouses,
    on_hand      bigint NOT NULL DEFAULT 0,
    reserved     bigint NOT NULL DEFAULT 0,
    -- Grows by one with each change, so the changes of a row are totally ordered.
    version      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (variant_id, warehouse_id),
    CONSTRAINT stock_never_oversold CHECK (0 <= reserved AND reserved <= on_hand)
) WITH (fillfactor = 60, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- The decision log, part one: every decided order.
CREATE TABLE orders (
    id              uuid        PRIMARY KEY,
    account_id      uuid        NOT NULL,
    customer_id     text,
    partition       smallint    NOT NULL,
    sequence        bigint      NOT NULL,
    status          text        NOT NULL CHECK (status IN ('paid', 'rejected')),
    -- Set where the order is confirmed.
    currency        text,
    total_amount    bigint,
    -- Set where it is refused: the reason, its receipt, and what was asked for.
    refusal         jsonb,
    -- Set where the client named a key: hash of account and key, and of the request.
    idempotency_key uuid,
    fingerprint     uuid,
    accepted_at     timestamptz NOT NULL,
    decided_at      timestamptz NOT NULL,
    CONSTRAINT orders_sequence_unique UNIQUE (partition, sequence),
    CHECK ((status = 'rejected') = (refusal IS NOT NULL)),
    CHECK ((status = 'rejected') = (total_amount IS NULL) AND (total_amount IS NULL) = (currency IS NULL)),
    CHECK ((idempotency_key IS NULL) = (fingerprint IS NULL))
);

CREATE UNIQUE INDEX orders_idempotency_key_unique ON orders (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- What a confirmed order holds: one row per line and warehouse it is served from. Also the ledger of sales: each names
-- the version of the stock row that it made.
CREATE TABLE order_items (
    order_id      uuid     NOT NULL,
    line          smallint NOT NULL,
    allocation    smallint NOT NULL,
    product_id    uuid     NOT NULL,
    variant_id    uuid     NOT NULL,
    warehouse_id  uuid     NOT NULL,
    quantity      integer  NOT NULL CHECK (quantity > 0),
    stock_version bigint   NOT NULL,
    -- At purchase: never changed by a later change of the catalogue.
    unit_amount   bigint   NOT NULL,
    name          text     NOT NULL,
    sku           text     NOT NULL,
    PRIMARY KEY (order_id, line, allocation)
);

-- The decision log, part two: every other decided command.
CREATE TABLE commands (
    id          uuid        PRIMARY KEY,
    partition   smallint    NOT NULL,
    sequence    bigint      NOT NULL,
    account_id  uuid        NOT NULL,
    body        jsonb       NOT NULL,
    outcome     jsonb       NOT NULL,
    idempotency_key uuid,
    fingerprint     uuid,
    accepted_at timestamptz NOT NULL,
    decided_at  timestamptz NOT NULL,
    CONSTRAINT commands_sequence_unique UNIQUE (partition, sequence),
    CHECK ((idempotency_key IS NULL) = (fingerprint IS NULL))
);

CREATE UNIQUE INDEX commands_idempotency_key_unique ON commands (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Commands that can't be read, or fail by themselves: written in the transaction of their batch, so nothing is held up
-- and nothing is lost. Operators look at them, queue them again or give them up.
CREATE TABLE dead_letters (
    -- A hash of the payload: the same one that comes again is the same dead letter.
    id         uuid        PRIMARY KEY,
    partition  smallint    NOT NULL,
    -- As far as it could be read.
    command_id uuid,
    account_id uuid,
    payload    bytea       NOT NULL,
    reason     text        NOT NULL,
    state      text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'requeued', 'discarded')),
    failed_at  timestamptz NOT NULL
);

CREATE INDEX dead_letters_command ON dead_letters (command_id) WHERE command_id IS NOT NULL;
CREATE INDEX dead_letters_waiting ON dead_letters (failed_at) WHERE state = 'waiting';

-- Changes of stock other than sales. Append only.
CREATE TABLE stock_movements (
    variant_id    uuid        NOT NULL,
    warehouse_id  uuid        NOT NULL,
    stock_version bigint      NOT NULL,
    cause         text        NOT NULL CHECK (cause IN ('received')),
    quantity      bigint      NOT NULL CHECK (quantity <> 0),
    command_id    uuid        NOT NULL,
    moved_at      timestamptz NOT NULL,
    PRIMARY KEY (variant_id, warehouse_id, stock_version)
);

-- The ledger whole: every change of on hand, in the order of each stock row's versions.
CREATE VIEW ledger AS
    SELECT variant_id, warehouse_id, stock_version, cause, quantity, command_id, moved_at
    FROM stock_movements
    UNION ALL
    SELECT i.variant_id, i.warehouse_id, i.stock_version, 'sold', -i.quantity::bigint, i.order_id, o.decided_at
    FROM order_items i JOIN orders o ON o.id = i.order_id;
