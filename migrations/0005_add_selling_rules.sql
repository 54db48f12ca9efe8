-- Selling rules: what comes back from customers.

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
