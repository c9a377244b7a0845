DELETE FROM jobs WHERE id IN carray(?1) AND status <> 0
