package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"arca/internal/api/smapi"
	"arca/internal/kms"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
)

// drawDays draws days of some versions of a secret, 0 for one that was never read.
func drawDays(rt *rapid.T, label string) map[string]secrets.Day {
	days := rapid.MapOf(rapid.SampledFrom([]string{"v1", "v2", "v3", "gone"}), rapid.Custom(func(rt *rapid.T) secrets.Day {
		return secrets.Day(rapid.IntRange(20_000, 20_003).Draw(rt, "day"))
	})).Draw(rt, label)
	return days
}

// Rows say of many secrets what a map of maps says.
func TestDayRows(t *testing.T) {
	type model struct {
		last     secrets.Day
		versions map[string]secrets.Day
	}
	rapid.Check(t, func(rt *rapid.T) {
		var rows secrets.DayRows
		want := map[secrets.UID]model{}
		days := func() map[secrets.UID]secrets.Day {
			m := map[secrets.UID]secrets.Day{}
			for uid, of := range want {
				if of.last > 0 {
					m[uid] = of.last
				}
			}
			return m
		}
		for range rapid.IntRange(1, 30).Draw(rt, "changes") {
			before, was := rows, days()
			uid := secrets.UID{0, 1, byte(rapid.IntRange(0, 5).Draw(rt, "secret"))}
			if rapid.IntRange(0, 4).Draw(rt, "deleted") == 0 {
				rows = rows.With(uid, nil)
				delete(want, uid)
			} else {
				sec := &secrets.Secret{UID: uid}
				has := map[string]bool{}
				for _, id := range []string{"v1", "v2", "v3"} {
					if rapid.Bool().Draw(rt, "has") {
						sec.Versions = append(sec.Versions, secrets.Version{ID: id})
						has[id] = true
					}
				}
				read := drawDays(rt, "read")
				more := &secrets.LastAccess{UID: uid, Versions: read}
				m := model{want[uid].last, map[string]secrets.Day{}}
				for _, day := range read {
					more.Day = max(more.Day, day)
				}
				m.last = max(m.last, more.Day)
				for id := range has {
					if day := max(want[uid].versions[id], read[id]); day > 0 {
						m.versions[id] = day
					}
				}
				want[uid] = m
				rows = rows.With(uid, rows.Of(uid).Joined(sec, more))
			}
			if !rows.Valid() {
				rt.Fatalf("rows are not in order: %x", []byte(rows))
			}
			if diff := cmp.Diff(days(), maps.Collect(rows.Secrets())); diff != "" {
				rt.Fatalf("last days (-want +got):\n%s", diff)
			}
			for uid, m := range want {
				for _, id := range []string{"v1", "v2", "v3", "gone"} {
					if got := rows.Of(uid).DayOf(id); got != m.versions[id] {
						rt.Fatalf("version %s of %s was read on %d, want %d", id, uid, got, m.versions[id])
					}
				}
			}
			changed := map[secrets.UID]secrets.Day{}
			for uid := range was {
				if days()[uid] != was[uid] {
					changed[uid] = days()[uid]
				}
			}
			for uid, day := range days() {
				if was[uid] != day {
					changed[uid] = day
				}
			}
			if diff := cmp.Diff(changed, maps.Collect(secrets.ChangedDays(before, rows))); diff != "" {
				rt.Fatalf("changed days (-want +got):\n%s", diff)
			}
		}
	})
}

// Rows that are cut, out of order or twice there are told from whole ones.
func TestDayRowsValid(t *testing.T) {
	sec := &secrets.Secret{UID: secrets.UID{1}, Versions: []secrets.Version{{ID: "a"}, {ID: "b"}}}
	rows := secrets.DayRows(nil).Joined(sec, &secrets.LastAccess{Day: 20_001, Versions: map[string]secrets.Day{"a": 20_000, "b": 20_000}})
	if len(rows) != 3*28 || !rows.Valid() {
		t.Fatalf("rows of two versions and one that is gone: %x", []byte(rows))
	}
	for name, bad := range map[string]secrets.DayRows{
		"cut":          rows[:len(rows)-1],
		"twice":        append(rows[:28:28], rows[:28]...),
		"out of order": append(rows[28:56:56], rows[:28]...),
		"no day":       append(rows[:24:24], 0, 0, 0, 0),
	} {
		if bad.Valid() {
			t.Errorf("rows that are %s count as whole: %x", name, []byte(bad))
		}
	}
}

