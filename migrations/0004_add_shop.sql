-- A shop on the pipeline: terms of sale, warehouses in zones, categories, variants, carts, and what orders say of all that.

ALTER TABLE warehouses
    -- Neighbouring zones have neighbouring numbers. Never changed, so that a decision can be made again.
    ADD COLUMN zone      smallint NOT NULL DEFAULT 1 CHECK (zone BETWEEN 1 AND 99),
    -- Set while no orders are served from it.
    ADD COLUMN closed_at timestamptz;

CREATE TABLE categories (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);

CREATE UNIQUE INDEX categories_name_unique ON categories (lower(name)) WHERE deleted_at IS NULL;

ALTER TABLE products
    ADD COLUMN category_id uuid REFERENCES categories,
    -- Words as they are written, of any language.
    ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('simple', name || ' ' || COALESCE(description, ''))) STORED;

CREATE INDEX products_category ON products (category_id) WHERE category_id IS NOT NULL;
CREATE INDEX products_words ON products USING gin (words);
CREATE INDEX products_name ON products (lower(name), id) WHERE deleted_at IS NULL;

ALTER TABLE variants
    -- What tells it from its product's other variants, such as {"size": "9"}.
    ADD COLUMN options jsonb NOT NULL DEFAULT '{}',
    -- What its SKU was before: a refusal may name it.
    ADD COLUMN former_skus text[] NOT NULL DEFAULT '{}',
    -- Not set: the price is that of the product's default variant.
    ALTER COLUMN price_amount DROP NOT NULL,
    -- At so much or less over all open warehouses it is low.
    ADD COLUMN low_stock_threshold bigint CHECK (low_stock_threshold >= 0),
    ADD CONSTRAINT variants_default_price_check CHECK (id <> product_id OR price_amount IS NOT NULL);

CREATE INDEX variants_default_price ON variants (price_amount, id) WHERE id = product_id;

CREATE INDEX variants_low_stock ON variants (id) WHERE low_stock_threshold IS NOT NULL;

-- Each time that a decision has taken a variant from above its threshold to it or below. Append only.
CREATE TABLE low_stock_events (
    partition  smallint    NOT NULL,
    sequence   bigint      NOT NULL,
    variant_id uuid        NOT NULL,
    threshold  bigint      NOT NULL,
    available  bigint      NOT NULL,
    command_id uuid        NOT NULL,
    crossed_at timestamptz NOT NULL,
    PRIMARY KEY (partition, sequence, variant_id)
);

CREATE INDEX low_stock_events_newest ON low_stock_events (crossed_at, command_id, variant_id);

