package secrets_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
	"arca/internal/secrets"
)

func (b *bed) flush(t testing.TB) {
	t.Helper()
	if err := b.svc.FlushAccess(context.Background()); err != nil {
		t.Fatalf("FlushAccess: %v", err)
	}
}

// accessDays shows the access dates of the versions of a secret by token number.
func (b *bed) accessDays(t testing.TB, id string) map[string]string {
	t.Helper()
	out := must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: id, IncludeDeprecated: new(true)})
	days := make(map[string]string)
	for _, v := range out.Versions {
		if v.LastAccessedDate != nil {
			days[(*v.VersionId)[35:]] = v.LastAccessedDate.Format(time.RFC3339)
		}
	}
	return days
}

func TestLastAccess(t *testing.T) {
	h := newHome(t, secrets.Quotas{})
	b := h.bed
	defer b.check(t)
	b.create(t, "s")
	b.put(t, "s", 2)
	day := func() *time.Time { d := b.now.Truncate(oneDay); return &d }
	want := func(step string, date *time.Time, days map[string]string) {
		t.Helper()
		// The same before and after it is stored, and in a new process.
		for _, when := range []string{"seen", "stored", "reopened"} {
			if diff := cmp.Diff(date, b.describe(t, "s").LastAccessedDate); diff != "" {
				t.Errorf("%s, %s: LastAccessedDate (-want +got):\n%s", step, when, diff)
			}
			if diff := cmp.Diff(days, b.accessDays(t, "s")); diff != "" {
				t.Errorf("%s, %s: days of versions (-want +got):\n%s", step, when, diff)
			}
			if when == "seen" {
				b.flush(t)
			} else if when == "stored" {
				h.reopen(t, secrets.Quotas{})
			}
		}
	}
	want("never read", nil, map[string]string{})
	b.read(t, "s")
	first := b.now.Truncate(oneDay).Format(time.RFC3339)
	want("read", day(), map[string]string{"2": first})
	b.now = b.now.Add(oneDay)
	second := b.now.Truncate(oneDay).Format(time.RFC3339)
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(1)})
	want("older version read a day later", day(), map[string]string{"1": second, "2": first})
	b.now = b.now.Add(-oneDay)
	b.read(t, "s")
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(1)})
	later := b.now.Add(oneDay).Truncate(oneDay)
	want("clock set back", &later, map[string]string{"1": second, "2": first})
}

// Stored days cost one write a day; the rest of the reads cost none.
func TestLastAccessWrites(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	revision := func() int64 {
		t.Helper()
		b.flush(t)
		return b.accessRevision(t)
	}
	start := revision()
	b.read(t, "s")
	first := revision()
	if first == start {
		t.Errorf("the first read of a day was not stored")
	}
	for range 5 {
		b.read(t, "s")
		if got := revision(); got != first {
			t.Errorf("another read of that day was stored: revision %d, want %d", got, first)
		}
	}
	for range 3 {
		before := b.accessRevision(t)
		b.now = b.now.Add(oneDay)
		b.read(t, "s")
		b.read(t, "s")
		once := revision()
		b.read(t, "s")
		if again := revision(); once == before || again != once {
			t.Errorf("reads of a new day: revisions %d, %d, %d, want one write", before, once, again)
		}
	}
}

// A process that has just begun does not write what is stored.
func TestLastAccessAfterStart(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	b.put(t, "s", 2)
	b.read(t, "s")
	b.flush(t)
	b.svc.ForgetReads()
	b.read(t, "s")
	if secrets, versions, waiting := b.svc.Seen(); secrets != 0 || versions != 0 || waiting != 0 {
		t.Errorf("a read of a stored day: %d secrets, %d versions in memory, %d waiting", secrets, versions, waiting)
	}
	// Another version of the day, and another day, are stored.
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(1)})
	if _, _, waiting := b.svc.Seen(); waiting != 1 {
		t.Errorf("a read of another version: %d waiting", waiting)
	}
	b.flush(t)
	b.svc.ForgetReads()
	b.now = b.now.Add(oneDay)
	b.read(t, "s")
	if _, _, waiting := b.svc.Seen(); waiting != 1 {
		t.Errorf("a read of the next day: %d waiting", waiting)
	}
	b.flush(t)
	today := b.now.Truncate(oneDay).Format(time.RFC3339)
	yesterday := b.now.Add(-oneDay).Truncate(oneDay).Format(time.RFC3339)
	if got := b.accessDays(t, "s"); got["1"] != yesterday || got["2"] != today {
		t.Errorf("days = %v, want version 1 on %s and 2 on %s", got, yesterday, today)
	}
}

// While the day lasts, a version whose day is stored costs a look-up and no memory.
func TestLastAccessSteadyState(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	b.read(t, "s")
	b.flush(t)
	b.read(t, "s")
	if _, _, waiting := b.svc.Seen(); waiting != 0 {
		t.Errorf("a read whose day is stored waits to be stored")
	}
	id := *token(1)
	sec := bareSecret(1, "bare")
	sec.Versions = []secrets.Version{{ID: id}}
	b.svc.Note(sec, id, 20_000)
	b.svc.SettleAll()
	if n := testing.AllocsPerRun(100, func() { b.svc.Note(sec, id, 20_000) }); n != 0 {
		t.Errorf("a read whose day is stored allocates %v times", n)
	}
	if _, _, waiting := b.svc.Seen(); waiting != 0 {
		t.Errorf("a read whose day is stored waits to be stored")
	}
	b.svc.Note(sec, id, 20_001)
	if _, _, waiting := b.svc.Seen(); waiting != 1 {
		t.Errorf("a read of a new day does not wait to be stored")
	}
}