// Many secrets share pages, and more than fit a transaction are stored.
func TestFlushAccessOfPages(t *testing.T) {
	sh := newShelf(t)
	var all []*secrets.Secret
	for n := range 700 {
		sec := bareSecret(n, fmt.Sprintf("s%d", n))
		sec.Versions = []secrets.Version{{ID: *token(1)}, {ID: *token(2)}}
		all = append(all, sec)
	}
	sh.add(t, all...)
	for i, sec := range all {
		sh.svc.Note(sec, *token(1 + i%2), secrets.Day(20_000+i%3))
	}
	for range 2 { // the second time, there is nothing to do
		if err := sh.svc.FlushAccess(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, waiting := sh.svc.Seen(); waiting != 0 {
		t.Errorf("%d secrets wait to be stored", waiting)
	}
	sh.svc.ForgetReads()
	if pages := sh.st.Stats().Records["secret-days"]; pages == 0 || pages >= len(all)/2 {
		t.Errorf("%d secrets have %d pages; the test wants them to share some", len(all), pages)
	}
	sh.view(t, func(v *store.Snap) {
		for i, sec := range all {
			day := sh.svc.AccessDays(v, sec)
			want, none := *token(1 + i%2), *token(2 - i%2)
			if day(want) != secrets.Day(20_000+i%3) || day(none) != 0 {
				t.Errorf("secret %d: days %d and %d", i, day(want), day(none))
			}
		}
	})
	// All are gone, and with them their pages.
	for some := range slices.Chunk(all, 20) {
		sh.update(t, func(tx *store.Tx) {
			for _, sec := range some {
				sh.svc.DeleteBare(tx, sec)
			}
		})
	}
	if pages := sh.st.Stats().Records["secret-days"]; pages != 0 {
		t.Errorf("no secrets have %d pages", pages)
	}
}

// A page that somebody has damaged in etcd keeps its own secrets from having their days
// stored, and no others.
func TestFlushAccessPastDamagedPage(t *testing.T) {
	endpoint := storetest.ExternalEtcd(t)
	var sh shelf
	sh.st = store.New(store.Config{Dir: t.TempDir(), Endpoints: []string{endpoint}, RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)})
	sh.svc = secrets.New(secrets.Config{Store: sh.st, KMS: kms.New(kms.Config{Store: sh.st})})
	if err := sh.st.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sh.st.Run(ctx) }()
	defer func() {
		stop()
		<-ended
		if err := sh.st.Close(); err != nil {
			t.Error(err)
		}
	}()
	var all []*secrets.Secret
	for n := range 300 {
		sec := bareSecret(n, fmt.Sprintf("s%d", n))
		sec.Versions = []secrets.Version{{ID: *token(1)}}
		all = append(all, sec)
	}
	sh.add(t, all...)
	read := func(day secrets.Day) error {
		for _, sec := range all {
			sh.svc.Note(sec, *token(1), day)
		}
		return sh.svc.FlushAccess(t.Context())
	}
	if err := read(20_000); err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }() // its writes were answered
	pages, err := client.Get(t.Context(), "arca/1/secret-days/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil || len(pages.Kvs) < 10 {
		t.Fatalf("%d pages, %v", len(pages.Kvs), err)
	}
	if _, err := client.Put(t.Context(), string(pages.Kvs[0].Key), "damaged"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := read(20_001); !errors.Is(err, store.ErrConflict) {
			t.Errorf("stored beside a damaged page: %v", err)
		}
		if _, _, waiting := sh.svc.Seen(); waiting == 0 || waiting > 20 {
			t.Errorf("%d secrets wait, want those of one page", waiting)
		}
	}
}

// Reads are stored at once while they are few, gather while they are many, and are stored
// before there is no room for more.
func TestAccessDue(t *testing.T) {
	svc := secrets.WithQuotas(secrets.Quotas{})
	n := 0
	read := func(until int) {
		for ; n < until; n++ {
			sec := bareSecret(n, "s")
			sec.Versions = []secrets.Version{{ID: *token(1)}}
			svc.Note(sec, *token(1), 20_000)
		}
	}
	for _, tc := range []struct {
		reads int
		due   bool
	}{{0, true}, {1, true}, {secrets.FewSeen, true}, {secrets.FewSeen + 1, false}, {secrets.ManySeen - 1, false}, {secrets.ManySeen, true}} {
		read(tc.reads)
		if got := svc.AccessDue(); got != tc.due {
			t.Errorf("%d secrets wait: due %v", tc.reads, got)
		}
	}
	svc.SettleAll()
	read(secrets.ManySeen + 1)
	if !svc.AccessDue() {
		t.Error("one that waits beside many that are stored is not due")
	}
}

