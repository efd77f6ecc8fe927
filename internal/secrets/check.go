package secrets

import (
	"context"
	"fmt"
	"slices"

	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/kms"
	"arca/internal/policy"
	"arca/internal/store"
)

// Check reports whatever breaks the promises of this package: names that lead
// elsewhere, labels held twice, values that do not open, records without a secret.
// It reads every value, so it takes its time on a large store.
func (s *Service) Check(ctx context.Context, v *store.Snap, report func(problem string)) {
	known := make(map[UID]bool)
	reserved, values := 0, 0
	s.secrets.Ascend(v, indexName, "", func(_ string, sec *Secret) bool {
		known[sec.UID] = true
		for _, problem := range checkSecret(sec) {
			report(fmt.Sprintf("secret %s: %s", sec.UID, problem))
		}
		if !s.nameLeadsTo(v, sec) {
			report(fmt.Sprintf("secret %s: its name does not lead to it", sec.UID))
		}
		if !sec.NameKeyed {
			reserved++
		}
		values += s.checkValues(ctx, v, sec, report)
		return ctx.Err() == nil
	})
	err := s.access.Walk(ctx, v, func(p *AccessPage) error {
		for _, problem := range checkPage(p, known) {
			report(problem)
		}
		return ctx.Err()
	})
	if err == nil {
		err = s.formerAccess.Walk(ctx, v, func(a *LastAccess) error {
			if !known[a.UID] {
				report(errDaysOfNobody(a.UID))
			}
			return ctx.Err()
		})
	}
	if err != nil {
		report("check of days of access was interrupted: " + err.Error())
		return
	}
	names := 0
	err = s.names.Walk(ctx, v, func(n *SecretName) error {
		names++
		if !known[n.UID] {
			report(fmt.Sprintf("name of secret %s, which does not exist", n.UID))
		}
		return ctx.Err()
	})
	if err != nil {
		report("check of secret names was interrupted: " + err.Error())
		return
	}
	// A secret found by its name has that name for itself, so further names show in
	// the number; and values do not say whose they are, so they are only counted.
	if names != reserved {
		report(fmt.Sprintf("%d names for %d secrets", names, reserved))
	}
	err = s.payloads.Walk(ctx, v, func(*Payload) error { values--; return ctx.Err() })
	switch {
	case err != nil:
		report("check of secret values was interrupted: " + err.Error())
	case values != 0:
		report(fmt.Sprintf("%+d values compared with what versions have", -values))
	}
	s.checkRotations(ctx, v, report)
}

// checkPage looks at the days of some secrets.
func checkPage(p *AccessPage, known map[UID]bool) (problems []string) {
	if !p.Days.valid() {
		return []string{fmt.Sprintf("days of access of page %04x are not in order", p.Page)}
	}
	for uid := range p.Days.secrets() {
		if !known[uid] {
			problems = append(problems, errDaysOfNobody(uid))
		}
		if pageOf(uid) != p.Page {
			problems = append(problems, fmt.Sprintf("days of access of secret %s are in page %04x, where nobody looks for them", uid, p.Page))
		}
	}
	return problems
}

func errDaysOfNobody(uid UID) string {
	return fmt.Sprintf("days of access of secret %s, which does not exist", uid)
}

// nameLeadsTo says whether nobody else can create a secret of this one's name.
func (s *Service) nameLeadsTo(v *store.Snap, sec *Secret) bool {
	if sec.NameKeyed {
		at := parentOf(nameHash(s.store, nameKey(sec.scope(), sec.Name)))
		held, ok := s.secrets.Get(v, store.Key{Scope: sec.scope(), Parent: at})
		return ok && held.UID == sec.UID
	}
	name, ok := s.names.Get(v, nameRecordKey(sec.scope(), sec.Name))
	return ok && name.UID == sec.UID
}

// checkRotations looks at jobs and histories, which hang under secrets that rotate.
func (s *Service) checkRotations(ctx context.Context, v *store.Snap, report func(problem string)) {
	err := s.jobs.Walk(ctx, v, func(j *RotationJob) error {
		sec := s.byUID(v, scopeOf(j.Account, j.Region), j.UID)
		switch {
		case sec == nil:
			report(fmt.Sprintf("rotation of secret %s, which does not exist", j.UID))
		case sec.Rotation == nil:
			report(fmt.Sprintf("secret %s: it rotates, and rotation was never set up", j.UID))
		case !slices.Contains(j.Kind.steps(), j.Step) && j.Kind != Rehearsal:
			report(fmt.Sprintf("secret %s: its rotation is at the step %q", j.UID, j.Step))
		case len(j.Runs) > maxRotationRuns:
			report(fmt.Sprintf("secret %s: its rotation remembers %d runs", j.UID, len(j.Runs)))
		}
		return ctx.Err()
	})
	if err != nil {
		report("check of rotations was interrupted: " + err.Error())
		return
	}
	histories := 0
	err = s.histories.Walk(ctx, v, func(h *RotationHistory) error {
		histories++
		if len(h.Rotations) > maxPastRotations {
			report(fmt.Sprintf("a history of %d rotations", len(h.Rotations)))
		}
		return ctx.Err()
	})
	if err != nil {
		report("check of rotation histories was interrupted: " + err.Error())
		return
	}
	rotated := 0
	s.secrets.Ascend(v, indexRotated, "", func(string, *Secret) bool { rotated++; return true })
	if histories > rotated {
		report(fmt.Sprintf("%d histories of rotations for %d secrets that rotate", histories, rotated))
	}
}

