//! Every problem that the api can answer with (RFC 9457). The `type` of a problem is `/problems/` and its name here; it is
//! stable, and served by the api itself.

/// A kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) status: u16,
    pub(crate) title: &'static str,
    /// What the caller can do.
    pub(crate) advice: &'static str,
}

macro_rules! kinds {
    ($($constant:ident = $name:literal, $status:literal, $title:literal, $advice:literal;)*) => {
        $(pub(crate) const $constant: Kind = Kind { name: $name, status: $status, title: $title, advice: $advice };)*
        /// All of them, for people.
        pub(crate) const ALL: &[&Kind] = &[$(&$constant),*];
    };
}

kinds! {
    MALFORMED = "malformed-body", 400, "The body is not the JSON that is expected",
        "Mend what `detail` and `errors` name.";
    INVALID = "invalid-request", 400, "A value is out of its bounds",
        "Mend each field that `errors` names.";
    UNAUTHENTICATED = "unauthenticated", 401, "No valid key",
        "Send `Authorization: Bearer KEY` with a key in force.";
    FORBIDDEN = "forbidden", 403, "This key's role may not do that",
        "Use an operator's key.";
    NOT_FOUND = "not-found", 404, "There is no such thing",
        "Check the address. What belongs to another account is not found either.";
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "The address does not take this method",
        "See the `Allow` header.";
    INSUFFICIENT_STOCK = "insufficient-stock", 409, "Not enough stock",
        "`lines` says what was asked for and what was there when the order was decided. Order less, or later.";
    LIMIT_EXCEEDED = "limit-exceeded", 409, "More of a product than each customer may have",
        "`products` says the limit, what the customer has, and what was asked for. Order less, or once the window is over.";
    TOTAL_CHANGED = "total-changed", 409, "The order comes to another total than was expected",
        "A price, the tax or the delivery has changed. Show `total` to whoever pays, and order anew with it.";
    CART_EMPTY = "cart-empty", 409, "There is nothing in the cart",
        "Put something in before placing its order.";
    CART_ORDERING = "cart-ordering", 409, "The cart's order is being decided",
        "Wait for its outcome: `GET /carts/{customerId}` tells the order. Placing it again is the same order.";
    ADDRESS_MISSING = "address-missing", 409, "The cart has no address",
        "Say where it goes: `PUT /carts/{customerId}/address`.";
    SKU_TAKEN = "sku-taken", 409, "Another product has this SKU",
        "Choose another SKU. That of a product that is no longer sold stays taken.";
    NAME_TAKEN = "name-taken", 409, "Another category has this name",
        "Choose another name, or use that category.";
    CODE_TAKEN = "code-taken", 409, "Another warehouse has this code",
        "Choose another code.";
    PAYMENT_TIMEOUT = "payment-timeout", 409, "The time to pay or to confirm is over",
        "What was reserved is available to others again: order anew. A payment that was captured is recorded for an operator.";
    ORDER_CANCELLED = "order-cancelled", 409, "It was cancelled",
        "Order anew. A payment that was captured is recorded for an operator.";
    ALREADY_PAID = "already-paid", 409, "It was paid before",
        "A reservation that is confirmed is an order: cancel that. Another payment that was captured is recorded for an operator.";
    ENDPOINT_DISABLED = "endpoint-disabled", 409, "The webhook endpoint is disabled",
        "Enable it first: `disabledFor` says why it is not.";
    TOO_MANY_ENDPOINTS = "too-many-endpoints", 409, "The account has as many webhook endpoints as it may have",
        "Delete one that is not needed.";
    ALREADY_SHIPPED = "already-shipped", 409, "The order has left",
        "What has left can't be cancelled; it can come back.";
    BACKORDERED = "backordered", 409, "Some of the order is not there yet",
        "It can be shipped when stock has arrived for all of it: its items say what they wait for.";
    BELOW_PROMISED = "below-promised", 409, "More is promised than the cap would be",
        "`promised` says how much. To take no more backorders set the cap to null.";
    NOT_SHIPPED = "not-shipped", 409, "The order has not left yet",
        "What has not left can't come back. Cancel the order.";
    RETURN_TOO_LARGE = "return-too-large", 409, "More would come back than was bought",
        "The order's items say how many of each were bought, and how many have come back before.";
    ILLEGAL_TRANSITION = "illegal-transition", 409, "The order can't take that step from where it stands",
        "`orderStatus` says where it stands: pending, paid, processing, shipped, delivered, in this order; cancelled until it is shipped.";
    SHORT_STOCK = "short-stock", 409, "Less is available than would be taken",
        "`onHand` and `reserved` say what was there. What is reserved can't be taken.";
    BODY_TOO_LARGE = "body-too-large", 413, "The body is too large",
        "Send less at once.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415, "The body is not declared as JSON",
        "Send `Content-Type: application/json`.";
    UNKNOWN_PRODUCT = "unknown-product", 422, "A product is unknown",
        "Remove the lines of the products in `productIds`.";
    DELETED_PRODUCT = "deleted-product", 422, "A product is no longer sold",
        "Remove the lines of the products in `productIds`.";
    MIXED_CURRENCIES = "mixed-currencies", 422, "The lines are priced in different currencies",
        "Place one order per currency.";
    TOTAL_TOO_LARGE = "total-too-large", 422, "The total is more than an amount can hold",
        "Order less at once.";
    CUSTOMER_REQUIRED = "customer-required", 422, "A product is limited per customer, and no customer is named",
        "Name the customer in `customerId`.";
    NO_DELIVERY = "no-delivery", 422, "Nothing is delivered to this address",
        "Deliver to another address, or ask the operator for zones and rates: see `GET /terms`.";
    UNKNOWN_CATEGORY = "unknown-category", 422, "The category is unknown",
        "Name a category that exists, or none.";
    UNKNOWN_COMPONENT = "unknown-component", 422, "A component of the bundle is unknown",
        "Name variants that are sold, and are no bundles themselves.";
    IS_BUNDLE = "is-bundle", 422, "A bundle has no stock of its own",
        "Change the stock of its components.";
    OTHER_CURRENCY = "other-currency", 422, "The product is priced in another currency",
        "All variants of a product are priced in one currency, for ever: make another product.";
    UNKNOWN_WAREHOUSE = "unknown-warehouse", 422, "The warehouse is unknown",
        "Name a warehouse that exists, or none for the default one.";
    TOO_MUCH_STOCK = "too-much-stock", 422, "A stock row can't hold so much",
        "`onHand` says what was there; no row may hold more than 1,000,000,000,000,000.";
    KEY_REUSED = "idempotency-key-reused", 422, "The idempotency key was used for another request",
        "Use a new key for a new request; repeat a request with the very same body.";
    FAILED = "order-failed", 500, "The order or the change could not be decided",
        "Nothing has changed. An operator sees why; once it is mended it may be decided after all.";
    INTERNAL = "internal-error", 500, "Something is wrong on our side",
        "Try again later; tell the operator if it stays.";
    NOT_ACCEPTED = "not-accepted", 503, "The order could not be queued",
        "Try again after `Retry-After`. `accepted` is `no` where it certainly was not queued; where it is `unknown`, look \
         `id` up or repeat the request with an idempotency key.";
    UNAVAILABLE = "unavailable", 503, "A server that is needed does not answer, or too much is asked for at once",
        "Try again after `Retry-After`.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
