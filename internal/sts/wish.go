package sts

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"arca/internal/api/stsapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

const (
	usualRoleSession = time.Hour
	// mostChained is how long a session can be that temporary credentials opened, those of
	// GetSessionToken included.
	mostChained = time.Hour

	maxPolicyChars = 2048
	maxPolicyARNs  = 10
	maxTags        = 50
	// maxPackedBytes bounds policies and tags of a session together. They travel in a
	// header with every request, and proxies let pass 8 KiB of one as a rule.
	maxPackedBytes = 4096
)

// wish is the session of a role that a caller would like to have.
type wish struct {
	role           roleName
	session        string // its name
	lifetime       time.Duration
	policy         string
	policyARNs     []string
	tags           []iam.Tag
	transitive     []string // keys of tags, as the tags have them
	sourceIdentity string
	chained        bool
	federation     *iam.Federation
	// keys are condition keys of the request besides those that follow from the rest.
	keys []policy.ContextKey
}

// setPolicies reads session policies as far as no role is needed for it.
func (w *wish) setPolicies(text *string, arns []stsapi.PolicyDescriptorType) error {
	if text != nil {
		if n := utf8.RuneCountInString(*text); n > maxPolicyChars {
			return stsapi.ValidationError.Errorf(
				"1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to %d", maxPolicyChars)
		}
		if _, err := policy.ParseIdentityPolicy(*text); err != nil {
			syntax, ok := errors.AsType[*policy.SyntaxError](err)
			if !ok {
				return err
			}
			return stsapi.MalformedPolicyDocument.Errorf("%s", syntax.Text)
		}
		w.policy = *text
	}
	if len(arns) > maxPolicyARNs {
		return stsapi.ValidationError.Errorf(
			"1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", maxPolicyARNs)
	}
	for _, d := range arns {
		if d.Arn == nil {
			return stsapi.ValidationError.Errorf(
				"1 validation error detected: Value null at 'policyArns.member.arn' failed to satisfy constraint: Member must not be null")
		}
		a, err := arn.Parse(*d.Arn)
		if err != nil || a.Service != "iam" || !strings.HasPrefix(a.Resource, "policy/") {
			return stsapi.ValidationError.Errorf("%s is invalid", *d.Arn)
		}
		if slices.Contains(w.policyARNs, *d.Arn) {
			continue
		}
		w.policyARNs = append(w.policyARNs, *d.Arn)
	}
	return nil
}

// Texts of AWS.
const (
	textDuplicateTags = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
	textNoSuchTag     = "The specified transitive tag key must be included in the requested tags."
	textTagConflict   = "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."
)

// setTags takes the tags of the request.
func (w *wish) setTags(tags []iam.Tag, transitive []string) error {
	for _, t := range tags {
		if reserved(t.Key) {
			return stsapi.InvalidParameterValue.Errorf("Tag keys that begin with aws: are reserved for system use.")
		}
		if tagIndex(w.tags, t.Key) >= 0 {
			return stsapi.InvalidParameterValue.Errorf("%s", textDuplicateTags)
		}
		w.tags = append(w.tags, t)
	}
	for _, key := range transitive {
		i := tagIndex(w.tags, key)
		if i < 0 {
			return stsapi.InvalidParameterValue.Errorf("%s", textNoSuchTag)
		}
		if !slices.Contains(w.transitive, w.tags[i].Key) {
			w.transitive = append(w.transitive, w.tags[i].Key)
		}
	}
	return nil
}

// inherit takes what the caller's own session hands on: transitive tags, which cannot
// be set anew, and the source identity.
func (w *wish) inherit(session *call.Session) error {
	for _, key := range session.TransitiveTags {
		i := slices.IndexFunc(session.Tags, func(t call.Tag) bool { return strings.EqualFold(t.Key, key) })
		if i < 0 {
			continue
		}
		t := session.Tags[i]
		if tagIndex(w.tags, t.Key) >= 0 {
			return stsapi.InvalidParameterValue.Errorf("%s", textTagConflict)
		}
		w.tags = append(w.tags, iam.Tag{Key: t.Key, Value: t.Value})
		w.transitive = append(w.transitive, t.Key)
	}
	if len(w.tags) > maxTags {
		return stsapi.InvalidParameterValue.Errorf("The session would have %d tags together with those of the calling session, more than %d.", len(w.tags), maxTags)
	}
	if w.sourceIdentity == "" {
		w.sourceIdentity = session.SourceIdentity
	}
	return nil
}

// setSourceIdentity takes the source identity of the request.
func (w *wish) setSourceIdentity(id *string) error {
	if id == nil {
		return nil
	}
	if reserved(*id) {
		return stsapi.ValidationError.Errorf("A source identity must not begin with aws:.")
	}
	w.sourceIdentity = *id
	return nil
}