// The memory of reads is bounded, whatever is read: many secrets, or one whose
// versions come and go.
func TestLastAccessMemory(t *testing.T) {
	svc := secrets.WithQuotas(secrets.Quotas{})
	busy := bareSecret(0, "busy")
	for n := range 1000 {
		busy.Versions = []secrets.Version{{ID: *token(n)}, {ID: *token(n + 1)}}
		svc.Note(busy, *token(n), 20_000)
	}
	if _, versions, _ := svc.Seen(); versions > 2 {
		t.Errorf("%d versions of a secret that has two", versions)
	}
	svc.SettleAll()
	secret := func(n int) *secrets.Secret {
		sec := bareSecret(n, "s")
		sec.Versions = []secrets.Version{{ID: *token(1)}, {ID: *token(2)}}
		return sec
	}
	for n := range secrets.MaxSeen {
		svc.Note(secret(n+1), *token(1), 20_000)
		svc.Note(secret(n+1), *token(2), 20_000)
	}
	if _, versions, _ := svc.Seen(); versions > secrets.MaxSeen {
		t.Errorf("reads of %d versions in memory, at most %d may be", versions, secrets.MaxSeen)
	}
	refused := secret(secrets.MaxSeen) // for want of room
	svc.SettleAll()                    // now there is room for others
	last := secret(10 * secrets.MaxSeen)
	svc.Note(last, *token(1), 20_001)
	svc.Note(refused, *token(1), 20_000)
	if _, versions, waiting := svc.Seen(); versions > secrets.MaxSeen || waiting != 2 {
		t.Errorf("%d versions in memory, %d secrets to be stored, want at most %d and 2", versions, waiting, secrets.MaxSeen)
	}
}

// One who reads an older snapshot does not know a version that another one has just read,
// which is noted again when it is read again.
func TestLastAccessOfOlderSnapshot(t *testing.T) {
	svc := secrets.WithQuotas(secrets.Quotas{})
	older, newer := bareSecret(1, "s"), bareSecret(1, "s")
	older.Versions = []secrets.Version{{ID: *token(1)}}
	newer.Versions = []secrets.Version{{ID: *token(1)}, {ID: *token(2)}}
	svc.Note(newer, *token(2), 20_000)
	svc.Note(older, *token(1), 20_000)
	svc.Note(newer, *token(2), 20_000)
	if _, versions, waiting := svc.Seen(); versions != 2 || waiting != 1 {
		t.Errorf("%d versions of %d secrets wait to be stored, want 2 of 1", versions, waiting)
	}
}

// Of half as many reads as there are slots, nearly all stay known.
func TestKnownReads(t *testing.T) {
	const reads = 1 << 19
	if known := secrets.Knows(reads); known < reads*98/100 {
		t.Errorf("%d of %d reads are known", known, reads)
	}
}

// Reads that nobody knows any more are stored all the same.
func TestLastAccessForgotten(t *testing.T) {
	b := newBed(t)
	b.create(t, "a")
	b.create(t, "b")
	for range 3 {
		b.read(t, "a")
		b.svc.ForgetKnown()
		b.read(t, "b")
		b.svc.ForgetKnown()
	}
	if secrets, versions, waiting := b.svc.Seen(); secrets != 2 || versions != 2 || waiting != 2 {
		t.Errorf("%d secrets, %d versions, %d waiting, want 2 of each", secrets, versions, waiting)
	}
	b.flush(t)
	first := b.accessRevision(t)
	b.read(t, "a")
	b.flush(t)
	if got := b.accessRevision(t); got != first {
		t.Errorf("a read of a stored day was stored again: revision %d, want %d", got, first)
	}
}

func TestLastAccessForgetsDeletedSecrets(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	b.read(t, "s")
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s", ForceDeleteWithoutRecovery: new(true)})
	b.flush(t)
	if n, _, waiting := b.svc.Seen(); n != 0 || waiting != 0 {
		t.Errorf("%d deleted secrets in memory, %d waiting", n, waiting)
	}
}

func TestLastAccessOfManySecrets(t *testing.T) {
	h := newHome(t, secrets.Quotas{})
	b := h.bed
	defer b.check(t)
	const many = 120 // more than fit one transaction
	for i := range many {
		b.create(t, "s"+itoa(i))
		b.read(t, "s"+itoa(i))
	}
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s7", ForceDeleteWithoutRecovery: new(true)})
	b.flush(t)
	h.reopen(t, secrets.Quotas{})
	for i := range many {
		if i != 7 && b.describe(t, "s"+itoa(i)).LastAccessedDate == nil {
			t.Errorf("secret %d has no LastAccessedDate", i)
		}
	}
}

// Secrets deleted while days of access are stored leave nothing behind.
func TestLastAccessWhileDeleting(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	for i := range 20 {
		b.create(t, "s"+itoa(i))
		b.read(t, "s"+itoa(i))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 20 {
			must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s" + itoa(i), ForceDeleteWithoutRecovery: new(true)})
		}
	})
	for range 5 {
		b.flush(t)
	}
	wg.Wait()
	b.flush(t)
}
