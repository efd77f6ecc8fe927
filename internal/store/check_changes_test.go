package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/store"
	"arca/internal/storetest"
)

// logged is a store with the lines that its audited changes leave.
type logged struct {
	shelf
	quiet *store.Table[thing] // written without lines

	cfg   store.Config
	s     *store.Store
	lines []store.LoggedChange
}

func newLogged(t *testing.T) *logged {
	t.Helper()
	l := &logged{cfg: store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: slog.New(slog.DiscardHandler)}}
	l.open(t)
	return l
}

func (l *logged) open(t *testing.T) {
	t.Helper()
	l.s = store.New(l.cfg)
	l.shelf.attach(l.s)
	l.quiet = store.NewTable(l.s, store.TableSpec[thing]{
		Name: "quiet", Format: 1, Quiet: func(r *thing) bool { return r.Name != "loud" }, Vanishes: true,
	})
	if err := l.s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeLater(t, l.s)
	run(t, l.s)
}

// reopen is what makes a process forget which states it has seen.
func (l *logged) reopen(t *testing.T) {
	t.Helper()
	mustClose(t, l.s)
	l.open(t)
}

// update commits with lines.
func (l *logged) update(t *testing.T, fn func(tx *store.Tx)) {
	t.Helper()
	var made []store.Change
	c, err := l.s.Update(t.Context(), func(tx *store.Tx) error {
		fn(tx)
		tx.SetEffect(func(changes []store.Change) []byte { made = changes; return []byte("lines") })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l.s.ReleaseEffect(c.Effect)
	for _, ch := range made {
		l.lines = append(l.lines, store.LoggedChange{Change: ch, Log: 3, Line: uint64(len(l.lines))})
	}
}

func (l *logged) put(t *testing.T, name, value string) {
	t.Helper()
	l.update(t, func(tx *store.Tx) {
		l.things.Put(tx, at("a", name), &thing{Name: value})
		l.parts.Put(tx, at("a", name, "part"), &thing{Name: value})
	})
}

func (l *logged) delete(t *testing.T, name string) {
	t.Helper()
	l.update(t, func(tx *store.Tx) {
		l.things.Delete(tx, at("a", name))
		l.parts.DeleteChildren(tx, "a", name)
	})
}

// check compares, and returns the problems without their keys.
func (l *logged) check(t *testing.T, change ...func(*store.ChangeLog)) (problems []string, rep store.ChangeReport) {
	t.Helper()
	log := store.ChangeLog{
		Each: func(_ context.Context, fn func(*store.LoggedChange) error) error {
			for i := range l.lines {
				c := l.lines[i]
				if err := fn(&c); err != nil {
					return err
				}
			}
			return nil
		},
		Pruned: func(uint8) bool { return false }, Gaps: func() bool { return false },
	}
	for _, c := range change {
		c(&log)
	}
	rep, err := l.s.CheckChanges(t.Context(), log, func(m store.Mismatch) {
		if m.Known && (m.Log != 3 || m.Line > 1000 || m.Table == "") {
			t.Errorf("problem with line %d of log %d: %+v", m.Line, m.Log, m)
		}
		problems = append(problems, m.Table+": "+m.Text)
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(problems)
	return problems, rep
}

// What was done to the database while no process was looking is found, and what Arca
// does by itself is not taken for it.
func TestCheckChanges(t *testing.T) {
	one := at("a", "one")
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, l *logged)
		want []string // beginnings of problems
	}{
		{"nothing", func(*testing.T, *logged) {}, nil},
		{"changed and deleted with lines", func(t *testing.T, l *logged) {
			l.put(t, "one", "second")
			l.delete(t, "one")
			l.put(t, "one", "third")
			l.delete(t, "two")
		}, nil},
		{"older state put back", func(t *testing.T, l *logged) {
			l.raw(t, l.things.EtcdKey(one), func() { l.put(t, "one", "second") })
		}, []string{"things: it has the sequence"}},
		{"state of long ago put back", func(t *testing.T, l *logged) {
			l.raw(t, l.things.EtcdKey(one), func() {
				for i := range 5 {
					l.put(t, "one", fmt.Sprint(i))
				}
				l.delete(t, "one")
				l.put(t, "one", "anew")
			})
		}, []string{"things: it has the sequence"}},
		{"deleted record put back", func(t *testing.T, l *logged) {
			l.raw(t, l.things.EtcdKey(one), func() { l.delete(t, "one") })
		}, []string{"things: it was deleted and is there again: an old state was put back"}},
		{"removed", func(t *testing.T, l *logged) {
			if _, err := l.s.Client().Delete(t.Context(), l.things.EtcdKey(one)); err != nil {
				t.Fatal(err)
			}
		}, []string{"things: it is missing, though it was written"}},
		{"child removed", func(t *testing.T, l *logged) {
			if _, err := l.s.Client().Delete(t.Context(), l.parts.EtcdKey(at("a", "two", "part"))); err != nil {
				t.Fatal(err)
			}
		}, []string{"parts: it is missing"}},
		{"changed without a line", func(t *testing.T, l *logged) {
			mustUpdate(t, l.s, func(tx *store.Tx) { l.things.Put(tx, one, &thing{Name: "crept in"}) })
		}, []string{"things: it has the sequence"}},
		{"one ahead of its line, and no key was rotated", func(t *testing.T, l *logged) {
			seq, plain, err := l.s.Plain(l.things.EtcdKey(one), []byte(get(t, l.s, l.things.EtcdKey(one))))
			if err != nil {
				t.Fatal(err)
			}
			l.forge(t, l.things.EtcdKey(one), seq+1, plain)
		}, []string{"things: it has the sequence"}},
		{"created without a line", func(t *testing.T, l *logged) {
			mustUpdate(t, l.s, func(tx *store.Tx) { l.things.Put(tx, at("a", "new"), &thing{Name: "crept in"}) })
		}, []string{"things: it is there, and no line of the log is about it"}},
		{"created again without a line", func(t *testing.T, l *logged) {
			l.delete(t, "one")
			mustUpdate(t, l.s, func(tx *store.Tx) { l.things.Put(tx, one, &thing{Name: "crept in"}) })
		}, []string{"things: it was deleted and is there again, and no line tells of that"}},
		{"deleted without a line", func(t *testing.T, l *logged) {
			mustUpdate(t, l.s, func(tx *store.Tx) { l.things.Delete(tx, at("a", "two")); l.parts.DeleteChildren(tx, "a", "two") })
		}, []string{"parts: it is missing", "things: it is missing"}},
		{"other content under the same sequence", func(t *testing.T, l *logged) {
			seq, plain, err := l.s.Plain(l.things.EtcdKey(one), []byte(get(t, l.s, l.things.EtcdKey(one))))
			if err != nil {
				t.Fatal(err)
			}
			l.forge(t, l.things.EtcdKey(one), seq, plain)
		}, []string{"things: it has the sequence"}},
		{"quiet records come, change and go", func(t *testing.T, l *logged) {
			for _, name := range []string{"first", "second"} {
				mustUpdate(t, l.s, func(tx *store.Tx) { l.quiet.Put(tx, one, &thing{Name: name}) })
			}
			l.update(t, func(tx *store.Tx) { l.quiet.Put(tx, at("a", "gone"), &thing{Name: "x"}) })
			mustUpdate(t, l.s, func(tx *store.Tx) { l.quiet.Delete(tx, at("a", "gone")) })
		}, nil},
		{"loud record of a quiet table", func(t *testing.T, l *logged) {
			mustUpdate(t, l.s, func(tx *store.Tx) { l.quiet.Put(tx, one, &thing{Name: "loud"}) })
		}, []string{"quiet: it is there, and no line"}},
		{"quiet record put back to before its line", func(t *testing.T, l *logged) {
			mustUpdate(t, l.s, func(tx *store.Tx) { l.quiet.Put(tx, one, &thing{Name: "first"}) })
			l.raw(t, l.quiet.EtcdKey(one), func() {
				l.update(t, func(tx *store.Tx) { l.quiet.Put(tx, one, &thing{Name: "second"}) })
			})
		}, []string{"quiet: it has the sequence"}},
		{"sealed anew twice", func(t *testing.T, l *logged) {
			l.rotate(t)
			l.put(t, "two", "between")
			l.rotate(t)
		}, nil},
		{"put back after a rotation", func(t *testing.T, l *logged) {
			l.put(t, "one", "second")
			l.rotate(t)
			l.raw(t, l.things.EtcdKey(one), func() { l.put(t, "one", "third") })
		}, []string{"things: it has the sequence"}},
		{"changed without a line after a rotation", func(t *testing.T, l *logged) {
			l.rotate(t)
			mustUpdate(t, l.s, func(tx *store.Tx) { l.things.Put(tx, one, &thing{Name: "crept in"}) })
		}, []string{"things: it has the sequence"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLogged(t)
			l.put(t, "one", "first")
			l.put(t, "two", "first")
			tc.do(t, l)
			l.reopen(t)
			problems, rep := l.check(t)
			if len(problems) != len(tc.want) {
				t.Fatalf("problems %q, want %q", problems, tc.want)
			}
			for i, p := range problems {
				if !strings.HasPrefix(p, tc.want[i]) {
					t.Errorf("problem %q, want %q", p, tc.want[i])
				}
			}
			if rep.Passes != 1 || rep.Restored || rep.Unknown != 0 || rep.Older != 0 {
				t.Errorf("report %+v", rep)
			}
		})
	}
}

// raw keeps what lies at key while do runs, and then puts it back.
func (l *logged) raw(t *testing.T, key string, do func()) {
	t.Helper()
	old := get(t, l.s, key)
	do()
	if _, err := l.s.Client().Put(t.Context(), key, old); err != nil {
		t.Fatal(err)
	}
}

func (l *logged) forge(t *testing.T, key string, seq uint64, plain []byte) {
	t.Helper()
	v, err := l.s.Forge(key, seq, plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.s.Client().Put(t.Context(), key, string(v)); err != nil {
		t.Fatal(err)
	}
}

// rotate makes a new storage key and seals everything under it.
func (l *logged) rotate(t *testing.T) {
	t.Helper()
	if _, err := l.s.RotateStorageKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		p, err := l.s.Reseal(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		more = p.More
	}
}

// Whatever the memory allows, the result is the same.
func TestCheckChangesInPasses(t *testing.T) {
	l := newLogged(t)
	for i := range 60 {
		l.put(t, fmt.Sprint("s", i), "v")
	}
	l.delete(t, "s7")
	l.raw(t, l.things.EtcdKey(at("a", "s3")), func() { l.put(t, "s3", "w") })
	if _, err := l.s.Client().Delete(t.Context(), l.things.EtcdKey(at("a", "s9"))); err != nil {
		t.Fatal(err)
	}
	l.reopen(t)
	want, one := l.check(t)
	if len(want) != 2 || one.Records != 117 {
		t.Fatalf("in one pass: %q, %+v", want, one)
	}
	for _, keys := range []int{119, 60, 7, 1} {
		got, rep := l.check(t, func(c *store.ChangeLog) { c.MaxKeys = keys })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with %d keys (-want +got):\n%s", keys, diff)
		}
		if rep.Records != one.Records || rep.Passes < 120/keys {
			t.Errorf("with %d keys: %+v", keys, rep)
		}
	}
}

// What the log cannot know is counted, and not taken for an attack; what it knows is
// still compared.
func TestCheckChangesWithPartsOfALog(t *testing.T) {
	l := newLogged(t)
	l.put(t, "old", "v")
	cut := len(l.lines)
	l.put(t, "one", "v")
	l.put(t, "two", "v")
	l.raw(t, l.things.EtcdKey(at("a", "one")), func() { l.put(t, "one", "w") })
	l.reopen(t)
	all := l.lines

	l.lines = all[cut:]
	problems, rep := l.check(t, func(c *store.ChangeLog) { c.Pruned = func(log uint8) bool { return log == 3 } })
	if len(problems) != 1 || !strings.HasPrefix(problems[0], "things: it has the sequence") || rep.Older != 2 {
		t.Errorf("pruned: %q, %+v", problems, rep)
	}
	// A log that begins later than the data, though nothing was pruned.
	if problems, rep = l.check(t); len(problems) != 1 || rep.Older != 2 {
		t.Errorf("younger: %q, %+v", problems, rep)
	}

	l.lines = append(slices.Clone(all[:4]), all[6:]...)
	if problems, rep = l.check(t, func(c *store.ChangeLog) { c.Gaps = func() bool { return true } }); len(problems) != 1 || rep.Unknown != 2 {
		t.Errorf("with a gap: %q, %+v", problems, rep)
	}

	l.lines = nil
	if problems, rep = l.check(t); len(problems) != 0 || rep.Older != rep.Records || rep.Records != 6 {
		t.Errorf("without a log: %q, %+v", problems, rep)
	}
}

// Changes whose lines are not written yet stand in their effects.
func TestPendingChanges(t *testing.T) {
	l := newLogged(t)
	_, err := l.s.Update(t.Context(), func(tx *store.Tx) error {
		l.things.Put(tx, at("a", "one"), &thing{Name: "x"})
		tx.SetEffect(func([]store.Change) []byte { return []byte("a line") })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, l.s, func(tx *store.Tx) { l.things.Put(tx, at("a", "two"), &thing{Name: "x"}) })
	var got []string
	if err := l.s.PendingChanges(t.Context(), func(data []byte) error { got = append(got, string(data)); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a line"}, got); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}