func reserved(s string) bool { return len(s) >= 4 && strings.EqualFold(s[:4], "aws:") }

// tagIndex is where the tag with a key, compared without case, stands; -1 without one.
func tagIndex(tags []iam.Tag, key string) int {
	return slices.IndexFunc(tags, func(t iam.Tag) bool { return strings.EqualFold(t.Key, key) })
}

// packed is how many percent of the room for policies and tags the session takes: nil
// when it has neither.
func (w *wish) packed() (*int32, error) {
	size := len(w.policy)
	for _, a := range w.policyARNs {
		size += len(a)
	}
	for _, t := range w.tags {
		size += len(t.Key) + len(t.Value)
	}
	for _, key := range w.transitive {
		size += len(key)
	}
	if size == 0 {
		return nil, nil
	}
	percent := int32((size*100 + maxPackedBytes - 1) / maxPackedBytes)
	if percent > 100 {
		return nil, stsapi.PackedPolicyTooLarge.Errorf("Packed policy consumes %d%% of allotted space, please use smaller policy.", percent)
	}
	return &percent, nil
}

// checks are the questions whether the caller may have the session, each about the
// role itself: it is the role's trust policy that decides. r is nil when there is no
// such role, which then trusts nobody.
func (w *wish) checks(v *store.Snap, r *iam.Role, action string) []*call.Check {
	keys := slices.Clone(w.keys)
	one := func(name, value string) {
		keys = append(keys, policy.ContextKey{Name: name, Values: []string{value}})
	}
	one("sts:RoleSessionName", w.session)
	if w.sourceIdentity != "" {
		one("sts:SourceIdentity", w.sourceIdentity)
	}
	if len(w.tags) > 0 {
		names := make([]string, len(w.tags))
		for i, t := range w.tags {
			names[i] = t.Key
			one("aws:RequestTag/"+t.Key, t.Value)
		}
		keys = append(keys, policy.ContextKey{Name: "aws:TagKeys", Values: names})
	}
	if len(w.transitive) > 0 {
		keys = append(keys, policy.ContextKey{Name: "sts:TransitiveTagKeys", Values: w.transitive})
	}
	trust := ""
	if r != nil {
		trust = r.Trust
		for _, t := range r.Tags {
			one("aws:ResourceTag/"+t.Key, t.Value)
			one("iam:ResourceTag/"+t.Key, t.Value)
		}
	}
	actions := []string{action}
	if len(w.tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if w.sourceIdentity != "" {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	all := make([]*call.Check, len(actions))
	for i, a := range actions {
		all[i] = &call.Check{
			Action: a, Resource: w.role.arn, Account: w.role.account,
			ResourcePolicy: trust, ResourceDecides: true, Keys: keys, Snap: v,
		}
	}
	return all
}

// fit checks what depends on the role, once its trust is certain.
func (s *Service) fit(v *store.Snap, w *wish, r *iam.Role) error {
	if w.lifetime > time.Duration(r.MaxSeconds)*time.Second {
		return stsapi.ValidationError.Errorf("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	for _, text := range w.policyARNs {
		a, err := arn.Parse(text)
		own := err == nil && (a.Account == r.Account || a.Account == "aws")
		if _, ok := s.iam.PolicyText(v, text); !ok || !own {
			return stsapi.InvalidParameterValue.Errorf("Policy %s was not found.", text)
		}
	}
	return nil
}

// roleType is CloudTrail's name for roles among the resources of a record.
const roleType = "AWS::IAM::Role"

// assume makes the session and notes the role, whose account it tells, in the record.
func (s *Service) assume(c *call.Call, w *wish, r *iam.Role) (*stsapi.Credentials, *stsapi.AssumedRoleUser, error) {
	session := &iam.Session{
		Account: r.Account, Issuer: r.UID, Name: w.session, PolicyARNs: w.policyARNs,
		Tags: w.tags, Transitive: w.transitive, SourceIdentity: w.sourceIdentity,
		Federation: w.federation, Chained: w.chained,
	}
	if w.policy != "" {
		session.Policies = []string{w.policy}
	}
	credentials, err := s.issue(session, w.lifetime)
	if err != nil {
		return nil, nil, err
	}
	c.NoteResource(r.Account, roleType, r.ARN())
	return credentials, &stsapi.AssumedRoleUser{AssumedRoleId: r.UID + ":" + w.session, Arn: r.SessionARN(w.session)}, nil
}

// sourceIdentityForm is the form of one that comes in a token and not in a parameter,
// whose form wire has checked.
var sourceIdentityForm = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// tagText reports whether s is least to most of the characters that tags may have. A
// regular expression with these classes of Unicode is costly to compile at every start.
func tagText(s string, least, most int) bool {
	n := 0
	for _, r := range s {
		if !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", r) {
			return false
		}
		n++
	}
	return n >= least && n <= most
}
