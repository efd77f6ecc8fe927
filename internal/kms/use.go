package kms

import (
	"context"
	"maps"
	"slices"
	"strings"

	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// question is one that the authorizer is asked about a key: the check itself, and the
// condition keys that are worked out when a policy asks for them.
// https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
type question struct {
	call.Check
	s      *Service
	c      *call.Call
	key    *Key
	via    string // the service that asks for the caller, such as "secretsmanager"; "" for himself
	alias  string // the name by which the caller asked for the key
	encCtx map[string]string
	// crypto says that the operation encrypts or decrypts.
	crypto bool
	// proposed is the grant that is to be made.
	proposed *Grant
}

// Use decides whether the caller of c may do action ("kms:Decrypt") with a key, as KMS
// does when the service via ("secretsmanager") asks on behalf of its caller, and then
// whether the key is in a state to be used. The error is an *api.Error: AccessDenied of
// the operation that c runs, or DisabledException or KMSInvalidStateException of package
// kmsapi. The caller must have passed the decision of his own service before.
func (s *Service) Use(ctx context.Context, c *call.Call, v *store.Snap, key *Key, action, via string, encCtx map[string]string) error {
	return s.UseNamed(ctx, c, v, key, key.ARN(), action, via, encCtx)
}

// UseNamed is Use for who has the key's ARN at hand already.
func (s *Service) UseNamed(ctx context.Context, c *call.Call, v *store.Snap, key *Key, arn, action, via string, encCtx map[string]string) error {
	q := question{Check: call.Check{Action: action, Resource: arn}, c: c, key: key, via: via, encCtx: encCtx, crypto: true}
	if err := s.ask(ctx, v, &q); err != nil {
		return err
	}
	return key.usable()
}

// ask puts a question about a key that exists to the authorizer.
func (s *Service) ask(ctx context.Context, v *store.Snap, q *question) error {
	s.complete(v, q)
	return q.c.Authorize(ctx, &q.Check)
}

// complete fills in the check of a question about a key.
func (s *Service) complete(v *store.Snap, q *question) {
	q.s = s
	if q.Resource == "" {
		q.Resource = q.key.ARN()
	}
	q.Account, q.Snap = q.key.Account, v
	q.ResourcePolicy, q.ResourceDecides = s.policyOf(q.key), true
	q.Grant = s.grantFor(v, q)
	q.Context = q
}

const (
	encryptionContextKey = "kms:encryptioncontext:"
	resourceTagKey       = "aws:resourcetag/"
	symmetricDefault     = "SYMMETRIC_DEFAULT"
	encryptDecrypt       = "ENCRYPT_DECRYPT"
	originKMS            = "AWS_KMS"
)

// Lookup implements policy.Context.
func (q *question) Lookup(dst []string, key string) ([]string, bool) {
	if !strings.HasPrefix(key, "kms:") {
		return q.lookupGlobal(dst, key)
	}
	switch key {
	case "kms:calleraccount":
		return append(dst, q.c.Caller.Account), q.c.Caller.Account != ""
	case "kms:viaservice":
		if q.via == "" {
			return dst, false
		}
		return append(dst, viaService(q.via, q.c.Region)), true
	case "kms:encryptioncontextkeys":
		return slices.AppendSeq(dst, maps.Keys(q.encCtx)), len(q.encCtx) > 0
	case "kms:encryptionalgorithm":
		return append(dst, symmetricDefault), q.crypto
	case "kms:requestalias":
		return append(dst, q.alias), q.alias != ""
	case "kms:resourcealiases":
		before := len(dst)
		q.s.aliasesOf(q.Snap, q.key, func(a *Alias) bool { dst = append(dst, a.Name); return true })
		return dst, len(dst) > before
	case "kms:keyspec":
		return append(dst, symmetricDefault), true
	case "kms:keyusage":
		return append(dst, encryptDecrypt), true
	case "kms:keyorigin":
		return append(dst, originKMS), true
	case "kms:multiregion":
		return append(dst, "false"), true
	}
	if name, ok := strings.CutPrefix(key, encryptionContextKey); ok {
		// Condition keys have no case. Two keys of a context that differ in nothing else are
		// two values.
		before := len(dst)
		for k, value := range q.encCtx {
			if strings.EqualFold(k, name) {
				dst = append(dst, value)
			}
		}
		return dst, len(dst) > before
	}
	return dst, false
}

// lookupGlobal gives the keys of all services that only KMS knows the values of.
func (q *question) lookupGlobal(dst []string, key string) ([]string, bool) {
	if name, ok := strings.CutPrefix(key, resourceTagKey); ok {
		for i := range q.key.Tags {
			if t := &q.key.Tags[i]; strings.EqualFold(t.Key, name) {
				return append(dst, t.Value), true
			}
		}
		return dst, false
	}
	if q.via == "" {
		return dst, false
	}
	switch key {
	case "aws:viaawsservice":
		return append(dst, "true"), true
	case "aws:calledvia", "aws:calledviafirst", "aws:calledvialast":
		return append(dst, q.via+".amazonaws.com"), true
	}
	return dst, false
}

// viaService is the value of kms:ViaService for a service that asks in a region.
func viaService(service, region string) string { return service + "." + region + ".amazonaws.com" }

var _ policy.Context = (*question)(nil)
