// Package secrets keeps secrets: their versions, staging labels, tags, resource
// policies and deletion, as AWS Secrets Manager does.
//
// It promises that a label sits on at most one version, that AWSCURRENT once given
// never vanishes, that a value is sealed under a data key of its own before it
// reaches the store, that nobody gets it who may not use a KMS key that wraps that data
// key, and that no fact about a secret shows in an answer or an error before the
// authorizer allowed the caller to learn it.
//
// It trusts the store for atomic commits, kms for data keys and for the questions about
// their use, iam for who the principals of a policy are, call for the identity of the
// caller, for decisions and for the audit record, and its caller for having checked the
// published constraints of the input. It does not know HTTP or JSON, starts no goroutine
// and reads no clock.
package secrets

import (
	"context"
	"log/slog"
	"time"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/store"
)

// Quotas limit what one account may keep. A zero field means AWS's published quota.
type Quotas struct {
	// Secrets per account and region. It is compared with the mirror's count and may
	// be exceeded a little by calls at the same time. 0 means 500,000.
	Secrets int
	// Versions per secret. 0 means 100.
	Versions int
	// Labels over all versions of one secret. 0 means 20.
	Labels int
	// Tags per secret. 0 means 50.
	Tags int
	// ValueBytes is the length of a secret value. 0 means 65,536.
	ValueBytes int
	// PolicyBytes is the length of a resource policy. 0 means 20,480.
	PolicyBytes int
}

// withDefaults fills in AWS's quotas (Secrets Manager user guide, "Quotas").
func (q Quotas) withDefaults() Quotas {
	for _, f := range []struct {
		field   *int
		initial int
	}{
		{&q.Secrets, 500_000}, {&q.Versions, 100}, {&q.Labels, 20},
		{&q.Tags, 50}, {&q.ValueBytes, 65_536}, {&q.PolicyBytes, 20_480},
	} {
		if *f.field == 0 {
			*f.field = f.initial
		}
	}
	return q
}

// Config is what a Service needs.
type Config struct {
	Store *store.Store
	KMS   *kms.Service
	// IAM knows the principals that resource policies name.
	IAM    *iam.Service
	Quotas Quotas
	Logger *slog.Logger
	// ListOnlyDescribable leaves secrets that the caller may not describe out of lists.
	// AWS shows whoever may list secrets all of them.
	ListOnlyDescribable bool
	// OmitKeyEvents leaves out the audit records of KMS that uses of customers' keys get,
	// as on AWS, beside those of the operations themselves.
	OmitKeyEvents bool
	// Function answers about rotation functions. nil: there are none.
	Function FunctionCheck
}

// Service serves the operations of Secrets Manager.
type Service struct {
	store  *store.Store
	kms    *kms.Service
	iam    *iam.Service
	quotas Quotas
	log    *slog.Logger

	listOnlyDescribable bool
	omitKeyEvents       bool
	// actions are those that a resource policy can allow: all about a secret that exists.
	actions []string

	secrets  *store.Table[Secret]
	names    *store.Table[SecretName]
	payloads *store.Table[Payload]
	access   *store.Table[AccessPage]

	function  FunctionCheck
	jobs      *store.Table[RotationJob]
	histories *store.Table[RotationHistory]

	formerAccess *store.Table[LastAccess]

	// seen holds the reads that are not in the access table yet.
	seen *accessLog
	// reads tells the survey what was read.
	reads readFeed
	// catalog tells lists what filters may find.
	catalog catalog
}

const (
	secretFormat = 5 // 1 knew no former keys of a version, 2 no rotation, 3 no missed one, 4 no values
	nameFormat   = 1
	valueFormat  = 2 // 1 knew no former keys
	pageFormat   = 1

	formerAccessFormat = 1

	// inlineValueBytes is the size up to which sealed values live in the mirror, so that
	// reading an ordinary secret, of up to 1 KiB, touches memory only, and up to which they
	// are part of the secret's record. The seals, the wrapped data key and the record around
	// them take some 200 bytes.
	inlineValueBytes = 1280
)

// Indexes of the secret table. Keys of all but the due ones begin with the scope.
const (
	indexName    = "name"
	indexCreated = "created"
	indexChanged = "changed"
	// indexDeletion lists what is scheduled for deletion by the end of its window,
	// over all scopes; indexPrune what has too many versions by the time at which the
	// next of them may go.
	indexDeletion = "deletion"
	indexPrune    = "prune"
)

// indexAccessed lists the secrets of a scope that were read, by day.
const indexAccessed = "accessed"

// pruneAgeHours is the age below which an unlabelled version is never pruned.
const pruneAgeHours = 24