// checkSecret looks at one record by itself.
func checkSecret(sec *Secret) (problems []string) {
	held := make(map[string]bool)
	ids := make(map[string]bool)
	valued := false
	for i := range sec.Versions {
		ver := &sec.Versions[i]
		if ids[ver.ID] {
			problems = append(problems, "version "+ver.ID+" is there twice")
		}
		ids[ver.ID] = true
		valued = valued || ver.Kind != NoValue
		for _, stage := range ver.Stages {
			if held[stage] {
				problems = append(problems, "label "+stage+" is held twice")
			}
			held[stage] = true
		}
	}
	if valued && !held[stageCurrent] {
		problems = append(problems, "it has values, but none is "+stageCurrent)
	}
	if sec.ResourcePolicy != "" {
		if _, err := policy.ParseResourcePolicy(sec.ResourcePolicy); err != nil {
			problems = append(problems, "its policy cannot be read, and so denies everything: "+err.Error())
		}
	}
	if sec.Deleted.IsZero() != sec.DeleteAfter.IsZero() {
		problems = append(problems, "its deletion is half scheduled")
	}
	return problems
}

// checkValues opens every value of a secret and returns how many should have a record of
// their own.
func (s *Service) checkValues(ctx context.Context, v *store.Snap, sec *Secret, report func(string)) (values int) {
	// Nobody calls: the values are opened as their own account would open them.
	owner := &call.Call{Caller: call.Principal{Type: call.AWSService, Account: sec.Account}, Partition: sec.Partition, Region: sec.Region}
	for i := range sec.Versions {
		ver := &sec.Versions[i]
		if ver.Kind == NoValue {
			continue
		}
		if ver.Payload.Value == nil {
			values++
		}
		if err := s.checkValue(ctx, v, owner, sec, ver); err != nil {
			report(fmt.Sprintf("secret %s: value of version %s: %v", sec.UID, ver.ID, err))
		}
	}
	return values
}

// checkValue opens a value with each of its keys. A customer's key that is gone or not
// enabled is its owner's will: what only such keys open is taken on trust.
func (s *Service) checkValue(ctx context.Context, v *store.Snap, owner *call.Call, sec *Secret, ver *Version) error {
	p, err := s.payload(ctx, v, sec, ver)
	if err != nil {
		return err
	}
	if keys, former := len(p.FormerDataKeys), len(ver.FormerKMSKeyIDs); keys != former {
		return fmt.Errorf("%d former keys wrap its data key, and it names %d", keys, former)
	}
	encCtx := encryptionContext(sec.ARN(), ver.ID)
	for name, wrapped := range wrappings(ver, p) {
		if _, err := s.kms.KeyOf(v, wrapped); err != nil && name != "" {
			continue
		}
		key, err := s.wrapper(v, sec, name, wrapped)
		if err != nil {
			return err
		}
		if key.State != kms.Enabled {
			continue
		}
		plain, err := s.openWith(owner, key, p, wrapped, encCtx)
		if err != nil {
			return err
		}
		if plain.Len() != ver.Size {
			err = fmt.Errorf("it has %d bytes, not %d", plain.Len(), ver.Size)
		}
		plain.Wipe()
		if err != nil {
			return err
		}
	}
	return nil
}

// openOwn opens a value as its own account would, with whichever of its keys can be used,
// and asks nobody. What it returns must not leave the process.
func (s *Service) openOwn(ctx context.Context, v *store.Snap, owner *call.Call, sec *Secret, ver *Version) (envelope.Plaintext, error) {
	p, err := s.payload(ctx, v, sec, ver)
	if err != nil {
		return envelope.Plaintext{}, err
	}
	encCtx := encryptionContext(sec.ARN(), ver.ID)
	err = fmt.Errorf("no key of version %s can be used", ver.ID)
	for name, wrapped := range wrappings(ver, p) {
		key, kerr := s.wrapper(v, sec, name, wrapped)
		if kerr != nil || key.State != kms.Enabled {
			continue
		}
		var plain envelope.Plaintext
		if plain, err = s.openWith(owner, key, p, wrapped, encCtx); err == nil {
			return plain, nil
		}
	}
	return envelope.Plaintext{}, err
}

func (s *Service) openWith(owner *call.Call, key *kms.Key, p *Payload, wrapped []byte, encCtx map[string]string) (envelope.Plaintext, error) {
	bound := envelope.BindContext(encCtx)
	plain, err := s.kms.Unwrap(owner, key, wrapped, bound)
	if err != nil {
		return envelope.Plaintext{}, err
	}
	defer plain.Wipe()
	return openValue(plain, p.Value, bound)
}
