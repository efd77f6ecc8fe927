package secrets

import (
	"encoding/hex"
	"slices"
	"time"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/schedule"
	"arca/internal/store"
)

// Rotation is how a secret is rotated and when.
type Rotation struct {
	Enabled bool `cbor:"1,keyasint,omitempty"`
	// LambdaARN is the function that makes and tests new values.
	LambdaARN string        `cbor:"2,keyasint,omitempty"`
	Rules     RotationRules `cbor:"3,keyasint"`
	// Last is when a rotation last succeeded.
	Last Instant `cbor:"4,keyasint,omitempty"`
	// Base is what the schedule counts from: the last rotation, a value made by hand, or
	// the set-up.
	Base Instant `cbor:"5,keyasint,omitempty"`
	// Start is when the next scheduled rotation begins, Next the end of its window, which
	// is what NextRotationDate shows. Both are zero without a schedule.
	Start Instant `cbor:"6,keyasint,omitempty"`
	Next  Instant `cbor:"7,keyasint,omitempty"`
	// Token is the ClientRequestToken of the last RotateSecret, so that its repeat is
	// recognised.
	Token string `cbor:"8,keyasint,omitempty"`
	// Missed is the end of the window in which the schedule began a rotation that has not
	// succeeded since, the first such window when there were several. It may lie ahead; it
	// is zero when none was missed. Formats 1 to 3 have none.
	Missed Instant `cbor:"9,keyasint,omitempty"`
}

// RotationRules are the rules as they were given; package schedule reads them.
type RotationRules struct {
	AfterDays  int64  `cbor:"1,keyasint,omitempty"`
	Expression string `cbor:"2,keyasint,omitempty"`
	Duration   string `cbor:"3,keyasint,omitempty"`
}

func (r RotationRules) schedule() schedule.Rules {
	return schedule.Rules{AfterDays: r.AfterDays, Expression: r.Expression, Duration: r.Duration}
}

// plan sets when the next rotation begins, counting from base.
func (r *Rotation) plan(uid UID, base time.Time) error {
	r.Base, r.Start, r.Next = InstantOf(base), 0, 0
	if r.Rules == (RotationRules{}) {
		return nil
	}
	sch, err := schedule.Parse(r.Rules.schedule())
	if err != nil {
		return err
	}
	r.set(uid, sch.Next(base))
	return nil
}

// rotated plans anew after a rotation, or after a value made by hand, which counts as
// one. The rules were read when they were stored.
func (r *Rotation) rotated(uid UID, at time.Time) {
	sch, err := schedule.Parse(r.Rules.schedule())
	if err != nil {
		r.Base, r.Start, r.Next = InstantOf(at), 0, 0
		return
	}
	base := sch.Next(r.Base.Time()).Base(at)
	r.Base = InstantOf(base)
	r.set(uid, sch.Next(base))
}

func (r *Rotation) set(uid UID, w schedule.Window) {
	r.Start, r.Next = InstantOf(w.StartAt(uid[:])), InstantOf(w.Date())
}

// RotationStep is one of the four steps that AWS asks of a rotation function, as the
// event names it.
type RotationStep string

// The steps, in order.
const (
	StepCreate RotationStep = "createSecret"
	StepSet    RotationStep = "setSecret"
	StepTest   RotationStep = "testSecret"
	StepFinish RotationStep = "finishSecret"
)

// RotationKind is what a job is for.
type RotationKind uint8

const (
	// Rotate runs all four steps.
	Rotate RotationKind = 1
	// TestRotation runs testSecret alone on a copy of the current value: what RotateSecret
	// does when it is told not to rotate at once.
	TestRotation RotationKind = 2
	// Rehearsal stops before finishSecret and waits for somebody to go on or to drop it.
	Rehearsal RotationKind = 3
)

// steps are those that a job of the kind runs.
func (k RotationKind) steps() []RotationStep {
	switch k {
	case TestRotation:
		return []RotationStep{StepTest}
	case Rehearsal:
		return []RotationStep{StepCreate, StepSet, StepTest}
	}
	return []RotationStep{StepCreate, StepSet, StepTest, StepFinish}
}

