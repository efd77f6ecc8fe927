package iam

import (
	"arca/internal/policy"
	"arca/internal/store"
)

// StoredPolicy is the form in which the policy of a resource is kept: principals by
// unique id, so that one who is made later under an old name is not let in, and all else
// letter for letter. It is false when a principal does not exist.
func (s *Service) StoredPolicy(v *store.Snap, text string) (stored string, ok bool, err error) {
	ok = true
	stored, err = policy.Rewrite(text, func(p policy.Principal) (string, bool) {
		form, known := s.ResolvePrincipal(v, p)
		ok = ok && known
		return form, known && form != p.Value
	})
	return stored, ok, err
}

// ShownPolicy is the other way: principals by ARN, those that are gone by the unique id
// they had. A text that cannot be read is shown as it is; it lets nobody in.
func (s *Service) ShownPolicy(v *store.Snap, stored string) string {
	text, err := policy.Rewrite(stored, func(p policy.Principal) (string, bool) {
		shown, ok := s.ShowPrincipal(v, p)
		return shown, ok && shown != p.Value
	})
	if err != nil {
		return stored
	}
	return text
}
