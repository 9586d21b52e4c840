package redisqueue

// SetBound changes Options.MaxBytes.
func (s *Store) SetBound(n int64) { s.room.bound.Store(n) }
