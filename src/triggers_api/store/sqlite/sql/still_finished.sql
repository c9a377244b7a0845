-- Which of these are what they were a moment ago: one may have been opened again, and be dead by now.
SELECT id FROM deliveries WHERE id IN carray(?1) AND status IN (5, 6, 7, 8) AND (status = 6) = ?3 AND status_at < ?2
