SELECT body FROM organizations WHERE id = ?1
