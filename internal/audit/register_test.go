package audit_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
	"arca/internal/merkle"
	"arca/internal/store"
	"arca/internal/storetest"
)

// registered is a register on a store that tests can open again.
type registered struct {
	cfg store.Config
	st  *store.Store
	reg *audit.Register
}

func newRegistered(t *testing.T) *registered {
	r := &registered{cfg: store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}}
	r.open(t)
	return r
}

func (r *registered) open(t *testing.T) {
	t.Helper()
	r.st = storetest.Open(t, r.cfg, func(s *store.Store) { r.reg = audit.NewRegister(s) })
}

func (r *registered) node(t *testing.T) (*audit.NodeKey, *audit.Head) {
	t.Helper()
	key, head, err := r.reg.Node(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return key, head
}

func (r *registered) heads(t *testing.T) (heads []audit.Head) {
	t.Helper()
	err := r.st.View(t.Context(), func(v *store.Snap) error {
		heads = r.reg.Heads(v)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return heads
}

func (r *registered) problems(t *testing.T) (problems []string) {
	t.Helper()
	err := r.st.View(t.Context(), func(v *store.Snap) error {
		r.reg.Check(v, func(p string) { problems = append(problems, p) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

func signed(t *testing.T, key *audit.NodeKey, h audit.Head, size uint64, root byte) audit.Head {
	t.Helper()
	c, err := merkle.Checkpoint{Origin: h.Origin, Size: size, Root: merkle.Hash{root}, Time: time.Unix(1e9, 0)}.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	h.Size, h.Root, h.Checkpoint, h.Time = size, c.Root, c.Text, c.Time
	return h
}

func TestRegister(t *testing.T) {
	r := newRegistered(t)
	key, head := r.node(t)
	name := "arca/" + r.st.DeploymentID() + "/" + r.st.NodeID()
	want := &audit.Head{Node: r.st.NodeID(), Key: key.VerifierKey(), Generation: 1, Origin: name + "/1"}
	if diff := cmp.Diff(want, head); diff != "" || key.Name() != name {
		t.Errorf("key %s, head (-want +got):\n%s", key.Name(), diff)
	}
	again, _ := r.node(t)
	if again.VerifierKey() != key.VerifierKey() {
		t.Error("the second call made another key")
	}

	h := signed(t, key, *head, 5, 1)
	h.Former = []audit.FormerLog{{Origin: name + "/0", Size: 9, Root: merkle.Hash{3}, Why: "why", When: time.UnixMilli(1e12).UTC(), Dir: "lost-x"}}
	if err := r.reg.Keep(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]audit.Head{h}, r.heads(t)); diff != "" {
		t.Errorf("heads (-want +got):\n%s", diff)
	}
	if got := r.problems(t); len(got) != 1 || !strings.Contains(got[0], "/0 ended on 2001-09-09") {
		t.Errorf("problems %q", got)
	}

	// An acknowledgement stays, also when the log still carries the former one without.
	var n int
	if _, err := r.st.Update(t.Context(), func(tx *store.Tx) error {
		if _, found := r.reg.Acknowledge(tx, "another", time.Now()); found {
			t.Error("a node that does not exist was found")
		}
		n, _ = r.reg.Acknowledge(tx, h.Node, time.UnixMilli(2e12))
		return nil
	}); err != nil || n != 1 {
		t.Fatalf("Acknowledge = %d, %v", n, err)
	}
	later := signed(t, key, h, 6, 2)
	if err := r.reg.Keep(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if got := r.heads(t)[0].Former[0].Acknowledged; got.UnixMilli() != 2e12 {
		t.Errorf("acknowledged on %v", got)
	}
	if got := r.problems(t); got != nil {
		t.Errorf("problems %q", got)
	}

	for name, bad := range map[string]audit.Head{
		"smaller":                    h,
		"another root":               signed(t, key, later, 6, 9),
		"a generation before":        func() audit.Head { b := signed(t, key, later, 100, 9); b.Generation = 0; return b }(),
		"without what was published": func() audit.Head { b := later; b.Size = 0; return b }(),
	} {
		if err := r.reg.Keep(t.Context(), bad); !errors.Is(err, audit.ErrLaterHead) {
			t.Errorf("%s: Keep = %v, want ErrLaterHead", name, err)
		}
	}
	if err := r.reg.Keep(t.Context(), later); err != nil {
		t.Errorf("the same once more: %v", err)
	}
	other := later
	other.Node = "nobody"
	if err := r.reg.Keep(t.Context(), other); err == nil {
		t.Error("the head of a node without a key was kept")
	}
	if err := r.st.View(t.Context(), func(v *store.Snap) error {
		if got := r.reg.VerifierKeys(v); !slices.Equal(got, []string{key.VerifierKey()}) {
			t.Errorf("keys %q", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// The key and the head survive a restart and the rotation of what they are sealed under,
// and no dump shows the key.
func TestRegisterLasts(t *testing.T) {
	r := newRegistered(t)
	key, head := r.node(t)
	h := signed(t, key, *head, 5, 1)
	if err := r.reg.Keep(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if _, err := r.st.RotateKey(t.Context(), "storage"); err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if err := r.st.Dump(t.Context(), &dump); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dump.String(), key.VerifierKey()) {
		t.Errorf("the dump lacks the record:\n%s", dump.String())
	}
	if err := r.st.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(t)
	again, got := r.node(t)
	if again.VerifierKey() != key.VerifierKey() {
		t.Error("another key after the restart")
	}
	if diff := cmp.Diff(&h, got); diff != "" {
		t.Errorf("head (-want +got):\n%s", diff)
	}
	sig, err := again.Sign([]byte("x"))
	if err != nil || !key.Verifier().Verify([]byte("x"), sig) {
		t.Errorf("the signature does not verify: %v", err)
	}
}

// A log on a real register: etcd follows it, and what is lost in the directory is
// found with what etcd knows.
func TestLogWithRegister(t *testing.T) {
	r := newRegistered(t)
	dir := filepath.Join(t.TempDir(), r.st.NodeID())
	run := func(id string) (messages string) {
		key, head := r.node(t)
		return with(t, audit.Config{Dir: dir, Node: r.st.NodeID(), Signer: key, Head: head, Keep: r.reg.Keep}, func(l *audit.Log) { mustAppend(t, l, id) })
	}
	run("a")
	old := copyDir(t, dir)
	run("b")
	if h := r.heads(t)[0]; h.Size != 2 || h.Generation != 1 {
		t.Errorf("head %+v", h)
	}
	dir = old
	if said := run("c"); !strings.Contains(said, "a new log begins") {
		t.Errorf("messages:\n%s", said)
	}
	h := r.heads(t)[0]
	if h.Size != 1 || h.Generation != 2 || len(h.Former) != 1 || h.Former[0].Size != 2 {
		t.Errorf("head %+v", h)
	}
	if got := r.problems(t); len(got) != 1 {
		t.Errorf("problems %q", got)
	}
	if _, err := r.st.Update(t.Context(), func(tx *store.Tx) error {
		r.reg.Acknowledge(tx, h.Node, time.Now())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := r.problems(t); got != nil {
		t.Errorf("problems %q", got)
	}
}

// Keeping a head is a commit like others: when it is not applied, or its reply is lost,
// the same head can be kept again.
func TestKeepFaults(t *testing.T) {
	for _, fault := range []store.Fault{store.FaultNotApplied, store.FaultReplyLost, store.FaultUnknown} {
		r := &registered{cfg: store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}}
		strike := 0
		r.cfg.CommitFault = func(n int) store.Fault {
			if n == strike {
				return fault
			}
			return store.NoFault
		}
		for strike = 1; strike <= 3; strike++ {
			r.cfg.Dir = t.TempDir()
			r.open(t)
			var key *audit.NodeKey
			var head *audit.Head
			var err error
			if key, head, err = r.reg.Node(t.Context()); err != nil {
				key, head = r.node(t)
			}
			h := signed(t, key, *head, 5, 1)
			if err := r.reg.Keep(t.Context(), h); err != nil {
				if err := r.reg.Keep(t.Context(), h); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff([]audit.Head{h}, r.heads(t)); diff != "" {
				t.Errorf("heads (-want +got):\n%s", diff)
			}
			if err := r.st.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
