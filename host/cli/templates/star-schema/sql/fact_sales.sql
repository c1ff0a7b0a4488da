SELECT
    df.order_id,
    df.sold_on,
    coalesce(customers.customer_sk, 'unknown') AS customer_sk,
    coalesce(products.product_sk, 'unknown') AS product_sk,
    df.quantity,
    df.quantity * products.price AS amount
FROM df
LEFT JOIN customers ON df.customer_id = customers.customer_id
LEFT JOIN products ON df.product_id = products.product_id
