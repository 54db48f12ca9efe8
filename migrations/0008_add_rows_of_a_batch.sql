-- What a batch decided is sent as one array of rows: to take that apart costs the server less than an array for each column.

CREATE TYPE decided_order AS (
    id uuid, account_id uuid, customer_id text, partition smallint, sequence bigint, status text, currency text, total_amount bigint,
    refusal jsonb, idempotency_key uuid, fingerprint uuid, accepted_at timestamptz, decided_at timestamptz, hold text,
    due_at timestamptz, terms bigint, tax_amount bigint, delivery jsonb
);

CREATE TYPE decided_item AS (
    order_id uuid, line smallint, allocation smallint, product_id uuid, variant_id uuid, warehouse_id uuid, quantity integer,
    stock_version bigint, unit_amount bigint, name text, sku text, bundle_id uuid, sold integer, ahead bigint, expected_on date
);

CREATE TYPE decided_stock AS (variant_id uuid, warehouse_id uuid, on_hand bigint, reserved bigint, version bigint);
