-- Selling rules: what comes back from customers; bundles; what is sold before it is there.

ALTER TABLE orders
    -- What has become of its pieces since it was decided: what has come back, and where to; what was
    -- served that was not there then, and from where. As in the last entry of its history.
    ADD COLUMN pieces jsonb;

ALTER TABLE order_status_history
    ADD COLUMN pieces jsonb;

ALTER TABLE stock_movements
    DROP CONSTRAINT stock_movements_cause_check,
    ADD CONSTRAINT stock_movements_cause_check CHECK (cause IN
        ('received', 'adjusted', 'deducted', 'restored', 'sold', 'released', 'expired', 'restocked', 'transferred', 'returned',
         'capped', 'served'))
        NOT VALID;

-- Of what a bundle has so many pieces: it has no stock of its own. Written with the bundle, and never changed, so that a decision
-- can be made again.
ALTER TABLE variants ADD COLUMN is_bundle boolean NOT NULL DEFAULT false;

CREATE TABLE bundle_components (
    bundle_id  uuid    NOT NULL REFERENCES variants,
    product_id uuid    NOT NULL REFERENCES products,
    variant_id uuid    NOT NULL REFERENCES variants,
    quantity   integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (bundle_id, variant_id)
);

ALTER TABLE order_items
    -- The bundle that was bought, where `variant_id` is a component of it. Product, price and name are the bundle's.
    ADD COLUMN bundle_id uuid,
    -- How many of what was bought the row stands for: not set where it is `quantity`. Of a bundle the first row has all of them,
    -- and the others 0.
    ADD COLUMN sold      integer,
    -- What is there satisfies it: to look at it would only take time.
    ADD CONSTRAINT order_items_bundle_check CHECK ((bundle_id IS NULL) = (sold IS NULL) AND sold >= 0) NOT VALID;

ALTER TABLE warehouses
    -- The place of what is sold before it is there: its stock rows say how much may still be promised. Nobody is told of it.
    ADD COLUMN is_backorders boolean NOT NULL DEFAULT false;

-- Closed, so that nothing takes it for a place with goods.
INSERT INTO warehouses (id, code, name, is_backorders, closed_at)
VALUES ('00000000-0000-8000-8000-000000000002', '(backorders)', 'What is sold before it is there', true, now());

-- The rule of a variant, in its stock row of that place: read and written under its lock.
ALTER TABLE stock
    -- Most pieces that are promised at a time: what is on hand is that less what is sold and not served.
    ADD COLUMN backorder_cap  bigint,
    -- Whether more are taken.
    ADD COLUMN backorder_open boolean,
    -- When goods are expected.
    ADD COLUMN expected_on    date;

ALTER TABLE order_items
    -- Pieces of the stock row that were promised to others before.
    ADD COLUMN ahead       bigint NOT NULL DEFAULT 0,
    -- Where it is a promise: when it is expected, if that was known.
    ADD COLUMN expected_on date;

-- What is sold, or reserved, and not there yet: gone when it is served or cancelled.
CREATE TABLE backorders (
    order_id   uuid   NOT NULL,
    variant_id uuid   NOT NULL,
    quantity   bigint NOT NULL CHECK (quantity > 0),
    -- The version that promising it has made of the variant's row: the lowest is served first.
    place      bigint NOT NULL,
    PRIMARY KEY (order_id, variant_id)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

CREATE UNIQUE INDEX backorders_queue ON backorders (variant_id, place);
