package access

import (
	"iter"
	"sync"

	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// bundle is what all requests of one user, role or root have in common: the policies
// that apply to it and its tags. It is not changed once it is made, but for what its index
// remembers of it.
type bundle struct {
	revision    iam.Revision
	guardrails  []policy.Source
	hasBoundary bool
	boundary    policy.Source
	identity    []policy.Source
	index       *policy.Index // of identity
	tags        []iam.Tag
	// gone says what is missing of a caller whose record there is no more; "" otherwise.
	gone string
}

// maxBundles bounds how many callers are kept in memory, maxBundleBytes what their
// policies take together. Callers mostly share policies, and a bundle then takes about
// two kilobytes, its index included, which is bounded by itself; but each may have policies
// of its own.
const (
	maxBundles     = 8192
	maxBundleBytes = 128 << 20
)

// bundles keeps bundles by the unique id of their caller.
type bundles struct {
	mu sync.RWMutex
	of map[string]*bundle // guarded by mu
	// held counts in how many bundles a policy is, bytes what these policies take (guarded
	// by mu).
	held  map[*policy.Compiled]int
	bytes int
}

func (bs *bundles) get(id string, rev iam.Revision) *bundle {
	bs.mu.RLock()
	b := bs.of[id]
	bs.mu.RUnlock()
	if b == nil || b.revision != rev {
		return nil
	}
	return b
}

func (bs *bundles) put(id string, b *bundle) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if old := bs.of[id]; old != nil {
		delete(bs.of, id)
		bs.releaseLocked(old)
	}
	bs.holdLocked(b)
	if bs.of == nil || len(bs.of) >= maxBundles || bs.bytes > maxBundleBytes {
		// Whoever still calls is gathered again: that is cheaper than keeping order among
		// so many.
		bs.of, bs.held, bs.bytes = make(map[string]*bundle), nil, 0
		bs.holdLocked(b)
	}
	bs.of[id] = b
}

func (bs *bundles) holdLocked(b *bundle) {
	if bs.held == nil {
		bs.held = make(map[*policy.Compiled]int)
	}
	for p := range b.compiled() {
		if bs.held[p]++; bs.held[p] == 1 {
			bs.bytes += p.Weight()
		}
	}
}

func (bs *bundles) releaseLocked(b *bundle) {
	for p := range b.compiled() {
		if bs.held[p]--; bs.held[p] == 0 {
			delete(bs.held, p)
			bs.bytes -= p.Weight()
		}
	}
}

// compiled yields its policies, one that is in several places several times.
func (b *bundle) compiled() iter.Seq[*policy.Compiled] {
	return func(yield func(*policy.Compiled) bool) {
		if b.boundary.Policy != nil && !yield(b.boundary.Policy) {
			return
		}
		for _, list := range [...][]policy.Source{b.guardrails, b.identity} {
			for _, src := range list {
				if src.Policy != nil && !yield(src.Policy) {
					return
				}
			}
		}
	}
}

// bundleOf returns what applies to a caller as of a snapshot.
func (s *Service) bundleOf(v *store.Snap, p *call.Principal) *bundle {
	id := p.UniqueID
	switch p.Type {
	case call.Root:
		id = p.Account
	case call.IAMUser:
	case call.AssumedRole:
		if p.Session == nil {
			return &bundle{gone: "a role without a session"}
		}
	case call.WebIdentityUser, call.AWSService, call.Anonymous:
		return &bundle{} // nothing speaks for them but the policy of the resource
	default:
		return &bundle{gone: "a principal of an unknown kind"}
	}
	rev := s.cfg.IAM.Revision(v)
	if b := s.bundles.get(id, rev); b != nil {
		return b
	}
	b := s.gather(v, p)
	b.revision, b.index = rev, policy.NewIndex(b.identity)
	s.bundles.put(id, b)
	return b
}

func (s *Service) gather(v *store.Snap, p *call.Principal) *bundle {
	b := &bundle{}
	account := s.cfg.IAM.Account(v, p.Account)
	if account == nil {
		b.gone = "account " + p.Account + ", which does not exist"
		return b
	}
	if account.Guardrail != "" {
		b.guardrails = []policy.Source{s.identitySource(account.Guardrail, "guardrail of account "+account.ID)}
	}
	switch p.Type {
	case call.IAMUser:
		s.gatherUser(b, v, p)
	case call.AssumedRole:
		s.gatherRole(b, v, p)
	}
	return b
}

func (s *Service) gatherUser(b *bundle, v *store.Snap, p *call.Principal) {
	u := s.cfg.IAM.UserByID(v, p.UniqueID)
	if u == nil || u.Account != p.Account {
		b.gone = "user " + p.UniqueID + ", who does not exist"
		return
	}
	b.tags = u.Tags
	s.addPolicies(b, v, &u.Policies, "user "+u.Name)
	for _, uid := range u.Groups {
		g := s.cfg.IAM.GroupByID(v, uid)
		if g == nil || g.Account != u.Account {
			b.identity = append(b.identity, policy.Source{Name: "group " + uid + ", which does not exist"})
			continue
		}
		s.addPolicies(b, v, &g.Policies, "group "+g.Name)
	}
	s.addBoundary(b, v, u.Boundary)
}

func (s *Service) gatherRole(b *bundle, v *store.Snap, p *call.Principal) {
	r := s.cfg.IAM.RoleByID(v, p.UniqueID)
	if r == nil || r.Account != p.Account {
		b.gone = "role " + p.UniqueID + ", which does not exist"
		return
	}
	b.tags = r.Tags
	s.addPolicies(b, v, &r.Policies, "role "+r.Name)
	s.addBoundary(b, v, r.Boundary)
}

func (s *Service) addPolicies(b *bundle, v *store.Snap, ps *iam.Policies, owner string) {
	for _, in := range ps.Inline {
		b.identity = append(b.identity, s.identitySource(in.Text, inlineName(in.Name, owner)))
	}
	for _, arn := range ps.Attached {
		b.identity = append(b.identity, s.managedSource(v, arn))
	}
}

func inlineName(name, owner string) string { return "inline policy " + name + " of " + owner }

func (s *Service) addBoundary(b *bundle, v *store.Snap, arn string) {
	if arn != "" {
		b.hasBoundary, b.boundary = true, s.managedSource(v, arn)
	}
}