// Data of versions before pages: each secret has its days in a record of its own.
func TestFormerAccess(t *testing.T) {
	for _, format4 := range []bool{false, true} {
		t.Run(fmt.Sprintf("format4=%v", format4), func(t *testing.T) {
			h := newHome(t, secrets.Quotas{})
			b := h.bed
			defer b.check(t)
			const many = 150 // more than fit a transaction
			today := secrets.DayOf(b.now)
			for i := range many {
				name := "s" + itoa(i)
				b.create(t, name)
				b.put(t, name, 2)
				if format4 && i%10 == 0 {
					b.asFormat4(t, name)
				}
				if i%3 == 0 {
					continue // never read
				}
				b.spoil(t, name, func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
					w.AsFormerAccess(tx, sec, today-1, map[string]secrets.Day{*token(1): today - 2, *token(2): today - secrets.Day(1+i%2), "gone": today - 1})
				})
			}
			// One was read since, by this version.
			b.read(t, "s1")
			b.flush(t)
			b.upgradeSome(t)
			b.spoil(t, "s2", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
				w.AsFormerAccess(tx, sec, today-1, map[string]secrets.Day{*token(1): today - 2, *token(2): today - 1})
			})
			if n := b.svc.FormerAccess(); n != 1 {
				t.Errorf("%d former records were left and one was made, want 1", n)
			}
			for i := range many {
				if name := "s" + itoa(i); i%3 != 0 && i > 2 {
					b.spoil(t, name, func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
						w.AsFormerAccess(tx, sec, today-1, map[string]secrets.Day{*token(1): today - 2, *token(2): today - secrets.Day(1+i%2), "gone": today - 1})
					})
				}
			}
			if found := b.problems(t); len(found) > 0 {
				t.Errorf("problems before they are moved: %q", found)
			}
			// It dies in between, and goes on.
			if moved, err := b.svc.MoveSomeAccess(t.Context()); err != nil || moved == 0 {
				t.Fatalf("moved %d, %v", moved, err)
			}
			if n := b.svc.FormerAccess(); n == 0 || n >= many*2/3-1 {
				t.Errorf("%d former records after one transaction", n)
			}
			h.reopen(t, secrets.Quotas{})
			b = h.bed
			b.svc.Upgrade(t.Context())
			if n := b.svc.FormerAccess(); n != 0 {
				t.Errorf("%d former records after the upgrade", n)
			}
			for i := range many {
				got := b.accessDays(t, "s"+itoa(i))
				want := map[string]string{}
				if i%3 != 0 {
					want = map[string]string{"1": date(today - 2), "2": date(today - secrets.Day(1+i%2))}
				}
				switch i {
				case 1:
					want["2"] = date(today)
				case 2:
					want["2"] = date(today - 1)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("secret %d (-want +got):\n%s", i, diff)
				}
				if read := b.describe(t, "s"+itoa(i)).LastAccessedDate; i > 2 && i%3 != 0 && (read == nil || secrets.DayOf(*read) != today-1) {
					t.Errorf("secret %d was last read on %v", i, read)
				}
			}
			must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s4", ForceDeleteWithoutRecovery: new(true)})
		})
	}
}

// A secret that is deleted takes along what an older version has stored of it, and what an
// older version has left of one that is gone goes, too.
func TestFormerAccessOfDeletedSecrets(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	for _, name := range []string{"a", "b"} {
		b.create(t, name)
		b.spoil(t, name, func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) { w.AsFormerAccess(tx, sec, 20_000, nil) })
	}
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "a", ForceDeleteWithoutRecovery: new(true)})
	if n := b.svc.FormerAccess(); n != 1 {
		t.Errorf("%d former records, want that of b", n)
	}
	b.spoil(t, "b", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
		gone := *sec
		gone.UID[15]++ // a namesake of before
		w.AsFormerAccess(tx, &gone, 20_000, nil)
	})
	b.upgradeSome(t)
	if n := b.svc.FormerAccess(); n != 0 {
		t.Errorf("%d former records are left", n)
	}
	if read := b.describe(t, "b").LastAccessedDate; read != nil {
		t.Errorf("b was read on %v, which was its namesake", read)
	}
}

