package secrets

// RankAround makes all rankings of a scope anew, with something happening after each was
// begun, and again after it was sorted.
func (s *Service) RankAround(scope string, fn func()) {
	s.catalog.mu.RLock()
	sh := s.catalog.shelves[scope]
	s.catalog.mu.RUnlock()
	if sh == nil {
		return
	}
	for k := range ranks {
		coming := s.catalog.beginRank(sh, k)
		fn()
		all := s.catalog.sortedBy(sh, k)
		fn()
		s.catalog.endRank(sh, k, coming, all)
	}
}
