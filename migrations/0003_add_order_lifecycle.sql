-- Orders that are paid later, reservations, and what becomes of an order once it is decided.

-- The time that payment windows are measured by: the database's, so that no program's clock matters.
CREATE FUNCTION business_time() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

ALTER TABLE orders
    -- Set where stock was to be reserved and not sold at once: for an order to be paid, or for a reservation to be confirmed.
    ADD COLUMN hold          text CHECK (hold IN ('payment', 'reservation')),
    -- Until when it was reserved.
    ADD COLUMN due_at        timestamptz,
    -- Changes of its state since it was decided: the last one in its history.
    ADD COLUMN revision      integer NOT NULL DEFAULT 0,
    -- Set where what was reserved has been sold.
    ADD COLUMN paid_at       timestamptz,
    ADD COLUMN payment       jsonb,
    ADD COLUMN tracking      jsonb,
    ADD COLUMN cancel_reason text CHECK (cancel_reason IN ('requested', 'payment-timeout')),
    DROP CONSTRAINT orders_status_check,
    ADD CONSTRAINT orders_status_check CHECK
        (status IN ('rejected', 'pending', 'paid', 'processing', 'shipped', 'delivered', 'cancelled')),
    ADD CONSTRAINT orders_due_check CHECK
        ((due_at IS NOT NULL) = (hold IS NOT NULL AND refusal IS NULL) AND (status <> 'pending' OR hold IS NOT NULL)),
    ADD CONSTRAINT orders_cancel_check CHECK ((status = 'cancelled') = (cancel_reason IS NOT NULL));

-- For lists: of orders by account and status, newest first (one of all states merges them), and of reservations by account. A
-- reservation is an order once it is confirmed.
CREATE INDEX orders_list ON orders (account_id, status, decided_at, id)
    WHERE hold IS DISTINCT FROM 'reservation' OR paid_at IS NOT NULL;
CREATE INDEX orders_reservations ON orders (account_id, decided_at, id) WHERE hold = 'reservation';
CREATE INDEX orders_customer ON orders (customer_id, decided_at, id) WHERE customer_id IS NOT NULL;
CREATE INDEX orders_paid ON orders (paid_at) WHERE paid_at IS NOT NULL;

-- For the ledger of one stock row; and no two orders may ever have made the same version of it.
CREATE UNIQUE INDEX order_items_stock_version ON order_items (variant_id, warehouse_id, stock_version);

-- What is reserved now: one row per piece of stock, gone when the order is paid, cancelled or its time is over.
CREATE TABLE reservations (
    order_id     uuid        NOT NULL,
    line         smallint    NOT NULL,
    allocation   smallint    NOT NULL,
    variant_id   uuid        NOT NULL,
    warehouse_id uuid        NOT NULL,
    quantity     integer     NOT NULL CHECK (quantity > 0),
    due_at       timestamptz NOT NULL,
    PRIMARY KEY (order_id, line, allocation)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- Every order that reserves something has a first piece: by it the due ones are found.
CREATE INDEX reservations_due ON reservations (due_at) WHERE line = 0 AND allocation = 0;
CREATE INDEX reservations_variant_due ON reservations (variant_id, due_at);

-- Every change of an order's state after its decision. Append only.
CREATE TABLE order_status_history (
    order_id   uuid        NOT NULL,
    revision   integer     NOT NULL CHECK (revision > 0),
    status     text        NOT NULL,
    -- The decision that made it.
    partition  smallint    NOT NULL,
    sequence   bigint      NOT NULL,
    command_id uuid        NOT NULL,
    -- Who asked for it; nobody where time did.
    account_id uuid,
    reason     text,
    tracking   jsonb,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, revision)
);