-- What is asked for beside the goods: tax and delivery. Append only; the last one is in force.
CREATE TABLE terms (
    version    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terms      jsonb       NOT NULL,
    -- Who has set them; nobody where they were there from the first.
    account_id uuid,
    created_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO terms (terms)
-- A store that sells already goes on at its prices; a new one begins with 10 %.
SELECT jsonb_build_object('taxBasisPoints', CASE WHEN EXISTS (SELECT FROM products) THEN 0 ELSE 1000 END, 'zones', '{"*": 1}'::jsonb, 'delivery',
    (SELECT jsonb_object_agg(currency, '{
        "standard": [{"cost": 490, "days": 3}, {"cost": 690, "days": 5}, {"cost": 1290, "days": 8}],
        "express":  [{"cost": 990, "days": 1}, {"cost": 1490, "days": 2}, {"cost": 2490, "days": 3}]}'::jsonb)
     FROM UNNEST(ARRAY['EUR', 'GBP', 'USD']) AS currency));

ALTER TABLE orders
    -- The terms that it was decided by; 0 where there were none yet.
    ADD COLUMN terms      bigint NOT NULL DEFAULT 0,
    -- In the total.
    ADD COLUMN tax_amount bigint NOT NULL DEFAULT 0,
    -- Where it goes, how, when and for how much, as it was agreed at the decision.
    ADD COLUMN delivery   jsonb;

ALTER TABLE stock_movements
    DROP CONSTRAINT stock_movements_cause_check,
    ADD CONSTRAINT stock_movements_cause_check CHECK (cause IN
        ('received', 'adjusted', 'deducted', 'restored', 'sold', 'released', 'expired', 'restocked', 'transferred'))
        -- What is there satisfies the constraint of before: to look at it again would only take time.
        NOT VALID;

-- A customer's cart. It holds no stock. Once its order is confirmed it is kept as it was.
CREATE TABLE carts (
    id           uuid        PRIMARY KEY,
    account_id   uuid        NOT NULL,
    customer_id  text        NOT NULL,
    status       text        NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'ordering', 'completed')),
    mode         text        NOT NULL DEFAULT 'standard' CHECK (mode IN ('standard', 'express')),
    address      jsonb,
    -- Its last order, and what was sent for it: sent again, it is the same order.
    order_id     uuid,
    command      jsonb,
    -- How often that was sent, or was about to be; and how often that certainly failed.
    attempts     integer     NOT NULL DEFAULT 0,
    failed       integer     NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    changed_at   timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    CHECK (status = 'open' OR (order_id IS NOT NULL AND command IS NOT NULL)),
    CHECK ((status = 'completed') = (completed_at IS NOT NULL))
);

-- One at a time per customer.
CREATE UNIQUE INDEX carts_current ON carts (account_id, customer_id) WHERE status <> 'completed';
CREATE INDEX carts_customer ON carts (customer_id) WHERE status <> 'completed';
CREATE INDEX carts_completed ON carts (customer_id, completed_at, id) WHERE status = 'completed';

CREATE TABLE cart_items (
    cart_id      uuid        NOT NULL REFERENCES carts,
    product_id   uuid        NOT NULL,
    variant_id   uuid        NOT NULL,
    quantity     integer     NOT NULL CHECK (quantity > 0),
    -- When it was put in.
    price_amount bigint      NOT NULL,
    currency     text        NOT NULL,
    added_at     timestamptz NOT NULL DEFAULT now(),
    -- Hash of the last idempotency key that added to it.
    added_by_key uuid,
    PRIMARY KEY (cart_id, variant_id)
);

-- Catalogues that were sent in whole. Sent again, it is the same import.
CREATE TABLE imports (
    id           uuid        PRIMARY KEY,
    account_id   uuid        NOT NULL,
    -- Hash of what was sent.
    content      uuid        NOT NULL,
    status       text        NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'failed')),
    lines        bigint      NOT NULL,
    lines_done   bigint      NOT NULL DEFAULT 0,
    created      bigint      NOT NULL DEFAULT 0,
    updated      bigint      NOT NULL DEFAULT 0,
    counted      bigint      NOT NULL DEFAULT 0,
    unchanged    bigint      NOT NULL DEFAULT 0,
    refused      bigint      NOT NULL DEFAULT 0,
    -- How often it was begun or taken over: whoever has an earlier number writes nothing any more.
    attempts     integer     NOT NULL DEFAULT 1,
    -- Why it failed.
    problem      text,
    started_at   timestamptz NOT NULL DEFAULT now(),
    -- When whoever works on it was last heard of.
    seen_at      timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz
);

CREATE TABLE import_refusals (
    import_id uuid   NOT NULL REFERENCES imports,
    line      bigint NOT NULL,
    sku       text,
    reason    text   NOT NULL,
    PRIMARY KEY (import_id, line)
);

-- How much of a product, of all its variants together, each customer may have. Locked by whoever decides an order of it.
CREATE TABLE product_limits (
    product_id     uuid   PRIMARY KEY REFERENCES products,
    quantity       bigint NOT NULL CHECK (quantity > 0),
    -- Not set: over all time.
    window_seconds bigint CHECK (window_seconds > 0)
);