// RotationJob is a rotation under way: what is to be done next and by when. A secret has
// at most one.
type RotationJob struct {
	UID       UID    `cbor:"1,keyasint"`
	Partition string `cbor:"2,keyasint"`
	Account   string `cbor:"3,keyasint"`
	Region    string `cbor:"4,keyasint"`
	// ID is 16 random bytes, in hexadecimal, or the token of whoever rolled back: it tells
	// one rotation of a secret from the next.
	ID   string       `cbor:"5,keyasint"`
	Kind RotationKind `cbor:"6,keyasint"`
	// VersionID is the version that carries AWSPENDING.
	VersionID string       `cbor:"7,keyasint"`
	LambdaARN string       `cbor:"8,keyasint"`
	Step      RotationStep `cbor:"9,keyasint"`
	// Attempt counts the failures since the job began, or since it was told to go on.
	Attempt int `cbor:"10,keyasint,omitempty"`
	// NotBefore is when the step may run; zero for a rehearsal that waits.
	NotBefore Instant `cbor:"11,keyasint,omitempty"`
	Started   Instant `cbor:"12,keyasint"`
	// StartedBy is the ARN of who asked, or "schedule".
	StartedBy string `cbor:"13,keyasint,omitempty"`
	// Claim is who runs the step now; nil for nobody.
	Claim *RotationClaim `cbor:"14,keyasint,omitempty"`
	// Runs is what has happened so far, oldest first, at most maxRotationRuns.
	Runs []StepRun `cbor:"15,keyasint,omitempty"`
	// Window is the last second of the window in which the schedule began the rotation;
	// zero when somebody asked for it.
	Window Instant `cbor:"16,keyasint,omitempty"`
}

// RotationClaim says that a process runs a step, and until when others leave it alone.
type RotationClaim struct {
	Token    [16]byte `cbor:"1,keyasint"`
	Node     string   `cbor:"2,keyasint"`
	Since    Instant  `cbor:"3,keyasint"`
	Deadline Instant  `cbor:"4,keyasint"`
}

// StepRun is one run of a step by a function.
type StepRun struct {
	Step    RotationStep `cbor:"1,keyasint"`
	Started Instant      `cbor:"2,keyasint"`
	Millis  int64        `cbor:"3,keyasint"`
	// Error says what failed; empty for success.
	Error string `cbor:"4,keyasint,omitempty"`
	// Output is the end of what the function printed, with secrets left out.
	Output string `cbor:"5,keyasint,omitempty"`
	// RequestID is the id of the invocation, which stands in the function's own lines.
	RequestID string `cbor:"6,keyasint,omitempty"`
}

// RotationHistory is what became of the last rotations of a secret, oldest first.
type RotationHistory struct {
	Rotations []PastRotation `cbor:"1,keyasint"`
}

// PastRotation is a rotation that has ended.
type PastRotation struct {
	ID        string          `cbor:"1,keyasint"`
	Kind      RotationKind    `cbor:"2,keyasint"`
	VersionID string          `cbor:"3,keyasint"`
	LambdaARN string          `cbor:"4,keyasint"`
	Started   Instant         `cbor:"5,keyasint"`
	StartedBy string          `cbor:"6,keyasint,omitempty"`
	Ended     Instant         `cbor:"7,keyasint"`
	Outcome   RotationOutcome `cbor:"8,keyasint"`
	Runs      []StepRun       `cbor:"9,keyasint,omitempty"`
}

// RotationOutcome is how a rotation ended.
type RotationOutcome uint8

const (
	// Succeeded: AWSCURRENT is on the new version, or the test passed.
	Succeeded RotationOutcome = 1
	// Abandoned: somebody took AWSPENDING away from the new version.
	Abandoned RotationOutcome = 2
	// Failed is the end of a test that did not pass. A rotation that fails is tried again
	// and again, and does not end by that.
	Failed RotationOutcome = 3
	// Dropped: somebody ended a rehearsal or switched rotation off.
	Dropped RotationOutcome = 4
	// RolledBack: somebody made AWSPREVIOUS the current version again.
	RolledBack RotationOutcome = 5
)

const (
	// A job and a history are records, so they are bounded.
	maxRotationRuns    = 24
	maxPastRotations   = 20
	maxOutputBytes     = 4 << 10
	maxHistoryBytes    = 256 << 10
	jobFormat          = 1
	historyFormat      = 1
	historyInlineBytes = 256 // beyond it a history is read from etcd when somebody looks

	// indexRotation lists what is to be rotated by when that begins, indexRotating jobs by
	// when to look at them next; both over all scopes.
	indexRotation = "rotation"
	indexRotating = "due"
	// indexRotated lists the secrets with a rotation by name within their scope.
	indexRotated = "rotated"
)

