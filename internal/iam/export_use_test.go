package iam

// MaxUses bounds the memory of uses.
const MaxUses = maxUses

// Uses is how many uses are remembered, UnstoredUses how many of them wait.
func (s *Service) Uses() int {
	s.used.mu.RLock()
	defer s.used.mu.RUnlock()
	return len(s.used.seen)
}

// UnstoredUses is how many uses wait to be stored.
func (s *Service) UnstoredUses() int {
	s.used.mu.RLock()
	defer s.used.mu.RUnlock()
	return s.used.pending
}

// ForgetUses makes the service forget what it noted, as a restart does.
func (s *Service) ForgetUses() {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	s.used.seen, s.used.pending = nil, 0
}