// An older version that was started again does not know pages: it stores days as before,
// and leaves those of secrets that it deletes.
func TestDaysLeftByOlderVersion(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	for _, name := range []string{"a", "b", "c"} {
		b.create(t, name)
		b.read(t, name)
	}
	b.flush(t)
	b.spoil(t, "a", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) { w.RemoveAsBefore(tx, sec) })
	b.spoil(t, "b", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
		w.AsFormerAccess(tx, sec, secrets.DayOf(b.now), nil)
	})
	if found := b.problems(t); len(found) != 1 {
		t.Errorf("problems before = %q, want one", found)
	}
	b.svc.Upgrade(t.Context())
	if found := b.problems(t); len(found) != 0 {
		t.Errorf("problems after = %q", found)
	}
	for _, name := range []string{"b", "c"} {
		if b.describe(t, name).LastAccessedDate == nil {
			t.Errorf("%s was never read", name)
		}
	}
}

func (b *bed) upgradeSome(t testing.TB) {
	t.Helper()
	if err := b.svc.UpgradeSome(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The survey tells which secrets were read, and not those that share their pages.
func TestSurveyOfPages(t *testing.T) {
	sh := newShelf(t)
	survey := secrets.NewSurvey(sh.svc)
	var all []*secrets.Secret
	for n := range 300 {
		all = append(all, bareSecret(n, fmt.Sprintf("s%d", n)))
	}
	sh.add(t, all...)
	changes := func(limit int) (names []string, all bool) {
		sh.view(t, func(v *store.Snap) {
			changed, _, every := survey.Changed(v, limit)
			for _, sec := range changed {
				names = append(names, sec.Name)
			}
			all = every
		})
		return names, all
	}
	read := func(day secrets.Day, some ...*secrets.Secret) {
		for few := range slices.Chunk(some, 20) {
			sh.update(t, func(tx *store.Tx) {
				for _, sec := range few {
					sh.svc.PutAccess(tx, sec, day)
				}
			})
		}
	}
	changes(1000)
	read(20_000, all...)
	seen := map[string]bool{}
	for range 4 {
		names, _ := changes(100)
		for _, name := range names {
			seen[name] = true
		}
		if len(names) > 100 {
			t.Errorf("%d at once, at most 100 were asked for", len(names))
		}
	}
	if len(seen) != len(all) {
		t.Errorf("%d of %d that were read", len(seen), len(all))
	}
	read(20_000, all[7])
	if names, _ := changes(100); len(names) != 0 {
		t.Errorf("a second read of a day: %q", names)
	}
	read(20_001, all[7])
	if names, every := changes(100); !slices.Equal(names, []string{"s7"}) || every {
		t.Errorf("after s7 was read: %q, all %v", names, every)
	}
	read(20_002, all[8])
	sh.svc.ReloadReads(1 << 40)
	if names, every := changes(100); len(names) != 0 || every {
		t.Errorf("before the snapshot shows what was reloaded: %q, all %v", names, every)
	}
	sh.svc.ReloadReads(1)
	if names, every := changes(100); len(names) != 0 || !every {
		t.Errorf("after a reload: %q, all %v", names, every)
	}
	read(20_003, all[9])
	if names, every := changes(100); !slices.Equal(names, []string{"s9"}) || every {
		t.Errorf("after s9 was read: %q, all %v", names, every)
	}
}

// date is a day as accessDays shows it.
func date(d secrets.Day) string {
	return time.Unix(0, 0).UTC().AddDate(0, 0, int(d)).Format(time.RFC3339)
}

// Whatever rows are read, nothing is looked for outside of them; those that are valid are
// what putting their secrets together gives.
func FuzzDayRows(f *testing.F) {
	sec := &secrets.Secret{UID: secrets.UID{1}, Versions: []secrets.Version{{ID: "a"}}}
	f.Add([]byte(secrets.DayRows(nil).Joined(sec, &secrets.LastAccess{Day: 20_001, Versions: map[string]secrets.Day{"a": 20_000}})), []byte{1})
	f.Add(make([]byte, 57), []byte{0})
	f.Fuzz(func(t *testing.T, data, start []byte) {
		rows := secrets.DayRows(data)
		var uid secrets.UID
		copy(uid[:], start)
		rows.Of(uid).DayOf("a")
		rows.With(uid, rows.Of(uid))
		for range secrets.ChangedDays(rows, rows) {
			t.Error("rows are different from themselves")
		}
		if !rows.Valid() {
			return
		}
		var again secrets.DayRows
		for uid, day := range rows.Secrets() {
			of := rows.Of(uid)
			again = again.With(uid, of)
			if last := maps.Collect(of.Secrets())[uid]; last != day || day <= 0 {
				t.Errorf("%s was last read on %d and on %d", uid, day, last)
			}
		}
		if !slices.Equal(again, rows) {
			t.Errorf("put together again: %x, want %x", []byte(again), data)
		}
	})
}