// jobKey is where the job of a secret lives, historyKey what became of those before.
func jobKey(sec *Secret) store.Key {
	return store.Key{Scope: sec.scope(), Parent: sec.parent(), Child: "job"}
}

func historyKey(sec *Secret) store.Key {
	return store.Key{Scope: sec.scope(), Parent: sec.parent(), Child: "history"}
}

// attachRotation attaches the tables of rotations.
func (s *Service) attachRotation(st *store.Store) {
	s.jobs = store.NewTable(st, store.TableSpec[RotationJob]{
		Name: "rotation-job", Format: jobFormat, Child: true, Vanishes: true,
		Quiet: func(*RotationJob) bool { return true }, // claims are bookkeeping
		Indexes: []store.Index[RotationJob]{
			{Name: indexRotating, Keys: func(j *RotationJob, emit func(string)) {
				if at := j.due(); at != 0 {
					emit(at.orderKey())
				}
			}},
		},
	})
	s.histories = store.NewTable(st, store.TableSpec[RotationHistory]{
		Name: "rotation-history", Format: historyFormat, Child: true, InlineLimit: historyInlineBytes,
		Quiet: func(*RotationHistory) bool { return true },
	})
}

// due is when the engine has to look at the job: when its step may run, or when the one
// who runs it must have ended. Zero is never.
func (j *RotationJob) due() Instant {
	if j.Claim != nil {
		return j.Claim.Deadline
	}
	return j.NotBefore
}

// rotationDue is when a scheduled rotation of the secret begins; false when there is none.
func (s *Secret) rotationDue() (Instant, bool) {
	if r := s.Rotation; r != nil && r.Enabled && r.Start != 0 && !s.scheduled() {
		return r.Start, true
	}
	return 0, false
}

// pending reports whether a version is the one that a rotation is filling.
func (s *Secret) pending(versionID string) bool {
	v := s.holder(stagePending)
	return v != nil && v.ID == versionID
}

// unfinished is the version of a rotation that has not ended: it has AWSPENDING and is
// not the current one. nil when there is none.
func (s *Secret) unfinished() *Version {
	v := s.holder(stagePending)
	if v == nil || slices.Contains(v.Stages, stageCurrent) {
		return nil
	}
	return v
}

// The token of a rotation is given to its function with every event and comes back with
// PutSecretValue. It is sealed, so that nobody else can make one, and it names one job
// of one version of one secret: when that has ended it is worth nothing. It is no
// permission by itself.
const (
	rotationTokenPurpose = "page-token"
	rotationTokenUse     = "rotation-token/"
)

func (j *RotationJob) tokenAD() []byte {
	return []byte(rotationTokenUse + j.UID.String() + "/" + j.VersionID)
}

// rotationToken makes the token of a job.
func (s *Service) rotationToken(j *RotationJob) (string, error) {
	sealed, err := s.store.Seal(rotationTokenPurpose, []byte(j.ID), j.tokenAD())
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sealed), nil
}

// ofRotation reports whether a token is that of the job.
func (s *Service) ofRotation(token string, j *RotationJob) bool {
	sealed, err := hex.DecodeString(token)
	if err != nil {
		return false
	}
	id, err := s.store.Unseal(rotationTokenPurpose, sealed, j.tokenAD())
	return err == nil && string(id.Bytes()) == j.ID
}

// checkRotationToken demands that the RotationToken of a request belongs to the rotation
// that fills the version. Who sends one acts for a rotation and for nothing else.
func (s *Service) checkRotationToken(v *store.Snap, sec *Secret, versionID string, token *api.SensitiveString) error {
	if token == nil {
		return nil
	}
	j, ok := s.jobs.Get(v, jobKey(sec))
	if !ok || j.VersionID != versionID || !s.ofRotation(string(*token), j) {
		return smapi.InvalidParameterException.Errorf("The RotationToken doesn't belong to a rotation of this secret.")
	}
	return nil
}

// The service events of rotation (AWS CloudTrail, Secrets Manager events).
const (
	eventRotationStarted   = "RotationStarted"
	eventRotationSucceeded = "RotationSucceeded"
	eventRotationFailed    = "RotationFailed"
	eventRotationAbandoned = "RotationAbandoned"
	eventTestStarted       = "TestRotationStarted"
	eventTestSucceeded     = "TestRotationSucceeded"
	eventTestFailed        = "TestRotationFailed"
)

