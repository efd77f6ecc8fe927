// Package cloudtrail serves LookupEvents of CloudTrail over the audit log.
//
// Callers see what their own account did, or had done to what it owns, in the region they
// ask in, and of the last ninety days, as with AWS. They see the records as CloudTrail has
// them: what Arca adds for those who run it, package audit's member "arca", is left out.
//
// It trusts package trail to find events, and the log to be whole; call for identities and
// decisions. A page costs a bounded amount of reading, an account gets two a second in each
// region, and few are read at a time: lookups of many accounts and regions together take
// no more of the machine than these.
package cloudtrail

import (
	"arca/internal/api/cloudtrailapi"
	"arca/internal/call"
	"arca/internal/store"
	"arca/internal/trail"
)

// Config is what a Service needs.
type Config struct {
	// Store seals the tokens of pages.
	Store *store.Store
	Trail *trail.Trail
	// RequestsPerSecond is how many lookups an account gets in a region. 0 is AWS's two, a
	// negative number no limit.
	RequestsPerSecond float64
}

// Service looks events up. It is safe for concurrent use.
type Service struct {
	store *store.Store
	trail *trail.Trail
	limit limiter
	// slots has room for the searches that run at a time; others wait for them.
	slots chan struct{}
}

// searchesAtOnce is how many searches run at a time.
const searchesAtOnce = 4

// New builds a Service.
func New(cfg Config) *Service {
	return &Service{
		store: cfg.Store, trail: cfg.Trail, limit: newLimiter(cfg.RequestsPerSecond),
		slots: make(chan struct{}, searchesAtOnce),
	}
}

// Register makes the dispatcher serve the operations of the service.
func (s *Service) Register(d *call.Dispatcher) {
	call.Register(d, cloudtrailapi.OpLookupEvents, s.LookupEvents)
}