ALTER TABLE stock_movements
    -- By how much what is reserved has changed.
    ADD COLUMN reserved bigint NOT NULL DEFAULT 0,
    ADD COLUMN order_id uuid,
    ADD COLUMN reason   text,
    DROP CONSTRAINT stock_movements_quantity_check,
    ADD CONSTRAINT stock_movements_quantity_check CHECK (quantity <> 0 OR reserved <> 0),
    DROP CONSTRAINT stock_movements_cause_check,
    ADD CONSTRAINT stock_movements_cause_check CHECK (cause IN
        ('received', 'adjusted', 'deducted', 'restored', 'sold', 'released', 'expired', 'restocked'));

-- The ledger whole: every change of on hand and of reserved, in the order of each stock row's versions.
CREATE OR REPLACE VIEW ledger AS
    SELECT variant_id, warehouse_id, stock_version, cause, quantity, command_id, moved_at, reserved, order_id, reason
    FROM stock_movements
    UNION ALL
    SELECT i.variant_id, i.warehouse_id, i.stock_version,
           CASE WHEN o.hold IS NULL THEN 'sold' ELSE 'reserved' END,
           CASE WHEN o.hold IS NULL THEN -i.quantity::bigint ELSE 0 END, i.order_id, o.decided_at,
           CASE WHEN o.hold IS NULL THEN 0 ELSE i.quantity::bigint END, i.order_id, NULL
    FROM order_items i JOIN orders o ON o.id = i.order_id;

-- Payments that were captured and could not be applied: too late, cancelled, paid before. For operators to refund.
CREATE TABLE unapplied_payments (
    command_id  uuid        PRIMARY KEY,
    order_id    uuid        NOT NULL,
    account_id  uuid        NOT NULL,
    problem     text        NOT NULL,
    method      text,
    reference   text,
    recorded_at timestamptz NOT NULL,
    resolved_at timestamptz,
    resolved_by uuid,
    resolution  text,
    CHECK ((resolved_at IS NULL) = (resolved_by IS NULL))
);

-- One payment is one row, however often it is told of.
CREATE UNIQUE INDEX unapplied_payments_once
    ON unapplied_payments (order_id, (COALESCE(method, '')), (COALESCE(reference, '')));
CREATE INDEX unapplied_payments_open ON unapplied_payments (recorded_at, command_id) WHERE resolved_at IS NULL;

-- Customers whose payment windows are longer.
CREATE TABLE customers (
    id         text        PRIMARY KEY,
    tier       text        NOT NULL CHECK (tier IN ('standard', 'priority')),
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- What was decided since the beginning, by outcome: updated with each batch.
ALTER TABLE partitions
    ADD COLUMN confirmed     bigint NOT NULL DEFAULT 0,
    ADD COLUMN conflicts     bigint NOT NULL DEFAULT 0,
    ADD COLUMN unfulfillable bigint NOT NULL DEFAULT 0,
    ADD COLUMN reserved      bigint NOT NULL DEFAULT 0,
    ADD COLUMN converted     bigint NOT NULL DEFAULT 0,
    ADD COLUMN expired       bigint NOT NULL DEFAULT 0,
    ADD COLUMN released      bigint NOT NULL DEFAULT 0,
    ADD COLUMN unapplied     bigint NOT NULL DEFAULT 0,
    -- Over all that was converted, from decision to payment.
    ADD COLUMN payment_ms    bigint NOT NULL DEFAULT 0;

-- The same as it was at the end of each minute in which something was decided, for some weeks.
CREATE TABLE figures (
    partition     smallint    NOT NULL,
    minute        timestamptz NOT NULL,
    confirmed     bigint      NOT NULL,
    conflicts     bigint      NOT NULL,
    unfulfillable bigint      NOT NULL,
    reserved      bigint      NOT NULL,
    converted     bigint      NOT NULL,
    expired       bigint      NOT NULL,
    released      bigint      NOT NULL,
    unapplied     bigint      NOT NULL,
    payment_ms    bigint      NOT NULL,
    PRIMARY KEY (partition, minute)
) WITH (fillfactor = 50);