// New attaches the tables of package secrets to a store that is not open yet.
func New(cfg Config) *Service {
	s := &Service{
		store: cfg.Store, kms: cfg.KMS, iam: cfg.IAM, quotas: cfg.Quotas.withDefaults(), log: cfg.Logger,
		listOnlyDescribable: cfg.ListOnlyDescribable, omitKeyEvents: cfg.OmitKeyEvents, actions: secretActions(),
		function: cfg.Function, seen: newAccessLog(),
	}
	if s.function == nil {
		s.function = func(context.Context, *call.Call, *store.Snap, string, string) error { return ErrFunction }
	}
	s.secrets = store.NewTable(cfg.Store, store.TableSpec[Secret]{
		Name: "secret", Format: secretFormat, Packed: true,
		Changed: s.catalog.secretChanged, Reloaded: s.catalog.reloaded,
		// That a window of a schedule has come and gone is no event.
		Quiet: func(r *Secret) bool { return r.Rotation != nil },
		Indexes: []store.Index[Secret]{
			{Name: indexName, Keys: func(r *Secret, emit func(string)) { emit(nameKey(r.scope(), r.Name)) }},
			{Name: indexCreated, Keys: func(r *Secret, emit func(string)) { emit(timeKey(r.scope(), r.Created, r.UID)) }},
			{Name: indexChanged, Keys: func(r *Secret, emit func(string)) { emit(timeKey(r.scope(), r.Changed, r.UID)) }},
			{Name: indexDeletion, Keys: func(r *Secret, emit func(string)) {
				if r.scheduled() {
					emit(r.DeleteAfter.orderKey())
				}
			}},
			{Name: indexPrune, Keys: func(r *Secret, emit func(string)) {
				if due, ok := s.pruneDue(r); ok {
					emit(due.orderKey())
				}
			}},
			{Name: indexRotation, Keys: func(r *Secret, emit func(string)) {
				if at, ok := r.rotationDue(); ok {
					emit(at.orderKey())
				}
			}},
			{Name: indexRotated, Keys: func(r *Secret, emit func(string)) {
				if r.Rotation != nil {
					emit(nameKey(r.scope(), r.Name))
				}
			}},
		},
	})
	s.attachRotation(cfg.Store)
	s.names = store.NewTable(cfg.Store, store.TableSpec[SecretName]{Name: "secret-name", Format: nameFormat, Packed: true})
	s.payloads = store.NewTable(cfg.Store, store.TableSpec[Payload]{
		Name: "secret-value", Format: valueFormat, Child: true, InlineLimit: inlineValueBytes, Packed: true,
	})
	s.access = store.NewTable(cfg.Store, store.TableSpec[AccessPage]{
		Name: "secret-days", Format: pageFormat, Packed: true,
		Quiet:    func(*AccessPage) bool { return true },
		Changed:  s.accessChanged,
		Reloaded: s.reads.reloaded,
		Indexes: []store.Index[AccessPage]{
			{Name: indexAccessed, Keys: func(r *AccessPage, emit func(string)) {
				scope := scopeOf(r.Account, r.Region)
				for uid, day := range r.Days.secrets() {
					emit(timeKey(scope, Instant(day), uid))
				}
			}},
		},
	})
	s.attachFormerAccess(cfg.Store)
	return s
}

// nameKey orders secrets by scope, then name.
func nameKey(scope, name string) string { return scope + "\x00" + name }

// timeKey orders records by scope, then time, then uid. The uid makes the key of
// every record its own, so that a list can be taken up again after any of them.
func timeKey(scope string, t Instant, uid UID) string {
	return scope + "\x00" + t.orderKey() + string(uid[:])
}

// secretKey is where the record of a secret lives, valueKey a version's value.
func secretKey(sec *Secret) store.Key {
	return store.Key{Scope: sec.scope(), Parent: sec.parent()}
}

func nameRecordKey(scope, name string) store.Key { return store.Key{Scope: scope, Parent: name} }

func valueKey(sec *Secret, versionID string) store.Key {
	return store.Key{Scope: sec.scope(), Parent: sec.parent(), Child: versionID}
}

// pruneDue says when the next surplus version of a secret may be pruned; false when
// it has no more versions than its quota, or none that may go.
func (s *Service) pruneDue(sec *Secret) (Instant, bool) {
	if len(sec.Versions) <= s.quotas.Versions {
		return 0, false
	}
	for i := range sec.Versions { // in order of creation
		if len(sec.Versions[i].Stages) == 0 {
			return InstantOf(sec.Versions[i].Created.Time().Add(pruneAgeHours * time.Hour)), true
		}
	}
	return 0, false
}

// Register makes the dispatcher serve every operation of the service.
func (s *Service) Register(d *call.Dispatcher) {
	call.Register(d, smapi.OpBatchGetSecretValue, s.BatchGetSecretValue)
	call.Register(d, smapi.OpCancelRotateSecret, s.CancelRotateSecret)
	call.Register(d, smapi.OpCreateSecret, s.CreateSecret)
	call.Register(d, smapi.OpDeleteResourcePolicy, s.DeleteResourcePolicy)
	call.Register(d, smapi.OpDeleteSecret, s.DeleteSecret)
	call.Register(d, smapi.OpDescribeSecret, s.DescribeSecret)
	call.Register(d, smapi.OpGetRandomPassword, s.GetRandomPassword)
	call.Register(d, smapi.OpGetResourcePolicy, s.GetResourcePolicy)
	call.Register(d, smapi.OpGetSecretValue, s.GetSecretValue)
	call.Register(d, smapi.OpListSecretVersionIds, s.ListSecretVersionIds)
	call.Register(d, smapi.OpListSecrets, s.ListSecrets)
	call.Register(d, smapi.OpPutResourcePolicy, s.PutResourcePolicy)
	call.Register(d, smapi.OpPutSecretValue, s.PutSecretValue)
	call.Register(d, smapi.OpRemoveRegionsFromReplication, s.RemoveRegionsFromReplication)
	call.Register(d, smapi.OpReplicateSecretToRegions, s.ReplicateSecretToRegions)
	call.Register(d, smapi.OpRestoreSecret, s.RestoreSecret)
	call.Register(d, smapi.OpRotateSecret, s.RotateSecret)
	call.Register(d, smapi.OpStopReplicationToReplica, s.StopReplicationToReplica)
	call.Register(d, smapi.OpTagResource, s.TagResource)
	call.Register(d, smapi.OpUntagResource, s.UntagResource)
	call.Register(d, smapi.OpUpdateSecret, s.UpdateSecret)
	call.Register(d, smapi.OpUpdateSecretVersionStage, s.UpdateSecretVersionStage)
	call.Register(d, smapi.OpValidateResourcePolicy, s.ValidateResourcePolicy)
	s.registerRotation(d)
}
