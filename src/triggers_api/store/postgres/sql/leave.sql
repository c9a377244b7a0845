DELETE FROM workers WHERE number = $1
