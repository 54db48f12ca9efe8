-- Selling rules: what comes back from customers; bundles.

ALTER TABLE orders
    -- What has become of its pieces since it was decided: what has come back, and where to. As in the last entry of its history.
    ADD COLUMN pieces jsonb;

ALTER TABLE order_status_history
    ADD COLUMN pieces jsonb;

ALTER TABLE stock_movements
    DROP CONSTRAINT stock_movements_cause_check,
    ADD CONSTRAINT stock_movements_cause_check CHECK (cause IN
        ('received', 'adjusted', 'deducted', 'restored', 'sold', 'released', 'expired', 'restocked', 'transferred', 'returned'))
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
    ADD COLUMN sold      integer CHECK (sold >= 0),
    ADD CONSTRAINT order_items_bundle_check CHECK ((bundle_id IS NULL) = (sold IS NULL)) NOT VALID;