// rotationEvent is an event of a job; errorText is empty but for failures.
func rotationEvent(sec *Secret, j *RotationJob, name, errorText string) call.ServiceEvent {
	e := versionEvent(name, sec)
	e.RequestID = "Rotation-" + sec.ARN() + "-" + dashed(j.ID)
	e.Error = errorText
	return e
}

// dashed writes 32 hexadecimal digits as a UUID.
func dashed(id string) string {
	if len(id) != 32 {
		return id
	}
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// startJob begins a rotation of sec, a clone that the caller puts: the version gets
// AWSPENDING before the function hears of it. The event is the caller's to emit.
func (s *Service) startJob(tx *store.Tx, sec *Secret, kind RotationKind, ver *Version, id, startedBy string, now time.Time) (*RotationJob, call.ServiceEvent) {
	attach(sec.Versions, ver, stagePending)
	j := &RotationJob{
		UID: sec.UID, Partition: sec.Partition, Account: sec.Account, Region: sec.Region,
		ID: id, Kind: kind, VersionID: ver.ID, LambdaARN: sec.Rotation.LambdaARN, Step: kind.steps()[0],
		NotBefore: InstantOf(now), Started: InstantOf(now), StartedBy: startedBy,
	}
	s.jobs.Put(tx, jobKey(sec), j)
	event := eventRotationStarted
	if kind == TestRotation {
		event = eventTestStarted
	}
	return j, rotationEvent(sec, j, event, "")
}

// wake makes the engine look at the job of a secret now. Whoever writes the labels of a
// secret, or takes back its deletion, calls it: the job may have lost its version, or be
// free to go on.
func (s *Service) wake(tx *store.Tx, sec *Secret, now time.Time) {
	held, ok := s.jobs.Get(tx.Snap, jobKey(sec))
	if !ok || held.Claim != nil || held.NotBefore == 0 && sec.pending(held.VersionID) || held.NotBefore != 0 && held.NotBefore <= InstantOf(now) {
		return
	}
	j := *held
	j.NotBefore = InstantOf(now)
	s.jobs.Put(tx, jobKey(sec), &j)
}

// noteValue records that a new current value was made by hand or by a rotation: the
// schedule counts from it, and a job that lost its version is settled. sec is a clone.
func (s *Service) noteValue(tx *store.Tx, sec *Secret, before *Secret, now time.Time) {
	if was, is := before.holder(stageCurrent), sec.holder(stageCurrent); sec.Rotation != nil && is != nil && (was == nil || was.ID != is.ID) {
		r := *sec.Rotation
		if r.Enabled && !sec.pending(is.ID) {
			r.rotated(sec.UID, now)
			r.Missed = 0
			sec.Rotation = &r
		}
	}
	if j, ok := s.jobs.Get(tx.Snap, jobKey(sec)); ok && !sec.pending(j.VersionID) {
		s.wake(tx, sec, now)
	}
}

// past is the job as an entry of the history.
func (j *RotationJob) past(outcome RotationOutcome, ended Instant) PastRotation {
	return PastRotation{
		ID: j.ID, Kind: j.Kind, VersionID: j.VersionID, LambdaARN: j.LambdaARN, Started: j.Started,
		StartedBy: j.StartedBy, Ended: ended, Outcome: outcome, Runs: j.Runs,
	}
}

// remember adds an entry to a history and drops the oldest ones beyond its bounds.
func remember(past []PastRotation, newest PastRotation) *RotationHistory {
	past = append(slices.Clone(past), newest)
	past = past[max(0, len(past)-maxPastRotations):]
	size := 0
	for i := len(past) - 1; i >= 0; i-- {
		for _, r := range past[i].Runs {
			size += len(r.Output) + len(r.Error) + 128
		}
		if size > maxHistoryBytes && i < len(past)-1 {
			past = past[i+1:]
			break
		}
	}
	return &RotationHistory{Rotations: past}
}

// String is the outcome in a word.
func (o RotationOutcome) String() string {
	switch o {
	case Succeeded:
		return "succeeded"
	case Abandoned:
		return "abandoned"
	case Failed:
		return "failed"
	case Dropped:
		return "dropped"
	case RolledBack:
		return "rolled back"
	}
	return "unknown"
}

// FailureText is what the audit record of a failed step says, as on AWS.
func (j *RotationJob) FailureText() string {
	return "Error when executing lambda " + j.LambdaARN + " during " + string(j.Step) + " step"
}
