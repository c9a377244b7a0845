-- The last sequence of each line, after so many more.
INSERT INTO order_keys (subscription_id, order_key, sequence)
VALUES (?, ?, ?) /* rows */
ON CONFLICT (subscription_id, order_key) DO UPDATE SET sequence = order_keys.sequence + excluded.sequence
RETURNING subscription_id, order_key, sequence
